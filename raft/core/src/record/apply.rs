//! The apply: the only way in which the state changes. Deterministic, without a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::{Ackers, Cluster, Follower, Registration, Reopen, Stage};
use super::command::{Command, Event, EventKind, Outcome, Proposal, Refusal};
use super::state::State;
use crate::agree::{Bench, Verdict, Vote, judge};
use crate::decide::{self};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Epoch, InquestId, InstanceId, Position};
use crate::policy::Automation;

pub(super) type Applied = Result<Vec<Event>, Refusal>;

impl State {
    /// Applies one log entry. A proposal whose key is not above its proposer's last has no effect.
    pub fn apply(&mut self, at: Position, proposal: &Proposal) -> Outcome {
        let key = (proposal.incarnation, proposal.seq);
        if self
            .proposers
            .get(&proposal.proposer)
            .is_some_and(|last| *last >= key)
        {
            return Outcome {
                at,
                results: Vec::new(),
                repeated: true,
            };
        }
        self.proposers.insert(proposal.proposer, key);
        let results = proposal
            .commands
            .iter()
            .map(|command| self.run(at, command))
            .collect();
        self.validate();
        Outcome {
            at,
            results,
            repeated: false,
        }
    }

    fn run(&mut self, at: Position, command: &Command) -> Applied {
        match command {
            Command::FoundPlane { plane } => {
                if self.plane.is_none() {
                    self.plane = Some(plane.clone());
                }
                Ok(Vec::new())
            }
            Command::Register(registration) => self.register(at, registration),
            Command::TimePassed { ms } => {
                for cluster in self
                    .clusters
                    .values_mut()
                    .filter(|cluster| cluster.rest_ms > 0)
                {
                    let cluster = Arc::make_mut(cluster);
                    cluster.rest_ms = cluster.rest_ms.saturating_sub(*ms);
                }
                Ok(Vec::new())
            }
            Command::Enrolled {
                cluster,
                instance,
                server_uuid,
            } => self.enrol(cluster, instance, *server_uuid),
            Command::Vote(vote) => self.vote(at, vote),
            Command::Approve {
                cluster,
                epoch,
                who,
            } => self.approve(at, cluster, *epoch, who),
            Command::FoundingReport {
                cluster,
                instance,
                report,
                ..
            } => {
                // Who acknowledges is known by its `server_uuid`: from here on each has one.
                self.enrol(cluster, instance, report.server_uuid)?;
                self.run_in_cluster(at, command)
            }
            _ => self.run_in_cluster(at, command),
        }
    }

    fn cluster_mut(&mut self, id: &ClusterId) -> Result<&mut Cluster, Refusal> {
        let cluster = self
            .clusters
            .get_mut(id)
            .ok_or_else(|| Refusal::NoSuchCluster(id.clone()))?;
        Ok(Arc::make_mut(cluster))
    }

    fn register(&mut self, at: Position, registration: &Registration) -> Applied {
        decide::check_registration(self, registration)?;
        let id = registration.cluster.clone();
        let mut members = registration.ackers.clone();
        if members.is_empty() {
            members = registration.instances.keys().cloned().collect();
            members.remove(&registration.primary);
        }
        let cluster = Cluster {
            id: id.clone(),
            policy: registration.policy.clone(),
            instances: registration.instances.clone(),
            epoch: Epoch::INITIAL,
            primary: registration.primary.clone(),
            ackers: Ackers {
                members,
                k: registration.k,
            },
            stage: Stage::Founding {
                at,
                registration: Box::new(registration.clone()),
                reports: BTreeMap::new(),
            },
            floor: GtidSet::default(),
            floor_stands: false,
            primaries: Default::default(),
            left_behind: Default::default(),
            strangers: Default::default(),
            inquest: None,
            judgement: None,
            inquests: InquestId::INITIAL,
            rest_ms: 0,
            reopen: None,
            aborted: None,
        };
        let event = cluster.event(
            EventKind::Registered,
            format!(
                "registered with {} instances, {} to be primary",
                cluster.instances.len(),
                cluster.primary
            ),
        );
        self.clusters.insert(id, Arc::new(cluster));
        Ok(vec![event])
    }

