//! What an order changes in an instance, apart from where it replicates from (`follow`).
//!
//! Each function is idempotent, and answers only after the server did. An error other than
//! MySQL's own leaves the outcome unknown: ask again, never assume.
//!
//! **Invariant:** nothing here stops an applier on the way to opening, lowers `k`, its timeout or
//! the source side of semi-sync on an instance with waiting commits.

use std::{collections::BTreeSet, num::NonZeroU16, time::Duration};

use primacy_core::gtid::Uuid;
use tokio::time::Instant;

use super::inspect::{
    DUMPS, Inspection, Pulse, Replica, ThreadState, inspection, pulse_after, read_dumps,
    read_inspection,
};
use super::session::{Rows, Session, SessionError, flag, gtid_set, number, quote, text, within};

/// Between two looks whether a killed session is gone.
const ENDED_EVERY: Duration = Duration::from_millis(1);
/// ER_NO_SUCH_THREAD: it ended by itself.
const NO_SUCH_THREAD: u16 = 1094;
/// ER_KILL_DENIED_ERROR: an applier is killed only by an account with SYSTEM_USER.
pub(super) const KILL_DENIED: u16 = 1095;
/// STOP REPLICA on a server that was never told to replicate.
const NOT_CONFIGURED: [u16; 2] = [1200, 3074];
/// More time than `WAIT_FOR_EXECUTED_GTID_SET` is given, for its answer to arrive.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    #[error("cannot {step}")]
    Step {
        step: &'static str,
        source: SessionError,
    },
    #[error("not all of {received} was applied within {waited:?}")]
    NotApplied { received: String, waited: Duration },
    #[error("this would discard {unapplied}, received and not applied")]
    WouldDiscard { unapplied: String },
    #[error("the instance is open: fence it first")]
    NotFenced,
    #[error(
        "clients are cut, but {waiting} commits wait for acknowledgements that do not come: only \
         SIGKILL closes this instance"
    )]
    OnlyKillingHelps { waiting: u64 },
    #[error("earlier sessions do not end: {sessions:?}; only SIGKILL is certain now")]
    StillAtWork { sessions: Vec<u64> },
    #[error(
        "its receiver does not stop, though the server answered just before: it hangs in that, as \
         on a full disk"
    )]
    FreezeHangs,
    #[error("both switches were answered, and yet it is open: somebody else opened it")]
    OpenedMeanwhile,
    #[error("{0} commits wait for acknowledgements: turning semi-sync off would acknowledge them")]
    CommitsWaiting(u64),
}

impl OpsError {
    /// The MySQL error number, if MySQL answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            OpsError::Step { source, .. } => source.code(),
            _ => None,
        }
    }
}

pub(crate) fn at(step: &'static str) -> impl FnOnce(SessionError) -> OpsError {
    move |source| OpsError::Step { step, source }
}

/// Whether the server was never told to replicate.
pub(super) fn is_unconfigured(error: &SessionError) -> bool {
    error
        .code()
        .is_some_and(|code| NOT_CONFIGURED.contains(&code))
}

/// Stops receiving, so that this instance acknowledges nothing more, and says what it is and holds,
/// read after that, in one round trip. The applier runs on.
///
/// 6–11 ms on a quiet machine, 19–78 ms under load; 2 s if the source is a black hole *and*
/// `replica_net_timeout` has run out. A live configuration of semi-sync is switched off too: it
/// takes effect at the next connection only, which must not happen by accident.
///
/// A receiver that waits for a full disk does not stop: that is told apart (`FreezeHangs`).
pub async fn freeze(session: &mut Session, deadline: Instant) -> Result<Inspection, OpsError> {
    let look = format!(
        "SET GLOBAL rpl_semi_sync_replica_enabled=OFF; {}",
        inspection()
    );
    let stop = format!("STOP REPLICA IO_THREAD; {look}");
    let sets = match session.ask(&stop, deadline).await {
        Err(error) if is_unconfigured(&error) => session.ask(&look, deadline).await,
        answer => answer,
    }
    .map_err(|error| match error {
        SessionError::TimedOut => OpsError::FreezeHangs,
        error => at("freeze")(error),
    })?;
    let seen = read_inspection(&sets).map_err(at("freeze"))?;
    let receives = |replica: &Replica| replica.io != ThreadState::No;
    if seen.pulse.replica.as_ref().is_some_and(receives) {
        return Err(at("freeze")(SessionError::Unexpected(
            "a receiver that has stopped",
        )));
    }
    Ok(seen)
}

