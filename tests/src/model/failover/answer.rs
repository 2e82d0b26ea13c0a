//! What agents answer, and what the log keeps of it.

use std::fmt::{self, Display};

use super::memory::Held;
use super::{Epoch, Instance, Set, WriteId};

/// What a frozen replica said it has, and what it held as a follower of the deposed primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FreezeReport {
    pub has: Set<WriteId>,
    /// Nothing if it never followed that one.
    pub held: Option<Set<WriteId>>,
    /// When it first reported, it had lost nothing of that.
    pub unbroken: bool,
}

impl FreezeReport {
    /// What was told once stays told. Its memory is that of the first report: what it lost later,
    /// that one has told.
    pub fn united_with(self, later: Self) -> Self {
        let held = match (self.held, later.held) {
            (Some(before), Some(now)) => Some(before.union(now)),
            (before, now) => before.or(now),
        };
        Self {
            has: self.has.union(later.has),
            held,
            unbroken: self.unbroken,
        }
    }
}

/// What an agent answers to a freeze or a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    Frozen {
        has: Set<WriteId>,
        held: Option<Held>,
        /// The agent could make it durable.
        written: bool,
    },
    /// `never_began`: what it was ordered to open for this epoch, it never began to.
    Confirmed {
        has: Set<WriteId>,
        never_began: bool,
    },
    Exited,
}

/// An answer on its way into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reply {
    pub from: Instance,
    pub epoch: Epoch,
    pub answer: Answer,
}

impl Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, epoch) = (self.from, self.epoch.0);
        match self.answer {
            Answer::Frozen { has, written, .. } => {
                let unwritten = if written { "" } else { ", not written down" };
                write!(
                    f,
                    "log: {from} is frozen for epoch {epoch} with {has}{unwritten}"
                )
            }
            Answer::Confirmed { has, never_began } => {
                let opening = if never_began { ", never opened" } else { "" };
                write!(
                    f,
                    "log: {from} confirms its fence for epoch {epoch}, with {has}{opening}"
                )
            }
            Answer::Exited => write!(f, "log: {from} has exited in epoch {epoch}"),
        }
    }
}
