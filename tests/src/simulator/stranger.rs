//! The replica that nobody registered: when its acknowledgements may reach the primary, and the
//! worst moments for them.
//!
//! What nobody has seen, nobody can count: unless `--strangers` asks for that, they reach nobody
//! before the log counts the very connection on which they come.

use std::collections::BTreeSet;

use primacy_core::act::{AgentInput, OpDone};
use primacy_core::gtid::Uuid;
use primacy_core::ids::{Epoch, Incarnation};
use primacy_core::observe::Heartbeat;
use primacy_core::record::{Cluster, Command, Proposal, State};

use super::fault::Fault;
use super::network::both_ways;
use super::planted::Planted;
use super::world::World;

/// How long nobody hears the agent of the primary to which it returns.
const BACK_US: u64 = 900_000;

/// A word of an agent, in the order of its words.
type Word = (Incarnation, u64);

#[derive(Debug, Default)]
pub struct Stranger {
    /// The epoch in which the log counts it, and by which word of the primary's agent, whatever a
    /// mistaken apply makes of it.
    counted: Option<(Epoch, Word)>,
    /// Its connection that the primary's agent saw last, and since which word it has told of it
    /// without a break.
    sighted: Option<(u64, Option<Word>)>,
    returned: Option<Return>,
}

/// It came again while the log was about to forget it.
#[derive(Clone, Copy, Debug)]
struct Return {
    /// Until then whoever proposes to forget it is not faster.
    until: u64,
    /// When the primary is lost; the log hears soon after that nobody counts.
    lost_at: u64,
}

impl World {
    /// A replica that nobody registered, on a connection that the log does not count yet: its word
    /// is older than the agent's sight of it.
    pub(super) fn is_unseen(&self, source: usize, replica: usize) -> bool {
        if replica != self.members {
            return false;
        }
        let session = self.stranger_session(source);
        let serves = |cluster: &&Cluster| self.host_of(&cluster.primary) == source;
        let epoch = self.shop().filter(serves).map(|cluster| cluster.epoch);
        match (self.stranger.counted, self.stranger.sighted) {
            (Some((counted, told)), Some((seen, Some(since)))) => {
                Some(counted) != epoch || Some(seen) != session || told < since
            }
            _ => true,
        }
    }

    fn stranger_session(&self, source: usize) -> Option<u64> {
        let dump = self.servers[source].dumps.get(&self.members);
        dump.map(|dump| dump.session)
    }

    /// Ends the connection of everybody whose acknowledgements would count and who is none of these.
    pub(super) fn cut_strangers(&mut self, host: usize, members: &BTreeSet<Uuid>) {
        let member = |replica: &usize| members.contains(&self.servers[*replica].uuid);
        let attached = self.servers[host].dumps.iter();
        let strangers = attached.filter(|(replica, dump)| dump.semi && !member(replica));
        let sessions: Vec<u64> = strangers.map(|(_, dump)| dump.session).collect();
        self.cut(host, &sessions);
    }

    /// Ends these connections, unless cuts hang.
    pub(super) fn cut(&mut self, host: usize, sessions: &[u64]) {
        if self.now >= self.cuts_hang_until {
            let dumps = &mut self.servers[host].dumps;
            dumps.retain(|_, dump| !sessions.contains(&dump.session));
        }
    }

    /// An agent is about to learn of a connection that it has not seen before.
    pub(super) fn sight_stranger(&mut self, host: usize, input: &AgentInput) {
        let AgentInput::OpEnded {
            result: Ok(OpDone::Surveyed(survey)),
            ..
        } = input
        else {
            return;
        };
        let uuid = self.servers[self.members].uuid;
        let mut dumps = survey.semi_sync_dumps.iter();
        let shown = dumps
            .find(|dump| dump.uuid == Some(uuid))
            .map(|dump| dump.session);
        let sighted = self.stranger.sighted.map(|(session, _)| session);
        if shown.is_some() && shown == self.stranger_session(host) && shown != sighted {
            self.stranger.sighted = shown.map(|session| (session, None));
        }
    }

