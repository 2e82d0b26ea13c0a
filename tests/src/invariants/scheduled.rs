//! **Law:** whoever serves at the end has its scheduler running, if the log ever knew that a primary's
//! ran; nobody else's does. (Nobody switches one off in the simulator.)
//!
//! Source: `raft/core/PROTOCOL.md`, "Scheduled events". Planted: `scheduler-seen-early`.

use primacy_core::record::Cluster;

use super::Truth;
use crate::simulator::{World, instance_name};

pub fn check(world: &World, truth: &Truth, cluster: &Cluster) -> Option<String> {
    let primary = world.host_of(&cluster.primary);
    if truth.scheduler_ran && !world.servers[primary].scheduler {
        return Some(format!(
            "{} serves and its scheduler is off; that of a primary before it ran",
            cluster.primary
        ));
    }
    let hosts = world.hosts_of(world.cluster_of(primary));
    let mut others = hosts.filter(|host| *host != primary);
    let other = others.find(|host| world.servers[*host].scheduler)?;
    Some(format!(
        "the scheduler of {} runs, and {} serves",
        instance_name(other),
        cluster.primary
    ))
}
