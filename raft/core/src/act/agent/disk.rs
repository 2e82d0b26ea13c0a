//! What is durable, and what waits for it.
//!
//! Toward closed nothing waits for a disk: a freeze, a fence, a SIGKILL go out beside the write of
//! the seal, and only the word that they are done follows upon it. What opens or follows goes out
//! once the promise that allows it is durable. A disk that takes no writes is said in the report;
//! nothing that opens or follows is obeyed until one has been taken.
//!
//! **Invariant:** a report that does not say `undurable`, and a statement that opens or follows,
//! leave after the seal that they rest on is on disk.

use super::super::op::{Op, OpId};
use super::super::order::{OrderKind, Reply, Said};
use crate::ids::{Incarnation, Tick};
use crate::record::FenceReport;

use super::{Agent, AgentOutput, Job, Waits, refused};

/// A write that takes longer is one that hangs.
const SLOW_MS: u64 = 200;
/// Between two tries of a disk that takes no writes.
const AGAIN_MS: u64 = 1_000;

const TAKES_NO_WRITES: &str = "this agent's disk takes no writes, and nothing that opens or \
                               follows is done before what allows it is durable";

#[derive(Clone, Debug)]
pub(super) struct Disk {
    /// The newest seal handed out to be written, and the newest that was.
    asked: u64,
    written: u64,
    asked_at: Tick,
    /// Since when a seal waits to be written.
    since: Option<Tick>,
    failing: bool,
    /// What leaves once that seal is written.
    held: Vec<(u64, AgentOutput)>,
    /// Said without being durable; said anew once that seal is written.
    owed: Vec<(u64, Reply)>,
    /// The newest incarnation that is durable, and the seal by which another will be.
    mysqld: Incarnation,
    mysqld_by: u64,
}

impl Disk {
    pub fn new(now: Tick, mysqld: Incarnation) -> Self {
        Self {
            asked: 0,
            written: 0,
            asked_at: now,
            since: None,
            failing: false,
            held: Vec::new(),
            owed: Vec::new(),
            mysqld,
            mysqld_by: 0,
        }
    }

    /// Of which incarnation a word may be said: no other agent will ever speak of it.
    pub fn mysqld(&self) -> Incarnation {
        self.mysqld
    }

    /// Drops a statement that has not left yet; whether there was one.
    pub fn withdraw(&mut self, op: OpId) -> bool {
        let before = self.held.len();
        self.held.retain(|(_, output)| !runs(output, Some(op)));
        self.held.len() < before
    }

    /// No statement leaves for a server that has exited.
    pub fn withdraw_all(&mut self) {
        self.held.retain(|(_, output)| !runs(output, None));
    }
}

fn runs(output: &AgentOutput, wanted: Option<OpId>) -> bool {
    matches!(output, AgentOutput::Run { id, .. } if wanted.is_none_or(|op| *id == op))
}

/// Whether a statement makes an instance less closed than it was.
fn opens(op: &Op) -> bool {
    match op {
        Op::WaitApplied { .. }
        | Op::Follow { .. }
        | Op::Fetch { .. }
        | Op::PrepareOpen { .. }
        | Op::Open { .. }
        | Op::Adopt { .. } => true,
        Op::Survey
        | Op::LookAtApplier { .. }
        | Op::StartApplier
        | Op::Freeze
        | Op::Fence
        | Op::Marker { .. }
        | Op::CleanUp
        | Op::EndChannel { .. }
        | Op::Cut { .. }
        | Op::Repair { .. }
        | Op::TakeOverScheduled { .. }
        | Op::LookAtScheduled
        | Op::LookInto { .. }
        | Op::WriteEmpty { .. }
        | Op::LogIn { .. } => false,
    }
}

impl Agent {
    pub(super) fn persist(&mut self, out: &mut Vec<AgentOutput>) {
        let disk = &mut self.disk;
        disk.asked += 1;
        disk.asked_at = self.now;
        disk.since.get_or_insert(self.now);
        if self.seal.mysqld != disk.mysqld && disk.mysqld_by <= disk.written {
            disk.mysqld_by = disk.asked;
        }
        // The newest holds what those before it held: one write, however often it changed.
        out.retain(|output| !matches!(output, AgentOutput::Persist { .. }));
        out.push(AgentOutput::Persist {
            number: disk.asked,
            seal: self.seal.clone(),
        });
    }

    fn fresh_op(&mut self) -> OpId {
        self.next_op += 1;
        OpId(self.next_op)
    }

    pub(super) fn run(&mut self, op: Op, out: &mut Vec<AgentOutput>) -> OpId {
        if op == Op::Fence {
            self.give_up_scheduled(out);
        }
        let id = self.fresh_op();
        let waits = opens(&op);
        self.after_durable(waits, AgentOutput::Run { id, op }, out);
        id
    }

