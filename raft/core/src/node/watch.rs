//! Everything one node knows of one instance, first hand.

use serde::{Deserialize, Serialize};

use super::NodeSettings;
use crate::gtid::GtidSet;
use crate::ids::{Epoch, InstanceId, Tick};
use crate::observe::{Detector, Heartbeat, Named, Probe, Progress, Pulse, Reached, Role, Sight};
use crate::policy::REPORT_FRESH_MS;

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
}

/// What a node sees of an instance, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchView {
    pub sight: Sight,
    pub agent_heard_ms: Option<u64>,
    pub role: Option<Role>,
    pub executed: GtidSet,
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
        }
    }

    pub fn view(&self, now: Tick, sight: Sight) -> WatchView {
        WatchView {
            sight,
            agent_heard_ms: self.beat.as_ref().map(|(at, _)| now.since_ms(*at)),
            role: self.beat.as_ref().map(|(_, beat)| beat.role),
            executed: self
                .beat
                .as_ref()
                .map(|(_, beat)| beat.executed.clone())
                .unwrap_or_default(),
        }
    }

    /// The probes that are due.
    pub fn tick(&mut self, now: Tick, settings: &NodeSettings) -> Vec<Probe> {
        self.detector.tick(now);
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
        self.detector.pulse(now, probe, begun, pulse, named);
    }

    pub fn beat(&mut self, now: Tick, beat: Heartbeat, rtt_ms: u64, named: Option<Named>) {
        if self
            .beat
            .as_ref()
            .is_some_and(|(_, last)| last.word.order() >= beat.word.order())
        {
            return; // overtaken
        }
        self.rtt_ms = rtt_ms;
        self.progress.report(now, &beat);
        let closed = beat.fenced && named.is_some_and(|named| named.opened);
        self.detector
            .heartbeat(now, beat.word, closed, beat.write_stuck_ms);
        self.beat = Some((now, beat));
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

    pub fn reached(&self, now: Tick, primary: &InstanceId) -> Option<Reached> {
        self.progress
            .reached(now, primary, REPORT_FRESH_MS + self.rtt_ms)
    }

    /// The newest beat, if it is recent.
    pub fn fresh_beat(&self, now: Tick) -> Option<&Heartbeat> {
        let (at, beat) = self.beat.as_ref()?;
        (now.since_ms(*at) <= REPORT_FRESH_MS + self.rtt_ms).then_some(beat)
    }
}
