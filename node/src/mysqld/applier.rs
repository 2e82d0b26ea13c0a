//! What a replica's applier is at, and which sessions of clients hold what it needs.
//!
//! Everything is read from `performance_schema`, which the agent's account may. A session that holds the global read lock is ended whether or not anything waits for
//! it: on a primary every write would.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::ops::{OpsError, at, kill_sessions};
use super::session::{Rows, Session, SessionError, flag, number, text};

/// The applier's threads, and what each is at.
const THREADS: &str = "\
SELECT CAST(t.THREAD_ID AS CHAR) AS thread, IFNULL(t.PROCESSLIST_STATE, '') AS state
 FROM performance_schema.threads t
 WHERE t.NAME IN ('thread/sql/replica_sql', 'thread/sql/replica_worker')";

/// Sessions of clients that hold a lock which the applier waits for, or the global read lock; one
/// that waits itself stands in the way of whoever came after it.
const HOLDERS: &str = "\
SELECT CAST(t.PROCESSLIST_ID AS CHAR) AS session, t.PROCESSLIST_USER AS user,
 t.PROCESSLIST_HOST AS host, CAST(IFNULL(t.PROCESSLIST_TIME, 0) AS CHAR) AS seconds,
 CONCAT_WS(' ', LOWER(m.OBJECT_TYPE), 'lock', m.LOCK_TYPE, m.OBJECT_SCHEMA, m.OBJECT_NAME) AS what
 FROM performance_schema.metadata_locks m
 JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID
 WHERE t.TYPE = 'FOREGROUND' AND t.NAME = 'thread/sql/one_connection'
 AND t.PROCESSLIST_COMMAND NOT LIKE 'Binlog Dump%' AND t.PROCESSLIST_ID <> CONNECTION_ID()
 AND t.PROCESSLIST_USER <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1)
 AND ((m.LOCK_STATUS = 'GRANTED' AND m.LOCK_TYPE = 'SHARED' AND m.OBJECT_TYPE IN ('GLOBAL', 'COMMIT'))
 OR EXISTS (SELECT 1 FROM performance_schema.metadata_locks w
  JOIN performance_schema.threads a ON a.THREAD_ID = w.OWNER_THREAD_ID
  WHERE w.LOCK_STATUS = 'PENDING' AND a.NAME IN ('thread/sql/replica_sql', 'thread/sql/replica_worker')
  AND w.OBJECT_TYPE = m.OBJECT_TYPE AND w.OBJECT_SCHEMA <=> m.OBJECT_SCHEMA
  AND w.OBJECT_NAME <=> m.OBJECT_NAME
  AND (w.LOCK_TYPE IN ('EXCLUSIVE', 'SHARED_NO_READ_WRITE', 'SHARED_NO_WRITE', 'INTENTION_EXCLUSIVE')
   OR m.LOCK_TYPE IN ('EXCLUSIVE', 'SHARED_NO_READ_WRITE', 'SHARED_NO_WRITE', 'SHARED_READ_ONLY', 'SHARED'))))
UNION
SELECT CAST(t.PROCESSLIST_ID AS CHAR), t.PROCESSLIST_USER, t.PROCESSLIST_HOST,
 CAST(IFNULL(t.PROCESSLIST_TIME, 0) AS CHAR),
 CONCAT_WS(' ', 'rows of', l.OBJECT_SCHEMA, l.OBJECT_NAME)
 FROM performance_schema.data_lock_waits d
 JOIN performance_schema.threads a ON a.THREAD_ID = d.REQUESTING_THREAD_ID
 JOIN performance_schema.threads t ON t.THREAD_ID = d.BLOCKING_THREAD_ID
 JOIN performance_schema.data_locks l ON l.ENGINE_LOCK_ID = d.BLOCKING_ENGINE_LOCK_ID
 WHERE a.NAME IN ('thread/sql/replica_sql', 'thread/sql/replica_worker')
 AND t.TYPE = 'FOREGROUND' AND t.PROCESSLIST_ID <> CONNECTION_ID()";

