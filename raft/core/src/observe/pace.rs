//! What a replica held some beats ago, and how fast it applies what it received.

use std::collections::VecDeque;

use super::heartbeat::Heartbeat;
use crate::gtid::GtidSet;
use crate::ids::Tick;

/// Longer than the beats of two agents are apart.
const BEFORE_MS: u64 = 250;

/// What a replica held at least so long ago that every other agent has sent a beat since.
#[derive(Clone, Debug, Default)]
pub struct Held {
    before: Option<GtidSet>,
    newer: Option<(Tick, GtidSet)>,
}

impl Held {
    pub fn note(&mut self, now: Tick, beat: &Heartbeat) {
        let due = match &self.newer {
            Some((at, _)) => now.since_ms(*at) >= BEFORE_MS,
            None => true,
        };
        if due {
            let newer = self.newer.replace((now, beat.holds()));
            self.before = newer.map(|(_, held)| held);
        }
    }

    pub fn before(&self) -> Option<&GtidSet> {
        self.before.as_ref()
    }
}

/// Between two samples.
const EVERY_MS: u64 = 1_000;
/// Samples kept: what was ten seconds ago says nothing of now.
const SAMPLES_MAX: usize = 10;

/// Follows one replica's beats.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// When so much was executed, the newest last; only of times in which something was left.
    samples: VecDeque<(Tick, u128)>,
    executed: u128,
    /// When the newest beat came.
    heard: Tick,
    /// When it last executed something, or had nothing to execute.
    moved: Option<Tick>,
    /// It has executed all that it received.
    level: bool,
}

impl Pace {
    /// A beat says that so many transactions are executed, and whether that is all it received.
    pub fn note(&mut self, now: Tick, executed: u128, level: bool) {
        if level || executed != self.executed {
            self.moved = Some(now);
        }
        if level || executed < self.executed {
            self.samples.clear();
        }
        (self.executed, self.heard, self.level) = (executed, now, level);
        let newest = self.samples.back();
        if newest.is_none_or(|(at, _)| now.since_ms(*at) >= EVERY_MS) {
            self.samples.push_back((now, executed));
            if self.samples.len() > SAMPLES_MAX {
                self.samples.pop_front();
            }
        }
    }

    /// For how long it had executed nothing, although something was left, when its newest beat came.
    pub fn still_ms(&self) -> u64 {
        self.moved.map_or(0, |at| self.heard.since_ms(at))
    }

    /// How long it takes to execute so many more, at the pace of the last ten seconds in which
    /// something was left; `None` where that is not known.
    pub fn expected_ms(&self, behind: u128) -> Option<u64> {
        let (first, executed) = self.samples.front()?;
        let took_ms = u128::from(self.heard.since_ms(*first));
        let done = self.executed.saturating_sub(*executed);
        if self.level || done == 0 || took_ms < u128::from(EVERY_MS) {
            return None;
        }
        u64::try_from(behind.saturating_mul(took_ms) / done).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{beat, set};

    #[test]
    fn what_it_held_before_is_older_than_a_beat() {
        let mut held = Held::default();
        for (now, has, before) in [
            (100, "p:1-10", None),
            (200, "p:1-20", None),
            (400, "p:1-40", Some("p:1-10")),
            (500, "p:1-50", Some("p:1-10")),
            (700, "p:1-70", Some("p:1-40")),
        ] {
            let mut beat = beat("a", now);
            beat.executed = set(has);
            held.note(Tick(now), &beat);
            assert_eq!(held.before(), before.map(set).as_ref(), "at {now}");
        }
    }

    /// Beats a second apart: how much was executed, and whether that was all.
    fn after(beats: &[(u128, bool)]) -> Pace {
        let mut pace = Pace::default();
        for (at, (executed, level)) in (1..).zip(beats) {
            pace.note(Tick(at * 1_000), *executed, *level);
        }
        pace
    }

    /// Ten samples, a second apart: a hundred in each of the last eight seconds, none before.
    #[test]
    fn the_pace_is_that_of_the_last_samples() {
        let mut beats = vec![(10, false); 20];
        beats.extend((1..=8).map(|at| (10 + at * 100, false)));
        assert_eq!(after(&beats).expected_ms(100), Some(1_125));
    }

    #[test]
    fn idle_is_not_still() {
        assert_eq!(after(&[(5, true), (5, true), (5, true)]).still_ms(), 0);
        assert_eq!(
            after(&[(5, true), (5, false), (5, false)]).still_ms(),
            2_000
        );
        assert_eq!(after(&[(5, true), (5, false), (6, false)]).still_ms(), 0);
    }

    #[test]
    fn what_is_left_is_expected_at_the_pace_of_late() {
        let expected = |beats: &[(u128, bool)]| after(beats).expected_ms(100);
        assert_eq!(expected(&[(10, false), (60, false)]), Some(2_000));
        assert_eq!(
            expected(&[(10, false), (10, false)]),
            None,
            "it stands still"
        );
        assert_eq!(
            expected(&[(10, false), (60, true)]),
            None,
            "nothing is left"
        );
        // The time in which it was level says nothing of its pace.
        let late = [(0, true), (0, true), (10, false), (60, false)];
        assert!(expected(&late).is_some_and(|ms| ms < 6_000));
        // Its GTIDs were reset.
        assert_eq!(expected(&[(10, false), (60, false), (1, false)]), None);
        assert_eq!(
            expected(&[(10, false), (60, false), (1, false), (51, false)]),
            Some(2_000)
        );
        // To execute nothing is no reset, and to be level is where the pace begins anew.
        assert_eq!(
            expected(&[(10, false), (60, false), (60, false)]),
            Some(4_000)
        );
        let level = [
            (0, false),
            (50, false),
            (50, true),
            (60, false),
            (110, false),
        ];
        assert_eq!(expected(&level), Some(3_333));
    }
}
