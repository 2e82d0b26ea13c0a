//! Every alarm: its code, its data, how grave it is, and how it is told.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::gtid::{GtidSet, Uuid};
use crate::observe::{Fault, NotSent, Role, ServerError, fault_list};
use crate::policy::Policy;
use crate::record::stranger_names;

/// What an alarm means for a failover that nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It would halt, or could lose what was acknowledged.
    Halts,
    /// It would still do; there is less to spare.
    Warns,
}

/// Something that a person should see to. About one instance, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Alarm {
    // ---- the agent and its server
    #[error(
        "its agent is not heard: start it, or look at the network; without it the instance can be \
         neither frozen nor promoted"
    )]
    AgentUnheard,
    #[error("{error}; what is under way goes on. Mend the account, or the agent's password file")]
    LoginRefused { error: String },
    #[error("its mysqld has exited; its agent starts it again once the log says what it is to be")]
    ServerDown,
    #[error("its mysqld starts or recovers; it is left alone while it makes progress")]
    Recovering,
    #[error(
        "its mysqld is in an orderly shutdown that no order asked for, and answers nobody: it is \
         ended once something waits for it, and started again"
    )]
    GoesAway,
    #[error("another server ({uuid}) answers in its name: its words and answers count for nothing")]
    OtherServer { uuid: Uuid },

    // ---- its replication
    #[error(
        "it does not follow by order: {}. `primacy explain` says what its agent refused",
        role_words(.role)
    )]
    NotFollowing { role: Role },
    #[error("its receiver has stopped with {error}")]
    ReceiverError { error: ServerError },
    #[error("{}", if *.connecting {
        "its receiver does not reach its source"
    } else {
        "its receiver is stopped: START REPLICA IO_THREAD"
    })]
    ReceiverDown { connecting: bool },
    #[error(
        "its source has purged {} from its binary logs, which it lacks: it can follow nobody. \
         Rebuild it, from a copy of the primary", missing.compact()
    )]
    BinlogsPurged { missing: GtidSet },
    #[error(
        "its applier has stopped with {error}; it goes on receiving, and could not open. Mend the \
         row, or skip its transaction with an empty one, then START REPLICA SQL_THREAD"
    )]
    ApplierError { error: ServerError },
    #[error("its applier is stopped: START REPLICA SQL_THREAD")]
    ApplierStopped,
    #[error(
        "its applier has executed nothing for {still_ms} ms with {behind} transactions left: look \
         for a lock on it (SHOW PROCESSLIST)"
    )]
    ApplierHeld { behind: u64, still_ms: u64 },
    #[error("it has {behind} transactions to execute, which takes some {expected_ms} ms")]
    ApplierLag { behind: u64, expected_ms: u64 },
    #[error("it replicates from {is}; by order from {ordered}")]
    OtherSource { ordered: String, is: String },
    #[error(
        "it applies {delay_s} s late (SOURCE_DELAY): it would open as much later. \
         STOP REPLICA SQL_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_DELAY=0; START REPLICA"
    )]
    SourceDelay { delay_s: u64 },
    #[error("it replicates over channels that no order asked for: {}", .channels.join(", "))]
    OtherChannels { channels: Vec<String> },
    #[error("the primary itself replicates, from {source_address}: its agent ends that")]
    Replicates { source_address: String },
    #[error(
        "it could not follow {}: its agent cannot log in there with the replication account. Mend the \
         network between them, or the account", .to.join(", ")
    )]
    NoPath { to: Vec<String> },
    #[error(
        "it is in V and does not acknowledge; a commit of the primary waits for the others alone"
    )]
    NotAcking,
    #[error(
        "what it acknowledges may be lost with its host's power: sync_relay_log is {sync_relay_log}, \
         relay_log_recovery is {}. SET GLOBAL sync_relay_log=1", if *.relay_log_recovery { "ON" } else { "OFF" }
    )]
    WeakRelayLog {
        sync_relay_log: u64,
        relay_log_recovery: bool,
    },

    // ---- its content
    #[error(
        "it alone holds {}{}: it is no candidate. Accept them (`primacy instance accept-errant`), or \
         rebuild it", .set.compact(),
        .why.as_ref().map_or(String::new(), |why| format!(" ({why})"))
    )]
    Errant {
        set: GtidSet,
        /// What they are, or why that is not known.
        why: Option<String>,
    },
    #[error("it is no candidate, and tells no content, until it is rebuilt: {why}")]
    Marked { why: String },
    #[error("it does not tell what it acknowledged: {why}")]
    Forgot { why: String },

    // ---- the primary's ground
    #[error("the primary is closed to writes, by somebody else than the plane")]
    Closed,
    #[error(
        "the ground of its acknowledgements was broken ({}), and k of V do not hold yet what it \
         answered meanwhile: a promotion claims no zero", fault_list(.faults)
    )]
    GroundBroken { faults: BTreeSet<Fault> },
    #[error(
        "the primary's GTIDs were reset: no promotion claims zero, and none comes by itself. Should \
         it fail, name who is next (`primacy approve --to INSTANCE --max-loss any`); to keep it, \
         rebuild the others from it"
    )]
    GtidsReset,
    #[error(
        "{} acknowledge to it without being in V, and nobody can freeze them: switch their \
         rpl_semi_sync_replica_enabled off, or take the replication account from them",
        stranger_names(.uuids)
    )]
    Strangers {
        uuids: BTreeSet<Uuid>,
        /// Freezing all of V would prove nothing any more.
        blocks: bool,
    },
    #[error(
        "no node has looked at the ground of its acknowledgements since {age_ms} ms before its \
         newest sign of life: a promotion would claim no zero"
    )]
    GroundUnseen { age_ms: u64 },
    #[error("its agent's own write does not reach the ackers: {why}; nothing is fenced for that")]
    WriteNotSent { why: NotSent },

    #[error(
        "its writes have waited for {waited_ms} ms for k acknowledgements: look at its ackers' receivers, \
         and at the network to them. It is replaced where another would fare better"
    )]
    WriteUnacknowledged { waited_ms: u64 },

    // ---- the cluster
    #[error("no marker of this cluster was ever held by k ackers: a promotion would claim no zero")]
    FloorMissing,
    #[error(
        "{acking} of {of} members of V acknowledge, and {needed} must, for writes to go on after a \
         failover"
    )]
    TooFewAckers {
        acking: usize,
        of: usize,
        needed: usize,
    },
    #[error("nobody could be promoted now: {}", .why.join("; "))]
    NotReady { why: Vec<String> },
}

