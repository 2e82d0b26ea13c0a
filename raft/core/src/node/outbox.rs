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

/// Commands go in the order of their keys, and take effect so: what rests on another one has a later
/// key.
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

    /// Nothing waits to be proposed, and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// What the next proposal will say.
    pub fn waiting(&self) -> impl Iterator<Item = &Command> {
        self.waiting.values()
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

    /// What this command asks for has happened, by another node's proposal. One under way with
    /// nothing else in it is not waited for: it comes to nothing, before or after the next.
    pub fn happened(&mut self, key: &str) {
        self.waiting.remove(key);
        self.in_flight
            .take_if(|(_, keys)| keys.iter().all(|flying| flying == key));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Epoch};

    const NOW: Tick = Tick(1_000);

    fn command() -> Command {
        Command::OpenInquest {
            cluster: ClusterId::from("orders"),
            epoch: Epoch(1),
            after: None,
        }
    }

    fn next_at(outbox: &mut Outbox, now: u64) -> Option<(Seq, usize)> {
        let leader = Some(NodeId(1));
        let proposal = outbox.next(Tick(now), NodeId(2), Incarnation(1), leader)?;
        Some((proposal.seq, proposal.commands.len()))
    }

    fn next(outbox: &mut Outbox) -> Option<(Seq, usize)> {
        next_at(outbox, NOW.0)
    }

    #[test]
    fn it_is_idle_while_nothing_waits_and_nothing_is_under_way() {
        let mut outbox = Outbox::default();
        assert!(outbox.is_idle());
        outbox.push(NOW, "inquest".into(), command());
        assert!(!outbox.is_idle(), "it waits");
        let (seq, _) = next(&mut outbox).expect("a proposal");
        assert!(!outbox.is_idle(), "it is under way");
        outbox.ended(NOW, seq, ProposalEnd::Committed);
        assert!(outbox.is_idle());
    }

    #[test]
    fn a_vote_does_not_wait_for_an_inquest_that_another_node_has_opened() {
        let mut outbox = Outbox::default();
        outbox.push(NOW, "inquest".into(), command());
        let (first, _) = next(&mut outbox).expect("a proposal");
        outbox.push_now("vote".into(), command());
        assert_eq!(next(&mut outbox), None, "one at a time");
        outbox.happened("inquest");
        let (second, commands) = next(&mut outbox).expect("the vote alone");
        assert!(second > first && commands == 1);
        // The end of the first ends nothing but itself.
        outbox.ended(NOW, first, ProposalEnd::Unknown);
        outbox.push_now("vote".into(), command());
        assert_eq!(next(&mut outbox), None, "the second is under way");
        outbox.ended(NOW, second, ProposalEnd::Committed);
        assert!(next(&mut outbox).is_some());
    }

    #[test]
    fn what_else_is_in_the_proposal_is_waited_for() {
        let mut outbox = Outbox::default();
        outbox.push(NOW, "inquest".into(), command());
        outbox.push(NOW, "frozen".into(), command());
        assert!(next(&mut outbox).is_some());
        outbox.push_now("vote".into(), command());
        outbox.happened("inquest");
        assert_eq!(next(&mut outbox), None);
        // One that waits is not sent at all.
        let mut outbox = Outbox::default();
        outbox.push(NOW, "inquest".into(), command());
        outbox.happened("inquest");
        assert_eq!(next(&mut outbox), None);
    }

    fn at(outbox: &mut Outbox, now: u64) -> Seq {
        next_at(outbox, now).expect("it goes").0
    }

    /// What was proposed just now is not proposed again before its effect can be seen.
    #[test]
    fn the_same_is_proposed_again_after_a_while() {
        let mut outbox = Outbox::default();
        outbox.push(Tick(1_000), "open".into(), command());
        let seq = at(&mut outbox, 1_000);
        outbox.push(Tick(1_000 + 10 * AGAIN_MS), "open".into(), command());
        assert!(outbox.waiting.is_empty(), "it is under way");
        outbox.ended(Tick(2_000), seq, ProposalEnd::Committed);
        outbox.push(Tick(2_000 + AGAIN_MS - 1), "open".into(), command());
        assert!(outbox.waiting.is_empty(), "it was just done");
        outbox.push(Tick(2_000 + AGAIN_MS), "open".into(), command());
        assert_eq!(outbox.waiting.len(), 1);
    }

    /// A node that runs for months does not keep all that it ever proposed.
    #[test]
    fn what_was_sent_long_ago_is_forgotten() {
        let mut outbox = Outbox::default();
        for (key, now) in [("1", 1_000), ("2", 1_050), ("3", 1_000 + AGAIN_MS)] {
            outbox.push(Tick(now), key.into(), command());
            let seq = at(&mut outbox, now);
            outbox.ended(Tick(now), seq, ProposalEnd::Committed);
        }
        let kept: Vec<&str> = outbox.sent.keys().map(String::as_str).collect();
        assert_eq!(kept, ["2", "3"]);
    }

    /// Where nobody led, it is tried again when that was given a moment to change.
    #[test]
    fn without_a_leader_the_next_try_waits() {
        let mut outbox = Outbox::default();
        outbox.push(Tick(1_000), "open".into(), command());
        let seq = at(&mut outbox, 1_000);
        outbox.ended(Tick(1_000), seq, ProposalEnd::NoLeader);
        outbox.push(Tick(1_000), "open".into(), command());
        assert_eq!(next_at(&mut outbox, 1_019), None);
        at(&mut outbox, 1_020);
    }
}
