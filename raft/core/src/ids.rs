//! The names of things: ids, epochs, log positions, tokens, ticks. Never a bare `u64` across a
//! function's edge.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The value before any was given out.
            pub const INITIAL: Self = Self(0);

            /// The one after this one. Panics after 2^64 steps, which no system reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("an id counter never wraps"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

number!(
    /// A control node's stable id: a member of the control plane, whatever its address.
    NodeId
);
number!(
    /// One run of one process; counted up and made durable at each start.
    Incarnation
);
number!(
    /// Numbers the proposals of one incarnation of one node.
    Seq
);
number!(
    /// A cluster's primary generation. It only grows; one primary per epoch; 0 is "never founded".
    Epoch
);
number!(
    /// A Raft term.
    Term
);
number!(
    /// A position in the replicated log.
    LogIndex
);
number!(
    /// Grows only when a lost quorum of the control plane is recovered by hand.
    Generation
);
number!(
    /// One numbered inquiry into one primary of one epoch; numbered upward, never reused.
    InquestId
);

impl NodeId {
    /// The second proposer of each node: its operators' door. Its proposals are numbered apart, so
    /// that an operator's command neither waits behind votes nor overtakes them.
    #[must_use]
    pub fn operators_door(self) -> NodeId {
        NodeId(self.0 | 1 << 63)
    }

    /// The node whose door this is; itself, if it is none.
    #[must_use]
    pub fn of_door(self) -> NodeId {
        NodeId(self.0 & !(1 << 63))
    }
}

name!(
    /// The control plane an agent is enrolled in.
    PlaneId
);
name!(
    /// One replication group: a primary and its replicas.
    ClusterId
);
name!(
    /// One `mysqld`, by a stable id; never by address.
    InstanceId
);
name!(
    /// A region: the largest failure domain.
    Region
);

/// Milliseconds on the monotonic clock of one process. Comparable within that process only.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tick(pub u64);

impl Tick {
    /// Milliseconds since `earlier`, 0 if that is later.
    #[must_use]
    pub fn since_ms(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Tick {
        Tick(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Where an entry stands in the replicated log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    pub term: Term,
    pub index: LogIndex,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// The right to give an order: which plane, which generation of it, for which epoch, committed
/// where. Agents obey no token older than the newest they have obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    pub plane: PlaneId,
    pub generation: Generation,
    pub epoch: Epoch,
    pub at: Position,
}

impl Token {
    /// Whether this token is older than `other`. Tokens of two planes have no order: an agent
    /// compares planes first, and refuses all but its own.
    #[must_use]
    pub fn older_than(&self, other: &Token) -> bool {
        (self.generation, self.epoch, self.at) < (other.generation, other.epoch, other.at)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/g{}/e{}@{}",
            self.plane, self.generation, self.epoch, self.at
        )
    }
}

/// A value that follows from a committed log entry.
///
/// **Invariant:** `witness` is called by the log alone (`primacy-raft`'s `Handle`, the simulator's
/// log): an act takes a `Committed<T>`, so that nothing uncommitted can be carried out. The node's
/// `clippy.toml` bans the call elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    at: Position,
    value: T,
}

impl<T> Committed<T> {
    /// For the log alone: `value` follows from the committed entries up to `at`.
    pub fn witness(at: Position, value: T) -> Self {
        Self { at, value }
    }

    pub fn at(&self) -> Position {
        self.at
    }

    pub fn get(&self) -> &T {
        &self.value
    }

    /// What follows from a committed value is committed at the same position.
    pub fn follows<U>(&self, value: U) -> Committed<U> {
        Committed { at: self.at, value }
    }

    pub fn as_ref(&self) -> Committed<&T> {
        Committed {
            at: self.at,
            value: &self.value,
        }
    }

    pub fn into_inner(self) -> T {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_door_is_another_proposer_of_the_same_node() {
        for id in [1, 7, u64::MAX >> 1] {
            let node = NodeId(id);
            let door = node.operators_door();
            assert_eq!(door.0, id + (1 << 63));
            assert_eq!(door.of_door(), node);
            assert_eq!(node.of_door(), node);
            assert_eq!(door.operators_door(), door);
        }
    }

    #[test]
    fn what_is_committed_stands_where_the_log_put_it() {
        let at = Position {
            index: LogIndex(7),
            ..Position::default()
        };
        let committed = Committed::witness(at, "it");
        assert_eq!((committed.at(), *committed.get()), (at, "it"));
        assert_eq!(Tick(7).to_string(), "7 ms");
    }
}
