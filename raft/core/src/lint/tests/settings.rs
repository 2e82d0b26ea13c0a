//! Settings: as they are, and as the next start will make them.

use super::*;

#[test]
fn settings_as_they_are_now() {
    use Rule::*;
    variable(
        GtidMode,
        "gtid_mode",
        "OFF",
        "SET GLOBAL gtid_mode=OFF_PERMISSIVE",
    );
    variable(
        GtidMode,
        "gtid_mode",
        "ON_PERMISSIVE",
        "SET GLOBAL gtid_mode=ON",
    );
    variable(
        EnforceGtidConsistency,
        "enforce_gtid_consistency",
        "WARN",
        "SET GLOBAL enforce_gtid_consistency=ON",
    );
    variable(
        LogBin,
        "log_bin",
        "OFF",
        "in /etc/my.cnf, under [mysqld]: log_bin=binlog",
    );
    variable(
        LogReplicaUpdates,
        "log_replica_updates",
        "OFF",
        "log_replica_updates=ON",
    );
    variable(SyncBinlog, "sync_binlog", "0", "SET GLOBAL sync_binlog=1");
    variable(SyncBinlog, "sync_binlog", "100", "SET GLOBAL sync_binlog=1");
    variable(
        InnodbFlushLogAtTrxCommit,
        "innodb_flush_log_at_trx_commit",
        "2",
        "SET GLOBAL innodb_flush_log_at_trx_commit=1",
    );
    variable(
        BinlogErrorAction,
        "binlog_error_action",
        "IGNORE_ERROR",
        "SET GLOBAL binlog_error_action=ABORT_SERVER",
    );
    variable(
        SkipReplicaStart,
        "skip_replica_start",
        "OFF",
        "skip_replica_start=ON",
    );
    variable(
        RelayLogRecovery,
        "relay_log_recovery",
        "ON",
        "relay_log_recovery=OFF; restart",
    );
    variable(
        SyncRelayLog,
        "sync_relay_log",
        "10000",
        "SET GLOBAL sync_relay_log=1",
    );
    variable(
        ReplicaPreserveCommitOrder,
        "replica_preserve_commit_order",
        "OFF",
        "SET GLOBAL replica_preserve_commit_order=ON",
    );
    variable(
        ReplicaParallelType,
        "replica_parallel_type",
        "DATABASE",
        "SET GLOBAL replica_parallel_type=LOGICAL_CLOCK",
    );
    // The longest patience of the default policy is 5 s.
    variable(
        ReplicaNetTimeout,
        "replica_net_timeout",
        "10",
        "SET GLOBAL replica_net_timeout=11",
    );
    variable(
        SemiSyncTimeout,
        "rpl_semi_sync_source_timeout",
        "10000",
        "SET GLOBAL rpl_semi_sync_source_timeout=4294967295",
    );
    variable(
        SemiSyncWaitPoint,
        "rpl_semi_sync_source_wait_point",
        "AFTER_COMMIT",
        "SET GLOBAL rpl_semi_sync_source_wait_point=AFTER_SYNC",
    );
    variable(
        SemiSyncWaitNoReplica,
        "rpl_semi_sync_source_wait_no_replica",
        "OFF",
        "SET GLOBAL rpl_semi_sync_source_wait_no_replica=ON",
    );
    variable(
        AdminListener,
        "create_admin_listener_thread",
        "OFF",
        "create_admin_listener_thread=ON",
    );
    variable(
        Fenced,
        "super_read_only",
        "OFF",
        "SET GLOBAL super_read_only=ON",
    );
    variable(
        SemiSyncSource,
        "rpl_semi_sync_source_enabled",
        "ON",
        "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
    );
    breaks(
        Rule::AdminListener,
        "admin_address",
        "admin_address=127.0.0.1",
        |case| {
            case.facts("a")
                .variables
                .insert("admin_address".into(), String::new());
        },
    );
    breaks(
        Rule::SyncRelayLog,
        "has no sync_relay_log",
        "tested version",
        |case| {
            case.facts("a").variables.remove("sync_relay_log");
        },
    );
}

