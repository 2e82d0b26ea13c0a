//! Replicas that must not be chosen, that are missing, and that do not belong.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy_core::decide::LossBound;
use primacy_core::gtid::Uuid;
use primacy_core::record::Follower;
use serde_json::Value;

use crate::world::{LIMIT, World, signal, throughout, until};
use crate::writer::Writer;

const NOTHING_HAPPENS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_errant_transactions_is_not_chosen() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    // The one at home would be chosen otherwise.
    world
        .sql(
            "mysql-2",
            "SET SESSION sql_log_bin=1; SET GLOBAL super_read_only=OFF; \
             CREATE TABLE app.errant (n INT PRIMARY KEY); INSERT INTO app.errant VALUES (1); \
             SET GLOBAL super_read_only=ON",
        )
        .await;
    let uuid: Uuid = world
        .value("mysql-2", "SELECT @@server_uuid")
        .await
        .parse()
        .expect("a uuid");
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);

    let cluster = world.opened(2).await;
    let choice = &cluster.promotion().expect("it is named").choice;
    assert!(
        ["mysql-3", "mysql-4"].contains(&choice.to.as_str()),
        "{choice:?}"
    );
    assert_eq!(choice.loss, LossBound::Zero);
    let own = |set: &primacy_core::gtid::GtidSet| set.to_string().contains(&uuid.to_string());
    assert!(
        !own(&choice.need),
        "nobody needs what was never acknowledged"
    );
    assert!(!own(&choice.within));
    assert!(
        choice.why.iter().any(|why| why.contains("errant")),
        "the choice says why not: {:?}",
        choice.why
    );
    until(LIMIT, "mysql-2 to refuse to follow", async || {
        let cluster = world.cluster().await?;
        let followers = &cluster.promotion()?.followers;
        match followers.get(&"mysql-2".into())? {
            Follower::Refused { extra } => own(extra).then_some(()),
            Follower::Joined => panic!("it follows with transactions that its source lacks"),
        }
    })
    .await;
    world.settle(writer, &[]).await;
}

/// What the leader says it waits for, and who of the two that are gone it names.
async fn waits(world: &World) -> String {
    let explained: Value = world.cli(&["explain", world.cluster_id().as_str()]).await;
    explained["waits"].to_string()
}

const GONE: [&str; 2] = ["mysql-3", "mysql-4"];

/// They go with the primary: the last reports still made a failover look feasible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_ackers_frozen_promotes_nobody_until_one_returns() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for id in GONE {
        world.stop_host(id);
    }
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);
    until(LIMIT, "the epoch to be deposed", async || {
        let cluster = world.cluster().await?;
        cluster.deposition().map(|_| ())
    })
    .await;
    until(LIMIT, "it to say who is missing", async || {
        let waits = waits(&world).await;
        (waits.contains("1 of 2") && GONE.iter().all(|id| waits.contains(id))).then_some(())
    })
    .await;
    throughout(NOTHING_HAPPENS, "nobody is promoted", async || {
        let cluster = world.cluster().await;
        cluster.is_some_and(|cluster| cluster.epoch.0 == 1)
    })
    .await;
    // One is enough.
    world.continue_host(GONE[0]);
    let cluster = world.opened(2).await;
    assert_eq!(cluster.primary.as_str(), "mysql-2");
    world.continue_host(GONE[1]);
    world.settle(writer, &[]).await;
}

/// They were gone before: then not even a verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_ackers_reached_deposes_nobody_until_they_return() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for id in GONE {
        world.stop_host(id);
    }
    for id in GONE {
        world.unheard(id).await;
    }
    signal(world.instance("mysql-1").mysqld_pid, Signal::SIGKILL);
    until(LIMIT, "an inquest that names who is missing", async || {
        let explained: Value = world.cli(&["explain", world.cluster_id().as_str()]).await;
        let findings = explained["findings"].to_string();
        let both = GONE.iter().all(|id| findings.contains(id));
        (explained["verdict"] == "Undecided" && both).then_some(())
    })
    .await;
    throughout(NOTHING_HAPPENS, "nobody is promoted", async || {
        let cluster = world.cluster().await;
        cluster.is_some_and(|cluster| cluster.epoch.0 == 1 && cluster.deposition().is_none())
    })
    .await;
    let waits = waits(&world).await;
    for id in GONE {
        world.continue_host(id);
    }
    let cluster = world.opened(2).await;
    assert_eq!(cluster.primary.as_str(), "mysql-2");
    world.settle(writer, &[]).await;
    assert!(
        GONE.iter().all(|id| waits.contains(id)),
        "what it waited for names who is missing: {waits}"
    );
}
