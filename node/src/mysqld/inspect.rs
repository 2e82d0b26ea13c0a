//! What an instance is, in one round trip.
//!
//! Every value is the server's own, untouched; comparing sets and judging ages is the caller's.
//! In particular a replica's progress is a newer heartbeat, a newer queued transaction *or* a moved
//! read position: heartbeats pause while events flow (their age reached 8.5 s during one
//! transaction of 40 MB, measured on 9.7.4). The timestamps are the source's wall clock: compare
//! them for equality, and age them on a clock of your own.

use mysql_async::Row;
use primacy_core::gtid::Uuid;
use primacy_core::observe::{Branches, SourceGround};
use tokio::time::Instant;

use super::session::{Rows, Session, SessionError, flag, gtid_set, number, text};

/// The part that every heartbeat reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    pub server_uuid: String,
    pub server_id: u32,
    pub version: String,
    pub read_only: bool,
    pub super_read_only: bool,
    pub offline_mode: bool,
    pub gtid_executed: String,
    pub gtid_purged: String,
    pub semi_sync: SemiSync,
    /// `None` on an instance that was never told to replicate, or was reset.
    pub replica: Option<Replica>,
    pub settings: Settings,
    /// Every replication channel, whatever it is for.
    pub channels: Vec<Channel>,
    /// Replication filters in the server's words: of each channel, and those for channels to come.
    pub filters: Vec<String>,
}

/// What else the guarantees rest on and any session may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub sync_relay_log: u64,
    pub relay_log_recovery: bool,
    pub event_scheduler: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub name: String,
    pub host: String,
    pub port: u16,
    /// Empty until it has connected once.
    pub source_uuid: String,
    pub io: ThreadState,
    pub sql: ThreadState,
    pub delay_s: u64,
    pub io_error: Option<Fault>,
    pub sql_error: Option<Fault>,
}

impl Pulse {
    /// What it has received, executed or not; empty on an instance that does not replicate.
    pub fn received(&self) -> &str {
        self.replica
            .as_ref()
            .map_or("", |replica| replica.received.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SemiSync {
    pub source_enabled: bool,
    /// k: how many acknowledgements a commit waits for.
    pub acks_required: u16,
    pub replica_enabled: bool,
    /// Whether commits wait at this moment. OFF while `source_enabled` means that MySQL gave up
    /// waiting, and acknowledges alone.
    pub source_status: bool,
    /// Whether this replica acknowledges at this moment. `replica_enabled` says only what its next
    /// connection will do; an acker has left when *this* is false.
    pub replica_status: bool,
    pub source_clients: u32,
    /// Commits that wait for acknowledgements.
    pub waiting_sessions: u32,
    /// What the acknowledgements of a primary rest on.
    pub ground: SourceGround,
}

/// The channel `''`, the only one a managed instance has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub source_host: String,
    pub source_port: u16,
    /// Empty until it has connected once.
    pub source_uuid: String,
    pub io: ThreadState,
    /// Its receiver tries to connect, or waits for the source to send; it writes nothing, and waits for
    /// no room.
    pub waits: bool,
    pub sql: ThreadState,
    pub received: String,
    pub heartbeats: u64,
    pub last_heartbeat: String,
    pub last_queued: String,
    /// How far the receiver has read, within the source's binary logs.
    pub read_log_file: String,
    pub read_log_pos: u64,
    pub io_error: Option<Fault>,
    pub sql_error: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    Yes,
    Connecting,
    No,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: u32,
    pub message: String,
}

/// A replica connected to this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// For `cut`.
    pub processlist_id: u64,
    /// Whatever it gives as its identity. `None` from a program that does not say, a backup of the
    /// binary log, say.
    pub replica_uuid: Option<String>,
    /// Whether its acknowledgements count. MySQL has no list of who may: whoever asks, does, with
    /// any number but zero; what is no number is counted here all the same.
    pub semi_sync: bool,
}

impl Dump {
    /// `None` also where what it gives is no `server_uuid`: what others say of themselves is no reason
    /// to see nothing.
    pub fn uuid(&self) -> Option<Uuid> {
        self.replica_uuid.as_ref()?.parse().ok()
    }
}

/// `Pulse`, and who is connected and stuck: what the agent compares with its orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub pulse: Pulse,
    pub dumps: Vec<Dump>,
    /// Threads in "Waiting for semi-sync ACK from replica".
    pub waiting_for_ack: u32,
    /// Seconds for which the statement has run that waits so and has run longest.
    pub oldest_ack_wait_s: Option<u64>,
    /// Threads in "Waiting for global read lock": behind a fence that is being set, or stuck.
    pub waiting_for_global_lock: u32,
    /// When the newest transaction that this replica's applier executed was committed on the
    /// primary that wrote it, by that host's wall clock, in Unix milliseconds. `None` if the
    /// applier has executed none since it started.
    pub applied_commit_ms: Option<u64>,
}

