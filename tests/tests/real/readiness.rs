//! What would make a guarantee untrue is refused by name, with what mends it, before it counts.

use primacy_core::lint::Report;
use primacy_core::record::Founding;

use crate::hand::{Hand, Ran};
use crate::world::{LIMIT, until};

/// Every rule that is broken, as `rule instance`.
fn broken(ran: &Ran) -> Vec<String> {
    let lines = ran
        .out
        .lines()
        .filter_map(|line| line.strip_prefix("broken: "));
    lines.map(|line| line.replace(" on ", " ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_breaks_a_rule_is_not_registered() {
    let Some(mut hand) = Hand::begin(3).await else {
        return;
    };
    hand.start_server("db-1", "").await;
    hand.start_server("db-2", "gtid_mode=OFF\nenforce_gtid_consistency=OFF")
        .await;
    hand.start_server("db-3", "sync_relay_log=10000\nrelay_log_recovery=ON")
        .await;
    for id in ["db-1", "db-2"] {
        let config = hand.agent_config(id);
        hand.start_agent(&config, &format!("agent-{id}"));
    }
    let registration = hand.registration(Founding::New);
    // One instance has no agent, one has no GTIDs.
    let ran = hand
        .until_check(&registration, |ran| {
            ran.out.contains("broken: gtid_mode") && broken(ran).len() == 3
        })
        .await;
    assert_eq!(
        broken(&ran),
        [
            "agent db-3",
            "gtid_mode db-2",
            "enforce_gtid_consistency db-2"
        ]
    );
    assert_eq!(ran.code, 4);
    assert!(ran.out.contains("start the agent of db-3"), "{}", ran.out);
    let refused = hand
        .with_file(&["cluster", "register"], &registration)
        .await;
    assert_eq!(refused.code, 4, "{}", refused.err);
    for part in [
        "agent on db-3: the agent of db-3 is not connected",
        "gtid_mode on db-2: gtid_mode=OFF",
        "SET GLOBAL gtid_mode=ON",
        "policy.gives_up",
    ] {
        assert!(refused.err.contains(part), "{part:?} in {}", refused.err);
    }

    // The other agent shows what its server would forget.
    let config = hand.agent_config("db-3");
    hand.start_agent(&config, "agent-db-3");
    let ran = hand
        .until_check(&registration, |ran| {
            !ran.out.contains("broken: agent") && ran.code == 4
        })
        .await;
    assert_eq!(
        broken(&ran),
        [
            "gtid_mode db-2",
            "enforce_gtid_consistency db-2",
            "relay_log_recovery db-3",
            "sync_relay_log db-3"
        ]
    );
    // An address that answers with another server_uuid than its agent's. While it lets nobody in, as
    // it starts, that cannot be told.
    for id in ["db-1", "db-2"] {
        hand.sql(id, "SET GLOBAL offline_mode=OFF").await;
    }
    let mut crossed = registration.clone();
    let port = |id: &str| hand.place(id).instance.port;
    for (id, other) in [("db-1", "db-2"), ("db-2", "db-1")] {
        let spec = crossed.instances.get_mut(&id.into()).expect("an instance");
        spec.port = port(other);
    }
    let ran = hand.check(&crossed).await;
    let crossed = broken(&ran);
    assert!(crossed.contains(&"address db-1".into()), "{crossed:?}");
    assert!(crossed.contains(&"address db-2".into()), "{crossed:?}");
    for id in ["db-1", "db-2"] {
        hand.sql(id, "SET GLOBAL offline_mode=ON").await;
    }
    // A name that is no rule.
    let mut misspelt = registration.clone();
    misspelt.policy.gives_up.insert("sync_relaylog".into());
    let ran = hand.with_file(&["cluster", "register"], &misspelt).await;
    assert_eq!(ran.code, 4);
    assert!(
        ran.err.contains("sync_relaylog: is no rule; those are: "),
        "{}",
        ran.err
    );

    // Mended as it says, and one rule given up by name.
    hand.sql(
        "db-2",
        "SET GLOBAL enforce_gtid_consistency=ON; SET GLOBAL gtid_mode=OFF_PERMISSIVE; \
         SET GLOBAL gtid_mode=ON_PERMISSIVE; SET GLOBAL gtid_mode=ON",
    )
    .await;
    hand.sql("db-3", "SET GLOBAL sync_relay_log=1").await;
    for id in ["db-2", "db-3"] {
        let file = hand.place(id).instance.config();
        let text = std::fs::read_to_string(&file).expect("a configuration");
        let text = text
            .replace("gtid_mode=OFF", "gtid_mode=ON")
            .replace(
                "enforce_gtid_consistency=OFF",
                "enforce_gtid_consistency=ON",
            )
            .replace("sync_relay_log=10000", "sync_relay_log=1");
        std::fs::write(&file, text).expect("a writable file");
    }
    let ran = hand.check(&registration).await;
    assert_eq!(broken(&ran), ["relay_log_recovery db-3"], "{}", ran.out);
    let mut registration = registration;
    registration
        .policy
        .gives_up
        .insert("relay_log_recovery".into());
    let ran = hand.check(&registration).await;
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(
        ran.out.contains("given up: relay_log_recovery on db-3"),
        "{}",
        ran.out
    );
    let registered = hand
        .with_file(&["cluster", "register"], &registration)
        .await;
    assert_eq!(registered.code, 0, "{}", registered.err);
    hand.opened(1).await;
    until(LIMIT, "the check to see it serving", async || {
        let ran = hand.run(&["cluster", "check", "shop", "-o", "json"]).await;
        let report: Report = serde_json::from_str(&ran.out).ok()?;
        (ran.code == 0 && report.ready() && report.costs[0].contains("measured: db-")).then_some(())
    })
    .await;
    // What is broken is not taken back, and nothing else is in its way.
    let refused = hand.run(&["policy", "set", "shop", "gives_up=[]"]).await;
    assert_eq!(refused.code, 4, "{}", refused.out);
    assert!(
        refused.err.contains("relay_log_recovery on db-3"),
        "{}",
        refused.err
    );
    let set = hand.run(&["policy", "set", "shop", "priority=3"]).await;
    assert_eq!(set.code, 0, "{}", set.err);
    hand.settle(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_with_one_id_and_data_that_was_replaced() {
    let Some(mut hand) = Hand::begin(3).await else {
        return;
    };
    // Whatever their sql_mode, the statements mean the same.
    for id in ["db-1", "db-2", "db-3"] {
        let odd = "sql_mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT";
        hand.start_server(id, odd).await;
        let config = hand.agent_config(id);
        hand.start_agent(&config, &format!("agent-{id}"));
    }
    let registration = hand.registration(Founding::New);
    hand.until_check(&registration, |ran| ran.code == 0).await;
    let registered = hand
        .with_file(&["cluster", "register"], &registration)
        .await;
    assert_eq!(registered.code, 0, "{}", registered.err);
    hand.opened(1).await;

    // A second agent under the id of the first, beside another server.
    let mut twin = hand.agent_config("db-2");
    twin.instance = "db-3".into();
    twin.dir = hand.dir().join("agent-twin");
    twin.http = "127.0.0.1:0".parse().expect("an address");
    hand.start_agent(&twin, "agent-twin");
    until(LIMIT, "the twin to be refused by every node", async || {
        let log = hand.log("agent-twin");
        (log.matches("instance = \"db-3\": an agent at").count() == 3).then_some(())
    })
    .await;
    assert!(
        hand.log("agent-twin")
            .contains("give each instance an id of its own")
    );
    assert_eq!(
        hand.run(&["cluster", "check", "shop"]).await.code,
        0,
        "nobody else notices"
    );
    hand.kill("agent-twin");

    // A second node under the id of the first: at another place, with a log of its own.
    let mut twin = hand.node_config(1);
    twin.dir = hand.dir().join("node-twin");
    twin.listen = "127.0.0.1:0".parse().expect("an address");
    hand.start_node(&twin, "node-twin");
    let log = hand.ended("node-twin").await;
    assert!(log.contains("another process answers as node 2"), "{log}");
    assert_eq!(hand.serves("db-1").await, Some(1));

    // The data directory of a replica is replaced: another server under the old address.
    hand.kill("agent-db-3");
    hand.kill("db-3");
    let auto = hand.place("db-3").instance.data().join("auto.cnf");
    std::fs::remove_file(auto).expect("it had a server_uuid");
    hand.start_server("db-3", "").await;
    let config = hand.agent_config("db-3");
    hand.start_agent(&config, "agent-db-3");
    let ran = until(LIMIT, "the check to see it", async || {
        let ran = hand.run(&["cluster", "check", "shop"]).await;
        (broken(&ran) == ["enrolled db-3"]).then_some(ran)
    })
    .await;
    assert_eq!(ran.code, 4);
    assert!(
        ran.out.contains("its data directory was replaced"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("bring back the data directory of"),
        "{}",
        ran.out
    );
    assert_eq!(hand.serves("db-1").await, Some(1), "its primary serves on");
    hand.settle(&[
        "instance = \"db-3\": an agent at",
        "another process answers as node 2",
    ]);
}