fn role_words(role: &Role) -> String {
    match role {
        Role::Closed => "it is closed".into(),
        Role::Open(epoch) => format!("it is open for epoch {epoch}"),
        Role::Frozen(epoch) => format!("it is frozen for epoch {epoch}"),
        Role::Following(epoch) => format!("it follows the primary of epoch {epoch}"),
    }
}

impl Alarm {
    /// One word, stable, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Alarm::AgentUnheard => "agent_unheard",
            Alarm::LoginRefused { .. } => "login_refused",
            Alarm::ServerDown => "server_down",
            Alarm::Recovering => "recovering",
            Alarm::GoesAway => "goes_away",
            Alarm::OtherServer { .. } => "other_server",
            Alarm::NotFollowing { .. } => "not_following",
            Alarm::ReceiverError { .. } => "receiver_error",
            Alarm::ReceiverDown { .. } => "receiver_down",
            Alarm::BinlogsPurged { .. } => "binlogs_purged",
            Alarm::ApplierError { .. } => "applier_error",
            Alarm::ApplierStopped => "applier_stopped",
            Alarm::ApplierHeld { .. } => "applier_held",
            Alarm::ApplierLag { .. } => "applier_lag",
            Alarm::OtherSource { .. } => "other_source",
            Alarm::SourceDelay { .. } => "source_delay",
            Alarm::OtherChannels { .. } => "other_channels",
            Alarm::Replicates { .. } => "replicates",
            Alarm::NoPath { .. } => "no_path",
            Alarm::NotAcking => "not_acking",
            Alarm::WeakRelayLog { .. } => "weak_relay_log",
            Alarm::Errant { .. } => "errant",
            Alarm::Marked { .. } => "marked",
            Alarm::Forgot { .. } => "forgot",
            Alarm::Closed => "closed",
            Alarm::GroundBroken { .. } => "ground_broken",
            Alarm::GtidsReset => "gtids_reset",
            Alarm::Strangers { .. } => "strangers",
            Alarm::GroundUnseen { .. } => "ground_unseen",
            Alarm::WriteNotSent { .. } => "write_not_sent",
            Alarm::WriteUnacknowledged { .. } => "write_unacknowledged",
            Alarm::FloorMissing => "floor_missing",
            Alarm::TooFewAckers { .. } => "too_few_ackers",
            Alarm::NotReady { .. } => "not_ready",
        }
    }

    pub fn severity(&self) -> Severity {
        match self {
            Alarm::GroundBroken { .. }
            | Alarm::GtidsReset
            | Alarm::Strangers { blocks: true, .. }
            | Alarm::GroundUnseen { .. }
            | Alarm::FloorMissing
            | Alarm::TooFewAckers { .. }
            | Alarm::NotReady { .. } => Severity::Halts,
            _ => Severity::Warns,
        }
    }

    /// How long it must have stood before it is raised, in milliseconds: an order to follow has its
    /// time, and what lasts for one beat alone is nobody's business.
    pub fn hold_ms(&self, policy: &Policy) -> u64 {
        match self {
            Alarm::NotFollowing { .. }
            | Alarm::ReceiverDown { .. }
            | Alarm::ApplierStopped
            | Alarm::NotAcking
            | Alarm::TooFewAckers { .. } => policy.join_wait_ms.max(HOLD_MS),
            _ => HOLD_MS,
        }
    }
}

/// A failover that goes as it should is over by then, or changes what is looked for.
const HOLD_MS: u64 = 1_000;