const PULSE: &str = "\
SELECT @@server_uuid AS uuid, CAST(@@server_id AS CHAR) AS server_id, @@version AS version,
 CAST(@@global.read_only AS CHAR) AS ro, CAST(@@global.super_read_only AS CHAR) AS sro,
 CAST(@@global.offline_mode AS CHAR) AS offline,
 @@global.gtid_executed AS executed, @@global.gtid_purged AS purged,
 CAST(@@global.rpl_semi_sync_source_enabled AS CHAR) AS source_on,
 CAST(@@global.rpl_semi_sync_source_wait_for_replica_count AS CHAR) AS k,
 CAST(@@global.rpl_semi_sync_source_timeout AS CHAR) AS timeout,
 @@global.rpl_semi_sync_source_wait_point AS wait_point,
 CAST(@@global.rpl_semi_sync_source_wait_no_replica AS CHAR) AS no_replica,
 CAST(@@global.sync_binlog AS CHAR) AS sync_binlog,
 CAST(@@global.innodb_flush_log_at_trx_commit AS CHAR) AS flush_log,
 CAST(@@global.rpl_semi_sync_replica_enabled AS CHAR) AS replica_on,
 CAST(@@global.sync_relay_log AS CHAR) AS sync_relay,
 CAST(@@global.relay_log_recovery AS CHAR) AS relay_recovery,
 CAST(@@global.event_scheduler AS CHAR) AS events;
SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM performance_schema.global_status
 WHERE VARIABLE_NAME IN ('Rpl_semi_sync_source_status','Rpl_semi_sync_replica_status',
 'Rpl_semi_sync_source_clients','Rpl_semi_sync_source_wait_sessions',
 'Rpl_semi_sync_source_no_times','Rpl_semi_sync_source_no_tx');
SHOW REPLICA STATUS;
SELECT RECEIVED_TRANSACTION_SET AS received, CAST(COUNT_RECEIVED_HEARTBEATS AS CHAR) AS beats,
 CAST(LAST_HEARTBEAT_TIMESTAMP AS CHAR) AS beat, LAST_QUEUED_TRANSACTION AS queued
 FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME='';
SELECT CONCAT(FILTER_NAME,'=',FILTER_RULE) AS filter
 FROM performance_schema.replication_applier_global_filters WHERE FILTER_RULE<>''";

