//! What happens beside one primary, and must not end its epoch.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy_core::observe::SightKind;
use primacy_core::record::EventKind;

use crate::world::{LIMIT, World, assert_home_first, signal, throughout, until};
use crate::writer::Writer;

/// Whether no application may write.
const CLOSED: &str = "SELECT CAST(@@read_only AS CHAR)";

/// Well below the fast profile's patience of a second.
const BLIP_MS: u64 = 350;
/// Long enough for a verdict that should not be.
const AFTERWARDS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blip_costs_nothing() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let mysqld = world.instance("mysql-1").mysqld_pid;
    signal(mysqld, Signal::SIGSTOP);
    // Until somebody has missed it for a while: a blip that nobody notices shows nothing.
    until(LIMIT, "a node to miss it", async || {
        for node in world.nodes() {
            let seen = world.seen_by(node).await?;
            let sight = seen.view.instances[&"mysql-1".into()].sight;
            if sight.kind != SightKind::Blind && sight.for_ms >= BLIP_MS {
                return Some(());
            }
        }
        None
    })
    .await;
    signal(mysqld, Signal::SIGCONT);
    throughout(AFTERWARDS, "epoch 1 stands", async || {
        world.first_epoch_stands().await
    })
    .await;
    assert_eq!(world.happened(EventKind::Deposed).await, 0);
    assert_eq!(world.serves("mysql-1").await, Some(1));
    world.settle(writer, &[]).await;
}

/// Under `off` what a person closed is a person's to open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_off_a_primary_that_somebody_closed_stays_closed() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    world.policy(&["automation=off"]).await;
    world.sql("mysql-1", "SET GLOBAL super_read_only=ON").await;
    let left = "mysql-1: the primary is closed to writes, by somebody else than the plane";
    until(LIMIT, "it to be told", async || {
        world.explanation().await.contains(left).then_some(())
    })
    .await;
    throughout(Duration::from_secs(2), "it stays closed", async || {
        world.value("mysql-1", CLOSED).await == "1"
    })
    .await;
    assert_eq!(world.happened(EventKind::Deposed).await, 0);
    // Which takes the other with it; it alone would leave this.
    world.sql("mysql-1", "SET GLOBAL read_only=OFF").await;
    world.settle(writer, &[]).await;
}

/// Twice: the right to open again is not used up by the first. By what keeps out applications alone,
/// too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_somebody_fenced_opens_again() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for closing in ["super_read_only", "read_only"] {
        let primary = world.primary().await;
        world
            .sql(&primary.instance, &format!("SET GLOBAL {closing}=ON"))
            .await;
        let noticed = writer.acked();
        until(
            LIMIT,
            &format!("writes to go on after {closing}"),
            async || {
                let open = world.value(&primary.instance, CLOSED).await == "0";
                let moved = world.primary().await.epoch > primary.epoch;
                ((open || moved) && writer.acked() > noticed + 20).then_some(())
            },
        )
        .await;
    }
    let cluster = world.cluster().await.expect("the nodes answer");
    let reopened = world.happened(EventKind::Reopened).await;
    assert!(
        cluster.epoch.0 > 1 || reopened > 0,
        "it opened again by order, or another epoch did"
    );
    world.settle(writer, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_serves_on_without_its_agent() {
    let Some(mut world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let instance = world.instance("mysql-1").clone();
    signal(instance.agent_pid, Signal::SIGKILL);
    until(LIMIT, "the agent to be gone", async || {
        world.serves("mysql-1").await.is_none().then_some(())
    })
    .await;
    // The writer's connection stands; it needs no agent to go on.
    let before = writer.acked();
    throughout(AFTERWARDS, "epoch 1 stands", async || {
        world.first_epoch_stands().await
    })
    .await;
    assert!(writer.acked() > before + 20, "writes go on meanwhile");
    let uptime = "SELECT CAST(VARIABLE_VALUE AS CHAR) FROM performance_schema.global_status \
                  WHERE VARIABLE_NAME='Uptime'";
    let up: u64 = world
        .value("mysql-1", uptime)
        .await
        .parse()
        .expect("seconds");

    world.start_agent("mysql-1");
    until(LIMIT, "the new agent to vouch for its server", async || {
        (world.serves("mysql-1").await == Some(1)).then_some(())
    })
    .await;
    let later: u64 = world
        .value("mysql-1", uptime)
        .await
        .parse()
        .expect("seconds");
    assert!(later >= up, "the same server runs on");
    assert_eq!(world.happened(EventKind::Deposed).await, 0);
    assert_eq!(world.happened(EventKind::Reopened).await, 0);

    // And it is a full agent: it reports the death of a server that is not its child.
    signal(instance.mysqld_pid, Signal::SIGKILL);
    let cluster = world.opened(2).await;
    assert_home_first(&cluster);
    world.settle(writer, &[]).await;
}
