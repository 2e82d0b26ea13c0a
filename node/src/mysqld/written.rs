//! What a server wrote itself, as its binary log tells: which of its own transactions change nothing.
//!
//! FLUSH writes a GTID even under super_read_only (measured on 9.7.4), so that a backup tool leaves
//! some on replicas; ANALYZE and OPTIMIZE do where that is off.

use primacy_core::gtid::GtidSet;
use tokio::time::Instant;

use super::ops::{OpsError, at};
use super::session::{Session, SessionError, number, quote, text};

/// Events that are asked for at once.
const BATCH: usize = 2_000;
/// Events that are read of one log at most: what comes later in it is a person's to look into.
const EVENTS_MAX: usize = 2_000_000;
/// Logs that are looked into, the newest first.
const LOGS_MAX: usize = 64;
/// Of a statement, in characters.
const SHOWN_MAX: usize = 120;
/// ANALYZE and OPTIMIZE write statistics and rebuild what is there; none of these changes a row.
const ADMINISTRATIVE: [&str; 3] = ["FLUSH", "ANALYZE", "OPTIMIZE"];

/// What the binary logs tell of some transactions.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that change nothing: empty ones, and administrative statements.
    pub harmless: GtidSet,
    /// The first of the others, in words.
    pub first: Option<String>,
    /// One whose end was not written yet.
    pub unfinished: GtidSet,
}

/// Looks these transactions up in the binary logs.
///
/// # Errors
/// Where the server refuses (it asks for REPLICATION SLAVE), or does not answer in time.
pub async fn look_into(
    session: &mut Session,
    of: &GtidSet,
    deadline: Instant,
) -> Result<Found, OpsError> {
    let step = "look for the binary logs";
    let sets = session
        .ask("SHOW BINARY LOGS", deadline)
        .await
        .map_err(at(step))?;
    let rows = sets.into_iter().flatten();
    let mut logs: Vec<String> = rows.filter_map(|row| text(&row, "Log_name")).collect();
    logs.reverse();
    let older = logs.len() > LOGS_MAX;
    logs.truncate(LOGS_MAX);
    let (mut left, mut found) = (of.clone(), Found::default());
    for log in logs {
        if left.is_empty() {
            break;
        }
        let before = read(session, &log, &left, &mut found, deadline)
            .await
            .map_err(at("read a binary log"))?;
        // What was executed before this log began is in an older one.
        left = left.intersect(&before);
    }
    if found.first.is_none() && !left.is_empty() {
        found.first = Some(match older {
            true => format!("they are not in its newest {LOGS_MAX} binary logs: look by hand"),
            false => "its binary logs do not have them any more".into(),
        });
    }
    Ok(found)
}

/// Reads one log as far as it holds any of these; what was executed before it began.
async fn read(
    session: &mut Session,
    log: &str,
    of: &GtidSet,
    found: &mut Found,
    deadline: Instant,
) -> Result<GtidSet, SessionError> {
    let name = quote(log)?;
    let (mut from, mut seen) = (4, 0);
    let (mut before, mut cut_short) = (None, None);
    let mut reading = Reading::of(of);
    loop {
        // The first events alone tell whether there is anything to look for.
        let most = if seen == 0 { 2 } else { BATCH };
        let sql = format!("SHOW BINLOG EVENTS IN {name} FROM {from} LIMIT {most}");
        let sets = session.ask(&sql, deadline).await?;
        let rows = sets.first().map(Vec::as_slice).unwrap_or_default();
        for row in rows {
            let kind = text(row, "Event_type").ok_or(SessionError::Unexpected("Event_type"))?;
            let info = text(row, "Info").unwrap_or_default();
            if kind == "Previous_gtids" {
                before = info.parse::<GtidSet>().ok();
            }
            reading.event(&kind, &info);
            from = number(row, "End_log_pos")?;
        }
        seen += rows.len();
        let here = before
            .as_ref()
            .is_none_or(|before| !of.is_subset_of(before));
        if rows.len() < most || !here {
            break;
        }
        if seen >= EVENTS_MAX {
            cut_short = Some(format!(
                "{log} has more than {EVENTS_MAX} events: look by hand"
            ));
            break;
        }
    }
    let read = reading.end();
    found.harmless.union_with(&read.harmless);
    found.first = found.first.take().or(read.first);
    found.unfinished.union_with(&read.unfinished);
    let before = before.unwrap_or_default();
    if !of.subtract(&before).is_subset_of(&found.harmless) {
        found.first = found.first.take().or(cut_short);
    }
    Ok(before)
}

/// What is read of a log, event by event.
struct Reading<'a> {
    of: &'a GtidSet,
    now: Option<Transaction>,
    found: Found,
}

/// One of those that are looked for.
struct Transaction {
    gtid: GtidSet,
    /// It has come to its end: one that is being written has not.
    whole: bool,
    /// The first event that may change something.
    changes: Option<String>,
}

impl<'a> Reading<'a> {
    fn of(of: &'a GtidSet) -> Self {
        Self {
            of,
            now: None,
            found: Found::default(),
        }
    }