/// Dump threads announce themselves in user variables of their own; those of older servers have
/// other names for them, which a source takes as well.
pub(super) const DUMPS: &str = "
SELECT CAST(t.PROCESSLIST_ID AS CHAR) AS id,
 MAX(IF(v.VARIABLE_NAME IN ('replica_uuid','slave_uuid'), CAST(v.VARIABLE_VALUE AS CHAR), NULL))
  AS uuid,
 CAST(MAX(v.VARIABLE_NAME IN ('rpl_semi_sync_replica','rpl_semi_sync_slave')
  AND IFNULL(CAST(v.VARIABLE_VALUE AS CHAR),'0') NOT IN ('','0')) AS CHAR) AS semi_sync
 FROM performance_schema.threads t LEFT JOIN performance_schema.user_variables_by_thread v
 ON v.THREAD_ID=t.THREAD_ID AND v.VARIABLE_NAME IN
 ('replica_uuid','slave_uuid','rpl_semi_sync_replica','rpl_semi_sync_slave')
 WHERE t.PROCESSLIST_COMMAND LIKE 'Binlog Dump%' GROUP BY t.PROCESSLIST_ID";

const WAITING: &str = "
SELECT CAST(SUM(PROCESSLIST_STATE='Waiting for semi-sync ACK from replica') AS CHAR) AS ack,
 CAST(MAX(IF(PROCESSLIST_STATE='Waiting for semi-sync ACK from replica',PROCESSLIST_TIME,NULL))
  AS CHAR) AS oldest,
 CAST(SUM(PROCESSLIST_STATE='Waiting for global read lock') AS CHAR) AS global_lock
 FROM performance_schema.threads WHERE TYPE='FOREGROUND'";

/// Zero stands for none.
const APPLIED: &str = "
SELECT CAST(FLOOR(1000 * MAX(UNIX_TIMESTAMP(LAST_APPLIED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP)))
 AS CHAR) AS committed,
 MAX(IF(LAST_ERROR_NUMBER IN (0, 3030), NULL, CONCAT(LAST_ERROR_NUMBER, ' ', LAST_ERROR_MESSAGE)))
 AS error FROM performance_schema.replication_applier_status_by_worker
 WHERE CHANNEL_NAME=''";

/// Prepared branches, their ids as XA COMMIT takes them. The last one: an account without
/// XA_RECOVER_ADMIN is refused it, and has the answers before it.
const BRANCHES: &str = "XA RECOVER CONVERT XID";
/// ER_SPECIFIC_ACCESS_DENIED_ERROR; and ER_XAER_RMERR, which is what older servers say of the same.
const MAY_NOT_SEE: [u16; 2] = [1227, 1401];

/// How many result sets are before it.
const BRANCHES_AT: usize = 8;

/// What `read_inspection` reads: one statement a result set.
pub(super) fn inspection() -> String {
    format!("{PULSE};{DUMPS};{WAITING};{APPLIED}")
}

/// The light variant: all but the other threads of the server.
pub async fn pulse(session: &mut Session, deadline: Instant) -> Result<Pulse, SessionError> {
    pulse_after(session, "", deadline).await
}

/// The same, once these statements are carried out, in one round trip; each ends with a semicolon.
pub(super) async fn pulse_after(
    session: &mut Session,
    statements: &str,
    deadline: Instant,
) -> Result<Pulse, SessionError> {
    let sql = format!("{statements}{PULSE}");
    read_pulse(&session.ask(&sql, deadline).await?)
}

pub async fn inspect(session: &mut Session, deadline: Instant) -> Result<Inspection, SessionError> {
    read_inspection(&session.ask(&inspection(), deadline).await?)
}

/// The replicas that are connected.
pub(super) fn read_dumps(rows: Option<&Rows>) -> Result<Vec<Dump>, SessionError> {
    let rows = rows.ok_or(SessionError::Unexpected("the connected replicas"))?;
    rows.iter().map(read_dump).collect()
}

/// What `inspect` sees, and which branches are prepared, in the same round trip; `None` where the
/// account may not see them, which costs another one.
pub async fn inspect_branches(
    session: &mut Session,
    deadline: Instant,
) -> Result<(Inspection, Option<Branches>), SessionError> {
    let sql = format!("{};{BRANCHES}", inspection());
    match session.ask(&sql, deadline).await {
        Ok(sets) => {
            let branches = sets.get(BRANCHES_AT).map(read_branches).transpose()?;
            Ok((read_inspection(&sets)?, branches))
        }
        Err(error) if error.code().is_some_and(|code| MAY_NOT_SEE.contains(&code)) => {
            Ok((inspect(session, deadline).await?, None))
        }
        Err(error) => Err(error),
    }
}

