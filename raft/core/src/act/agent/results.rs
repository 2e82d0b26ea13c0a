//! What the server answered, and the next step of the order in hand.

use std::collections::BTreeMap;

use super::super::op::{Marker, Op, OpDone, OpError, OpId, Survey};
use super::super::order::{Adopted, Order, OrderKind, Said};
use super::super::seal::Left;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{Epoch, InstanceId, Tick};
use crate::observe::{IoThread, Role};
use crate::record::{FenceReport, FreezeReport};

use super::{Agent, AgentOutput, Job, Waits, refused};

impl Agent {
    pub(super) fn ended(
        &mut self,
        now: Tick,
        id: OpId,
        result: Result<OpDone, OpError>,
        out: &mut Vec<AgentOutput>,
    ) {
        if let Ok(
            OpDone::Frozen(_) | OpDone::Followed | OpDone::Opened(_) | OpDone::Fenced { .. },
        ) = &result
        {
            self.turned_at = now;
        }
        if let Some((op, begun)) = self.survey_op
            && op == id
        {
            self.survey_op = None;
            match result {
                Ok(OpDone::Surveyed(survey)) => {
                    self.login_error.clone_from(&survey.login_error);
                    self.markers.look(begun, &survey);
                    self.surveyed(now, begun, *survey, out);
                    self.look_at_joining(now, begun, out);
                }
                Err(OpError::Denied(why)) => self.login_error = Some(why),
                _ => {}
            }
            return;
        }
        if let Some(begun) = self.markers.ended(id, &result) {
            if let Ok(OpDone::Marked(marker)) = result {
                self.marked(now, begun, &marker, out);
            }
            return;
        }
        if self.paths.ended(id, &result)
            || self.scheduled_ended(now, id, &result)
            || self.common_ended(now, id, &result)
        {
            return;
        }
        let seen = match &result {
            Ok(OpDone::ApplierSeen(seen)) => Some(seen),
            _ => None,
        };
        if self.applier_seen(now, id, seen) {
            return;
        }
        let repaired = self.repair.take_if(|repair| *repair == id).is_some();
        if repaired || self.unordered.take_if(|op| *op == id).is_some() {
            self.survey_due = now;
            if let Ok(OpDone::Frozen(survey)) = result {
                self.frozen_again(*survey, out);
            }
            return;
        }
        if self.side_fences.remove(&id) {
            self.beat_due = now;
            if result.is_err() {
                out.push(AgentOutput::KillServer);
            }
            return;
        }
        let Some(job) = self.job.take() else { return };
        if job.op != id {
            self.job = Some(job);
            return; // of an order that was superseded
        }
        match result {
            Ok(done) => self.advance(now, job, done, out),
            Err(why) => self.failed(job, &why, out),
        }
    }

    pub(super) fn marked(
        &mut self,
        now: Tick,
        begun: Tick,
        marker: &Marker,
        out: &mut Vec<AgentOutput>,
    ) {
        self.ground.marked(now, begun, &marker.after);
        if let Some((since, _)) = self.doubt
            && begun > since
        {
            // k of V acknowledged a probe begun after the doubt: still primary.
            self.doubt = None;
        }
        if let Some((token, name, _)) = self.proving.take() {
            let floor = marker.after.clone();
            let said = Said::Acknowledged { floor };
            self.said = Some((token.clone(), name, said.clone()));
            out.push(AgentOutput::Reply(self.reply_for(token, said)));
        }
    }

    /// Somebody had started its receiver: what came in meanwhile may have been acknowledged, and is told
    /// like what it held before.
    fn frozen_again(&mut self, survey: Survey, out: &mut Vec<AgentOutput>) {
        let report = self.report(&survey);
        self.survey = Some(survey);
        let Some((token, name, Said::Frozen { .. })) = &self.said else {
            return;
        };
        let (token, name) = (token.clone(), *name);
        let said = Said::Frozen { report };
        self.said = Some((token.clone(), name, said.clone()));
        self.reply_to(token, said, out);
    }

