//! The times of the log, as an operator thinks of them, and as openraft wants them.

use openraft::SnapshotPolicy;
use thiserror::Error;

/// How fast the nodes notice that their leader is gone.
///
/// The election times bound the *whole* replacement: a leader that stops at time zero has a
/// successor roughly between `election_min_ms` and `election_max_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The leader speaks to every follower this often. Milliseconds.
    pub heartbeat_ms: u64,
    /// No follower stands for election sooner than this after it last heard the leader.
    pub election_min_ms: u64,
    /// A successor commits by then, unless the first ballot was split or the disks are slow.
    pub election_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 75,
            election_min_ms: 400,
            election_max_ms: 800,
        }
    }
}

/// Two times contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimingError {
    #[error("heartbeat_ms is {0}, below 5: the leader would do nothing else")]
    HeartbeatTooShort(u64),
    #[error("election_max_ms ({max}) is not above election_min_ms ({min})")]
    Reversed { min: u64, max: u64 },
    #[error(
        "election_min_ms ({min}) is not above 3/8 of election_max_ms ({max}) plus heartbeat_ms \
         ({heartbeat}): one late heartbeat would start an election"
    )]
    ElectionTooShort { heartbeat: u64, min: u64, max: u64 },
    #[error(
        "election_min_ms ({min}) is above 3/4 of election_max_ms ({max}): too little is left to \
         hold the election"
    )]
    ElectionTooNarrow { min: u64, max: u64 },
}

/// openraft's two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ballot {
    /// openraft's `election_timeout_max`; also the leader's lease.
    pub lease_ms: u64,
    /// openraft's `election_timeout_min`.
    pub spread_from_ms: u64,
}

impl Timing {
    /// Refuses times that contradict each other, before anything is started with them.
    pub fn check(&self) -> Result<(), TimingError> {
        self.ballot().map(|_| ())
    }

    /// openraft stands for election after its `election_timeout_max` *plus* a random time between
    /// its two numbers. With `lease = 3/8 max` that is from `lease + from = min` up to `3/4 max`;
    /// the last quarter is for the ticks, the pre-vote, the vote and the first commit.
    pub(crate) fn ballot(&self) -> Result<Ballot, TimingError> {
        let Timing {
            heartbeat_ms: heartbeat,
            election_min_ms: min,
            election_max_ms: max,
        } = *self;
        if heartbeat < 5 {
            return Err(TimingError::HeartbeatTooShort(heartbeat));
        }
        if max <= min {
            return Err(TimingError::Reversed { min, max });
        }
        let lease_ms = max.saturating_mul(3) / 8;
        if min <= lease_ms.saturating_add(heartbeat) {
            return Err(TimingError::ElectionTooShort {
                heartbeat,
                min,
                max,
            });
        }
        let spread_from_ms = min - lease_ms;
        if spread_from_ms >= lease_ms {
            return Err(TimingError::ElectionTooNarrow { min, max });
        }
        Ok(Ballot {
            lease_ms,
            spread_from_ms,
        })
    }

    /// The configuration of openraft, every departure from its defaults with its reason.
    pub(crate) fn openraft(&self, snapshot_every: u64) -> Result<openraft::Config, TimingError> {
        let ballot = self.ballot()?;
        Ok(openraft::Config {
            cluster_name: "primacy".to_owned(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: ballot.spread_from_ms,
            election_timeout_max: ballot.lease_ms,
            // A node that was frozen or cut off must not raise the term of a healthy plane.
            enable_pre_vote: Some(true),
            // A leader that crashed must win an election: with leadership restored for free, an
            // entry lost in the crash can be written a second time, differently, at its position.
            enable_leader_restore: Some(false),
            // Not before it has asked the members.
            enable_elect: false,
            // A follower that has lost some of its log, and was let in on trust, is filled again.
            // Without this its leader only asserts that it cannot be, and never says a word.
            allow_log_reversion: Some(true),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
            // A follower that is briefly away catches up from entries, not from a snapshot.
            max_in_snapshot_log_to_keep: snapshot_every / 5,
            replication_lag_threshold: snapshot_every.saturating_mul(2),
            // Several megabytes to write, sync and load.
            install_snapshot_timeout: 10_000,
            // A restarted node is reached again soon, not 200 ms late.
            backoff: "10ms 20ms ...200ms".to_owned(),
            ..openraft::Config::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(
        heartbeat_ms: u64,
        election_min_ms: u64,
        election_max_ms: u64,
    ) -> Result<Ballot, TimingError> {
        Timing {
            heartbeat_ms,
            election_min_ms,
            election_max_ms,
        }
        .ballot()
    }

    #[test]
    fn the_default_stays_within_its_bounds() {
        let Timing {
            election_min_ms,
            election_max_ms,
            ..
        } = Timing::default();
        let ballot = Timing::default().ballot().unwrap();
        assert_eq!(
            ballot,
            Ballot {
                lease_ms: 300,
                spread_from_ms: 100
            }
        );
        assert_eq!(ballot.lease_ms + ballot.spread_from_ms, election_min_ms);
        assert!(2 * ballot.lease_ms < election_max_ms);
        Timing::default()
            .openraft(5000)
            .unwrap()
            .validate()
            .unwrap();
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        assert_eq!(ballot(1, 400, 800), Err(TimingError::HeartbeatTooShort(1)));
        assert_eq!(
            ballot(75, 800, 400),
            Err(TimingError::Reversed { min: 800, max: 400 })
        );
        assert_eq!(
            ballot(100, 400, 800),
            Err(TimingError::ElectionTooShort {
                heartbeat: 100,
                min: 400,
                max: 800
            })
        );
        assert_eq!(
            ballot(75, 700, 800),
            Err(TimingError::ElectionTooNarrow { min: 700, max: 800 })
        );
    }
}
