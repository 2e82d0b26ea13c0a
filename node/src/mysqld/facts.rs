//! What the readiness lint judges, read from one server. Asked seldom, so each question is a round
//! trip of its own: one that is refused leaves the others their answers.

use std::collections::{BTreeMap, BTreeSet};

use primacy_core::gtid::Uuid;
use primacy_core::lint::{
    Account, Channel, Facts, REPORTED_PLUGINS, REPORTED_VARIABLES, ScheduledEvent,
};
use tokio::time::Instant;

use super::session::{Rows, Session, SessionError, text};

/// ER_PARSE_ERROR: this version says it otherwise.
const PARSE_ERROR: u16 = 1064;

const CHANNELS: &str = "SELECT c.CHANNEL_NAME AS name, c.HOST AS host, CAST(c.PORT AS CHAR) AS port, \
    CAST(c.AUTO_POSITION AS CHAR) AS auto, CAST(c.HEARTBEAT_INTERVAL AS CHAR) AS heartbeat, \
    CAST(a.DESIRED_DELAY AS CHAR) AS delay, s.SOURCE_UUID AS uuid, \
    CAST(s.SERVICE_STATE AS CHAR) AS io \
    FROM performance_schema.replication_connection_configuration c \
    JOIN performance_schema.replication_applier_configuration a USING (CHANNEL_NAME) \
    JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME) \
    WHERE c.HOST<>''";
const FILTERS: &str = "SELECT CONCAT(FILTER_NAME, ' ', FILTER_RULE) AS filter \
    FROM performance_schema.replication_applier_filters WHERE FILTER_RULE<>'' \
    UNION SELECT CONCAT(FILTER_NAME, ' ', FILTER_RULE) \
    FROM performance_schema.replication_applier_global_filters WHERE FILTER_RULE<>''";
const REPLICAS: &str = "SELECT CAST(v.VARIABLE_VALUE AS CHAR) AS uuid \
    FROM performance_schema.threads t \
    JOIN performance_schema.user_variables_by_thread v USING (THREAD_ID) \
    WHERE t.PROCESSLIST_COMMAND LIKE 'Binlog Dump%' AND v.VARIABLE_NAME='replica_uuid'";
const PERSISTED: &str = "SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value \
    FROM performance_schema.persisted_variables";
const USERS: &str = "SELECT User AS user, Host AS host, CAST(Super_priv AS CHAR) AS super, \
    CAST(Repl_slave_priv AS CHAR) AS repl, CAST(account_locked AS CHAR) AS locked FROM mysql.user";
/// Of one's own account it needs no privilege. The hash of the password is bytes, unless it is
/// asked for otherwise; nobody here wants either.
const HASH_AS_HEX: &str = "SET SESSION print_identified_with_as_hex=ON";
const OWN_ACCOUNT: &str = "SHOW CREATE USER CURRENT_USER()";
const PASSWORD_LIFETIME: &str = "SELECT CAST(@@default_password_lifetime AS CHAR) AS days";
const GLOBAL_GRANTS: &str =
    "SELECT USER AS user, HOST AS host, PRIV AS priv FROM mysql.global_grants";
/// Without EVENT it shows none; the grant has a rule of its own.
const EVENTS: &str = "SELECT CONCAT(EVENT_SCHEMA,'.',EVENT_NAME) AS name, DEFINER AS definer, \
    CAST(EVENT_TYPE='ONE TIME' AS CHAR) AS once FROM information_schema.EVENTS \
    ORDER BY 1";
const ROLES: &str = "SELECT TO_USER AS user, TO_HOST AS host, FROM_USER AS role, \
    FROM_HOST AS role_host FROM mysql.role_edges";

/// All that the server itself can tell. An error means that it could not be asked at all; what it
/// refuses to tell is in `unread`.
pub async fn facts(session: &mut Session, deadline: Instant) -> Result<Facts, SessionError> {
    let mut facts = Facts::default();
    let who = "SELECT VERSION() AS version, @@version_comment AS comment, CURRENT_USER() AS me";
    let sets = session.ask(who, deadline).await?;
    let row = sets.first().and_then(|rows| rows.first());
    let row = row.ok_or(SessionError::Unexpected("a version"))?;
    facts.version = text(row, "version").unwrap_or_default();
    facts.version_comment = text(row, "comment").unwrap_or_default();
    facts.agent_account = match text(row, "me").unwrap_or_default().rsplit_once('@') {
        Some((user, host)) => format!("'{user}'@'{host}'"),
        None => String::new(),
    };
    if facts.version.to_ascii_lowercase().contains("mariadb") {
        return Ok(facts); // refused by name; it has little of what follows
    }
    variables(session, &mut facts, deadline).await?;
    let mut reader = Reader {
        session,
        deadline,
        unread: BTreeMap::new(),
    };
    reader.replication(&mut facts).await?;
    reader.accounts(&mut facts).await?;
    facts.unread = reader.unread;
    Ok(facts)
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    quoted.join(",")
}

