//! The server as such: which one it is, its version, its plugins, what can stop it.

use std::collections::BTreeMap;

use super::facts::{AddressWord, Evidence, Facts};
use super::{Pad, Rule, Subject};
use crate::gtid::Uuid;
use crate::ids::InstanceId;

/// Release series that the project's tests run against.
const TESTED: &[(u32, u32)] = &[(9, 7)];

/// Major, minor, patch. Integers, because 26.7 follows 9.7.
type Version = (u32, u32, u32);

fn version(facts: &Facts) -> Option<Version> {
    let mut numbers = facts
        .version
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

fn mentions(facts: &Facts, name: &str) -> bool {
    [&facts.version, &facts.version_comment]
        .iter()
        .any(|text| text.to_ascii_lowercase().contains(name))
}

pub(super) fn is_mariadb(facts: &Facts) -> bool {
    mentions(facts, "mariadb")
}

pub(super) fn refuse_mariadb(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    pad.add(
        Rule::MariaDb,
        Some(instance),
        format!(
            "it is MariaDB ({}), whose GTIDs are positions and no sets: what one server has beyond \
             another cannot be told",
            facts.version
        ),
        "use MySQL 9.7; MariaDB cannot be managed",
    );
}

/// Whether both halves of semi-synchronous replication can be switched on.
pub(super) fn semi_sync_active(facts: &Facts) -> bool {
    ["rpl_semi_sync_source", "rpl_semi_sync_replica"]
        .iter()
        .all(|plugin| active(facts, plugin))
}

fn active(facts: &Facts, plugin: &str) -> bool {
    facts.plugins.get(plugin).is_some_and(|it| it == "ACTIVE")
}

/// What answers at the registered address must be what the agent stands beside.
pub(super) fn address(
    subject: &Subject<'_>,
    instance: &InstanceId,
    evidence: &Evidence,
    facts: &Facts,
    pad: &mut Pad<'_>,
) {
    let Some(spec) = subject.instances.get(instance) else {
        return;
    };
    let at = format!("{}:{}", spec.host, spec.port);
    match (&evidence.address, facts.server_uuid) {
        (AddressWord::Answers(uuid), Some(own)) if *uuid != own => pad.add(
            Rule::Address,
            Some(instance),
            format!("at {at} answers {uuid}, but the agent of {instance} stands beside {own}"),
            format!("register the address of the server beside the agent of {instance}, or move the agent"),
        ),
        (AddressWord::Answers(_) | AddressWord::Closed, _) => {}
        (AddressWord::Fails(why), _) => pad.add(
            Rule::Address,
            Some(instance),
            format!("{at} does not answer a node: {why}"),
            "correct host and port, open the way from the nodes to it, and create the account that \
             the nodes' configuration names under [probe]",
        ),
    }
    let Some(own) = facts.server_uuid else { return };
    let known = [
        (spec.server_uuid, "registered"),
        (facts.enrolled_uuid, "enrolled by its agent"),
    ];
    let other = known
        .into_iter()
        .find_map(|(known, whose)| Some((known.filter(|known| *known != own)?, whose)));
    if let Some((known, whose)) = other {
        pad.add(
            Rule::Enrolled,
            Some(instance),
            format!(
                "it is {own} now, {whose} is {known}: its data directory was replaced, or another \
                 server stands there"
            ),
            format!(
                "bring back the data directory of {known}; or give the new server a new instance \
                 id, and its agent an empty dir"
            ),
        );
    }
}

pub(super) fn judge(
    subject: &Subject<'_>,
    instance: &InstanceId,
    facts: &Facts,
    pad: &mut Pad<'_>,
) {
    tested(instance, facts, pad);
    plugins(instance, facts, pad);
    manager(instance, facts, pad);
    if !facts.binlog_filters.is_empty() {
        pad.add(
            Rule::BinlogFilters,
            Some(instance),
            facts.binlog_filters.join("; "),
            "take binlog_do_db and binlog_ignore_db out of my.cnf; restart it",
        );
    }
    if !facts.filters.is_empty() && takes_part(subject, instance) {
        pad.add(
            Rule::ReplicationFilters,
            Some(instance),
            facts.filters.join("; "),
            "STOP REPLICA SQL_THREAD; CHANGE REPLICATION FILTER REPLICATE_DO_DB=(), \
             REPLICATE_IGNORE_DB=(), REPLICATE_DO_TABLE=(), REPLICATE_IGNORE_TABLE=(), \
             REPLICATE_WILD_DO_TABLE=(), REPLICATE_WILD_IGNORE_TABLE=(), REPLICATE_REWRITE_DB=(); \
             START REPLICA SQL_THREAD; then rebuild it, since it lacks what was left out. Or \
             register it with promotion never, and outside ackers",
        );
    }
}

/// It acknowledges, or may be primary.
pub(super) fn takes_part(subject: &Subject<'_>, instance: &InstanceId) -> bool {
    subject.ackers.contains(instance) || subject.may_be_primary(instance)
}

fn tested(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    let found = match version(facts) {
        None => format!("its version {:?} is not understood", facts.version),
        Some((major, minor, _)) if !TESTED.contains(&(major, minor)) => {
            format!("{} is not tested", facts.version)
        }
        // A fork keeps the numbers, and not always the behaviour.
        Some(_) if mentions(facts, "percona") => {
            format!(
                "{} ({}) is not tested",
                facts.version, facts.version_comment
            )
        }
        Some(_) => return,
    };
    let series: Vec<String> = TESTED
        .iter()
        .map(|(a, b)| format!("MySQL {a}.{b}"))
        .collect();
    pad.add(
        Rule::VersionTested,
        Some(instance),
        found,
        format!("use {}", series.join(" or ")),
    );
}

fn plugins(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    let missing: Vec<_> = [
        ("rpl_semi_sync_source", "semisync_source.so"),
        ("rpl_semi_sync_replica", "semisync_replica.so"),
    ]
    .into_iter()
    .filter(|(plugin, _)| !active(facts, plugin))
    .collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(plugin, _)| *plugin).collect();
        let mends: Vec<_> = missing
            .iter()
            .map(|(plugin, library)| format!("INSTALL PLUGIN {plugin} SONAME '{library}'"))
            .collect();
        pad.add(
            Rule::SemiSyncPlugins,
            Some(instance),
            format!("not active: {}", names.join(", ")),
            mends.join("; "),
        );
    }
    if !active(facts, "clone") {
        pad.add(
            Rule::ClonePlugin,
            Some(instance),
            "not active: clone; a replica that diverged cannot be rebuilt from this one, nor this \
             one from another",
            "INSTALL PLUGIN clone SONAME 'mysql_clone.so'",
        );
    }
}

