//! Passwords that are changed while everything runs.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::mysqld::session::within;
use primacy_core::record::EventKind;

use crate::eyes::{cleared, raised};
use crate::world::{LIMIT, World, ended, signal, throughout, until};
use crate::writer::Writer;

/// Beyond the time after which a primary that nobody acknowledges shuts itself.
const AFTERWARDS: Duration = Duration::from_secs(4);

/// Their files are written anew, with this password instead of that.
fn rewrite(world: &World, old: &str, new: &str) {
    for id in 1..=4 {
        let file = world.dir().join(format!("agent-{id}.toml"));
        let text = std::fs::read_to_string(&file).expect("its file");
        assert!(text.contains(old));
        std::fs::write(&file, text.replace(old, new)).expect("it is changed");
    }
}

/// The replicas' password is changed on the primary, and so everywhere; who replicates goes on. The
/// next primary lets in the new one alone, and the order to follow it brings that along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replicas_password_is_rotated() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let old = world.accounts().repl.password().to_owned();
    let change = "ALTER USER repl@'%' IDENTIFIED BY 'an''other'";
    world.sql("mysql-1", change).await;
    rewrite(&world, &old, "an'other");
    for id in 1..=4 {
        until(LIMIT, "its agent to take it over", async || {
            let log = world.log(&format!("agent-{id}"));
            log.contains("the accounts in the configuration have changed")
                .then_some(())
        })
        .await;
    }
    writer.more(10).await;
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    world.opened(2).await;
    writer.more(10).await;
    world.settle(writer, &[]).await;
}

/// The agents' password is changed on the primary, and so everywhere, their files later: nothing is
/// refused, a failover works, what cannot log in says so and is healed by the change of its file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_password_is_rotated() {
    let Some(world) = World::build().await else {
        return;
    };
    let fields = ["starved_sustain_ms=1500", "unacked_fence_ms=2000"];
    world.policy(&fields).await;
    let writer = Writer::start(&world).await;
    let old = world.accounts().agent.password().to_owned();
    for host in ["localhost", "127.0.0.0/255.0.0.0"] {
        let change = format!("ALTER USER primacy_agent@'{host}' IDENTIFIED BY 'it''s new'");
        world.sql("mysql-1", &change).await;
    }
    // Nobody needs a login now: it is tried all the same.
    raised(&world, "login_refused", "mysql-1").await;
    let before = writer.acked();
    throughout(
        AFTERWARDS,
        "it is vouched for, and epoch 1 stands",
        async || {
            let stands = world.first_epoch_stands().await;
            stands && world.serves("mysql-1").await == Some(1)
        },
    )
    .await;
    assert!(writer.acked() > before, "writes go on");
    assert_eq!(world.happened(EventKind::Deposed).await, 0);

    let killed = world.mysqld("mysql-1");
    signal(killed, Signal::SIGKILL);
    ended(killed).await;
    world.opened(2).await;
    // Its new server knows the new password alone.
    until(
        LIMIT,
        "its agent to say that it cannot log in",
        async || {
            let log = world.log("agent-1");
            log.contains("primacy_agent").then_some(())?;
            log.contains("cannot log in: error 1045").then_some(())
        },
    )
    .await;
    raised(&world, "login_refused", "mysql-1").await;
    rewrite(&world, &old, "it's new");
    until(LIMIT, "mysql-1 to be looked after again", async || {
        let mut session = world.try_root("mysql-1").await?;
        let ours = "SELECT CAST(COUNT(*) AS CHAR) FROM performance_schema.threads \
                    WHERE PROCESSLIST_USER='primacy_agent'";
        let sets = session.ask(ours, within(LIMIT)).await.ok()?;
        (sets[0][0].get::<String, _>(0)? != "0").then_some(())
    })
    .await;
    cleared(&world, "login_refused", "mysql-1").await;
    world.settle(writer, &["cannot log in"]).await;
}
