//! What people change on the servers that a proof rests on: it is put back or barred, said, and no
//! promotion claims more than is proved.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use primacy_core::decide::LossBound;
use primacy_core::record::{Cluster, Event, EventKind};

use crate::foreign::Foreign;
use crate::world::{LIMIT, World, signal, throughout, until};
use crate::writer::Writer;

const OFF: &str = "SET GLOBAL rpl_semi_sync_source_enabled=OFF";
const STATUS: &str = "SELECT VARIABLE_VALUE FROM performance_schema.global_status \
                      WHERE VARIABLE_NAME='Rpl_semi_sync_source_status'";

/// Whether everything that the log knows of the primary's ground is settled.
async fn settled(world: &World) -> Cluster {
    until(LIMIT, "the ground to be settled", async || {
        let cluster = world.cluster().await?;
        cluster.ground.is_settled().then_some(cluster)
    })
    .await
}

/// Waits until the history tells this of the primary's ground.
async fn told(world: &World, what: &str) {
    until(LIMIT, &format!("{what} to be told"), async || {
        let history = world.history().await;
        let mut events = history.iter().map(|entry| &entry.event);
        let tells = |event: &Event| event.kind == EventKind::Ground && event.what.contains(what);
        events.any(tells).then_some(())
    })
    .await;
}

/// The failover halts, since it could claim nothing, and says why. Who accepts the loss says so by name.
async fn halts_until_approved(world: &World, why: &str) {
    let cluster = world.cluster_id().as_str();
    let halted = until(LIMIT, "the failover to halt, and say why", async || {
        let said = world.explanation().await;
        said.contains("halted: the loss would be unknown")
            .then_some(said)
    })
    .await;
    assert!(halted.contains(why), "{halted}");
    assert_eq!(world.cluster().await.expect("a cluster").epoch.0, 1);

    let approve = ["approve", cluster, "--epoch", "1", "--max-loss", "any"];
    world.told_by(&approve).await;
    let cluster = world.opened(2).await;
    let choice = &cluster.promotion().expect("somebody is chosen").choice;
    assert_eq!(choice.loss, LossBound::Unknown);
    let writer = Writer::start(world).await;
    world.settle(writer, &[]).await;
}

/// A DBA switches semi-sync off, gives it a timeout, or waits for fewer: put back, and told; k of V
/// hold what was answered meanwhile before zero is claimed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_weakened_primary_is_put_back_and_told() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let table = [
        (OFF, "rpl_semi_sync_source_enabled is OFF"),
        (
            "SET GLOBAL rpl_semi_sync_source_timeout=1000",
            "rpl_semi_sync_source_timeout is finite",
        ),
        (
            "SET GLOBAL rpl_semi_sync_source_wait_for_replica_count=1",
            "rpl_semi_sync_source_wait_for_replica_count is below k",
        ),
        (
            "SET GLOBAL rpl_semi_sync_source_wait_no_replica=OFF",
            "rpl_semi_sync_source_wait_no_replica is OFF",
        ),
        (
            "SET GLOBAL sync_binlog=1000",
            "sync_binlog or innodb_flush_log_at_trx_commit is not 1",
        ),
    ];
    for (sql, what) in table {
        let name = sql.split([' ', '=']).nth(2).expect("SET GLOBAL name=value");
        let value = format!("SELECT CAST(@@GLOBAL.{name} AS CHAR)");
        let before = world.value("mysql-1", &value).await;
        world.sql("mysql-1", sql).await;
        let began = Instant::now();
        until(LIMIT, "it to be put back", async || {
            (world.value("mysql-1", &value).await == before).then_some(())
        })
        .await;
        let back = began.elapsed();
        told(&world, what).await;
        let told = began.elapsed();
        settled(&world).await;
        let zero = began.elapsed();
        println!("{what}: put back after {back:?}, told after {told:?}, zero again after {zero:?}");
        assert_eq!(world.value("mysql-1", STATUS).await, "ON", "after {sql}");
    }
    assert_eq!(
        world.serves("mysql-1").await,
        Some(1),
        "nobody was promoted, nothing was shut"
    );
    world.settle(writer, &[]).await;
}

