//! Orders: refused if stale, durable before anything is done, one at a time.

use super::super::op::{Op, Survey};
use super::super::order::{Order, OrderKind, Reply, Said};
use crate::ids::{Epoch, Tick, Token};
use crate::observe::{IoThread, Role};
use crate::record::FenceReport;

use super::{Agent, AgentOutput, Job, Server, Waits, refused};

impl Agent {
    pub(super) fn order(&mut self, now: Tick, order: Order, out: &mut Vec<AgentOutput>) {
        if let Some(why) = self.objection(&order) {
            return self.say_once(&order, refused(&why), out);
        }
        let same = |token: &Token, name: &str| *token == order.token && name == order.kind.name();
        if let Some(job) = &self.job
            && same(&job.order.token, job.order.kind.name())
        {
            return; // in hand
        }
        if self.is_joining(&order) {
            return; // carried out, its effect not seen yet
        }
        if let Some((token, name, said)) = &self.said
            && same(token, name)
            && self.still_true(&order, said)
        {
            let said = said.clone();
            return self.say_once(&order, said, out);
        }
        if let Some(why) = self.rests(now, &order) {
            return self.say_once(&order, refused(&why), out);
        }
        self.joining = None;
        if !matches!(order.kind, OrderKind::Follow { .. }) {
            self.turning = None;
        }
        self.end_opening(&order);
        let before = self.seal.clone();
        if let Some(job) = self.job.take()
            && !self.disk.withdraw(job.op)
        {
            out.push(AgentOutput::Cancel { id: job.op });
        }
        self.adopting = matches!(order.kind, OrderKind::Open { adopted: true, .. });
        self.seal.plane = Some(order.token.plane.clone());
        self.seal.token = Some(order.token.clone());
        if let OrderKind::Freeze { epoch } = order.kind {
            self.seal.frozen = self.seal.frozen.max(Some(epoch));
        }
        if let OrderKind::Open {
            epoch,
            adopted: true,
            ..
        } = order.kind
        {
            // It is open already; a restart of this agent must not take it for a stranger's.
            self.seal.opened = self.seal.opened.max(Some(epoch));
        }
        if self.seal != before {
            self.persist(out);
        }
        self.begin(now, order, out);
    }

    pub(super) fn objection(&self, order: &Order) -> Option<String> {
        if order.cluster != self.seal.cluster || order.instance != self.seal.instance {
            return Some(format!(
                "this is {} of cluster {}, the order is for {} of {}",
                self.seal.instance, self.seal.cluster, order.instance, order.cluster
            ));
        }
        if self
            .seal
            .plane
            .as_ref()
            .is_some_and(|plane| *plane != order.token.plane)
        {
            return Some(format!(
                "enrolled in control plane {}, the order comes from {}",
                self.seal.plane.as_ref().map_or("", |plane| plane.as_str()),
                order.token.plane
            ));
        }
        if self.seal.plane.is_none() && order.token.epoch > Epoch::INITIAL {
            return Some(
                "this agent has no memory of this cluster (its seal is lost or new), so it cannot \
                 tell a late order from a new one; it has to be enrolled again"
                    .into(),
            );
        }
        if let Some(newest) = &self.seal.token
            && order.token.older_than(newest)
        {
            return Some(format!(
                "stale: token {} is older than {newest}",
                order.token
            ));
        }
        let found = self.survey.as_ref().map(|survey| survey.server_uuid);
        if found.is_some() && self.seal.server_uuid.is_some() && found != self.seal.server_uuid {
            return Some("the server_uuid is not the one it was enrolled with".into());
        }
        self.cannot_promise(&order.kind).map(str::to_owned)
    }

