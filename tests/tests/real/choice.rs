//! Who is chosen: by what was received, not by what is executed.

use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::mysqld::session::within;
use primacy_core::act::OrderKind;
use primacy_core::ids::{Epoch, InstanceId};
use primacy_core::record::Cluster;

use crate::relay::{Passing, Relay};
use crate::world::{LIMIT, World, signal, throughout, until};
use crate::writer::Writer;

const NOTHING_HAPPENS: Duration = Duration::from_secs(1);
/// Both acknowledge, and execute nothing for a while.
const BEHIND: [&str; 2] = ["mysql-3", "mysql-4"];

/// Stops a replica's receiver, and keeps it stopped.
async fn receives_no_more(world: &World, relay: &Relay, id: &str) {
    // It would be told to receive again.
    relay.lose(|_, passing| match passing {
        Passing::Order(order) => {
            matches!(order.kind, OrderKind::Follow { epoch, .. } if epoch == Epoch(1))
        }
        Passing::Reply(_) => false,
    });
    world.sql(id, "STOP REPLICA IO_THREAD").await;
    until(LIMIT, "it to execute what it received", async || {
        let sql = "SELECT GTID_SUBTRACT(RECEIVED_TRANSACTION_SET, @@global.gtid_executed) FROM \
                   performance_schema.replication_connection_status";
        world.value(id, sql).await.is_empty().then_some(())
    })
    .await;
}

async fn named_2(world: &World) -> Cluster {
    until(LIMIT, "epoch 2 to be named", async || {
        world.cluster().await.filter(|cluster| cluster.epoch.0 == 2)
    })
    .await
}

/// The one at home has executed most and received least: choosing it would lose what the others
/// acknowledged. The one that is chosen has to catch up first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_most_received_wins_over_the_most_executed() {
    let Some(mut world) = World::build().await else {
        return;
    };
    // It waits as long as the test looks; nobody else is chosen meanwhile.
    world
        .policy(&["ends_holders=false", "open_stall_ms=60000"])
        .await;
    let relay = Relay::between(&mut world, &["mysql-2"]).await;
    let writer = Writer::start(&world).await;
    let mut locks = Vec::new();
    for id in BEHIND {
        let mut session = world.root(id).await;
        let locked = session.execute("LOCK TABLES app.writes READ", within(LIMIT));
        locked.await.expect("it is locked");
        locks.push(session);
    }
    writer.more(30).await;
    receives_no_more(&world, &relay, "mysql-2").await;
    writer.more(30).await;

    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    let cluster = named_2(&world).await;
    let chosen = cluster.primary.clone();
    assert!(BEHIND.contains(&chosen.as_str()), "{chosen}");
    let promotion = cluster.promotion().expect("it is named");
    let reports = &promotion.after.as_ref().expect("what it rests on").frozen;
    let (ahead, best) = (&reports[&InstanceId::from("mysql-2")], &reports[&chosen]);
    assert!(
        ahead.executed.is_superset_of(&best.executed) && ahead.executed != best.executed,
        "mysql-2 has executed more: {ahead:?} {best:?}"
    );
    assert!(
        best.holds().is_superset_of(&ahead.holds()) && best.holds() != ahead.holds(),
        "{chosen} has received more: {ahead:?} {best:?}"
    );
    let why = &promotion.choice.why;
    assert!(
        why.iter().any(|why| why.starts_with("mysql-2 lacks ")),
        "{why:?}"
    );
    throughout(
        NOTHING_HAPPENS,
        "it opens with nothing unapplied",
        async || world.serves(chosen.as_str()).await.is_none(),
    )
    .await;

    for session in locks {
        session.close(within(LIMIT)).await;
    }
    relay.heal();
    world.opened(2).await;
    world.settle(writer, &[]).await;
}

/// One acker alone holds the newest acknowledged writes, and must never be promoted: the other
/// fetches them from it, and opens with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_one_that_must_never_be_promoted_holds_is_fetched() {
    let options = ["--instances", "3", "--never", "mysql-3"];
    let Some(mut world) = World::build_with(&options).await else {
        return;
    };
    let relay = Relay::between(&mut world, &["mysql-2"]).await;
    let writer = Writer::start(&world).await;
    writer.more(30).await;
    receives_no_more(&world, &relay, "mysql-2").await;
    writer.more(30).await;
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);

    let cluster = named_2(&world).await;
    assert_eq!(cluster.primary.as_str(), "mysql-2");
    let promotion = cluster.promotion().expect("it is named");
    let record = promotion.after.as_ref().expect("what it rests on");
    let (had, gave) = (
        &record.inquest.last_known,
        &record.frozen[&InstanceId::from("mysql-3")],
    );
    let fetch = &record.fetching.as_ref().expect("it fetched").fetch;
    assert_eq!(
        (fetch.to.as_str(), fetch.donor.as_str()),
        ("mysql-2", "mysql-3")
    );
    assert!(gave.holds().is_superset_of(&fetch.set));
    assert!(
        promotion
            .choice
            .need
            .is_superset_of(&gave.holds().union(had))
    );
    let orders = relay.orders();
    let fetching = orders.iter().filter(
        |(_, order)| matches!(&order.kind, OrderKind::Fetch { epoch, .. } if *epoch == Epoch(1)),
    );
    assert!(fetching.count() > 0, "it was ordered");
    world.opened(2).await;
    world.settle(writer, &[]).await;
}
