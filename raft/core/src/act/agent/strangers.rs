//! Replicas outside V that acknowledge. Semi-sync has no allow-list: the primary counts whoever
//! switches it on. They are cut as soon as they are seen; until V has caught up, they count as
//! members of V that nobody can freeze.

use std::collections::{BTreeMap, BTreeSet};

use super::super::op::{Op, Survey};
use super::{Agent, AgentOutput};
use crate::gtid::Uuid;
use crate::ids::{Epoch, Tick};

/// What this run of the agent knows of them.
///
/// A stranger is forgotten when a survey has shown none, a marker begun after it was acknowledged,
/// and a survey begun after that shows none again: only V can have acknowledged the marker, so V
/// holds everything before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    pub seen: BTreeSet<Uuid>,
    /// The first beat of this run that told of `seen` as it is now; 0: the run's first.
    pub since: u64,
    /// Nothing from before this run is missing in `seen`.
    pub known: bool,
    /// Since then no survey showed any.
    none_since: Option<Tick>,
    /// A marker begun after that was acknowledged, here.
    caught_up: Option<Tick>,
}

impl Strangers {
    /// A new epoch opens: nobody has acknowledged anything of it.
    pub fn begin(&mut self) {
        *self = Self {
            known: true,
            since: self.since,
            ..Self::default()
        };
    }

    /// The server is gone, or nobody can tell who belongs to V.
    pub fn lose_sight(&mut self) {
        self.none_since = None;
        self.caught_up = None;
    }

    /// `next`: the beat that will be the next one to tell of it.
    fn survey(&mut self, now: Tick, begun: Tick, next: u64, present: impl Iterator<Item = Uuid>) {
        let mut any = false;
        for uuid in present {
            any = true;
            if self.seen.insert(uuid) {
                self.since = next;
            }
        }
        if any {
            return self.lose_sight();
        }
        self.none_since.get_or_insert(now);
        if self.caught_up.is_some_and(|at| begun > at) {
            if !self.seen.is_empty() {
                self.since = next;
            }
            self.seen.clear();
            self.known = true;
        }
    }

    pub fn marked(&mut self, now: Tick, begun: Tick) {
        if self.none_since.is_some_and(|since| begun > since) {
            self.caught_up.get_or_insert(now);
        }
    }
}

impl Agent {
    /// Cuts whoever acknowledges and is not in V. What is open for an epoch that is over has no V
    /// at all: it is shut at once, before any order comes.
    pub(super) fn cut_strangers(
        &mut self,
        now: Tick,
        begun: Tick,
        epoch: Epoch,
        survey: &Survey,
        out: &mut Vec<AgentOutput>,
    ) {
        let Some(named) = &self.named else {
            return self.strangers.lose_sight();
        };
        if named.epoch > epoch || (named.epoch == epoch && named.deposed) {
            self.role = super::Role::Closed;
            self.fence_aside(out);
            return;
        }
        if named.epoch != epoch || named.instance != self.seal.instance {
            return self.strangers.lose_sight();
        }
        let present: BTreeMap<Uuid, u64> = survey
            .semi_sync_replicas
            .iter()
            .filter(|(uuid, _)| !named.ackers.contains(*uuid))
            .map(|(uuid, session)| (*uuid, *session))
            .collect();
        let before = self.strangers.seen.len();
        let next = self.beat + 1;
        self.strangers
            .survey(now, begun, next, present.keys().copied());
        if self.strangers.seen.len() != before {
            // At once, not with the next beat: the log is to count them.
            self.beat_due = now;
        }
        if !present.is_empty() {
            let sessions = present.into_values().collect();
            let id = self.run(Op::Cut { sessions }, out);
            self.side_ops.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    /// When, and what: `s` a survey that shows none, `S` one that shows a stranger, `m` a marker
    /// acknowledged; each begun 5 ms before.
    fn after(events: &str) -> Strangers {
        let mut of = Strangers::default();
        for event in events.split(' ') {
            let (at, what) = event.split_at(event.len() - 1);
            let now = Tick(at.parse().expect("a time"));
            let begun = Tick(now.0 - 5);
            match what {
                "s" => of.survey(now, begun, now.0, [].into_iter()),
                "S" => of.survey(now, begun, now.0, [uuid(7)].into_iter()),
                "m" => of.marked(now, begun),
                other => panic!("{other:?} is no event"),
            }
        }
        of
    }

    #[test]
    fn a_stranger_counts_until_v_has_caught_up() {
        let table = [
            ("10S", 1, false, 10),
            // Cut is not caught up.
            ("10S 20s 30s", 1, false, 10),
            // The marker began before the survey had shown none: the stranger may have been counted.
            ("10S 20s 24m 40s", 1, false, 10),
            // The survey began before the marker was acknowledged: one may have come in between.
            ("10S 20s 30m 34s", 1, false, 10),
            ("10S 20s 30m 40S 50s", 1, false, 10),
            ("10S 20s 30m 40s", 0, true, 40),
            // It comes again: that is told since then, not since it was seen first.
            ("10S 20s 30m 40s 50S 60S", 1, true, 50),
            ("10s 20m 30s", 0, true, 0),
            ("10s 20s", 0, false, 0),
        ];
        for (events, seen, known, since) in table {
            let of = after(events);
            let is = (of.seen.len(), of.known, of.since);
            assert_eq!(is, (seen, known, since), "{events}");
        }
    }

    #[test]
    fn a_restart_of_the_server_starts_the_waiting_anew() {
        let mut of = after("10S 20s 30m");
        of.lose_sight();
        of.survey(Tick(40), Tick(39), 40, [].into_iter());
        assert_eq!(of.seen.len(), 1, "the marker was of the time before");
        of.marked(Tick(60), Tick(50));
        of.survey(Tick(80), Tick(70), 80, [].into_iter());
        assert!(of.seen.is_empty() && of.known);
    }

    #[test]
    fn a_new_epoch_has_acknowledged_nothing() {
        let mut of = after("10S");
        of.begin();
        assert!(of.seen.is_empty() && of.known);
    }
}