    /// Whether the newest answer still describes the server.
    pub(super) fn still_true(&self, order: &Order, said: &Said) -> bool {
        if !matches!(self.server, Server::Up) {
            return matches!(order.kind, OrderKind::Fence { .. });
        }
        match &order.kind {
            OrderKind::Follow {
                epoch,
                host,
                port,
                acking,
                online,
                ..
            } => {
                self.role == Role::Following(*epoch)
                    && self.survey.as_ref().is_some_and(|survey| {
                        survey.source.as_ref() == Some(&(host.clone(), *port))
                            && survey.acking == *acking
                            // One that a person took offline stays so.
                            && (*online || survey.offline_mode)
                            && survey.io != crate::observe::IoThread::Off
                            && survey.applier_runs
                    })
            }
            OrderKind::Open { epoch, .. } | OrderKind::Reopen { epoch, .. } => {
                self.role == Role::Open(*epoch)
            }
            OrderKind::Fetch { set, .. } => self
                .survey
                .as_ref()
                .is_some_and(|survey| survey.holds().is_superset_of(set)),
            OrderKind::Report { .. } => false,
            OrderKind::Freeze { .. } => true,
            // It is up again: now it can say what it holds, which an exit could not.
            OrderKind::Fence { .. } => !matches!(
                said,
                Said::Fenced {
                    report: FenceReport::Exited,
                    ..
                }
            ),
        }
    }

    pub(super) fn begin(&mut self, now: Tick, order: Order, out: &mut Vec<AgentOutput>) {
        self.watch_opening(now, &order);
        if self.ended_for(&order.kind, out) {
            let why = "mysqld is shutting down; it is ended, and asked again when it is up";
            return self.say(&order, refused(why), out);
        }
        if !matches!(self.server, Server::Up) {
            if let OrderKind::Fence { epoch } = order.kind {
                return self.fence_what_is_not_up(order, epoch, out);
            }
            let why = self.not_up();
            return self.say(&order, refused(&why), out);
        }
        let (epoch, adopts) = match &order.kind {
            OrderKind::Report { .. } => (Epoch::INITIAL, false),
            OrderKind::Open { epoch, adopted, .. } => (*epoch, *adopted),
            OrderKind::Freeze { epoch }
            | OrderKind::Fetch { epoch, .. }
            | OrderKind::Fence { epoch }
            | OrderKind::Follow { epoch, .. }
            | OrderKind::Reopen { epoch, .. } => (*epoch, false),
        };
        if let Role::Open(open) = self.role
            && open < epoch
            && !adopts
        {
            // Whatever a higher epoch orders, what is open under a lower one is shut first.
            return self.step(order, Waits::Closing, Op::Fence, out);
        }
        self.begin_proper(now, order, out);
    }

    /// One that has exited is shut; so is one that this agent started and that has not come up: it
    /// is closed as it stands, and its recovery is left alone. Any other is tried, and killed where
    /// it does not answer.
    fn fence_what_is_not_up(&mut self, order: Order, epoch: Epoch, out: &mut Vec<AgentOutput>) {
        let closed = matches!(self.server, Server::Exited { .. })
            || self.seal.boots == Some(self.seal.mysqld);
        if closed {
            return self.shut(&order, epoch, FenceReport::Exited, out);
        }
        self.step(order, Waits::Fence, Op::Fence, out);
    }

    pub(super) fn step(&mut self, order: Order, waits: Waits, op: Op, out: &mut Vec<AgentOutput>) {
        self.receives |= matches!(op, Op::Follow { .. } | Op::Fetch { .. });
        let op = self.run(op, out);
        self.job = Some(Job { order, waits, op });
    }

