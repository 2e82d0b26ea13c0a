//! What would halt a failover is told before there is one: named, with the instance and the value,
//! raised once and cleared once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use primacy::mysqld::session::within;
use primacy_core::record::EventKind;
use serde_json::Value;

use crate::asking::get;
use crate::logs;
use crate::world::{LIMIT, World, ended, signal, throughout, until};
use crate::writer::Writer;

const NOTHING_HAPPENS: Duration = Duration::from_secs(3);
const REPLICAS: [&str; 3] = ["mysql-2", "mysql-3", "mysql-4"];

fn find(explained: &Value, code: &str, instance: &str) -> Option<Value> {
    let alarms = explained["alarms"].as_array()?;
    let found = alarms.iter().find(|alarm| {
        alarm["code"] == code && alarm["instance"].as_str().unwrap_or_default() == instance
    });
    found.cloned()
}

pub async fn raised(world: &World, code: &str, instance: &str) -> Value {
    let (what, began) = (format!("{code} of {instance} to be raised"), Instant::now());
    let found = until(LIMIT, &what, async || {
        find(&world.explained().await, code, instance)
    })
    .await;
    println!("{code} of {instance}: after {:?}: {found}", began.elapsed());
    found
}

pub async fn cleared(world: &World, code: &str, instance: &str) {
    let what = format!("{code} of {instance} to be cleared");
    until(LIMIT, &what, async || {
        let found = find(&world.explained().await, code, instance);
        found.is_none().then_some(())
    })
    .await;
}

/// Whether the nodes' logs told of an alarm as often that it is raised as that it is over, but for
/// those that stand. A leader that handed over says so, and the next one raises it anew.
fn told_once(world: &World, code: &str, instance: &str, standing: usize) {
    let lines = logs::alarms(world.dir());
    let count = |what: &str| {
        let of = |line: &&logs::AlarmLine| {
            let said = (
                line.what.as_str(),
                line.code.as_str(),
                line.instance.as_str(),
            );
            said == (what, code, instance)
        };
        lines.iter().filter(of).count()
    };
    let (raised, left) = (count("raised"), count("left"));
    assert!((1..=1 + left).contains(&raised), "raised once: {lines:?}");
    assert_eq!(
        raised,
        count("cleared") + left + standing,
        "{code} of {instance}: {lines:?}"
    );
}

/// Waits until a failover would succeed, or would not.
async fn ready(world: &World, wanted: bool) -> Value {
    let what = format!("a failover to be told to succeed: {wanted}");
    until(LIMIT, &what, async || {
        let readiness = world.explained().await["readiness"].clone();
        (readiness["ready"] == wanted).then_some(readiness)
    })
    .await
}

async fn quiet(world: &World) {
    until(LIMIT, "no alarm to stand", async || {
        let explained = world.explained().await;
        explained["alarms"].as_array()?.is_empty().then_some(())
    })
    .await;
    until(LIMIT, "mysql-2, at home, to be next", async || {
        let readiness = world.explained().await["readiness"].clone();
        (readiness["ready"] == true && readiness["next"] == "mysql-2").then_some(())
    })
    .await;
}

/// A row that stands on a replica alone: its applier stops, its receiver goes on and acknowledges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_applier_is_named_and_cleared() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    quiet(&world).await;
    world
        .sql("mysql-1", "CREATE TABLE app.eyes (n INT PRIMARY KEY)")
        .await;
    let there = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA='app' AND TABLE_NAME='eyes'";
    until(LIMIT, "mysql-2 to have the table", async || {
        (world.value("mysql-2", there).await == "1").then_some(())
    })
    .await;
    let row = "SET SESSION sql_log_bin=0; SET GLOBAL super_read_only=OFF; \
               INSERT INTO app.eyes VALUES (1); SET GLOBAL super_read_only=ON";
    world.sql("mysql-2", row).await;
    world
        .sql("mysql-1", "INSERT INTO app.eyes VALUES (1)")
        .await;

    let alarm = raised(&world, "applier_error", "mysql-2").await;
    assert_eq!(alarm["error"]["number"], 1062, "{alarm}");
    let cluster = world.cluster_id().as_str();
    let said = world.explanation().await;
    let named = "mysql-2: its applier has stopped with error 1062";
    assert!(said.contains(named), "{said}");
    let said = world.told_by(&["describe", cluster]).await;
    let mut lines = said.lines();
    let shown = |line: &str| {
        let parts = ["receives", "error 1062", "yes"];
        line.starts_with("mysql-2") && parts.iter().all(|part| line.contains(part))
    };
    assert!(lines.any(shown), "it receives and acknowledges: {said}");
    let said = world.told_by(&["status"]).await;
    assert!(said.contains("mysql-2 applier_error"), "{said}");

    let failing = "SELECT CAST(APPLYING_TRANSACTION AS CHAR) \
                   FROM performance_schema.replication_applier_status_by_worker \
                   WHERE LAST_ERROR_NUMBER=1062";
    let gtid = until(LIMIT, "the failing transaction", async || {
        let sets = world.sql("mysql-2", failing).await;
        let row = sets.into_iter().flatten().next()?;
        row.get::<String, _>(0).filter(|gtid| !gtid.is_empty())
    })
    .await;
    let skip = format!(
        "STOP REPLICA SQL_THREAD; SET GTID_NEXT='{gtid}'; BEGIN; COMMIT; \
         SET GTID_NEXT='AUTOMATIC'; START REPLICA SQL_THREAD"
    );
    world.sql("mysql-2", &skip).await;
    cleared(&world, "applier_error", "mysql-2").await;
    quiet(&world).await;
    told_once(&world, "applier_error", "mysql-2", 0);
    world.settle(writer, &[]).await;
}

