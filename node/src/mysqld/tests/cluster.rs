//! Three instances: found, write, lose the primary, promote, take the old one back.

use std::{num::NonZeroU16, time::Duration};

use super::rig::{Rig, START_LIMIT, soon, timed, until};
use crate::mysqld::{
    bringup::spawn,
    follow::{Followed, SourceTransport, Terms, follow},
    inspect::{ThreadState, inspect, pulse},
    marker, ops,
    session::Session,
    unfollow,
};

const ONE: NonZeroU16 = NonZeroU16::MIN;
const TWO: NonZeroU16 = ONE.saturating_add(1);

#[tokio::test(flavor = "multi_thread")]
async fn found_write_promote_and_return() {
    let Some(mut rig) = Rig::start(3).await else {
        return;
    };
    found(&rig).await;
    write_rows(&rig, 0, 0..20).await;

    // The primary dies. With k=2 each of both ackers holds all that was acknowledged.
    rig.processes[0].kill9().unwrap();
    let (mut first, mut second) = (rig.session(1).await, rig.session(2).await);
    let one = timed("freeze 1", ops::freeze(&mut first, soon()))
        .await
        .unwrap();
    let two = timed("freeze 2", ops::freeze(&mut second, soon()))
        .await
        .unwrap();
    assert!(one.pulse.received().ends_with(":1-23"), "{one:?}");
    assert_eq!(one.pulse.received(), two.pulse.received());
    let wait = Duration::from_secs(5);
    timed(
        "wait applied",
        ops::wait_applied(&mut first, one.pulse.received(), wait),
    )
    .await
    .unwrap();
    let source = rig.source(1, SourceTransport::PublicKey);
    let outcome = timed(
        "follow, again",
        follow(&mut second, &source, Terms::acking(), soon()),
    )
    .await
    .unwrap();
    assert_eq!(outcome, Followed::Repointed);
    let mut opener = rig.opener(1).await;
    let executed = timed("open", ops::open(&mut opener, ONE, soon()))
        .await
        .unwrap();
    assert_eq!(executed, one.pulse.received());
    timed("first acknowledged marker", first_marker(&rig, 1)).await;
    timed("clean up", unfollow::clean_up(&mut first, soon()))
        .await
        .unwrap();
    assert_eq!(pulse(&mut first, soon()).await.unwrap().replica, None);
    unfollow::clean_up(&mut first, soon()).await.unwrap();
    write_rows(&rig, 1, 20..40).await;
    assert_eq!(count_rows(&rig, 1).await, 40);

    // The old one returns fenced, holds nothing more, and follows without acknowledging.
    rig.processes[0].exited().await;
    let back = timed(
        "restart",
        spawn(&rig.server, &rig.instances[0], START_LIMIT),
    )
    .await
    .unwrap();
    rig.processes[0] = back;
    let mut old = rig.session(0).await;
    let returned = pulse(&mut old, soon()).await.unwrap();
    assert!(returned.super_read_only && !returned.semi_sync.source_enabled);
    assert_eq!(
        follow(&mut old, &source, Terms::default(), soon())
            .await
            .unwrap(),
        Followed::First
    );
    until("the old primary has every row", || async {
        count_rows(&rig, 0).await == 40
    })
    .await;
    let seen = inspect(&mut first, soon()).await.unwrap();
    assert_eq!(seen.dumps.len(), 2, "{seen:?}");
    assert_eq!(
        seen.dumps.iter().filter(|dump| dump.semi_sync).count(),
        1,
        "{seen:?}"
    );

    restarted_replica_keeps_what_it_received(&mut rig).await;
    rig.end().await;
}

