//! XA COMMIT against a fence: it passes `super_read_only`, so only what the fence reads after
//! `offline_mode` is the final set.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::rig::{Rig, soon, until};
use crate::mysqld::{
    fence::fence,
    follow::{SourceTransport, Terms, follow},
    ops,
    session::{Session, within},
};

const ROUNDS: usize = 3;
const COMMITTERS: usize = 24;
/// Prepared beforehand: under `super_read_only` nothing new can be.
const PREPARED: usize = 10;
const PATIENCE: Duration = Duration::from_secs(20);

/// What one session was told.
struct Told {
    acked: Vec<usize>,
    /// Prepared, and not answered.
    left: VecDeque<usize>,
}

/// Commits one after the other what it has prepared, and prepares more, until it is cut.
async fn commit(mut app: Session, from: usize, acked: Arc<AtomicUsize>) -> Told {
    let mut told = Told {
        acked: Vec::new(),
        left: VecDeque::new(),
    };
    let mut next = from;
    let mut preparing = true;
    loop {
        while preparing && told.left.len() < PREPARED {
            let sql = format!(
                "XA START 'x{next}'; INSERT INTO app.t VALUES ({next}); XA END 'x{next}'; \
                 XA PREPARE 'x{next}'"
            );
            preparing = app.execute(&sql, within(PATIENCE)).await.is_ok();
            if preparing {
                told.left.push_back(next);
                next += 1;
            } else {
                // Out of the transaction that was begun, or the commits below are refused.
                for end in ["XA END", "XA ROLLBACK"] {
                    let _ = app
                        .execute(&format!("{end} 'x{next}'"), within(PATIENCE))
                        .await;
                }
            }
        }
        let Some(&oldest) = told.left.front() else {
            return told;
        };
        let sql = format!("XA COMMIT 'x{oldest}'");
        if app.execute(&sql, within(PATIENCE)).await.is_err() {
            return told;
        }
        told.left.pop_front();
        told.acked.push(oldest);
        acked.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_xa_commit_is_in_the_final_set_or_not_acknowledged() {
    let Some(rig) = Rig::start(2).await else {
        return;
    };
    let mut replica = rig.replicating().await;
    let table = "CREATE TABLE app.t (id INT PRIMARY KEY)";
    rig.app(0).await.execute(table, soon()).await.unwrap();
    for round in 0..ROUNDS {
        one_round(&rig, &mut replica, round).await;
    }
    rig.end().await;
}

async fn one_round(rig: &Rig, replica: &mut Session, round: usize) {
    // It acknowledges what it receives; what it applies is told to the transaction, below.
    let stop = "STOP REPLICA SQL_THREAD";
    replica.execute(stop, within(PATIENCE)).await.unwrap();
    let acked = Arc::new(AtomicUsize::new(0));
    let mut committers: Vec<JoinHandle<Told>> = Vec::new();
    for committer in 0..COMMITTERS {
        let from = 1 + (round * COMMITTERS + committer) * 1_000_000;
        committers.push(tokio::spawn(commit(rig.app(0).await, from, acked.clone())));
    }
    until("commits are answered", || async {
        acked.load(Ordering::Relaxed) > 5 * COMMITTERS
    })
    .await;
    let (mut session, mut spare) = (rig.session(0).await, rig.session(0).await);
    let before = acked.load(Ordering::Relaxed);
    let fenced = fence(&mut session, &mut spare, soon()).await.unwrap();
    let (mut told, mut left) = (BTreeSet::new(), VecDeque::new());
    for committer in committers {
        let one = committer.await.unwrap();
        assert!(!one.left.is_empty(), "it was cut, it did not run out");
        told.extend(one.acked);
        left.extend(one.left);
    }
    println!(
        "round {round}: {} commits answered, {} of them since the fence began",
        told.len(),
        told.len() - before
    );

    // Exactly the final set, applied elsewhere, holds every one of them.
    let final_set = &fenced.final_executed;
    let until_final = format!("START REPLICA SQL_THREAD UNTIL SQL_AFTER_GTIDS='{final_set}'");
    replica.execute(&until_final, soon()).await.unwrap();
    ops::wait_applied(replica, final_set, PATIENCE)
        .await
        .unwrap();
    let sql = "SELECT CAST(id AS CHAR) FROM app.t";
    let sets = rig.app(1).await.ask(sql, soon()).await.unwrap();
    let rows: BTreeSet<usize> = sets[0]
        .iter()
        .map(|row| row.get::<String, _>(0).unwrap().parse().unwrap())
        .collect();
    let missing: Vec<_> = told.difference(&rows).collect();
    assert!(missing.is_empty(), "answered, and not final: {missing:?}");

    // And none is answered any more: not to a new session either.
    let late = Session::connect(&rig.tcp(0, &rig.template.accounts.app), soon()).await;
    if let Ok(mut late) = late {
        let sql = format!("XA COMMIT 'x{}'", left[0]);
        late.execute(&sql, soon()).await.expect_err("it is shut");
    }
    rig.open().await;
    let source = rig.source(0, SourceTransport::PublicKey);
    follow(replica, &source, Terms::acking(), soon())
        .await
        .unwrap();
}