    pub(super) fn begin_proper(&mut self, now: Tick, order: Order, out: &mut Vec<AgentOutput>) {
        match order.kind.clone() {
            OrderKind::Report { adopted } => {
                let op = match adopted {
                    Some(_) => Op::Survey,
                    None => Op::Freeze,
                };
                self.step(order, Waits::Report, op, out);
            }
            OrderKind::Freeze { epoch } => {
                self.role = Role::Frozen(epoch);
                self.step(order, Waits::Freeze, Op::Freeze, out);
            }
            OrderKind::Fetch { epoch, .. } => {
                if self.seal.frozen != Some(epoch) {
                    let why = format!("not frozen for epoch {epoch}");
                    return self.say(&order, refused(&why), out);
                }
                self.role = Role::Frozen(epoch);
                self.step(order, Waits::FetchCompare, Op::Freeze, out);
            }
            OrderKind::Fence { .. } => self.step(order, Waits::Fence, Op::Fence, out),
            OrderKind::Follow { .. } => self.begin_to_follow(order, out),
            OrderKind::Open {
                epoch, k, adopted, ..
            } => {
                if !self.seal.may_open(epoch) {
                    let why = format!("shut or frozen for an epoch not below {epoch}");
                    return self.say(&order, refused(&why), out);
                }
                if !adopted && self.role != Role::Open(epoch) && self.seal.opened >= Some(epoch) {
                    // An order opens once. What restarted since is compared with V first.
                    let why = "opened for this epoch before, and restarted since: it is opened \
                               again once k of V hold what it has";
                    return self.say(&order, refused(why), out);
                }
                if adopted && self.role == Role::Open(epoch) {
                    // This agent restarted: whether it had set k before is not known.
                    return self.step(order, Waits::Open, Op::Adopt { k }, out);
                }
                if self.role == Role::Open(epoch) {
                    // Open already; only its first acknowledged write is not reported.
                    self.prove(now, &order);
                    return self.say_opened(&order, out);
                }
                if adopted {
                    return self.apply(order, out);
                }
                // What a fetch that was given up still receives would be applied once it is open.
                let survey = self.survey.as_ref();
                if self.receives || survey.is_none_or(|of| of.io != IoThread::Off) {
                    return self.step(order, Waits::Still, Op::Freeze, out);
                }
                self.apply(order, out);
            }
            OrderKind::Reopen {
                epoch,
                mysqld,
                ref members,
                ..
            } => {
                if self.role == Role::Open(epoch) {
                    self.prove(now, &order);
                    return self.say_opened(&order, out);
                }
                if mysqld != self.seal.mysqld || !self.seal.may_open(epoch) {
                    let why = "another incarnation of mysqld, or shut for this epoch";
                    return self.say(&order, refused(why), out);
                }
                let members = members.clone();
                self.step(order, Waits::Session, Op::PrepareOpen { members }, out);
            }
        }
    }

    /// Waits until it has applied all that is needed, and all that it received; whoever holds what
    /// it has to apply is ended meanwhile.
    pub(super) fn apply(&mut self, order: Order, out: &mut Vec<AgentOutput>) {
        let OrderKind::Open { need, .. } = &order.kind else {
            return;
        };
        let received = self
            .survey
            .as_ref()
            .map(|survey| survey.received.clone())
            .unwrap_or_default();
        let set = need.union(&received);
        self.step(order, Waits::Apply, Op::WaitApplied { set }, out);
    }

    /// Whom it last followed stays on record: what it acknowledged, it acknowledged to that one.
    pub(super) fn fetch(&mut self, order: Order, survey: &Survey, out: &mut Vec<AgentOutput>) {
        let OrderKind::Fetch {
            donor,
            host,
            port,
            set,
            within,
            heartbeat_ms,
            ..
        } = order.kind.clone()
        else {
            return;
        };
        let extra = survey.holds().subtract(&within);
        if !extra.is_empty() {
            let why = format!("it holds {}, which {donor} does not", extra.compact());
            return self.say(&order, refused(&why), out);
        }
        let op = Op::Fetch {
            host,
            port,
            set,
            heartbeat_ms,
        };
        self.step(order, Waits::Freeze, op, out);
    }

    pub(super) fn shut(
        &mut self,
        order: &Order,
        epoch: Epoch,
        report: FenceReport,
        out: &mut Vec<AgentOutput>,
    ) {
        self.role = Role::Closed;
        self.seal.shut = self.seal.shut.max(Some(epoch));
        self.persist(out);
        self.fence_said = Some(order.clone());
        let said = Said::Fenced {
            report,
            undurable: false,
            unopened: self.never_opened(epoch),
        };
        self.say(order, said, out);
    }

    pub(super) fn say(&mut self, order: &Order, said: Said, out: &mut Vec<AgentOutput>) {
        if !matches!(said, Said::Refused { .. } | Said::Applied) {
            self.said = Some((order.token.clone(), order.kind.name(), said.clone()));
        }
        self.say_once(order, said, out);
    }

    pub(super) fn say_once(&mut self, order: &Order, said: Said, out: &mut Vec<AgentOutput>) {
        self.reply_to(order.token.clone(), said, out);
    }

    pub(super) fn reply_to(&mut self, token: Token, said: Said, out: &mut Vec<AgentOutput>) {
        let reply = self.reply_for(token, said);
        self.reply(reply, out);
    }

    pub(super) fn reply_for(&self, token: Token, said: Said) -> Reply {
        Reply {
            token,
            cluster: self.seal.cluster.clone(),
            instance: self.seal.instance.clone(),
            said,
        }
    }
}