/// SIGTERM answers OK to commits that no replica has acknowledged.
fn manager(instance: &InstanceId, facts: &Facts, pad: &mut Pad<'_>) {
    let Some(manager) = &facts.manager else {
        return; // not applicable: not under systemd
    };
    let unit = &manager.unit;
    let mend = if manager.mysqld_is_main {
        format!("systemctl edit {unit}: [Service] KillSignal=SIGKILL")
    } else {
        format!("systemctl edit {unit}: [Service] KillMode=process")
    };
    match &manager.kill {
        Err(why) => pad.add(
            Rule::KillSignal,
            Some(instance),
            format!("how {unit} stops its mysqld cannot be read: {why}"),
            format!("systemctl show -p KillMode,KillSignal {unit}; then {mend}"),
        ),
        Ok((mode, signal)) => {
            let spared = !manager.mysqld_is_main && mode != "control-group";
            if signal != "SIGKILL" && !spared {
                pad.add(
                    Rule::KillSignal,
                    Some(instance),
                    format!(
                        "{unit} (KillMode={mode}) stops its mysqld with {signal}, which answers OK \
                         to commits that no replica has acknowledged"
                    ),
                    mend,
                );
            }
        }
    }
}

/// What only a look at all of them shows.
pub(super) fn compare(
    subject: &Subject<'_>,
    known: &BTreeMap<&InstanceId, &Facts>,
    pad: &mut Pad<'_>,
) {
    let mut uuids: BTreeMap<Uuid, &InstanceId> = BTreeMap::new();
    let mut ids: BTreeMap<&str, &InstanceId> = BTreeMap::new();
    for (instance, facts) in known {
        if let Some(uuid) = facts.server_uuid
            && let Some(other) = uuids.insert(uuid, instance)
        {
            pad.add(
                Rule::ServerUuid,
                Some(instance),
                format!("it has the server_uuid of {other}, {uuid}"),
                "stop it, delete auto.cnf in its data directory, start it: it draws its own",
            );
        }
        let id = facts.variables.get("server_id").map_or("", String::as_str);
        let twin = ids.insert(id, instance);
        if id == "0" || id.is_empty() {
            pad.add(
                Rule::ServerId,
                Some(instance),
                format!("server_id={id}: it refuses every replica"),
                "SET GLOBAL server_id=N, another on each instance; in my.cnf, under [mysqld]: \
                 server_id=N",
            );
        } else if let Some(other) = twin {
            pad.add(
                Rule::ServerId,
                Some(instance),
                format!("server_id={id}, as {other} has: each drops what the other wrote"),
                "SET GLOBAL server_id=N, another on each instance; in my.cnf, under [mysqld]: \
                 server_id=N",
            );
        }
    }
    let series = |facts: &Facts| version(facts).map(|(major, minor, _)| (major, minor));
    let oldest = known
        .iter()
        .filter(|(_, facts)| !is_mariadb(facts))
        .filter_map(|(id, facts)| Some((series(facts)?, *id)))
        .min();
    let Some((oldest, whose)) = oldest else {
        return;
    };
    for (instance, facts) in known {
        if subject.may_be_primary(instance)
            && !is_mariadb(facts)
            && series(facts).is_some_and(|own| own > oldest)
        {
            pad.add(
                Rule::VersionOrder,
                Some(instance),
                format!(
                    "{} may become primary of {whose}, which is older: an older replica does not \
                     understand a newer source",
                    facts.version
                ),
                format!("upgrade {whose} first, or register {instance} with promotion never"),
            );
        }
    }
}
