//! Two operators at once, and what they did, read page by page.

use std::collections::BTreeMap;
use std::process::Command;

use primacy::api::HistoryEvent;
use primacy_core::record::EventKind;
use serde_json::Value;

use crate::world::{World, program};
use crate::writer::Writer;

const ROUNDS: u64 = 12;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

async fn primacy(world: &World, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program());
    world.told(&mut command).args(arguments);
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let output = ran.expect("it ran").expect("primacy starts");
    Ran {
        code: output.status.code().expect("it ended by itself"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn set(world: &World, arguments: &[&str]) -> Ran {
    let verb = ["policy", "set", world.cluster_id().as_str()];
    primacy(world, &[&verb[..], arguments].concat()).await
}

async fn policy(world: &World) -> Value {
    let verb = ["policy", "get", world.cluster_id().as_str()];
    world.cli(&verb).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_undo_nothing_of_each_other() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for round in 1..=ROUNDS {
        let (one, other) = (
            format!("priority={round}"),
            format!("join_wait_ms={}", 6_000 + round),
        );
        let (one, other) = ([one.as_str()], [other.as_str()]);
        let (one, other) = tokio::join!(set(&world, &one), set(&world, &other));
        for ran in [&one, &other] {
            assert_eq!(ran.code, 0, "{}", ran.err);
            assert!(
                ran.out.contains("demo sets "),
                "by certificate: {}",
                ran.out
            );
        }
        let cluster = world.caught_up(1).await.clusters[world.cluster_id()].clone();
        let policy = &cluster.cluster.policy;
        let changed = (u64::from(policy.priority), policy.join_wait_ms);
        assert_eq!(changed, (round, 6_000 + round), "one of the pair is lost");
    }

    let before = policy(&world).await;
    let revision = before["revision"].as_u64().expect("a revision");
    assert_eq!(revision, 2 * ROUNDS);
    assert_eq!(before["changed"]["priority"]["who"], "demo");
    let expect = format!("--expect={revision}");
    let (seven, eight) = (["min_interval_s=7", &expect], ["min_interval_s=8", &expect]);
    let (one, other) = tokio::join!(set(&world, &seven), set(&world, &eight));
    let (won, lost) = if one.code == 0 {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!((won.code, lost.code), (0, 4), "{} {}", won.err, lost.err);
    let now = policy(&world).await["policy"]["min_interval_s"].clone();
    for part in [
        format!(
            "min_interval_s was set to {now} by demo in revision {}",
            revision + 1
        ),
        format!("you asked on revision {revision}"),
        "primacy policy get orders".to_owned(),
    ] {
        assert!(lost.err.contains(&part), "{part:?} in {}", lost.err);
    }
    history_is_paged(&world).await;
    world.settle(writer, &[]).await;
}

/// Page by page, newest first, it is the same as all at once.
async fn history_is_paged(world: &World) {
    let cluster = world.cluster_id().as_str();
    let all = world.history().await;
    assert!(all.len() > 30, "{}", all.len());
    let newest = &all[all.len() - 1];
    assert_eq!(newest.event.kind, EventKind::PolicyChanged, "{newest:?}");
    assert!(newest.by_operator);

    let mut pages: Vec<HistoryEvent> = Vec::new();
    let mut before = String::new();
    loop {
        let mut verb = vec!["history", cluster, "--limit", "5", "-o", "json"];
        if !before.is_empty() {
            verb.extend(["--before", &before]);
        }
        let ran = primacy(world, &verb).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        let mut page: Vec<HistoryEvent> = serde_json::from_str(&ran.out).expect("events");
        page.append(&mut pages);
        pages = page;
        let Some((older, how)) = ran.err.split_once(" older entries of the log: ") else {
            assert_eq!(ran.err, "");
            break;
        };
        assert!(older.parse::<u64>().is_ok_and(|older| older > 0), "{older}");
        let start = format!("primacy history {cluster} --limit 5 --before ");
        let next = how.strip_prefix(&start).expect("the way to go on");
        before = next.trim().to_owned();
    }
    let what = |events: &[HistoryEvent]| -> Vec<(u64, String)> {
        let each = events.iter();
        each.map(|event| (event.log_index, event.event.what.clone()))
            .collect()
    };
    // Something may have happened since.
    assert_eq!(what(&pages)[..all.len()], what(&all));
    let positions: BTreeMap<u64, usize> = BTreeMap::from_iter(
        pages
            .iter()
            .enumerate()
            .map(|(at, event)| (event.log_index, at)),
    );
    assert!(positions.values().is_sorted(), "oldest first");
}
