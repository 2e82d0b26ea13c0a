//! What the agent's own writes are at in the server, and why one was not sent to the ackers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use primacy_core::act::{NotSent, OpDone, OpError, OpId, ProbeAt};
use tokio::time::Instant;

use super::words::op_error;
use crate::mysqld::ops::OpsError;
use crate::mysqld::session::{Session, SessionError, text};

/// A write that has not ended by then is looked for among the server's threads and locks.
const LOOKED_FOR: Duration = Duration::from_millis(250);

/// ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK.
const LOCKED: [u16; 2] = [1205, 1213];
/// ER_OPTION_PREVENTS_STATEMENT, ER_READ_ONLY_MODE, ER_SERVER_OFFLINE_MODE.
const READ_ONLY: [u16; 3] = [1290, 1836, 3032];
/// ER_DISK_FULL, ER_RECORD_FILE_FULL.
const DISK: [u16; 2] = [1021, 1114];
/// The database, the table, its columns, the right to write it.
const TABLE: [u16; 11] = [
    1049, 1054, 1136, 1142, 1143, 1146, 1364, 1366, 1044, 1103, 1932,
];
/// ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED.
const NO_CONNECTION: [u16; 3] = [1040, 1203, 1226];
/// ER_QUERY_INTERRUPTED, ER_SERVER_SHUTDOWN and the like, and what semi-sync's own hook may answer:
/// it may have been sent.
const UNKNOWN: [u16; 5] = [1317, 1053, 1598, 3024, 3100];

/// The session of each write probe under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<OpId, (u64, Instant)>,
    /// The lock that each was last seen behind.
    locks: BTreeMap<OpId, String>,
}

impl UnderWay {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begins(&self, id: OpId, session: u64) {
        let begun = (session, Instant::now());
        self.state().sessions.insert(id, begun);
    }

    /// The lock that it was behind, if it was seen behind one.
    pub fn ended(&self, id: OpId) -> Option<String> {
        let mut state = self.state();
        state.sessions.remove(&id);
        state.locks.remove(&id)
    }

    /// What those are at that did not end at once.
    pub async fn look(
        &self,
        session: &mut Session,
        deadline: Instant,
    ) -> Result<BTreeMap<OpId, ProbeAt>, SessionError> {
        let asked: BTreeMap<u64, OpId> = {
            let state = self.state();
            let old = state.sessions.iter();
            old.filter(|(_, (_, begun))| begun.elapsed() > LOOKED_FOR)
                .map(|(id, (session, _))| (*session, *id))
                .collect()
        };
        if asked.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut at = states(session, &asked, deadline).await?;
        let unexplained: Vec<u64> = asked
            .iter()
            .filter(|(_, id)| at.get(id) == Some(&ProbeAt::Work))
            .map(|(session, _)| *session)
            .collect();
        if !unexplained.is_empty() {
            for (of, lock) in locks(session, &unexplained, deadline).await? {
                if let Some(id) = asked.get(&of) {
                    self.state().locks.insert(*id, lock.clone());
                    at.insert(*id, ProbeAt::Lock(lock));
                }
            }
        }
        Ok(at)
    }
}

fn listed(sessions: impl Iterator<Item = u64>) -> String {
    let each: Vec<String> = sessions.map(|session| session.to_string()).collect();
    each.join(",")
}

async fn states(
    session: &mut Session,
    asked: &BTreeMap<u64, OpId>,
    deadline: Instant,
) -> Result<BTreeMap<OpId, ProbeAt>, SessionError> {
    let sql = format!(
        "SELECT CAST(PROCESSLIST_ID AS CHAR) AS id, PROCESSLIST_STATE AS state \
         FROM performance_schema.threads \
         WHERE PROCESSLIST_ID IN ({}) AND PROCESSLIST_COMMAND<>'Sleep'",
        listed(asked.keys().copied())
    );
    let sets = session.ask(&sql, deadline).await?;
    let rows = sets.into_iter().flatten();
    Ok(rows
        .filter_map(|row| {
            let id = text(&row, "id")?.parse().ok()?;
            let at = match text(&row, "state").unwrap_or_default().as_str() {
                "Waiting for semi-sync ACK from replica" => ProbeAt::Acknowledgement,
                "waiting for handler commit" => ProbeAt::Commit,
                _ => ProbeAt::Work,
            };
            Some((*asked.get(&id)?, at))
        })
        .collect())
}

