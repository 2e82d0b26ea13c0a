//! Every run: the configurations that must hold, and the mistakes that must be caught.
//!
//! Sizes are the smallest in which the thing can happen. Three instances are a primary, an acker to
//! promote and one to be missed; a third epoch is for what a second failover makes of the first; a
//! fourth, for an instance that is primary twice with another one in between.

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
    /// The law that must be found broken, in the shortest counterexample that there is.
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

/// The protocol as it is meant. The longest come first, so that two workers end together.
pub fn bases() -> Vec<Base> {
    macro_rules! base {
        ($name:literal, $config:expr) => {
            Base {
                name: $name,
                run: || explore($config),
            }
        };
    }
    vec![
        base!("three failovers", THRICE),
        base!("two failovers, a crash, reopening", REOPENING),
        base!("an instance joins V, two failovers", OUTSIDER),
        base!("a stranger acknowledges", STRANGER),
        base!("a stranger withholds its name", NAMELESS),
        base!("a stranger, semi-sync switched off", STRANGER_UNWATCHED),
        base!("semi-sync is switched off, two failovers", SWITCHED_OFF),
        base!("a primary is looked at, two failovers", LOOKING),
        base!("a primary is looked at, a crash", LOOKING_AFTER_A_CRASH),
        base!("a prepared branch", PREPARED),
        base!("a freeze without a disk", UNWRITTEN),
        base!(
            "a freeze without a disk that counts, and a read at each start",
            failing(UNWRITTEN_BUT_READ, &[UnwrittenFreezeCounts])
        ),
        base!("a frozen replica fetches, two failovers", FETCHING),
        base!("a choice is withdrawn, two failovers", STALLING),
        base!("founding from open servers", FOUNDING),
        base!(
            "replies come late and twice",
            Failover {
                replies_late: true,
                ..TWICE
            }
        ),
        base!("a relay log is lost, two failovers", RELAY_LOST_TWICE),
        base!(
            "two of three ackers",
            Failover {
                epochs_max: 2,
                writes_max: 2,
                ..TWO_OF_THREE
            }
        ),
        base!(
            "votes: ackers disagree",
            Votes {
                restarts_max: 0,
                ..CHANGED_MINDS
            }
        ),
        base!("votes: minds change, a node restarts", DEAF_ACKERS),
        base!(
            "a crash, a repair loop, reopening",
            Failover {
                reopens: true,
                ..SMALL
            }
        ),
        base!(
            "an errant transaction",
            Failover {
                errants_max: 1,
                crashes_max: 0,
                ..SMALL
            }
        ),
        base!("votes: two inquests", TWO_INQUESTS),
        base!("votes: one region", ONE_REGION),
    ]
}

/// Larger runs of the protocol as it is meant: minutes, so made by hand and not by the tests.
pub fn deep() -> Vec<Base> {
    macro_rules! base {
        ($name:literal, $config:expr) => {
            Base {
                name: $name,
                run: || explore($config),
            }
        };
    }
    vec![
        base!("deep: two failovers, two of three ackers", TWO_OF_THREE),
        base!("deep: votes, all at once", CHANGED_MINDS),
        base!(
            "deep: two writes, reopening",
            Failover {
                writes_max: 2,
                repairs: false,
                ..REOPENING
            }
        ),
        base!(
            "deep: three failovers, rejoining",
            Failover {
                joins: true,
                ..THRICE
            }
        ),
        base!(
            "deep: errant, a crash",
            Failover {
                errants_max: 1,
                ..SMALL
            }
        ),
        base!(
            "deep: an outsider joins, a crash",
            Failover {
                crashes_max: 1,
                writes_max: 1,
                ..OUTSIDER
            }
        ),
        base!(
            "deep: late replies, a crash",
            Failover {
                crashes_max: 1,
                replies_late: true,
                writes_max: 1,
                ..TWICE
            }
        ),
        base!(
            "deep: two failovers, rejoining",
            Failover {
                joins: true,
                ..TWICE
            }
        ),
    ]
}