/// Has everything received applied, and waits for that: the applier of one that restarted is
/// stopped. One round trip where all is applied already. Until `deadline` the wait has begun.
pub async fn apply(
    session: &mut Session,
    received: &str,
    limit: Duration,
    deadline: Instant,
) -> Result<(), OpsError> {
    let sql = format!(
        "{}; SELECT CHANNEL_NAME FROM \
         performance_schema.replication_connection_configuration WHERE CHANNEL_NAME=''",
        waiting(received, Duration::ZERO)?
    );
    let sets = session
        .ask(&sql, deadline)
        .await
        .map_err(at("see what is applied"))?;
    let has_source = sets.get(1).is_some_and(|rows| !rows.is_empty());
    match applied(&sets, received, Duration::ZERO) {
        Err(OpsError::NotApplied { .. }) => {
            if has_source {
                start_applier(session, deadline).await?;
            }
            wait_applied(session, received, limit).await
        }
        answer => answer,
    }
}

/// Waits until everything received is applied. Nothing but `Ok` means that it is.
pub async fn wait_applied(
    session: &mut Session,
    received: &str,
    limit: Duration,
) -> Result<(), OpsError> {
    let wait = waiting(received, limit)?;
    let sets = session.ask(&wait, within(limit + ANSWER_MARGIN)).await;
    applied(&sets.map_err(at(WAIT_STEP))?, received, limit)
}

pub(super) const START_APPLIER: &str = "START REPLICA SQL_THREAD";

pub async fn start_applier(session: &mut Session, deadline: Instant) -> Result<(), OpsError> {
    session
        .execute(START_APPLIER, deadline)
        .await
        .map_err(at("start the applier"))
}

const WAIT_STEP: &str = "wait for the applier";

/// The statement that waits.
fn waiting(received: &str, limit: Duration) -> Result<String, OpsError> {
    let set = quote(received).map_err(at(WAIT_STEP))?;
    // To MySQL, 0 seconds are for ever.
    let seconds = limit.as_secs_f64().max(0.001);
    Ok(format!(
        "SELECT CAST(WAIT_FOR_EXECUTED_GTID_SET({set}, {seconds:.3}) AS CHAR) AS late"
    ))
}

fn applied(sets: &[Rows], received: &str, limit: Duration) -> Result<(), OpsError> {
    let row = sets.first().and_then(|rows| rows.first());
    let row = row
        .ok_or(SessionError::Unexpected("late"))
        .map_err(at(WAIT_STEP))?;
    // 1 is a timeout, and no error to MySQL.
    match number(row, "late").map_err(at(WAIT_STEP))? {
        0 => Ok(()),
        _ => Err(OpsError::NotApplied {
            received: received.to_owned(),
            waited: limit,
        }),
    }
}

/// Lets the server close a session after one idle second.
///
/// Done *before* an order's token is checked: if this process is then stopped for a while, and
/// another instance opened meanwhile, its late statement finds the session dead.
pub async fn arm(session: &mut Session, deadline: Instant) -> Result<(), SessionError> {
    session
        .execute("SET SESSION wait_timeout=1", deadline)
        .await
}

/// Sets whatever acknowledgements rest on but that semi-sync is switched on.
fn ground(acks: NonZeroU16) -> String {
    format!(
        "SET GLOBAL rpl_semi_sync_source_timeout=4294967295; \
         SET GLOBAL rpl_semi_sync_source_wait_point=AFTER_SYNC; \
         SET GLOBAL rpl_semi_sync_source_wait_no_replica=ON; \
         SET GLOBAL rpl_semi_sync_source_wait_for_replica_count={acks}; \
         SET GLOBAL sync_binlog=1; SET GLOBAL innodb_flush_log_at_trx_commit=1"
    )
}