/// Which of these sessions wait for which lock, and who holds it.
async fn locks(
    session: &mut Session,
    of: &[u64],
    deadline: Instant,
) -> Result<BTreeMap<u64, String>, SessionError> {
    let of = listed(of.iter().copied());
    let holder = "CAST(h.PROCESSLIST_ID AS CHAR) AS holder, h.PROCESSLIST_USER AS user, \
                  h.PROCESSLIST_HOST AS host, CAST(h.PROCESSLIST_TIME AS CHAR) AS seconds";
    let sql = format!(
        "SELECT CAST(w.PROCESSLIST_ID AS CHAR) AS id, p.OBJECT_TYPE AS kind, \
         CONCAT_WS('.', p.OBJECT_SCHEMA, p.OBJECT_NAME) AS object, {holder} \
         FROM performance_schema.metadata_locks p \
         JOIN performance_schema.threads w ON w.THREAD_ID=p.OWNER_THREAD_ID \
         LEFT JOIN performance_schema.metadata_locks g ON g.OBJECT_TYPE=p.OBJECT_TYPE \
         AND g.OBJECT_SCHEMA<=>p.OBJECT_SCHEMA AND g.OBJECT_NAME<=>p.OBJECT_NAME \
         AND g.LOCK_STATUS='GRANTED' AND g.OWNER_THREAD_ID<>p.OWNER_THREAD_ID \
         AND g.LOCK_TYPE<>'INTENTION_EXCLUSIVE' \
         LEFT JOIN performance_schema.threads h ON h.THREAD_ID=g.OWNER_THREAD_ID \
         WHERE p.LOCK_STATUS='PENDING' AND w.PROCESSLIST_ID IN ({of}) \
         ORDER BY g.LOCK_DURATION='EXPLICIT', g.LOCK_DURATION='TRANSACTION'; \
         SELECT CAST(w.PROCESSLIST_ID AS CHAR) AS id, 'ROW' AS kind, \
         CONCAT_WS('.', l.OBJECT_SCHEMA, l.OBJECT_NAME) AS object, {holder} \
         FROM performance_schema.data_lock_waits d \
         JOIN performance_schema.threads w ON w.THREAD_ID=d.REQUESTING_THREAD_ID \
         JOIN performance_schema.data_locks l ON l.ENGINE_LOCK_ID=d.REQUESTING_ENGINE_LOCK_ID \
         JOIN performance_schema.threads h ON h.THREAD_ID=d.BLOCKING_THREAD_ID \
         WHERE w.PROCESSLIST_ID IN ({of})"
    );
    let sets = session.ask(&sql, deadline).await?;
    let mut found = BTreeMap::new();
    // Of several the last is named: one held until it is released.
    for row in sets.into_iter().flatten() {
        let Some(id) = text(&row, "id").and_then(|id| id.parse().ok()) else {
            continue;
        };
        let said = |column| text(&row, column).unwrap_or_default();
        let (kind, object) = (said("kind").to_ascii_lowercase(), said("object"));
        let what = if object.is_empty() {
            format!("{kind} lock")
        } else {
            format!("{kind} lock on {object}")
        };
        let lock = match text(&row, "holder") {
            Some(holder) => format!(
                "{what}, held by session {holder} of {}@{} (its state is {} s old)",
                said("user"),
                said("host"),
                said("seconds")
            ),
            None => what,
        };
        found.insert(id, lock);
    }
    Ok(found)
}

/// No session could be had for it, so nothing was sent.
pub(super) fn no_session(error: &SessionError) -> NotSent {
    let text = error.to_string();
    match error {
        SessionError::Server { code, .. } if NO_CONNECTION.contains(code) => {
            NotSent::NoConnection(text)
        }
        SessionError::Server { .. } => NotSent::Login(text),
        SessionError::Unable(_) | SessionError::TimedOut => NotSent::NoConnection(text),
        _ => NotSent::Other(text),
    }
}

/// How a write ended that was begun; `lock`: what it was last seen behind.
pub(super) fn ended(error: &OpsError, lock: Option<String>) -> Result<OpDone, OpError> {
    let told = op_error(error);
    let Some(code) = error.code().filter(|code| !UNKNOWN.contains(code)) else {
        return Err(told);
    };
    let text = told.to_string();
    Ok(OpDone::NotSent(match code {
        code if LOCKED.contains(&code) => NotSent::Locked(lock.unwrap_or(text)),
        code if READ_ONLY.contains(&code) => NotSent::ReadOnly,
        code if DISK.contains(&code) => NotSent::Disk,
        code if TABLE.contains(&code) => NotSent::Table(text),
        _ => NotSent::Other(text),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16) -> SessionError {
        SessionError::Server {
            code,
            message: "so it is".into(),
        }
    }

    #[test]
    fn a_refusal_says_what_was_not_sent() {
        let wrote = |code| {
            let error = OpsError::Step {
                step: "write a marker",
                source: server(code),
            };
            match ended(&error, Some("a lock".into())) {
                Ok(OpDone::NotSent(why)) => Some(why),
                _ => None,
            }
        };
        assert_eq!(wrote(1205), Some(NotSent::Locked("a lock".into())));
        assert_eq!(wrote(1290), Some(NotSent::ReadOnly));
        assert_eq!(wrote(1114), Some(NotSent::Disk));
        let told = "cannot write a marker: MySQL answered with error 1146: so it is";
        assert_eq!(wrote(1146), Some(NotSent::Table(told.into())));
        assert!(matches!(wrote(1062), Some(NotSent::Other(_))));
        // It may have been on its way to the ackers already.
        assert_eq!(wrote(1317), None);
        let gone = OpsError::Step {
            step: "write a marker",
            source: SessionError::TimedOut,
        };
        assert!(ended(&gone, None).is_err());
        let login = |code| no_session(&server(code));
        assert!(matches!(login(1045), NotSent::Login(_)));
        assert!(matches!(login(1040), NotSent::NoConnection(_)));
    }
}
