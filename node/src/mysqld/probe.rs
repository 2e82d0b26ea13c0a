//! What an observer sees of an instance from outside.
//!
//! Two looks, because they fail apart: a warm session goes on working when no new client gets in
//! (`max_connections`), and a fresh one tells a reset from a refusal. A stopped process accepts TCP
//! and never greets: only a deadline sees that.

use std::time::Duration;

use mysql_async::Row;
use primacy_core::observe::{self as core, SourceGround};
use tokio::time::Instant;

use super::session::{Rows, Session, SessionError, Target, flag, gtid_set, number, text};

/// What one look saw. Everything but `Answered`, `Failed` and `Unable` is silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    Answered(Seen),
    /// MySQL answered, with an error: 1040 full, 1045 wrong password, 1129 blocked, 3032 offline.
    /// It is alive.
    Failed {
        code: u16,
        message: String,
    },
    /// Nobody listens: the process is gone, and its host is there.
    Refused,
    /// The connection broke: as a rule the process ended just now.
    Reset,
    /// Neither greeting nor answer in time: stopped, stuck, or cut off.
    Silent,
    /// This process could not even ask: that says nothing of the server.
    Unable(String),
    /// Neither of these, a failed TLS handshake, say.
    Other(String),
}

impl Sight {
    /// Whether a MySQL server answered at all, whatever it said.
    pub fn is_alive(&self) -> bool {
        matches!(self, Sight::Answered(_) | Sight::Failed { .. })
    }
}

/// What every account may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub server_uuid: String,
    /// No application may write; `super_read_only` brings it with it.
    pub read_only: bool,
    pub gtid_executed: String,
    /// What its acknowledgements rest on; `None` on a server without semi-sync.
    pub ground: Option<SourceGround>,
    /// From the question to the answer, or from the connect on.
    pub took: Duration,
}

impl Seen {
    /// In the core's words; `None` where a value is none of MySQL's.
    pub fn core(&self) -> Option<core::Seen> {
        Some(core::Seen {
            server_uuid: self.server_uuid.parse().ok()?,
            executed: self.gtid_executed.parse().ok()?,
            ground: self.ground.clone(),
        })
    }
}

const LOOK: &str = "SELECT 1; SELECT @@server_uuid AS uuid, \
    CAST(@@global.read_only AS CHAR) AS ro, @@global.gtid_executed AS executed";

/// In the same round trip: a sign of life that does not say what acknowledgements are worth would
/// let somebody believe that all is well. USAGE suffices.
const GROUND: &str = "\
SELECT CAST(@@global.rpl_semi_sync_source_enabled AS CHAR) AS enabled,
 CAST(@@global.rpl_semi_sync_source_wait_for_replica_count AS CHAR) AS k,
 CAST(@@global.rpl_semi_sync_source_timeout AS CHAR) AS timeout,
 CAST(@@global.rpl_semi_sync_source_wait_point AS CHAR) AS wait_point,
 CAST(@@global.rpl_semi_sync_source_wait_no_replica AS CHAR) AS wait_no_replica,
 CAST(@@global.sync_binlog AS CHAR) AS sync_binlog,
 CAST(@@global.innodb_flush_log_at_trx_commit AS CHAR) AS flush_log;
SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM performance_schema.global_status
 WHERE VARIABLE_NAME IN ('Rpl_semi_sync_source_status','Rpl_semi_sync_source_no_times',
 'Rpl_semi_sync_source_no_tx','Rpl_semi_sync_source_clients')";

/// ER_UNKNOWN_SYSTEM_VARIABLE: it has no semi-sync.
const UNKNOWN_VARIABLE: u16 = 1193;

/// Asks on a session that is logged in. Unless it answers, the session is spent.
pub async fn warm(session: &mut Session, deadline: Instant) -> Sight {
    let began = Instant::now();
    sight(look(session, deadline).await, began)
}

/// Connects, logs in, asks, and leaves.
pub async fn fresh(target: &Target, deadline: Instant) -> Sight {
    let began = Instant::now();
    let mut session = match Session::connect(target, deadline).await {
        Ok(session) => session,
        Err(error) => return sight(Err(error), began),
    };
    let seen = sight(look(&mut session, deadline).await, began);
    session.close(deadline).await;
    seen
}

async fn look(session: &mut Session, deadline: Instant) -> Result<Seen, SessionError> {
    let sets = match session.ask(&format!("{LOOK};{GROUND}"), deadline).await {
        Err(error) if error.code() == Some(UNKNOWN_VARIABLE) => session.ask(LOOK, deadline).await?,
        answer => answer?,
    };
    let row = sets.get(1).and_then(|rows| rows.first());
    let row = row.ok_or(SessionError::Unexpected("uuid"))?;
    Ok(Seen {
        server_uuid: text(row, "uuid").ok_or(SessionError::Unexpected("uuid"))?,
        read_only: flag(row, "ro")?,
        gtid_executed: gtid_set(row, "executed")?,
        ground: match (sets.get(2).and_then(|rows| rows.first()), sets.get(3)) {
            (Some(variables), Some(status)) => Some(ground(variables, status)?),
            _ => None,
        },
        took: Duration::ZERO,
    })
}

/// What the acknowledgements of this server rest on; `None` where it has no semi-sync.
pub async fn ground_of(
    session: &mut Session,
    deadline: Instant,
) -> Result<Option<SourceGround>, SessionError> {
    let sets = match session.ask(GROUND, deadline).await {
        Err(error) if error.code() == Some(UNKNOWN_VARIABLE) => return Ok(None),
        answer => answer?,
    };
    match (sets.first().and_then(|rows| rows.first()), sets.get(1)) {
        (Some(variables), Some(status)) => ground(variables, status).map(Some),
        _ => Ok(None),
    }
}

fn ground(variables: &Row, status: &Rows) -> Result<SourceGround, SessionError> {
    let status = |name: &'static str| {
        let mut rows = status.iter();
        let row = rows.find(|row| text(row, "name").as_deref() == Some(name));
        row.ok_or(SessionError::Unexpected(name))
    };
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(SourceGround {
        enabled: flag(variables, "enabled")?,
        status: flag(status("Rpl_semi_sync_source_status")?, "value")?,
        timeout_ms: number(variables, "timeout")?,
        wait_point: text(variables, "wait_point").unwrap_or_default(),
        wait_no_replica: flag(variables, "wait_no_replica")?,
        k: small(number(variables, "k")?),
        no_times: number(status("Rpl_semi_sync_source_no_times")?, "value")?,
        no_tx: number(status("Rpl_semi_sync_source_no_tx")?, "value")?,
        clients: small(number(status("Rpl_semi_sync_source_clients")?, "value")?),
        sync_binlog: number(variables, "sync_binlog")?,
        flush_log: number(variables, "flush_log")?,
    })
}

fn sight(answer: Result<Seen, SessionError>, began: Instant) -> Sight {
    match answer {
        Ok(seen) => Sight::Answered(Seen {
            took: began.elapsed(),
            ..seen
        }),
        Err(SessionError::Server { code, message }) => Sight::Failed { code, message },
        Err(SessionError::Refused) => Sight::Refused,
        Err(SessionError::Broken | SessionError::Discarded) => Sight::Reset,
        Err(SessionError::TimedOut) => Sight::Silent,
        Err(error @ SessionError::Unable(_)) => Sight::Unable(error.to_string()),
        Err(error @ (SessionError::Other(_) | SessionError::Unexpected(_))) => {
            Sight::Other(error.to_string())
        }
    }
}
