//! **Law:** an epoch is deposed only by votes that were cast in the inquest that deposed it.
//! Silences seen at different times never add up.
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: `votes-added`.

use primacy_core::record::{Command, Proposal, State};

use crate::simulator::World;

pub fn check(
    world: &mut World,
    before: &State,
    state: &State,
    proposal: &Proposal,
) -> Option<String> {
    for command in &proposal.commands {
        if let Command::Vote(vote) = command {
            let key = (vote.node, vote.incarnation, vote.seq);
            let votes = &mut world.truth_of(&vote.cluster).votes;
            votes.entry(key).or_insert(vote.inquest);
        }
    }
    for (id, cluster) in &state.clusters {
        let Some(record) = cluster.deposition() else {
            continue;
        };
        let known = before
            .clusters
            .get(id)
            .is_some_and(|was| was.deposition().is_some());
        if known {
            continue;
        }
        for vote in record.inquest.votes.values() {
            let key = (vote.node, vote.incarnation, vote.seq);
            let cast_in = world.truth_of(id).votes.get(&key).copied();
            if cast_in != Some(record.inquest.id) {
                return Some(format!(
                    "epoch {} is deposed by inquest {} with a vote of node {} that was cast in \
                     {cast_in:?}",
                    cluster.epoch, record.inquest.id, vote.node
                ));
            }
        }
    }
    None
}
