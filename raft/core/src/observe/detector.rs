//! The failure detector of one node for one instance: pure, driven by pulses and `now`.
//!
//! Silence dates from the last sign of life, and is only silence once a fresh connection begun
//! after that sign has failed: a broken pooled connection is no proof of anything.

use serde::{Deserialize, Serialize};

use super::heartbeat::{MysqldWord, Word};
use crate::ids::{Epoch, Tick};

/// A pause of this process longer than this counts toward no silence (as after SIGCONT).
pub const TICK_GAP_MS: u64 = 500;

/// The agent's heartbeat is missing after three periods of 100 ms.
const HEARTBEAT_MISSING_MS: u64 = 300;

/// The answer of a server in `offline_mode`: it is fenced, and says so by refusing the session.
const ER_SERVER_OFFLINE_MODE: u16 = 3032;

/// Which kind of attempt a pulse speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Probe {
    /// A query on the connection kept open.
    Warm,
    /// A new connection.
    Fresh,
}

/// That the log names this instance primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub epoch: Epoch,
    /// It was reported open for that epoch, so that an answer of a fenced server is no service.
    pub opened: bool,
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// It answered; `fenced` if it refuses writes.
    Answered { fenced: bool },
    /// It answered in MySQL's protocol, with an error (1040 is "too many connections").
    Refused { code: u16 },
    /// No answer: reset, refused by TCP, or nothing within the deadline.
    Failed { reset: bool },
    /// This node itself could not ask: it has no file descriptor, port or memory left.
    Unable,
}

/// What a node sees of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SightKind {
    Alive,
    /// It answers "too many connections": alive.
    Overloaded,
    /// Nothing answers, and its agent is silent too or confirms it.
    Silent,
    /// It answers but is fenced: it serves nobody.
    Closed,
    /// Reads answer, writes are stuck.
    Wedged,
    /// This node cannot tell: it never saw it alive in this epoch, or hears no majority.
    Blind,
}

/// A sight and how long it has lasted without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    pub kind: SightKind,
    pub for_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Detector {
    /// The epoch in which this node saw the instance alive and open; remembered across restarts.
    seen_alive_in: Option<Epoch>,
    /// The newest sign that it serves: an open answer, or its agent's word for one.
    served: Option<Tick>,
    /// The newest answer of any kind, fenced ones included.
    answered: Option<Tick>,
    overloaded: Option<Tick>,
    /// When the newest failed fresh attempt began, if nothing answered since.
    fresh_failed_begun: Option<Tick>,
    failed_since_answer: bool,
    heartbeat: Option<Tick>,
    word: Option<Word>,
    /// When the newest answered local probe of the agent began, on this node's clock.
    local: Option<Tick>,
    write_stuck_since: Option<Tick>,
    last_tick: Option<Tick>,
    /// When the newest gap in this process's own ticks ended.
    gap_ended: Tick,
}

impl Detector {
    pub fn new(now: Tick, seen_alive_in: Option<Epoch>) -> Self {
        Self {
            seen_alive_in,
            served: None,
            answered: None,
            overloaded: None,
            fresh_failed_begun: None,
            failed_since_answer: false,
            heartbeat: None,
            word: None,
            local: None,
            write_stuck_since: None,
            last_tick: None,
            // What was before this process began is not silence that it has seen.
            gap_ended: now,
        }
    }

    /// Called at least every 100 ms; finds the gaps in this process's own time.
    pub fn tick(&mut self, now: Tick) {
        if self
            .last_tick
            .is_some_and(|last| now.since_ms(last) > TICK_GAP_MS)
        {
            self.gap_ended = now;
        }
        self.last_tick = Some(now);
    }

    /// An attempt begun at `begun` ended now. `named` is what the log says of this instance.
    pub fn pulse(
        &mut self,
        now: Tick,
        probe: Probe,
        begun: Tick,
        pulse: Pulse,
        named: Option<Named>,
    ) {
        let pulse = match pulse {
            Pulse::Refused {
                code: ER_SERVER_OFFLINE_MODE,
            } => Pulse::Answered { fenced: true },
            other => other,
        };
        match pulse {
            Pulse::Answered { fenced } => {
                // One that is not to be open yet serves by being there.
                let fenced = fenced && named.is_some_and(|named| named.opened);
                let epoch = named.map(|named| named.epoch);
                self.answered = Some(now);
                self.overloaded = None;
                self.failed_since_answer = false;
                if !fenced {
                    self.served = Some(now);
                    self.fresh_failed_begun = None;
                    if epoch.is_some() {
                        self.seen_alive_in = self.seen_alive_in.max(epoch);
                    }
                }
            }
            Pulse::Refused { code } => {
                self.answered = Some(now);
                self.served = Some(now);
                self.failed_since_answer = false;
                self.fresh_failed_begun = None;
                // ER_CON_COUNT_ERROR
                self.overloaded = (code == 1040).then_some(now);
            }
            // It has seen nothing: what was before counts toward no silence, as after a pause.
            Pulse::Unable => self.gap_ended = now,
            Pulse::Failed { .. } => {
                // One that was begun before the newest answer says nothing after it.
                if self.answered.is_none_or(|at| begun >= at) {
                    self.failed_since_answer = true;
                    if probe == Probe::Fresh {
                        self.fresh_failed_begun = self.fresh_failed_begun.max(Some(begun));
                    }
                }
            }
        }
    }