    fn enrol(&mut self, id: &ClusterId, instance: &InstanceId, uuid: Uuid) -> Applied {
        let taken = self.clusters.values().find_map(|cluster| {
            let (other, _) = cluster
                .instances
                .iter()
                .find(|(other, spec)| spec.server_uuid == Some(uuid) && *other != instance)?;
            Some((cluster.id.clone(), other.clone()))
        });
        if let Some((owner, other)) = taken {
            return Err(Refusal::Invalid {
                field: format!("server_uuid of {instance}"),
                value: uuid.to_string(),
                remedy: format!(
                    "it belongs to {other} of cluster {owner}; give each data directory its own \
                     auto.cnf"
                ),
            });
        }
        let cluster = self.cluster_mut(id)?;
        let spec = cluster
            .instances
            .get_mut(instance)
            .ok_or_else(|| Refusal::NoSuchInstance {
                cluster: id.clone(),
                instance: instance.clone(),
            })?;
        match spec.server_uuid {
            Some(known) if known != uuid => Err(Refusal::Invalid {
                field: format!("server_uuid of {instance}"),
                value: uuid.to_string(),
                remedy: format!(
                    "the log knows it as {known}; the address answers for another server, or its \
                     data was replaced"
                ),
            }),
            Some(_) => Ok(Vec::new()),
            None => {
                spec.server_uuid = Some(uuid);
                Ok(Vec::new())
            }
        }
    }

