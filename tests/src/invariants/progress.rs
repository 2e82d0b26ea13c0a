//! **Law (V):** once every fault has ended, a primary is open within a bound, and a client's write
//! is acknowledged by it, without anybody's hands. A system that is merely stuck fails.
//!
//! A halt is legitimate only where what is left cannot carry the cluster (see `legitimate`): in
//! this version a former primary does not rejoin and V is not changed, so members may be left
//! behind for good.
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: `never-withdrawn`, `wedged-unchosen`; the others must not
//! hide behind a halt.

use primacy_core::gtid::GtidSet;
use primacy_core::ids::{Epoch, InstanceId};
use primacy_core::record::{
    Cluster, Deposition, Follower, FreezeReport, Promotion, PromotionRule, Stage,
};

use super::{Truth, acked, scheduled};
use crate::simulator::{ANY_RUN, HEAL_US, NAMES, Target, What, World, instance_name};

/// From healing until a write must have been acknowledged. Above `restart_hold_ms`, one more
/// failover across regions, and the far ackers' connects.
const BOUND_US: u64 = 40_000_000;
const AGAIN_US: u64 = 250_000;
/// More than the faults of a plan can bring about.
const EPOCHS_MAX: u64 = 40;
/// The slowest applier of a plan, with the longest backlog that a run can give it.
const CATCH_UP_US: u64 = 200_000_000;

pub fn judge(world: &mut World) {
    // A candidate that works off its relay log is not stuck; one whose applier broke is.
    if catches_up(world) && world.now < HEAL_US + CATCH_UP_US {
        world.caught_up = world.now;
    }
    let mut ended = Vec::new();
    for of in 0..world.truths.len() {
        match judge_one(world, of) {
            Judgement::Ended(why) => ended.push(why),
            Judgement::Open => return world.after(AGAIN_US, Target::World, ANY_RUN, What::Judge),
            Judgement::Broken(law, words) => return world.violate(law, words),
        }
    }
    for why in ended {
        world.counts.halts += u64::from(why.is_some());
        world.note("judge", || match why {
            Some(why) => format!("halted, legitimately: {why}"),
            None => "serves; all is well".into(),
        });
    }
    world.done = true;
}

