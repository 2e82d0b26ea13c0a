//! Who leads, and whether this node hears a majority: a node that does not must not judge others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::metrics::SerdeInstant;
use openraft::type_config::alias::InstantOf;
use openraft::{Instant as _, RaftMetrics, ServerState};
use primacy_core::ids::{NodeId, Term};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::boot_clock::{Moment, Translator};
use crate::fatal::{FatalCell, FatalError};
use crate::types::{Raft, TypeConfig};

/// What this node knows of the leadership. No proof: only a linearizable read is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// None as well when a leader is known but has not been heard for an election time.
    pub leader: Option<NodeId>,
    pub term: Term,
    pub is_leader: bool,
    /// As leader: a majority of the voters answered within an election time (`election_min_ms`).
    /// As follower: the leader was heard within one, and said that it hears a majority.
    pub hears_majority: bool,
}

/// Silence shows only in the passing of time.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// When this node last heard a leader whom it follows.
#[derive(Debug, Default)]
pub struct Contact(Mutex<Touch>);

#[derive(Debug, Default)]
struct Touch {
    heard: Option<Heard>,
    /// When a majority last spoke to this node, directly or through its leader.
    majority: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    leader: NodeId,
    at: Moment,
    leader_hears_majority: bool,
}

impl Contact {
    pub fn heard(&self, leader: NodeId, leader_hears_majority: bool) {
        let at = Moment::now();
        let mut touch = self.lock();
        touch.heard = Some(Heard {
            leader,
            at,
            leader_hears_majority,
        });
        if leader_hears_majority {
            touch.majority = touch.majority.max(Some(at));
        }
    }

    /// This node led, and a majority acknowledged it.
    fn acknowledged(&self, at: Moment) {
        let mut touch = self.lock();
        touch.majority = touch.majority.max(Some(at));
    }

    /// Since when no majority has spoken to this node.
    pub fn age(&self) -> Option<Duration> {
        self.lock().majority.map(|at| at.elapsed())
    }

    /// What `leader` last said of itself.
    pub fn leader_hears_majority(&self, leader: NodeId) -> bool {
        self.lock()
            .heard
            .is_some_and(|heard| heard.leader == leader && heard.leader_hears_majority)
    }

    fn lock(&self) -> MutexGuard<'_, Touch> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// When a majority last acknowledged this leader: each acknowledgement is translated once, when it
/// is first seen.
struct Acked {
    translator: Translator,
    last: Option<(AckedAt, Moment)>,
}

type AckedAt = SerdeInstant<InstantOf<TypeConfig>>;

impl Acked {
    fn new() -> Self {
        Self {
            translator: Translator::new(),
            last: None,
        }
    }

    fn moment(&mut self, metrics: &RaftMetrics<TypeConfig>) -> Option<Moment> {
        let newest = metrics.last_quorum_acked?;
        match self.last {
            Some((last, at)) if last == newest => Some(at),
            _ => {
                let at = self.translator.moment(newest.elapsed());
                self.last = Some((newest, at));
                Some(at)
            }
        }
    }
}

/// Keeps `leadership` current until openraft stops.
pub struct Watcher {
    pub node: NodeId,
    pub raft: Raft,
    pub contact: Arc<Contact>,
    pub leadership: watch::Sender<Leadership>,
    /// For the messages to the followers.
    pub hears_majority: Arc<AtomicBool>,
    pub fatal: FatalCell,
    /// A leader unheard for so long is no leader; a majority unheard for so long is none.
    pub election: Duration,
}

impl Watcher {
    pub async fn run(self) {
        let mut metrics = self.raft.metrics();
        let mut interval = tokio::time::interval(LOOK_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The term that this node leads, and since when.
        let mut leads: Option<(u64, Moment)> = None;
        let mut acked = Acked::new();
        loop {
            let closed = tokio::select! {
                changed = metrics.changed() => changed.is_err(),
                _ = interval.tick() => false,
            };
            let (now, ended) = {
                let metrics = metrics.borrow_watched();
                let now = self.judge(&metrics, &mut leads, &mut acked);
                (now, metrics.running_state.clone().err())
            };
            if closed || ended.is_some() {
                self.end(ended, now.term);
                return;
            }
            self.hears_majority
                .store(now.is_leader && now.hears_majority, Ordering::Relaxed);
            self.leadership.send_if_modified(|last| {
                let changed = *last != now;
                *last = now;
                changed
            });
        }
    }

    fn judge(
        &self,
        metrics: &RaftMetrics<TypeConfig>,
        leads: &mut Option<(u64, Moment)>,
        acked: &mut Acked,
    ) -> Leadership {
        let term = Term(metrics.current_term);
        let acked = acked.moment(metrics);
        if metrics.state == ServerState::Leader {
            let since = match *leads {
                Some((led, since)) if led == metrics.current_term => since,
                _ => leads.insert((metrics.current_term, Moment::now())).1,
            };
            if let Some(at) = acked {
                self.contact.acknowledged(at);
            }
            // A majority has just elected it, which no acknowledgement says yet.
            let age = acked.map_or(since, |acked| acked.max(since)).elapsed();
            let hears_majority = age < self.election;
            return Leadership {
                leader: Some(self.node),
                term,
                is_leader: true,
                hears_majority,
            };
        }
        *leads = None;
        let heard = self.contact.lock().heard;
        let heard = heard.filter(|heard| {
            Some(heard.leader) == metrics.current_leader && heard.at.elapsed() < self.election
        });
        Leadership {
            leader: heard.map(|heard| heard.leader),
            term,
            is_leader: false,
            hears_majority: heard.is_some_and(|heard| heard.leader_hears_majority),
        }
    }

    fn end(&self, ended: Option<Fatal<TypeConfig>>, term: Term) {
        match ended {
            None | Some(Fatal::Stopped) => {}
            Some(error) => self
                .fatal
                .set(FatalError::new(format!("the log has failed: {error}"))),
        }
        self.hears_majority.store(false, Ordering::Relaxed);
        self.leadership.send_replace(Leadership {
            term,
            ..Leadership::default()
        });
    }
}
