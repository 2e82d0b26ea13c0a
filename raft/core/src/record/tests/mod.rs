//! Tables: which commands take effect at which stage, and how a refusal reads.

mod change;
mod common;
mod failover;
mod guards;
mod incident;
mod level;
mod limits;
mod policy;
mod properties;
mod register;
mod scheduled;
mod starved;
mod withdraw;

use super::{
    Cluster, Command, EventKind, FEATURE_LEVEL, FenceReport, Follower, Founding, FoundingWord,
    FreezeReport, InstanceSpec, Outcome, PolicyChange, PromotionRule, Proposal, Registration,
    SECOND, Stage, State, THIRD,
};
use crate::agree::{Inquest, Verdict, Vote};
use crate::decide::choose;
use crate::gtid::GtidSet;
use crate::ids::{ClusterId, Epoch, Incarnation, InquestId, NodeId, Seq};
use crate::observe::SightKind;
use crate::policy::{Automation, Policy};
use crate::testing::{
    World, acknowledged, at, cluster_id, fenced, frozen, instance, instances, opened, promotion_of,
    registration, report, set, settled, short, spec, strangers, unenrolled, uuid,
};

const SILENT: SightKind = SightKind::Silent;

fn proposal(incarnation: u64, seq: u64, commands: Vec<Command>) -> Proposal {
    Proposal {
        proposer: NodeId(1),
        incarnation: Incarnation(incarnation),
        seq: Seq(seq),
        wall_ms: 0,
        commands,
    }
}

fn deposed() -> World {
    let mut world = World::serving("pab", 1);
    world.silence("p:1-12");
    world
}

fn stage(world: &World) -> String {
    format!(
        "epoch {}, {}",
        world.cluster().epoch,
        world.cluster().stage_name()
    )
}

fn promoted(world: &mut World) {
    let choice = choose(world.cluster()).expect("a candidate");
    world.must(Command::Choose(Box::new(choice)));
}