    fn bench_and<T>(
        &self,
        id: &ClusterId,
        use_it: impl FnOnce(&Bench<'_>, &Cluster) -> T,
    ) -> Result<T, Refusal> {
        let cluster = self
            .clusters
            .get(id)
            .ok_or_else(|| Refusal::NoSuchCluster(id.clone()))?;
        let voters = self.regions();
        let bench = Bench {
            voters: &voters,
            policy: &cluster.policy,
            ackers: &cluster.ackers.members,
            k: cluster.ackers.k as usize,
            strangers: cluster.strangers.seen.len(),
            at_home: cluster.at_home(),
        };
        Ok(use_it(&bench, cluster))
    }

    fn vote(&mut self, at: Position, vote: &Vote) -> Applied {
        if !self.voters.contains_key(&vote.node) {
            return Err(Refusal::NotAVoter(vote.node));
        }
        let cluster = self.cluster_mut(&vote.cluster)?;
        let open = cluster.inquest.as_ref().map(|inquest| inquest.id);
        let stale = Refusal::StaleVote {
            vote: vote.inquest,
            open,
        };
        let Some(inquest) = cluster.inquest.as_mut() else {
            return Err(stale);
        };
        if !inquest.take(vote) {
            return Err(stale);
        }
        let before = cluster
            .judgement
            .as_ref()
            .map(|judgement| judgement.verdict);
        let judgement = self.bench_and(&vote.cluster, |bench, cluster| {
            let inquest = cluster
                .inquest
                .as_ref()
                .expect("the inquest that took the vote is open");
            judge(bench, inquest)
        })?;
        let verdict = judgement.verdict;
        let cluster = self.cluster_mut(&vote.cluster)?;
        cluster.judgement = Some(judgement);
        let mut events = vec![cluster.event(
            EventKind::Voted,
            format!(
                "node {} sees {} {} for {} ms",
                vote.node,
                cluster.primary,
                sight_word(vote),
                vote.sight.for_ms
            ),
        )];
        if before != Some(verdict) {
            events.push(cluster.event(
                EventKind::Verdict,
                format!("verdict on {}: {verdict:?}", cluster.primary),
            ));
        }
        let may_start = cluster.policy.automation == Automation::Auto && cluster.rest_ms == 0;
        if matches!(verdict, Verdict::Dead | Verdict::Wedged)
            && may_start
            && decide::feasible(cluster).is_ok()
        {
            events.push(cluster.depose(at, None));
        }
        Ok(events)
    }

    fn approve(&mut self, at: Position, id: &ClusterId, epoch: Epoch, who: &str) -> Applied {
        let cluster = self.cluster_mut(id)?;
        cluster.expect_epoch("approve", epoch)?;
        if let Some(lifted) = cluster.lift_abort(who) {
            return Ok(vec![lifted]);
        }
        let dead = cluster
            .judgement
            .as_ref()
            .is_some_and(|judgement| matches!(judgement.verdict, Verdict::Dead | Verdict::Wedged));
        if cluster.inquest.is_none() || !dead {
            return Err(Refusal::NotDead(match &cluster.judgement {
                Some(judgement) => format!("{:?}", judgement.verdict),
                None => "no inquest is open: nobody sees it silent".into(),
            }));
        }
        if cluster.policy.automation == Automation::Off {
            return Err(Refusal::Invalid {
                field: "policy.automation".into(),
                value: "off".into(),
                remedy: "set it to advise or auto".into(),
            });
        }
        decide::feasible(cluster).map_err(|reasons| Refusal::Unsound(reasons.join("; ")))?;
        Ok(vec![cluster.depose(at, Some(who.to_owned()))])
    }

    fn run_in_cluster(&mut self, at: Position, command: &Command) -> Applied {
        let id = command.cluster().expect("a command of a cluster names it");
        let cluster = self.cluster_mut(id)?;
        match command {
            Command::SetPolicy { policy, .. } => cluster.set_policy(policy),
            Command::FoundingReport {
                instance,
                report,
                fenced,
                ..
            } => cluster.founding_report(at, instance, report, *fenced),
            Command::OpenInquest { epoch, .. } => cluster.open_inquest(at, *epoch),
            Command::Abort {
                epoch, who, why, ..
            } => cluster.abort(at, *epoch, who, why),
            Command::CloseInquest { inquest, why, .. } => Ok(cluster.close_inquest(*inquest, why)),
            Command::Freeze {
                epoch,
                instance,
                report,
                ..
            } => cluster.frozen(*epoch, instance, report),
            Command::Fence {
                epoch,
                instance,
                report,
                ..
            } => cluster.fenced(*epoch, instance, report),
            Command::Fetch { epoch, fetch, .. } => cluster.fetch(at, *epoch, fetch),
            Command::Choose(choice) => cluster.choose(at, choice),
            Command::Applied {
                epoch, instance, ..
            } => cluster.progress(*epoch, instance, EventKind::Applied, |p| {
                (!p.applied).then(|| {
                    p.applied = true;
                    "has applied all that it received"
                })
            }),
            Command::Opened {
                epoch, instance, ..
            } => cluster.opened(*epoch, instance),
            Command::Followed {
                epoch, instance, ..
            } => cluster.follower(*epoch, instance, Follower::Joined),
            Command::FollowRefused {
                epoch,
                instance,
                extra,
                ..
            } => cluster.follower(
                *epoch,
                instance,
                Follower::Refused {
                    extra: extra.clone(),
                },
            ),
            Command::Acknowledged {
                epoch,
                instance,
                floor,
                ..
            } => cluster.acknowledged(*epoch, instance, floor),
            Command::Reopen {
                epoch,
                instance,
                mysqld,
                ..
            } => {
                cluster.expect_epoch("reopen", *epoch)?;
                if cluster.promotion().is_none() || cluster.primary != *instance {
                    return Err(cluster.other_stage("reopen"));
                }
                cluster.reopen = Some(Reopen {
                    at,
                    mysqld: *mysqld,
                });
                Ok(vec![cluster.event(
                    EventKind::Reopened,
                    format!("{instance} may open again within its epoch"),
                )])
            }
            Command::Strangers {
                epoch,
                instance,
                told,
                seen,
                ..
            } => cluster.count_strangers(*epoch, instance, *told, seen),
            Command::FoundPlane { .. }
            | Command::Register(_)
            | Command::TimePassed { .. }
            | Command::Enrolled { .. }
            | Command::Vote(_)
            | Command::Approve { .. } => unreachable!("handled by the state itself"),
        }
    }
}

fn sight_word(vote: &Vote) -> String {
    format!("{:?}", vote.sight.kind).to_lowercase()
}
