//! **Law:** nobody opens for a new epoch while a former primary could still gather its k
//! acknowledgements: of the replicas that are attached to it and acknowledge, fewer than k are left.
//! Where it confirmed its fence, it must truly be shut instead.
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: `one-too-few-frozen`, `repair-thaws`,
//! `confirmed-does-not-bind`, `next-of-frozen-only`.

use primacy_core::ids::Epoch;
use primacy_core::observe::IoThread;

use crate::simulator::{World, instance_name};

pub fn check(world: &World, host: usize, epoch: Epoch) -> Option<String> {
    if world.truth(host).opened.contains_key(&epoch) {
        return None; // a second opening within the epoch needs no new proof
    }
    let hosts = world.hosts_of(world.cluster_of(host));
    let former = |other: usize| {
        world
            .truth(host)
            .opened
            .iter()
            .any(|(before, by)| *before < epoch && *by == other)
    };
    for other in hosts
        .clone()
        .filter(|other| *other != host && former(*other))
    {
        let server = &world.servers[other];
        let open = !server.fenced() && server.gate.up;
        if !open {
            continue; // it could only open again for an epoch that the log still names it for
        }
        let attached: Vec<_> = hosts
            .clone()
            .filter(|replica| {
                let replica = &world.servers[*replica];
                replica.source == Some(other)
                    && replica.acking
                    && replica.io_state() != IoThread::Off
            })
            .map(instance_name)
            .collect();
        if attached.len() >= server.k as usize {
            return Some(format!(
                "{} opens for epoch {epoch} while {}, still open, needs {} acknowledgements and has \
                 {:?} attached",
                instance_name(host),
                instance_name(other),
                server.k,
                attached
            ));
        }
    }
    None
}
