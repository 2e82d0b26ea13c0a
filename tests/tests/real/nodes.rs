//! Control nodes that were away, that forgot, and whose disk is full.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::client::{operator, primaries};
use primacy_core::agree::{Finding, Verdict};
use primacy_core::record::EventKind;
use primacy_proto::v1::{GetPrimaryRequest, ListHistoryRequest, SetPolicyRequest};
use serde_json::Value;

use crate::hand::Hand;
use crate::volume::Volume;
use crate::world::{LIMIT, Node, World, ended, signal, throughout, until};
use crate::writer::Writer;

const NOTHING_HAPPENS: Duration = Duration::from_secs(3);
/// So that a log of some hundred entries is purged.
const SNAPSHOTS_OFTEN: [(&str, &str); 1] = [("PRIMACY_NODE_SNAPSHOT_EVERY", "20")];
/// More than a disk that is full can take: several snapshots' worth.
const ENTRIES: usize = 100;
const SPARE_MIB: u64 = 16;

/// Adds entries to the log that change nothing of weight.
async fn grow(world: &World, entries: usize) {
    let client = world.client(LIMIT);
    let cluster = world.cluster().await.expect("the nodes answer");
    for n in 0..entries {
        let mut policy = cluster.policy.clone();
        policy.join_wait_ms += n as u64;
        let policy_json = serde_json::to_string(&policy).expect("JSON");
        let set = client.ask(|channel| {
            let request = SetPolicyRequest {
                cluster: world.cluster_id().to_string(),
                policy_json: policy_json.clone(),
            };
            async move { operator(channel).set_policy(request).await }
        });
        set.await.expect("a majority takes it");
    }
}

/// The log positions of which this very node knows what happened.
async fn remembered(world: &World, node: &Node) -> Vec<u64> {
    let client = world.client_of(node, LIMIT);
    let answer = client.ask(|channel| {
        let request = ListHistoryRequest {
            cluster: world.cluster_id().to_string(),
            page_size: 1_000,
            ..ListHistoryRequest::default()
        };
        async move { operator(channel).list_history(request).await }
    });
    let events = answer.await.expect("it answers").into_inner().event_json;
    let index = |event: &String| {
        let event: Value = serde_json::from_str(event).expect("JSON");
        event["log_index"].as_u64().expect("a position")
    };
    events.iter().map(index).collect()
}

async fn restart_all(world: &mut World) {
    for node in world.nodes().to_vec() {
        signal(node.pid, Signal::SIGTERM);
        ended(node.pid).await;
        world.start_node(node.id, &SNAPSHOTS_OFTEN);
        world.caught_up(node.id).await;
    }
}

