//! Everything one node knows of one instance, first hand.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::NodeSettings;
use crate::alarm::left;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{Epoch, Incarnation, Tick};
use crate::observe::{
    Asked, BeatWord, Branches, ChannelSeen, Detector, Fault, GroundLook, Heartbeat, Held,
    MysqldWord, Named, Pace, Probe, Progress, Pulse, Reached, Role, Sight, SourceGround, Word,
};
use crate::policy::REPORT_FRESH_MS;
use crate::record::Cluster;

pub(super) struct Watch {
    pub detector: Detector,
    progress: Progress,
    pub beat: Option<(Tick, Heartbeat)>,
    rtt_ms: u64,
    warm_due: Tick,
    warm_out: bool,
    fresh_due: Tick,
    fresh_out: bool,
    known: (Epoch, GtidSet),
    looks: Looks,
    /// This process stood still, and no beat has come since that was certainly sent after that: which is
    /// the first that was acknowledged since, of which run of its agent.
    stood_still: Option<Option<(Incarnation, u64)>>,
    /// When its newest beat was read, however long that had lain: whoever sent it was there while this
    /// process was not.
    read: Option<Tick>,
    /// When this node began to watch it.
    pub born: Tick,
    /// How it executes what it receives.
    pub pace: Pace,
    pub held: Held,
    /// Another server that answers at its address, or for its agent.
    pub imposter: Option<Uuid>,
}

/// This node's looks at an instance's ground. One that was not opened yet has a good one, in whatever
/// role: its agent reads and sets it before it opens. One that is shut again tells nothing of what it
/// answered before.
#[derive(Debug, Default)]
struct Looks {
    /// The newest values, as primary of this epoch, if this node has not lost the server since.
    last: Option<(Epoch, SourceGround)>,
    /// What the newest one found broken, as primary of this epoch, and when it began.
    broken: Option<(Epoch, Tick, BTreeSet<Fault>)>,
    /// When the newest look began that found all as ordered.
    good: Option<Tick>,
    /// Gaps in this process's own time since then.
    gap_ms: u64,
    /// When the newest of these ended.
    went_on: Tick,
    /// The first sign that it is shut, since it was last seen open.
    shut: Option<Tick>,
}

/// What a node sees of an instance, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchView {
    pub sight: Sight,
    pub agent_heard_ms: Option<u64>,
    pub role: Option<Role>,
    pub executed: GtidSet,
    /// Prepared branches on it, by its agent's word.
    #[serde(default)]
    pub branches: Option<Branches>,
    /// What its agent's newest beat says of its server; `None` where none has come.
    #[serde(default)]
    pub in_fact: Option<InFact>,
}

/// What an instance is, whatever it is meant to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFact {
    pub mysqld: MysqldWord,
    /// It refuses writes.
    pub fenced: bool,
    /// Its receiver's and applier's state, and from where it replicates: `None` where no channel is
    /// configured.
    pub channel: Option<ChannelSeen>,
    /// Received, and not yet executed.
    pub left: u64,
    /// Whether the primary counts its acknowledgements; `None` where nobody can tell.
    pub acknowledges: Option<bool>,
}

impl Watch {
    pub fn new(now: Tick, seen_alive_in: Option<Epoch>) -> Self {
        Self {
            detector: Detector::new(now, seen_alive_in),
            progress: Progress::default(),
            beat: None,
            rtt_ms: 0,
            warm_due: now,
            warm_out: false,
            fresh_due: now,
            fresh_out: false,
            known: (Epoch::INITIAL, GtidSet::default()),
            looks: Looks::default(),
            stood_still: None,
            read: None,
            born: now,
            pace: Pace::default(),
            held: Held::default(),
            imposter: None,
        }
    }

    pub fn view(&self, now: Tick, sight: Sight, acknowledges: Option<bool>) -> WatchView {
        let in_fact = self.beat.as_ref().map(|(_, beat)| {
            let besides = beat.besides.as_ref();
            InFact {
                mysqld: beat.word.says,
                fenced: beat.fenced,
                channel: besides.and_then(|of| of.channel().cloned()),
                left: left(beat),
                acknowledges,
            }
        });
        WatchView {
            in_fact,
            sight,
            agent_heard_ms: self.beat.as_ref().map(|(at, _)| now.since_ms(*at)),
            role: self.beat.as_ref().map(|(_, beat)| beat.role),
            executed: self
                .beat
                .as_ref()
                .map(|(_, beat)| beat.executed.clone())
                .unwrap_or_default(),
            branches: self
                .beat
                .as_ref()
                .and_then(|(_, beat)| beat.branches.clone()),
        }
    }

