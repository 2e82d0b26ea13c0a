//! **Law:** what a member of V holds it keeps: neither its relay log nor its data is discarded while
//! it counts, and what it reported once in a deposed epoch the log never forgets.
//!
//! Source: `raft/core/PROTOCOL.md` ("united, never overwritten"; "no relay log thrown away").
//! Planted: `purged-relay`, `reports-overwritten`.

use primacy_core::gtid::GtidSet;
use primacy_core::record::State;

use crate::simulator::{World, instance_name};

/// `before` is what the server held before it was pointed to its source.
pub fn on_server(world: &World, host: usize, before: &GtidSet) -> Option<String> {
    let lost = before.subtract(&world.servers[host].holds());
    (!lost.is_empty()).then(|| {
        format!(
            "{} threw away {} when it was re-pointed",
            instance_name(host),
            lost.compact()
        )
    })
}

pub fn in_log(before: &State, state: &State) -> Option<String> {
    for (id, cluster) in &state.clusters {
        let was = before.clusters.get(id).and_then(|was| was.deposition());
        let (Some(was), Some(record)) = (was, cluster.deposition()) else {
            continue;
        };
        if was.at != record.at {
            continue;
        }
        for (instance, report) in &was.frozen {
            let now = record.frozen.get(instance);
            let now = now.map(|report| report.holds()).unwrap_or_default();
            let forgotten = report.holds().subtract(&now);
            if !forgotten.is_empty() {
                return Some(format!(
                    "{instance} reported {}, and the log forgot it",
                    forgotten.compact()
                ));
            }
        }
    }
    None
}
