//! What nodes tell each other about themselves.

use std::collections::BTreeMap;
use std::fmt;

use primacy_core::ids::{Generation, NodeId, PlaneId, Position, Term};
use primacy_core::record::Member;
use serde::{Deserialize, Serialize};

use super::FoundingId;

/// What a node's folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holding {
    /// Nothing that it would break a promise by forgetting.
    Nothing,
    /// A founding that has not begun here: never a vote, never an entry.
    Founding(FoundingId),
    /// It takes part, or did. Without an id if it was founded before there were any.
    Log(Option<FoundingId>),
}

/// What binds a node to its past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    pub generation: Generation,
    /// The term of its vote.
    pub term: Term,
    /// How far its log is both durable and known to be committed. What is durable alone, a new
    /// leader may cut back.
    pub committed: Position,
}

impl Marks {
    /// The higher of each, of the newer generation.
    #[must_use]
    pub fn highest(self, other: Marks) -> Marks {
        match self.generation.cmp(&other.generation) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Marks {
                generation: self.generation,
                term: self.term.max(other.term),
                committed: self.committed.max(other.committed),
            },
        }
    }
}

/// The marks of a node, and the end of its log: nothing lies beyond it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub marks: Marks,
    pub end: Position,
}

impl Extent {
    /// Whether a node of which somebody keeps `kept` may be of this extent.
    pub fn covers(&self, kept: &Marks) -> bool {
        if kept.generation != self.marks.generation {
            return kept.generation < self.marks.generation;
        }
        kept.term <= self.marks.term && reaches(self.end, kept.committed)
    }
}

/// Whether a log that ends at `end` can hold the committed entry `at`.
pub fn reaches(end: Position, at: Position) -> bool {
    end >= at && end.index >= at.index
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            term, committed, ..
        } = self;
        write!(
            f,
            "a vote in term {term}, entries up to {}",
            committed.index
        )
    }
}

/// A node about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub node: NodeId,
    pub plane: PlaneId,
    /// The first members, as its configuration names them.
    pub members: BTreeMap<NodeId, Member>,
    pub holding: Holding,
    pub extent: Extent,
}

/// A node's word in answer to another's, and what it knows of that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub word: Word,
    /// The highest that the other ever told it.
    pub kept: Option<Marks>,
    /// If this node leads: in which term, and up to where the other has confirmed its log in it.
    pub confirmed: Option<(Term, Position)>,
}
