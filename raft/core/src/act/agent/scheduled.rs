//! The scheduled events of an open primary: taken over once after its opening, as the log says, and
//! watched from then on, so that whoever opens next can do likewise.
//!
//! **Invariant:** what is told of them was seen after a node had said that nothing is to be taken
//! over any more: a scheduler that is off since the boot is not what the cluster had.

use super::super::op::{Op, OpDone, OpError, OpId, Survey};
use super::{Agent, AgentOutput, Server};
use crate::ids::{Epoch, Position, Tick};
use crate::observe::Role;
use crate::record::{Owed, ScheduledSaid};

/// Between two looks at which events are enabled, and between two tries to take them over.
const LOOK_MS: u64 = 1_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Scheduled {
    /// The epoch for which all this is.
    epoch: Epoch,
    op: Option<OpId>,
    due: Tick,
    /// Since when nothing is to be taken over, and where the log stood that said so.
    settled: Option<(Tick, Position)>,
    said: ScheduledSaid,
}

impl Scheduled {
    /// The server is gone, or shut: whatever was seen is of no use.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Agent {
    /// What the log says that this open primary has to take over; an older word than the one that
    /// settled it says nothing.
    fn owes_scheduled(&self, epoch: Epoch) -> Option<(Owed, Position)> {
        let named = self.named.as_ref()?;
        let mine = named.epoch == epoch && named.instance == self.seal.instance && !named.deposed;
        let newer = self.scheduled.settled.is_none_or(|(_, at)| named.at >= at);
        let owed = named.scheduled.clone().filter(|_| mine && newer)?;
        Some((owed, named.at))
    }

    pub(super) fn tick_scheduled(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        let Role::Open(epoch) = self.role else {
            return self.scheduled.forget();
        };
        if self.scheduled.epoch != epoch {
            self.scheduled = Scheduled {
                epoch,
                ..Scheduled::default()
            };
        }
        let Some((owed, at)) = self.owes_scheduled(epoch) else {
            return;
        };
        if self.server != Server::Up {
            return;
        }
        let settled = owed == Owed::Nothing;
        if settled != self.scheduled.settled.is_some() {
            self.scheduled.settled = settled.then_some((now, at));
            self.scheduled.said = ScheduledSaid::default();
            self.scheduled.due = now;
        }
        if self.scheduled.op.is_some() || now < self.scheduled.due {
            return;
        }
        self.scheduled.due = now.plus_ms(LOOK_MS);
        let op = match owed {
            Owed::This(take_over) => Op::TakeOverScheduled { take_over },
            Owed::Nothing => Op::LookAtScheduled,
        };
        self.scheduled.op = Some(self.run(op, out));
    }

    /// Before it is shut: what is under way would switch on the scheduler of a server that is.
    pub(super) fn give_up_scheduled(&mut self, out: &mut Vec<AgentOutput>) {
        if let Some(id) = self.scheduled.op.take() {
            out.push(AgentOutput::Cancel { id });
        }
    }

    /// Whether this was an op of its own.
    pub(super) fn scheduled_ended(
        &mut self,
        now: Tick,
        id: OpId,
        result: &Result<OpDone, OpError>,
    ) -> bool {
        if self.scheduled.op.take_if(|op| *op == id).is_none() {
            return false;
        }
        match result {
            Ok(OpDone::ScheduledTakenOver(done)) if self.scheduled.settled.is_none() => {
                let said = self.scheduled.said.taken_over.get_or_insert_default();
                // Done again before the log had it: what was enabled then is enabled.
                said.failed.retain(|name, _| done.failed.contains_key(name));
                said.failed.extend(done.failed.clone());
                said.enabled.extend(done.enabled.iter().cloned());
                self.beat_due = now;
            }
            Ok(OpDone::ScheduledSeen(idle)) if self.scheduled.settled.is_some() => {
                self.scheduled.said.idle = Some(idle.clone());
            }
            // Tried again after a while.
            _ => {}
        }
        true
    }

    /// A survey that began at `begun` shows whether its scheduler runs.
    pub(super) fn look_at_scheduler(&mut self, begun: Tick, survey: &Survey) {
        let settled = self
            .scheduled
            .settled
            .is_some_and(|(since, _)| begun > since);
        if settled && survey.writable() && !survey.offline_mode {
            self.scheduled.said.runs = match survey.ground.event_scheduler.as_str() {
                "ON" => Some(true),
                "OFF" => Some(false),
                // Switched off in that server's own configuration: no word on the cluster's.
                _ => None,
            };
        }
    }

    /// What is told of them; `None` where there is nothing to tell.
    pub(super) fn scheduled_word(&self) -> Option<ScheduledSaid> {
        let said = &self.scheduled.said;
        let open = self.role == Role::Open(self.scheduled.epoch);
        (open && *said != ScheduledSaid::default()).then(|| said.clone())
    }
}
