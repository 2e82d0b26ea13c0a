//! A server that is going away keeps nobody waiting.

use nix::sys::signal::Signal;
use primacy::mysqld::session::within;

use crate::world::{LIMIT, World, signal};
use crate::writer::Writer;

/// An orderly shutdown that hangs, while the freeze of the instance is all that a promotion waits
/// for: it is ended, started again, frozen; nothing that it acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_that_hangs_is_ended_for_a_freeze() {
    let Some(world) = World::build_with(&["--instances", "3"]).await else {
        return;
    };
    // An agent that slept tells what its server heard as heard when it woke up: the ground's age
    // would not do.
    world.policy(&["ground_age_ms=60000"]).await;
    let writer = Writer::start(&world).await;
    let third = world.instance("mysql-3").agent_pid;
    signal(third, Signal::SIGSTOP);
    world.sql("mysql-3", "STOP REPLICA IO_THREAD").await;
    // What it receives from now on it cannot apply.
    let mut locker = world.root("mysql-2").await;
    let lock = "LOCK TABLES app.writes READ";
    locker.execute(lock, within(LIMIT)).await.expect("locked");
    writer.more(50).await;

    let (first, second) = (world.instance("mysql-1").clone(), world.mysqld("mysql-2"));
    signal(first.agent_pid, Signal::SIGKILL);
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    signal(second, Signal::SIGTERM);
    signal(third, Signal::SIGCONT);
    let cluster = world.opened(2).await;
    assert_eq!(
        cluster.primary.as_str(),
        "mysql-2",
        "it alone has everything"
    );
    assert_ne!(world.mysqld("mysql-2"), second, "another process");
    drop(locker);
    let mut world = world;
    world.start_agent("mysql-1");
    world.settle(writer, &[]).await;
}
