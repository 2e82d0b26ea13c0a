//! A primary that answers reads and cannot write: it is fenced before anybody is promoted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::mysqld::session::{Address, Session, Target, Transport, within};
use primacy_core::act::OrderKind;
use primacy_core::agree::Verdict;
use primacy_core::decide::Proof;
use primacy_core::ids::Epoch;
use primacy_core::record::{Cluster, EventKind};

use crate::relay::{Passing, Relay};
use crate::volume::{Volume, agent_beside, ends, folder, follows};
use crate::world::{LIMIT, World, ended, is_up, signal, throughout, until};
use crate::writer::Writer;

const NOTHING_HAPPENS: Duration = Duration::from_secs(3);
const REPLICAS: [&str; 3] = ["mysql-2", "mysql-3", "mysql-4"];
/// Room for what is written until it is filled on purpose.
const SPARE_MIB: u64 = 128;

fn target(world: &World, id: &str) -> Target {
    let address = world.instance(id).address;
    Target {
        address: Address::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        },
        login: world.app(),
        transport: Transport::Plain,
    }
}

/// What the verdict and the proof of the newest epoch were.
fn grounds(cluster: &Cluster) -> (Verdict, Proof) {
    let promotion = cluster.promotion().expect("it is named");
    let after = promotion.after.as_ref().expect("what it rests on");
    (after.judgement.verdict, promotion.choice.proof.clone())
}

/// An application that commits in two phases, always with some transactions prepared.
struct TwoPhase {
    acked: Arc<Mutex<Vec<usize>>>,
    task: tokio::task::JoinHandle<()>,
}

const PREPARED: usize = 40;

impl TwoPhase {
    async fn start(world: &World) -> TwoPhase {
        let session = Session::connect(&target(world, "mysql-1"), within(LIMIT)).await;
        let session = session.expect("the application logs in");
        let acked: Arc<Mutex<Vec<usize>>> = Arc::default();
        let task = tokio::spawn(commit(session, acked.clone()));
        TwoPhase { acked, task }
    }

    fn acked(&self) -> usize {
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        acked.len()
    }

    /// Waits until it is cut; what was acknowledged.
    async fn end(self) -> Vec<usize> {
        self.task.await.expect("it does not panic");
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        acked.clone()
    }
}

/// Prepares for as long as it may, and commits until it is cut.
async fn commit(mut session: Session, acked: Arc<Mutex<Vec<usize>>>) {
    let (mut prepared, mut next, mut preparing) = (VecDeque::new(), 0, true);
    loop {
        while preparing && prepared.len() < PREPARED {
            let sql = format!(
                "XA START 'x{next}'; INSERT INTO app.writes (writer, n) VALUES (7, {next}); \
                 XA END 'x{next}'; XA PREPARE 'x{next}'"
            );
            preparing = session.execute(&sql, within(LIMIT)).await.is_ok();
            if preparing {
                prepared.push_back(next);
                next += 1;
            } else {
                // Out of the transaction that was begun, or the commits below are refused.
                for end in ["XA END", "XA ROLLBACK"] {
                    let sql = format!("{end} 'x{next}'");
                    let _ = session.execute(&sql, within(LIMIT)).await;
                }
            }
        }
        let Some(oldest) = prepared.pop_front() else {
            return;
        };
        let sql = format!("XA COMMIT 'x{oldest}'");
        if session.execute(&sql, within(LIMIT)).await.is_err() {
            return;
        }
        let mut acked = acked.lock().unwrap_or_else(PoisonError::into_inner);
        acked.push(oldest);
    }
}

