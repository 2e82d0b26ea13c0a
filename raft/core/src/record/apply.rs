//! The apply: the only way in which the state changes. Deterministic, without a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::{
    Ackers, Cluster, Deposition, FenceReport, Follower, Founding, FreezeReport, Promotion,
    Registration, Reopen, Stage,
};
use super::command::{Command, Event, EventKind, Outcome, Proposal, Refusal};
use super::state::State;
use crate::agree::{Bench, Inquest, Verdict, Vote, judge};
use crate::decide::{self, Choice, LossBound, Proof};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Epoch, InquestId, InstanceId, Position};
use crate::policy::Automation;

type Applied = Result<Vec<Event>, Refusal>;

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
            inquest: None,
            judgement: None,
            inquests: InquestId::INITIAL,
            rest_ms: 0,
            reopen: None,
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

impl Cluster {
    fn event(&self, kind: EventKind, what: String) -> Event {
        Event {
            cluster: Some(self.id.clone()),
            epoch: self.epoch,
            kind,
            what,
        }
    }

    pub fn stage_name(&self) -> &'static str {
        match &self.stage {
            Stage::Founding { .. } => "being founded",
            Stage::Deposed(_) => "primary deposed",
            Stage::Named(promotion) if !promotion.opened => "opening the new primary",
            Stage::Named(promotion) if !promotion.acknowledged => "open, first write pending",
            Stage::Named(_) => "serving",
        }
    }

    fn other_stage(&self, what: &str) -> Refusal {
        Refusal::OtherStage {
            what: what.into(),
            stage: self.stage_name().into(),
        }
    }

    fn expect_epoch(&self, what: &str, expected: Epoch) -> Result<(), Refusal> {
        if self.epoch == expected {
            return Ok(());
        }
        Err(Refusal::OtherEpoch {
            what: what.into(),
            expected,
            found: self.epoch,
        })
    }

    fn expect_instance(&self, instance: &InstanceId) -> Result<(), Refusal> {
        if self.instances.contains_key(instance) {
            return Ok(());
        }
        Err(Refusal::NoSuchInstance {
            cluster: self.id.clone(),
            instance: instance.clone(),
        })
    }

    /// Where the data is not what it was, a report of it counts for nothing.
    fn expect_data(&self, instance: &InstanceId, found: Uuid) -> Result<(), Refusal> {
        let known = self
            .instances
            .get(instance)
            .and_then(|spec| spec.server_uuid);
        if known.is_none_or(|uuid| uuid == found) {
            return Ok(());
        }
        Err(Refusal::Invalid {
            field: format!("server_uuid of {instance}"),
            value: found.to_string(),
            remedy: "its data directory was replaced; it has to be confirmed first".into(),
        })
    }

    fn set_policy(&mut self, policy: &crate::policy::Policy) -> Applied {
        if let Some(bad) = policy.contradictions().into_iter().next() {
            return Err(Refusal::Invalid {
                field: bad.field,
                value: bad.value,
                remedy: bad.rule,
            });
        }
        self.policy = policy.clone();
        Ok(vec![
            self.event(EventKind::PolicyChanged, "policy changed".into()),
        ])
    }

    fn founding_report(
        &mut self,
        at: Position,
        instance: &InstanceId,
        report: &FreezeReport,
        fenced: bool,
    ) -> Applied {
        self.expect_instance(instance)?;
        self.expect_data(instance, report.server_uuid)?;
        let stage = self.other_stage("founding report");
        let all: Vec<_> = self.instances.keys().cloned().collect();
        let Stage::Founding {
            registration,
            reports,
            ..
        } = &mut self.stage
        else {
            return Err(stage);
        };
        let must_be_fenced =
            registration.founding == Founding::New || *instance != registration.primary;
        if must_be_fenced && !fenced {
            return Err(Refusal::Invalid {
                field: format!("super_read_only of {instance}"),
                value: "OFF".into(),
                remedy: "an instance boots fenced; set super_read_only=ON".into(),
            });
        }
        reports.insert(instance.clone(), report.clone());
        if !all.iter().all(|id| reports.contains_key(id)) {
            return Ok(Vec::new());
        }
        let reports = reports.clone();
        let adopted = registration.founding == Founding::Adopted;
        let primary = &reports[&self.primary];
        let holds = primary.holds();
        // A running primary's set grows while the others are asked: what they hold under its own
        // UUID is its own.
        let beyond: Vec<_> = reports
            .iter()
            .filter(|(id, _)| **id != self.primary)
            .map(|(id, report)| (id, report.holds().subtract(&holds)))
            .filter(|(_, extra)| {
                extra
                    .uuids()
                    .any(|uuid| !adopted || uuid != primary.server_uuid)
            })
            .collect();
        if let Some((id, extra)) = beyond.first() {
            return Err(Refusal::Invalid {
                field: format!("gtid_executed of {id}"),
                value: extra.compact().to_string(),
                remedy: format!(
                    "{} does not have these; found the cluster with the instance that has \
                     everything, or rebuild {id}",
                    self.primary
                ),
            });
        }
        let choice = Choice {
            cluster: self.id.clone(),
            from: self.primary.clone(),
            to: self.primary.clone(),
            epoch: Epoch(1),
            proof: Proof::Founding { adopted },
            need: holds.clone(),
            within: holds.clone(),
            ackers: self.ackers.clone(),
            loss: if adopted {
                LossBound::Unknown
            } else {
                LossBound::Zero
            },
            why: vec!["named at registration".into()],
        };
        self.primaries.insert(primary.server_uuid);
        self.floor_stands = !adopted;
        Ok(vec![self.name(at, &choice)])
    }

    fn open_inquest(&mut self, at: Position, epoch: Epoch) -> Applied {
        self.expect_epoch("open inquest", epoch)?;
        if self.serving().is_none() && self.promotion().is_none() {
            return Err(self.other_stage("open inquest"));
        }
        if self.inquest.is_some() {
            return Ok(Vec::new());
        }
        self.inquests = self.inquests.next();
        self.inquest = Some(Inquest::new(self.inquests, epoch, at));
        self.judgement = None;
        Ok(vec![self.event(
            EventKind::InquestOpened,
            format!("inquest {} into {} opened", self.inquests, self.primary),
        )])
    }

    fn close_inquest(&mut self, inquest: InquestId, why: &str) -> Vec<Event> {
        if self.inquest.as_ref().is_none_or(|open| open.id != inquest) {
            return Vec::new();
        }
        self.inquest = None;
        self.judgement = None;
        vec![self.event(
            EventKind::InquestClosed,
            format!("inquest {inquest} closed: {why}"),
        )]
    }

    fn depose(&mut self, at: Position, approved_by: Option<String>) -> Event {
        let inquest = self
            .inquest
            .take()
            .expect("a verdict stems from an open inquest");
        let judgement = self
            .judgement
            .take()
            .expect("an epoch is deposed by a verdict");
        let event = self.event(
            EventKind::Deposed,
            format!("epoch {} of {} deposed", self.epoch, self.primary),
        );
        self.reopen = None;
        self.stage = Stage::Deposed(Box::new(Deposition {
            at,
            judgement,
            inquest,
            approved_by,
            frozen: BTreeMap::new(),
            newest: BTreeMap::new(),
            fence: None,
        }));
        event
    }

    fn deposition_mut(
        &mut self,
        what: &str,
        epoch: Epoch,
        instance: &InstanceId,
    ) -> Result<&mut Deposition, Refusal> {
        self.expect_epoch(what, epoch)?;
        self.expect_instance(instance)?;
        let stage = self.other_stage(what);
        match &mut self.stage {
            Stage::Deposed(deposition) => Ok(deposition),
            _ => Err(stage),
        }
    }

    fn frozen(&mut self, epoch: Epoch, instance: &InstanceId, report: &FreezeReport) -> Applied {
        self.expect_data(instance, report.server_uuid)?;
        let text = format!("{instance} frozen, holds {}", report.holds().compact());
        self.deposition_mut("freeze report", epoch, instance)?
            .record_freeze(instance, report.clone());
        Ok(vec![self.event(EventKind::Frozen, text)])
    }

    fn fenced(&mut self, epoch: Epoch, instance: &InstanceId, report: &FenceReport) -> Applied {
        if *instance != self.primary {
            return Err(self.other_stage("fence report of another than the primary"));
        }
        let text = match report {
            FenceReport::Confirmed { .. } => format!("{instance} confirms that it is fenced"),
            FenceReport::Exited => format!("{instance} has exited"),
        };
        if let FenceReport::Confirmed { server_uuid, .. } = report {
            self.expect_data(instance, *server_uuid)?;
        }
        let deposition = self.deposition_mut("fence report", epoch, instance)?;
        match (&deposition.fence, report) {
            // Content, once known, is never forgotten.
            (Some(FenceReport::Confirmed { .. }), _) => return Ok(Vec::new()),
            _ => deposition.fence = Some(report.clone()),
        }
        Ok(vec![self.event(EventKind::Fenced, text)])
    }

    fn choose(&mut self, at: Position, choice: &Choice) -> Applied {
        let found = decide::check(self, choice);
        if !found.is_empty() {
            return Err(Refusal::Unsound(found.join("; ")));
        }
        if choice.to != self.primary {
            self.left_behind.insert(self.primary.clone());
        }
        self.left_behind.remove(&choice.to);
        // What it writes from now on is never errant, so its name must not be missed: its report
        // tells it where no enrolment has.
        let reported = self
            .deposition()
            .and_then(|record| record.frozen.get(&choice.to))
            .map(|report| report.server_uuid);
        let enrolled = self
            .instances
            .get(&choice.to)
            .and_then(|spec| spec.server_uuid);
        self.primaries.extend(enrolled.or(reported));
        Ok(vec![self.name(at, choice)])
    }

    /// The chosen one becomes the named primary of the next epoch.
    fn name(&mut self, at: Position, choice: &Choice) -> Event {
        self.epoch = choice.epoch;
        self.primary = choice.to.clone();
        self.ackers = choice.ackers.clone();
        self.floor.union_with(&choice.need);
        self.inquest = None;
        self.judgement = None;
        self.reopen = None;
        let after = match &self.stage {
            Stage::Deposed(deposition) => Some(deposition.clone()),
            Stage::Founding { .. } | Stage::Named(_) => None,
        };
        self.stage = Stage::Named(Box::new(Promotion {
            at,
            after,
            choice: choice.clone(),
            applied: false,
            opened: false,
            acknowledged: false,
            followers: BTreeMap::new(),
        }));
        self.event(
            EventKind::Chosen,
            format!(
                "{} chosen for epoch {}, proof: {}",
                choice.to, choice.epoch, choice.proof
            ),
        )
    }

    fn promotion_mut(&mut self, what: &str, epoch: Epoch) -> Result<&mut Promotion, Refusal> {
        self.expect_epoch(what, epoch)?;
        let stage = self.other_stage(what);
        match &mut self.stage {
            Stage::Named(promotion) => Ok(promotion),
            _ => Err(stage),
        }
    }

    fn progress(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        kind: EventKind,
        step: impl FnOnce(&mut Promotion) -> Option<&'static str>,
    ) -> Applied {
        if *instance != self.primary {
            return Err(self.other_stage("progress of another than the primary"));
        }
        let said = step(self.promotion_mut("progress", epoch)?);
        Ok(said
            .map(|what| self.event(kind, format!("{instance} {what}")))
            .into_iter()
            .collect())
    }

    fn opened(&mut self, epoch: Epoch, instance: &InstanceId) -> Applied {
        let mut moved = false;
        let proved = self
            .promotion()
            .is_some_and(|promotion| promotion.acknowledged);
        if self.epoch == epoch && self.primary == *instance && proved {
            // The right to open again is used up: another closing is compared anew.
            self.reopen = None;
        }
        let events = self.progress(epoch, instance, EventKind::Opened, |promotion| {
            (!promotion.opened).then(|| {
                moved = promotion.choice.from != promotion.choice.to;
                (promotion.applied, promotion.opened) = (true, true);
                "is open"
            })
        })?;
        // Reinstatements, and epochs that never opened, do not count.
        if moved {
            self.rest();
        }
        Ok(events)
    }

    fn rest(&mut self) {
        self.rest_ms = self.policy.min_interval_s.saturating_mul(1_000);
    }

    fn follower(&mut self, epoch: Epoch, instance: &InstanceId, follower: Follower) -> Applied {
        self.expect_instance(instance)?;
        let promotion = self.promotion_mut("follow report", epoch)?;
        if promotion.followers.get(instance) == Some(&follower) {
            return Ok(Vec::new());
        }
        let joined = follower == Follower::Joined;
        let text = match &follower {
            Follower::Joined => format!("{instance} follows {}", promotion.choice.to),
            Follower::Refused { extra } => format!(
                "{instance} must not follow: it holds {}, which {} does not",
                extra.compact(),
                promotion.choice.to
            ),
        };
        promotion.followers.insert(instance.clone(), follower);
        Ok(vec![self.event(
            if joined {
                EventKind::Followed
            } else {
                EventKind::Refused
            },
            text,
        )])
    }

    fn acknowledged(&mut self, epoch: Epoch, instance: &InstanceId, floor: &GtidSet) -> Applied {
        if *instance != self.primary {
            return Err(self.other_stage("acknowledgement of another than the primary"));
        }
        let promotion = self.promotion_mut("acknowledged", epoch)?;
        let first = !promotion.acknowledged;
        // Its opening need not have been reported: the answers overtake each other.
        let moved = !promotion.opened && promotion.choice.from != promotion.choice.to;
        (promotion.applied, promotion.opened, promotion.acknowledged) = (true, true, true);
        self.reopen = None;
        self.floor.union_with(floor);
        self.floor_stands = true;
        if moved {
            self.rest();
        }
        Ok(if first {
            vec![self.event(
                EventKind::Acknowledged,
                format!(
                    "{instance} writes, acknowledged by {} ackers",
                    self.ackers.k
                ),
            )]
        } else {
            Vec::new()
        })
    }
}