    /// Notes if this process stood still until now.
    fn goes_on(&mut self, now: Tick) {
        if let Some(gap_ms) = self.detector.tick(now) {
            self.looks.gap_ms = self.looks.gap_ms.saturating_add(gap_ms);
            self.looks.went_on = now;
            self.stood_still = Some(None);
        }
    }

    /// The probes that are due.
    pub fn tick(&mut self, now: Tick, settings: &NodeSettings) -> Vec<Probe> {
        self.goes_on(now);
        let mut due = Vec::new();
        if !self.warm_out && now >= self.warm_due {
            self.warm_out = true;
            self.warm_due = now.plus_ms(settings.warm_every_ms);
            due.push(Probe::Warm);
        }
        if !self.fresh_out && (now >= self.fresh_due || self.detector.wants_fresh(now)) {
            self.fresh_out = true;
            self.fresh_due = now.plus_ms(settings.fresh_every_ms);
            due.push(Probe::Fresh);
        }
        due
    }

    pub fn pulse(
        &mut self,
        now: Tick,
        probe: Probe,
        begun: Tick,
        pulse: Pulse,
        named: Option<Named>,
    ) {
        match probe {
            Probe::Warm => self.warm_out = false,
            Probe::Fresh => self.fresh_out = false,
        }
        if matches!(pulse, Pulse::Failed { .. }) {
            // It may answer as another run of its server, which counts anew.
            self.looks.last = None;
        }
        if pulse == (Pulse::Answered { fenced: false }) {
            self.looks.shut = None;
        }
        self.detector.pulse(now, probe, begun, pulse, named);
    }

    /// A look, begun then, at the ground of the primary of this epoch, which waits for `k`: what of it
    /// is broken.
    pub fn look(
        &mut self,
        begun: Tick,
        epoch: Epoch,
        k: u32,
        seen: &SourceGround,
    ) -> BTreeSet<Fault> {
        let last = self.looks.last.take().filter(|(of, _)| *of == epoch);
        let faults = seen.faults(last.as_ref().map(|(_, last)| last), k);
        self.looks.last = Some((epoch, seen.clone()));
        if faults.is_empty() {
            self.good_look(begun);
        } else {
            self.looks.broken = Some((epoch, begun, faults.clone()));
        }
        faults
    }

    fn good_look(&mut self, begun: Tick) {
        self.looks.broken.take_if(|(_, at, _)| *at < begun);
        if self.looks.good < Some(begun) {
            self.looks.good = Some(begun);
            // What was asked before this process stood still says nothing of after that.
            if begun >= self.looks.went_on {
                self.looks.gap_ms = 0;
            }
        }
    }

    /// What this node's newest look found broken of the ground of the primary of this epoch.
    pub fn broken(&self, epoch: Epoch) -> BTreeSet<Fault> {
        let broken = self.looks.broken.as_ref();
        let broken = broken.filter(|(of, _, _)| *of == epoch);
        broken
            .map(|(_, _, faults)| faults.clone())
            .unwrap_or_default()
    }

    /// What a vote on it says of its ground.
    pub fn ground_look(&self) -> Option<GroundLook> {
        let at = self.looks.good?;
        let sign = self.detector.last_sign().unwrap_or(at);
        let sign = self.looks.shut.map_or(sign, |shut| shut.min(sign));
        Some(GroundLook {
            age_ms: sign.since_ms(at),
            gap_ms: self.looks.gap_ms,
        })
    }

    /// Whether a beat may have lain in a socket while this process stood still, and so says nothing of
    /// now: all do until one comes that was sent after its agent had an acknowledgement of after that.
    pub fn has_lain(&mut self, now: Tick, word: Word, after: Option<u64>) -> bool {
        self.goes_on(now);
        self.read = Some(now);
        let Some(first) = &mut self.stood_still else {
            return false;
        };
        let last = self.beat.as_ref().map(|(_, last)| last.word);
        let last = last.filter(|last| last.agent == word.agent);
        // Acknowledged before that, perhaps.
        let next = last.map_or(0, |last| last.beat + 1);
        match (after, first) {
            (Some(_), first) if first.is_none_or(|(agent, _)| agent != word.agent) => {
                *first = Some((word.agent, word.beat.max(next)));
                true
            }
            (Some(after), Some((_, beat))) if after < *beat => true,
            _ => {
                self.stood_still = None;
                false
            }
        }
    }

