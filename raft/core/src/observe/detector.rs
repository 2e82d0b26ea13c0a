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

/// Too many connections: it is alive.
const ER_CON_COUNT_ERROR: u16 = 1040;

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
    /// It was reported open for that epoch: an answer of a fenced server is no service. Before that it
    /// is one while its agent is at work on the order to open.
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
    /// This node cannot tell: nothing of it has answered here since some time before it was chosen,
    /// or this node hears no majority.
    Blind,
    /// It lives, and enough of its ackers wait for it in vain that none of its writes can be
    /// acknowledged. (Known since feature level 3.)
    Starved,
}

impl SightKind {
    /// Whether a vote with this sight counts toward a verdict against the primary.
    pub fn counts(self) -> bool {
        match self {
            SightKind::Silent | SightKind::Closed | SightKind::Wedged | SightKind::Starved => true,
            SightKind::Alive | SightKind::Overloaded | SightKind::Blind => false,
        }
    }
}

/// A sight and how long it has lasted without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    pub kind: SightKind,
    pub for_ms: u64,
}

/// What an agent's beat says of its server, as far as a detector asks.
#[derive(Clone, Copy, Debug)]
pub struct BeatWord {
    pub word: Word,
    pub fenced: bool,
    pub write_stuck_ms: Option<u64>,
    /// It is at work on an order to open.
    pub opening: bool,
}

#[derive(Clone, Debug)]
pub struct Detector {
    /// The newest epoch in which this node could tell how the instance is; remembered across
    /// restarts.
    seen_in: Option<Epoch>,
    /// Since when this node knows it as primary of this epoch.
    named: Option<(Epoch, Tick)>,
    /// From when on the named one should have opened.
    overdue: Option<Tick>,
    /// The newest answer of its server to this node, in whatever role.
    reached: Option<Tick>,
    /// The newest sign that it serves: an open answer, or its agent's word for one.
    served: Option<Tick>,
    /// The newest answer of any kind, fenced ones included.
    answered: Option<Tick>,
    /// When the newest attempt began that was answered.
    answered_begun: Option<Tick>,
    overloaded: Option<Tick>,
    /// The warm connection's newest answer, if it has not failed since.
    warm: Option<Tick>,
    /// When the newest failed fresh attempt began, if nothing answered since.
    fresh_failed_begun: Option<Tick>,
    failed_since_answer: bool,
    heartbeat: Option<Tick>,
    word: Option<Word>,
    /// When the agent's word that its `mysqld` exited came, unless an answer refuted it.
    exit_word: Option<Tick>,
    refuted: bool,
    opening: bool,
    /// When the newest answered local probe of the agent began, on this node's clock.
    local: Option<Tick>,
    write_stuck_since: Option<Tick>,
    last_tick: Option<Tick>,
    begun: Tick,
    /// When the newest gap in this process's own ticks ended.
    gap_ended: Tick,
}

impl Detector {
    pub fn new(now: Tick, seen_in: Option<Epoch>) -> Self {
        Self {
            seen_in,
            named: None,
            overdue: None,
            reached: None,
            served: None,
            answered: None,
            answered_begun: None,
            overloaded: None,
            warm: None,
            fresh_failed_begun: None,
            failed_since_answer: false,
            heartbeat: None,
            word: None,
            exit_word: None,
            refuted: false,
            opening: false,
            local: None,
            write_stuck_since: None,
            last_tick: None,
            begun: now,
            // What was before this process began is not silence that it has seen.
            gap_ended: now,
        }
    }

    /// Called at least every 100 ms; finds the gaps in this process's own time. How long the one
    /// was that has just ended, if there was one.
    pub fn tick(&mut self, now: Tick) -> Option<u64> {
        let last = self.last_tick.replace(now)?;
        let gap_ms = now.since_ms(last);
        if gap_ms <= TICK_GAP_MS {
            return None;
        }
        self.gap_ended = now;
        Some(gap_ms)
    }

    /// The log names it primary of this epoch: an answer since so long before that is sight enough,
    /// in whatever role it was given. One that has not opened serves nobody: so long after that its
    /// silence is one, whoever never heard it.
    pub fn name(&mut self, now: Tick, epoch: Epoch, reach_ms: u64, opened: bool) {
        if self.named.is_none_or(|(known, _)| known < epoch) {
            self.named = Some((epoch, now));
        }
        let (epoch, named) = self.named.unwrap_or((epoch, now));
        if self.reached.is_some_and(|at| at.plus_ms(reach_ms) >= named) {
            self.recall(epoch);
        }
        self.overdue = (!opened && epoch > Epoch(1)).then(|| named.plus_ms(reach_ms));
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
        match pulse {
            Pulse::Answered { fenced } => {
                if probe == Probe::Warm {
                    // It stood when the word came, and was asked after that: nobody exited.
                    let stood = self.warm.is_some_and(|at| self.exit_word >= Some(at));
                    self.refuted |= stood && self.exit_word.is_some_and(|at| begun > at);
                    self.warm = Some(now);
                }
                self.answer(now, begun, fenced, named);
                self.overloaded = None;
            }
            Pulse::Refused { code } => {
                if probe == Probe::Warm {
                    self.warm = None;
                }
                if !self.names_it(now) {
                    return self.failure(probe, begun);
                }
                self.answer(now, begun, code == ER_SERVER_OFFLINE_MODE, named);
                self.overloaded = (code == ER_CON_COUNT_ERROR).then_some(now);
            }
            // It has seen nothing: what was before counts toward no silence, as after a pause.
            Pulse::Unable => self.gap_ended = now,
            Pulse::Failed { .. } => {
                if probe == Probe::Warm {
                    self.warm = None;
                }
                self.failure(probe, begun);
            }
        }
    }

