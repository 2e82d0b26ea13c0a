//! Observe → agree: a node that sees silence has an inquest opened, and votes in an open one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cast, Node, SETTLED_REVOTE_MS};
use crate::agree::{Verdict, Vote};
use crate::ids::{ClusterId, InquestId, InstanceId, Tick};
use crate::observe::{Reached, Sight, SightKind};
use crate::record::{Cluster, Command, Stage, THIRD};

impl Node {
    /// Opens an inquest on suspicion, votes in an open one. What it sees of a named primary.
    pub(super) fn look(&mut self, now: Tick, cluster: &Cluster) -> Option<Sight> {
        if !matches!(cluster.stage, Stage::Named(_)) {
            return None;
        }
        let watch = self.watches.get(&cluster.primary)?;
        let sight = self.sight_of(now, cluster, watch);
        match &cluster.inquest {
            None => {
                let exited = watch.detector.exit_attested();
                // One that alone cannot reach it asks now and then, not without end.
                let asked = self.asked.get(&cluster.id);
                let again = exited
                    || asked.is_none_or(|(epoch, at)| {
                        *epoch != cluster.epoch
                            || now.since_ms(*at) >= cluster.policy.sustain_ms / 3
                    });
                // What an operator waved through is not asked about again until it ends.
                let trouble = self.trouble_since(now, cluster, watch, sight);
                let waved = self
                    .aborts_seen
                    .get(&cluster.id)
                    .is_some_and(|(_, at)| trouble <= *at);
                if again && !waved && suspicious(cluster, sight, exited) {
                    let command = Command::OpenInquest {
                        cluster: cluster.id.clone(),
                        epoch: cluster.epoch,
                        after: cluster.aborted.as_ref().map(|abort| abort.at),
                    };
                    self.outbox.push(now, inquest_key(&cluster.id), command);
                }
            }
            Some(inquest) => {
                self.asked.insert(cluster.id.clone(), (cluster.epoch, now));
                let id = inquest.id;
                let verdict = cluster
                    .judgement
                    .as_ref()
                    .map(|judgement| judgement.verdict);
                self.vote(now, cluster, id, sight, verdict);
            }
        }
        Some(sight)
    }

    fn vote(
        &mut self,
        now: Tick,
        cluster: &Cluster,
        inquest: InquestId,
        sight: Sight,
        verdict: Option<Verdict>,
    ) {
        let watch = &self.watches[&cluster.primary];
        let exit_ms = watch.detector.exited_since().map(|at| now.since_ms(at));
        let exited = exit_ms.is_some();
        let last = self
            .cast
            .get(&cluster.id)
            .filter(|cast| cast.inquest == inquest);
        let reached: BTreeMap<_, Reached> = cluster
            .instances
            .keys()
            .filter(|id| **id != cluster.primary)
            .filter_map(|id| {
                let reached = self.watches.get(id)?.reached(now, cluster, watch)?;
                Some((id.clone(), reached))
            })
            .collect();
        // Which ackers are reached, and which of them hear the primary: what a verdict turns on.
        let ackers: BTreeMap<InstanceId, bool> = reached
            .iter()
            .map(|(id, seen)| {
                let stale_ms = cluster.policy.replica_stale_ms;
                (id.clone(), seen.heard_ms.is_some_and(|ms| ms <= stale_ms))
            })
            .collect();
        let due = match last {
            // Alive is said of an answer that came after the question.
            None => match sight.kind {
                SightKind::Alive | SightKind::Overloaded => {
                    let asked = self.inquest_seen.get(&cluster.id).map(|(_, at)| *at);
                    watch.detector.last_sign() > asked
                }
                _ => true,
            },
            Some(last) => {
                let policy = &cluster.policy;
                let longest_ms = policy
                    .cross_region_sustain_ms
                    .max(policy.starved_sustain_ms);
                let crossed = |threshold_ms: u64| {
                    last.sight.for_ms < threshold_ms && sight.for_ms >= threshold_ms
                };
                let again_ms = match verdict {
                    Some(verdict) if verdict.deposes() && self.is_next(cluster) => {
                        self.settings.revote_ms
                    }
                    Some(verdict) if verdict.deposes() || verdict == Verdict::Isolated => {
                        SETTLED_REVOTE_MS
                    }
                    // Past every threshold only a change says anything new.
                    _ if sight.for_ms > longest_ms => SETTLED_REVOTE_MS,
                    _ => self.settings.revote_ms,
                };
                last.sight.kind != sight.kind
                    || last.ackers != ackers
                    || (exited && !last.exited)
                    || (exited && crossed(policy.crash_sustain_ms))
                    || crossed(policy.sustain_ms)
                    || crossed(policy.cross_region_sustain_ms)
                    || crossed(policy.starved_sustain_ms)
                    || now.since_ms(last.at) >= again_ms
            }
        };
        if !due {
            return;
        }
        let starvation = (sight.kind == SightKind::Starved)
            .then(|| Box::new(self.starvation(now, cluster, watch)));
        self.cast.insert(
            cluster.id.clone(),
            Cast {
                inquest,
                sight,
                at: now,
                exited,
                ackers,
            },
        );
        self.votes = self.votes.next();
        let vote = Vote {
            cluster: cluster.id.clone(),
            inquest,
            node: self.id,
            incarnation: self.incarnation,
            seq: self.votes,
            sight,
            lease_left_ms: 0,
            last_known: watch.known(cluster.epoch),
            reached,
            word: watch.detector.word(),
            exit_ms,
            ground: watch.ground_look(),
            broken: if self.state.get().level >= THIRD {
                watch.broken(cluster.epoch)
            } else {
                BTreeSet::new()
            },
            starvation,
        };
        self.outbox.push_now(
            format!("vote/{}", cluster.id),
            Command::Vote(Box::new(vote)),
        );
    }
}

pub(super) fn inquest_key(cluster: &ClusterId) -> String {
    format!("inquest/{cluster}")
}

/// Whether a sight is reason enough to ask everybody. An inquest costs one entry and is closed
/// again if it was nothing; asked early, the votes are there when the time is up.
fn suspicious(cluster: &Cluster, sight: Sight, exited: bool) -> bool {
    let policy = &cluster.policy;
    match sight.kind {
        SightKind::Silent => exited || sight.for_ms >= policy.sustain_ms / 3,
        SightKind::Closed => sight.for_ms >= policy.sustain_ms / 2,
        SightKind::Wedged => sight.for_ms >= policy.wedged_sustain_ms / 2,
        SightKind::Starved => sight.for_ms >= policy.starved_sustain_ms / 2,
        SightKind::Alive | SightKind::Overloaded | SightKind::Blind => false,
    }
}
