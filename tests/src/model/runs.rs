//! Every run: the configurations that must hold, and the mistakes that must be caught.
//!
//! Sizes are the smallest in which the thing can happen. Three instances are a primary, an acker to
//! promote and one to be missed; a third epoch is for what a second failover makes of the first; a
//! fourth, for an instance that is primary twice with another one in between.

mod bases;
mod planted;

pub use bases::{bases, deep};
pub use planted::planted;

use super::mistake::Mistake::{self, *};
use super::report::{Report, explore};
use super::set::Set;
use super::{agreement, failover};
use agreement::laws::{B, G, I, K, M, R};
use failover::laws::{A, D, H, L, N, P, S, U, W};

/// A run of the protocol as it is meant: every law holds, and all that must be reached is.
pub struct Base {
    pub name: &'static str,
    pub run: fn() -> Report,
}

/// A run with one rule broken.
pub struct Planted {
    pub name: &'static str,
    /// The law that must be found broken, in the shortest of the counterexamples found.
    pub law: &'static str,
    pub run: fn() -> Report,
}

type Votes = agreement::Config;
type Failover = failover::Config;

const CHANGED_MINDS: Votes = Votes::CHANGED_MINDS;
const TWO_INQUESTS: Votes = Votes::TWO_INQUESTS;
const ONE_REGION: Votes = Votes {
    regions: 1,
    evidence: DEAF,
    ..CHANGED_MINDS
};

/// For mistakes that are about the votes alone: the ackers stay deaf.
const DEAF_ACKERS: Votes = Votes {
    evidence: DEAF,
    ..CHANGED_MINDS
};
const DEAF: &[Set<agreement::Acker>] = &[Set::from_bits(0b11)];

const SMALL: Failover = Failover::SMALL;

/// A second failover on top of the first. Nothing crashes: that is what the larger ones are for.
const TWICE: Failover = Failover {
    epochs_max: 3,
    crashes_max: 0,
    repairs: false,
    ..SMALL
};

/// What a replica wrote itself may be made common.
const COMMON: Failover = Failover {
    errants_max: 1,
    commons: true,
    crashes_max: 0,
    ..SMALL
};

/// A third failover, so that `db0`, `db1`, `db0` can be primary in turn.
const THRICE: Failover = Failover {
    epochs_max: 4,
    writes_max: 1,
    ..TWICE
};

/// A primary that crashed reopens; everything else that two failovers can do besides.
const REOPENING: Failover = Failover {
    crashes_max: 1,
    reopens: true,
    repairs: true,
    writes_max: 1,
    ..TWICE
};

/// Two of three ackers must acknowledge, so that one is spared on either side.
const TWO_OF_THREE: Failover = Failover {
    instances: 4,
    wait_for: 2,
    writes_max: 1,
    ..TWICE
};

/// `db2` replicates from the first primary, and is no acker before it joins.
const OUTSIDER: Failover = Failover {
    outside: Set::from_bits(0b100),
    joins: true,
    ..TWICE
};

/// A stranger acknowledges besides two ackers, both of whom a commit waits for otherwise.
const STRANGER: Failover = Failover {
    strangers: 1,
    wait_for: 2,
    epochs_max: 2,
    ..TWICE
};

/// It withholds its name, so each of its connections counts.
const NAMELESS: Failover = Failover {
    nameless: true,
    ..STRANGER
};

/// It comes while semi-sync is switched off and on.
const STRANGER_UNWATCHED: Failover = Failover {
    switches_max: 1,
    ..STRANGER
};

/// Semi-sync is switched off on an open primary.
const SWITCHED_OFF: Failover = Failover {
    switches_max: 1,
    ..TWICE
};

/// Nodes read what the primary has executed, while it may crash and reopen.
const LOOKING: Failover = Failover {
    looks: true,
    ..TWICE
};
const LOOKING_AFTER_A_CRASH: Failover = Failover {
    looks: true,
    reopens: true,
    repairs: false,
    ..SMALL
};

/// A branch is prepared, and may be committed where no write is let in.
const PREPARED: Failover = Failover {
    branches: true,
    repairs: false,
    writes_max: 1,
    ..SMALL
};

/// An agent freezes without a disk, and starts again from what is on it.
const UNWRITTEN: Failover = Failover {
    disk_failures_max: 1,
    ..SMALL
};

/// The same, but each start begins with a read of the log; and replies come late.
const UNWRITTEN_BUT_READ: Failover = Failover {
    reads_at_start: true,
    replies_late: true,
    writes_max: 1,
    ..UNWRITTEN
};

/// A frozen replica fetches what one of three alone holds, and two must acknowledge.
const FETCHING_OF_FOUR: Failover = Failover {
    fetches: true,
    epochs_max: 2,
    ..TWO_OF_THREE
};

/// A frozen replica fetches from another, before a second failover.
const FETCHING: Failover = Failover {
    fetches: true,
    ..TWICE
};

/// A primary says that it cannot open, whether or not it does so after all.
const STALLING: Failover = Failover {
    stalls: true,
    ..TWICE
};

const RELAY_LOST: Failover = Failover {
    relay_losses_max: 1,
    ..SMALL
};
const RELAY_LOST_TWICE: Failover = Failover {
    relay_losses_max: 1,
    ..TWICE
};
const FOUNDING: Failover = Failover {
    founding: true,
    ..SMALL
};

const fn voting(of: Votes, mistakes: &'static [Mistake]) -> Votes {
    Votes { mistakes, ..of }
}

const fn failing(of: Failover, mistakes: &'static [Mistake]) -> Failover {
    Failover { mistakes, ..of }
}