/// Nobody is left to put it back, and what is answered then is nowhere else: no promotion claims that
/// nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_alone_is_not_called_zero() {
    let Some(world) = World::build().await else {
        return;
    };
    settled(&world).await;
    let primary = world.instance("mysql-1").clone();
    signal(primary.agent_pid, Signal::SIGSTOP);
    world.sql("mysql-1", OFF).await;
    until(LIMIT, "a node to see it", async || {
        let cluster = world.cluster().await?;
        (!cluster.ground.is_settled()).then_some(())
    })
    .await;
    world.kill(primary.agent_pid).await;
    world.kill(primary.mysqld_pid).await;
    halts_until_approved(&world, "ground was broken").await;
}

/// Everybody who looks at it stands still while somebody switches semi-sync off, and it is lost before
/// they go on: what it answered meanwhile nobody saw.
#[tokio::test(flavor = "multi_thread")]
async fn a_ground_that_nobody_saw_to_the_end_is_not_called_zero() {
    let Some(world) = World::build().await else {
        return;
    };
    settled(&world).await;
    let primary = world.instance("mysql-1").clone();
    let looking: Vec<u32> = world.nodes().iter().map(|node| node.pid).collect();
    for pid in looking.iter().chain([&primary.agent_pid]) {
        signal(*pid, Signal::SIGSTOP);
    }
    world.sql("mysql-1", OFF).await;
    // Longer than a look may be old.
    throughout(
        Duration::from_millis(2_500),
        "it answers alone",
        async || world.value("mysql-1", STATUS).await == "OFF",
    )
    .await;
    signal(primary.agent_pid, Signal::SIGKILL);
    signal(primary.mysqld_pid, Signal::SIGKILL);
    for pid in looking {
        signal(pid, Signal::SIGCONT);
    }
    halts_until_approved(&world, "before its end").await;
}

/// Somebody resets a primary's GTIDs: it gives numbers out anew, and who holds them says nothing of what
/// they stood for.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_gtids_were_reset_is_replaced_by_nobody_unasked() {
    let Some(world) = World::build().await else {
        return;
    };
    settled(&world).await;
    world.sql("mysql-1", "RESET BINARY LOGS AND GTIDS").await;
    told(&world, "its GTIDs were reset").await;
    let primary = world.instance("mysql-1").clone();
    signal(primary.agent_pid, Signal::SIGKILL);
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    halts_until_approved(&world, "its GTIDs were reset").await;
}

/// Rows are missing on a replica that filters, whatever its GTIDs say: it is never chosen, also when
/// the filter is gone.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_replicated_under_a_filter_is_never_promoted() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let filter = "STOP REPLICA SQL_THREAD; \
                  CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE=(app.writes); \
                  START REPLICA SQL_THREAD";
    world.sql("mysql-2", filter).await;
    writer.more(20).await;
    let told = "it replicates under a filter";
    until(LIMIT, "the filter to be told", async || {
        let describe = ["describe", world.cluster_id().as_str()];
        world.told_by(&describe).await.contains(told).then_some(())
    })
    .await;
    let gone = filter.replace("(app.writes)", "()");
    world.sql("mysql-2", &gone).await;
    writer.more(20).await;
    let primary = world.instance("mysql-1").clone();
    signal(primary.agent_pid, Signal::SIGKILL);
    world.kill(primary.mysqld_pid).await;
    let cluster = world.opened(2).await;
    let choice = &cluster.promotion().expect("somebody is chosen").choice;
    assert_ne!(choice.to.as_str(), "mysql-2");
    let why = "mysql-2 must be rebuilt before it may be promoted: it replicates under a filter";
    assert!(
        choice.why.iter().any(|line| line.starts_with(why)),
        "{:?}",
        choice.why
    );
    world.settle(writer, &[]).await;
}

