//! What could let this primary answer a write that fewer than k of V hold: replicas outside V that
//! acknowledge (semi-sync has no allow-list, and counts whoever switches it on), and settings that
//! somebody changed.
//!
//! Strangers are cut and settings are put back as soon as they are seen; both count until the log
//! holds that k of V have all that was answered meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use super::super::op::{Op, Survey};
use super::{Agent, AgentOutput};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{Epoch, Incarnation, Position, Tick};
use crate::observe::{Fault, GroundWord, SourceGround};

/// What this run of the agent knows of them.
///
/// It is over when a look has shown nothing of the kind, a marker begun after it was answered, and a
/// look begun after that shows nothing again. Then what was executed when the marker was answered is
/// told, and when k of V hold it, the log says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Ground {
    strangers: BTreeSet<Uuid>,
    broken: BTreeSet<Fault>,
    /// The first beat of this run that told of these as they are now; 0: the run's first.
    since: u64,
    /// Since then no look showed any.
    none_since: Option<Tick>,
    /// When a marker begun after that was answered, and what was executed then.
    marked: Option<(Tick, GtidSet)>,
    caught_up: Option<GtidSet>,
    /// The look before, at the same run of the server.
    last: Option<SourceGround>,
    /// For which epoch it was last looked at, and how many acknowledgements a commit was to wait
    /// for.
    of: Option<(Epoch, u32)>,
    /// Where the log stood when it was last heard of.
    heard: Position,
}

impl Ground {
    /// A new epoch opens: nobody has acknowledged anything of it.
    pub fn begin(&mut self) {
        *self = Self {
            since: self.since,
            heard: self.heard,
            ..Self::default()
        };
    }

    /// The server is gone, or nobody can tell who belongs to V.
    pub fn lose_sight(&mut self) {
        self.none_since = None;
        self.marked = None;
        self.caught_up = None;
    }

    /// The server that comes up next counts anew.
    pub fn server_gone(&mut self) {
        self.lose_sight();
        self.last = None;
    }

    pub fn word(&self) -> GroundWord {
        GroundWord {
            strangers: self.strangers.clone(),
            broken: self.broken.clone(),
            since: self.since,
            caught_up: self.caught_up.clone(),
        }
    }

    /// `next`: the beat that will be the next one to tell of it. Whether there is anything new.
    pub fn look(
        &mut self,
        now: Tick,
        begun: Tick,
        next: u64,
        strangers: impl Iterator<Item = Uuid>,
        faults: &BTreeSet<Fault>,
    ) -> bool {
        let before = (self.strangers.len(), self.broken.len());
        let mut any = !faults.is_empty();
        self.broken.extend(faults);
        for uuid in strangers {
            any = true;
            self.strangers.insert(uuid);
        }
        let new = before != (self.strangers.len(), self.broken.len());
        if any {
            // One that comes again after the log may have been told that it is over is told anew.
            if new || self.caught_up.is_some() {
                self.since = next;
            }
            self.lose_sight();
            return new;
        }
        self.none_since.get_or_insert(now);
        if let Some((at, after)) = &self.marked
            && begun > *at
        {
            self.caught_up.get_or_insert_with(|| after.clone());
        }
        false
    }

    /// What it acknowledged before is not in its set any more; `next` as in `look`.
    pub fn was_reset(&mut self, next: u64) {
        if self.broken.insert(Fault::Reset) {
            self.since = next;
        }
        self.lose_sight();
    }

    pub fn marked(&mut self, now: Tick, begun: Tick, after: &GtidSet) {
        if self.none_since.is_some_and(|since| begun > since) && self.marked.is_none() {
            self.marked = Some((now, after.clone()));
        }
    }

    /// What the log holds, by a node's word that this run's beats have heard in time.
    fn heard(&mut self, run: Incarnation, next: u64, at: Position, log: &crate::record::Ground) {
        if at < self.heard {
            return; // an older view, overtaken
        }
        self.heard = at;
        if log.is_settled() {
            if log.told >= (run, self.since) && self.caught_up.is_some() {
                self.strangers.clear();
                self.broken.clear();
                self.caught_up = None;
                self.marked = None;
            }
            return;
        }
        // A node saw something that this agent did not, or its earlier run did: what it has executed
        // so far proves nothing of that.
        let known = log.strangers.is_subset(&self.strangers) && log.broken.is_subset(&self.broken);
        if !known {
            self.strangers.extend(&log.strangers);
            self.broken.extend(&log.broken);
            self.since = next;
            self.lose_sight();
        }
    }
}