    /// Says it; a refusal promises nothing.
    pub(super) fn reply(&mut self, reply: Reply, out: &mut Vec<AgentOutput>) {
        let waits = !matches!(reply.said, Said::Refused { .. } | Said::Applied);
        self.after_durable(waits, AgentOutput::Reply(reply), out);
    }

    fn after_durable(&mut self, waits: bool, output: AgentOutput, out: &mut Vec<AgentOutput>) {
        if waits && self.disk.written < self.disk.asked {
            self.disk.held.push((self.disk.asked, output));
        } else {
            out.push(output);
        }
    }

    /// Why this order is not obeyed now.
    pub(super) fn cannot_promise(&self, kind: &OrderKind) -> Option<&'static str> {
        let promises = match kind {
            OrderKind::Follow { .. }
            | OrderKind::Fetch { .. }
            | OrderKind::Open { .. }
            | OrderKind::Reopen { .. } => true,
            OrderKind::Report { .. } | OrderKind::Freeze { .. } | OrderKind::Fence { .. } => false,
        };
        (promises && self.disk.failing).then_some(TAKES_NO_WRITES)
    }

    /// A write of the seal has ended.
    pub(super) fn persisted(&mut self, number: u64, ok: bool, out: &mut Vec<AgentOutput>) {
        let disk = &mut self.disk;
        if !ok {
            disk.failing = true;
            return;
        }
        disk.failing = false;
        disk.written = disk.written.max(number);
        disk.since = (disk.written < disk.asked).then_some(self.now);
        if disk.mysqld_by <= disk.written && disk.mysqld != self.seal.mysqld {
            disk.mysqld = self.seal.mysqld;
            self.beat_due = self.now;
        }
        let written = disk.written;
        let (free, held) = disk.held.drain(..).partition(|(by, _)| *by <= written);
        disk.held = held;
        let free: Vec<_> = free;
        out.extend(free.into_iter().map(|(_, output)| output));
        let (paid, owed) = disk.owed.drain(..).partition(|(by, _)| *by <= written);
        disk.owed = owed;
        let paid: Vec<_> = paid;
        out.extend(paid.into_iter().map(|(_, reply)| AgentOutput::Reply(reply)));
    }

    pub(super) fn tick_disk(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        if self
            .disk
            .since
            .is_some_and(|since| now.since_ms(since) > SLOW_MS)
        {
            self.disk.failing = true;
        }
        if !self.disk.failing {
            return;
        }
        for (by, output) in std::mem::take(&mut self.disk.held) {
            match output {
                AgentOutput::Reply(reply) => self.undurable(now, by, reply, out),
                AgentOutput::Run { id, .. } => self.give_up(id, out),
                other => out.push(other),
            }
        }
        if now.since_ms(self.disk.asked_at) >= AGAIN_MS {
            self.persist(out);
        }
    }

    /// What is said of an act that went out, and of which nothing is durable.
    fn undurable(&mut self, now: Tick, by: u64, reply: Reply, out: &mut Vec<AgentOutput>) {
        let mut said = reply.clone();
        match &mut said.said {
            Said::Frozen { report } => report.undurable = true,
            Said::Fenced {
                report: FenceReport::Exited,
                undurable,
                ..
            } => *undurable = true,
            // Both switches may be turned back once this agent has forgotten why they were set:
            // only a server that has exited is fenced without a disk.
            Said::Fenced { .. } => {
                let since = self.disk.since.unwrap_or(now);
                if now.since_ms(since) < self.settings.fence_ms {
                    return self.disk.held.push((by, AgentOutput::Reply(reply)));
                }
                return self.kill_for(&reply, out);
            }
            _ => {
                said.said = refused(TAKES_NO_WRITES);
                return out.push(AgentOutput::Reply(said));
            }
        }
        out.push(AgentOutput::Reply(said));
        if !self.disk.owed.iter().any(|(_, owed)| *owed == reply) {
            self.disk.owed.push((by, reply));
        }
    }

    /// The fence is in hand again, until its server has exited.
    fn kill_for(&mut self, reply: &Reply, out: &mut Vec<AgentOutput>) {
        let asked = |order: &mut super::Order| order.token == reply.token;
        let Some(order) = self.fence_said.take_if(asked) else {
            return;
        };
        if self.job.is_some() {
            return;
        }
        self.said = None;
        let op = self.fresh_op();
        self.job = Some(Job {
            order,
            waits: Waits::Fence,
            op,
        });
        out.push(AgentOutput::KillServer);
    }

    /// A statement that must not leave any more: its order is asked again.
    fn give_up(&mut self, id: OpId, out: &mut Vec<AgentOutput>) {
        if let Some(job) = self.job.take_if(|job| job.op == id) {
            self.say(&job.order, refused(TAKES_NO_WRITES), out);
        }
    }
}
