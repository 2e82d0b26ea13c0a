//! A fence against writers: healthy, and stuck behind stopped ackers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nix::libc;

use super::rig::{Rig, go_online, soon, timed, until};
use crate::mysqld::{
    fence::fence,
    follow::{SourceTransport, Terms, follow},
    inspect::inspect,
    ops,
    session::Session,
};

#[tokio::test(flavor = "multi_thread")]
async fn fences_a_healthy_primary_and_a_stuck_one() {
    let Some(rig) = Rig::start(2).await else {
        return;
    };
    rig.replicating().await;
    let source = rig.source(0, SourceTransport::PublicKey);
    let mut app = rig.app(0).await;
    app.execute(
        "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT)",
        soon(),
    )
    .await
    .unwrap();

    let (mut session, mut spare) = (rig.session(0).await, rig.session(0).await);
    let acknowledged = start_writers(&rig, 10);
    until("rows are written", || async {
        acknowledged.load(Ordering::Relaxed) > 20
    })
    .await;
    let fenced = timed(
        "fence, healthy, 10 writers",
        fence(&mut session, &mut spare, soon()),
    )
    .await
    .unwrap();
    assert!(!fenced.forced);
    assert!(session.is_usable() && spare.is_usable());
    // Fenced twice is fenced, and nothing was added.
    let again = fence(&mut session, &mut spare, soon()).await.unwrap();
    assert_eq!(again.final_executed, fenced.final_executed);
    go_online(&mut session).await;

    blocked_by_a_table_lock(&rig, &mut session, &mut spare).await;
    acknowledgements_on_their_way(&rig, &mut session, &mut spare).await;

    rig.open().await;
    rig.processes[1].signal(libc::SIGSTOP).unwrap();
    let acknowledged = start_writers(&rig, 10);
    until("ten commits wait", || async {
        let mut own = rig.session(0).await;
        inspect(&mut own, soon()).await.unwrap().waiting_for_ack > 0
    })
    .await;
    let refused = follow(&mut session, &source, Terms::default(), soon()).await;
    assert!(
        matches!(refused, Err(ops::OpsError::NotFenced)),
        "{refused:?}"
    );
    let refused = timed(
        "fence, stuck, 10 writers",
        fence(&mut session, &mut spare, soon()),
    )
    .await;
    assert!(
        matches!(refused, Err(ops::OpsError::OnlyKillingHelps { .. })),
        "{refused:?}"
    );
    let proof = timed("kill -9 to proof", rig.processes[0].kill_and_prove(soon())).await;
    assert!(proof.unwrap().is_some());
    assert_eq!(
        acknowledged.load(Ordering::Relaxed),
        0,
        "acknowledged without a replica"
    );
    rig.end().await;
}

/// Why nothing here ever sends SIGTERM, and why a process manager must not either
/// (`KillSignal=SIGKILL`): the graceful stop answers OK to commits that no replica has.
#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_answers_what_no_replica_acknowledged() {
    let Some(rig) = Rig::start(2).await else {
        return;
    };
    rig.replicating().await;
    let mut app = rig.app(0).await;
    let table = "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT)";
    app.execute(table, soon()).await.unwrap();
    rig.processes[1].signal(libc::SIGSTOP).unwrap();
    let acknowledged = start_writers(&rig, 10);
    let mut own = rig.session(0).await;
    let at_work = "SELECT CAST(COUNT(*) AS CHAR) FROM performance_schema.threads \
                   WHERE PROCESSLIST_INFO LIKE 'INSERT INTO app.t %'";
    // One waits for the acknowledgement, the others for their turn in its group.
    loop {
        let sets = own.ask(at_work, soon()).await.unwrap();
        let waiting = inspect(&mut own, soon()).await.unwrap().waiting_for_ack;
        if waiting > 0 && sets[0][0].get::<String, _>(0).unwrap() == "10" {
            break;
        }
    }
    assert_eq!(acknowledged.load(Ordering::Relaxed), 0);
    rig.processes[0].signal(libc::SIGTERM).unwrap();
    rig.processes[0].exited().await;
    let answered = acknowledged.load(Ordering::Relaxed);
    println!("{answered} of 10 answered by the graceful stop");
    assert!(answered > 0, "then SIGTERM has become harmless: say so");
    rig.end().await;
}

/// A client that holds a lock is in the way until `offline_mode` cuts it.
async fn blocked_by_a_table_lock(rig: &Rig, session: &mut Session, spare: &mut Session) {
    rig.open().await;
    let mut app = rig.app(0).await;
    app.execute("LOCK TABLES app.t WRITE", soon())
        .await
        .unwrap();
    let fenced = timed("fence, table locked", fence(session, spare, soon()))
        .await
        .unwrap();
    assert!(fenced.forced);
    assert!(
        app.execute("INSERT INTO app.t VALUES ()", soon())
            .await
            .is_err()
    );
    go_online(session).await;
}

/// Commits that are in the air when the clients are cut come down by themselves.
async fn acknowledgements_on_their_way(rig: &Rig, session: &mut Session, spare: &mut Session) {
    rig.open().await;
    let mut watcher = rig.session(0).await;
    rig.processes[1].signal(libc::SIGSTOP).unwrap();
    start_writers(rig, 10);
    while inspect(&mut watcher, soon()).await.unwrap().waiting_for_ack == 0 {}
    let acker_returns = async {
        let cut = async |watcher: &mut Session| {
            let seen = inspect(watcher, soon()).await.unwrap();
            seen.pulse.offline_mode
        };
        while !cut(&mut watcher).await {}
        rig.processes[1].signal(libc::SIGCONT).unwrap();
    };
    let (fenced, ()) = tokio::join!(fence(session, spare, soon()), acker_returns);
    assert!(fenced.unwrap().forced);
    go_online(session).await;
}

/// A frozen disk or a stopped server: the fence does not say that it holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_not_fenced() {
    let Some(rig) = Rig::start(1).await else {
        return;
    };
    let (mut session, mut spare) = (rig.session(0).await, rig.session(0).await);
    rig.processes[0].signal(libc::SIGSTOP).unwrap();
    let deadline = crate::mysqld::session::within(Duration::from_secs(2));
    let fenced = fence(&mut session, &mut spare, deadline).await;
    println!("{fenced:?}");
    assert!(matches!(
        fenced,
        Err(ops::OpsError::Step {
            step: "set offline_mode",
            ..
        })
    ));
    let proof = rig.processes[0].kill_and_prove(soon()).await.unwrap();
    assert!(proof.is_some());
    rig.end().await;
}

/// Each writes until it is cut; the sum of their acknowledged rows.
fn start_writers(rig: &Rig, count: usize) -> Arc<AtomicUsize> {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    for _ in 0..count {
        let target = rig.tcp(0, &rig.template.accounts.app);
        let acknowledged = Arc::clone(&acknowledged);
        tokio::spawn(async move {
            let mut session = Session::connect(&target, soon()).await.unwrap();
            while session
                .execute("INSERT INTO app.t VALUES ()", soon())
                .await
                .is_ok()
            {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    acknowledged
}
