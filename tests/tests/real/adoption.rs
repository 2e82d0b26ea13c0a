//! A cluster that runs already comes under the plane's care, and its clients do not notice.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use primacy::mysqld::follow::{Source, SourceTransport, Terms, follow};
use primacy::mysqld::ops::open;
use primacy::mysqld::session::{Address, Login, Session, Target, Transport, within};
use primacy_core::decide::{LossBound, Proof};
use primacy_core::record::Founding;

use crate::asking::assert_present;
use crate::hand::Hand;
use crate::world::{LIMIT, throughout, until};

const PAUSE: Duration = Duration::from_millis(5);

/// One client on one connection that was there before the plane: every write is acknowledged, or
/// the connection ends.
struct Client {
    stop: Arc<AtomicBool>,
    acked: Arc<std::sync::Mutex<Vec<u64>>>,
    /// Microseconds of the slowest acknowledged write since it was last said.
    slowest_us: Arc<AtomicU64>,
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
        let slowest_us = Arc::<AtomicU64>::default();
        let slowest = slowest_us.clone();
        let task = tokio::spawn(async move {
            let mut n = 0;
            while !stopped.load(Ordering::Acquire) {
                n += 1;
                let begun = Instant::now();
                let sql = format!("INSERT INTO app.writes (n) VALUES ({n})");
                if let Err(error) = session.execute(&sql, within(LIMIT)).await {
                    return Some(error.to_string());
                }
                log.lock().expect("no writer panics").push(n);
                let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                slowest.fetch_max(took_us, Ordering::AcqRel);
                tokio::time::sleep(PAUSE).await;
            }
            None
        });
        Client {
            stop,
            acked,
            slowest_us,
            task,
        }
    }

    fn acked(&self) -> usize {
        self.acked.lock().expect("no writer panics").len()
    }

    fn say_slowest(&self, when: &str) {
        let slowest_us = self.slowest_us.swap(0, Ordering::AcqRel);
        println!("the slowest acknowledged write {when} took {slowest_us} µs");
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
            logins: vec![hand.template.accounts.repl.clone()],
            transport: SourceTransport::PublicKey,
            heartbeat: Duration::from_millis(250),
        };
        let followed = follow(&mut session, &source, Terms::acking(), within(LIMIT)).await;
        followed.expect("it is told to replicate");
    }
    let opener = Session::connect(&hand.target("db-1", &agent), within(LIMIT)).await;
    let one = NonZeroU16::MIN;
    open(&mut opener.expect("a session"), one, within(LIMIT))
        .await
        .expect("it opens");
    hand.sql(
        "db-1",
        "CREATE TABLE app.writes (n BIGINT UNSIGNED PRIMARY KEY)",
    )
    .await;
}

/// The connections by which the replicas of db-1 replicate.
async fn dumps(hand: &Hand) -> Vec<String> {
    let sql = "SELECT CAST(PROCESSLIST_ID AS CHAR) FROM performance_schema.threads \
               WHERE PROCESSLIST_COMMAND LIKE 'Binlog Dump%' ORDER BY PROCESSLIST_ID";
    let rows = hand.sql("db-1", sql).await;
    let ids = rows.into_iter().flatten().filter_map(|row| row.get(0));
    ids.collect()
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

    let dumps = dumps(&hand).await;
    client.say_slowest("before it was registered");
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
    client.say_slowest("while it was adopted");
    let found = self::dumps(&hand).await;
    assert_eq!(found, dumps, "no replica was stopped for it");
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
    assert_present(&acked, rows, cluster.primary.as_str());
    hand.settle(&[]);
}
