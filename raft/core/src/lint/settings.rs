//! Settings: what a variable must be now, and at the next start.

use super::facts::{Boot, Facts};
use super::table::{ALWAYS, AT_BOOT, Change, Setting, Want, plain, row};
use super::{Life, Pad, Rule, Subject};
use crate::ids::InstanceId;

/// From the end of the longest patience to the freeze: as long as STOP REPLICA IO_THREAD may be
/// behind it.
const FREEZE_MARGIN_MS: u64 = 5_000;

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
        .max(policy.wedged_sustain_ms)
        .max(policy.starved_sustain_ms);
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