    /// A heartbeat of the instance's agent arrived.
    pub fn heartbeat(&mut self, now: Tick, word: Word, fenced: bool, write_stuck_ms: Option<u64>) {
        if self.word.is_some_and(|last| last.order() > word.order()) {
            return; // an older one, overtaken
        }
        self.heartbeat = Some(now);
        self.word = Some(word);
        if let MysqldWord::Running { answered_ms_ago } = word.says {
            let at = Tick(now.0.saturating_sub(answered_ms_ago));
            self.local = self.local.max(Some(at));
            if fenced {
                self.answered = self.answered.max(Some(at));
            } else {
                self.served = self.served.max(Some(at));
            }
        }
        self.write_stuck_since = write_stuck_ms.map(|ms| Tick(now.0.saturating_sub(ms)));
    }

    pub fn word(&self) -> Option<Word> {
        self.word
    }

    /// This node saw the instance alive in this epoch, in an earlier run of its process.
    pub fn recall(&mut self, epoch: Epoch) {
        self.seen_alive_in = self.seen_alive_in.max(Some(epoch));
    }

    pub fn seen_alive_in(&self) -> Option<Epoch> {
        self.seen_alive_in
    }

    /// When anything last answered this node, or the agent locally.
    pub fn last_sign(&self) -> Option<Tick> {
        self.served.max(self.answered)
    }

    /// The agent of the instance says that its `mysqld` exited, and nobody answered since.
    pub fn exit_attested(&self) -> bool {
        self.word
            .is_some_and(|word| word.says == MysqldWord::Exited)
    }

    /// Whether a fresh connection should be tried now: on suspicion, and where a gap in this
    /// process's own time asks for a new one.
    pub fn wants_fresh(&self, now: Tick) -> bool {
        (self.failed_since_answer || self.exit_attested() || self.heartbeat_missing(now))
            && self.fresh_failed_begun.is_none_or(|begun| {
                begun < self.gap_ended || self.served.is_some_and(|at| begun < at)
            })
    }

    fn heartbeat_missing(&self, now: Tick) -> bool {
        self.heartbeat
            .is_none_or(|at| now.since_ms(at) > HEARTBEAT_MISSING_MS)
    }

    /// What this node sees now of a primary that the log names open for `epoch`.
    pub fn sight(&self, now: Tick, epoch: Epoch, hears_majority: bool) -> Sight {
        if !hears_majority || self.seen_alive_in.is_none_or(|seen| seen < epoch) {
            return self.since(now, SightKind::Blind, None);
        }
        self.seen(now)
    }

    /// The same of an instance that is no primary, for people: nothing rests on it, so that one
    /// answer is enough.
    pub fn glance(&self, now: Tick) -> Sight {
        if self.last_sign().is_none() && self.fresh_failed_begun.is_none() {
            return self.since(now, SightKind::Blind, None);
        }
        self.seen(now)
    }

    fn since(&self, now: Tick, kind: SightKind, at: Option<Tick>) -> Sight {
        let at = at.unwrap_or(self.gap_ended).max(self.gap_ended);
        Sight {
            kind,
            for_ms: now.since_ms(at),
        }
    }

    fn seen(&self, now: Tick) -> Sight {
        let sight = |kind, at| self.since(now, kind, at);
        let fresh_failed = self.fresh_failed_begun.is_some_and(|begun| {
            begun >= self.gap_ended && self.served.is_none_or(|at| begun >= at)
        });
        let answered_after_fresh = self
            .answered
            .is_some_and(|at| self.fresh_failed_begun.is_none_or(|begun| at > begun));
        // Fenced answers: it lives, and serves nobody. They do not end a silence.
        if self.answered > self.served && (answered_after_fresh || !self.failed_since_answer) {
            return sight(SightKind::Closed, self.served);
        }
        if fresh_failed && self.failed_since_answer && self.agent_confirms(now) {
            return sight(SightKind::Silent, self.served);
        }
        // An agent that fell silent no longer vouches for what it said of the writes.
        if let Some(stuck) = self.write_stuck_since
            && !self.heartbeat_missing(now)
        {
            return sight(SightKind::Wedged, Some(stuck));
        }
        if self.overloaded.is_some() {
            return sight(SightKind::Overloaded, self.overloaded);
        }
        sight(SightKind::Alive, self.served)
    }

    /// The heartbeat is missing, or attests that `mysqld` exited, or that it leaves the agent's
    /// local probes unanswered.
    fn agent_confirms(&self, now: Tick) -> bool {
        self.heartbeat_missing(now)
            || self.word.is_some_and(|word| match word.says {
                MysqldWord::Exited => true,
                MysqldWord::Starting => true,
                MysqldWord::Running { answered_ms_ago } => answered_ms_ago > HEARTBEAT_MISSING_MS,
            })
    }
}
