//! The control plane cut off from a primary that serves on.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::mysqld::session::within;
use primacy_core::agree::Verdict;
use primacy_core::record::EventKind;

use crate::strace;
use crate::world::{LIMIT, World, signal, throughout, until};
use crate::writer::Writer;

const NOTHING_HAPPENS: Duration = Duration::from_secs(3);

/// Nobody gets in any more: the thread of `mysqld` that takes connections stops at the next one.
/// Who is in stays in: the replicas, and the clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_its_ackers_still_hear_is_not_deposed() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let mysqld = world.mysqld("mysql-1");
    let mut root = world.root("mysql-1").await;
    // Without -f: its first thread alone.
    let stop = "inject=accept,accept4:delay_enter=600000000";
    let calls = ["-e", "trace=accept,accept4", "-e", stop, "-o", "/dev/null"];
    let Some(door) = strace::attach(mysqld, calls) else {
        return;
    };
    signal(world.instance("mysql-1").agent_pid, Signal::SIGSTOP);
    // The probes that are in are put out, until no new one comes.
    let probes = "SELECT CAST(PROCESSLIST_ID AS CHAR) FROM performance_schema.threads \
                  WHERE PROCESSLIST_USER='primacy_control'";
    let cut = async |root: &mut primacy::mysqld::session::Session| {
        let sets = root.ask(probes, within(LIMIT)).await.expect("root is in");
        for row in sets.into_iter().flatten() {
            let id: String = row.get(0).expect("a number");
            // It may have ended by itself.
            let _ = root.execute(&format!("KILL {id}"), within(LIMIT)).await;
        }
    };
    let cluster = until(LIMIT, "the verdict", async || {
        cut(&mut root).await;
        let cluster = world.cluster().await?;
        let verdict = cluster.judgement.as_ref()?.verdict;
        (verdict == Verdict::Isolated).then_some(cluster)
    })
    .await;
    assert!(cluster.deposition().is_none());
    let written = writer.acked();
    throughout(NOTHING_HAPPENS, "nobody is promoted", async || {
        world.first_epoch_stands().await
    })
    .await;
    assert!(writer.acked() > written + 20, "and clients write on");
    let explained = world.explained().await;
    let waits = explained["waits"].to_string();
    assert!(waits.contains("alert: "), "a person is told: {explained}");

    strace::detach(door);
    signal(world.instance("mysql-1").agent_pid, Signal::SIGCONT);
    until(LIMIT, "the inquest to be closed", async || {
        world.cluster().await?.inquest.is_none().then_some(())
    })
    .await;
    assert_eq!(world.happened(EventKind::Deposed).await, 0);
    root.close(within(LIMIT)).await;
    world.settle(writer, &[]).await;
}
