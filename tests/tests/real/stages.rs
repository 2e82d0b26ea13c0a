//! The leader dies after each stage of a failover, and the next one finishes it from the state
//! that the log holds.
//!
//! Stages last milliseconds. So that the log stands still at one, the network loses what would
//! lead to the next; the leader is killed there, and the network heals.

use nix::sys::signal::Signal;
use primacy_core::act::{OrderKind, Said};
use primacy_core::record::{Cluster, EventKind, Stage};

use crate::relay::{Passing, Relay};
use crate::world::{LIMIT, World, signal, until};
use crate::writer::Writer;

/// Where the log stands when the leader dies.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Nobody is frozen yet.
    Deposed,
    /// One member of V is frozen, and it needs two.
    Frozen,
    /// The choice is committed, and the chosen one has heard nothing of it.
    Chosen,
    /// It has applied everything; nobody knows yet that it opened.
    Applied,
    /// It is open; its first acknowledged write is not reported.
    Opened,
}

/// Never the primary in these scenarios: the one at home goes first, then the lower name.
const FREEZES_FIRST: &str = "mysql-4";

impl At {
    fn loses(self, passing: &Passing<'_>) -> bool {
        match (self, passing) {
            (At::Deposed, Passing::Order(order)) => matches!(order.kind, OrderKind::Freeze { .. }),
            (At::Frozen, Passing::Order(order)) => {
                matches!(order.kind, OrderKind::Freeze { .. })
                    && order.instance.as_str() != FREEZES_FIRST
            }
            (At::Chosen, Passing::Order(order)) => matches!(order.kind, OrderKind::Open { .. }),
            (At::Applied, Passing::Reply(reply)) => {
                matches!(reply.said, Said::Opened { .. } | Said::Acknowledged { .. })
            }
            (At::Opened, Passing::Reply(reply)) => matches!(reply.said, Said::Acknowledged { .. }),
            _ => false,
        }
    }

    fn reached(self, cluster: &Cluster, next: u64) -> bool {
        match (self, &cluster.stage) {
            (At::Deposed, Stage::Deposed(deposition)) => deposition.frozen.is_empty(),
            (At::Frozen, Stage::Deposed(deposition)) => deposition.frozen.len() == 1,
            (At::Chosen, Stage::Named(promotion)) => cluster.epoch.0 == next && !promotion.applied,
            (At::Applied, Stage::Named(promotion)) => {
                cluster.epoch.0 == next && promotion.applied && !promotion.opened
            }
            (At::Opened, Stage::Named(promotion)) => {
                cluster.epoch.0 == next && promotion.opened && !promotion.acknowledged
            }
            _ => false,
        }
    }
}

/// Kills the primary, and the leader once the log stands where it is told to.
async fn leader_dies(world: &mut World, relay: &Relay, at: At) {
    let primary = world.primary().await;
    let leader = world.leader().await;
    let witness = world.nodes().iter().find(|node| node.id != leader.id);
    let witness = witness.expect("there are three").clone();
    relay.lose(move |_, passing| at.loses(passing));
    signal(world.mysqld(&primary.instance), Signal::SIGKILL);

    let next = primary.epoch + 1;
    until(LIMIT, &format!("the log to stand at {at:?}"), async || {
        let mut seen = world.seen_by(&witness).await?;
        let status = seen.clusters.remove(world.cluster_id())?;
        at.reached(&status.cluster, next).then_some(())
    })
    .await;
    world.kill(leader.pid).await;
    relay.heal();

    let cluster = world.opened(next).await;
    assert_ne!(cluster.primary.as_str(), primary.instance);
    assert_ne!(world.leader().await.id, leader.id);
    for kind in [EventKind::Deposed, EventKind::Chosen, EventKind::Opened] {
        let events = world.history().await;
        let of = if kind == EventKind::Deposed {
            next - 1
        } else {
            next
        };
        let count = events
            .iter()
            .filter(|e| e.event.kind == kind && e.event.epoch.0 == of)
            .count();
        assert_eq!(count, 1, "{kind:?} of epoch {of}, once: {events:?}");
    }
    world.start_node(leader.id, &[]);
    world.caught_up(leader.id).await;
}

async fn leaders_die(stages: &[At]) {
    let Some(mut world) = World::build().await else {
        return;
    };
    let relay = Relay::between(&mut world, &["mysql-2", "mysql-3", "mysql-4"]).await;
    let writer = Writer::start(&world).await;
    for at in stages {
        leader_dies(&mut world, &relay, *at).await;
    }
    world.settle(writer, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_once_it_is_deposed_and_once_another_is_chosen() {
    leaders_die(&[At::Deposed, At::Chosen]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_once_one_is_frozen_and_once_all_is_applied() {
    leaders_die(&[At::Frozen, At::Applied]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_once_the_new_primary_is_open() {
    leaders_die(&[At::Opened]).await;
}
