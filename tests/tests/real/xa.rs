//! Branches of distributed transactions that are prepared: seen, alarmed, and out of reach on every
//! replica where the policy says that they are in use.

use nix::sys::signal::Signal;
use primacy::mysqld::session::{Session, within};

use crate::world::{LIMIT, World, signal, until};
use crate::writer::Writer;

const PREPARE: &str = "\
CREATE TABLE app.branches (n INT PRIMARY KEY);
XA START 'transfer','1'; INSERT INTO app.branches VALUES (17); XA END 'transfer','1';
XA PREPARE 'transfer','1'";
/// It follows, and lets no client in.
const FOLLOWS_OFFLINE: &str = "\
SELECT CONCAT(@@offline_mode, COUNT(*)) FROM performance_schema.replication_connection_status
 WHERE SERVICE_STATE='ON'";

async fn keeps_clients_out(world: &World, id: &str) {
    until(LIMIT, &format!("{id} to follow offline"), async || {
        let mut session = world.try_root(id).await?;
        let sets = session.ask(FOLLOWS_OFFLINE, within(LIMIT)).await.ok()?;
        let found: String = sets.first()?.first()?.get(0)?;
        (found == "11").then_some(())
    })
    .await;
    refuses_clients(world, id).await;
}

async fn refuses_clients(world: &World, id: &str) {
    let target = primacy::mysqld::session::Target {
        address: primacy::mysqld::session::Address::Socket(world.instance(id).socket.clone()),
        login: world.app(),
        transport: primacy::mysqld::session::Transport::Plain,
    };
    let refused = Session::connect(&target, within(LIMIT)).await;
    assert_eq!(refused.expect_err("offline").code(), Some(3032), "{id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_branches_are_told_and_out_of_reach_on_replicas() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let cluster = world.cluster_id().to_string();
    world.sql("mysql-1", PREPARE).await;
    for id in ["mysql-1", "mysql-2"] {
        let told = format!("{id} has 1 prepared branch (XA)");
        until(LIMIT, &told, async || {
            let text = world.told_by(&["describe", &cluster]).await;
            let text: Vec<&str> = text.split_whitespace().collect();
            let text = text.join(" ");
            let names = text.contains(&format!("alarm: {told}")) && text.contains("xa=true");
            names.then_some(())
        })
        .await;
    }
    world.policy(&["xa=true"]).await;
    for id in ["mysql-2", "mysql-3", "mysql-4"] {
        keeps_clients_out(&world, id).await;
    }

    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    let cluster = world.opened(2).await;
    let primary = cluster.primary.to_string();
    for id in ["mysql-2", "mysql-3", "mysql-4"] {
        if id != primary {
            keeps_clients_out(&world, id).await;
        }
    }
    // The old one, started again, holds it too: only who is no client could commit it there.
    until(LIMIT, "the old primary to be up again", async || {
        world.try_root("mysql-1").await.map(drop)
    })
    .await;
    refuses_clients(&world, "mysql-1").await;
    // Its transaction manager finds it on the new primary, and there alone.
    world.sql(&primary, "XA COMMIT 'transfer','1'").await;
    let rows = "SELECT CAST(COUNT(*) AS CHAR) FROM app.branches";
    assert_eq!(world.value(&primary, rows).await, "1");
    world.settle(writer, &[]).await;
}