#[test]
fn settings_as_they_will_be() {
    // Written wrongly, not written where the default is wrong, and persisted above a good line.
    let written = |rule, name: &str, value: &str| {
        breaks(
            rule,
            "at the next start, by /etc/my.cnf",
            &format!("[mysqld]: {name}="),
            |case| {
                case.boot("a").options.insert(name.into(), value.into());
            },
        );
    };
    written(Rule::BootsFenced, "super_read_only", "OFF");
    written(Rule::BootsAcking, "rpl_semi_sync_replica_enabled", "1");
    written(Rule::BootsWaiting, "rpl_semi_sync_source_enabled", "ON");
    written(Rule::SyncRelayLog, "sync_relay_log", "10000");
    written(Rule::RelayLogRecovery, "relay_log_recovery", "ON");
    written(Rule::LogBin, "log_bin", "OFF");
    for (rule, name) in [
        (Rule::BootsFenced, "super_read_only"),
        (Rule::SkipReplicaStart, "skip_replica_start"),
        (Rule::GtidMode, "gtid_mode"),
        (Rule::SyncRelayLog, "sync_relay_log"),
        (Rule::SemiSyncTimeout, "rpl_semi_sync_source_timeout"),
        (Rule::AdminListener, "create_admin_listener_thread"),
    ] {
        breaks(
            rule,
            "by default: /etc/my.cnf does not set it",
            "[mysqld]",
            |case| {
                case.boot("a").options.remove(name);
            },
        );
    }
    for (rule, name, value) in [
        (Rule::BootsFenced, "super_read_only", "OFF"),
        (Rule::BootsFenced, "read_only", "OFF"),
        (Rule::BootsAcking, "rpl_semi_sync_replica_enabled", "ON"),
        (Rule::SyncBinlog, "sync_binlog", "0"),
    ] {
        let mend = format!("RESET PERSIST IF EXISTS {name}");
        breaks(rule, &format!("{name}={value}"), &mend, |case| {
            case.boot("a").options.remove("persisted_globals_load");
            case.facts("a").persisted.insert(name.into(), value.into());
        });
    }
    // Both, where the line below the persisted one is wrong too; and not where it is right.
    for (written, both) in [("10000", true), ("1", false)] {
        let mut case = healthy();
        let options = &mut case.boot("a").options;
        options.remove("persisted_globals_load");
        options.insert("sync_relay_log".into(), written.into());
        case.facts("a")
            .persisted
            .insert("sync_relay_log".into(), "0".into());
        let mend = &case.report().findings[0].mend;
        assert!(
            mend.starts_with("RESET PERSIST IF EXISTS sync_relay_log"),
            "{mend}"
        );
        assert_eq!(
            mend.contains("under [mysqld]: sync_relay_log=1"),
            both,
            "{mend}"
        );
    }
    // Other words for the same.
    let mut case = healthy();
    for (name, value) in [
        ("super_read_only", "1"),
        ("skip_replica_start", "true"),
        ("binlog_error_action", "1"),
    ] {
        let options = &mut case.boot("a").options;
        options.insert(name.into(), value.into());
    }
    assert_eq!(case.report().findings, []);
    // What is not loaded undoes nothing.
    let mut case = healthy();
    case.facts("a")
        .persisted
        .insert("super_read_only".into(), "OFF".into());
    assert_eq!(case.report().findings, []);
    breaks(
        Rule::BootConfiguration,
        "permission denied",
        "--defaults-file",
        |case| {
            case.facts("a").boot = Some(Err("permission denied".into()));
        },
    );
}

#[test]
fn a_registered_primary_waits_for_k() {
    let world = crate::testing::World::serving("pab", 1);
    let cluster = world.cluster().clone();
    let mut case = healthy();
    let judge = |case: &Case| {
        let report = lint(&Subject::registered(&cluster), &case.evidence);
        report
            .findings
            .into_iter()
            .map(|f| f.rule)
            .collect::<Vec<_>>()
    };
    assert_eq!(judge(&case), ["semi_sync_source"]);
    case.facts("p")
        .variables
        .insert("rpl_semi_sync_source_enabled".into(), "ON".into());
    case.facts("p")
        .variables
        .insert("super_read_only".into(), "OFF".into());
    assert_eq!(judge(&case), [""; 0]);
    let count = "rpl_semi_sync_source_wait_for_replica_count";
    case.facts("p").variables.insert(count.into(), "2".into());
    assert_eq!(judge(&case), ["semi_sync_count"]);
}