    /// An answer that names no server may be another's at the same address. It is taken for the
    /// enrolled one's while that one's agent speaks of no exit, or its warm connection stands.
    fn names_it(&self, now: Tick) -> bool {
        let vouched = !self.heartbeat_missing(now) && self.exit_word.is_none();
        vouched || self.warm.is_some()
    }

    fn answer(&mut self, now: Tick, begun: Tick, fenced: bool, named: Option<Named>) {
        // One that is not to be open yet serves by being there, while its agent is at work on that.
        let idle = named.is_some_and(|of| of.opened || !self.at_work(now));
        self.answered = Some(now);
        self.answered_begun = self.answered_begun.max(Some(begun));
        self.reached = Some(now);
        self.failed_since_answer = false;
        if !(fenced && idle) {
            self.served = Some(now);
            self.fresh_failed_begun = None;
        }
        if let Some(named) = named {
            self.recall(named.epoch);
        }
    }

    fn at_work(&self, now: Tick) -> bool {
        self.opening && !self.heartbeat_missing(now)
    }

    fn failure(&mut self, probe: Probe, begun: Tick) {
        // One that was begun before the newest answer says nothing after it.
        if self.answered.is_none_or(|at| begun >= at) {
            self.failed_since_answer = true;
            if probe == Probe::Fresh {
                self.fresh_failed_begun = self.fresh_failed_begun.max(Some(begun));
            }
        }
    }

    /// A heartbeat of the instance's agent arrived.
    pub fn heartbeat(&mut self, now: Tick, beat: BeatWord) {
        let word = beat.word;
        if self.word.is_some_and(|last| last.order() > word.order()) {
            return; // an older one, overtaken
        }
        self.heartbeat = Some(now);
        self.opening = beat.opening;
        if word.says != MysqldWord::Exited {
            (self.exit_word, self.refuted) = (None, false);
        } else if self.exit_word.is_none() {
            self.exit_word = Some(now);
        }
        self.word = Some(word);
        if let MysqldWord::Running { answered_ms_ago } = word.says {
            let at = Tick(now.0.saturating_sub(answered_ms_ago));
            self.local = self.local.max(Some(at));
            if beat.fenced {
                self.answered = self.answered.max(Some(at));
            } else {
                self.served = self.served.max(Some(at));
            }
        }
        self.write_stuck_since = beat.write_stuck_ms.map(|ms| Tick(now.0.saturating_sub(ms)));
    }

    /// The agent's newest word, unless an answer refuted it.
    pub fn word(&self) -> Option<Word> {
        self.word.filter(|_| !self.refuted)
    }

    /// From when on this node may count what it sees of the named one: since it was named, and since
    /// the newest gap in this process's own time.
    pub fn counts_from(&self) -> Tick {
        self.gap_ended.max(self.named_at())
    }

    /// This node could tell how the instance is in this epoch, in an earlier run of its process.
    pub fn recall(&mut self, epoch: Epoch) {
        self.seen_in = self.seen_in.max(Some(epoch));
    }

    pub fn seen_in(&self) -> Option<Epoch> {
        self.seen_in
    }

    /// When anything last answered this node, or the agent locally.
    pub fn last_sign(&self) -> Option<Tick> {
        self.served.max(self.answered)
    }

    /// Since when it has served nobody, as far as this node knows. A gap in this process's own time
    /// ends what it counts, and not the trouble.
    pub fn trouble_since(&self) -> Tick {
        let named = self.named.map_or(self.begun, |(_, at)| at);
        self.served.unwrap_or(self.begun).max(named)
    }

    /// When this node applied that it is primary; its own start, if it does not know.
    pub fn named_at(&self) -> Tick {
        self.named.map_or(self.begun, |(_, at)| at)
    }

    /// Since when the agent of the instance says that its `mysqld` exited, and nobody answered since.
    pub fn exited_since(&self) -> Option<Tick> {
        self.exit_word.filter(|_| !self.refuted)
    }

    pub fn exit_attested(&self) -> bool {
        self.exited_since().is_some()
    }

    /// Its agent says that its server exited, and the server answers.
    pub fn contradicted(&self) -> bool {
        self.refuted
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

    /// What this node sees now of a primary that the log names for `epoch`.
    pub fn sight(&self, now: Tick, epoch: Epoch, hears_majority: bool) -> Sight {
        let blind = self.since(now, SightKind::Blind, None);
        if !hears_majority {
            return blind;
        }
        let seen = self.seen(now);
        let known = self.seen_in.is_some_and(|seen| seen >= epoch);
        let overdue = self.overdue.is_some_and(|at| now >= at);
        if known || (overdue && seen.kind == SightKind::Silent) {
            seen
        } else {
            blind
        }
    }

    /// The same of an instance that is no primary, for people: nothing rests on it, so that one
    /// answer is enough.
    pub fn glance(&self, now: Tick) -> Sight {
        if self.last_sign().is_none() && self.fresh_failed_begun.is_none() {
            return self.since(now, SightKind::Blind, None);
        }
        self.seen(now)
    }

    /// No sight of a primary dates from before it was named.
    fn since(&self, now: Tick, kind: SightKind, at: Option<Tick>) -> Sight {
        let named = self.named.map_or(self.begun, |(_, at)| at);
        let at = at.unwrap_or(self.gap_ended).max(self.gap_ended).max(named);
        Sight {
            kind,
            for_ms: now.since_ms(at),
        }
    }

    fn seen(&self, now: Tick) -> Sight {
        let sight = |kind, at| self.since(now, kind, at);
        // Its agent's word is certain: no attempt need fail besides, and none begun since did better.
        if self
            .exited_since()
            .is_some_and(|at| self.answered_begun <= Some(at))
        {
            return sight(SightKind::Silent, self.served);
        }
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