/// Statements of an administrator write transactions of the replica's own: told at once, and where
/// all are barred, that nobody could be promoted. Made common they bar nobody, and all come to hold
/// them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_transactions_of_replicas_are_told_and_made_common() {
    let Some(world) = World::build().await else {
        return;
    };
    world.policy(&["make_common=false"]).await;
    let writer = Writer::start(&world).await;
    quiet(&world).await;
    world.sql("mysql-2", "FLUSH STATUS; FLUSH TABLES").await;
    raised(&world, "errant", "mysql-2").await;
    let readiness = ready(&world, true).await;
    assert_ne!(readiness["next"], "mysql-2", "it is barred");
    for id in ["mysql-3", "mysql-4"] {
        world.sql(id, "FLUSH STATUS; FLUSH PRIVILEGES").await;
        raised(&world, "errant", id).await;
    }
    let readiness = ready(&world, false).await;
    let why = readiness["why"].to_string();
    for id in REPLICAS {
        let barred = format!("{id} holds errant transactions");
        assert!(why.contains(&barred), "{why}");
    }
    raised(&world, "not_ready", "").await;
    let said = world.told_by(&["status"]).await;
    assert!(said.contains("NOT READY"), "{said}");

    world.policy(&["make_common=true"]).await;
    for id in REPLICAS {
        cleared(&world, "errant", id).await;
        told_once(&world, "errant", id, 0);
    }
    quiet(&world).await;
    told_once(&world, "not_ready", "", 0);
    assert_eq!(world.happened(EventKind::Common).await, REPLICAS.len());
    let executed = world
        .value("mysql-1", "SELECT @@global.gtid_executed")
        .await;
    for id in REPLICAS {
        let uuid = world.value(id, "SELECT @@server_uuid").await;
        assert!(
            executed.contains(&format!("{uuid}:1-2")),
            "{id}: {executed}"
        );
    }
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    world.opened(2).await;
    world.settle(writer, &[]).await;
}

/// A replica was away for longer than its source kept its binary logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_logs_that_were_purged_are_named() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    quiet(&world).await;
    signal(world.instance("mysql-3").agent_pid, Signal::SIGSTOP);
    let server = world.mysqld("mysql-3");
    signal(server, Signal::SIGKILL);
    ended(server).await;
    writer.more(21).await; // which it misses
    until(LIMIT, "the older binary logs to be purged", async || {
        world.sql("mysql-1", "FLUSH BINARY LOGS").await;
        let newest = world.value("mysql-1", "SHOW BINARY LOG STATUS").await;
        let purge = format!("PURGE BINARY LOGS TO '{newest}'");
        world.sql("mysql-1", &purge).await;
        let left = world.value("mysql-1", "SHOW BINARY LOGS").await;
        (left == newest).then_some(())
    })
    .await;
    signal(world.instance("mysql-3").agent_pid, Signal::SIGCONT);
    let alarm = raised(&world, "binlogs_purged", "mysql-3").await;
    let text = alarm["text"].as_str().expect("a sentence");
    assert!(text.ends_with("Rebuild it, from a copy of the primary"));
    raised(&world, "not_acking", "mysql-3").await;
    let balancer = get(world.instance("mysql-3").agent_http, "/replica").await;
    let (code, body) = balancer.expect("its agent answers");
    assert_eq!(code, 503, "{}", String::from_utf8_lossy(&body));
    let said = world
        .told_by(&["describe", world.cluster_id().as_str()])
        .await;
    let line = said.lines().find(|line| {
        line.starts_with("mysql-3") && line.contains("error 13114") && line.ends_with("NO")
    });
    assert!(line.is_some(), "{said}");
    told_once(&world, "binlogs_purged", "mysql-3", 1);
    world.settle(writer, &[]).await;
}

/// A backup holds the global read lock: who holds it is named, and nothing is fenced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_lock_on_the_primary_is_named() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    quiet(&world).await;
    let mut backup = world.root("mysql-1").await;
    let session = backup.id();
    let lock = "FLUSH TABLES WITH READ LOCK";
    backup.execute(lock, within(LIMIT)).await.expect("locked");
    let alarm = raised(&world, "write_not_sent", "mysql-1").await;
    let text = alarm["text"].as_str().expect("a sentence");
    let holder = format!("held by session {session} of root@localhost (its state is ");
    assert!(text.contains(&holder), "{text}");
    throughout(NOTHING_HAPPENS, "epoch 1 stands", async || {
        world.first_epoch_stands().await
    })
    .await;
    let unlock = backup.execute("UNLOCK TABLES", within(LIMIT)).await;
    unlock.expect("its session was not ended");
    cleared(&world, "write_not_sent", "mysql-1").await;
    told_once(&world, "write_not_sent", "mysql-1", 0);
    assert_eq!(world.happened(EventKind::Deposed).await, 0);
    world.settle(writer, &[]).await;
}
