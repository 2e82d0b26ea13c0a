//! What an agent keeps of whom its instance followed: per source, what it held when it left it.
//!
//! A member tells for the epoch that is deposed what it may have acknowledged to *its* primary. An
//! order of another epoch may come late and turn it elsewhere meanwhile; with the last source alone
//! on file, what it acknowledged before would be out of sight. Durable before the instance turns;
//! erased when it opens, because from then on what it holds is its own.

use super::plane::INSTANCES_MAX;
use super::{Config, Epoch, Instance, Mistake, Set, WriteId};

/// What an instance held as a follower of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    pub has: Set<WriteId>,
    /// It has lost nothing that it received from that source.
    pub unbroken: bool,
}

/// A part of the agent's file, but for what the instance holds by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    /// Whom it follows, or followed last, and that one's epoch.
    pub follows: Option<(Instance, Epoch)>,
    /// What it received from that one, it has not lost.
    unbroken: bool,
    left: [Option<Held>; INSTANCES_MAX],
}

impl Memory {
    pub const NONE: Self = Self {
        follows: None,
        unbroken: true,
        left: [None; INSTANCES_MAX],
    };

    pub fn of(source: Instance, epoch: Epoch) -> Self {
        Self {
            follows: Some((source, epoch)),
            ..Self::NONE
        }
    }

    /// What an instance that has `has` by now held when it last left `source`, or holds as its
    /// follower; nothing if it never followed it.
    pub fn held(&self, source: Instance, has: Set<WriteId>) -> Option<Held> {
        let unbroken = self.unbroken;
        match self.follows {
            Some((now, _)) if now == source => Some(Held { has, unbroken }),
            _ => self.left[usize::from(source.0)],
        }
    }

    /// From here on it follows `source`. Neither a new epoch of the same source nor a return to it
    /// makes a broken memory whole: it may have acknowledged to it before.
    pub fn turn_to(&mut self, config: &Config, source: Instance, epoch: Epoch, has: Set<WriteId>) {
        let before = self.held(source, has);
        if self.follows.is_none_or(|(now, _)| now != source) {
            self.leave(config, has);
            self.left[usize::from(source.0)] = None;
        }
        let whole = |held: Held| held.unbroken && held.has.within(has);
        self.unbroken = before.is_none_or(whole) || config.makes(Mistake::RefollowingHeals);
        self.follows = Some((source, epoch));
    }

    /// What the instance receives from here on is not from that source.
    pub fn leave(&mut self, config: &Config, has: Set<WriteId>) {
        if config.makes(Mistake::OnlyLastSourceKept) {
            self.left = [None; INSTANCES_MAX];
        } else if let Some((source, _)) = self.follows {
            self.left[usize::from(source.0)] = self.held(source, has);
        }
        self.follows = None;
        self.unbroken = true;
    }

    /// The end of its relay log is lost.
    pub fn break_off(&mut self) {
        self.unbroken &= self.follows.is_none();
    }
}
