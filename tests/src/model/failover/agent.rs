//! The agent: obeys an order whose token is not older than the newest it has obeyed, and answers.

use std::fmt::{self, Display};

use super::answer::{Answer, Reply};
use super::ground::SemiSync;
use super::memory::Memory;
use super::{Config, Epoch, Instance, Mistake, Set, State, WriteId};

/// The right to give an order. Within an epoch the log goes through its stages in this order, so
/// the stage stands for the log index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token {
    pub epoch: Epoch,
    pub stage: Stage,
}

/// Where in its epoch an order was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Stage {
    /// With the choice of its primary.
    #[default]
    Opening,
    /// While it stands.
    Standing,
    /// With its end.
    Deposed,
}

impl Token {
    pub fn of_opening(epoch: Epoch) -> Self {
        Self {
            epoch,
            stage: Stage::Opening,
        }
    }
}

/// What an order asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// Stop the IO thread and say what you have, and what you held as a follower of this one.
    Freeze { of: Instance },
    /// Stop for good in this epoch and say what you have.
    Fence,
    /// Frozen as you are, receive from this one what you lack; acknowledge nothing.
    Fetch { donor: Instance },
    /// Follow this primary, once compared with it.
    Repoint { source: Instance, acks: bool },
    /// Open, if you hold all of `need`, waiting for `wait_for` acknowledgements.
    Open { need: Set<WriteId>, wait_for: u8 },
    /// You are in V now: acknowledge.
    SwitchOnAcks,
}

/// A committed step on its way to an agent. It may be obeyed late, and more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    pub to: Instance,
    pub token: Token,
    pub deed: Deed,
}

impl Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (to, epoch) = (self.to, self.token.epoch.0);
        write!(f, "{to} obeys an order of epoch {epoch}: ")?;
        match self.deed {
            Deed::Freeze { .. } => write!(f, "freeze"),
            Deed::Fence => write!(f, "fence"),
            Deed::Fetch { donor } => write!(f, "fetch from {donor}"),
            Deed::Repoint { source, acks: true } => write!(f, "follow {source}, acknowledging"),
            Deed::Repoint {
                source,
                acks: false,
            } => write!(f, "follow {source}"),
            Deed::Open { need, wait_for } => write!(f, "open with {need}, k={wait_for}"),
            Deed::SwitchOnAcks => write!(f, "acknowledge"),
        }
    }
}

impl State {
    /// Carries out an order, or refuses it. A refusal may still have advanced the token.
    pub fn obey(&mut self, config: &Config, order: Order) {
        let (to, epoch) = (order.to, order.token.epoch);
        let server = self.server_mut(to);
        if order.token < server.token {
            return;
        }
        // Only a fence has something to say of a `mysqld` that is gone: that it is gone.
        if !server.up && order.deed != Deed::Fence {
            return;
        }
        // Before it has read the log, it moves toward closed alone.
        let closes = matches!(order.deed, Deed::Freeze { .. } | Deed::Fence);
        if !closes && !server.has_read {
            return;
        }
        let half_fenced = server.open.is_none() && !server.offline && server.token.epoch < epoch;
        server.token = server.token.max(order.token);
        let stale = server.open.is_some_and(|open| open < epoch) || half_fenced;
        if stale && !config.makes(Mistake::OrdersDoNotClose) {
            self.close(to);
            self.server_mut(to).offline = true;
        }

        match order.deed {
            Deed::Freeze { of } => self.freeze(config, to, epoch, of),
            Deed::Fence => self.fence(config, to, epoch),
            Deed::Fetch { donor } => self.fetch(config, to, epoch, donor),
            Deed::Repoint { source, acks } => self.repoint(config, to, epoch, source, acks),
            Deed::Open { need, wait_for } => self.open(config, to, epoch, need, wait_for),
            Deed::SwitchOnAcks => self.server_mut(to).acks = true,
        }
    }

    fn freeze(&mut self, config: &Config, on: Instance, epoch: Epoch, of: Instance) {
        let server = self.server_mut(on);
        server.bound = server.bound.max(Some(epoch));
        server.source = None;
        server.reported = server.reported.union(server.has);
        let answer = Answer::Frozen {
            has: server.has,
            held: server.memory.held(of, server.has),
            written: server.on_disk.is_none(),
        };
        self.reply(
            config,
            Reply {
                from: on,
                epoch,
                answer,
            },
        );
    }

