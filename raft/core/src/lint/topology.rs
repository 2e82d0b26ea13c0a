//! Topology: one primary, everybody else replicates from it and from nobody else.

use std::collections::BTreeMap;

use super::facts::{Channel, Facts};
use super::server::takes_part;
use super::{Life, Pad, Rule, Subject};
use crate::ids::InstanceId;

pub(super) fn judge(
    subject: &Subject<'_>,
    instance: &InstanceId,
    facts: &Facts,
    known: &BTreeMap<&InstanceId, &Facts>,
    pad: &mut Pad<'_>,
) {
    let named: Vec<_> = facts
        .channels
        .iter()
        .filter(|channel| !channel.name.is_empty())
        .collect();
    if !named.is_empty() {
        let list: Vec<_> = named
            .iter()
            .map(|c| format!("{} from {}:{}", c.name, c.host, c.port))
            .collect();
        let mends: Vec<_> = named
            .iter()
            .map(|c| {
                format!(
                    "STOP REPLICA FOR CHANNEL '{0}'; RESET REPLICA ALL FOR CHANNEL '{0}'",
                    c.name
                )
            })
            .collect();
        pad.add(
            Rule::SingleSource,
            Some(instance),
            format!(
                "it replicates through named channels too: {}",
                list.join(", ")
            ),
            mends.join("; "),
        );
    }
    let default = facts
        .channels
        .iter()
        .find(|channel| channel.name.is_empty());
    if let Some(channel) = default {
        star(subject, instance, channel, known, pad);
        if instance != subject.primary {
            settings(subject, instance, channel, pad);
        }
    } else if subject.life == Life::Adopted && instance != subject.primary {
        pad.add(
            Rule::Star,
            Some(instance),
            format!("it does not replicate from {}", subject.primary),
            "CHANGE REPLICATION SOURCE TO …, SOURCE_AUTO_POSITION=1; START REPLICA; or register \
             the cluster without it",
        );
    }
    strangers(subject, instance, facts, known, pad);
}

/// Its source is the primary, under the address that is registered.
fn star(
    subject: &Subject<'_>,
    instance: &InstanceId,
    channel: &Channel,
    known: &BTreeMap<&InstanceId, &Facts>,
    pad: &mut Pad<'_>,
) {
    let source = format!("{}:{}", channel.host, channel.port);
    if instance == subject.primary {
        if channel.receives {
            pad.add(
                Rule::Star,
                Some(instance),
                format!("the primary itself replicates from {source}"),
                "STOP REPLICA; RESET REPLICA ALL",
            );
        }
        return;
    }
    let Some(primary) = subject.instances.get(subject.primary) else {
        return;
    };
    // Where it is to be pointed anyway, only a source of its own kind tells of a chain.
    if (&channel.host, channel.port) == (&primary.host, primary.port)
        || (!channel.receives && subject.life != Life::Adopted)
    {
        return;
    }
    let uuid_of = |id: &InstanceId| known.get(id).and_then(|facts| facts.server_uuid);
    let address = format!("{}:{}", primary.host, primary.port);
    let is_primary =
        channel.source_uuid.is_some() && channel.source_uuid == uuid_of(subject.primary);
    let found = if is_primary {
        format!(
            "it replicates from {} as {source}, registered is {address}",
            subject.primary
        )
    } else {
        let sibling = subject.instances.iter().find(|(id, spec)| {
            (&spec.host, spec.port) == (&channel.host, channel.port)
                || (channel.source_uuid.is_some() && channel.source_uuid == uuid_of(id))
        });
        match sibling {
            Some((id, _)) => format!("it replicates from {id}, which is a replica itself"),
            None => format!("it replicates from {source}, which is none of this cluster"),
        }
    };
    pad.add(
        Rule::Star,
        Some(instance),
        found,
        format!(
            "STOP REPLICA IO_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_HOST='{}', \
             SOURCE_PORT={}; START REPLICA IO_THREAD (with its applier running, or the relay log is \
             purged)",
            primary.host, primary.port
        ),
    );
}

fn settings(subject: &Subject<'_>, instance: &InstanceId, channel: &Channel, pad: &mut Pad<'_>) {
    if channel.delay_s > 0 && takes_part(subject, instance) {
        pad.add(
            Rule::SourceDelay,
            Some(instance),
            format!(
                "SOURCE_DELAY={}: it applies so many seconds late",
                channel.delay_s
            ),
            "once everything received is applied: STOP REPLICA; CHANGE REPLICATION SOURCE TO \
             SOURCE_DELAY=0; START REPLICA (it purges what is unapplied). Or register it with \
             promotion never, and outside ackers",
        );
    }
    let wanted_ms = subject.policy.source_heartbeat_ms;
    if channel.receives && (channel.heartbeat_ms == 0 || channel.heartbeat_ms > wanted_ms) {
        let seconds = wanted_ms as f64 / 1_000.0;
        pad.add(
            Rule::SourceHeartbeat,
            Some(instance),
            format!(
                "SOURCE_HEARTBEAT_PERIOD={}, and the policy's source_heartbeat_ms is {wanted_ms}: \
                 an idle primary looks dead from here",
                channel.heartbeat_ms as f64 / 1_000.0
            ),
            format!(
                "STOP REPLICA IO_THREAD; CHANGE REPLICATION SOURCE TO \
                 SOURCE_HEARTBEAT_PERIOD={seconds:.3}; START REPLICA IO_THREAD"
            ),
        );
    }
    if !channel.auto_position {
        pad.add(
            Rule::AutoPosition,
            Some(instance),
            "SOURCE_AUTO_POSITION=0: pointed to another source it would skip or repeat",
            "STOP REPLICA; CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=1; START REPLICA \
             (once everything received is applied: it purges what is not)",
        );
    }
}

/// Replicas of a replica, and replicas that nobody registered.
fn strangers(
    subject: &Subject<'_>,
    instance: &InstanceId,
    facts: &Facts,
    known: &BTreeMap<&InstanceId, &Facts>,
    pad: &mut Pad<'_>,
) {
    if instance == subject.primary {
        return; // who acknowledges to it is watched, and strangers are cut
    }
    let of_replica: Vec<String> = facts
        .replicas
        .iter()
        .map(|uuid| {
            let own = known
                .iter()
                .find(|(_, facts)| facts.server_uuid == Some(*uuid));
            own.map_or_else(|| uuid.to_string(), |(id, _)| id.to_string())
        })
        .collect();
    // One that is about to be founded has no replicas by order.
    if !of_replica.is_empty() {
        pad.add(
            Rule::Star,
            Some(instance),
            format!(
                "replicas replicate from this replica: {}",
                of_replica.join(", ")
            ),
            format!(
                "point them to {}: CHANGE REPLICATION SOURCE TO SOURCE_HOST=…, SOURCE_PORT=…",
                subject.primary
            ),
        );
    }
}
