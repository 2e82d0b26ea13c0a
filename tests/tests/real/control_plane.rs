//! Control nodes fail: alone, at the worst moment, and too many at once.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy_core::record::EventKind;

use crate::world::{LIMIT, World, assert_home_first, signal, throughout, until};
use crate::writer::Writer;

/// Three times the longest patience of the fast profile before a crash counts.
const NOTHING_HAPPENS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_with_the_primary() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let leader = world.leader().await;
    signal(leader.pid, Signal::SIGKILL);
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);
    let cluster = world.opened(2).await;
    assert_home_first(&cluster);
    world.settle(writer, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_in_the_middle_of_a_failover() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let leader = world.leader().await;
    let others = world.nodes().iter().filter(|node| node.id != leader.id);
    let witness = others.clone().next().expect("there are three").clone();
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);
    // As soon as another node has applied the verdict.
    let begun = tokio::time::Instant::now();
    loop {
        let seen = world.seen_by(&witness).await;
        let cluster = seen.and_then(|mut seen| seen.clusters.remove(world.cluster_id()));
        let over = cluster.is_some_and(|status| {
            status.cluster.epoch.0 == 2 || status.cluster.deposition().is_some()
        });
        if over {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "no verdict");
    }
    signal(leader.pid, Signal::SIGKILL);
    let cluster = world.opened(2).await;
    assert_ne!(cluster.primary.as_str(), "mysql-1");
    assert_eq!(
        world.happened(EventKind::Chosen).await,
        2,
        "founding, and one more"
    );
    world.settle(writer, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_databases_serve_and_nobody_is_promoted() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let left = &world.nodes()[2];
    for node in &world.nodes()[..2] {
        signal(node.pid, Signal::SIGSTOP);
    }

    let before = writer.acked();
    throughout(NOTHING_HAPPENS, "the primary serves", async || {
        world.serves("mysql-1").await == Some(1)
    })
    .await;
    assert!(writer.acked() >= before + 20, "writes go on meanwhile");

    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);
    until(LIMIT, "the primary to be gone", async || {
        world.serves("mysql-1").await.is_none().then_some(())
    })
    .await;
    throughout(NOTHING_HAPPENS, "nobody is promoted", async || {
        for instance in world.instances() {
            if world.serves(instance.id.as_str()).await.is_some() {
                return false;
            }
        }
        let seen = world.seen_by(left).await.expect("the last node answers");
        let cluster = &seen.clusters[world.cluster_id()].cluster;
        cluster.epoch.0 == 1 && cluster.deposition().is_none()
    })
    .await;

    for node in &world.nodes()[..2] {
        signal(node.pid, Signal::SIGCONT);
    }
    let cluster = world.opened(2).await;
    assert_home_first(&cluster);
    world.settle(writer, &[]).await;
}

/// A stopped node's kernel still accepts connections: the verbs must not wait for it alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_passes_a_hung_node_over() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let first = &world.nodes()[0];
    signal(first.pid, Signal::SIGSTOP);
    let answered: primacy::api::StatusDocument = world.cli(&["status"]).await;
    assert_ne!(answered.answered_by.0, first.id);
    signal(first.pid, Signal::SIGCONT);
    world.settle(writer, &[]).await;
}
