//! A founding that is refused says why, waits for the server to be mended, or is taken back.

use primacy_core::ids::InstanceId;
use primacy_core::record::{Founding, Stage};
use serde_json::Value;

use crate::hand::Hand;
use crate::world::{LIMIT, until};

async fn waits(hand: &Hand) -> String {
    let ran = hand.run(&["explain", "shop", "-o", "json"]).await;
    let document: Value = serde_json::from_str(&ran.out).unwrap_or_default();
    document["waits"].to_string()
}

async fn executed(hand: &Hand, id: &str) -> String {
    let sets = hand.sql(id, "SELECT @@gtid_executed").await;
    let row = sets.into_iter().flatten().next().expect("a row");
    row.get::<String, _>(0).expect("a set")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_write_on_a_replica_is_named_and_founding_goes_on_once_it_is_gone() {
    let Some(mut hand) = Hand::begin(3).await else {
        return;
    };
    for id in ["db-1", "db-2", "db-3"] {
        hand.start_server(id, "").await;
        let config = hand.agent_config(id);
        hand.start_agent(&config, &format!("agent-{id}"));
    }
    let before = executed(&hand, "db-2").await;
    let writable =
        |sql: &str| format!("SET GLOBAL super_read_only=OFF; {sql}; SET GLOBAL super_read_only=ON");
    hand.sql("db-2", &writable("CREATE USER somebody@localhost"))
        .await;

    let registration = hand.registration(Founding::New);
    hand.until_check(&registration, |ran| ran.code == 0).await;
    let register = async || {
        let verb = ["cluster", "register"];
        let ran = hand.with_file(&verb, &registration).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
    };
    let refused = async || {
        until(LIMIT, "the refusal to be explained", async || {
            let said = waits(&hand).await;
            said.contains("gtid_executed of db-2 = ").then_some(said)
        })
        .await
    };
    register().await;
    let said = refused().await;
    for part in ["rebuild db-2", "primacy cluster unregister shop"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let status = hand.run(&["status"]).await;
    let unbroken = status.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unbroken.contains("gtid_executed of db-2"), "{}", status.out);

    // Taken back, its names are free; registered again, it is refused again.
    let taken = hand.run(&["cluster", "unregister", "shop"]).await;
    assert_eq!(taken.code, 0, "{}", taken.err);
    until(LIMIT, "nobody to know the cluster", async || {
        hand.cluster().await.is_none().then_some(())
    })
    .await;
    let again = hand.run(&["cluster", "unregister", "shop"]).await;
    assert_eq!(again.code, 4, "{}", again.err);
    assert!(again.err.contains("is not registered"), "{}", again.err);
    let history = hand.run(&["history", "shop"]).await;
    assert!(
        history.out.contains("takes the registration back"),
        "{}",
        history.out
    );
    register().await;
    refused().await;
    let cluster = hand.cluster().await.expect("it is known");
    let Stage::Founding { reports, .. } = &cluster.stage else {
        panic!("it is founded with what only db-2 holds: {cluster:?}");
    };
    assert!(reports.len() < 3, "{reports:?}");

    let reset = format!("RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged='{before}'");
    hand.sql("db-2", &writable(&reset)).await;
    let cluster = hand.opened(1).await;
    assert_eq!(cluster.primary, InstanceId::from("db-1"));
    let late = hand.run(&["cluster", "unregister", "shop"]).await;
    assert_eq!(late.code, 4, "{}", late.err);
    assert!(late.err.contains("has been founded"), "{}", late.err);
    hand.settle(&[]);
}
