//! **Law (V):** once every fault has ended, a primary is open within a bound, and a client's write
//! is acknowledged by it, without anybody's hands. A system that is merely stuck fails.
//!
//! A halt is legitimate only where what is left cannot carry the cluster (see `legitimate`): in
//! this version a former primary does not rejoin and V is not changed, so members may be left
//! behind for good.
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: none of its own; the others must not hide behind a halt.

use primacy_core::agree::Verdict;
use primacy_core::ids::{Epoch, InstanceId};
use primacy_core::record::{Cluster, Follower, PromotionRule, Stage};

use super::acked;
use crate::simulator::{ANY_RUN, HEAL_US, Target, What, World, instance_name};

/// From healing until a write must have been acknowledged. Above `restart_hold_ms`, one more
/// failover across regions, and the far ackers' connects.
const BOUND_US: u64 = 40_000_000;
const AGAIN_US: u64 = 250_000;
/// The slowest applier of a plan, with the longest backlog that a run can give it.
const CATCH_UP_US: u64 = 200_000_000;

pub fn judge(world: &mut World) {
    if serves(world) {
        let (epoch, host) = match world.truth.opened.iter().next_back() {
            Some((epoch, host)) => (*epoch, *host),
            None => return,
        };
        if let Some(words) = acked::check(world, host, epoch) {
            world.violate("acked", words);
        }
        world.note("judge", || format!("epoch {epoch} serves; all is well"));
        world.done = true;
        return;
    }
    // A candidate that works off its relay log is not stuck; one whose applier broke is.
    if catches_up(world) && world.now < HEAL_US + CATCH_UP_US {
        world.caught_up = world.now;
    }
    if world.now < HEAL_US.max(world.caught_up) + BOUND_US {
        return world.after(AGAIN_US, Target::World, ANY_RUN, What::Judge);
    }
    match world.shop().and_then(|cluster| legitimate(world, cluster)) {
        Some(why) => {
            world.note("judge", || format!("halted, legitimately: {why}"));
            world.counts.halts += 1;
            world.done = true;
        }
        None => {
            let stage = world.shop().map_or("unregistered", Cluster::stage_name);
            let waits: Vec<String> = world
                .shop()
                .map(|cluster| cluster.id.clone())
                .and_then(|id| {
                    let leader = world.leader()?;
                    world.nodes[leader].node.as_ref()?.standing(&id)
                })
                .map_or(Vec::new(), |standing| {
                    let refused = standing
                        .refused
                        .iter()
                        .map(|(id, why)| format!("{id}: {why}"));
                    standing.waits.iter().cloned().chain(refused).collect()
                });
            let words = format!(
                "{} s after healing nothing is acknowledged; {stage}; {}",
                (world.now - HEAL_US) / 1_000_000,
                waits.join("; ")
            );
            world.violate("progress", words);
        }
    }
}

/// Whether the log's primary still applies what it received.
fn catches_up(world: &World) -> bool {
    let Some(cluster) = world.shop() else {
        return false;
    };
    world.servers.iter().enumerate().any(|(host, server)| {
        instance_name(host) == cluster.primary
            && server.applier
            && server.broken.is_empty()
            && !server.relay.is_empty()
    })
}

/// The log's primary is truly open, and acknowledged a client's write after the healing.
fn serves(world: &World) -> bool {
    let Some(cluster) = world.shop() else {
        return false;
    };
    let acknowledged = cluster.promotion().is_some_and(|p| p.acknowledged);
    acknowledged
        && cluster.inquest.is_none()
        && world.truth.acked.last().is_some_and(|write| {
            write.epoch == cluster.epoch
                && write.at > HEAL_US + 1_000_000
                && world.now - write.at < 1_000_000
        })
}

/// Why nobody can serve without a person, if that is so.
fn legitimate(world: &World, cluster: &Cluster) -> Option<String> {
    match &cluster.stage {
        Stage::Founding { .. } => None,
        Stage::Named(promotion) => {
            let primary = &world.servers[world.host_of(&cluster.primary)];
            let lacks = promotion.choice.need.subtract(&primary.holds());
            if !lacks.is_empty() {
                return Some(format!("{} lost {}", cluster.primary, lacks.compact()));
            }
            let able = cluster
                .ackers
                .members
                .iter()
                .filter(|id| {
                    !matches!(promotion.followers.get(*id), Some(Follower::Refused { .. }))
                })
                .count();
            (able < cluster.ackers.k as usize).then(|| {
                format!(
                    "{able} of V may follow {}, and a write needs {}",
                    cluster.primary, cluster.ackers.k
                )
            })
        }
        Stage::Deposed(record) => {
            // Fenced because it could not write, it is not reinstated; nobody else holds the need.
            let wedged = record.judgement.verdict == Verdict::Wedged;
            if wedged && cluster.epoch > Epoch::INITIAL {
                return Some(
                    "a wedged primary is fenced, and nobody else holds what it has".into(),
                );
            }
            only_a_former_primary(world, cluster).or_else(|| nobody_eligible(world, cluster))
        }
    }
}

/// What every proof needs, a disk of a replica has lost, and only a former primary still holds it:
/// it is no candidate before it rejoined, and does not rejoin in this version.
fn only_a_former_primary(world: &World, cluster: &Cluster) -> Option<String> {
    let holds = |id: &InstanceId| world.servers[world.host_of(id)].holds();
    let (former, others): (Vec<_>, Vec<_>) = cluster
        .instances
        .keys()
        .partition(|id| cluster.left_behind.contains(*id));
    let lacks = |id: &&InstanceId| !holds(id).is_superset_of(&cluster.floor);
    let holder = former.iter().find(|id| !lacks(id))?;
    others
        .iter()
        .all(lacks)
        .then(|| format!("only {holder}, a former primary, still holds the floor"))
}

/// Everybody else is barred from promotion, and the deposed primary's disk has lost what is needed.
fn nobody_eligible(world: &World, cluster: &Cluster) -> Option<String> {
    let holds = |id: &InstanceId| world.servers[world.host_of(id)].holds();
    let barred = cluster.instances.iter().all(|(id, spec)| {
        *id == cluster.primary
            || cluster.left_behind.contains(id)
            || spec.promotion == PromotionRule::Never
            || !holds(id).without(&cluster.primaries).is_empty()
    });
    let whole = holds(&cluster.primary).is_superset_of(&cluster.floor);
    (barred && !whole).then(|| {
        format!(
            "{} lost what is needed, and nobody else may be promoted",
            cluster.primary
        )
    })
}