    pub(super) fn failed(&mut self, job: Job, why: &OpError, out: &mut Vec<AgentOutput>) {
        match (&job.waits, &job.order.kind) {
            // It could not be fenced: only its death is certain now.
            (Waits::Fence | Waits::Closing, _) => {
                out.push(AgentOutput::KillServer);
                self.job = Some(job);
            }
            (Waits::Freeze, OrderKind::Freeze { .. })
                if matches!(why, OpError::Hangs(_)) && self.may_end_hung() =>
            {
                self.end_hung(job, why, out);
            }
            _ => {
                let why = format!("{} failed: {why}", job.order.kind.name());
                self.say(&job.order, refused(&why), out);
            }
        }
    }

    pub(super) fn advance(
        &mut self,
        now: Tick,
        job: Job,
        done: OpDone,
        out: &mut Vec<AgentOutput>,
    ) {
        let order = job.order;
        self.receives &= !matches!(done, OpDone::Frozen(_));
        match (job.waits, done) {
            (Waits::Closing, OpDone::Fenced { .. }) => {
                self.role = Role::Closed;
                self.begin_proper(now, order, out);
            }
            (Waits::Report, OpDone::Surveyed(survey) | OpDone::Frozen(survey)) => {
                // Replicas of a primary that is adopted serve reads on.
                let fenced = match &order.kind {
                    OrderKind::Report { adopted: Some(_) } => !survey.writable(),
                    _ => survey.fenced(),
                };
                if let OrderKind::Report {
                    adopted: Some(adopted),
                } = &order.kind
                {
                    self.follows_already(adopted, &survey, out);
                }
                let report = self.report(&survey);
                self.survey = Some(*survey);
                self.say(&order, Said::Reported { report, fenced }, out);
            }
            (Waits::FetchCompare, OpDone::Frozen(survey)) => {
                self.fetch(order, &survey, out);
                self.survey = Some(*survey);
            }
            (Waits::Freeze, OpDone::Frozen(survey)) => {
                let report = self.report(&survey);
                self.survey = Some(*survey);
                self.say(&order, Said::Frozen { report }, out);
            }
            (
                Waits::Fence,
                OpDone::Fenced {
                    final_set,
                    server_uuid,
                    ground,
                },
            ) => {
                if let OrderKind::Fence { epoch } = order.kind {
                    let received = self
                        .survey
                        .as_ref()
                        .map(|survey| survey.received.clone())
                        .unwrap_or_default();
                    let report = FenceReport::Confirmed {
                        final_set,
                        received,
                        server_uuid,
                        unacknowledged: self.seal.unacknowledged == Some(epoch),
                        mysqld: Some(self.seal.mysqld),
                        broken: self.broken_to_the_last(epoch, ground.as_ref()),
                    };
                    self.shut(&order, epoch, report, out);
                }
            }
            (Waits::Compare, OpDone::Frozen(survey)) => self.compared(order, *survey, out),
            (Waits::Follow, OpDone::Followed) => self.followed(now, order),
            (Waits::Follow, OpDone::HoldsMore) => self.turn_back(order, out),
            (Waits::Still, OpDone::Frozen(survey)) => {
                self.survey = Some(*survey);
                self.opening_moves(now);
                self.apply(order, out);
            }
            (Waits::Apply, OpDone::Applied) => {
                self.opening_moves(now);
                self.say(&order, Said::Applied, out);
                let op = match &order.kind {
                    OrderKind::Open {
                        adopted: true, k, ..
                    } => {
                        return self.step(order.clone(), Waits::Open, Op::Adopt { k: *k }, out);
                    }
                    OrderKind::Open { members, .. } => Op::PrepareOpen {
                        members: members.clone(),
                    },
                    _ => return,
                };
                self.step(order, Waits::Session, op, out);
            }
            (
                Waits::Session,
                OpDone::Prepared {
                    executed,
                    server_uuid,
                },
            ) => {
                self.open(order, executed, server_uuid, out);
            }
            (Waits::Open, OpDone::Opened(_)) => self.opened(now, order, out),
            (_, other) => {
                let why = format!("unexpected answer {other:?}");
                self.say(&order, refused(&why), out);
            }
        }
    }

    /// A replica of a primary that is about to be adopted acknowledges already: that it follows
    /// this one must be durable before epoch 1 is named, or what it alone holds would not count.
    fn follows_already(&mut self, adopted: &Adopted, survey: &Survey, out: &mut Vec<AgentOutput>) {
        let source = survey.source.as_ref();
        let follows = source.is_some_and(|(host, port)| {
            (host, *port) == (&adopted.host, adopted.port) && survey.io != IoThread::Off
        });
        if follows && adopted.primary != self.seal.instance && self.seal.may_follow(Epoch(1)) {
            let holds = survey.holds();
            self.seal
                .turn(adopted.primary.clone(), Epoch(1), &holds, None);
            self.persist(out);
        }
    }