impl Agent {
    /// Looks at the ground of an open primary: cuts whoever acknowledges and is not in V, puts back
    /// what somebody changed. What is open for an epoch that is over has no V at all: it is shut at
    /// once, before any order comes.
    pub(super) fn look_at_ground(
        &mut self,
        now: Tick,
        begun: Tick,
        epoch: Epoch,
        survey: &Survey,
        out: &mut Vec<AgentOutput>,
    ) {
        let Some(named) = &self.named else {
            return self.ground.lose_sight();
        };
        if named.epoch > epoch || (named.epoch == epoch && named.deposed) {
            // Too late to be put back; what the fence says is to hold it.
            let broken = self.broken_to_the_last(epoch, Some(&survey.ground.source));
            self.ground.broken = broken;
            self.role = super::Role::Closed;
            self.fence_aside(out);
            return;
        }
        if named.epoch != epoch || named.instance != self.seal.instance {
            return self.ground.lose_sight();
        }
        if begun <= self.turned_at {
            return;
        }
        let (k, hands_off, repairs) = (named.k, named.hands_off, named.repairs);
        let present: BTreeMap<Uuid, u64> = survey
            .semi_sync_dumps
            .iter()
            .map(|dump| {
                let uuid = dump.uuid.unwrap_or(Uuid::of_connection(dump.session));
                (uuid, dump.session)
            })
            .filter(|(uuid, _)| !named.ackers.contains(uuid))
            .collect();
        let seen = &survey.ground.source;
        let faults = seen.faults(self.ground.last.as_ref(), k);
        self.ground.last = Some(seen.clone());
        self.ground.of = Some((epoch, k));
        let next = self.beat + 1;
        let strangers = present.keys().copied();
        if self.ground.look(now, begun, next, strangers, &faults) {
            // At once, not with the next beat: the log is to count them.
            self.beat_due = now;
        }
        if hands_off {
            return;
        }
        if !present.is_empty() {
            let sessions = present.into_values().collect();
            self.run(Op::Cut { sessions }, out);
        }
        let mends = faults
            .iter()
            .any(|fault| *fault != Fault::WasOff && *fault != Fault::Reset);
        if repairs && mends && self.repair.is_none() {
            self.repair = Some(self.run(Op::Repair { k }, out));
        }
    }

    /// What was broken of this epoch's ground and is not settled, with a last look, taken when no write
    /// could be answered any more. Nothing where this run of the agent saw none of the epoch.
    pub(super) fn broken_to_the_last(
        &self,
        epoch: Epoch,
        seen: Option<&SourceGround>,
    ) -> BTreeSet<Fault> {
        let Some((_, k)) = self.ground.of.filter(|(of, _)| *of == epoch) else {
            return BTreeSet::new();
        };
        let mut broken = self.ground.broken.clone();
        // One that restarted since boots without any, and has answered nothing.
        if let (Some(last), Some(seen)) = (&self.ground.last, seen) {
            broken.extend(seen.faults(Some(last), k));
        }
        broken
    }

