//! How long ago a replica last heard its primary, aged on this node's own clock.
//!
//! Heartbeats of the source stop during a large transaction, the read position stops when it is
//! idle: either one moving is progress. Measured: during one 40 MB transaction the heartbeat's age
//! reached 8.5 s while the read position went on.

use serde::{Deserialize, Serialize};

use super::heartbeat::{Heartbeat, IoThread, MysqldWord};
use crate::ids::{InstanceId, Tick};

/// What a node can say of an acker that it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Milliseconds since the primary last made progress there; `None` if its IO thread has lost
    /// the connection: then it does not hear the primary.
    pub heard_ms: Option<u64>,
}

/// Follows one replica's reports.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    reported: Option<Tick>,
    moved: Option<Tick>,
    mark: Option<(u64, (String, u64))>,
    connected_to: Option<InstanceId>,
}

impl Progress {
    pub fn report(&mut self, now: Tick, beat: &Heartbeat) {
        // Without its server there is no replica to reach: it cannot be frozen, nor tell anything.
        if !matches!(beat.word.says, MysqldWord::Running { .. }) {
            self.reported = None;
            return;
        }
        self.reported = Some(now);
        let Some(replica) = &beat.replica else {
            self.connected_to = None;
            return;
        };
        self.connected_to = if replica.io == IoThread::On {
            replica.source.clone()
        } else {
            None
        };
        let mark = (replica.heartbeats, replica.read_position.clone());
        if self.mark.as_ref() != Some(&mark) {
            self.mark = Some(mark);
            self.moved = Some(now);
        }
    }

    /// What this node may say of the acker in a vote on `primary`; `None` if the newest report is
    /// older than `fresh_ms`, or its server was not running. One that replicates from nobody is
    /// reached, and does not hear the primary.
    pub fn reached(&self, now: Tick, primary: &InstanceId, fresh_ms: u64) -> Option<Reached> {
        let reported = self.reported?;
        if now.since_ms(reported) > fresh_ms {
            return None;
        }
        let hears = self.connected_to.as_ref() == Some(primary);
        let heard_ms = if hears {
            self.moved.map(|at| now.since_ms(at))
        } else {
            None
        };
        Some(Reached { heard_ms })
    }

    pub fn reported(&self) -> Option<Tick> {
        self.reported
    }
}