/// Two ackers on an empty primary, k = 2.
async fn found(rig: &Rig) {
    let source = rig.source(0, SourceTransport::Tls);
    for index in [1, 2] {
        let mut replica = rig.session(index).await;
        let outcome = timed(
            "follow, first",
            follow(&mut replica, &source, Terms::acking(), soon()),
        )
        .await;
        assert_eq!(outcome.unwrap(), Followed::First);
    }
    let mut opener = rig.opener(0).await;
    assert_eq!(
        timed("open", ops::open(&mut opener, TWO, soon()))
            .await
            .unwrap(),
        ""
    );
    let mut primary = rig.session(0).await;
    timed(
        "marker table",
        marker::ensure_marker_table(&mut primary, soon()),
    )
    .await
    .unwrap();
    marker::ensure_marker_table(&mut primary, soon())
        .await
        .unwrap();

    let primary_uuid = pulse(&mut primary, soon()).await.unwrap().server_uuid;
    let mut replicas = Vec::new();
    for index in [1, 2] {
        let mut session = rig.session(index).await;
        let seen = loop {
            let seen = pulse(&mut session, soon()).await.unwrap();
            if seen
                .replica
                .as_ref()
                .is_some_and(|replica| replica.heartbeats > 2)
            {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let replica = seen.replica.unwrap();
        assert_eq!(
            (replica.io, replica.sql),
            (ThreadState::Yes, ThreadState::Yes)
        );
        assert_eq!(replica.source_uuid, primary_uuid);
        assert!(seen.semi_sync.replica_status && replica.read_log_pos > 0);
        let outcome = follow(&mut session, &source, Terms::acking(), soon())
            .await
            .unwrap();
        assert_eq!(outcome, Followed::Already);
        replicas.push(seen.server_uuid);
    }
    let seen = timed("inspect, primary", inspect(&mut primary, soon()))
        .await
        .unwrap();
    let mut acking: Vec<_> = seen
        .dumps
        .iter()
        .map(|dump| {
            assert!(dump.semi_sync);
            dump.replica_uuid.clone().unwrap()
        })
        .collect();
    acking.sort();
    replicas.sort();
    assert_eq!(acking, replicas);
    let mut app = rig.app(0).await;
    app.execute("CREATE TABLE app.t (id INT PRIMARY KEY)", soon())
        .await
        .unwrap();
}

async fn write_rows(rig: &Rig, index: usize, ids: std::ops::Range<u32>) {
    let mut app = rig.app(index).await;
    timed(&format!("{} acknowledged writes", ids.len()), async {
        for id in ids {
            app.execute(&format!("INSERT INTO app.t VALUES ({id})"), soon())
                .await
                .unwrap();
        }
    })
    .await;
}

async fn count_rows(rig: &Rig, index: usize) -> usize {
    let rows = rig
        .app(index)
        .await
        .ask("SELECT id FROM app.t", soon())
        .await
        .unwrap();
    rows[0].len()
}

/// As the agent does: markers on fresh connections, so that their acknowledgements wake MySQL's
/// receiver, which else polls for up to a second.
async fn first_marker(rig: &Rig, index: usize) {
    let (done, mut first) = tokio::sync::mpsc::channel(8);
    for n in 0u64.. {
        let (target, done) = (rig.agent(index), done.clone());
        tokio::spawn(async move {
            let mut session = Session::connect(&target, soon()).await.unwrap();
            if marker::marker(&mut session, 2, n, soon()).await.is_ok() {
                let _ = done.send(()).await;
            }
        });
        let waited = tokio::time::timeout(Duration::from_millis(20), first.recv()).await;
        if waited.is_ok() {
            return;
        }
        assert!(n < 200, "no marker was acknowledged");
    }
}

/// Trap: a change of source with both threads stopped purges what was received.
async fn restarted_replica_keeps_what_it_received(rig: &mut Rig) {
    let mut replica = rig.session(2).await;
    replica
        .execute("STOP REPLICA SQL_THREAD", soon())
        .await
        .unwrap();
    write_rows(rig, 1, 40..60).await;
    rig.processes[2].kill9().unwrap();
    rig.processes[2].exited().await;
    rig.processes[1].kill9().unwrap();
    rig.processes[1].exited().await;
    rig.processes[2] = spawn(&rig.server, &rig.instances[2], START_LIMIT)
        .await
        .unwrap();

    let mut replica = rig.session(2).await;
    let frozen = ops::freeze(&mut replica, soon()).await.unwrap();
    let before = ops::wait_applied(&mut replica, frozen.pulse.received(), Duration::ZERO).await;
    assert!(
        matches!(before, Err(ops::OpsError::NotApplied { .. })),
        "{before:?}"
    );
    assert!(matches!(
        unfollow::clean_up(&mut replica, soon()).await,
        Err(ops::OpsError::WouldDiscard { .. })
    ));
    let source = rig.source(0, SourceTransport::PublicKey);
    follow(&mut replica, &source, Terms::acking(), soon())
        .await
        .unwrap();
    let wait = Duration::from_secs(5);
    ops::wait_applied(&mut replica, frozen.pulse.received(), wait)
        .await
        .unwrap();
    assert_eq!(count_rows(rig, 2).await, 60);
    // A change of source keeps the rest, but for the heartbeat, which has to be named again.
    let sql = "SELECT CAST(HEARTBEAT_INTERVAL AS CHAR), CAST(CONNECTION_RETRY_INTERVAL AS CHAR), \
               CAST(CONNECTION_RETRY_COUNT AS CHAR), CAST(AUTO_POSITION AS CHAR) \
               FROM performance_schema.replication_connection_configuration";
    let sets = replica.ask(sql, soon()).await.unwrap();
    let kept: (String, String, String, String) = mysql_async::from_row(sets[0][0].clone());
    let kept = [kept.0, kept.1, kept.2, kept.3];
    assert_eq!(kept, ["0.100", "1", "0", "1"]);
}
