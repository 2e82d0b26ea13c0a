//! The planted mistakes, each in the smallest size in which its law can break.

use super::*;

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
        failover!(VPrimeOfFrozenOnly, H, TWICE),
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
        failover!(CommonOfAPrimary, D, COMMON),
        failover!(UnjoinedCountInNeed, N, TWO_OF_THREE),
        failover!(StuckIsProof, A, STALLING),
        failover!(WithdrawnTakenForUnopened, A, STALLING),
        failover!(RestartedSaysNeverBegan, A, SMALL),
        failover!(RejoinWithoutCompare, D, SMALL),
        failover!(OnlyLastSourceKept, W, THRICE),
        failover!(AcksBeforeLogged, H, OUTSIDER),
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
        failover!(FencedByReadOnlyAlone, A, PREPARED),
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
