//! An order to follow: compared with the source, durable, and only then carried out.
//!
//! Whoever stands frozen is not stopped once more to be compared: its newest look serves. In any case
//! the statement that turns it looks again with its receiver stopped, and does nothing if it holds more:
//! somebody may have started it meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::super::op::{Op, Survey};
use super::super::order::{Order, OrderKind, Said};
use super::super::seal::Left;
use super::{Agent, AgentOutput, Waits, refused};
use crate::gtid::GtidSet;
use crate::ids::{Epoch, InstanceId, Tick};
use crate::observe::{IoThread, Role};

/// Turned to a source on the disk, by a look that was made before; the server may not have turned yet.
#[derive(Clone, Debug)]
pub(super) struct Turning {
    compared: GtidSet,
    /// Whom it followed until then, and what the seal had of others.
    source: Option<(InstanceId, Epoch)>,
    left: BTreeMap<InstanceId, Left>,
}

/// What the instance holds beyond what the new primary does.
fn extra(order: &Order, survey: &Survey) -> GtidSet {
    let OrderKind::Follow { within, own, .. } = &order.kind else {
        return GtidSet::default();
    };
    let extra = survey.holds().subtract(within);
    match own {
        Some(own) => extra.without(&BTreeSet::from([*own])),
        None => extra,
    }
}

impl Agent {
    pub(super) fn begin_to_follow(&mut self, order: Order, out: &mut Vec<AgentOutput>) {
        let OrderKind::Follow {
            epoch,
            source,
            host,
            port,
            ..
        } = &order.kind
        else {
            return;
        };
        if !self.seal.may_follow(*epoch) {
            let why = format!("frozen for an epoch not below {epoch}");
            return self.say(&order, refused(&why), out);
        }
        let to = Some((source.clone(), *epoch));
        let shown = self.survey.as_ref().and_then(|of| of.source.as_ref());
        // Its disk was turned before its server, and perhaps by another run of this agent.
        let known =
            self.turning.is_some() || self.turned == to || shown == Some(&(host.clone(), *port));
        if self.seal.source == to && known {
            // Compared already, and nobody else could write to it since; or it is compared once it
            // turns.
            return self.follow(order, out);
        }
        let frozen = matches!(self.role, Role::Frozen(_)) && !self.receives;
        let survey = self.survey.as_ref().filter(|_| frozen);
        let stopped = survey.filter(|survey| survey.io == IoThread::Off);
        match stopped.filter(|survey| extra(&order, survey).is_empty()) {
            Some(survey) => {
                let holds = survey.holds();
                self.turn(order, holds, out);
            }
            // What stands in its way is said of what it holds now, not of what it held a while ago.
            None => self.step(order, Waits::Compare, Op::Freeze, out),
        }
    }

    /// `compared`: what it was seen to hold, all of which its source has.
    fn turn(&mut self, order: Order, compared: GtidSet, out: &mut Vec<AgentOutput>) {
        self.turning = Some(Turning {
            compared,
            source: self.seal.source.clone(),
            left: self.seal.left.clone(),
        });
        self.follow(order, out);
    }

    /// Stopped, and looked at after that.
    pub(super) fn compared(&mut self, order: Order, survey: Survey, out: &mut Vec<AgentOutput>) {
        let extra = extra(&order, &survey);
        self.turning = None;
        let holds = survey.holds();
        self.survey = Some(survey);
        if extra.is_empty() {
            self.turn(order, holds, out);
        } else {
            self.role = Role::Closed;
            self.say(&order, Said::WillNotFollow { extra }, out);
        }
    }

    fn follow(&mut self, order: Order, out: &mut Vec<AgentOutput>) {
        let OrderKind::Follow {
            epoch,
            source,
            host,
            port,
            acking,
            heartbeat_ms,
            online,
            ..
        } = order.kind.clone()
        else {
            return;
        };
        if self.seal.source.as_ref() != Some(&(source.clone(), epoch)) {
            self.role = Role::Closed;
            let holds = self.survey.as_ref().map(Survey::holds).unwrap_or_default();
            let uuid = self.source_uuid.take();
            self.seal.turn(source, epoch, &holds, uuid);
            self.persist(out);
        }
        let compared = self.turning.as_ref().map(|of| of.compared.clone());
        let op = Op::Follow {
            host,
            port,
            acking,
            heartbeat_ms,
            online,
            compared,
        };
        self.step(order, Waits::Follow, op, out);
    }

    pub(super) fn followed(&mut self, now: Tick, order: Order) {
        let OrderKind::Follow { epoch, .. } = order.kind else {
            return;
        };
        self.turning = None;
        self.turned = self.seal.source.clone();
        self.receiver.restart(now);
        self.role = Role::Following(epoch);
        self.joins(now, order);
    }

    /// Somebody gave it more since it was looked at. It was told to follow nobody: what it held, it
    /// held under its former source, and it is compared in full.
    pub(super) fn turn_back(&mut self, order: Order, out: &mut Vec<AgentOutput>) {
        let Some(turning) = self.turning.take() else {
            let why = "it holds more than it was compared with, and was compared with nothing";
            return self.say(&order, refused(why), out);
        };
        self.seal.source = turning.source;
        self.seal.left = turning.left;
        self.persist(out);
        self.step(order, Waits::Compare, Op::Freeze, out);
    }
}
