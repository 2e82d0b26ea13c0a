//! MySQL's words in the core's: errors, sets, what a look shows.

use std::error::Error as _;
use std::num::NonZeroU16;

use primacy_core::act::{Ground, OpError, SemiSyncDump, Survey};
use primacy_core::gtid::{GtidSet, Uuid};
use primacy_core::observe::IoThread;
use tokio::time::Instant;

use crate::mysqld::bringup::Version;
use crate::mysqld::inspect::{Dump, Inspection, ThreadState, inspect};
use crate::mysqld::ops::OpsError;
use crate::mysqld::session::{Session, SessionError};

pub(super) fn op_error(error: &OpsError) -> OpError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match error.code() {
        Some(_) => OpError::Refused(text),
        None => OpError::Unknown(text),
    }
}

pub(super) fn session_error(error: &SessionError) -> OpError {
    OpError::Unknown(error.to_string())
}

pub(super) fn set(text: &str) -> Result<GtidSet, OpError> {
    text.parse()
        .map_err(|error| OpError::Unknown(format!("{error}")))
}

pub(super) fn uuid(text: &str) -> Result<Uuid, OpError> {
    text.parse()
        .map_err(|error| OpError::Unknown(format!("{error}")))
}

pub(super) fn acks(k: u32) -> Result<NonZeroU16, OpError> {
    u16::try_from(k)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| OpError::Refused(format!("k = {k} is out of range")))
}

pub(super) async fn survey(session: &mut Session, deadline: Instant) -> Result<Survey, OpError> {
    let seen = inspect(session, deadline)
        .await
        .map_err(|error| session_error(&error))?;
    to_survey(&seen)
}

pub(super) fn to_survey(seen: &Inspection) -> Result<Survey, OpError> {
    let pulse = &seen.pulse;
    let version = Version::parse(&pulse.version).ok_or_else(|| {
        OpError::Unknown(format!("version {:?} is not understood", pulse.version))
    })?;
    let replica = pulse.replica.as_ref();
    let error =
        replica.and_then(|replica| replica.io_error.as_ref().or(replica.sql_error.as_ref()));
    // What others say of themselves may be anything; it must not blind this agent.
    let known = |dump: &Dump| {
        dump.replica_uuid
            .as_ref()
            .and_then(|text| text.parse().ok())
    };
    let semi_sync = || seen.dumps.iter().filter(|dump| dump.semi_sync);
    let semi_sync_dumps = semi_sync()
        .map(|dump| SemiSyncDump {
            session: dump.processlist_id,
            uuid: known(dump),
        })
        .collect();
    let semi_sync_replicas = semi_sync()
        .filter_map(|dump| Some((known(dump)?, dump.processlist_id)))
        .collect();
    Ok(Survey {
        server_uuid: uuid(&pulse.server_uuid)?,
        version: (version.major, version.minor, version.patch),
        super_read_only: pulse.super_read_only,
        offline_mode: pulse.offline_mode,
        executed: set(&pulse.gtid_executed)?,
        received: replica
            .map(|replica| set(&replica.received))
            .transpose()?
            .unwrap_or_default(),
        purged: set(&pulse.gtid_purged)?,
        source: replica.map(|replica| (replica.source_host.clone(), replica.source_port)),
        io: match replica.map(|replica| replica.io) {
            Some(ThreadState::Yes) => IoThread::On,
            Some(ThreadState::Connecting) => IoThread::Connecting,
            Some(ThreadState::No) | None => IoThread::Off,
        },
        applier_runs: replica.is_some_and(|replica| replica.sql == ThreadState::Yes),
        acking: pulse.semi_sync.replica_enabled,
        heartbeats: replica.map_or(0, |replica| replica.heartbeats),
        read_position: replica
            .map(|replica| (replica.read_log_file.clone(), replica.read_log_pos))
            .unwrap_or_default(),
        replication_error: error
            .map(|fault| format!("{}: {}", fault.code, fault.message))
            .unwrap_or_default(),
        semi_sync_source: pulse.semi_sync.source_enabled,
        semi_sync_replicas,
        waiting: u64::from(seen.waiting_for_ack) + u64::from(seen.waiting_for_global_lock),
        semi_sync_dumps,
        ground: Ground {
            source: pulse.semi_sync.ground.clone(),
            ..Ground::default()
        },
    })
}
