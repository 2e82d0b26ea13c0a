//! What the rules judge: plain data, as servers, agents and nodes gave it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Pad, Rule};
use crate::gtid::Uuid;
use crate::ids::InstanceId;

/// The global variables that rules look at.
pub const REPORTED_VARIABLES: &[&str] = &[
    "admin_address",
    "binlog_error_action",
    "create_admin_listener_thread",
    "enforce_gtid_consistency",
    "gtid_mode",
    "innodb_flush_log_at_trx_commit",
    "log_bin",
    "log_replica_updates",
    "offline_mode",
    "persisted_globals_load",
    "read_only",
    "relay_log_recovery",
    "replica_net_timeout",
    "replica_parallel_type",
    "replica_preserve_commit_order",
    "rpl_semi_sync_replica_enabled",
    "rpl_semi_sync_source_enabled",
    "rpl_semi_sync_source_timeout",
    "rpl_semi_sync_source_wait_for_replica_count",
    "rpl_semi_sync_source_wait_no_replica",
    "rpl_semi_sync_source_wait_point",
    "server_id",
    "skip_replica_start",
    "super_read_only",
    "sync_binlog",
    "sync_relay_log",
];

/// The plugins that rules look at.
pub const REPORTED_PLUGINS: &[&str] = &["rpl_semi_sync_source", "rpl_semi_sync_replica", "clone"];

/// What a server's next start will read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The file that the running server was started with.
    pub file: String,
    /// The options in it, and those of the command line above them. Names with underscores,
    /// without `loose_`; `skip_x` is `x=OFF`.
    pub options: BTreeMap<String, String>,
}

/// One replication channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub source_uuid: Option<Uuid>,
    /// Its receiver runs, or tries to connect.
    pub receives: bool,
    pub delay_s: u64,
    pub heartbeat_ms: u64,
    pub auto_position: bool,
}

/// An account of the server, a role included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub user: String,
    pub host: String,
    pub locked: bool,
    /// Global privileges, static and dynamic, in capitals.
    pub privileges: BTreeSet<String>,
    /// Roles granted to it, `(user, host)`.
    pub roles: BTreeSet<(String, String)>,
}

/// A scheduled event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledEvent {
    /// `schema.name`.
    pub name: String,
    /// It runs at one moment, and never again.
    pub once: bool,
    pub definer_exists: bool,
}

/// The service that can stop `mysqld` while its agent is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    pub unit: String,
    /// `KillMode` and `KillSignal` as a name; why not, if they cannot be read.
    pub kill: Result<(String, String), String>,
    /// `mysqld` is the unit's main process.
    pub mysqld_is_main: bool,
}

/// What an agent found out about its instance when it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub server_uuid: Option<Uuid>,
    /// What the agent was enrolled with, as its own durable memory has it.
    pub enrolled_uuid: Option<Uuid>,
    pub version: String,
    pub version_comment: String,
    /// Those of `REPORTED_VARIABLES` that the server has.
    pub variables: BTreeMap<String, String>,
    /// Why not, if it cannot be read.
    pub boot: Option<Result<Boot, String>>,
    pub persisted: BTreeMap<String, String>,
    /// Those of `REPORTED_PLUGINS` that the server knows, with their status.
    pub plugins: BTreeMap<String, String>,
    pub channels: Vec<Channel>,
    /// Replication filters, one sentence each.
    pub filters: Vec<String>,
    /// What the binary log leaves out or is limited to, one sentence each.
    pub binlog_filters: Vec<String>,
    /// Replicas connected to it.
    pub replicas: BTreeSet<Uuid>,
    /// Why not, if they cannot be read.
    pub accounts: Option<Result<Vec<Account>, String>>,
    /// The agent's own account, `'user'@'host'`, and what `SHOW GRANTS` says of it.
    pub agent_account: String,
    pub agent_grants: Vec<String>,
    /// What takes that account away by itself, as `SHOW CREATE USER` has it: `PASSWORD EXPIRE`,
    /// `FAILED_LOGIN_ATTEMPTS 3`, `MAX_QUERIES_PER_HOUR 100`.
    pub agent_limits: Vec<String>,
    pub replication_user: String,
    pub events: Vec<ScheduledEvent>,
    /// What the server refused to tell, and why.
    pub unread: BTreeMap<String, String>,
    /// `None`: not under systemd.
    pub manager: Option<Manager>,
    /// Microseconds to connect to each of the others.
    pub round_trips_us: BTreeMap<InstanceId, u64>,
}

/// What came back from an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentWord {
    /// No agent of this cluster and instance is connected to the node that was asked.
    Absent,
    /// It is connected, and did not answer in time.
    Silent,
    /// It answered: why there are no facts.
    Failed(String),
    Told(Box<Facts>),
}

/// What answers at the registered address, as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressWord {
    Answers(Uuid),
    /// A server that lets nobody in now, and so does not say which it is.
    Closed,
    Fails(String),
}

/// What a node found out about one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub agent: AgentWord,
    pub address: AddressWord,
}

pub(super) fn start_agent(instance: &InstanceId) -> String {
    format!("start the agent of {instance} beside its mysqld: primacy agent --config FILE")
}

impl Evidence {
    /// The facts, or the finding that there are none.
    pub(super) fn told(&self, instance: &InstanceId, pad: &mut Pad<'_>) -> Option<&Facts> {
        match &self.agent {
            AgentWord::Absent => {
                let found = format!("the agent of {instance} is not connected");
                pad.add(Rule::Agent, Some(instance), found, start_agent(instance));
                None
            }
            AgentWord::Silent => {
                let found = format!("the agent of {instance} is connected and does not answer");
                let mend =
                    format!("look at the agent's log and at the load of the host of {instance}");
                pad.add(Rule::Agent, Some(instance), found, mend);
                None
            }
            AgentWord::Failed(why) => {
                let found = format!("its mysqld does not answer its agent: {why}");
                let mend = "start mysqld, or look at its error log; check mysql.user and \
                            mysql.password of the agent's configuration";
                pad.add(Rule::Server, Some(instance), found, mend);
                None
            }
            AgentWord::Told(facts) => Some(facts),
        }
    }
}
