//! **Law (P):** one primary per epoch, and an instance opens only for an epoch that a committed
//! entry names it for.
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: `open-uncommitted`.

use primacy_core::ids::Epoch;

use crate::simulator::{World, instance_name};

pub fn check(world: &World, host: usize, epoch: Epoch) -> Option<String> {
    let instance = instance_name(host);
    if let Some(other) = world.truth(host).opened.get(&epoch)
        && *other != host
    {
        let other = instance_name(*other);
        return Some(format!(
            "{instance} and {other} are both open for epoch {epoch}"
        ));
    }
    match world.truth(host).named.get(&epoch) {
        Some(named) if named.instance == instance => None,
        Some(named) => Some(format!(
            "{instance} opens for epoch {epoch}, for which the log names {}",
            named.instance
        )),
        None => Some(format!(
            "{instance} opens for epoch {epoch}, for which the log names nobody"
        )),
    }
}
