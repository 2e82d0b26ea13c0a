//! Whether this replica's receiver waits for its primary in vain, and since when.
//!
//! It counts from the first look that shows it so, and from the start again whenever this agent
//! starts the receiver, its server comes up, or this process slept: else a replica that comes back
//! would starve its primary.

use super::super::op::Survey;
use super::Agent;
use crate::ids::Tick;
use crate::observe::{IoThread, Role};

/// Heartbeats and position: they change when progress arrives.
type Mark = (u64, (String, u64));

fn mark(survey: &Survey) -> Mark {
    (survey.heartbeats, survey.read_position.clone())
}

/// The progress that the newest beat told of, and since when this run of the agent has.
#[derive(Clone, Debug, Default)]
pub(super) struct Newest {
    mark: Option<Mark>,
    since_ms: u64,
}

impl Newest {
    /// By when, on the clock of this run, all progress was made of which this survey is the newest
    /// look: since a beat first told of it (one that is about to counts), nothing moved. Where the look
    /// is not `of_now`, more may have come until now.
    pub fn moved_ms(&mut self, run_ms: u64, survey: &Survey, of_now: bool) -> u64 {
        if !of_now {
            return run_ms;
        }
        let mark = mark(survey);
        if self.mark.as_ref() != Some(&mark) {
            (self.mark, self.since_ms) = (Some(mark), run_ms);
        }
        self.since_ms
    }
}

#[derive(Clone, Debug)]
pub(super) struct Receiver {
    /// A look that began before this says nothing.
    anew: Tick,
    since: Option<Tick>,
    connects: bool,
    mark: Option<Mark>,
    arrived: Tick,
}

impl Receiver {
    pub fn new(now: Tick) -> Self {
        Self {
            anew: now,
            since: None,
            connects: false,
            mark: None,
            arrived: now,
        }
    }

    /// The count begins anew, after this.
    pub fn restart(&mut self, now: Tick) {
        *self = Self::new(now);
    }

    /// A look that began then. `by_order`: it replicates from the primary as this agent told it to.
    pub fn look(&mut self, begun: Tick, survey: &Survey, by_order: bool) {
        if begun < self.anew {
            return;
        }
        let mark = mark(survey);
        if self.mark.as_ref() != Some(&mark) {
            self.mark = Some(mark);
            self.arrived = begun;
        }
        self.connects = survey.io == IoThread::Connecting;
        // One that stands may be in the middle of a large event: only bytes tell.
        let known = self.connects || survey.receiver_bytes.is_some();
        if by_order && survey.receiver_waits && known {
            self.since.get_or_insert(begun);
        } else {
            self.since = None;
        }
    }

    pub fn waits_ms(&self, now: Tick) -> Option<u64> {
        self.since.map(|since| now.since_ms(since))
    }

    /// It tries to connect, or has heard nothing for longer than its source is ever still.
    pub fn doubts(&self, now: Tick, stale_ms: u64) -> bool {
        let silent = stale_ms > 0 && now.since_ms(self.arrived) > stale_ms;
        self.since.is_some() && (self.connects || silent)
    }
}

impl Agent {
    pub(super) fn look_at_receiver(&mut self, begun: Tick, survey: &Survey) {
        let ordered = match (self.role, &self.seal.source) {
            (Role::Following(epoch), Some((source, of))) if epoch == *of => Some(source),
            _ => None,
        };
        // Toward the address that the log knows it by, where a node has told that.
        let known = ordered.and_then(|source| self.named.as_ref()?.addresses.get(source));
        let elsewhere = known.is_some_and(|address| survey.source.as_ref() != Some(address));
        self.receiver
            .look(begun, survey, ordered.is_some() && !elsewhere);
    }
}
