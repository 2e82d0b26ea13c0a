//! What the tests of the log and the example share.

use std::time::{Duration, Instant};

use primacy_core::ids::{Incarnation, NodeId, Seq};
use primacy_core::record::Proposal;

/// Generous: the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Looks until there is something to return; `what` says what was waited for in vain.
pub async fn until<T>(what: impl Fn() -> String, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    loop {
        looks.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "in time: {}", what());
    }
}

/// Of no commands, under this key.
pub fn proposal(proposer: u64, seq: u64) -> Proposal {
    Proposal {
        proposer: NodeId(proposer),
        incarnation: Incarnation(1),
        seq: Seq(seq),
        wall_ms: 0,
        commands: Vec::new(),
    }
}