    pub(super) fn report(&self, survey: &Survey) -> FreezeReport {
        FreezeReport {
            server_uuid: survey.server_uuid,
            version: survey.version,
            executed: survey.executed.clone(),
            received: survey.received.clone(),
            purged: survey.purged.clone(),
            replicated_from: self.seal.source.as_ref().map(|(source, _)| source.clone()),
            forgot: self.forgot(survey),
            marked: self.seal.marked.clone(),
            mysqld: Some(self.seal.mysqld),
            left: self.left(|left| match left {
                Left::Held { holds, .. } => Some(holds.clone()),
                Left::Unknown => None,
            }),
            left_unknown: self
                .left(|left| matches!(left, Left::Unknown).then_some(()))
                .into_keys()
                .collect(),
            undurable: false,
            agent: Some(self.process.clone()),
            backlog: self.pace.backlog(self.now, survey, self.open_stall_ms()),
        }
    }

    fn left<T>(&self, of: impl Fn(&Left) -> Option<T>) -> BTreeMap<InstanceId, T> {
        let left = self.seal.left.iter();
        left.filter_map(|(source, left)| Some((source.clone(), of(left)?)))
            .collect()
    }

    /// The session stands, so nothing can slip in between: had this agent slept since, the session
    /// would be dead by now (`wait_timeout=1`).
    pub(super) fn open(
        &mut self,
        order: Order,
        executed: GtidSet,
        uuid: Uuid,
        out: &mut Vec<AgentOutput>,
    ) {
        let (epoch, k, need) = match &order.kind {
            OrderKind::Open { epoch, k, need, .. } => (*epoch, *k, need.clone()),
            OrderKind::Reopen { epoch, k, .. } => (*epoch, *k, GtidSet::default()),
            _ => return,
        };
        let lacks = need.subtract(&executed);
        let objection = if self.seal.server_uuid != Some(uuid) {
            Some("the server_uuid is not the enrolled one".to_owned())
        } else if !self.seal.may_open(epoch) {
            Some(format!("shut or frozen for an epoch not below {epoch}"))
        } else if self.seal.token.as_ref() != Some(&order.token) {
            Some("a newer order came".to_owned())
        } else if !lacks.is_empty() {
            Some(format!("lacks {} of what it needs", lacks.compact()))
        } else {
            None
        };
        if let Some(why) = objection {
            return self.say(&order, refused(&why), out);
        }
        self.seal.opened = self.seal.opened.max(Some(epoch));
        // Should this fail it is shut, and opens by the log's leave alone.
        self.role = Role::Closed;
        // From here on it replicates from nobody: what it holds is its own.
        self.seal.source = None;
        self.seal.left.clear();
        self.persist(out);
        self.step(order, Waits::Open, Op::Open { k }, out);
    }

    pub(super) fn opened(&mut self, now: Tick, order: Order, out: &mut Vec<AgentOutput>) {
        let epoch = match order.kind {
            OrderKind::Open { epoch, .. } | OrderKind::Reopen { epoch, .. } => epoch,
            _ => return,
        };
        if matches!(order.kind, OrderKind::Open { .. }) {
            self.ground.begin();
        }
        self.role = Role::Open(epoch);
        self.adopting = false;
        self.opened_at = now;
        self.doubt = None;
        // A write begun under an earlier epoch proves nothing of this one.
        self.markers.clear();
        self.clean_up = self
            .survey
            .as_ref()
            .is_some_and(|survey| survey.source.is_some());
        self.prove(now, &order);
        self.beat_due = now;
        self.say_opened(&order, out);
    }

    pub(super) fn say_opened(&mut self, order: &Order, out: &mut Vec<AgentOutput>) {
        let mysqld = Some(self.seal.mysqld);
        self.say(order, Said::Opened { mysqld }, out);
    }

    pub(super) fn prove(&mut self, now: Tick, order: &Order) {
        let first = order.token.epoch == Epoch(1);
        self.proving = Some((order.token.clone(), order.kind.name(), first));
        self.marker_due = now;
    }
}
