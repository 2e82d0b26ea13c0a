//! The rules by name: which guarantee each of them carries, and what giving it up means.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is no longer true if a rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    NothingLost,
    OnePrimary,
    SafeRestart,
    Cause,
    Failover,
    Identity,
    Survival,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::NothingLost => "no acknowledged write is lost",
            Guarantee::OnePrimary => "no two primaries acknowledge",
            Guarantee::SafeRestart => "restarts are safe",
            Guarantee::Cause => "nothing is promoted without a cause",
            Guarantee::Failover => "a failover can be carried out",
            Guarantee::Identity => "what is decided is about this very server",
            Guarantee::Survival => "the cluster outlives what `survive` names",
        })
    }
}

/// Whether a broken rule stands in the way of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Broken,
    /// No guarantee is untrue by it, but something will be slower or narrower.
    Warning,
}

/// Whether a policy may give a rule up by name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Yields {
    Yes,
    /// Without it nothing works, so there is nothing to give up.
    No,
    /// As `No`, and it may be satisfied by itself in a moment.
    Passes,
}

/// A rule that names no feature level is of the first.
macro_rules! since {
    () => {
        1
    };
    ($level:literal) => {
        $level
    };
}

macro_rules! rules {
    ($($variant:ident $name:literal $guarantee:ident $severity:ident $yields:ident
       $($since:literal)?,)*) => {
        /// Everything that is checked. Names are stable: policies and scripts know them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule { $($variant,)* }

        impl Rule {
            pub const ALL: &[Rule] = &[$(Rule::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)* }
            }

            pub fn guarantee(self) -> Guarantee {
                match self { $(Rule::$variant => Guarantee::$guarantee,)* }
            }

            pub fn severity(self) -> Severity {
                match self { $(Rule::$variant => Severity::$severity,)* }
            }

            /// The feature level that the plane must have for a policy to name it.
            pub fn since(self) -> u32 {
                match self { $(Rule::$variant => since!($($since)?),)* }
            }

            fn yields(self) -> Yields {
                match self { $(Rule::$variant => Yields::$yields,)* }
            }
        }
    };
}

rules! {
    Agent "agent" Failover Broken Passes,
    Server "server" Failover Broken Passes,
    Address "address" Identity Broken Yes,
    Enrolled "enrolled" Identity Broken No,
    ServerUuid "server_uuid" Identity Broken No,
    ServerId "server_id" NothingLost Broken Yes,
    MariaDb "mariadb" NothingLost Broken No,
    VersionTested "version_tested" NothingLost Broken Yes,
    VersionOrder "version_order" Failover Broken Yes,
    GtidMode "gtid_mode" NothingLost Broken No,
    EnforceGtidConsistency "enforce_gtid_consistency" NothingLost Broken Yes,
    LogBin "log_bin" NothingLost Broken No,
    LogReplicaUpdates "log_replica_updates" NothingLost Broken Yes,
    SyncBinlog "sync_binlog" NothingLost Broken Yes,
    InnodbFlushLogAtTrxCommit "innodb_flush_log_at_trx_commit" NothingLost Broken Yes,
    BinlogErrorAction "binlog_error_action" NothingLost Broken Yes,
    BinlogFilters "binlog_filters" NothingLost Broken Yes,
    BootConfiguration "boot_configuration" SafeRestart Broken Yes,
    SkipReplicaStart "skip_replica_start" OnePrimary Broken Yes,
    BootsFenced "boots_fenced" OnePrimary Broken Yes,
    Fenced "fenced" OnePrimary Broken No,
    BootsAcking "boots_acking" OnePrimary Broken Yes,
    BootsWaiting "boots_waiting" SafeRestart Broken Yes,
    RelayLogRecovery "relay_log_recovery" NothingLost Broken Yes,
    SyncRelayLog "sync_relay_log" NothingLost Broken Yes,
    ReplicaPreserveCommitOrder "replica_preserve_commit_order" NothingLost Broken Yes,
    ReplicaParallelType "replica_parallel_type" NothingLost Broken Yes,
    ReplicaNetTimeout "replica_net_timeout" Failover Broken Yes,
    SemiSyncPlugins "semi_sync_plugins" NothingLost Broken No,
    SemiSyncTimeout "semi_sync_timeout" NothingLost Broken Yes,
    SemiSyncWaitPoint "semi_sync_wait_point" NothingLost Broken Yes,
    SemiSyncWaitNoReplica "semi_sync_wait_no_replica" NothingLost Broken Yes,
    SemiSyncSource "semi_sync_source" NothingLost Broken Yes,
    SemiSyncCount "semi_sync_count" NothingLost Broken Yes,
    ClonePlugin "clone_plugin" Failover Warning Yes,
    AdminListener "admin_listener" Failover Broken Yes,
    ReplicationFilters "replication_filters" NothingLost Broken Yes,
    SourceDelay "source_delay" Failover Broken Yes,
    SourceHeartbeat "source_heartbeat" Cause Broken Yes,
    AutoPosition "auto_position" NothingLost Broken Yes,
    SingleSource "single_source" NothingLost Broken Yes,
    Star "star" NothingLost Broken Yes,
    AgentGrants "agent_grants" Failover Broken Yes,
    AgentLimits "agent_limits" Failover Warning Yes 3,
    ReplicationGrants "replication_grants" Failover Broken Yes,
    ConnectionAdmin "connection_admin" OnePrimary Broken Yes,
    ReplicationAccounts "replication_accounts" NothingLost Warning Yes,
    ScheduledEvents "scheduled_events" Failover Warning Yes 3,
    PreparedBranches "prepared_branches" OnePrimary Warning Yes 3,
    OwnWrites "own_writes" Failover Warning Yes 3,
    KillSignal "kill_signal" NothingLost Broken Yes,
    Candidate "candidate" Failover Broken Yes,
    Survive "survive" Survival Broken Yes,
    SurviveWrites "survive_writes" Survival Warning Yes,
}

impl Rule {
    pub fn named(name: &str) -> Option<Rule> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }

    /// Whether `policy.gives_up` may name it.
    pub fn may_be_given_up(self) -> bool {
        self.yields() == Yields::Yes
    }

    /// Whether it may be satisfied by itself in a moment, once what is starting is up.
    pub fn may_pass(self) -> bool {
        self.yields() == Yields::Passes
    }

    /// The names that `policy.gives_up` may hold.
    pub fn givable() -> Vec<&'static str> {
        Self::ALL
            .iter()
            .filter(|rule| rule.may_be_given_up())
            .map(|rule| rule.name())
            .collect()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