/// `data` is in hexadecimal, global part and branch part in one.
fn read_branches(rows: &Rows) -> Result<Branches, SessionError> {
    let Some(row) = rows.first() else {
        return Ok(Branches::default());
    };
    let length = |column| {
        let bytes = number(row, column)?;
        usize::try_from(bytes).map_err(|_| SessionError::Unexpected(column))
    };
    let data = text(row, "data").ok_or(SessionError::Unexpected("data"))?;
    let digits = data.strip_prefix("0x").unwrap_or(&data);
    let at = (2 * length("gtrid_length")?).min(digits.len());
    let (global, branch) = digits.split_at(at);
    Ok(Branches {
        count: u64::try_from(rows.len()).unwrap_or(u64::MAX),
        first: format!("X'{global}',X'{branch}',{}", number(row, "formatID")?),
    })
}

/// The newest binary log and its number; `None` where none is written. It waits for whoever writes
/// one, and so for a disk that hangs: not part of a look.
pub async fn newest_binlog(
    session: &mut Session,
    deadline: Instant,
) -> Result<Option<(String, u64)>, SessionError> {
    // It was renamed in 8.2.
    let sql = if session.version() >= (8, 2, 0) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let sets = session.ask(sql, deadline).await?;
    let file = sets.first().and_then(|rows| text(rows.first()?, "File"));
    Ok(file.and_then(|file| {
        let number = file.rsplit_once('.')?.1.parse().ok()?;
        Some((file, number))
    }))
}

pub(super) fn read_inspection(sets: &[Rows]) -> Result<Inspection, SessionError> {
    let mut pulse = read_pulse(sets)?;
    let dumps = read_dumps(sets.get(5))?;
    let waits = first(sets, 6)?;
    let applied = first(sets, 7)?;
    if let Some(cause) = text(applied, "error").and_then(|error| cause(&error)) {
        name_cause(&mut pulse, &cause);
    }
    let applied = text(applied, "committed");
    Ok(Inspection {
        pulse,
        dumps,
        waiting_for_ack: count(waits, "ack")?,
        oldest_ack_wait_s: text(waits, "oldest").and_then(|seconds| seconds.parse().ok()),
        waiting_for_global_lock: count(waits, "global_lock")?,
        applied_commit_ms: applied.and_then(|ms| ms.parse().ok()).filter(|ms| *ms > 0),
    })
}

/// `1062 Duplicate entry …`, as a worker says it.
fn cause(error: &str) -> Option<Fault> {
    let (code, message) = error.split_once(' ')?;
    Some(Fault {
        code: code.parse().ok()?,
        message: message.to_owned(),
    })
}

/// Where the applier's coordinator says that a worker stopped it (3030), the worker's error
/// is the cause.
fn name_cause(pulse: &mut Pulse, cause: &Fault) {
    let own = pulse.channels.iter_mut().find(|of| of.name.is_empty());
    let own = own.map(|channel| &mut channel.sql_error);
    let replica = pulse.replica.as_mut().map(|of| &mut of.sql_error);
    for error in own.into_iter().chain(replica) {
        if error.is_some() {
            *error = Some(cause.clone());
        }
    }
}

