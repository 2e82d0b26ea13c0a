//! What operators ask and order, and what load balancers ask.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::api::StatusDocument;
use primacy::client::{ClientError, primaries};
use primacy_core::agree::Verdict;
use primacy_proto::v1::{GetPrimaryRequest, GetPrimaryResponse};
use serde_json::Value;

use crate::asking::get;
use crate::world::{LIMIT, Node, World, program, signal, throughout, until};
use crate::writer::Writer;

/// Three times the longest patience of the fast profile.
const NOTHING_HAPPENS: Duration = Duration::from_secs(3);

/// Runs a verb that prints no document: its exit code, and what it said on stderr.
async fn verb(world: &World, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(program());
    world.told(&mut command).args(arguments);
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let output = ran.expect("it ran").expect("primacy starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("it ended by itself"), said)
}

pub async fn must(world: &World, arguments: &[&str]) {
    let (code, said) = verb(world, arguments).await;
    assert_eq!(code, 0, "primacy {arguments:?}: {said}");
}

async fn abort(world: &World) -> (i32, String) {
    let cluster = world.cluster_id().as_str();
    let why = "its network is being mended";
    verb(world, &["abort", cluster, "--epoch", "1", "--why", why]).await
}

async fn approve(world: &World) {
    let cluster = world.cluster_id().as_str();
    must(world, &["approve", cluster, "--epoch", "1"]).await;
}

/// A world in which nothing is started without an operator, and its writer.
async fn advised() -> Option<(World, Writer)> {
    let world = World::build().await?;
    let cluster = world.cluster_id().as_str();
    must(&world, &["policy", "set", cluster, "automation=advise"]).await;
    let writer = Writer::start(&world).await;
    Some((world, writer))
}

pub async fn verdict(world: &World, expected: Verdict) {
    until(LIMIT, "the verdict", async || {
        let cluster = world.cluster().await?;
        (cluster.judgement?.verdict == expected).then_some(())
    })
    .await;
}

const REPLICAS: [&str; 3] = ["mysql-2", "mysql-3", "mysql-4"];

/// Deposes epoch 1 so that nobody can be chosen yet: the primary's host is stopped, and no replica
/// can be frozen. Then aborts, and lets the replicas be frozen.
async fn deposed_and_aborted(world: &World) {
    for id in REPLICAS {
        signal(world.instance(id).mysqld_pid, Signal::SIGSTOP);
    }
    world.stop_host("mysql-1");
    verdict(world, Verdict::Dead).await;
    approve(world).await;
    let (code, said) = abort(world).await;
    assert_eq!(code, 0, "{said}");
    for id in REPLICAS {
        signal(world.instance(id).mysqld_pid, Signal::SIGCONT);
    }
    until(LIMIT, "the replicas to be frozen", async || {
        let cluster = world.cluster().await?;
        (cluster.deposition()?.frozen.len() == REPLICAS.len()).then_some(())
    })
    .await;
    throughout(NOTHING_HAPPENS, "nobody else is chosen", async || {
        let cluster = world.cluster().await.expect("the nodes answer");
        cluster.epoch.0 == 1 && cluster.deposition().is_some()
    })
    .await;
    let said = world.explained().await["waits"].to_string();
    assert!(said.contains("mysql-1 alone may open again"), "{said}");
    assert!(said.contains("primacy approve"), "how to undo it: {said}");
    let history = world.history().await;
    let aborted = |what: &str| what.starts_with("demo aborts the failover");
    let by_certificate = history.iter().any(|event| aborted(&event.event.what));
    assert!(by_certificate, "whoever runs this test: {history:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_abort_the_old_primary_alone_opens_again() {
    let Some((world, writer)) = advised().await else {
        return;
    };
    deposed_and_aborted(&world).await;
    world.continue_host("mysql-1");
    let cluster = world.opened(2).await;
    assert_eq!(cluster.primary.as_str(), "mysql-1");
    assert_eq!(
        abort(&world).await.0,
        0,
        "asked again, after it took effect"
    );
    world.settle(writer, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_that_cannot_help_is_lifted_by_an_approval() {
    let Some((world, writer)) = advised().await else {
        return;
    };
    deposed_and_aborted(&world).await;
    approve(&world).await;
    let cluster = world.opened(2).await;
    assert_eq!(cluster.primary.as_str(), "mysql-2");
    let (code, said) = abort(&world).await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("mysql-2 is chosen for epoch 2"), "{said}");
    world.continue_host("mysql-1");
    world.settle(writer, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_inquest_stays_closed_until_the_primary_falls_silent_anew() {
    let Some((world, writer)) = advised().await else {
        return;
    };
    let (code, said) = abort(&world).await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("nothing is under way"), "{said}");

    world.stop_host("mysql-1");
    verdict(&world, Verdict::Dead).await;
    assert_eq!(abort(&world).await.0, 0);
    throughout(NOTHING_HAPPENS, "no inquest is opened", async || {
        let cluster = world.cluster().await.expect("the nodes answer");
        cluster.inquest.is_none() && cluster.promotion().is_some()
    })
    .await;
    let said = world.explained().await["waits"].to_string();
    assert!(said.contains("aborted the inquest"), "{said}");

    world.continue_host("mysql-1");
    until(LIMIT, "writes on the old primary", async || {
        (world.serves("mysql-1").await == Some(1)).then_some(())
    })
    .await;
    writer.more(20).await;
    world.stop_host("mysql-1");
    verdict(&world, Verdict::Dead).await;
    world.continue_host("mysql-1");
    world.settle(writer, &[]).await;
}

// ---- what is seen

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_every_nodes_sight_and_who_does_not_answer() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let seen: StatusDocument = world.cli(&["status"]).await;
    assert_eq!(seen.sights.len(), 3);
    for (node, sight) in &seen.sights {
        let view = sight.view.as_ref().expect("everybody answers");
        assert_eq!(view.node, *node);
        assert_eq!(view.instances.len(), 4, "every instance: {view:?}");
    }
    assert!(seen.standing(world.cluster_id()).is_some(), "the leader's");

    let stopped = world.nodes()[2].clone();
    signal(stopped.pid, Signal::SIGSTOP);
    let seen: StatusDocument = world.cli(&["status"]).await;
    let mute = |id: u64| {
        let sight = seen.sights.iter().find(|(node, _)| node.0 == id);
        sight.expect("all are listed").1.unanswered.is_some()
    };
    assert_eq!([mute(1), mute(2), mute(3)], [false, false, true]);
    let table = world
        .told(&mut Command::new(program()))
        .arg("status")
        .output()
        .expect("primacy starts");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("does not answer"), "{table}");
    signal(stopped.pid, Signal::SIGCONT);
    world.settle(writer, &[]).await;
}

/// `None` if the node does not answer in time.
async fn stale(world: &World, node: &Node) -> Option<GetPrimaryResponse> {
    ask(world, node, true).await.ok()
}

async fn ask(
    world: &World,
    node: &Node,
    stale_ok: bool,
) -> Result<GetPrimaryResponse, ClientError> {
    let limit = Duration::from_secs(4);
    let client = world.client_of(node, limit);
    let answer = client.ask(|channel| {
        let cluster = world.cluster_id().to_string();
        let request = GetPrimaryRequest { cluster, stale_ok };
        async move { primaries(channel).get_primary(request).await }
    });
    Ok(answer.await?.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_answer_says_how_old_it_may_be() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for node in world.nodes() {
        until(LIMIT, "a young answer", async || {
            let age = stale(&world, node).await?.age_ms?;
            (age < 1_000).then_some(())
        })
        .await;
        let certain = ask(&world, node, false).await.expect("a majority answers");
        assert_eq!(certain.age_ms, Some(0));
    }

    let (left, others) = world.nodes().split_last().expect("three nodes");
    for node in others {
        signal(node.pid, Signal::SIGSTOP);
    }
    let old = until(LIMIT, "an old answer", async || {
        let answer = stale(&world, left).await?;
        (answer.age_ms? > 2_000).then_some(answer)
    })
    .await;
    let primary = old.primary.expect("the cluster is known");
    assert_eq!(primary.instance, "mysql-1");
    assert!(
        ask(&world, left, false).await.is_err(),
        "nobody can be certain"
    );

    for node in others {
        signal(node.pid, Signal::SIGCONT);
    }
    until(LIMIT, "a young answer again", async || {
        let age = stale(&world, left).await?.age_ms?;
        (age < 1_000).then_some(())
    })
    .await;
    world.settle(writer, &[]).await;
}

// ---- what a load balancer asks

async fn replica(world: &World, id: &str, query: &str) -> Option<(u16, Value)> {
    let path = format!("/replica{query}");
    let (code, body) = get(world.instance(id).agent_http, &path).await?;
    Some((code, serde_json::from_slice(&body).ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_falls_behind_is_no_replica_to_read_from() {
    let Some(world) = World::build().await else {
        return;
    };
    let bound = "?max_lag_ms=2000";
    let code = |wanted: u16, query: &'static str| {
        let world = &world;
        until(LIMIT, "the replica's answer", async move || {
            let (code, body) = replica(world, "mysql-3", query).await?;
            (code == wanted).then_some(body)
        })
    };
    // Idle, and applied.
    let body = code(200, bound).await;
    assert!(
        body["lag_ms"].as_u64().is_some_and(|ms| ms <= 2_000),
        "{body}"
    );

    let writer = Writer::start(&world).await;
    code(200, bound).await;
    // Its applier waits; its IO thread goes on.
    let mut lock = world.root("mysql-3").await;
    let deadline = primacy::mysqld::session::within(LIMIT);
    let sql = "FLUSH TABLES WITH READ LOCK";
    lock.execute(sql, deadline).await.expect("locked");
    let body = code(503, bound).await;
    let why = body["why"].as_str().unwrap_or_default();
    assert!(why.contains("ms behind, and max_lag_ms is 2000"), "{body}");
    code(200, "").await;
    lock.execute("UNLOCK TABLES", deadline)
        .await
        .expect("unlocked");
    lock.close(deadline).await;
    code(200, bound).await;

    let body = code(400, "?max_lag_ms=2s").await;
    let why = body["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("max_lag_ms = \"2s\""), "{body}");
    let (code, _) = replica(&world, "mysql-1", "").await.expect("it answers");
    assert_eq!(code, 503, "a primary is no replica");
    world.settle(writer, &[]).await;
}
