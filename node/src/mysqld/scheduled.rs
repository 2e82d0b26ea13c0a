//! A primary's scheduled events.
//!
//! A replica holds its source's events REPLICA_SIDE_DISABLED, those that are DISABLED there as well.
//! ALTER EVENT without a DEFINER makes whoever asks the definer, and it stores the session's own
//! `sql_mode`, character set and collation anew: each event is altered under what it has.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::ops::{OpsError, at};
use super::session::{Session, SessionError, quote, text};

/// ER_OPTION_PREVENTS_STATEMENT: its configuration says DISABLED, and nothing changes that.
const OPTION_PREVENTS: u16 = 1290;

/// Left as it was replicated; the second name is that of versions before 8.2.
const REPLICA_SIDE: &str = "STATUS IN ('REPLICA_SIDE_DISABLED','SLAVESIDE_DISABLED')";

/// What became of each event, by `schema.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    pub enabled: Vec<String>,
    /// Which could not be, and what the server said.
    pub failed: BTreeMap<String, String>,
}

/// Switches the scheduler; one that the server's configuration disables is left alone.
pub async fn set_scheduler(
    session: &mut Session,
    runs: bool,
    deadline: Instant,
) -> Result<(), OpsError> {
    let value = if runs { "ON" } else { "OFF" };
    let sql = format!("SET GLOBAL event_scheduler={value}");
    match session.execute(&sql, deadline).await {
        Err(error) if error.code() == Some(OPTION_PREVENTS) => Ok(()),
        answer => answer.map_err(at("switch the event scheduler")),
    }
}

/// The names of all events that are not enabled.
pub async fn idle(session: &mut Session, deadline: Instant) -> Result<Vec<String>, SessionError> {
    let sql = "SELECT CONCAT(EVENT_SCHEMA,'.',EVENT_NAME) AS name FROM information_schema.EVENTS \
               WHERE STATUS<>'ENABLED'";
    let sets = session.ask(sql, deadline).await?;
    let rows = sets.first().into_iter().flatten();
    Ok(rows.filter_map(|row| text(row, "name")).collect())
}

/// Enables what replication left disabled, unless `but` holds its name. The session is of no use for
/// anything else afterwards: it has the variables of the last event.
pub async fn enable(
    session: &mut Session,
    but: impl Fn(&str) -> bool,
    deadline: Instant,
) -> Result<Enabled, OpsError> {
    let step = "look for scheduled events";
    let sql = format!(
        "SELECT EVENT_SCHEMA AS home, EVENT_NAME AS name, DEFINER AS definer, SQL_MODE AS mode, \
         CHARACTER_SET_CLIENT AS client, COLLATION_CONNECTION AS collation \
         FROM information_schema.EVENTS WHERE {REPLICA_SIDE} ORDER BY 1, 2"
    );
    let sets = session.ask(&sql, deadline).await.map_err(at(step))?;
    let mut all = Enabled::default();
    for row in sets.into_iter().flatten() {
        let value = |column: &'static str| {
            text(&row, column)
                .ok_or(SessionError::Unexpected(column))
                .map_err(at(step))
        };
        let (home, name) = (value("home")?, value("name")?);
        let full = format!("{home}.{name}");
        if but(&full) {
            continue;
        }
        let definer = definer(&value("definer")?);
        let sql = format!(
            "SET SESSION character_set_client={}, collation_connection={}, sql_mode={}; \
             ALTER DEFINER={definer} EVENT {}.{} ENABLE",
            quote(&value("client")?).map_err(at(step))?,
            quote(&value("collation")?).map_err(at(step))?,
            quote(&value("mode")?).map_err(at(step))?,
            identifier(&home),
            identifier(&name),
        );
        match session.execute(&sql, deadline).await {
            Ok(()) => all.enabled.push(full),
            Err(SessionError::Server { code, message }) => {
                all.failed.insert(full, format!("error {code}: {message}"));
            }
            Err(error) => return Err(at("enable a scheduled event")(error)),
        }
    }
    Ok(all)
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `user@host`, as the server lists it: a host holds no `@`, a user may.
fn definer(listed: &str) -> String {
    match listed.rsplit_once('@') {
        Some((user, host)) => format!("{}@{}", identifier(user), identifier(host)),
        None => identifier(listed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_identifiers() {
        assert_eq!(definer("app@%"), "`app`@`%`");
        assert_eq!(definer("a@b@10.0.0.1"), "`a@b`@`10.0.0.1`");
        assert_eq!(identifier("a`b"), "`a``b`");
    }
}