    /// `epoch`: the newest of its cluster.
    pub fn beat(
        &mut self,
        now: Tick,
        beat: Heartbeat,
        rtt_ms: u64,
        named: Option<Named>,
        epoch: Epoch,
    ) {
        if self
            .beat
            .as_ref()
            .is_some_and(|(_, last)| last.word.order() >= beat.word.order())
        {
            return; // overtaken
        }
        self.rtt_ms = rtt_ms;
        self.progress.report(now, &beat);
        let level = beat.executed.is_superset_of(&beat.received);
        self.pace.note(now, beat.executed.count(), level);
        self.held.note(now, &beat);
        let was_open = beat.opened == Some(epoch);
        let open = beat.role == Role::Open(epoch);
        let exited = beat.word.says == MysqldWord::Exited;
        if was_open && (exited || (beat.fenced && !open)) {
            self.looks.shut.get_or_insert(now);
        }
        if let MysqldWord::Running { answered_ms_ago } = beat.word.says {
            if open {
                self.looks.shut = None;
            }
            let unopened = !was_open && !matches!(beat.role, Role::Open(_));
            if (open || unopened) && beat.ground.broken.is_empty() {
                self.good_look(Tick(now.0.saturating_sub(answered_ms_ago)));
            }
        }
        let word = BeatWord {
            word: beat.word,
            fenced: (beat.fenced || !matches!(beat.role, Role::Open(_)))
                && named.is_some_and(|named| named.opened),
            write_stuck_ms: beat.write_stuck_ms,
            opening: beat.opening,
        };
        self.detector.heartbeat(now, word);
        self.beat = Some((now, beat));
    }

    /// Which run of the agent and of its server was heard last.
    pub fn runs(&self) -> Option<(Incarnation, Incarnation)> {
        let (_, beat) = self.beat.as_ref()?;
        Some((beat.word.agent, beat.word.mysqld))
    }

    /// Notes what the primary of this epoch has executed.
    pub fn know(&mut self, epoch: Epoch, executed: &GtidSet) {
        if self.known.0 != epoch {
            self.known = (epoch, GtidSet::default());
        }
        self.known.1.union_with(executed);
    }

    pub fn known(&self, epoch: Epoch) -> GtidSet {
        if self.known.0 == epoch {
            self.known.1.clone()
        } else {
            GtidSet::default()
        }
    }

    /// What this acker's agent told of the primary of the cluster, of whom this node keeps `of`.
    pub fn reached(&self, now: Tick, cluster: &Cluster, of: &Watch) -> Option<Reached> {
        self.progress.reached(now, &self.asked(cluster, of))
    }

    fn asked<'a>(&self, cluster: &'a Cluster, of: &Watch) -> Asked<'a> {
        Asked {
            primary: &cluster.primary,
            fresh_ms: REPORT_FRESH_MS + self.rtt_ms,
            named: of.detector.named_at(),
            patience_ms: cluster.policy.replica_stale_ms,
            ground: of.looks.good,
        }
    }

    /// For how long it has waited for the primary in vain, as this node may say in a vote.
    pub fn deaf_ms(&self, now: Tick, cluster: &Cluster, of: &Watch) -> Option<u64> {
        self.progress.deaf_ms(now, &self.asked(cluster, of))
    }

    pub fn rtt_ms(&self) -> u64 {
        self.rtt_ms
    }

    pub fn heard_within(&self, now: Tick, ms: u64) -> bool {
        self.read.is_some_and(|at| now.since_ms(at) <= ms)
    }

    /// The newest beat, if it is recent.
    pub fn fresh_beat(&self, now: Tick) -> Option<&Heartbeat> {
        let (at, beat) = self.beat.as_ref()?;
        (now.since_ms(*at) <= REPORT_FRESH_MS + self.rtt_ms).then_some(beat)
    }
}
