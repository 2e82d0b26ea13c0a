//! Nobody waits for a server that is going away, and nobody kills one that works.
//!
//! A recovery may take hours, and an orderly shutdown minutes; both are left alone while they make
//! progress. A shutdown that no order asked for is ended at once where a freeze or a choice waits:
//! the server is started again, and frozen as it should be. So is one in which a freeze hangs, behind
//! a statement that waits for a full disk: it boots fenced, its threads off, and reports then. What
//! it acknowledged is in its relay log (`sync_relay_log=1`), which a SIGKILL takes nothing from.

use super::super::op::OpError;
use super::super::order::OrderKind;
use crate::ids::Tick;

use super::{Agent, AgentOutput, Job, Server, refused};

/// One that is ending and has answered within this time still serves.
const ANSWERS_MS: u64 = 1_000;

/// What is seen of a server from outside, twice a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSeen {
    /// Since the look before, its error log grew, or it read, wrote or computed.
    pub moved: bool,
    /// It was up, and is in an orderly shutdown: its log says so, or it listens no more.
    pub ending: bool,
}

impl Agent {
    pub(super) fn seen(&mut self, now: Tick, seen: ServerSeen, out: &mut Vec<AgentOutput>) {
        if seen.moved {
            self.moved = now;
        }
        self.ending = seen.ending;
        let stalled = now.since_ms(self.moved) >= self.restart_hold_ms();
        let waited_for = self.job.as_ref().is_some_and(|job| waits(&job.order.kind));
        // Closed as it stands: only what this agent started is killed while it starts.
        let starts = self.server == Server::Starting && self.seal.boots == Some(self.seal.mysqld);
        if (starts && stalled) || (self.goes_away() && (stalled || waited_for)) {
            // Its end is under way; the next look that finds it stalled is a whole time from here.
            self.moved = now;
            out.push(AgentOutput::KillServer);
        }
    }

    /// It is in an orderly shutdown, and answers nobody.
    pub(super) fn goes_away(&self) -> bool {
        let answers = self
            .answered
            .is_some_and(|at| self.now.since_ms(at) <= ANSWERS_MS);
        self.ending && !answers && !matches!(self.server, Server::Exited { .. })
    }

    /// Ends a server that goes away, for the sake of an order; whether it did.
    pub(super) fn ended_for(&mut self, kind: &OrderKind, out: &mut Vec<AgentOutput>) -> bool {
        let ends = waits(kind) && self.goes_away();
        if ends {
            out.push(AgentOutput::KillServer);
        }
        ends
    }

    /// Whether a server in which a freeze hangs may be ended: not over and over, for one that hangs
    /// after its restart as well gains nothing by another.
    pub(super) fn may_end_hung(&self) -> bool {
        self.hung_ended
            .is_none_or(|at| self.now.since_ms(at) >= self.restart_hold_ms())
    }

    /// Ends a server in which the freeze of this order hangs; the order stays in hand until it has.
    pub(super) fn end_hung(&mut self, job: Job, why: &OpError, out: &mut Vec<AgentOutput>) {
        self.hung_ended = Some(self.now);
        let why = format!(
            "freeze failed: {why}; mysqld is ended with SIGKILL and started again, and frozen then"
        );
        self.say(&job.order, refused(&why), out);
        out.push(AgentOutput::KillServer);
        self.job = Some(job);
    }

    /// What an order is told that needs a server which is up.
    pub(super) fn not_up(&self) -> String {
        match &self.start_failure {
            Some(why) => format!("mysqld is not up: {why}"),
            None => "mysqld is not up yet".to_owned(),
        }
    }

    pub(super) fn restart_hold_ms(&self) -> u64 {
        self.policy(|told| told.restart_hold_ms, |policy| policy.restart_hold_ms)
    }
}

/// Whether somebody waits for what the order yields: a freeze, or a choice.
fn waits(kind: &OrderKind) -> bool {
    matches!(
        kind,
        OrderKind::Freeze { .. } | OrderKind::Fetch { .. } | OrderKind::Open { .. }
    )
}
