//! What an observer sees of an instance from outside.
//!
//! Two looks, because they fail apart: a warm session goes on working when no new client gets in
//! (`max_connections`), and a fresh one tells a reset from a refusal. A stopped process accepts TCP
//! and never greets: only a deadline sees that.

use std::time::Duration;

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
    pub super_read_only: bool,
    pub gtid_executed: String,
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

/// The ground in the same round trip: every account may read it. A server without the plugin has no
/// such variables, and answers all the same.
const LOOK: &str = "SELECT 1; SELECT @@server_uuid AS uuid, \
    CAST(@@global.super_read_only AS CHAR) AS sro, @@global.gtid_executed AS executed; \
    SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM performance_schema.global_variables \
    WHERE VARIABLE_NAME IN ('rpl_semi_sync_source_enabled','rpl_semi_sync_source_timeout',\
    'rpl_semi_sync_source_wait_point','rpl_semi_sync_source_wait_no_replica',\
    'rpl_semi_sync_source_wait_for_replica_count','sync_binlog','innodb_flush_log_at_trx_commit') \
    UNION ALL \
    SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_status \
    WHERE VARIABLE_NAME IN ('Rpl_semi_sync_source_status','Rpl_semi_sync_source_no_times',\
    'Rpl_semi_sync_source_no_tx','Rpl_semi_sync_source_clients')";

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
    let sets = session.ask(LOOK, deadline).await?;
    let row = sets.get(1).and_then(|rows| rows.first());
    let row = row.ok_or(SessionError::Unexpected("uuid"))?;
    Ok(Seen {
        server_uuid: text(row, "uuid").ok_or(SessionError::Unexpected("uuid"))?,
        super_read_only: flag(row, "sro")?,
        gtid_executed: gtid_set(row, "executed")?,
        ground: ground(sets.get(2)).ok(),
        took: Duration::ZERO,
    })
}

/// Without the plugin there is none.
fn ground(rows: Option<&Rows>) -> Result<SourceGround, SessionError> {
    let of = |name: &'static str| {
        let rows = rows.into_iter().flatten();
        let mut named = rows
            .filter(|row| text(row, "name").is_some_and(|found| found.eq_ignore_ascii_case(name)));
        named.next().ok_or(SessionError::Unexpected(name))
    };
    let count = |name| number(of(name)?, "value");
    let small = |name| count(name).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let on = |name| flag(of(name)?, "value");
    Ok(SourceGround {
        enabled: on("rpl_semi_sync_source_enabled")?,
        status: on("Rpl_semi_sync_source_status")?,
        timeout_ms: count("rpl_semi_sync_source_timeout")?,
        wait_point: text(of("rpl_semi_sync_source_wait_point")?, "value").unwrap_or_default(),
        wait_no_replica: on("rpl_semi_sync_source_wait_no_replica")?,
        k: small("rpl_semi_sync_source_wait_for_replica_count")?,
        no_times: count("Rpl_semi_sync_source_no_times")?,
        no_tx: count("Rpl_semi_sync_source_no_tx")?,
        clients: small("Rpl_semi_sync_source_clients")?,
        sync_binlog: count("sync_binlog")?,
        flush_log: count("innodb_flush_log_at_trx_commit")?,
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
