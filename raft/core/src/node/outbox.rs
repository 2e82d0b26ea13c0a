//! What a node means to propose: keyed, so that a newer vote replaces an older one not yet sent,
//! and one proposal at a time, so that nothing overtakes.

use std::collections::BTreeMap;

use crate::ids::{Incarnation, NodeId, Seq, Tick};
use crate::record::{Command, Proposal};

/// The same command is not proposed again within this: its apply may not have come back yet.
const AGAIN_MS: u64 = 100;

/// How a proposal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalEnd {
    Committed,
    /// Nobody knows; it is never assumed either way.
    Unknown,
    NoLeader,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<String, Command>,
    in_flight: Option<(Seq, Vec<String>)>,
    sent: BTreeMap<String, Tick>,
    seq: Seq,
    not_before: Tick,
}

impl Outbox {
    /// Proposes a command unless it was just proposed.
    pub fn push(&mut self, now: Tick, key: String, command: Command) {
        let flying = self
            .in_flight
            .as_ref()
            .is_some_and(|(_, keys)| keys.contains(&key));
        let just = self
            .sent
            .get(&key)
            .is_some_and(|at| now.since_ms(*at) < AGAIN_MS);
        if !flying && !just {
            self.waiting.insert(key, command);
        }
    }

    /// Proposes a command whose content is new each time.
    pub fn push_now(&mut self, key: String, command: Command) {
        self.waiting.insert(key, command);
    }

    pub fn next(
        &mut self,
        now: Tick,
        proposer: NodeId,
        incarnation: Incarnation,
        leader: Option<NodeId>,
    ) -> Option<Proposal> {
        if self.in_flight.is_some() || self.waiting.is_empty() || now < self.not_before {
            return None;
        }
        leader?;
        self.seq = self.seq.next();
        let waiting = std::mem::take(&mut self.waiting);
        self.in_flight = Some((self.seq, waiting.keys().cloned().collect()));
        self.sent.retain(|_, at| now.since_ms(*at) < AGAIN_MS);
        for key in waiting.keys() {
            self.sent.insert(key.clone(), now);
        }
        Some(Proposal {
            proposer,
            incarnation,
            seq: self.seq,
            wall_ms: 0,
            commands: waiting.into_values().collect(),
        })
    }

    /// What did not get through is not kept: the state still asks for it, and it would be stale.
    pub fn ended(&mut self, now: Tick, seq: Seq, end: ProposalEnd) {
        let Some((flying, keys)) = self.in_flight.take() else {
            return;
        };
        if flying != seq {
            self.in_flight = Some((flying, keys));
            return;
        }
        for key in keys {
            match end {
                ProposalEnd::Committed => self.sent.insert(key, now),
                ProposalEnd::Unknown | ProposalEnd::NoLeader => self.sent.remove(&key),
            };
        }
        if end == ProposalEnd::NoLeader {
            self.not_before = now.plus_ms(20);
        }
    }
}