/// What the end of a run says of one cluster.
enum Judgement {
    /// It serves; or halts, and this is why it may.
    Ended(Option<String>),
    /// It is given more time.
    Open,
    Broken(&'static str, String),
}

fn judge_one(world: &World, of: usize) -> Judgement {
    let known = world.cluster(of);
    let epoch = known.map_or(Epoch::INITIAL, |cluster| cluster.epoch);
    if epoch.0 > EPOCHS_MAX {
        let words = format!("epoch {epoch}: primaries are named and deposed without end");
        return Judgement::Broken("progress", words);
    }
    let truth = &world.truths[of];
    let in_time = world.now < HEAL_US.max(world.caught_up) + BOUND_US;
    if known.is_some_and(|cluster| serves(world, truth, cluster))
        && let Some((epoch, host)) = truth.opened.iter().next_back()
    {
        if let Some(words) = acked::check(world, *host, *epoch) {
            return Judgement::Broken("acked", words);
        }
        return match known.and_then(|cluster| scheduled::check(world, truth, cluster)) {
            // It may be on its way.
            Some(_) if in_time => Judgement::Open,
            Some(words) => Judgement::Broken("scheduled", words),
            None => Judgement::Ended(None),
        };
    }
    if in_time {
        return Judgement::Open;
    }
    if let Some(why) = known.and_then(|cluster| legitimate(world, cluster)) {
        return Judgement::Ended(Some(why));
    }
    let stage = known.map_or("unregistered", Cluster::stage_name);
    let standing = known.and_then(|cluster| {
        let leader = world.leader()?;
        world.nodes[leader].node.as_ref()?.standing(&cluster.id)
    });
    let waits: Vec<String> = standing.map_or(Vec::new(), |standing| {
        let refused = standing
            .refused
            .iter()
            .map(|(id, why)| format!("{id}: {why}"));
        standing.waits.iter().cloned().chain(refused).collect()
    });
    let words = format!(
        "{} s after healing {} acknowledges nothing; {stage}; {}",
        (world.now - HEAL_US) / 1_000_000,
        NAMES[of],
        waits.join("; ")
    );
    Judgement::Broken("progress", words)
}

/// Whether a log's primary still applies what it received, or whoever is to give something to
/// another.
fn catches_up(world: &World) -> bool {
    world.state().clusters.values().any(|cluster| {
        let fetching = cluster.deposition().and_then(|of| of.fetching.as_ref());
        cluster.instances.keys().any(|id| {
            let server = &world.servers[world.host_of(id)];
            (*id == cluster.primary || fetching.is_some_and(|of| of.fetch.donor == *id))
                && server.applier
                && server.broken.is_empty()
                && !server.relay.is_empty()
        })
    })
}

/// The log's primary is truly open, and acknowledged a client's write after the healing.
fn serves(world: &World, truth: &Truth, cluster: &Cluster) -> bool {
    cluster.has_acknowledged()
        && cluster.inquest.is_none()
        && truth.acked.last().is_some_and(|write| {
            write.epoch == cluster.epoch
                && write.at > HEAL_US + 1_000_000
                && world.now - write.at < 1_000_000
        })
}

/// Why nobody can serve without a person, if that is so.
fn legitimate(world: &World, cluster: &Cluster) -> Option<String> {
    hopeless(world, cluster).or_else(|| match &cluster.stage {
        Stage::Founding { .. } => founder_gone(world, cluster),
        Stage::Named(promotion)
            if !promotion.acknowledged
                && world.is_cut_for_good(world.host_of(&cluster.primary)) =>
        {
            Some(
                "its replication was cut for good before it had gathered any acknowledgement"
                    .into(),
            )
        }
        Stage::Named(promotion) => {
            let primary = &world.servers[world.host_of(&cluster.primary)];
            let lacks = promotion.choice.need.subtract(&primary.holds());
            if !lacks.is_empty() {
                return Some(format!("{} lost {}", cluster.primary, lacks.compact()));
            }
            let held = world.faults.held == Some(world.host_of(&cluster.primary));
            let nobody = (held && !promotion.opened).then(|| {
                nobody_eligible(world, cluster).or_else(|| nobody_followed(world, cluster))
            });
            unseen_ground(world, cluster)
                .or_else(|| too_few_follow(cluster, promotion))
                .or(nobody.flatten())
        }
        Stage::Deposed(record) => only_a_former_primary(world, cluster)
            .or_else(|| nobody_eligible(world, cluster))
            .or_else(|| nobody_followed(world, cluster))
            .or_else(|| forgotten(cluster, record)),
    })
}

/// Everybody has to report before a cluster is founded.
fn founder_gone(world: &World, cluster: &Cluster) -> Option<String> {
    let dead = world.faults.dead.iter().map(|host| instance_name(*host));
    let mut dead = dead.filter(|id| cluster.instances.contains_key(id));
    Some(format!(
        "{} is to report, and is gone for good",
        dead.next()?
    ))
}

fn too_few_follow(cluster: &Cluster, promotion: &Promotion) -> Option<String> {
    let able = cluster
        .ackers
        .members
        .iter()
        .filter(|id| !matches!(promotion.followers.get(*id), Some(Follower::Refused { .. })))
        .count();
    (able < cluster.ackers.k as usize).then(|| {
        format!(
            "{able} of V may follow {}, and a write needs {}",
            cluster.primary, cluster.ackers.k
        )
    })
}

/// A host is gone for good, and those that are left cannot prove, or cannot carry the cluster: more
/// than V and k are made for.
fn hopeless(world: &World, cluster: &Cluster) -> Option<String> {
    let alive = |id: &InstanceId| !world.faults.dead.contains(&world.host_of(id));
    if world.faults.dead.is_empty() || cluster.epoch == Epoch::INITIAL {
        return None;
    }
    let refused = |id: &InstanceId| {
        let followers = cluster.promotion().map(|promotion| &promotion.followers);
        followers.is_some_and(|of| matches!(of.get(id), Some(Follower::Refused { .. })))
    };
    let errant = |id: &InstanceId| {
        let held = world.servers[world.host_of(id)].holds();
        !held.without(&cluster.primaries).is_empty()
    };
    let members = &cluster.ackers.members;
    let frozen = members.iter().filter(|id| alive(id)).count();
    let provable = frozen >= cluster.blocking() || alive(&cluster.primary);
    let carries = |id: &InstanceId| {
        let next = cluster.ackers.without(id);
        let acks = next.members.iter();
        let acks = acks.filter(|acker| alive(acker) && !refused(acker) && !errant(acker));
        acks.count() >= next.k as usize
    };
    let fit = cluster.instances.iter().any(|(id, spec)| {
        let own = *id == cluster.primary;
        let barred = cluster.left_behind.contains(id)
            || spec.promotion == PromotionRule::Never
            || errant(id);
        alive(id) && (own || !barred) && carries(id)
    });
    if !provable {
        return Some(format!(
            "{frozen} of {} ackers are left, and the primary is gone for good",
            members.len()
        ));
    }
    (!fit).then(|| "too few are left to acknowledge to anybody who may be promoted".into())
}

/// Nobody knows what a primary answered whose ground was not seen, or broken, before its end: only a
/// person may lose that.
fn unseen_ground(world: &World, cluster: &Cluster) -> Option<String> {
    let inquest = cluster.inquest.as_ref()?;
    let gone = world.faults.dead.contains(&world.host_of(&cluster.primary));
    let doubt = cluster.doubt(inquest.ground_age_ms());
    doubt
        .filter(|_| gone)
        .map(|why| format!("the loss is unknown: {why}"))
}

/// So many have lost what they acknowledged that nobody knows what is missing.
fn forgotten(cluster: &Cluster, record: &Deposition) -> Option<String> {
    let forgot = record
        .frozen
        .values()
        .filter(|of| of.forgot.is_some())
        .count();
    let doubt = cluster.doubt(record.ground_age_ms);
    (forgot > 0 || doubt.is_some()).then(|| "what was acknowledged is not known".into())
}

/// Of those that are left, only a former primary still holds what every later one must: it is no
/// candidate and no donor before it rejoined, and does not rejoin in this version.
fn only_a_former_primary(world: &World, cluster: &Cluster) -> Option<String> {
    let holds = |id: &InstanceId| world.servers[world.host_of(id)].holds();
    let left = cluster
        .instances
        .keys()
        .filter(|id| !world.faults.dead.contains(&world.host_of(id)));
    let (former, others): (Vec<_>, Vec<_>) = left.partition(|id| cluster.left_behind.contains(*id));
    let lacks = |id: &&InstanceId| !holds(id).is_superset_of(&cluster.floor);
    let holder = former.iter().find(|id| !lacks(id))?;
    others
        .iter()
        .all(lacks)
        .then(|| format!("only {holder}, a former primary, still holds the floor"))
}

/// Whoever may be chosen is followed by too few: the others hold what it does not, and no replica is
/// rebuilt in this version.
fn nobody_followed(world: &World, cluster: &Cluster) -> Option<String> {
    let holds = |id: &InstanceId| world.servers[world.host_of(id)].holds();
    let carried = cluster.instances.iter().any(|(id, spec)| {
        let own = *id == cluster.primary;
        let barred = cluster.left_behind.contains(id) || spec.promotion == PromotionRule::Never;
        let next = cluster.inherited().without(id);
        let has = holds(id);
        let follows = |acker: &&InstanceId| {
            let extra = holds(acker).subtract(&has);
            let own = spec.server_uuid.into_iter().collect();
            !world.faults.dead.contains(&world.host_of(acker)) && extra.without(&own).is_empty()
        };
        let held = world.faults.held == Some(world.host_of(id));
        (own || !barred) && !held && next.members.iter().filter(follows).count() >= next.k as usize
    });
    (!carried).then(|| "whoever may be chosen is followed by too few".into())
}

/// What was told of a deposed epoch by those whose relay logs a fault took since.
fn told_and_lost(world: &World, cluster: &Cluster) -> GtidSet {
    let record = cluster.deposition();
    let reports = record.into_iter().flat_map(|record| &record.frozen);
    let lost = reports.filter(|(id, _)| world.servers[world.host_of(id)].lost_relay);
    lost.fold(GtidSet::default(), |told, (_, report)| {
        told.union(&report.holds())
    })
}

/// What may have been answered in the deposed epoch, whatever of it was: so many of V hold it that the
/// others, who are gone for good, make up k.
fn told(world: &World, cluster: &Cluster) -> GtidSet {
    let Some(record) = cluster.deposition() else {
        return GtidSet::default();
    };
    let members = cluster.ackers.members.iter();
    let (silent, left): (Vec<_>, Vec<_>) = members.partition(|id| {
        world.faults.dead.contains(&world.host_of(id)) && !record.frozen.contains_key(*id)
    });
    let reports = left.iter().filter_map(|id| record.frozen.get(*id));
    let held: Vec<GtidSet> = reports.map(FreezeReport::holds).collect();
    let k = cluster.ackers.k as usize;
    let mut told = GtidSet::default();
    for txn in &world.txns {
        let holders = held.iter().filter(|held| held.contains(&txn.gtid)).count();
        if holders > 0 && holders + silent.len() >= k {
            told.insert(txn.gtid);
        }
    }
    told
}

/// Whether it replicated from the primary that is deposed: what another holds beyond the need may be
/// phantom, and is not given.
fn followed(cluster: &Cluster, id: &InstanceId) -> bool {
    let report = cluster.deposition().and_then(|of| of.frozen.get(id));
    report.is_none_or(|of| of.replicated_from.as_ref() == Some(&cluster.primary))
}

/// Everybody who is left is barred from promotion, or lacks what is needed and may get it from nobody:
/// who has it lacks something that the other holds, so that they have diverged.
fn nobody_eligible(world: &World, cluster: &Cluster) -> Option<String> {
    let holds = |id: &InstanceId| world.servers[world.host_of(id)].holds();
    // One whose applier is held for good still silences and acknowledges, and opens never.
    let gone = |id: &InstanceId| {
        let host = world.host_of(id);
        world.faults.dead.contains(&host) || world.faults.held == Some(host)
    };
    let former = |id: &InstanceId| cluster.left_behind.contains(id);
    let needed = cluster
        .floor
        .union(&told_and_lost(world, cluster))
        .union(&told(world, cluster));
    let unable = cluster.instances.iter().all(|(id, spec)| {
        let held = holds(id);
        let barred = gone(id)
            || former(id)
            || (*id != cluster.primary
                && (spec.promotion == PromotionRule::Never
                    || !held.without(&cluster.primaries).is_empty()));
        let missing = needed.subtract(&held);
        let donors = cluster.instances.keys().filter(|other| {
            *other != id
                && **other != cluster.primary
                && !gone(other)
                && !former(other)
                && holds(other).is_superset_of(&held)
                && holds(other).without(&cluster.primaries).is_empty()
                && (followed(cluster, other)
                    || cluster.floor.union(&held).is_superset_of(&holds(other)))
        });
        let given = donors.fold(GtidSet::default(), |given, other| {
            given.union(&holds(other))
        });
        let donor = given.is_superset_of(&missing);
        barred || (!missing.is_empty() && (*id == cluster.primary || !donor))
    });
    unable
        .then(|| "nobody who is left may be promoted and has, or may fetch, what is needed".into())
}