fn pairs(rows: &Rows, name: &str, value: &str) -> BTreeMap<String, String> {
    rows.iter()
        .filter_map(|row| {
            let name = text(row, name)?.to_ascii_lowercase();
            Some((name, text(row, value).unwrap_or_default()))
        })
        .collect()
}

async fn variables(
    session: &mut Session,
    facts: &mut Facts,
    deadline: Instant,
) -> Result<(), SessionError> {
    let names = quoted(REPORTED_VARIABLES);
    let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names},'server_uuid')");
    let sets = session.ask(&sql, deadline).await?;
    let rows = sets.first().ok_or(SessionError::Unexpected("variables"))?;
    facts.variables = pairs(rows, "Variable_name", "Value");
    facts.server_uuid = facts
        .variables
        .remove("server_uuid")
        .and_then(|uuid| uuid.parse().ok());
    let sql = format!(
        "SELECT PLUGIN_NAME AS name, PLUGIN_STATUS AS value FROM information_schema.PLUGINS \
         WHERE PLUGIN_NAME IN ({})",
        quoted(REPORTED_PLUGINS)
    );
    let sets = session.ask(&sql, deadline).await?;
    let rows = sets.first().ok_or(SessionError::Unexpected("plugins"))?;
    facts.plugins = pairs(rows, "name", "value");
    Ok(())
}