    /// Its IO thread runs until the next order to freeze stops it and asks what it has now. What it
    /// held before it turned to the donor stays on file: no more than that can it have acknowledged.
    fn fetch(&mut self, config: &Config, on: Instance, epoch: Epoch, donor: Instance) {
        let acks = config.makes(Mistake::FetchAcknowledges);
        let source = *self.server(donor);
        let server = self.server_mut(on);
        let compared = source.up && server.has.within(source.has);
        let frozen = server.bound == Some(epoch) && server.open.is_none();
        if frozen && (compared || config.makes(Mistake::FetchUncompared)) {
            if !config.makes(Mistake::FetchedCountsAsHeld) {
                server.memory.leave(config, server.has);
            }
            server.source = Some(donor);
            server.acks = acks;
        }
    }

    fn fence(&mut self, config: &Config, on: Instance, epoch: Epoch) {
        if self.sets_read_only_first(config, on) {
            return; // the same order, obeyed again, does the rest and answers
        }
        self.close(on);
        let server = self.server_mut(on);
        server.offline = !config.makes(Mistake::FencedByReadOnlyAlone);
        if !config.makes(Mistake::ConfirmedDoesNotBind) {
            server.bound = server.bound.max(Some(epoch));
        }
        server.source = None;
        server.reported = server.reported.union(server.has);
        let (up, has) = (server.up, server.has);
        let never_began = self.never_began(config, on, epoch);
        let answer = match (up, epoch) {
            (true, Epoch::UNFOUNDED) => Answer::Frozen {
                has,
                held: None,
                written: true,
            },
            (true, _) => Answer::Confirmed { has, never_began },
            (false, _) => Answer::Exited,
        };
        self.reply(
            config,
            Reply {
                from: on,
                epoch,
                answer,
            },
        );
    }

    fn repoint(
        &mut self,
        config: &Config,
        on: Instance,
        epoch: Epoch,
        source: Instance,
        acks: bool,
    ) {
        let (primary, common) = (*self.server(source), self.log.common);
        let server = self.server_mut(on);
        let bound = server.bound.is_some_and(|bound| bound >= epoch);
        if bound || server.open.is_some() {
            return;
        }
        server.source = None;
        let compared = primary.up && server.has.within(primary.has.union(common));
        if !compared && !config.makes(Mistake::RejoinWithoutCompare) {
            return;
        }
        server.memory.turn_to(config, source, epoch, server.has);
        server.reported = Set::EMPTY;
        server.fetched = Set::EMPTY; // what it fetched, the next position that it names stands for
        server.source = Some(source);
        server.acks = acks;
        server.offline = !config.makes(Mistake::FollowersOnline);
    }

    fn open(
        &mut self,
        config: &Config,
        on: Instance,
        epoch: Epoch,
        need: Set<WriteId>,
        wait_for: u8,
    ) {
        let opening = (epoch, on);
        // The order opens once. After a crash within the epoch only a fresh read lets it reopen.
        let again = self.openings.contains(&opening);
        let server = self.server_mut(on);
        let bound = server.bound.is_some_and(|bound| bound >= epoch);
        let complete = need.within(server.has);
        // Others were compared with what it said, and follow it.
        let kept = server.reported.within(server.has) || config.makes(Mistake::OpensWithLess);
        let looks = !config.makes(Mistake::OpenWithoutNeed);
        if again || bound || looks && !(complete && kept) {
            return;
        }
        server.began = Some(epoch);
        if !config.makes(Mistake::OpeningCutsNobody) {
            self.cut_strangers(config, on);
        }
        let server = self.server_mut(on);
        server.open = Some(epoch);
        server.offline = false;
        server.semi_sync = SemiSync::On;
        server.wait_for = wait_for;
        server.source = None;
        server.acks = false;
        server.memory = Memory::NONE;
        self.openings.push(opening);
        self.openings.sort();
    }

    fn reply(&mut self, config: &Config, reply: Reply) {
        if config.replies_late {
            self.replies.push(reply);
        } else {
            self.log.hear(config, reply);
        }
    }
}