fn read_pulse(sets: &[Rows]) -> Result<Pulse, SessionError> {
    let own = first(sets, 0)?;
    let status = sets
        .get(1)
        .ok_or(SessionError::Unexpected("the status variables"))?;
    let status = |name: &'static str| {
        let row = status
            .iter()
            .find(|row| text(row, "name").as_deref() == Some(name));
        row.ok_or(SessionError::Unexpected(name))
    };
    let channels = sets.get(2).map_or(&[][..], Vec::as_slice);
    let channel = channels
        .iter()
        .find(|row| text(row, "Channel_Name").as_deref() == Some(""));
    let connection = sets.get(3).and_then(|rows| rows.first());
    let ground = SourceGround {
        enabled: flag(own, "source_on")?,
        status: flag(status("Rpl_semi_sync_source_status")?, "value")?,
        timeout_ms: number(own, "timeout")?,
        wait_point: text(own, "wait_point").unwrap_or_default(),
        wait_no_replica: flag(own, "no_replica")?,
        k: count(own, "k")?,
        no_times: number(status("Rpl_semi_sync_source_no_times")?, "value")?,
        no_tx: number(status("Rpl_semi_sync_source_no_tx")?, "value")?,
        clients: count(status("Rpl_semi_sync_source_clients")?, "value")?,
        sync_binlog: number(own, "sync_binlog")?,
        flush_log: number(own, "flush_log")?,
    };
    Ok(Pulse {
        server_uuid: text(own, "uuid").ok_or(SessionError::Unexpected("uuid"))?,
        server_id: count(own, "server_id")?,
        version: text(own, "version").ok_or(SessionError::Unexpected("version"))?,
        read_only: flag(own, "ro")?,
        super_read_only: flag(own, "sro")?,
        offline_mode: flag(own, "offline")?,
        gtid_executed: gtid_set(own, "executed")?,
        gtid_purged: gtid_set(own, "purged")?,
        semi_sync: SemiSync {
            source_enabled: flag(own, "source_on")?,
            acks_required: u16::try_from(number(own, "k")?)
                .map_err(|_| SessionError::Unexpected("k"))?,
            replica_enabled: flag(own, "replica_on")?,
            source_status: flag(status("Rpl_semi_sync_source_status")?, "value")?,
            replica_status: flag(status("Rpl_semi_sync_replica_status")?, "value")?,
            source_clients: count(status("Rpl_semi_sync_source_clients")?, "value")?,
            waiting_sessions: count(status("Rpl_semi_sync_source_wait_sessions")?, "value")?,
            ground,
        },
        replica: match (channel, connection) {
            (Some(channel), Some(connection)) => read_replica(channel, connection)?,
            _ => None,
        },
        settings: Settings {
            sync_relay_log: number(own, "sync_relay")?,
            relay_log_recovery: flag(own, "relay_recovery")?,
            event_scheduler: text(own, "events").unwrap_or_default(),
        },
        channels: channels
            .iter()
            .filter_map(|row| read_channel(row).transpose())
            .collect::<Result<_, _>>()?,
        filters: filters(channels, sets.get(4)),
    })
}

/// The columns of `SHOW REPLICA STATUS` that name what a channel leaves out.
const FILTER_COLUMNS: [&str; 8] = [
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
    "Replicate_Ignore_Server_Ids",
];

fn filters(channels: &[Row], global: Option<&Rows>) -> Vec<String> {
    let mut found: Vec<String> = global
        .into_iter()
        .flatten()
        .filter_map(|row| text(row, "filter"))
        .collect();
    for row in channels {
        let channel = text(row, "Channel_Name").unwrap_or_default();
        for column in FILTER_COLUMNS {
            let Some(rule) = text(row, column).filter(|rule| !rule.is_empty()) else {
                continue;
            };
            let filter = format!("{}={rule}", column.to_ascii_uppercase());
            found.push(if channel.is_empty() {
                filter
            } else {
                format!("{filter} on channel {channel}")
            });
        }
    }
    found.sort();
    found.dedup();
    found
}

