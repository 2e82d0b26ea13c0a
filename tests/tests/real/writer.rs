//! One client that finds the primary as any would, writes to it, and remembers what was
//! acknowledged.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use primacy::mysqld::session::{Address, Login, Session, Target, Transport, within};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::asking::serves;
use crate::world::World;

const PAUSE: Duration = Duration::from_millis(10);
/// An answer that comes later counts as none: the write's fate is unknown, and its number is not
/// used again.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Place {
    agent: SocketAddr,
    mysql: SocketAddr,
}

pub struct Writer {
    acked: Acked,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The number of each acknowledged write, and when it was.
type Acked = Arc<Mutex<Vec<(u64, Instant)>>>;

impl Writer {
    /// Begins to write; returns when some writes were acknowledged.
    pub async fn start(world: &World) -> Writer {
        let places = world
            .instances()
            .iter()
            .map(|instance| Place {
                agent: instance.agent_http,
                mysql: instance.address,
            })
            .collect();
        let acked = Acked::default();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(write(places, world.app(), acked.clone(), stopped));
        let writer = Writer { acked, stop, task };
        crate::world::until(crate::world::LIMIT, "the first writes", async || {
            (writer.acked() >= 20).then_some(())
        })
        .await;
        writer
    }

    /// How many writes were acknowledged so far.
    pub fn acked(&self) -> usize {
        self.acked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Waits until so many more writes were acknowledged.
    pub async fn more(&self, writes: usize) {
        let before = self.acked();
        crate::world::until(crate::world::LIMIT, "more writes", async || {
            (self.acked() >= before + writes).then_some(())
        })
        .await;
    }

    /// Ends it; the numbers of all writes that were acknowledged.
    pub async fn stop(self) -> Vec<u64> {
        self.stop.send_replace(true);
        self.task.await.expect("the writer does not panic");
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = acked.iter().zip(acked.iter().skip(1));
        let gap = pairs.map(|(of, next)| next.1 - of.1).max();
        println!("the longest time without an acknowledged write: {gap:?}");
        acked.iter().map(|(n, _)| *n).collect()
    }
}

async fn write(places: Vec<Place>, app: Login, acked: Acked, stopped: watch::Receiver<bool>) {
    let mut n = 0;
    while !*stopped.borrow() {
        let Some(primary) = find(&places).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let target = Target {
            address: Address::Tcp {
                host: primary.ip().to_string(),
                port: primary.port(),
            },
            login: app.clone(),
            transport: Transport::Plain,
        };
        let Ok(mut session) = Session::connect(&target, within(WRITE_LIMIT)).await else {
            continue;
        };
        while !*stopped.borrow() {
            n += 1;
            let sql = format!("INSERT INTO app.writes (writer, n) VALUES (1, {n})");
            if session.execute(&sql, within(WRITE_LIMIT)).await.is_err() {
                break;
            }
            let at = Instant::now();
            acked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((n, at));
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Asks all agents at once; the highest epoch wins.
async fn find(places: &[Place]) -> Option<SocketAddr> {
    let mut asked = JoinSet::new();
    for place in places.iter().cloned() {
        asked.spawn(async move { Some((serves(place.agent).await?, place.mysql)) });
    }
    let answers = asked.join_all().await;
    answers
        .into_iter()
        .flatten()
        .max_by_key(|(epoch, _)| *epoch)
        .map(|(_, mysql)| mysql)
}
