//! How long ago a replica last heard its primary, aged on this node's own clock.
//!
//! Heartbeats of the source stop during a large transaction, the read position stops when it is
//! idle: either one moving is progress. Measured: during one 40 MB transaction the heartbeat's age
//! reached 8.5 s while the read position went on.

use serde::{Deserialize, Serialize};

use super::heartbeat::{Heartbeat, IoThread, MysqldWord};
use crate::ids::{Incarnation, InstanceId, Tick};
use crate::policy::REPORT_FRESH_MS;

/// What a node can say of an acker that it reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Milliseconds since the primary last made progress there; `None` if its IO thread has lost
    /// the connection: then it does not hear the primary.
    pub heard_ms: Option<u64>,
    /// What the primary's newest progress there and this node's newest look at the primary's ground
    /// are to one another; `None` before it made any.
    #[serde(default)]
    pub timed: Option<Timed>,
}

/// An acker's progress and a node's newest look at the primary's ground, in milliseconds since the
/// acker's agent started: the one clock on which what several nodes saw can be compared, and what is
/// told late is still true.
///
/// What lies between the sending of a beat and its arrival makes a look older than it was, never
/// younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// Which run of the agent.
    pub agent: Incarnation,
    /// The newest progress that it told this node of was made by then.
    pub moved_ms: i64,
    /// This node looked at the primary's ground then, or later; `None` if it never did.
    pub looked_ms: Option<i64>,
}

impl Timed {
    /// How long before the newest progress this node's own look came.
    pub fn age_ms(&self) -> Option<u64> {
        Some(u64::try_from(self.moved_ms - self.looked_ms?).unwrap_or(0))
    }
}

/// What is asked of an acker in a vote on a primary.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub primary: &'a InstanceId,
    /// A report that is older is none.
    pub fresh_ms: u64,
    /// When this node applied that it is primary: no silence counts from before that.
    pub named: Tick,
    /// For so long after that an acker that is not connected yet has the time to be.
    pub patience_ms: u64,
    /// This node's newest look at the primary's ground.
    pub ground: Option<Tick>,
}

/// Its server answered its agent a moment before the beat.
fn answers(beat: &Heartbeat) -> bool {
    match beat.word.says {
        MysqldWord::Running { answered_ms_ago } => answered_ms_ago <= REPORT_FRESH_MS,
        MysqldWord::Starting | MysqldWord::Exited => false,
    }
}

/// What the newest report says by the clock of its agent. One that does not tell its time is timed
/// from its newest progress, as that was read here.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    agent: Incarnation,
    /// When it was sent, and by when all progress that it tells of was made.
    sent_ms: u64,
    moved_ms: u64,
    /// When it was read here.
    read: Tick,
}

/// Follows one replica's reports.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    reported: Option<Tick>,
    moved: Option<Tick>,
    mark: Option<(u64, (String, u64))>,
    stamp: Option<Stamp>,
    /// When anything last arrived there: progress, or the bytes of an event that is not whole yet.
    arrived: Option<Tick>,
    bytes: Option<u64>,
    /// For how long its receiver had waited in vain when it was reported; `None` if it did not.
    waits_ms: Option<u64>,
    /// Whom its agent last pointed it to.
    source: Option<InstanceId>,
    connected_to: Option<InstanceId>,
    /// From whom it had the newest progress, connected or not since.
    heard_from: Option<InstanceId>,
}

impl Progress {
    pub fn report(&mut self, now: Tick, beat: &Heartbeat) {
        // Without its server there is no replica to reach: it cannot be frozen, nor tell anything.
        // And whoever slept tells of before that: it may have heard the primary all the while.
        if beat.slept || !matches!(beat.word.says, MysqldWord::Running { .. }) {
            self.reported = None;
            return;
        }
        self.reported = Some(now);
        let Some(replica) = &beat.replica else {
            self.connected_to = None;
            self.waits_ms = None;
            return;
        };
        self.source.clone_from(&replica.source);
        self.waits_ms = replica.waits_ms.filter(|_| answers(beat));
        // Where they were not known before nothing says that they have just come.
        let more = self.bytes.zip(replica.bytes);
        if more.is_some_and(|(last, now)| last != now) {
            self.arrived = Some(now);
        }
        self.bytes = replica.bytes;
        self.connected_to = if replica.io == IoThread::On {
            replica.source.clone()
        } else {
            None
        };
        let mark = (replica.heartbeats, replica.read_position.clone());
        if self.mark.as_ref() != Some(&mark) {
            self.mark = Some(mark);
            self.moved = Some(now);
            self.arrived = Some(now);
            self.heard_from.clone_from(&replica.source);
        }
        let (sent_ms, moved_ms, read) = match beat.run_ms.zip(replica.moved_ms) {
            Some((sent_ms, moved_ms)) => (sent_ms, moved_ms, now),
            None => (0, 0, self.moved.unwrap_or(now)),
        };
        self.stamp = Some(Stamp {
            agent: beat.word.agent,
            sent_ms,
            moved_ms,
            read,
        });
    }

    /// What this node may say of the acker in a vote on a primary; `None` if the newest report is
    /// older than `asked.fresh_ms`, or its server was not running. One that replicates from nobody
    /// is reached, and does not hear the primary.
    pub fn reached(&self, now: Tick, asked: &Asked<'_>) -> Option<Reached> {
        let reported = self.reported?;
        if now.since_ms(reported) > asked.fresh_ms {
            return None;
        }
        let hears = self.connected_to.as_ref() == Some(asked.primary);
        let heard_ms = self.moved.filter(|_| hears).map(|at| now.since_ms(at));
        // Before it was named nobody could hear it.
        let named_ms = now.since_ms(asked.named);
        let heard_ms = match heard_ms {
            Some(ms) => Some(ms.min(named_ms)),
            None => (named_ms <= asked.patience_ms).then_some(named_ms),
        };
        Some(Reached {
            heard_ms,
            timed: self.timed(asked),
        })
    }

    fn timed(&self, asked: &Asked<'_>) -> Option<Timed> {
        let of = self
            .stamp
            .filter(|_| self.heard_from.as_ref() == Some(asked.primary))?;
        let told = |look: Tick| signed(of.sent_ms) + signed(look.0) - signed(of.read.0);
        Some(Timed {
            agent: of.agent,
            moved_ms: signed(of.moved_ms),
            looked_ms: asked.ground.map(told),
        })
    }

    /// For how long its receiver has waited for the primary in vain, by order and with its server
    /// answering. `None` if it is not reached, or does anything else.
    pub fn deaf_ms(&self, now: Tick, asked: &Asked<'_>) -> Option<u64> {
        let reported = self.reported?;
        let toward = self.source.as_ref() == Some(asked.primary);
        if now.since_ms(reported) > asked.fresh_ms || !toward {
            return None;
        }
        let waits_ms = self.waits_ms?;
        let nothing_ms = self.arrived.map_or(u64::MAX, |at| now.since_ms(at));
        Some(waits_ms.min(nothing_ms).min(now.since_ms(asked.named)))
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
