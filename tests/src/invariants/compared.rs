//! **Law:** a replica that starts to replicate holds nothing that its source does not. (One that
//! does stops applying at the first conflict and still acknowledges.)
//!
//! Source: `raft/core/PROTOCOL.md`, "Who, and with whom". Planted: `follow-uncompared`.

use std::collections::BTreeSet;

use crate::simulator::{World, instance_name};

pub fn check(world: &World, host: usize, source: usize) -> Option<String> {
    let extra = world.servers[host]
        .holds()
        .subtract(&world.servers[source].holds());
    if world.servers[source].lost_relay {
        return None; // it was compared with what the source had reported
    }
    // The source's own writes reach its binlog before its engine: they are no surplus. What was
    // written by hand into a replica that followed already is found when it is frozen next.
    let mut known = BTreeSet::from([world.servers[source].uuid]);
    let mut opened = world.truth(host).opened.values();
    if !opened.any(|opened| *opened == host) {
        known.insert(world.servers[host].uuid);
    }
    let mut extra = extra.without(&known);
    if let Some(cluster) = world.cluster(world.cluster_of(host)) {
        extra = extra.subtract(&cluster.common);
    }
    (!extra.is_empty()).then(|| {
        format!(
            "{} follows {} though it holds {}, which that one does not",
            instance_name(host),
            instance_name(source),
            extra.compact()
        )
    })
}