/// Opens an instance for writes that wait for `acks` replicas; clients are let in last.
///
/// Everything that acknowledgements rest on is set first, whatever somebody set before.
///
/// The applier is left alone: STOP REPLICA may hang for 60 s, and once everything is applied it
/// holds no lock. `clean_up` comes later. 0.5–8 ms (measured on 9.7.4).
pub async fn open(
    session: &mut Session,
    acks: NonZeroU16,
    deadline: Instant,
) -> Result<String, OpsError> {
    let sql = format!(
        "{}; \
         SET GLOBAL rpl_semi_sync_source_enabled=ON; \
         SET GLOBAL super_read_only=OFF; SET GLOBAL read_only=OFF; SET GLOBAL offline_mode=OFF; \
         {EXECUTED}",
        ground(acks)
    );
    let sets = session.ask(&sql, deadline).await;
    let (_, executed) = sets
        .and_then(|sets| read_executed(sets.first()))
        .map_err(at("open"))?;
    Ok(executed)
}

/// Changes k on an open primary. Raising is safe at any time; lowering only after the log says so.
pub async fn set_acks(
    session: &mut Session,
    acks: NonZeroU16,
    deadline: Instant,
) -> Result<(), OpsError> {
    let sql = format!("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count={acks}");
    session
        .execute(&sql, deadline)
        .await
        .map_err(at("set the number of acknowledgements"))
}

/// Puts back what the acknowledgements of an open primary rest on, after somebody changed it.
///
/// Semi-sync is toggled only where commits do not wait (its status is OFF): that sets the status ON,
/// and nobody is there to be answered by it. A k above what the log says is put back too; commits
/// that waited for more are answered with what they have.
pub async fn repair_ground(
    session: &mut Session,
    acks: NonZeroU16,
    deadline: Instant,
) -> Result<(), OpsError> {
    let step = "put the ground back";
    let sql = format!(
        "{}; \
         SELECT VARIABLE_VALUE AS waits FROM performance_schema.global_status \
         WHERE VARIABLE_NAME='Rpl_semi_sync_source_status'",
        ground(acks)
    );
    let sets = session.ask(&sql, deadline).await.map_err(at(step))?;
    let row = sets.first().and_then(|rows| rows.first());
    let row = row
        .ok_or(SessionError::Unexpected("waits"))
        .map_err(at(step))?;
    if !flag(row, "waits").map_err(at(step))? {
        let toggle = "SET GLOBAL rpl_semi_sync_source_enabled=OFF; \
                      SET GLOBAL rpl_semi_sync_source_enabled=ON";
        session.execute(toggle, deadline).await.map_err(at(step))?;
    }
    Ok(())
}

pub async fn local_probe(session: &mut Session, deadline: Instant) -> Result<(), SessionError> {
    session.execute("SELECT 1", deadline).await
}

/// Cuts sessions by their processlist ids: strangers among the ackers, an applier. Returns how many
/// were still there.
pub async fn kill_sessions(
    session: &mut Session,
    ids: &[u64],
    deadline: Instant,
) -> Result<usize, OpsError> {
    let mut killed = 0;
    for id in ids {
        match session.execute(&format!("KILL {id}"), deadline).await {
            Ok(()) => killed += 1,
            Err(error) if error.code() == Some(NO_SUCH_THREAD) => {}
            Err(error) => return Err(at("kill a session")(error)),
        }
    }
    Ok(killed)
}

/// Ends the connection of every replica whose acknowledgements would count and that is none of these
/// servers, and waits until it has ended: it was let in under an epoch before, and nobody counts it.
/// Returns the `server_uuid` and what is executed, read after that. One round trip where there is none.
pub async fn prepare(
    session: &mut Session,
    members: &BTreeSet<Uuid>,
    deadline: Instant,
) -> Result<(String, String), OpsError> {
    let read = "see who is attached, and what it has";
    let sql = format!("{DUMPS}; {EXECUTED}");
    let sets = session.ask(&sql, deadline).await.map_err(at(read))?;
    let attached = read_dumps(sets.first()).map_err(at(read))?;
    let strangers: Vec<u64> = attached
        .iter()
        .filter(|dump| dump.semi_sync && !dump.uuid().is_some_and(|uuid| members.contains(&uuid)))
        .map(|dump| dump.processlist_id)
        .collect();
    if strangers.is_empty() {
        return read_executed(sets.get(1)).map_err(at(read));
    }
    end_sessions(session, &strangers, deadline).await?;
    executed(session, deadline).await.map_err(at(read))
}

