//! A primary that lives, reaches everybody, and can gather no acknowledgement.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::mysqld::session::{Session, within};
use primacy_core::agree::Verdict;
use primacy_core::decide::LossBound;
use primacy_core::ids::Epoch;
use primacy_core::record::EventKind;

use crate::world::{LIMIT, World, ended, signal, throughout, until};
use crate::writer::Writer;

const FAST: [&str; 2] = ["--profile", "fast"];
/// Longer than `starved_sustain_ms`, and than what it takes to depose.
const NOTHING_HAPPENS: Duration = Duration::from_secs(5);

async fn run(root: &mut Session, sql: &str) {
    let done = root.execute(sql, within(LIMIT)).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Ends every session to which the server sends its binary log.
async fn end_dumps(root: &mut Session) {
    let dumps = "SELECT CAST(PROCESSLIST_ID AS CHAR) FROM performance_schema.threads \
                 WHERE PROCESSLIST_COMMAND LIKE 'Binlog Dump%'";
    let sets = root.ask(dumps, within(LIMIT)).await.expect("root is in");
    for row in sets.into_iter().flatten() {
        let id: String = row.get(0).expect("a number");
        // It may have ended by itself.
        let _ = root.execute(&format!("KILL {id}"), within(LIMIT)).await;
    }
}

fn account(world: &World, lock: &str) -> String {
    let user = &world.accounts().repl.user;
    format!("ALTER USER '{user}'@'%' ACCOUNT {lock}")
}

async fn verdict(world: &World) -> Option<Verdict> {
    Some(world.cluster().await?.judgement?.verdict)
}

/// The account that replicas use is locked on the primary alone, and their sessions are ended. Plane
/// and clients reach everybody; writes hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_replication_alone_is_cut_another_writes() {
    let Some(world) = World::build_with(&FAST).await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let mut root = world.root("mysql-1").await;
    run(&mut root, "SET sql_log_bin=0").await;
    run(&mut root, &account(&world, "LOCK")).await;
    end_dumps(&mut root).await;
    let written = writer.acked();
    let cluster = world.opened(2).await;
    until(LIMIT, "writes to go on", async || {
        (writer.acked() >= written + 20).then_some(())
    })
    .await;
    let promotion = cluster.promotion().expect("it is named");
    let after = promotion.after.as_ref().expect("what it rests on");
    assert_eq!(after.judgement.verdict, Verdict::Starved, "{after:?}");
    assert_eq!(promotion.choice.loss, LossBound::Zero);
    assert_ne!(promotion.choice.to.as_str(), "mysql-1");
    world.settle(writer, &[]).await;
}

/// So many ackers are restarted that writes hang meanwhile: they come back, and nobody is deposed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ackers_that_are_restarted_starve_nobody() {
    let Some(world) = World::build_with(&FAST).await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for ackers in [&["mysql-2"][..], &["mysql-3", "mysql-4"]] {
        for acker in ackers {
            let mysqld = world.mysqld(acker);
            signal(mysqld, Signal::SIGKILL);
            ended(mysqld).await;
        }
        for acker in ackers {
            until(LIMIT, &format!("{acker} to follow again"), async || {
                let sql = "SELECT CAST(SERVICE_STATE AS CHAR) AS v \
                           FROM performance_schema.replication_connection_status";
                let mut session = world.try_root(acker).await?;
                let sets = session.ask(sql, within(LIMIT)).await.ok()?;
                let state: String = sets.first()?.first()?.get(0)?;
                (state == "ON").then_some(())
            })
            .await;
        }
        writer.more(20).await;
    }
    throughout(NOTHING_HAPPENS, "nobody is deposed", async || {
        let cluster = world.cluster().await;
        cluster.is_some_and(|cluster| cluster.epoch == Epoch(1) && cluster.deposition().is_none())
    })
    .await;
    assert_eq!(world.happened(EventKind::Deposed).await, 0);
    world.settle(writer, &[]).await;
}

/// The lock replicates: nobody would fare better, so that nothing is moved, and it is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_would_fare_better_nothing_is_moved() {
    let Some(world) = World::build_with(&FAST).await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let mut root = world.root("mysql-1").await;
    run(&mut root, &account(&world, "LOCK")).await;
    for replica in ["mysql-2", "mysql-3", "mysql-4"] {
        until(LIMIT, "the lock to be replicated", async || {
            let user = &world.accounts().repl.user;
            let sql = format!(
                "SELECT CAST(COUNT(*) AS CHAR) FROM mysql.user \
                 WHERE User='{user}' AND account_locked='Y'"
            );
            let mut session = world.root(replica).await;
            let sets = session.ask(&sql, within(LIMIT)).await.ok()?;
            let locked: String = sets.first()?.first()?.get(0)?;
            (locked != "0").then_some(())
        })
        .await;
    }
    end_dumps(&mut root).await;
    until(LIMIT, "the verdict", async || {
        (verdict(&world).await? == Verdict::Starved).then_some(())
    })
    .await;
    let explained = until(LIMIT, "an explanation", async || {
        let explained = world.explained().await;
        let waits = explained["waits"].to_string();
        waits
            .contains("no candidate would fare better")
            .then_some(waits)
    })
    .await;
    println!("{explained}");
    throughout(NOTHING_HAPPENS, "nobody is deposed", async || {
        let cluster = world.cluster().await;
        cluster.is_some_and(|cluster| cluster.epoch == Epoch(1) && cluster.deposition().is_none())
    })
    .await;
    // Not replicated: it would wait for the ackers that it is to let in.
    run(&mut root, "SET sql_log_bin=0").await;
    run(&mut root, &account(&world, "UNLOCK")).await;
    until(LIMIT, "the inquest to be closed", async || {
        world.cluster().await?.inquest.is_none().then_some(())
    })
    .await;
    run(&mut root, "SET sql_log_bin=1").await;
    run(&mut root, &account(&world, "UNLOCK")).await;
    assert_eq!(world.happened(EventKind::Deposed).await, 0);
    world.settle(writer, &[]).await;
}
