//! The protocol as it is meant, in every size that the tests have time for; and larger ones.

use super::*;

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
            "two of three ackers, a relay log is lost",
            Failover {
                epochs_max: 2,
                relay_losses_max: 1,
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
        base!("an errant transaction that is made common", COMMON),
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
            "deep: three failovers, a relay log is lost",
            Failover {
                relay_losses_max: 1,
                ..THRICE
            }
        ),
        base!(
            "deep: semi-sync is switched off twice, a crash",
            Failover {
                switches_max: 2,
                crashes_max: 1,
                reopens: true,
                epochs_max: 2,
                ..SWITCHED_OFF
            }
        ),
        base!(
            "deep: a stranger, two failovers",
            Failover {
                epochs_max: 3,
                writes_max: 1,
                ..STRANGER
            }
        ),
        base!(
            "deep: a prepared branch, two failovers",
            Failover {
                epochs_max: 3,
                ..PREPARED
            }
        ),
        base!(
            "deep: a choice is withdrawn, a crash",
            Failover {
                crashes_max: 1,
                writes_max: 1,
                reopens: true,
                ..STALLING
            }
        ),
        base!(
            "deep: freezes without a disk count, two crashes",
            failing(
                Failover {
                    crashes_max: 2,
                    disk_failures_max: 2,
                    ..UNWRITTEN_BUT_READ
                },
                &[UnwrittenFreezeCounts]
            )
        ),
        base!(
            "deep: freezes without a disk count, two failovers",
            failing(
                Failover {
                    epochs_max: 3,
                    replies_late: false,
                    ..UNWRITTEN_BUT_READ
                },
                &[UnwrittenFreezeCounts]
            )
        ),
        base!(
            "deep: no agent has a disk, two crashes",
            failing(
                Failover {
                    crashes_max: 2,
                    reopens: true,
                    disk_failures_max: 0,
                    ..UNWRITTEN_BUT_READ
                },
                &[TokenNotPersisted]
            )
        ),
        base!(
            "deep: no agent has a disk, two failovers",
            failing(
                Failover {
                    epochs_max: 3,
                    disk_failures_max: 0,
                    replies_late: false,
                    ..UNWRITTEN_BUT_READ
                },
                &[TokenNotPersisted]
            )
        ),
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