struct Reader<'a> {
    session: &'a mut Session,
    deadline: Instant,
    unread: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// The rows; none, and noted, if the server refuses to show them.
    async fn rows(&mut self, what: &str, sql: &str) -> Result<Rows, SessionError> {
        match self.session.ask(sql, self.deadline).await {
            Ok(sets) => Ok(sets.into_iter().next().unwrap_or_default()),
            Err(SessionError::Server { message, .. }) => {
                self.unread.insert(what.to_owned(), message);
                Ok(Rows::new())
            }
            Err(error) => Err(error),
        }
    }

    async fn replication(&mut self, facts: &mut Facts) -> Result<(), SessionError> {
        let rows = self.rows("persisted variables", PERSISTED).await?;
        facts.persisted = pairs(&rows, "name", "value");
        for row in self.rows("replication channels", CHANNELS).await? {
            let number =
                |column: &str| text(&row, column).and_then(|text| text.parse::<f64>().ok());
            facts.channels.push(Channel {
                name: text(&row, "name").unwrap_or_default(),
                host: text(&row, "host").unwrap_or_default(),
                port: text(&row, "port")
                    .and_then(|port| port.parse().ok())
                    .unwrap_or_default(),
                source_uuid: text(&row, "uuid").and_then(|uuid| uuid.parse().ok()),
                receives: text(&row, "io").is_some_and(|io| io != "OFF"),
                delay_s: number("delay").unwrap_or_default() as u64,
                heartbeat_ms: (number("heartbeat").unwrap_or_default() * 1_000.0).round() as u64,
                auto_position: text(&row, "auto").as_deref() == Some("1"),
            });
        }
        let filters = self.rows("replication filters", FILTERS).await?;
        facts.filters = filters
            .iter()
            .filter_map(|row| text(row, "filter"))
            .collect();
        let replicas = self.rows("connected replicas", REPLICAS).await?;
        facts.replicas = replicas
            .iter()
            .filter_map(|row| text(row, "uuid")?.parse::<Uuid>().ok())
            .collect();
        self.binlog_filters(facts).await
    }

    async fn binlog_filters(&mut self, facts: &mut Facts) -> Result<(), SessionError> {
        // Of one statement the older name is unknown to newer servers, and the other way round.
        let mut answer = Err(SessionError::Unexpected("a statement"));
        for sql in ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"] {
            answer = self.session.ask(sql, self.deadline).await;
            if !matches!(&answer, Err(error) if error.code() == Some(PARSE_ERROR)) {
                break;
            }
        }
        let sets = match answer {
            Err(SessionError::Server { message, .. }) => {
                self.unread.insert("binary log filters".into(), message);
                return Ok(());
            }
            answer => answer?,
        };
        for row in sets.into_iter().flatten() {
            for (column, option) in [
                ("Binlog_Do_DB", "binlog_do_db"),
                ("Binlog_Ignore_DB", "binlog_ignore_db"),
            ] {
                if let Some(databases) = text(&row, column).filter(|text| !text.is_empty()) {
                    facts.binlog_filters.push(format!("{option}={databases}"));
                }
            }
        }
        Ok(())
    }

    async fn accounts(&mut self, facts: &mut Facts) -> Result<(), SessionError> {
        let grants = self.rows("the agent's own grants", "SHOW GRANTS").await?;
        facts.agent_grants = grants.iter().filter_map(|row| row.get(0)).collect();
        let lifetime = self
            .rows("the lifetime of passwords", PASSWORD_LIFETIME)
            .await?;
        let lifetime = lifetime.first().and_then(|row| text(row, "days"));
        let own = "the agent's own account";
        self.rows(own, HASH_AS_HEX).await?;
        let created = self.rows(own, OWN_ACCOUNT).await?;
        if let Some(created) = created.first().and_then(|row| row.get::<String, _>(0)) {
            facts.agent_limits = limits(&created, lifetime.as_deref());
        }
        let mut answers = Vec::new();
        for sql in [USERS, GLOBAL_GRANTS, ROLES] {
            match self.session.ask(sql, self.deadline).await {
                Ok(sets) => answers.push(sets.into_iter().next().unwrap_or_default()),
                Err(SessionError::Server { message, .. }) => {
                    facts.accounts = Some(Err(message));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        let accounts = merge(&answers[0], &answers[1], &answers[2]);
        let known: BTreeSet<String> = accounts
            .iter()
            .map(|account| format!("{}@{}", account.user, account.host))
            .collect();
        let events = self.rows("scheduled events", EVENTS).await?;
        facts.events = events
            .iter()
            .filter_map(|row| {
                Some(ScheduledEvent {
                    name: text(row, "name")?,
                    once: text(row, "once").as_deref() == Some("1"),
                    definer_exists: known.contains(&text(row, "definer")?),
                })
            })
            .collect();
        facts.accounts = Some(Ok(accounts));
        Ok(())
    }
}

/// What shuts an account out by itself, in the words of the statement that creates it.
fn limits(created: &str, default_lifetime_days: Option<&str>) -> Vec<String> {
    // Its attribute, anybody's JSON, comes last, and a quote in it is as it is.
    let options = created.split(" ATTRIBUTE '").next().unwrap_or_default();
    // What is quoted may hold any word.
    let bare: Vec<&str> = options.split(['\'', '`']).step_by(2).collect();
    let bare = bare.join(" ");
    let words: Vec<&str> = bare.split_whitespace().collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let next = |on: usize| words.get(at + on).copied().unwrap_or_default();
        match *word {
            "PASSWORD" if next(1) == "EXPIRE" => match next(2) {
                "NEVER" => {}
                "INTERVAL" => found.push(format!("PASSWORD EXPIRE INTERVAL {} DAY", next(3))),
                "DEFAULT" => {
                    if let Some(days) = default_lifetime_days.filter(|days| *days != "0") {
                        found.push(format!(
                            "PASSWORD EXPIRE DEFAULT (default_password_lifetime={days})"
                        ));
                    }
                }
                _ => found.push("PASSWORD EXPIRE".into()),
            },
            "FAILED_LOGIN_ATTEMPTS"
            | "MAX_QUERIES_PER_HOUR"
            | "MAX_UPDATES_PER_HOUR"
            | "MAX_CONNECTIONS_PER_HOUR"
            | "MAX_USER_CONNECTIONS"
                if next(1) != "0" =>
            {
                found.push(format!("{word} {}", next(1)));
            }
            _ => {}
        }
    }
    found
}

fn merge(users: &Rows, grants: &Rows, roles: &Rows) -> Vec<Account> {
    type Key = (String, String);
    let key = |row, user, host| -> Option<Key> { Some((text(row, user)?, text(row, host)?)) };
    let mut privileges: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    for row in grants {
        if let (Some(of), Some(privilege)) = (key(row, "user", "host"), text(row, "priv")) {
            privileges
                .entry(of)
                .or_default()
                .insert(privilege.to_ascii_uppercase());
        }
    }
    let mut granted: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    for row in roles {
        if let (Some(to), Some(role)) = (key(row, "user", "host"), key(row, "role", "role_host")) {
            granted.entry(to).or_default().insert(role);
        }
    }
    users
        .iter()
        .filter_map(|row| {
            let of = key(row, "user", "host")?;
            let is = |column| text(row, column).as_deref() == Some("Y");
            let mut held = privileges.remove(&of).unwrap_or_default();
            for (column, name) in [("super", "SUPER"), ("repl", "REPLICATION SLAVE")] {
                if is(column) {
                    held.insert(name.to_owned());
                }
            }
            Some(Account {
                roles: granted.remove(&of).unwrap_or_default(),
                privileges: held,
                locked: is("locked"),
                user: of.0,
                host: of.1,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::limits;

    #[test]
    fn a_password_that_expires_by_default_expires_where_the_server_says_so() {
        let created = "CREATE USER `a`@`localhost` IDENTIFIED WITH 'caching_sha2_password' AS 0x24 \
                       REQUIRE NONE PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK";
        let said = "PASSWORD EXPIRE DEFAULT (default_password_lifetime=180)";
        assert_eq!(limits(created, Some("180")), [said]);
        assert!(limits(created, Some("0")).is_empty());
        assert!(limits(&created.replace("DEFAULT", "NEVER"), Some("180")).is_empty());
    }
}
