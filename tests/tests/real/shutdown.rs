//! What a process manager does to a primary.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::mysqld::session::{Address, Session, Target, Transport, within};

use crate::world::{LIMIT, World, signal, until};
use crate::writer::Writer;

const WAITING: usize = 20;
/// Longer than any test runs.
const NEVER: Duration = Duration::from_secs(3_600);
const REPLICAS: [&str; 3] = ["mysql-2", "mysql-3", "mysql-4"];

/// Its unit says `KillSignal=SIGKILL`, because SIGTERM answers OK to commits that no replica
/// acknowledged (shown beside the fence's own tests). Nobody else is there to prevent it: its
/// agent is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_primary_answers_none_of_its_waiting_writers() {
    let Some(mut world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    for id in REPLICAS {
        // Or it would be told to receive again.
        signal(world.instance(id).agent_pid, Signal::SIGSTOP);
        world.sql(id, "STOP REPLICA IO_THREAD").await;
    }
    let primary = world.instance("mysql-1").address;
    let target = Target {
        address: Address::Tcp {
            host: primary.ip().to_string(),
            port: primary.port(),
        },
        login: world.app(),
        transport: Transport::Plain,
    };
    let waiting: Vec<_> = (0..WAITING)
        .map(|n| {
            let target = target.clone();
            tokio::spawn(async move {
                let session = Session::connect(&target, within(LIMIT)).await;
                let mut session = session.expect("the primary lets clients in");
                let sql = format!("INSERT INTO app.writes (writer, n) VALUES (2, {n})");
                session.execute(&sql, within(NEVER)).await
            })
        })
        .collect();
    until(LIMIT, "all of them to wait", async || {
        let sql = "SELECT CAST(COUNT(*) AS CHAR) FROM performance_schema.threads \
                   WHERE PROCESSLIST_INFO LIKE 'INSERT INTO app.writes (writer, n) VALUES (2, %'";
        let count: usize = world.value("mysql-1", sql).await.parse().expect("a number");
        (count == WAITING).then_some(())
    })
    .await;
    world.kill(world.instance("mysql-1").agent_pid).await;
    assert!(waiting.iter().all(|writer| !writer.is_finished()));

    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    let mut answered = 0;
    for writer in waiting {
        answered += usize::from(writer.await.expect("no panic").is_ok());
    }
    assert_eq!(answered, 0, "acknowledged without a replica");

    for id in REPLICAS {
        signal(world.instance(id).agent_pid, Signal::SIGCONT);
    }
    world.opened(2).await;
    world.start_agent("mysql-1");
    world.settle(writer, &[]).await;
}