    pub(super) fn hear_of_ground(&mut self, named: &super::NamedPrimary) {
        let mine = super::Role::Open(named.epoch) == self.role
            && named.instance == self.seal.instance
            && !named.deposed;
        if mine {
            self.ground
                .heard(self.seal.agent, self.beat + 1, named.at, &named.ground);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LogIndex;
    use crate::testing::set;

    fn uuid(byte: u8) -> Uuid {
        Uuid::from_bytes([byte; 16])
    }

    /// When, and what: `s` a look that shows nothing, `S` one that shows a stranger, `G` one that
    /// shows semi-sync switched off, `m` a marker answered; each begun 5 ms before.
    fn after(events: &str) -> Ground {
        let mut of = Ground::default();
        for event in events.split(' ') {
            let (at, what) = event.split_at(event.len() - 1);
            let now = Tick(at.parse().expect("a time"));
            let begun = Tick(now.0 - 5);
            let none = BTreeSet::new();
            let _ = match what {
                "s" => of.look(now, begun, now.0, [].into_iter(), &none),
                "S" => of.look(now, begun, now.0, [uuid(7)].into_iter(), &none),
                "G" => of.look(now, begun, now.0, [].into_iter(), &[Fault::Disabled].into()),
                "m" => {
                    of.marked(now, begun, &set(&format!("p:1-{at}")));
                    false
                }
                other => panic!("{other:?} is no event"),
            };
        }
        of
    }

    fn log(told: u64, strangers: &[u8], broken: &[Fault]) -> crate::record::Ground {
        crate::record::Ground {
            strangers: strangers.iter().map(|byte| uuid(*byte)).collect(),
            broken: broken.iter().copied().collect(),
            told: (Incarnation(1), told),
        }
    }

    fn at(index: u64) -> Position {
        Position {
            index: LogIndex(index),
            ..Position::default()
        }
    }

    #[test]
    fn what_was_seen_counts_until_v_has_caught_up() {
        let table = [
            ("10S", 1, None, 10),
            // Cut is not caught up, put back neither.
            ("10S 20s 30s", 1, None, 10),
            ("10G 20s 30s", 1, None, 10),
            // The marker began before the look had shown nothing: it may have been answered alone.
            ("10S 20s 24m 40s", 1, None, 10),
            ("10G 20s 24m 40s", 1, None, 10),
            // The look began before the marker was answered: one may have come in between.
            ("10S 20s 30m 34s", 1, None, 10),
            ("10S 20s 30m 40S 50s", 1, None, 10),
            ("10S 20s 30m 40s", 1, Some("p:1-30"), 10),
            ("10G 20s 30m 40s", 1, Some("p:1-30"), 10),
            // It comes again after that was told: it is told anew.
            ("10S 20s 30m 40s 50S 60S", 1, None, 50),
            ("10G 20s 30m 40s 50G", 1, None, 50),
            ("10S 20G", 2, None, 20),
            ("10s 20m 30s", 0, Some("p:1-20"), 0),
        ];
        for (events, seen, caught_up, since) in table {
            let word = after(events).word();
            let is = (
                word.strangers.len() + word.broken.len(),
                word.caught_up,
                word.since,
            );
            assert_eq!(is, (seen, caught_up.map(set), since), "{events}");
        }
    }

    #[test]
    fn it_is_over_when_the_log_says_so() {
        let told = |told, events| {
            let mut of = after(events);
            of.heard(Incarnation(1), 99, at(5), &log(told, &[], &[]));
            of.word().strangers.len()
        };
        assert_eq!(told(40, "10S 20s 30m 40s"), 0);
        // The log has not heard of it yet, or its agent has since seen it again.
        assert_eq!(told(9, "10S 20s 30m 40s"), 1);
        assert_eq!(told(40, "10S 20s 30m 40s 50S"), 1);
        // A word that is older than one heard before says nothing.
        let mut of = after("10S 20s 30m 40s");
        of.heard(Incarnation(1), 99, at(5), &log(10, &[7], &[]));
        of.heard(Incarnation(1), 99, at(4), &log(40, &[], &[]));
        assert_eq!(of.word().strangers.len(), 1);
    }

    #[test]
    fn what_a_node_or_an_earlier_run_saw_is_taken_over() {
        let mut of = after("10s 20m 30s");
        of.heard(Incarnation(1), 42, at(5), &log(9, &[3], &[Fault::Timeout]));
        let word = of.word();
        assert_eq!(word.strangers, [uuid(3)].into());
        assert_eq!(word.broken, [Fault::Timeout].into());
        assert_eq!((word.since, word.caught_up), (42, None), "marked too early");
    }

    #[test]
    fn a_restart_of_the_server_starts_the_waiting_anew() {
        let mut of = after("10S 20s 30m");
        of.server_gone();
        let none = BTreeSet::new();
        of.look(Tick(40), Tick(39), 40, [].into_iter(), &none);
        assert_eq!(
            of.word().caught_up,
            None,
            "the marker was of the time before"
        );
        of.marked(Tick(60), Tick(50), &set("p:1-60"));
        of.look(Tick(80), Tick(70), 80, [].into_iter(), &none);
        assert_eq!(of.word().caught_up, Some(set("p:1-60")));
    }

    #[test]
    fn a_new_epoch_has_acknowledged_nothing() {
        let mut of = after("10S");
        of.begin();
        assert!(of.word().strangers.is_empty());
    }

    /// A new epoch takes with it neither the number of the beat that told last nor the log's place.
    #[test]
    fn a_new_epoch_counts_on() {
        let mut of = after("10S");
        of.heard(Incarnation(1), 99, at(5), &log(0, &[8], &[]));
        let since = of.word().since;
        of.begin();
        assert_eq!(of.word().since, since);
        of.heard(Incarnation(1), 120, at(4), &log(0, &[9], &[]));
        assert!(of.word().strangers.is_empty(), "an older view");
        of.heard(Incarnation(1), 120, at(5), &log(0, &[9], &[]));
        assert_eq!(of.word().strangers, [uuid(9)].into());
    }
}
