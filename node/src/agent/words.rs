//! MySQL's words in the core's: errors, sets, what a look shows.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::num::NonZeroU16;

use primacy_core::act::{ChannelSeen, Ground, OpError, SemiSyncDump, Survey};
use primacy_core::gtid::{GtidSet, Uuid};
use primacy_core::observe::{IoThread, ServerError};

use crate::mysqld::bringup::Version;
use crate::mysqld::inspect::{Channel, Fault, Inspection, Pulse, ThreadState};
use crate::mysqld::ops::OpsError;
use crate::mysqld::session::SessionError;

pub(super) fn op_error(error: &OpsError) -> OpError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match (error, error.code()) {
        (OpsError::StillAtWork { .. } | OpsError::FreezeHangs, _) => OpError::Hangs(text),
        (_, Some(_)) => OpError::Refused(text),
        (_, None) => OpError::Unknown(text),
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

pub(super) fn to_survey(seen: &Inspection) -> Result<Survey, OpError> {
    let pulse = &seen.pulse;
    let version = Version::parse(&pulse.version).ok_or_else(|| {
        OpError::Unknown(format!("version {:?} is not understood", pulse.version))
    })?;
    let replica = pulse.replica.as_ref();
    let semi_sync_dumps: Vec<SemiSyncDump> = seen
        .dumps
        .iter()
        .filter(|dump| dump.semi_sync)
        .map(|dump| SemiSyncDump {
            session: dump.processlist_id,
            uuid: dump.uuid(),
        })
        .collect();
    let semi_sync_replicas = semi_sync_dumps
        .iter()
        .filter_map(|dump| Some((dump.uuid?, dump.session)))
        .collect();
    Ok(Survey {
        server_uuid: uuid(&pulse.server_uuid)?,
        version: (version.major, version.minor, version.patch),
        read_only: pulse.read_only,
        super_read_only: pulse.super_read_only,
        offline_mode: pulse.offline_mode,
        executed: set(&pulse.gtid_executed)?,
        received: replica
            .map(|replica| set(&replica.received))
            .transpose()?
            .unwrap_or_default(),
        purged: set(&pulse.gtid_purged)?,
        source: replica.map(|replica| (replica.source_host.clone(), replica.source_port)),
        io: replica.map_or(IoThread::Off, |replica| io_thread(replica.io)),
        receiver_waits: replica.is_some_and(|replica| replica.waits),
        receiver_bytes: None,
        applier_runs: replica.is_some_and(|replica| replica.sql == ThreadState::Yes),
        acking: pulse.semi_sync.replica_enabled,
        heartbeats: replica.map_or(0, |replica| replica.heartbeats),
        read_position: replica
            .map(|replica| (replica.read_log_file.clone(), replica.read_log_pos))
            .unwrap_or_default(),
        receiver_error: fault(replica.and_then(|of| of.io_error.as_ref())),
        applier_error: fault(replica.and_then(|of| of.sql_error.as_ref())),
        semi_sync_source: pulse.semi_sync.source_enabled,
        semi_sync_replicas,
        waiting: u64::from(seen.waiting_for_ack) + u64::from(seen.waiting_for_global_lock),
        semi_sync_dumps,
        ground: ground(pulse),
        ack_waits: u64::from(seen.waiting_for_ack),
        ack_wait_ms: seen.oldest_ack_wait_s.map(|seconds| seconds * 1_000),
        probes: BTreeMap::new(),
        login_error: None,
    })
}

fn io_thread(state: ThreadState) -> IoThread {
    match state {
        ThreadState::Yes => IoThread::On,
        ThreadState::Connecting => IoThread::Connecting,
        ThreadState::No => IoThread::Off,
    }
}

fn ground(pulse: &Pulse) -> Ground {
    let settings = &pulse.settings;
    Ground {
        source: pulse.semi_sync.ground.clone(),
        sync_relay_log: settings.sync_relay_log,
        relay_log_recovery: settings.relay_log_recovery,
        channels: pulse.channels.iter().map(channel).collect(),
        filters: pulse.filters.clone(),
        binlog: None,
        event_scheduler: settings.event_scheduler.clone(),
        branches: None,
    }
}

fn server_error(fault: &Fault) -> ServerError {
    ServerError {
        number: fault.code,
        text: fault.message.clone(),
    }
}

/// As the core keeps it: `1062: Duplicate entry …`, or nothing.
fn fault(of: Option<&Fault>) -> String {
    of.map_or_else(String::new, |of| format!("{}: {}", of.code, of.message))
}

fn channel(channel: &Channel) -> ChannelSeen {
    ChannelSeen {
        name: channel.name.clone(),
        host: channel.host.clone(),
        port: channel.port,
        source_uuid: channel.source_uuid.parse().ok(),
        io: io_thread(channel.io),
        applier_runs: channel.sql == ThreadState::Yes,
        delay_s: channel.delay_s,
        receiver_error: channel.io_error.as_ref().map(server_error),
        applier_error: channel.sql_error.as_ref().map(server_error),
    }
}
