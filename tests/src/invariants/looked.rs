//! **Law (G):** where a deposition says that the ground was seen to be as ordered so shortly before the
//! primary's end, somebody had truly looked at it so shortly before the last acknowledged write of
//! which word could have come.
//!
//! Source: `raft/core/PROTOCOL.md`, "The ground". Planted: `lain-beats-fresh`.

use primacy_core::record::State;

use crate::simulator::World;

/// What a slow network makes of a look's time, and a clock that runs a tenth too fast of an age.
const SLACK_US: u64 = 800_000;

/// From an acknowledgement to the vote that an acker's word of it may change, and to the log.
const WORD_US: u64 = 800_000;

pub fn check(world: &World, before: &State, state: &State) -> Option<String> {
    state.clusters.iter().find_map(|(id, cluster)| {
        let record = cluster.deposition()?;
        let was = before.clusters.get(id)?;
        // A withdrawn one carries what was said of the epoch before.
        let voted = was.deposition().is_none() && record.withdrawn.is_none();
        if !voted || cluster.doubt(record.ground_age_ms).is_some() {
            return None;
        }
        let said_us = record.ground_age_ms? * 1_000;
        let host = world.host_of(&cluster.primary);
        let writes = world.truth(host).acked.iter().rev();
        // What was answered alone, or when the votes were on their way, is for `acked`.
        let mut writes = writes.filter(|of| {
            of.epoch == cluster.epoch && of.off_at.is_none() && of.at + WORD_US < world.now
        });
        let last = writes.next()?.at;
        let truly_us = last.saturating_sub(world.last_look[host]);
        (truly_us > said_us + SLACK_US).then(|| {
            format!(
                "the ground of {} is said to have been seen {} ms before its end, and nobody had \
                 looked for {} ms when it acknowledged its last write",
                cluster.primary,
                said_us / 1_000,
                truly_us / 1_000
            )
        })
    })
}
