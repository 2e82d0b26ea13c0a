//! Disks that are full or hang, under a server and under its agent.

use std::path::Path;

use nix::sys::signal::Signal;
use primacy::agent::seal;
use primacy_core::agree::Verdict;
use primacy_core::ids::Epoch;

use crate::operator::{must, verdict};
use crate::volume::{Volume, agent_beside, ends, folder, follows};
use crate::world::{LIMIT, World, is_up, signal, until};
use crate::writer::Writer;

/// Room for what is written until it is filled on purpose.
const SPARE_MIB: u64 = 64;

/// Both acknowledge, and one of two must be frozen that has no byte left: its agent keeps its
/// promises all the same, now and when it is started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_promises_on_a_full_disk() {
    // Its full disk would keep it from opening.
    let three = ["--instances", "3", "--never", "mysql-2"];
    let Some(mut world) = World::build_with(&three).await else {
        return;
    };
    ends(&world, "mysql-2").await;
    let Some(volume) = Volume::under(&folder(&world, "mysql-2"), SPARE_MIB) else {
        return;
    };
    agent_beside(&world, "mysql-2");
    world.start_agent("mysql-2");
    follows(&world, "mysql-2").await;
    let writer = Writer::start(&world).await;

    hangs_on_full_disk(&world, "mysql-2", &volume, &writer).await;
    let hung = world.mysqld("mysql-2");
    // What it writes from now on it writes in place: also its next run.
    world.restart_agent("mysql-2").await;
    world.heard("mysql-2").await;
    let first = world.instance("mysql-1").clone();
    signal(first.agent_pid, Signal::SIGKILL);
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    // It wants the word of both. Nobody is left to acknowledge before there is room again.
    until(LIMIT, "epoch 2 to be open", async || {
        let cluster = world.cluster().await?;
        let opened = cluster.promotion().is_some_and(|of| of.opened);
        (opened && cluster.epoch == Epoch(2)).then_some(())
    })
    .await;
    let kept = seal::read(&world.dir().join("agent-2"))
        .expect("it is whole")
        .expect("its seal");
    assert_eq!(kept.frozen, Some(Epoch(1)));
    assert_ne!(
        world.mysqld("mysql-2"),
        hung,
        "only its end freed the freeze"
    );
    assert!(is_up(world.instance("mysql-2").agent_pid));
    volume.free();
    // A server that waits for its disk looks again once a minute.
    signal(world.mysqld("mysql-2"), Signal::SIGKILL);
    world.opened(2).await;
    world.start_agent("mysql-1");
    // On a full disk it may crash as often as it is started.
    world.settle(writer, &["mysqld does not start"]).await;
}

/// Fills a replica's disk while it has much to apply: its applier hangs in a commit, and with it the
/// statement by which its agent asks for the newest binary log.
async fn hangs_on_full_disk(world: &World, id: &str, volume: &Volume, writer: &Writer) {
    let agent = world.instance(id).agent_pid;
    signal(agent, Signal::SIGSTOP);
    world.sql(id, "STOP REPLICA SQL_THREAD").await;
    writer.more(100).await;
    volume.fill();
    world.sql(id, "START REPLICA SQL_THREAD").await;
    signal(agent, Signal::SIGCONT);
    let hang = "SELECT CAST(COUNT(*) AS CHAR) FROM performance_schema.threads \
                WHERE PROCESSLIST_INFO='SHOW BINARY LOG STATUS' AND PROCESSLIST_TIME>=2";
    until(LIMIT, "a statement to hang", async || {
        (world.value(id, hang).await != "0").then_some(())
    })
    .await;
}

/// A primary's disk hangs: it answers reads, is fenced in vain, and killed; a thread of it stays in
/// the kernel for as long as the disk hangs. It has exited all the same, and somebody else writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_ends_the_epoch_of_its_primary() {
    let Some(mut world) = World::build().await else {
        return;
    };
    // Its data moves to a disk of its own while it is a replica; then it is promoted.
    ends(&world, "mysql-2").await;
    let Some(mut volume) = Volume::disk_under(&folder(&world, "mysql-2"), SPARE_MIB) else {
        return;
    };
    world.start_agent("mysql-2");
    follows(&world, "mysql-2").await;
    let shop = world.cluster_id().as_str();
    must(&world, &["policy", "set", shop, "automation=advise"]).await;
    let agent = world.instance("mysql-1").agent_pid;
    signal(agent, Signal::SIGSTOP);
    world.unheard("mysql-1").await;
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    signal(agent, Signal::SIGCONT);
    verdict(&world, Verdict::Dead).await;
    let approve = ["approve", shop, "--epoch", "1", "--to", "mysql-2"];
    must(&world, &approve).await;
    let cluster = world.opened(2).await;
    assert_eq!(
        cluster.primary.as_str(),
        "mysql-2",
        "the one that was named"
    );
    must(&world, &["policy", "set", shop, "automation=auto"]).await;
    let writer = Writer::start(&world).await;

    let wedged = world.mysqld("mysql-2");
    volume.freeze();
    let cluster = world.opened(3).await;
    let promotion = cluster.promotion().expect("it is named");
    let after = promotion.after.as_ref().expect("what it rests on");
    assert_eq!(after.judgement.verdict, Verdict::Wedged);
    until(LIMIT, "the killed one to be told shut", async || {
        let seal = seal::read(&world.dir().join("agent-2")).ok()??;
        (seal.shut == Some(Epoch(2))).then_some(())
    })
    .await;
    let hangs = Path::new(&format!("/proc/{wedged}")).exists();
    assert!(hangs, "a thread of it is in the kernel still");
    volume.thaw();
    world.settle(writer, &[]).await;
}
