//! Settings: what a variable must be now, and at the next start.

use super::facts::{Boot, Facts};
use super::{Life, Pad, Rule, Subject};
use crate::ids::InstanceId;

/// From the end of the longest patience to the freeze: as long as STOP REPLICA IO_THREAD may be
/// behind it.
const FREEZE_MARGIN_MS: u64 = 5_000;
/// 49.7 days, the largest there is.
const SEMI_SYNC_TIMEOUT_MS: u64 = 4_294_967_295;

#[derive(Clone, Copy)]
enum Want {
    Is(&'static str),
    /// Anything else: `log_bin` takes a file name in a configuration.
    On,
    AtLeast(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Dynamic,
    /// Read at the start only.
    Static,
}

struct Setting {
    rule: Rule,
    variable: &'static str,
    want: Want,
    /// What a server uses where nothing is written.
    default: &'static str,
    change: Change,
}

/// Judged now and at the next start.
const ALWAYS: &[Setting] = &[
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
const AT_BOOT: &[Setting] = &[
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

const fn row(
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
fn plain(value: &str) -> String {
    match value.to_ascii_uppercase().as_str() {
        "1" | "TRUE" | "YES" | "" => "ON".into(),
        "0" | "FALSE" | "NO" => "OFF".into(),
        other => other.to_owned(),
    }
}

impl Want {
    fn holds(self, value: &str) -> bool {
        match self {
            // Of an enumeration's numbers this one is in use.
            Want::Is("ABORT_SERVER") if value == "1" => true,
            Want::Is(wanted) => plain(value) == plain(wanted),
            Want::On => plain(value) != "OFF",
            Want::AtLeast(least) => value.parse().is_ok_and(|number: u64| number >= least),
        }
    }

    fn text(self) -> String {
        match self {
            Want::Is(wanted) => wanted.to_owned(),
            Want::On => "binlog".into(),
            Want::AtLeast(least) => least.to_string(),
        }
    }
}

/// Where the next start takes a variable from.
enum Origin {
    Persisted,
    Written,
    Default,
}

/// What a variable will be after the next start.
fn at_boot<'a>(
    facts: &'a Facts,
    boot: &'a Boot,
    variable: &str,
    default: &'a str,
) -> (&'a str, Origin) {
    let loads = boot
        .options
        .get("persisted_globals_load")
        .is_none_or(|value| plain(value) != "OFF");
    match facts.persisted.get(variable) {
        Some(value) if loads => (value, Origin::Persisted),
        _ => match boot.options.get(variable) {
            Some(value) => (value, Origin::Written),
            None => (default, Origin::Default),
        },
    }
}

/// The line for the configuration file.
fn line(boot: Option<&Boot>, variable: &str, value: &str) -> String {
    let file = boot.map_or("my.cnf", |boot| boot.file.as_str());
    format!("in {file}, under [mysqld]: {variable}={value}")
}

fn now_statement(setting: &Setting, value: &str) -> String {
    match (setting.rule, setting.change) {
        (Rule::GtidMode, _) => {
            "on every instance, one step everywhere before the next: SET GLOBAL \
                                enforce_gtid_consistency=ON; SET GLOBAL gtid_mode=OFF_PERMISSIVE; \
                                SET GLOBAL gtid_mode=ON_PERMISSIVE; SET GLOBAL gtid_mode=ON"
                .into()
        }
        (Rule::SemiSyncWaitPoint, _) => {
            format!(
                "SET GLOBAL {}={value} (on a fenced instance)",
                setting.variable
            )
        }
        (_, Change::Dynamic) => format!("SET GLOBAL {}={value}", setting.variable),
        (_, Change::Static) => "restart it (SIGKILL, never SIGTERM, a primary)".into(),
    }
}

pub(super) fn judge(
    subject: &Subject<'_>,
    instance: &InstanceId,
    facts: &Facts,
    pad: &mut Pad<'_>,
) {
    let boot = match &facts.boot {
        Some(Ok(boot)) => Some(boot),
        Some(Err(why)) => {
            pad.add(
                Rule::BootConfiguration,
                Some(instance),
                format!("what its next start reads is not known: {why}"),
                "start mysqld with --defaults-file=FILE, readable by the agent",
            );
            None
        }
        None => {
            pad.add(
                Rule::BootConfiguration,
                Some(instance),
                "its agent says nothing of what the next start reads",
                "run an agent of this version beside it",
            );
            None
        }
    };
    let semi_sync = super::server::semi_sync_active(facts);
    for setting in ALWAYS {
        let about_semi_sync = setting.variable.starts_with("rpl_semi_sync");
        if about_semi_sync && !semi_sync {
            continue; // said once, by semi_sync_plugins
        }
        check(setting, true, instance, facts, boot, pad);
    }
    for setting in AT_BOOT {
        check(setting, false, instance, facts, boot, pad);
    }
    read_only_at_boot(instance, facts, boot, pad);
    net_timeout(subject, instance, facts, boot, pad);
    admin_address(instance, facts, boot, pad);
    parallel_type(instance, facts, boot, pad);
    fenced_now(subject, instance, facts, pad);
    if semi_sync {
        source_side(subject, instance, facts, pad);
    }
}

fn check(
    setting: &Setting,
    now_too: bool,
    instance: &InstanceId,
    facts: &Facts,
    boot: Option<&Boot>,
    pad: &mut Pad<'_>,
) {
    let wanted = setting.want.text();
    let (mut found, mut mend) = (Vec::new(), Vec::new());
    if now_too {
        match facts.variables.get(setting.variable) {
            Some(value) if setting.want.holds(value) => {}
            Some(value) => {
                found.push(format!("{}={value}", setting.variable));
                let now = now_statement(setting, &wanted);
                if setting.change == Change::Static {
                    mend.push(line(boot, setting.variable, &wanted));
                }
                mend.push(now);
            }
            None => {
                found.push(format!("this server has no {}", setting.variable));
                mend.push("use a tested version of MySQL".into());
            }
        }
    }
    if let Some(boot) = boot {
        let (value, origin) = at_boot(facts, boot, setting.variable, setting.default);
        if !setting.want.holds(value) {
            match origin {
                Origin::Persisted => {
                    found.push(format!(
                        "SET PERSIST makes it {}={value} at the next start",
                        setting.variable
                    ));
                    mend.push(format!("RESET PERSIST IF EXISTS {}", setting.variable));
                    let written = boot.options.get(setting.variable);
                    let written = written.map_or(setting.default, String::as_str);
                    if !setting.want.holds(written) {
                        mend.push(line(Some(boot), setting.variable, &wanted));
                    }
                }
                Origin::Written => {
                    found.push(format!(
                        "{}={value} at the next start, by {}",
                        setting.variable, boot.file
                    ));
                    mend.push(line(Some(boot), setting.variable, &wanted));
                }
                Origin::Default => {
                    found.push(format!(
                        "{}={value} at the next start, by default: {} does not set it",
                        setting.variable, boot.file
                    ));
                    mend.push(line(Some(boot), setting.variable, &wanted));
                }
            }
        }
    }
    mend.dedup();
    if !found.is_empty() {
        pad.add(
            setting.rule,
            Some(instance),
            found.join("; "),
            mend.join("; "),
        );
    }
}

/// `super_read_only=ON` brings `read_only` with it, but a later `read_only=OFF` takes both away.
fn read_only_at_boot(instance: &InstanceId, facts: &Facts, boot: Option<&Boot>, pad: &mut Pad<'_>) {
    let Some(boot) = boot else { return };
    let (value, origin) = at_boot(facts, boot, "read_only", "ON");
    if plain(value) != "OFF" {
        return;
    }
    let mend = match origin {
        Origin::Persisted => "RESET PERSIST IF EXISTS read_only".into(),
        Origin::Written | Origin::Default => line(Some(boot), "read_only", "ON"),
    };
    pad.add(
        Rule::BootsFenced,
        Some(instance),
        "read_only=OFF at the next start, which undoes super_read_only",
        mend,
    );
}

/// STOP REPLICA IO_THREAD takes two seconds instead of 0.05 once this has run out.
fn net_timeout(
    subject: &Subject<'_>,
    instance: &InstanceId,
    facts: &Facts,
    boot: Option<&Boot>,
    pad: &mut Pad<'_>,
) {
    let policy = subject.policy;
    let longest_ms = policy
        .sustain_ms
        .max(policy.cross_region_sustain_ms)
        .max(policy.wedged_sustain_ms);
    let least_s = (longest_ms + FREEZE_MARGIN_MS) / 1_000 + 1;
    let setting = row(
        Rule::ReplicaNetTimeout,
        "replica_net_timeout",
        Want::AtLeast(least_s),
        "60",
        Change::Dynamic,
    );
    check(&setting, true, instance, facts, boot, pad);
}

fn admin_address(instance: &InstanceId, facts: &Facts, boot: Option<&Boot>, pad: &mut Pad<'_>) {
    let now = facts.variables.get("admin_address");
    if now.is_none_or(String::is_empty) {
        pad.add(
            Rule::AdminListener,
            Some(instance),
            "admin_address is empty: with all connections taken nobody gets in",
            format!(
                "{}; restart it (SIGKILL, never SIGTERM, a primary)",
                line(boot, "admin_address", "127.0.0.1")
            ),
        );
    }
}

/// Gone from later versions, where commit order is kept without it.
fn parallel_type(instance: &InstanceId, facts: &Facts, boot: Option<&Boot>, pad: &mut Pad<'_>) {
    let now = facts.variables.get("replica_parallel_type");
    if let Some(value) = now.filter(|value| plain(value) != "LOGICAL_CLOCK") {
        pad.add(
            Rule::ReplicaParallelType,
            Some(instance),
            format!("replica_parallel_type={value}: commit order is not kept"),
            format!(
                "STOP REPLICA SQL_THREAD; SET GLOBAL replica_parallel_type=LOGICAL_CLOCK; START \
                 REPLICA SQL_THREAD; {}",
                line(boot, "replica_parallel_type", "LOGICAL_CLOCK")
            ),
        );
    }
}

fn on(facts: &Facts, variable: &str) -> bool {
    let value = facts.variables.get(variable);
    value.is_some_and(|value| plain(value) == "ON")
}

fn fenced_now(subject: &Subject<'_>, instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    if subject.may_be_open(instance) || on(facts, "super_read_only") {
        return;
    }
    pad.add(
        Rule::Fenced,
        Some(instance),
        "super_read_only=OFF: it takes writes that nobody asked it to take",
        "SET GLOBAL super_read_only=ON",
    );
}

/// The primary waits for k; nobody else has the source side on.
fn source_side(subject: &Subject<'_>, instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    let enabled = on(facts, "rpl_semi_sync_source_enabled");
    if instance != subject.primary {
        if enabled {
            pad.add(
                Rule::SemiSyncSource,
                Some(instance),
                "rpl_semi_sync_source_enabled=ON on a replica: it blocks the applier",
                "SET GLOBAL rpl_semi_sync_source_enabled=OFF",
            );
        }
        return;
    }
    if subject.life != (Life::Registered { open: true }) {
        return; // set when it is opened or adopted
    }
    if !enabled {
        pad.add(
            Rule::SemiSyncSource,
            Some(instance),
            "rpl_semi_sync_source_enabled=OFF on the primary: it acknowledges alone",
            "SET GLOBAL rpl_semi_sync_source_enabled=ON",
        );
    }
    let variable = "rpl_semi_sync_source_wait_for_replica_count";
    let count = facts.variables.get(variable).map_or("", String::as_str);
    if count.parse() != Ok(subject.k) {
        pad.add(
            Rule::SemiSyncCount,
            Some(instance),
            format!("{variable}={count}, and k is {}", subject.k),
            format!("SET GLOBAL {variable}={}", subject.k),
        );
    }
}
