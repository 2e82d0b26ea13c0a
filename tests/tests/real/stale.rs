//! Orders that come late, as from a leader that slept while another one finished.

use nix::sys::signal::Signal;
use primacy_core::act::{Order, OrderKind, Said};
use primacy_core::ids::{ClusterId, InstanceId};

use crate::relay::{Passing, Relay};
use crate::world::{LIMIT, World, signal, until};
use crate::writer::Writer;

const REPLICAS: [&str; 3] = ["mysql-2", "mysql-3", "mysql-4"];

/// The seal of an instance's agent, as text.
fn seal(world: &World, id: &InstanceId) -> String {
    let folder = world.dir().join(id.as_str().replace("mysql", "agent"));
    let seal = primacy::agent::seal::read(&folder).expect("it is whole");
    format!("{:?}", seal.expect("its seal"))
}

/// What the server is, as far as an order could change it.
async fn server(world: &World, id: &InstanceId) -> String {
    let sql = "SELECT CONCAT_WS(' ', @@super_read_only, @@offline_mode, \
               @@rpl_semi_sync_source_enabled, @@rpl_semi_sync_replica_enabled, \
               (SELECT GROUP_CONCAT(SERVICE_STATE) FROM \
               performance_schema.replication_connection_status))";
    world.value(id.as_str(), sql).await
}

/// The leader has ordered two freezes, which are still on their way, and sleeps; the next leader
/// freezes, chooses and opens. Then the first one's orders arrive: to freeze the new primary and
/// its acker for an epoch that is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_orders_of_a_stale_leader_are_refused() {
    let Some(mut world) = World::build().await else {
        return;
    };
    let relay = Relay::between(&mut world, &REPLICAS).await;
    let writer = Writer::start(&world).await;
    let leader = world.leader().await;
    let slow = leader.id;
    relay.lose(move |node, passing| node == slow && matches!(passing, Passing::Order(_)));
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    let freezes = || {
        let orders = relay.orders().into_iter();
        let late: Vec<Order> = orders
            .filter(|(node, order)| *node == slow && matches!(order.kind, OrderKind::Freeze { .. }))
            .map(|(_, order)| order)
            .collect();
        late
    };
    until(LIMIT, "the leader to order the freezes", async || {
        let late = freezes();
        let all = REPLICAS
            .iter()
            .all(|id| late.iter().any(|order| order.instance.as_str() == *id));
        all.then_some(())
    })
    .await;
    signal(leader.pid, Signal::SIGSTOP);
    let cluster = world.opened(2).await;
    assert!(REPLICAS.contains(&cluster.primary.as_str()));
    // Until all have joined, their seals still change by right.
    until(LIMIT, "all to stand where the log wants them", async || {
        let cluster = world.cluster().await?;
        let joined = cluster.promotion()?.followers.len();
        let cleaned = world
            .value(
                cluster.primary.as_str(),
                "SELECT CAST(COUNT(*) AS CHAR) FROM \
                 performance_schema.replication_connection_configuration",
            )
            .await;
        (joined == REPLICAS.len() - 1 && cleaned == "0").then_some(())
    })
    .await;

    for id in REPLICAS {
        let late = freezes().into_iter().find(|o| o.instance.as_str() == id);
        let late = late.expect("it was ordered");
        refused_and_nothing_changed(&world, &relay, &late, "stale: token").await;
    }
    // Whatever its token: an order of another control plane, or for another cluster.
    let (_, newest) = relay.orders().pop().expect("there were orders");
    let mut foreign = newest.clone();
    foreign.token.plane = "another".into();
    foreign.token.epoch = foreign.token.epoch.next();
    refused_and_nothing_changed(&world, &relay, &foreign, "enrolled in control plane").await;
    let mut misled = newest;
    misled.cluster = ClusterId::from("another");
    misled.token.epoch = misled.token.epoch.next();
    refused_and_nothing_changed(&world, &relay, &misled, "of cluster orders").await;

    writer.more(20).await;
    // And when it wakes up, it learns that it leads no more.
    signal(leader.pid, Signal::SIGCONT);
    world.caught_up(leader.id).await;
    relay.heal();
    let epoch = world.primary().await.epoch;
    assert_eq!(epoch, 2);
    world.settle(writer, &[]).await;
}

async fn refused_and_nothing_changed(world: &World, relay: &Relay, order: &Order, why: &str) {
    let id = &order.instance;
    let before = (
        seal(world, id),
        server(world, id).await,
        world.serves(id.as_str()).await,
    );
    let said = relay.deliver(order).await;
    assert!(
        matches!(&said, Said::Refused { why: said } if said.contains(why)),
        "{id} answers {said:?} to {order:?}"
    );
    let after = (
        seal(world, id),
        server(world, id).await,
        world.serves(id.as_str()).await,
    );
    assert_eq!(before, after, "{id} after {order:?}");
}
