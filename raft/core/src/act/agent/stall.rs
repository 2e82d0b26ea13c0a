//! Whether an order to open makes progress, and what stands in its way.
//!
//! The deadline is on progress, not on time: transactions applied, or within one of them the applier's
//! stage and the pages that it changes. What clients hold is taken from them, by policy, and recorded.

use std::collections::BTreeSet;

use super::super::op::{Applier, Op, OpId, Survey};
use super::super::order::{Order, OrderKind};
use super::super::seal::ProcessId;
use super::{Agent, AgentOutput, Server};
use crate::gtid::GtidSet;
use crate::ids::{Epoch, Tick, Token};
use crate::observe::{Role, Stuck};

/// Between two looks at the applier, and before the first: mostly it has done all by then, and a look
/// costs it time.
const LOOK_MS: u64 = 100;

/// What an order to open has come to, over all repetitions of it.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    token: Token,
    epoch: Epoch,
    /// When it last made progress.
    moved: Tick,
    executed: GtidSet,
    /// What the applier was at.
    at: String,
    holders: Vec<String>,
    ended: BTreeSet<String>,
    look: Option<OpId>,
    look_due: Tick,
    error: String,
    /// That it stalls has been told.
    told: bool,
}

impl Agent {
    /// An order to open begins, or is repeated. A running primary that is adopted has nothing to
    /// apply, and what its clients hold is their own affair.
    pub(super) fn watch_opening(&mut self, now: Tick, order: &Order) {
        let OrderKind::Open {
            epoch,
            adopted: false,
            ..
        } = order.kind
        else {
            return;
        };
        if self
            .opening
            .as_ref()
            .is_some_and(|opening| opening.token == order.token)
        {
            return;
        }
        self.opening = Some(Opening {
            token: order.token.clone(),
            epoch,
            moved: now,
            executed: GtidSet::default(),
            at: String::new(),
            holders: Vec::new(),
            ended: BTreeSet::new(),
            look: None,
            look_due: now.plus_ms(LOOK_MS),
            error: String::new(),
            told: false,
        });
    }

    /// It is at another step of the order in hand.
    pub(super) fn opening_moves(&mut self, now: Tick) {
        if let Some(opening) = &mut self.opening {
            opening.moved = now;
        }
    }

    /// Whether another order took its place.
    pub(super) fn end_opening(&mut self, order: &Order) {
        self.opening.take_if(|opening| {
            opening.token != order.token || !matches!(order.kind, OrderKind::Open { .. })
        });
    }

    pub(super) fn opening_surveyed(&mut self, now: Tick, survey: &Survey) {
        let Some(opening) = &mut self.opening else {
            return;
        };
        if opening.executed != survey.executed {
            opening.executed = survey.executed.clone();
            opening.moved = now;
        }
        opening.error.clone_from(&survey.applier_error);
    }

    /// Takes in a look at the applier, if it is one.
    pub(super) fn applier_seen(&mut self, now: Tick, id: OpId, seen: Option<&Applier>) -> bool {
        let Some(opening) = self.opening.as_mut().filter(|of| of.look == Some(id)) else {
            return false;
        };
        opening.look = None;
        if let Some(seen) = seen {
            self.take_applier(now, seen);
        }
        true
    }

    fn take_applier(&mut self, now: Tick, seen: &Applier) {
        let Some(opening) = &mut self.opening else {
            return;
        };
        if opening.at != seen.at || !seen.ended.is_empty() {
            opening.at.clone_from(&seen.at);
            opening.moved = now;
        }
        opening.holders.clone_from(&seen.holders);
        opening.ended.extend(seen.ended.iter().cloned());
    }

    pub(super) fn tick_opening(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        self.look_at_applier(now, out);
        let stuck = self.stuck(now).is_some();
        if let Some(opening) = &mut self.opening
            && opening.told != stuck
        {
            // At once, not with the next beat: the leader waits for it.
            opening.told = stuck;
            self.beat_due = now;
        }
    }

    /// Looks, beside the order in hand, when that is due; and on until its first write is acknowledged: a
    /// global read lock lets an instance be opened, and none of its writes pass.
    fn look_at_applier(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        let ends = self.ends_holders();
        let works = self.server == Server::Up && (self.is_opening() || self.proving.is_some());
        let due = |of: &Opening| of.look.is_none() && now >= of.look_due;
        if works && self.opening.as_ref().is_some_and(due) {
            let id = self.run(Op::LookAtApplier { ends }, out);
            if let Some(opening) = &mut self.opening {
                opening.look = Some(id);
                opening.look_due = now.plus_ms(LOOK_MS);
            }
        }
    }

    /// The server that it works on is gone, or slept: what was seen of it is old.
    pub(super) fn opening_lost_sight(&mut self, now: Tick) {
        if let Some(opening) = &mut self.opening {
            opening.look = None;
            opening.moved = now;
        }
    }

    /// Why the order to open makes no progress, if it has made none for too long.
    pub(super) fn stuck(&self, now: Tick) -> Option<Stuck> {
        let opening = self.opening.as_ref()?;
        if self.role == Role::Open(opening.epoch) {
            return None;
        }
        // One that recovers moves by its own signs.
        let moved = match self.server {
            Server::Up => opening.moved,
            _ => opening.moved.max(self.moved),
        };
        let for_ms = now.since_ms(moved);
        if for_ms < self.open_stall_ms() {
            return None;
        }
        let mut why = match self.server {
            Server::Up => "it applies nothing".to_owned(),
            _ => "its mysqld is not up".to_owned(),
        };
        for more in opening.holders.iter().chain([&opening.error]) {
            if !more.is_empty() {
                why = format!("{why}; {more}");
            }
        }
        Some(Stuck {
            epoch: opening.epoch,
            for_ms,
            why,
            unopened: self.never_opened(opening.epoch),
        })
    }

    /// This run of the agent, if it has not begun to open its instance for this epoch.
    pub(super) fn never_opened(&self, epoch: Epoch) -> Option<ProcessId> {
        let never = self.seal.opened.is_none_or(|opened| opened < epoch);
        never.then(|| self.process.clone())
    }

    /// Whose sessions were ended for the sake of the order in hand.
    pub(super) fn freed(&self) -> BTreeSet<String> {
        let opening = self.opening.as_ref();
        opening.map(|of| of.ended.clone()).unwrap_or_default()
    }

    pub(super) fn open_stall_ms(&self) -> u64 {
        self.policy(|told| told.open_stall_ms, |policy| policy.open_stall_ms)
    }

    pub(super) fn ends_holders(&self) -> bool {
        self.policy(|told| told.ends_holders, |policy| policy.ends_holders)
    }
}