    /// An agent tells the nodes what it knows.
    pub(super) fn tell_of_stranger(&mut self, host: usize, beat: &Heartbeat) {
        let session = self.stranger_session(host);
        let uuid = self.servers[self.members].uuid;
        if let Some((sighted, since @ None)) = &mut self.stranger.sighted
            && Some(*sighted) == session
            && beat.ground.strangers.contains(&uuid)
        {
            *since = Some((beat.word.agent, beat.ground.since));
        }
    }

    /// Called with the state that an entry leads to, before a mistake bends it.
    pub(super) fn notice_stranger(&mut self, state: &State) {
        let Some(cluster) = state.clusters.values().next() else {
            return;
        };
        let known = &cluster.ground;
        let counted = (!known.strangers.is_empty()).then_some((cluster.epoch, known.told));
        let was = self.stranger.counted;
        let ignored = self.options.planted == Some(Planted::StrangersNotCounted)
            && was.is_some_and(|(epoch, _)| epoch == cluster.epoch);
        if counted.is_some() && was.is_none() && self.rng.chance(500) {
            self.while_a_stranger_acknowledges(cluster);
        }
        if !ignored {
            self.stranger.counted = counted;
        }
    }

    /// The log is about to hear that nobody counts any more. It will hear it late, and meanwhile the
    /// stranger is back: who believes the old word forgets what is acknowledged now. Its proposer is
    /// cut off, since whatever it proposed later would overtake it. In how many microseconds.
    pub(super) fn stranger_returns_before(
        &mut self,
        from: usize,
        proposal: &Proposal,
    ) -> Option<u64> {
        let forgets = |command: &Command| match command {
            Command::Ground { said, .. } => said.held.is_some(),
            _ => false,
        };
        if self.faults.healed || !proposal.commands.iter().any(forgets) {
            return None;
        }
        if let Some(Return { until, lost_at }) = self.stranger.returned {
            let late = lost_at.saturating_sub(self.now) + self.rng.below(500_000);
            return (self.now < until).then_some(late);
        }
        let cluster = self.shop()?.clone();
        if self.stranger.counted.is_none() || !self.rng.chance(900) {
            return None;
        }
        self.note("FAULT", || {
            "the stranger is back before it is forgotten".into()
        });
        // Else the agent's word that it is forgotten would be taken at once, from its next beat.
        let here = self.place_of_host(self.host_of(&cluster.primary));
        self.strike(Fault::Cut(self.ways_to_nodes(&[here])), 0, BACK_US);
        let lost_us = self.while_a_stranger_acknowledges(&cluster);
        let others = (0..self.nodes.len()).filter(|node| *node != from);
        let hosts = (0..self.members).map(|host| self.place_of_host(host));
        let ways = both_ways(from, others.chain(hosts));
        self.strike(Fault::Cut(ways), 0, lost_us + 3_000_000);
        self.stranger.returned = Some(Return {
            until: self.now + BACK_US,
            lost_at: self.now + lost_us,
        });
        Some(lost_us + self.rng.below(500_000))
    }

    /// For a while a stranger makes up the last of the k that acknowledge, as it cannot be cut; then
    /// the primary is lost, and those of V that acknowledged with it cannot be asked. Whoever counts
    /// V only finds its writes nowhere. In how many microseconds it is lost.
    fn while_a_stranger_acknowledges(&mut self, cluster: &Cluster) -> u64 {
        let primary = self.host_of(&cluster.primary);
        let here = self.place_of_host(primary);
        let members = cluster.ackers.members.iter();
        let mut places: Vec<_> = members
            .map(|id| self.place_of_host(self.host_of(id)))
            .collect();
        let deaf = places.split_off(cluster.ackers.k as usize - 1);
        let ways = deaf.into_iter().map(|place| (here, place)).collect();
        self.cuts_hang_until = self.now + 4_000_000;
        for planned in &mut self.faults.planned {
            // It stays for as long as this lasts.
            planned.active &= !matches!(planned.fault, Fault::Stranger);
        }
        self.strike(Fault::Stranger, 50_000, 5_000_000);
        let us = self.rng.between(800_000, 2_500_000);
        // Only just before: what a node still sees executed is needed, whoever has it.
        self.strike(Fault::Cut(ways), us - 100_000, 4_000_000);
        let power = Fault::power(primary);
        self.strike(power, us, 12_000_000);
        self.strike(Fault::Cut(self.ways_to_nodes(&places)), us, 11_000_000);
        us
    }
}