async fn follower(world: &World) -> Node {
    let leader = world.leader().await;
    let node = world.nodes().iter().find(|node| node.id != leader.id);
    node.expect("there are three").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_restart_one_by_one_and_one_far_behind_takes_a_snapshot() {
    let Some(mut world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    restart_all(&mut world).await;

    let away = follower(&world).await;
    world.kill(away.pid).await;
    let behind = world.leader().await;
    let behind = world
        .seen_by(&behind)
        .await
        .expect("it leads")
        .applied_index;
    grow(&world, ENTRIES).await;
    world.start_node(away.id, &SNAPSHOTS_OFTEN);
    let seen = world.caught_up(away.id).await;
    assert!(seen.applied_index >= behind + ENTRIES as u64);
    let known = remembered(&world, &away).await;
    let gap = (behind + 1..behind + ENTRIES as u64 / 2).collect::<Vec<_>>();
    assert!(
        gap.iter().all(|index| !known.contains(index)),
        "entries that it should have skipped: {known:?}"
    );

    // It answers for itself, and for the plane.
    let client = world.client_of(&away, LIMIT);
    for stale_ok in [true, false] {
        let answer = client.ask(|channel| {
            let cluster = world.cluster_id().to_string();
            let request = GetPrimaryRequest { cluster, stale_ok };
            async move { primaries(channel).get_primary(request).await }
        });
        let primary = answer.await.expect("it answers").into_inner().primary;
        let primary = primary.expect("the cluster is known");
        assert_eq!((primary.instance.as_str(), primary.epoch), ("mysql-1", 1));
    }
    // And it counts: without it there is no majority now.
    let leader = world.leader().await;
    world.kill(leader.pid).await;
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    world.opened(2).await;
    world.start_node(leader.id, &SNAPSHOTS_OFTEN);
    world.caught_up(leader.id).await;
    world.settle(writer, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_its_node_alone() {
    let Some(mut world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let full = follower(&world).await;
    signal(full.pid, Signal::SIGTERM);
    ended(full.pid).await;
    let name = format!("node-{}", full.id);
    let Some(volume) = Volume::under(&world.dir().join(&name), SPARE_MIB) else {
        return;
    };
    world.start_node(full.id, &SNAPSHOTS_OFTEN);
    world.caught_up(full.id).await;

    let pid = world.nodes().iter().find(|node| node.id == full.id);
    let pid = pid.expect("it was started").pid;
    volume.fill();
    grow(&world, ENTRIES).await;
    ended(pid).await;
    let log = world.log(&name);
    let folder = world.dir().join(&name).display().to_string();
    let remedy = "the disk is full: free space on it (the file `ballast` in the node's folder may be \
                  deleted), then start this node again";
    let says = |line: &&str| line.contains(&folder) && line.contains(remedy);
    assert!(log.lines().any(|line| says(&line)), "it says why: {log}");

    // The two others lose nothing by it.
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    world.opened(2).await;
    volume.free();
    world.start_node(full.id, &SNAPSHOTS_OFTEN);
    world.caught_up(full.id).await;
    world.settle(writer, &[remedy]).await;
}

/// Two have lost the file in which they remember that they saw the primary, and start while its
/// host is down: it may be they that are cut off. Their word still counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_never_saw_the_primary_alive_promote_nobody() {
    let Some(mut world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let nodes = world.nodes().to_vec();
    for node in &nodes {
        world.kill(node.pid).await;
    }
    world.stop_host("mysql-1");
    for node in &nodes[..2] {
        let path = world.dir().join(format!("node-{}/memory.json", node.id));
        let text = std::fs::read(&path).expect("its memory");
        let memory: Value = serde_json::from_slice(&text).expect("JSON");
        let seen = memory["seen_alive"].as_object().expect("what it saw");
        assert_eq!(seen.len(), 1, "it had seen the primary");
        std::fs::remove_file(&path).expect("its memory goes");
    }
    for node in &nodes {
        world.start_node(node.id, &[]);
    }
    // The third one sees silence, asks, and is answered by two that cannot tell.
    until(LIMIT, "an inquest that two cannot answer", async || {
        let judgement = world.cluster().await?.judgement?;
        let blind = judgement.findings.iter();
        let blind = blind.filter(|finding| matches!(finding, Finding::Blind { .. }));
        (blind.count() == 2 && judgement.verdict == Verdict::Undecided).then_some(())
    })
    .await;
    throughout(NOTHING_HAPPENS, "nobody is promoted", async || {
        world.first_epoch_stands().await
    })
    .await;
    world.continue_host("mysql-1");
    writer.more(20).await;
    assert_eq!(world.happened(EventKind::Deposed).await, 0);

    // Now they have seen it.
    until(LIMIT, "every node to see it alive", async || {
        for node in world.nodes() {
            let path = world.dir().join(format!("node-{}/memory.json", node.id));
            let text = std::fs::read(&path).expect("its memory");
            let memory: Value = serde_json::from_slice(&text).expect("JSON");
            if memory["seen_alive"].as_object()?.is_empty() {
                return None;
            }
        }
        Some(())
    })
    .await;
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    world.opened(2).await;
    world.settle(writer, &[]).await;
}

/// Any node that is asked shows what another one's disk lacks, and how to help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_nearly_full_is_said_by_every_node() {
    let Some(mut hand) = Hand::begin(0).await else {
        return;
    };
    hand.kill("node-2");
    let mut config = hand.node_config(1);
    config.disk.ballast_mb = 1;
    hand.start_node(&config, "node-2");
    let ballast = config.dir.join("ballast");
    until(LIMIT, "ballast", async || ballast.exists().then_some(())).await;
    // More than this disk can have free: as if it were full.
    hand.kill("node-2");
    config.disk.alarm_free_mb = 1 << 40;
    hand.start_node(&config, "node-2");
    let said = "MB free, and disk.alarm_free_mb = 1099511627776: free space on it";
    let remedy = format!("delete {}, 1 MB", ballast.display());
    until(LIMIT, "it to be shown", async || {
        let shown = hand.run(&["status", "-o", "json"]).await.out;
        (shown.contains(said) && shown.contains(&remedy)).then_some(())
    })
    .await;
    assert!(hand.log("node-2").contains(said));
    hand.settle(&["disk.alarm_free_mb = "]);
}

fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("a node's folder") {
        let path = entry.expect("readable").path();
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.expect("its content goes");
    }
}

/// Two nodes agree on a failover while the third is stopped; one of them dies, the other comes back
/// with an empty folder. With its vote the third would lead, and know nothing of the new primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_empty_folder_takes_no_part_and_says_what_to_do() {
    let Some(mut world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let [first, second, third] = &world.nodes().to_vec()[..] else {
        panic!("three nodes")
    };
    signal(third.pid, Signal::SIGSTOP);
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    world.opened(2).await;
    world.kill(first.pid).await;
    world.kill(second.pid).await;
    empty(&world.dir().join(format!("node-{}", second.id)));
    world.start_node(second.id, &[]);
    signal(third.pid, Signal::SIGCONT);

    let again = world.nodes().iter().find(|node| node.id == second.id);
    ended(again.expect("it was started").pid).await;
    let log = world.log(&format!("node-{}", second.id));
    let (id, by) = (second.id, third.id);
    let why = format!("the folder of node {id} is empty, and node {by} knows this plane");
    assert!(
        log.contains(&why) && log.contains("`primacy control replace`"),
        "{log}"
    );
    throughout(
        NOTHING_HAPPENS,
        "nobody leads with what it knows",
        async || {
            let seen = world.seen_by(third).await;
            seen.is_none_or(|seen| !seen.hears_majority)
        },
    )
    .await;
    world.start_node(first.id, &[]);
    world.caught_up(first.id).await;
    let cluster = world.opened(2).await;
    assert_ne!(cluster.primary.as_str(), "mysql-1");
    world.settle(writer, &[]).await;
}

/// Nobody is there who could know whether it has lost anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_node_waits_for_those_who_could_know_and_says_so() {
    let Some(mut hand) = Hand::begin(0).await else {
        return;
    };
    until(LIMIT, "the plane to be founded", async || {
        let shown = hand.run(&["status", "-o", "json"]).await.out;
        shown.contains("\"plane\": \"hand\"").then_some(())
    })
    .await;
    for name in ["node-1", "node-2", "node-3"] {
        hand.kill(name);
    }
    let config = hand.node_config(1);
    empty(&config.dir);
    hand.start_node(&config, "node-2");
    let says = "node 2 takes no part yet: no answer from node 1 (";
    until(LIMIT, "it to say for whom it waits", async || {
        let shown = hand.run(&["status"]).await.err;
        (hand.log("node-2").contains(says) && shown.contains("node 2 takes no part yet"))
            .then_some(())
    })
    .await;
    hand.start_node(&hand.node_config(0), "node-1");
    let log = hand.ended("node-2").await;
    let why = "the folder of node 2 is empty, and node 1 knows this plane";
    assert!(log.contains(why), "{log}");
    hand.settle(&[]);
}
