//! What a replica wrote itself: looked into once, told if it changes nothing. What the log names
//! common of that is written on the primary, so that everybody comes to hold it.

use super::super::op::{Op, OpDone, OpError, OpId};
use super::{Agent, AgentOutput, Server};
use crate::gtid::GtidSet;
use crate::ids::Tick;
use crate::observe::Role;

/// Between two looks at what could not be read, and between two tries to write.
const AGAIN_MS: u64 = 10_000;
/// One that waits for an acknowledgement is not overtaken by another.
const WRITE_AGAIN_MS: u64 = 1_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    op: Option<OpId>,
    due: Tick,
    /// What was looked into, and what of it changes nothing.
    known: GtidSet,
    harmless: GtidSet,
    /// What of it changes something.
    changes: Option<String>,
    /// Why nobody could tell, the last time.
    unread: Option<String>,
}

impl Common {
    /// The server is gone: whatever it was asked is of no use. What it wrote it wrote.
    pub fn forget_op(&mut self) {
        self.op = None;
    }
}

impl Agent {
    pub(super) fn tick_common(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        if self.server != Server::Up || self.common.op.is_some() || now < self.common.due {
            return;
        }
        let (Some(named), Some(survey)) = (&self.named, &self.survey) else {
            return;
        };
        let (op, again_ms) = match self.role {
            Role::Open(epoch) => {
                let mine = named.epoch == epoch && named.instance == self.seal.instance;
                let lacks = named.common.subtract(&survey.executed);
                if !mine || named.deposed || lacks.is_empty() {
                    return;
                }
                (Op::WriteEmpty { set: lacks }, WRITE_AGAIN_MS)
            }
            Role::Following(_) => {
                let unknown = named.own_writes.subtract(&self.common.known);
                if unknown.is_empty() {
                    return;
                }
                (Op::LookInto { set: unknown }, AGAIN_MS)
            }
            Role::Closed | Role::Frozen(_) => return,
        };
        self.common.due = now.plus_ms(again_ms);
        self.common.op = Some(self.run(op, out));
    }

    /// Whether this was an op of its own.
    pub(super) fn common_ended(
        &mut self,
        now: Tick,
        id: OpId,
        result: &Result<OpDone, OpError>,
    ) -> bool {
        if self.common.op.take_if(|op| *op == id).is_none() {
            return false;
        }
        match result {
            Ok(OpDone::LookedInto {
                known,
                harmless,
                first,
            }) => {
                self.common.known.union_with(known);
                self.common.harmless.union_with(harmless);
                self.common.unread = None;
                let before = self.common.changes.take();
                self.common.changes = first.clone().or(before);
                // What comes next is looked into at once.
                self.common.due = now;
            }
            Err(error) if matches!(self.role, Role::Following(_)) => {
                self.common.unread = Some(format!("its binary log cannot be read: {error}"));
            }
            _ => {}
        }
        true
    }

    /// Why not all of its own writes are made common.
    pub(super) fn own_writes(&self) -> Option<String> {
        let named = self.named.as_ref()?;
        let left = named.own_writes.subtract(&self.common.harmless);
        let why = self.common.unread.as_ref().or(self.common.changes.as_ref());
        why.filter(|_| !left.is_empty()).cloned()
    }

    /// What of its own writes changes nothing, as far as the log does not say so yet.
    pub(super) fn harmless(&self) -> GtidSet {
        match (&self.named, self.role) {
            (Some(named), Role::Following(_)) => self.common.harmless.intersect(&named.own_writes),
            _ => GtidSet::default(),
        }
    }
}
