//! The apply: the only way in which the state changes. Deterministic, without a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::{Ackers, Cluster, Follower, Registration, Reopen, Stage};
use super::command::{Command, Event, EventKind, Outcome, Proposal, Refusal};
use super::founding::FoundingWord;
use super::level::{THIRD, UnknownLevel};
use super::state::State;
use crate::decide;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Epoch, InquestId, InstanceId, Position};

pub(super) type Applied = Result<Vec<Event>, Refusal>;

impl State {
    /// Applies one log entry. A proposal whose key is not above its proposer's last has no effect.
    ///
    /// Who `knows` only lower levels than the entry would be applied under must stop: nothing has
    /// been changed then.
    pub fn apply(
        &mut self,
        at: Position,
        proposal: &Proposal,
        knows: u32,
    ) -> Result<Outcome, UnknownLevel> {
        self.level_after(at, proposal).within(knows)?;
        Ok(self.take(at, proposal))
    }

    pub(super) fn take(&mut self, at: Position, proposal: &Proposal) -> Outcome {
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
            .map(|command| {
                let mut events = self.run(at, command)?;
                events.extend(self.end_incidents());
                Ok(events)
            })
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
            Command::FoundPlane { plane, level } => {
                if self.plane.is_none() {
                    self.plane = Some(plane.clone());
                    self.level = *level;
                }
                Ok(Vec::new())
            }
            Command::Announce { node, knows } => self.announce(*node, *knows),
            Command::RaiseLevel { to } => self.raise_level(*to),
            Command::Register(registration) => self.register(at, registration),
            Command::TimePassed { ms } => {
                for cluster in self
                    .clusters
                    .values_mut()
                    .filter(|cluster| cluster.counts_time())
                {
                    let cluster = Arc::make_mut(cluster);
                    cluster.rest_ms = cluster.rest_ms.saturating_sub(*ms);
                    cluster.slot_ms = cluster.slot_ms.saturating_sub(*ms);
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
                allows,
            } => self.approve(at, cluster, *epoch, who, allows),
            Command::SetPolicy { cluster, policy } => self.set_policy(at, cluster, policy),
            Command::ChangePolicy(change) => self.change_policy(at, change),
            Command::Unregister { cluster, who } => self.unregister(cluster, who),
            Command::FoundingReport {
                cluster,
                instance,
                report,
                fenced,
                registered,
            } => {
                let word = FoundingWord {
                    instance,
                    report,
                    fenced: *fenced,
                    registered: *registered,
                };
                self.founding_report(at, cluster, word)
            }
            Command::Withdraw { .. } | Command::Freed { .. } => {
                Refusal::below(THIRD, self.level, "taking back a choice")?;
                self.run_in_cluster(at, command)
            }
            _ => self.run_in_cluster(at, command),
        }
    }

    pub(super) fn cluster_mut(&mut self, id: &ClusterId) -> Result<&mut Cluster, Refusal> {
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
            ground: Default::default(),
            scheduled: Default::default(),
            common: Default::default(),
            inquest: None,
            judgement: None,
            inquests: InquestId::INITIAL,
            rest_ms: 0,
            slot_ms: 0,
            mysqld: None,
            reopen: None,
            aborted: None,
            changes: Default::default(),
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

    pub(super) fn enrol(&mut self, id: &ClusterId, instance: &InstanceId, uuid: Uuid) -> Applied {
        let cluster = self
            .clusters
            .get(id)
            .ok_or_else(|| Refusal::NoSuchCluster(id.clone()))?;
        self.may_enrol(cluster, instance, uuid)?;
        let cluster = self.cluster_mut(id)?;
        if let Some(spec) = cluster.instances.get_mut(instance) {
            spec.server_uuid = Some(uuid);
        }
        Ok(Vec::new())
    }

    /// A server belongs to one instance, and an instance keeps its server.
    pub(super) fn may_enrol(
        &self,
        cluster: &Cluster,
        instance: &InstanceId,
        uuid: Uuid,
    ) -> Result<(), Refusal> {
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
        cluster.expect_instance(instance)?;
        match cluster.instances[instance].server_uuid {
            Some(known) if known != uuid => Err(Refusal::Invalid {
                field: format!("server_uuid of {instance}"),
                value: uuid.to_string(),
                remedy: format!(
                    "the log knows it as {known}; the address answers for another server, or its \
                     data was replaced"
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn run_in_cluster(&mut self, at: Position, command: &Command) -> Applied {
        let level = self.level;
        let id = command.cluster().expect("a command of a cluster names it");
        let cluster = self.cluster_mut(id)?;
        match command {
            Command::OpenInquest { epoch, after, .. } => cluster.open_inquest(at, *epoch, *after),
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
                unopened,
                ..
            } => cluster.fenced(*epoch, instance, report, unopened.as_ref()),
            Command::Withdraw {
                epoch,
                instance,
                why,
                ..
            } => cluster.withdraw(at, *epoch, instance, why),
            Command::Freed {
                epoch,
                instance,
                ended,
                ..
            } => cluster.freed(*epoch, instance, ended),
            Command::Fetch { epoch, fetch, .. } => cluster.fetch(at, *epoch, fetch),
            Command::Choose(choice) => {
                let events = cluster.choose(at, choice)?;
                cluster.owes_scheduled(level, false);
                Ok(events)
            }
            Command::Applied {
                epoch, instance, ..
            } => cluster.progress(*epoch, instance, EventKind::Applied, |p| {
                (!p.applied).then(|| {
                    p.applied = true;
                    "has applied all that it received"
                })
            }),
            Command::Opened {
                epoch,
                instance,
                mysqld,
                ..
            } => cluster.opened(*epoch, instance, *mysqld),
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
                cluster.mysqld = Some(*mysqld);
                cluster.reopen = Some(Reopen {
                    at,
                    mysqld: *mysqld,
                });
                cluster.owes_scheduled(level, true);
                Ok(vec![cluster.event(
                    EventKind::Reopened,
                    format!("{instance} may open again within its epoch"),
                )])
            }
            Command::Ground {
                epoch,
                instance,
                said,
                ..
            } => cluster.hear_ground(*epoch, instance, said),
            Command::Scheduled {
                epoch,
                instance,
                said,
                ..
            } => cluster.hear_scheduled(level, *epoch, instance, said),
            Command::Common {
                epoch,
                holder,
                set,
                who,
                ..
            } => cluster.make_common(level, *epoch, holder, set, who.as_deref()),
            Command::Unheard { epoch, .. } => cluster.unheard(*epoch),
            Command::FoundPlane { .. }
            | Command::Announce { .. }
            | Command::RaiseLevel { .. }
            | Command::Register(_)
            | Command::Unregister { .. }
            | Command::SetPolicy { .. }
            | Command::ChangePolicy(_)
            | Command::FoundingReport { .. }
            | Command::TimePassed { .. }
            | Command::Enrolled { .. }
            | Command::Vote(_)
            | Command::Approve { .. } => unreachable!("handled by the state itself"),
        }
    }
}
