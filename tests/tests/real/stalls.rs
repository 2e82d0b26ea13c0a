//! A candidate that is broken, held, or stalls once it is chosen: somebody else writes, or what holds
//! it is ended.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::mysqld::session::{Session, within};
use primacy_core::ids::InstanceId;
use primacy_core::record::{Cluster, EventKind};

use crate::world::{LIMIT, World, signal, until};
use crate::writer::Writer;

/// In the old primary's region, so that it is preferred.
const HOME: &str = "mysql-2";

async fn lock(world: &World) -> Session {
    let mut session = world.root(HOME).await;
    let locked = session.execute("LOCK TABLES app.writes READ", within(LIMIT));
    locked.await.expect("it is locked");
    session
}

async fn opened_by(world: &World, epoch: u64) -> Cluster {
    let cluster = world.opened(epoch).await;
    assert_eq!(cluster.epoch.0, epoch);
    cluster
}

/// A row that is there already stops the applier, and not the receiver: it acknowledges on, and could
/// never open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_applier_broke_is_ranked_last() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let row = "INSERT INTO app.writes (writer, n) VALUES (77, 1)";
    let hidden = format!(
        "SET GLOBAL super_read_only=OFF; SET SESSION sql_log_bin=0; {row}; \
         SET GLOBAL super_read_only=ON"
    );
    world.sql(HOME, &hidden).await;
    world.sql("mysql-1", row).await;
    until(LIMIT, "its applier to stop", async || {
        let sql = "SELECT LAST_ERROR_NUMBER FROM \
                   performance_schema.replication_applier_status_by_worker \
                   WHERE LAST_ERROR_NUMBER <> 0 LIMIT 1";
        (!world.value(HOME, sql).await.is_empty()).then_some(())
    })
    .await;
    writer.more(30).await;
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);

    let cluster = opened_by(&world, 2).await;
    assert_ne!(cluster.primary.as_str(), HOME);
    let promotion = cluster.promotion().expect("it is named");
    let after = promotion.after.as_ref().expect("what it rests on");
    let held = after.frozen[&InstanceId::from(HOME)].backlog.held.clone();
    let held = held.expect("it says what holds it");
    assert!(held.contains("1062"), "{held}");
    let why = promotion.choice.why.join("; ");
    assert!(
        why.contains(&format!("{HOME}: qualified, ranks after")),
        "{why}"
    );
    assert!(why.contains("applies nothing"), "{why}");
    assert_eq!(world.happened(EventKind::Withdrawn).await, 0);
    world.settle(writer, &["1062"]).await;
}

/// It was sound when it was frozen: what a client holds shows once it has to apply what it received.
/// Under a policy that ends nobody's session, another one is chosen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stalls_once_it_is_chosen_is_withdrawn() {
    let Some(world) = World::build().await else {
        return;
    };
    world
        .policy(&["ends_holders=false", "open_stall_ms=2000"])
        .await;
    let writer = Writer::start(&world).await;
    writer.more(10).await;
    let session = lock(&world).await;
    writer.more(10).await;
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);

    let cluster = opened_by(&world, 3).await;
    assert_ne!(cluster.primary.as_str(), HOME);
    assert_eq!(world.happened(EventKind::Withdrawn).await, 1);
    // It never began to open: it is a member of V, and follows once the lock is gone.
    let home = InstanceId::from(HOME);
    assert!(
        cluster.ackers.members.contains(&home),
        "{:?}",
        cluster.ackers
    );
    assert!(!cluster.left_behind.contains(&home));
    let record = cluster.promotion().and_then(|of| of.after.as_deref());
    let why = &record
        .and_then(|of| of.withdrawn.as_ref())
        .expect("it was withdrawn")
        .why;
    assert!(
        why.contains("root") && why.contains("writes"),
        "names who holds it: {why}"
    );
    session.close(within(LIMIT)).await;
    until(LIMIT, "it to follow", async || {
        let cluster = world.cluster().await?;
        let followers = &cluster.promotion()?.followers;
        followers.contains_key(&home).then_some(())
    })
    .await;
    world.settle(writer, &[]).await;
}

/// A backup's lock is released for it, and recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_holds_on_the_chosen_one_is_ended() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    writer.more(10).await;
    let mut backup = world.root(HOME).await;
    let locked = backup.execute("FLUSH TABLES WITH READ LOCK", within(LIMIT));
    locked.await.expect("it is locked");
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);

    let cluster = opened_by(&world, 2).await;
    assert_eq!(cluster.primary.as_str(), HOME);
    // Its agent says so by its next beat, which the opening does not wait for.
    until(LIMIT, "what was ended to be recorded", async || {
        let cluster = world.cluster().await?;
        let mut freed = cluster.promotion()?.freed.iter();
        let told = freed.any(|what| what.contains("of root@") && what.contains("lock SHARED"));
        told.then_some(())
    })
    .await;
    assert_eq!(world.happened(EventKind::Withdrawn).await, 0);
    let gone = backup
        .execute("UNLOCK TABLES", within(Duration::from_secs(5)))
        .await;
    assert!(gone.is_err(), "its session was ended");
    world.settle(writer, &[]).await;
}
