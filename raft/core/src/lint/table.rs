//! The settings that guarantees rest on: one row each.

use super::Rule;

/// 49.7 days, the largest there is.
const SEMI_SYNC_TIMEOUT_MS: u64 = 4_294_967_295;

#[derive(Clone, Copy)]
pub(super) enum Want {
    Is(&'static str),
    /// Anything else: `log_bin` takes a file name in a configuration.
    On,
    AtLeast(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Dynamic,
    /// Read at the start only.
    Static,
}

pub(super) struct Setting {
    pub(super) rule: Rule,
    pub(super) variable: &'static str,
    pub(super) want: Want,
    /// What a server uses where nothing is written.
    pub(super) default: &'static str,
    pub(super) change: Change,
}

/// Judged now and at the next start.
pub(super) const ALWAYS: &[Setting] = &[
    row(
        Rule::GtidMode,
        "gtid_mode",
        Want::Is("ON"),
        "OFF",
        Change::Dynamic,
    ),
    row(
        Rule::EnforceGtidConsistency,
        "enforce_gtid_consistency",
        Want::Is("ON"),
        "OFF",
        Change::Dynamic,
    ),
    row(Rule::LogBin, "log_bin", Want::On, "ON", Change::Static),
    row(
        Rule::LogReplicaUpdates,
        "log_replica_updates",
        Want::Is("ON"),
        "ON",
        Change::Static,
    ),
    row(
        Rule::SyncBinlog,
        "sync_binlog",
        Want::Is("1"),
        "1",
        Change::Dynamic,
    ),
    row(
        Rule::InnodbFlushLogAtTrxCommit,
        "innodb_flush_log_at_trx_commit",
        Want::Is("1"),
        "1",
        Change::Dynamic,
    ),
    row(
        Rule::BinlogErrorAction,
        "binlog_error_action",
        Want::Is("ABORT_SERVER"),
        "ABORT_SERVER",
        Change::Dynamic,
    ),
    row(
        Rule::SkipReplicaStart,
        "skip_replica_start",
        Want::Is("ON"),
        "OFF",
        Change::Static,
    ),
    row(
        Rule::RelayLogRecovery,
        "relay_log_recovery",
        Want::Is("OFF"),
        "OFF",
        Change::Static,
    ),
    row(
        Rule::SyncRelayLog,
        "sync_relay_log",
        Want::Is("1"),
        "10000",
        Change::Dynamic,
    ),
    row(
        Rule::ReplicaPreserveCommitOrder,
        "replica_preserve_commit_order",
        Want::Is("ON"),
        "ON",
        Change::Dynamic,
    ),
    row(
        Rule::SemiSyncTimeout,
        "rpl_semi_sync_source_timeout",
        Want::AtLeast(SEMI_SYNC_TIMEOUT_MS),
        "10000",
        Change::Dynamic,
    ),
    row(
        Rule::SemiSyncWaitPoint,
        "rpl_semi_sync_source_wait_point",
        Want::Is("AFTER_SYNC"),
        "AFTER_SYNC",
        Change::Dynamic,
    ),
    row(
        Rule::SemiSyncWaitNoReplica,
        "rpl_semi_sync_source_wait_no_replica",
        Want::Is("ON"),
        "ON",
        Change::Dynamic,
    ),
    row(
        Rule::AdminListener,
        "create_admin_listener_thread",
        Want::Is("ON"),
        "OFF",
        Change::Static,
    ),
];

/// Judged at the next start alone: now they may be otherwise by right.
pub(super) const AT_BOOT: &[Setting] = &[
    row(
        Rule::BootsFenced,
        "super_read_only",
        Want::Is("ON"),
        "OFF",
        Change::Dynamic,
    ),
    row(
        Rule::BootsAcking,
        "rpl_semi_sync_replica_enabled",
        Want::Is("OFF"),
        "OFF",
        Change::Dynamic,
    ),
    row(
        Rule::BootsWaiting,
        "rpl_semi_sync_source_enabled",
        Want::Is("OFF"),
        "OFF",
        Change::Dynamic,
    ),
];

pub(super) const fn row(
    rule: Rule,
    variable: &'static str,
    want: Want,
    default: &'static str,
    change: Change,
) -> Setting {
    Setting {
        rule,
        variable,
        want,
        default,
        change,
    }
}

/// MySQL writes one value in several ways.
pub(super) fn plain(value: &str) -> String {
    match value.to_ascii_uppercase().as_str() {
        "1" | "TRUE" | "YES" | "" => "ON".into(),
        "0" | "FALSE" | "NO" => "OFF".into(),
        other => other.to_owned(),
    }
}

impl Want {
    pub(super) fn holds(self, value: &str) -> bool {
        match self {
            // Of an enumeration's numbers this one is in use.
            Want::Is("ABORT_SERVER") if value == "1" => true,
            Want::Is(wanted) => plain(value) == plain(wanted),
            Want::On => plain(value) != "OFF",
            Want::AtLeast(least) => value.parse().is_ok_and(|number: u64| number >= least),
        }
    }

    pub(super) fn text(self) -> String {
        match self {
            Want::Is(wanted) => wanted.to_owned(),
            Want::On => "binlog".into(),
            Want::AtLeast(least) => least.to_string(),
        }
    }
}