/// Somebody's replication client acknowledges and says nothing of itself: it is cut, told, and counted
/// until k of V hold what was answered meanwhile. Nothing else is disturbed by it.
#[tokio::test(flavor = "multi_thread")]
async fn an_acker_without_a_name_is_cut_and_counted() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    settled(&world).await;
    let account =
        "CREATE USER outsider IDENTIFIED BY ''; GRANT REPLICATION SLAVE ON *.* TO outsider";
    world.sql("mysql-1", account).await;
    let mut outsider = Foreign::enter(world.instance("mysql-1").address.port(), "outsider").await;
    // One that takes no checksums is sent away by the server.
    outsider
        .says("SET @source_binlog_checksum='CRC32', @rpl_semi_sync_replica=1")
        .await;
    outsider.dumps(77).await;
    let attached = "SELECT CAST(COUNT(*) AS CHAR) FROM performance_schema.threads \
                    WHERE PROCESSLIST_USER='outsider'";
    until(LIMIT, "it to be cut", async || {
        (world.value("mysql-1", attached).await == "0").then_some(())
    })
    .await;
    told(&world, "names no server").await;
    settled(&world).await;
    assert_eq!(world.serves("mysql-1").await, Some(1));

    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    let cluster = world.opened(2).await;
    let choice = &cluster.promotion().expect("somebody is chosen").choice;
    assert_eq!(choice.loss, LossBound::Zero);
    world.settle(writer, &[]).await;
}

/// Somebody starts replication on the primary, toward one of its own replicas.
#[tokio::test(flavor = "multi_thread")]
async fn a_circle_is_ended() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    settled(&world).await;
    let other = world.instance("mysql-2").address;
    let circle = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{}', SOURCE_PORT={}, SOURCE_USER='nobody', \
         SOURCE_AUTO_POSITION=1; START REPLICA",
        other.ip(),
        other.port()
    );
    world.sql("mysql-1", &circle).await;
    until(LIMIT, "the primary to replicate from nobody", async || {
        let sets = world.sql("mysql-1", "SHOW REPLICA STATUS").await;
        sets.iter().all(Vec::is_empty).then_some(())
    })
    .await;
    // It may be over before anybody's next look, and is told all the same.
    until(LIMIT, "its agent to tell of it", async || {
        world.log("agent-1").contains("clean up").then_some(())
    })
    .await;
    assert_eq!(world.serves("mysql-1").await, Some(1));
    world.settle(writer, &[]).await;
}

/// Somebody gives a replica a second source: that channel is ended, and the first goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_channel_of_a_replica_is_ended() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    settled(&world).await;
    let channels = "SELECT CAST(COUNT(*) AS CHAR) FROM \
                    performance_schema.replication_connection_configuration";
    let received = "SELECT RECEIVED_TRANSACTION_SET FROM \
                    performance_schema.replication_connection_status WHERE CHANNEL_NAME=''";
    let other = world.instance("mysql-3").address;
    let second = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{}', SOURCE_PORT={}, SOURCE_USER='nobody', \
         SOURCE_AUTO_POSITION=1 FOR CHANNEL 'second hand'; START REPLICA FOR CHANNEL 'second hand'",
        other.ip(),
        other.port()
    );
    world.sql("mysql-2", &second).await;
    until(LIMIT, "the second channel to be gone", async || {
        (world.value("mysql-2", channels).await == "1").then_some(())
    })
    .await;
    let before = world.value("mysql-2", received).await;
    until(LIMIT, "the first one to go on", async || {
        (world.value("mysql-2", received).await != before).then_some(())
    })
    .await;
    world.settle(writer, &[]).await;
}

/// Somebody points a replica at another one: told, and put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_pointed_elsewhere_is_put_back() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    settled(&world).await;
    let port = |id: &str| world.instance(id).address.port().to_string();
    let elsewhere = format!(
        "STOP REPLICA IO_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_PORT={}; \
         START REPLICA IO_THREAD",
        port("mysql-2")
    );
    let source = "SELECT CAST(PORT AS CHAR) FROM \
                  performance_schema.replication_connection_configuration";
    world.sql("mysql-3", &elsewhere).await;
    let home = port("mysql-1");
    until(LIMIT, "mysql-3 to be put back", async || {
        (world.value("mysql-3", source).await == home).then_some(())
    })
    .await;
    writer.more(20).await;
    world.kill(world.mysqld("mysql-1")).await;
    let cluster = world.opened(2).await;
    assert_eq!(
        cluster.promotion().expect("it is named").choice.loss,
        LossBound::Zero
    );
    world.settle(writer, &[]).await;
}
