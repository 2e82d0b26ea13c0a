//! **Law:** the log is never applied under a feature level that a running node does not know: an
//! upgrade, node after node, stops nobody.
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: `level-raised-early`.

use primacy_core::record::State;

use crate::simulator::World;

pub fn check(world: &World, state: &State) -> Option<String> {
    let behind = world
        .nodes
        .iter()
        .position(|node| node.gate.runs() && node.knows < state.level)?;
    Some(format!(
        "feature level {} is in force, and node {} knows {}",
        state.level,
        behind + 1,
        world.nodes[behind].knows
    ))
}
