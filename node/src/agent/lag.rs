//! How far a replica may be behind its source, as far as its own agent can tell.
//!
//! Two witnesses; each gives an upper bound, and the smaller one counts:
//!
//! - *A heartbeat of the source.* It is sent only when there is nothing else to send: a replica that
//!   has executed all that it had received when one came was level with its source then. It is aged
//!   on this host's monotonic clock, from before the last look that did not show it. An idle
//!   replica's lag therefore reads up to `source_heartbeat_ms` and two looks (200 ms).
//! - *The newest executed transaction*: when it was committed on its primary, by that host's wall
//!   clock, against this one's. What was committed before it is executed too. Clocks that are apart
//!   falsify this one by as much.

use primacy_core::act::Survey;
use primacy_core::ids::Tick;

/// Follows one replica's surveys.
#[derive(Clone, Debug, Default)]
pub(super) struct Lag {
    source: Option<(String, u16)>,
    /// When the last survey began, and the heartbeats that it counted.
    last: Option<(Tick, u64)>,
    /// The newest heartbeat came after this.
    heard: Option<Tick>,
    /// It held everything that its source did at this moment.
    level: Option<Tick>,
    applied_commit_ms: Option<u64>,
}

impl Lag {
    /// Notes a survey that began at `begun`.
    pub fn look(&mut self, begun: Tick, survey: &Survey, applied_commit_ms: Option<u64>) {
        if self.source != survey.source {
            *self = Self {
                source: survey.source.clone(),
                ..Self::default()
            };
        }
        if let Some((before, counted)) = self.last {
            // The count begins anew with the IO thread.
            let came = survey.heartbeats > counted
                || (survey.heartbeats < counted && survey.heartbeats > 0);
            if came {
                self.heard = Some(before);
            }
        }
        self.last = Some((begun, survey.heartbeats));
        if self.heard > self.level && survey.executed.is_superset_of(&survey.received) {
            self.level = self.heard;
        }
        self.applied_commit_ms = applied_commit_ms;
    }

    /// Milliseconds by which it may be behind now, or why that is not known.
    pub fn at(&self, now: Tick, wall_ms: u64) -> Result<u64, &'static str> {
        if self.source.is_none() {
            return Err("it replicates from nobody");
        }
        let by_heartbeat = self.level.map(|level| now.since_ms(level));
        let by_commit = self
            .applied_commit_ms
            .map(|committed| wall_ms.saturating_sub(committed));
        by_heartbeat.into_iter().chain(by_commit).min().ok_or(
            "since its replication began it has neither been level with its source at a heartbeat \
             nor executed a transaction; ask again",
        )
    }
}

#[cfg(test)]
mod tests {
    use primacy_core::gtid::Uuid;
    use primacy_core::observe::IoThread;

    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn survey(port: u16, heartbeats: u64, executed: u64, received: u64) -> Survey {
        let set = |last: u64| format!("{UUID}:1-{last}").parse().expect("a set");
        Survey {
            server_uuid: UUID.parse::<Uuid>().expect("a uuid"),
            version: (9, 7, 4),
            read_only: true,
            super_read_only: true,
            offline_mode: false,
            executed: set(executed),
            received: set(received),
            purged: Default::default(),
            source: (port > 0).then(|| ("source".to_owned(), port)),
            io: IoThread::On,
            receiver_waits: true,
            receiver_bytes: None,
            applier_runs: true,
            acking: true,
            heartbeats,
            read_position: Default::default(),
            receiver_error: String::new(),
            applier_error: String::new(),
            semi_sync_source: false,
            semi_sync_replicas: Default::default(),
            waiting: 0,
            semi_sync_dumps: Vec::new(),
            ground: Default::default(),
            ack_waits: 0,
            ack_wait_ms: None,
            probes: Default::default(),
            login_error: None,
        }
    }

    /// A survey every 100 ms: source's port, heartbeats, executed, received, and when the newest
    /// executed transaction was committed (wall clock; it reads 10,000 at the first survey).
    type Look = (u16, u64, u64, u64, Option<u64>);

    /// The lag read 50 ms after the last survey began.
    fn lag(looks: &[Look]) -> Result<u64, &'static str> {
        let mut lag = Lag::default();
        let mut now = 0;
        for (at, (port, heartbeats, executed, received, committed)) in looks.iter().enumerate() {
            now = 1_000 + 100 * at as u64;
            let survey = survey(*port, *heartbeats, *executed, *received);
            lag.look(Tick(now), &survey, *committed);
        }
        lag.at(Tick(now + 50), 10_000 + now - 1_000 + 50)
    }

    #[test]
    fn the_smaller_of_two_bounds() {
        let unknown = "since its replication began it has neither been level with its source at a \
                       heartbeat nor executed a transaction; ask again";
        let table: &[(&str, &[Look], Result<u64, &str>)] = &[
            (
                "no source",
                &[(0, 0, 5, 5, None)],
                Err("it replicates from nobody"),
            ),
            (
                "one look shows no heartbeat coming",
                &[(1, 7, 5, 5, None)],
                Err(unknown),
            ),
            (
                "a heartbeat came after the last look but one",
                &[(1, 7, 5, 5, None), (1, 8, 5, 5, None)],
                Ok(150),
            ),
            (
                "and then no more",
                &[(1, 7, 5, 5, None), (1, 8, 5, 5, None), (1, 8, 5, 5, None)],
                Ok(250),
            ),
            (
                "heard, but not all is executed",
                &[(1, 7, 4, 5, None), (1, 8, 4, 5, None)],
                Err(unknown),
            ),
            (
                "executed later: level with the source as it was at the heartbeat",
                &[(1, 7, 4, 5, None), (1, 8, 4, 5, None), (1, 8, 5, 5, None)],
                Ok(250),
            ),
            (
                "falls behind again",
                &[(1, 7, 5, 5, None), (1, 8, 5, 5, None), (1, 9, 5, 6, None)],
                Ok(250),
            ),
            (
                "a busy one hears no heartbeat",
                &[(1, 7, 5, 9, Some(9_980))],
                Ok(70),
            ),
            (
                "an idle one's newest transaction is old",
                &[(1, 7, 5, 5, Some(4_000)), (1, 8, 5, 5, Some(4_000))],
                Ok(150),
            ),
            (
                "a clock ahead of this one's",
                &[(1, 7, 5, 5, Some(99_000))],
                Ok(0),
            ),
            (
                "another source: nothing is known of it yet",
                &[(1, 7, 5, 5, None), (1, 8, 5, 5, None), (2, 9, 5, 5, None)],
                Err(unknown),
            ),
            (
                "the count began anew with the IO thread",
                &[(1, 7, 5, 5, None), (1, 0, 5, 5, None), (1, 1, 5, 5, None)],
                Ok(150),
            ),
        ];
        for (what, looks, expected) in table {
            assert_eq!(lag(looks), *expected, "{what}");
        }
    }
}