fn read_channel(row: &Row) -> Result<Option<Channel>, SessionError> {
    let host = text(row, "Source_Host").unwrap_or_default();
    if host.is_empty() {
        return Ok(None);
    }
    Ok(Some(Channel {
        name: text(row, "Channel_Name").unwrap_or_default(),
        host,
        port: u16::try_from(number(row, "Source_Port")?)
            .map_err(|_| SessionError::Unexpected("Source_Port"))?,
        source_uuid: text(row, "Source_UUID").unwrap_or_default(),
        io: thread_state(row, "Replica_IO_Running")?,
        sql: thread_state(row, "Replica_SQL_Running")?,
        delay_s: number(row, "SQL_Delay")?,
        io_error: fault(row, "Last_IO_Errno", "Last_IO_Error")?,
        sql_error: fault(row, "Last_SQL_Errno", "Last_SQL_Error")?,
    }))
}

fn read_replica(channel: &Row, connection: &Row) -> Result<Option<Replica>, SessionError> {
    let source_host = text(channel, "Source_Host").unwrap_or_default();
    if source_host.is_empty() {
        return Ok(None);
    }
    Ok(Some(Replica {
        source_host,
        source_port: u16::try_from(number(channel, "Source_Port")?)
            .map_err(|_| SessionError::Unexpected("Source_Port"))?,
        source_uuid: text(channel, "Source_UUID").unwrap_or_default(),
        io: thread_state(channel, "Replica_IO_Running")?,
        waits: waits(channel)?,
        sql: thread_state(channel, "Replica_SQL_Running")?,
        received: gtid_set(connection, "received")?,
        heartbeats: number(connection, "beats")?,
        last_heartbeat: text(connection, "beat").unwrap_or_default(),
        last_queued: text(connection, "queued").unwrap_or_default(),
        read_log_file: text(channel, "Source_Log_File").unwrap_or_default(),
        read_log_pos: number(channel, "Read_Source_Log_Pos")?,
        io_error: fault(channel, "Last_IO_Errno", "Last_IO_Error")?,
        sql_error: fault(channel, "Last_SQL_Errno", "Last_SQL_Error")?,
    }))
}

fn read_dump(row: &Row) -> Result<Dump, SessionError> {
    Ok(Dump {
        processlist_id: number(row, "id")?,
        replica_uuid: text(row, "uuid"),
        // NULL without a variable: the thread has not come so far yet, or never will.
        semi_sync: text(row, "semi_sync").as_deref() == Some("1"),
    })
}

/// What its receiver is at while it waits for the source; releases before 8.0.26 say `master`.
const AWAITS: [&str; 2] = [
    "Waiting for source to send event",
    "Waiting for master to send event",
];

fn waits(channel: &Row) -> Result<bool, SessionError> {
    let at = text(channel, "Replica_IO_State").unwrap_or_default();
    Ok(match thread_state(channel, "Replica_IO_Running")? {
        ThreadState::Connecting => true,
        ThreadState::Yes => AWAITS.contains(&at.as_str()),
        ThreadState::No => false,
    })
}

fn thread_state(row: &Row, column: &'static str) -> Result<ThreadState, SessionError> {
    match text(row, column).as_deref() {
        Some("Yes") => Ok(ThreadState::Yes),
        Some("Connecting") => Ok(ThreadState::Connecting),
        Some("No") => Ok(ThreadState::No),
        _ => Err(SessionError::Unexpected(column)),
    }
}

fn fault(
    row: &Row,
    code: &'static str,
    message: &'static str,
) -> Result<Option<Fault>, SessionError> {
    let code = count(row, code)?;
    Ok((code != 0).then(|| Fault {
        code,
        message: text(row, message).unwrap_or_default(),
    }))
}

fn first(sets: &[Rows], index: usize) -> Result<&Row, SessionError> {
    sets.get(index)
        .and_then(|rows| rows.first())
        .ok_or(SessionError::Unexpected("a result set"))
}

fn count(row: &Row, column: &'static str) -> Result<u32, SessionError> {
    u32::try_from(number(row, column)?).map_err(|_| SessionError::Unexpected(column))
}