    fn event(&mut self, kind: &str, info: &str) {
        if kind.to_ascii_lowercase().starts_with("gtid") {
            self.close();
            let named = info.split('\'').nth(1);
            let gtid = named.and_then(|gtid| gtid.parse::<GtidSet>().ok());
            self.now = gtid
                .filter(|gtid| gtid.is_subset_of(self.of))
                .map(|gtid| Transaction {
                    gtid,
                    whole: false,
                    changes: None,
                });
            return;
        }
        let Some(now) = &mut self.now else { return };
        match kind {
            "Xid" => now.whole = true,
            "Query" => {
                let statement = statement(info);
                let begins = statement.eq_ignore_ascii_case("BEGIN");
                now.whole |= !begins;
                let ends = statement.eq_ignore_ascii_case("COMMIT");
                if !begins && !ends && !is_administrative(statement) {
                    let shown: String = statement.chars().take(SHOWN_MAX).collect();
                    now.changes.get_or_insert(shown);
                }
            }
            // Comments, and what ends a log.
            "Rows_query" | "Rotate" | "Stop" => {}
            // Rows, variables of a statement, compressed transactions, whatever is not known.
            _ => {
                now.changes.get_or_insert_with(|| format!("{kind} {info}"));
            }
        }
    }

    fn close(&mut self) {
        let Some(now) = self.now.take() else { return };
        match now.changes {
            Some(what) => {
                self.found.first.get_or_insert(what);
            }
            None if now.whole => self.found.harmless.union_with(&now.gtid),
            None => self.found.unfinished.union_with(&now.gtid),
        }
    }

    fn end(mut self) -> Found {
        self.close();
        self.found
    }
}

/// Without the database that was in use, and without what a client put before it.
fn statement(info: &str) -> &str {
    let mut rest = info.trim();
    if let Some(named) = rest.strip_prefix("use `")
        && let Some((_, after)) = named.split_once("`; ")
    {
        rest = after;
    }
    loop {
        rest = rest.trim_start();
        // What stands in `/*! … */` is executed.
        let comment = rest.strip_prefix("/*").filter(|of| !of.starts_with('!'));
        match comment.and_then(|of| of.split_once("*/")) {
            Some((_, after)) => rest = after,
            None => return rest.trim_end(),
        }
    }
}

fn is_administrative(statement: &str) -> bool {
    let word = statement.split_whitespace().next().unwrap_or_default();
    ADMINISTRATIVE
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0a000000-0000-0000-0000-000000000001";

    fn gtids(numbers: &str) -> GtidSet {
        format!("{UUID}:{numbers}").parse().unwrap()
    }

    /// Which of 1 to 9 are harmless: `3 Query FLUSH TABLES` is an event of the third, and a line
    /// without an event begins one.
    fn found(log: &[&str]) -> String {
        let all = gtids("1-9");
        let mut reading = Reading::of(&all);
        for line in log {
            match line.split_once(' ') {
                None => reading.event("Gtid", &format!("SET @@SESSION.GTID_NEXT= '{UUID}:{line}'")),
                Some((kind, info)) => reading.event(kind, info),
            }
        }
        let found = reading.end().harmless.compact().to_string();
        found.replace(&format!("{UUID}:"), "")
    }

    #[test]
    fn empty_and_administrative_transactions_change_nothing() {
        assert_eq!(
            found(&["1", "Query FLUSH STATUS", "2", "Query FLUSH TABLES"]),
            "1-2"
        );
        assert_eq!(found(&["1", "Query use `a`; analyze TABLE t"]), "1");
        assert_eq!(found(&["1", "Query /* a tool */ FLUSH TABLES"]), "1");
        assert_eq!(
            found(&["1", "Query BEGIN", "Query COMMIT", "Rotate b.2"]),
            "1"
        );
        assert_eq!(found(&["1", "Query BEGIN", "Xid COMMIT /* xid=7 */"]), "1");
    }

    #[test]
    fn whatever_else_there_is_may_change_something() {
        let rows = [
            "1",
            "Query BEGIN",
            "Table_map t",
            "Write_rows x",
            "Xid COMMIT",
        ];
        assert_eq!(found(&rows), "");
        assert_eq!(found(&["1", "Query INSERT INTO t VALUES (1)"]), "");
        assert_eq!(found(&["1", "Query use `FLUSH`; DROP TABLE t"]), "");
        assert_eq!(found(&["1", "Query /*! DROP TABLE t */"]), "");
        assert_eq!(found(&["1", "Query FLUSHING"]), "");
        assert_eq!(found(&["1", "Transaction_payload x", "Query COMMIT"]), "");
        assert_eq!(found(&["1", "Intvar INSERT_ID=1", "Query COMMIT"]), "");
        // Being written; and one that nobody asked for.
        assert_eq!(found(&["1"]), "");
        assert_eq!(found(&["1", "Query BEGIN"]), "");
        assert_eq!(found(&["12", "Query FLUSH STATUS"]), "");
        // What follows is judged by itself.
        assert_eq!(
            found(&["1", "Query DROP TABLE t", "2", "Query FLUSH TABLES"]),
            "2"
        );
    }
}
