//! A cluster that runs already comes under the plane's care, and its clients do not notice.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use primacy::mysqld::follow::{Source, SourceTransport, follow};
use primacy::mysqld::ops::{open, prepare_open};
use primacy::mysqld::session::{Address, Login, Session, Target, Transport, within};
use primacy_core::decide::{LossBound, Proof};
use primacy_core::record::Founding;

use crate::hand::Hand;
use crate::world::{LIMIT, throughout, until};

const PAUSE: Duration = Duration::from_millis(5);

/// One client on one connection that was there before the plane: every write is acknowledged, or
/// the connection ends.
struct Client {
    stop: Arc<AtomicBool>,
    acked: Arc<std::sync::Mutex<Vec<u64>>>,
    /// What ended its connection, if anything did before it was told to stop.
    task: tokio::task::JoinHandle<Option<String>>,
}

impl Client {
    async fn start(hand: &Hand, id: &str) -> Client {
        let address = hand.place(id).address();
        let target = Target {
            address: Address::Tcp {
                host: address.ip().to_string(),
                port: address.port(),
            },
            login: hand.template.accounts.app.clone(),
            transport: Transport::Plain,
        };
        let mut session = Session::connect(&target, within(LIMIT))
            .await
            .expect("it is open");
        let (stop, acked) = (Arc::<AtomicBool>::default(), Arc::default());
        let (stopped, log): (_, Arc<std::sync::Mutex<Vec<u64>>>) =
            (stop.clone(), Arc::clone(&acked));
        let task = tokio::spawn(async move {
            let (mut n, mut longest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Acquire) {
                n += 1;
                let begun = Instant::now();
                let sql = format!("INSERT INTO app.writes (n) VALUES ({n})");
                if let Err(error) = session.execute(&sql, within(LIMIT)).await {
                    println!("the slowest acknowledged write took {longest:?}");
                    return Some(error.to_string());
                }
                log.lock().expect("no writer panics").push(n);
                longest = longest.max(begun.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            None
        });
        Client { stop, acked, task }
    }

    fn acked(&self) -> usize {
        self.acked.lock().expect("no writer panics").len()
    }

    async fn end(self) -> (Vec<u64>, Option<String>) {
        self.stop.store(true, Ordering::Release);
        let ended = self.task.await.expect("the writer does not panic");
        let acked = self.acked.lock().expect("no writer panics").clone();
        (acked, ended)
    }
}

/// A primary with two acknowledging replicas, as an administrator sets them up.
async fn running_cluster(hand: &mut Hand) {
    for id in ["db-1", "db-2", "db-3"] {
        hand.start_server(id, "").await;
    }
    let agent: Login = hand.template.accounts.agent.clone();
    let primary = hand.place("db-1").address();
    for id in ["db-2", "db-3"] {
        let target = hand.target(id, &agent);
        let mut session = Session::connect(&target, within(LIMIT))
            .await
            .expect("it runs");
        let source = Source {
            host: primary.ip().to_string(),
            port: primary.port(),
            login: hand.template.accounts.repl.clone(),
            transport: SourceTransport::PublicKey,
            heartbeat: Duration::from_millis(250),
        };
        let followed = follow(&mut session, &source, true, within(LIMIT)).await;
        followed.expect("it is told to replicate");
    }
    let opener = prepare_open(&hand.target("db-1", &agent), within(LIMIT)).await;
    let one = NonZeroU16::MIN;
    open(opener.expect("a session"), one, within(LIMIT))
        .await
        .expect("it opens");
    hand.sql(
        "db-1",
        "CREATE TABLE app.writes (n BIGINT UNSIGNED PRIMARY KEY)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_cluster_is_adopted_and_its_primary_fails_over() {
    let Some(mut hand) = Hand::begin(3).await else {
        return;
    };
    running_cluster(&mut hand).await;
    let client = Client::start(&hand, "db-1").await;
    let pids: Vec<u32> = hand.places.iter().map(|place| place.pid()).collect();
    for id in ["db-1", "db-2", "db-3"] {
        let config = hand.agent_config(id);
        hand.start_agent(&config, &format!("agent-{id}"));
    }
    // A stranger's open primary is left alone for as long as nobody orders anything.
    let registration = hand.registration(Founding::Adopted);
    hand.until_check(&registration, |ran| ran.code == 0).await;
    let writing = client.acked();
    throughout(Duration::from_secs(1), "nobody touches it", async || {
        hand.serves("db-1").await.is_none()
    })
    .await;
    assert!(client.acked() > writing + 20, "it takes writes meanwhile");

    let registered = hand
        .with_file(&["cluster", "register"], &registration)
        .await;
    assert_eq!(registered.code, 0, "{}", registered.err);
    let cluster = hand.opened(1).await;
    let choice = &cluster.promotion().expect("it is open").choice;
    assert_eq!(choice.proof, Proof::Founding { adopted: true });
    assert_eq!(choice.loss, LossBound::Unknown, "until its floor stands");
    assert!(cluster.floor_stands, "k of V hold what its marker followed");
    assert_eq!(hand.serves("db-1").await, Some(1));
    until(LIMIT, "both replicas to have joined", async || {
        let cluster = hand.cluster().await?;
        (cluster.promotion()?.followers.len() == 2).then_some(())
    })
    .await;
    let after = hand.run(&["cluster", "check", "shop"]).await;
    assert_eq!(after.code, 0, "{}", after.out);
    let writing = client.acked();
    until(LIMIT, "writes to go on", async || {
        (client.acked() > writing + 20).then_some(())
    })
    .await;
    let now: Vec<u32> = hand.places.iter().map(|place| place.pid()).collect();
    assert_eq!(now, pids, "the servers are those that ran before");

    // What the old life acknowledged is kept as what the new one does.
    let before = client.acked();
    hand.kill("db-1");
    let cluster = hand.opened(2).await;
    assert_ne!(cluster.primary.as_str(), "db-1");
    let choice = &cluster.promotion().expect("it is open").choice;
    assert_eq!(choice.loss, LossBound::Zero);
    let (acked, ended) = client.end().await;
    assert!(
        ended.is_some(),
        "its connection ended with the server, and not before"
    );
    assert!(
        acked.len() >= before && before > 100,
        "{} writes",
        acked.len()
    );
    let rows = hand
        .sql(
            cluster.primary.as_str(),
            "SELECT CAST(n AS CHAR) FROM app.writes",
        )
        .await;
    let present: std::collections::BTreeSet<u64> = rows
        .into_iter()
        .flatten()
        .filter_map(|row| row.get::<String, _>(0)?.parse().ok())
        .collect();
    let lost: Vec<_> = acked.iter().filter(|n| !present.contains(n)).collect();
    assert!(
        lost.is_empty(),
        "acknowledged, and not on {}: {lost:?}",
        cluster.primary
    );
    hand.settle(&[]);
}