/// Ends sessions and waits until the server has none of them any more: what one was at is done by
/// then, or never will be.
///
/// One that waits for an acknowledgement is not ended by this, nor by anything short of SIGKILL
/// (measured on 9.7.4): then this is an error.
pub async fn end_sessions(
    session: &mut Session,
    ids: &[u64],
    deadline: Instant,
) -> Result<(), OpsError> {
    let mut left = ids.to_vec();
    loop {
        let mut still = Vec::new();
        for id in left {
            match session.execute(&format!("KILL {id}"), deadline).await {
                Ok(()) => still.push(id),
                // It is not so far that it can be killed.
                Err(error) if error.code() == Some(KILL_DENIED) => still.push(id),
                Err(error) if error.code() == Some(NO_SUCH_THREAD) => {}
                Err(error) => return Err(at("end an earlier session")(error)),
            }
        }
        if still.is_empty() {
            return Ok(());
        }
        if Instant::now() + ENDED_EVERY >= deadline {
            return Err(OpsError::StillAtWork { sessions: still });
        }
        tokio::time::sleep(ENDED_EVERY).await;
        left = still;
    }
}

/// What was received and is not executed; empty on an instance that does not replicate.
pub(super) async fn unapplied(
    session: &mut Session,
    deadline: Instant,
) -> Result<String, OpsError> {
    let step = "compare what was received with what is applied";
    let sql = "SELECT GTID_SUBTRACT(RECEIVED_TRANSACTION_SET, @@global.gtid_executed) AS rest \
               FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME=''";
    let sets = session.ask(sql, deadline).await.map_err(at(step))?;
    match sets.first().and_then(|rows| rows.first()) {
        Some(row) => gtid_set(row, "rest").map_err(at(step)),
        None => Ok(String::new()),
    }
}

const EXECUTED: &str = "SELECT @@server_uuid AS uuid, @@global.gtid_executed AS executed";

/// Its `server_uuid`, and what it has executed.
pub(crate) async fn executed(
    session: &mut Session,
    deadline: Instant,
) -> Result<(String, String), SessionError> {
    read_executed(session.ask(EXECUTED, deadline).await?.first())
}

fn read_executed(rows: Option<&Rows>) -> Result<(String, String), SessionError> {
    let row = rows.and_then(|rows| rows.first());
    let row = row.ok_or(SessionError::Unexpected("executed"))?;
    let uuid = text(row, "uuid").ok_or(SessionError::Unexpected("uuid"))?;
    Ok((uuid, gtid_set(row, "executed")?))
}

/// What an instance is, after these statements; refuses what only a fenced one may do, and what would
/// acknowledge waiting commits. One round trip.
pub(super) async fn fenced_pulse(
    session: &mut Session,
    first: &str,
    deadline: Instant,
) -> Result<Pulse, OpsError> {
    let now = pulse_after(session, first, deadline)
        .await
        .map_err(at("look at the replica"))?;
    if !now.super_read_only {
        return Err(OpsError::NotFenced);
    }
    match now.semi_sync.waiting_sessions {
        0 => Ok(now),
        waiting => Err(OpsError::CommitsWaiting(waiting.into())),
    }
}

pub(super) async fn waiting_commits(
    session: &mut Session,
    deadline: Instant,
) -> Result<u64, SessionError> {
    let sql = "SELECT VARIABLE_VALUE AS waiting FROM performance_schema.global_status \
               WHERE VARIABLE_NAME='Rpl_semi_sync_source_wait_sessions'";
    let sets = session.ask(sql, deadline).await?;
    let row = sets.first().and_then(|rows| rows.first());
    number(row.ok_or(SessionError::Unexpected("waiting"))?, "waiting")
}
