//! What shows from outside of a server that does not answer: that it works, hangs, or shuts down.

use std::time::Duration;

use nix::libc;

use super::rig::{Rig, soon, until};
use crate::mysqld::progress::Eyes;

/// As an agent's looks are apart: what shows is counted between two.
const APART: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_shows_nothing_and_one_that_works_does() {
    let Some(rig) = Rig::start(1).await else {
        return;
    };
    let process = &rig.processes[0];
    let mut session = rig.session(0).await;
    let mut eyes = Eyes::open(&rig.instances[0], process);
    process.signal(libc::SIGSTOP).unwrap();
    eyes.look(process); // what it did until then
    tokio::time::sleep(APART).await;
    let hangs = eyes.look(process);
    assert!(
        !hangs.moved && !hangs.shutdown && hangs.listens,
        "{hangs:?}"
    );
    process.signal(libc::SIGCONT).unwrap();

    // For as long as it is looked at.
    let works = tokio::spawn(async move {
        let work = "SELECT BENCHMARK(1000000000000, 1)";
        let _ = session.execute(work, soon()).await;
    });
    let mut moved = false;
    until("its work to show", || {
        moved |= eyes.look(process).moved;
        async move {
            tokio::time::sleep(APART).await;
            moved
        }
    })
    .await;
    works.abort();

    process.signal(libc::SIGTERM).unwrap();
    until("its shutdown to show", || {
        let shutdown = eyes.look(process).shutdown;
        async move { shutdown }
    })
    .await;
}