/// Whether anybody may stand in the applier's way: next to nothing where nobody does.
const WAITED: &str = "\
SELECT CAST(EXISTS(SELECT 1 FROM performance_schema.metadata_locks WHERE LOCK_STATUS = 'PENDING')
 OR EXISTS(SELECT 1 FROM performance_schema.metadata_locks WHERE OBJECT_TYPE IN ('GLOBAL', 'COMMIT')
  AND LOCK_TYPE = 'SHARED' AND LOCK_STATUS = 'GRANTED')
 OR EXISTS(SELECT 1 FROM performance_schema.data_lock_waits) AS CHAR) AS waited";

/// Pages that anybody asked to change: moves while the applier works within one statement.
const WRITES: &str = "\
SELECT VARIABLE_VALUE AS writes FROM performance_schema.global_status
 WHERE VARIABLE_NAME = 'Innodb_buffer_pool_write_requests'";

/// One look at the applier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Changes whenever it makes progress, within one transaction too.
    pub at: String,
    /// Who holds what it needs, by session.
    pub holders: BTreeMap<u64, String>,
}

/// Looks, in one round trip where nobody waits for anything.
pub async fn look(session: &mut Session, deadline: Instant) -> Result<Seen, SessionError> {
    let sets = session
        .ask(&format!("{THREADS};{WAITED};{WRITES}"), deadline)
        .await?;
    let [threads, waited, writes] = &sets[..] else {
        return Err(SessionError::Unexpected("three answers"));
    };
    let waited = waited.first().ok_or(SessionError::Unexpected("waited"))?;
    let holders = match flag(waited, "waited")? {
        true => held(&session.ask(HOLDERS, deadline).await?.concat())?,
        false => BTreeMap::new(),
    };
    let mut waits = !holders.is_empty() || threads.is_empty();
    let mut at = String::new();
    for row in threads {
        let state = text(row, "state").unwrap_or_default();
        let thread = number(row, "thread")?;
        waits |= state.contains("lock");
        at.push_str(&format!("{thread}:{state} "));
    }
    if !waits {
        let writes = writes.first().map(|row| number(row, "writes"));
        at.push_str(&writes.transpose()?.unwrap_or_default().to_string());
    }
    Ok(Seen { at, holders })
}

fn held(rows: &Rows) -> Result<BTreeMap<u64, String>, SessionError> {
    let mut holders: BTreeMap<u64, String> = BTreeMap::new();
    for row in rows {
        let session = number(row, "session")?;
        let seconds = number(row, "seconds")?;
        let part = |name: &'static str| text(row, name).unwrap_or_default();
        let (user, host, what) = (part("user"), part("host"), part("what"));
        holders.entry(session).or_insert_with(|| {
            format!("session {session} of {user}@{host}, {seconds} s in its statement or idle, holds the {what}")
        });
    }
    Ok(holders)
}

/// Ends these sessions; what was ended, a sentence each.
pub async fn end(
    session: &mut Session,
    holders: &BTreeMap<u64, String>,
    deadline: Instant,
) -> Result<Vec<String>, OpsError> {
    if holders.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<u64> = holders.keys().copied().collect();
    kill_sessions(session, &ids, deadline).await?;
    Ok(holders.values().map(|who| format!("ended {who}")).collect())
}

/// As one op of the agent.
pub async fn look_and_end(
    session: &mut Session,
    ends: bool,
    deadline: Instant,
) -> Result<primacy_core::act::Applier, OpsError> {
    let seen = look(session, deadline)
        .await
        .map_err(at("look at the applier"))?;
    let ended = match ends {
        true => end(session, &seen.holders, deadline).await?,
        false => Vec::new(),
    };
    Ok(primacy_core::act::Applier {
        at: seen.at,
        holders: seen.holders.into_values().collect(),
        ended,
    })
}