/// Its agent's write probe hangs in its write, with no lock in its way and nobody waiting for an
/// acknowledgement, as on a disk that hangs. Meanwhile an application commits prepared transactions, which `super_read_only`
/// does not stop: none is acknowledged that the final set lacks. Then the deposed one is killed
/// and started again: it stays shut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wedged_primary_is_fenced_first_and_stays_shut() {
    let Some(mut world) = World::build().await else {
        return;
    };
    // They acknowledge for as long as the fence takes.
    let relay = Relay::between(&mut world, &REPLICAS).await;
    relay.lose(|_, passing| match passing {
        Passing::Order(order) => matches!(order.kind, OrderKind::Freeze { .. }),
        Passing::Reply(_) => false,
    });
    let writer = Writer::start(&world).await;
    let two_phase = TwoPhase::start(&world).await;
    until(LIMIT, "the application to be at work", async || {
        (two_phase.acked() > PREPARED).then_some(())
    })
    .await;
    let hangs = "CREATE TRIGGER primacy.hangs BEFORE INSERT ON primacy.marker FOR EACH ROW \
                 SET @hung=IF(@@server_id=1, SLEEP(1000), 0)";
    world.sql("mysql-1", hangs).await;

    until(LIMIT, "the fence to be confirmed", async || {
        (world.happened(EventKind::Fenced).await > 0).then_some(())
    })
    .await;
    assert_eq!(world.serves("mysql-1").await, None);
    relay.heal();
    let cluster = world.opened(2).await;
    let (verdict, proof) = grounds(&cluster);
    assert_eq!(verdict, Verdict::Wedged);
    assert!(matches!(proof, Proof::Confirmed { .. }), "{proof:?}");

    let acked = two_phase.end().await;
    assert!(acked.len() > PREPARED, "it committed: {}", acked.len());
    let rows = "SELECT CAST(n AS CHAR) FROM app.writes WHERE writer=7";
    let rows = world.sql(cluster.primary.as_str(), rows).await;
    let rows: Vec<usize> = rows
        .into_iter()
        .flatten()
        .filter_map(|row| row.get::<String, _>(0)?.parse().ok())
        .collect();
    let missing: Vec<_> = acked.iter().filter(|n| !rows.contains(n)).collect();
    assert!(missing.is_empty(), "acknowledged, and missing: {missing:?}");

    let killed = world.mysqld("mysql-1");
    signal(killed, Signal::SIGKILL);
    ended(killed).await;
    until(LIMIT, "its agent to start it again", async || {
        let socket = &world.instance("mysql-1").socket;
        let pid = std::fs::read_to_string(socket.with_file_name("mysqld.pid")).ok()?;
        let another = pid.trim() != killed.to_string();
        let answers = world.try_root("mysql-1").await;
        (another && answers.is_some()).then_some(())
    })
    .await;
    // It lets no application in, and an administrator write nothing.
    let app = Session::connect(&target(&world, "mysql-1"), within(LIMIT)).await;
    assert!(app.is_err(), "offline");
    let mut late = world.try_root("mysql-1").await;
    throughout(NOTHING_HAPPENS, "it is shut", async || {
        let write = "INSERT INTO app.writes (writer, n) VALUES (8, 1)";
        let refused = match &mut late {
            Some(session) => session.execute(write, within(LIMIT)).await.is_err(),
            None => true,
        };
        refused && world.serves("mysql-1").await.is_none()
    })
    .await;
    let seal = primacy::agent::seal::read(&world.dir().join("agent-1"));
    let seal = seal.expect("it is whole").expect("its seal");
    assert_eq!(seal.shut, Some(Epoch(1)), "{seal:?}");
    world.settle(writer, &[]).await;
}

/// The disk under its data, and under its agent's folder, is full: commits hang, reads answer, and the
/// agent is there all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_epoch_of_its_primary() {
    let Some(mut world) = World::build().await else {
        return;
    };
    // Its data moves to a small disk while it is a replica; then it is promoted.
    ends(&world, "mysql-2").await;
    let Some(volume) = Volume::under(&folder(&world, "mysql-2"), SPARE_MIB) else {
        return;
    };
    agent_beside(&world, "mysql-2");
    world.start_agent("mysql-2");
    follows(&world, "mysql-2").await;
    // Nobody writes when the first one dies, so that the one at home lacks nothing.
    let agent = world.instance("mysql-1").agent_pid;
    signal(agent, Signal::SIGSTOP);
    world.unheard("mysql-1").await;
    signal(world.mysqld("mysql-1"), Signal::SIGKILL);
    signal(agent, Signal::SIGCONT);
    let cluster = world.opened(2).await;
    assert_eq!(cluster.primary.as_str(), "mysql-2", "the one at home");
    let writer = Writer::start(&world).await;

    volume.fill();
    let cluster = world.opened(3).await;
    let (verdict, proof) = grounds(&cluster);
    assert_eq!(verdict, Verdict::Wedged);
    // A fence that is not answered within the patience is not waited for: fewer than k are left to
    // acknowledge to it.
    let proved = matches!(
        proof,
        Proof::Confirmed { .. } | Proof::Exited { .. } | Proof::AckersFrozen { .. }
    );
    assert!(proved, "{proof:?}");
    assert_eq!(
        world.serves("mysql-2").await,
        None,
        "and it is vouched for no longer"
    );
    assert!(is_up(world.instance("mysql-2").agent_pid));
    volume.free();
    world.settle(writer, &[]).await;
}
