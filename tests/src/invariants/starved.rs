//! **Law (S):** a living primary is deposed as Starved only where so many of its ackers truly heard
//! nothing of it, for all but the whole of `starved_sustain_ms` since their receivers were started,
//! that it could gather no k; and only while somebody could log in somewhere else.
//!
//! Source: `raft/core/PROTOCOL.md`. One that was just started would starve the primary that it comes
//! back to; where nobody would fare better a failover gains nothing. Planted: `starved-restarted`,
//! `starved-without-paths`.

use primacy_core::agree::Verdict;
use primacy_core::record::State;

use crate::simulator::{NAMES, World};

/// Of this true time an agent whose clock runs a tenth too fast makes `starved_sustain_ms`.
const DEAF_US: u64 = 1_700_000;
/// From a vote to the entry that takes it, at most.
const LATE_US: u64 = 4_000_000;
/// Nobody could log in anywhere for so long: tries and beats of the time before are over.
const LOCKED_US: u64 = 1_900_000;

pub fn check(world: &World, before: &State, state: &State) -> Option<String> {
    state.clusters.iter().find_map(|(id, cluster)| {
        let record = cluster.deposition()?;
        let was = before.clusters.get(id)?;
        if record.judgement.verdict != Verdict::Starved || was.deposition().is_some() {
            return None;
        }
        let since = |at: u64| world.now.saturating_sub(at);
        let deaf = |host: usize| {
            let io = &world.servers[host].io;
            since(io.deaf_since()) >= DEAF_US || io.was_deaf.is_some_and(|at| since(at) <= LATE_US)
        };
        let members = cluster.ackers.members.iter();
        let deaf = members.filter(|id| deaf(world.host_of(id))).count();
        let needed = cluster.blocking();
        if deaf < needed {
            return Some(format!(
                "{} is deposed as starved, and {deaf} of {needed} ackers had long heard nothing of it",
                cluster.primary
            ));
        }
        // The account of the first cluster.
        let locked = world.faults.locked_everywhere.filter(|_| id.0 == NAMES[0])?;
        (since(locked) >= LOCKED_US).then(|| {
            format!(
                "{} is deposed as starved, and nobody could have followed another",
                cluster.primary
            )
        })
    })
}