/// The protocol with one rule broken at a time.
pub fn planted() -> Vec<Planted> {
    macro_rules! votes {
        ($mistake:ident, $law:ident, $config:expr) => {
            Planted {
                name: stringify!($mistake),
                law: $law,
                run: || explore(voting($config, &[$mistake])),
            }
        };
    }
    macro_rules! failover {
        ($mistake:ident, $law:ident, $config:expr) => {
            Planted {
                name: stringify!($mistake),
                law: $law,
                run: || explore(failing($config, &[$mistake])),
            }
        };
        // One that does no harm but together with another.
        ($mistake:ident, $law:ident, $config:expr, with $other:ident) => {
            Planted {
                name: stringify!($mistake),
                law: $law,
                run: || explore(failing($config, &[$mistake, $other])),
            }
        };
    }
    vec![
        votes!(InquestsAdded, I, TWO_INQUESTS),
        votes!(MajorityOfAnswers, M, ONE_REGION),
        votes!(VotesWithoutSequence, R, DEAF_ACKERS),
        votes!(IncarnationForgotten, R, DEAF_ACKERS),
        votes!(BlindVotesSilent, B, CHANGED_MINDS),
        votes!(AckersNotAsked, K, CHANGED_MINDS),
        votes!(OneRegionSuffices, G, CHANGED_MINDS),
        failover!(OneAckerTooFew, A, SMALL),
        failover!(ThresholdOneHigher, A, SMALL),
        failover!(UnheardTakenForSilent, L, TWO_OF_THREE),
        failover!(UnionOfReports, U, TWO_OF_THREE),
        failover!(ConfirmedAlwaysTaken, U, SMALL),
        failover!(BrokenMemoryCounts, A, RELAY_LOST),
        failover!(RefollowingHeals, A, RELAY_LOST_TWICE),
        failover!(ConfirmedDoesNotBind, A, REOPENING),
        failover!(ExitedProvesContent, A, SMALL),
        failover!(VPrimeOfFrozenOnly, W, TWICE),
        failover!(OldPrimaryInVPrime, S, TWICE),
        failover!(ReportsOverwritten, A, RELAY_LOST),
        failover!(FreezeUndoneByRepair, A, SMALL),
        failover!(TokenNotPersisted, A, SMALL),
        failover!(OrdersDoNotClose, A, TWICE),
        failover!(OpenWithoutChoice, P, SMALL),
        failover!(OpenWithoutNeed, A, RELAY_LOST),
        failover!(OpensWithLess, D, RELAY_LOST_TWICE),
        failover!(NoFloor, A, TWICE),
        failover!(ErrantRuleOnDeposed, A, SMALL),
        failover!(UnjoinedCountInNeed, N, TWO_OF_THREE),
        failover!(StuckIsProof, A, STALLING),
        failover!(WithdrawnTakenForUnopened, A, STALLING),
        failover!(RestartedSaysNeverBegan, A, SMALL),
        failover!(RejoinWithoutCompare, D, SMALL),
        failover!(OnlyLastSourceKept, W, THRICE),
        failover!(AcksBeforeLogged, W, OUTSIDER),
        failover!(StrangersNotCounted, A, STRANGER),
        failover!(StrangerForgottenWhenCut, H, STRANGER),
        failover!(StrangerForgottenByAnswer, H, STRANGER_UNWATCHED),
        failover!(OpeningCutsNobody, H, STRANGER),
        failover!(NamelessNotCounted, H, NAMELESS),
        failover!(ZeroOncePutBack, A, SWITCHED_OFF),
        failover!(ZeroOnceAnswered, A, SWITCHED_OFF),
        failover!(ReinstatedOnGoodGround, A, SWITCHED_OFF),
        failover!(KnownBeforeMarker, U, LOOKING),
        failover!(KnownFromRestarted, U, LOOKING_AFTER_A_CRASH),
        failover!(FencedByReadOnlyAlone, W, PREPARED),
        failover!(BootedByReadOnlyAlone, A, PREPARED),
        failover!(FollowersOnline, A, PREPARED),
        failover!(UnwrittenFreezeCounts, A, UNWRITTEN),
        failover!(ReturnNotLogged, H, STRANGER),
        failover!(FetchFromAnyone, U, FETCHING, with FetchedCountsAsHeld),
        failover!(FetchUncompared, D, FETCHING),
        failover!(FetchedCountsAsHeld, U, FETCHING_OF_FOUR),
        failover!(FetchAcknowledges, A, FETCHING),
        failover!(FoundedUnfenced, A, FOUNDING),
    ]
}
