//! Clients that write: those that follow the primary, and those that stay on the old one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::discover::Found;
use crate::clock;
use crate::mysqld::session::{Address, Login, Session, SessionError, Target, Transport, within};

/// A client's own pause between two writes.
const PAUSE: Duration = Duration::from_millis(10);
/// A client that has waited so long for a statement tries anew.
const WRITE_LIMIT: Duration = Duration::from_secs(2);
/// Who stays on the old primary may wait for ever; the run ends first.
const STAY_LIMIT: Duration = Duration::from_secs(120);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Connections opened to the primary before the fault.
const OLD_CONNECTIONS: u64 = 50;
const OLD_EVERY: Duration = Duration::from_millis(50);
/// Rows of those who stay are told apart by their writer's number.
const OLD_WRITER: u64 = 1_000;
const FRESH_WRITER: u64 = 2_000;

pub(super) const TABLE: &str = "CREATE DATABASE IF NOT EXISTS app; \
    CREATE TABLE IF NOT EXISTS app.writes (writer BIGINT UNSIGNED NOT NULL, \
    n BIGINT UNSIGNED NOT NULL, PRIMARY KEY (writer, n))";

/// One acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ack {
    pub writer: u64,
    pub n: u64,
    pub by: SocketAddr,
    /// Wall clock, Unix milliseconds.
    pub at_ms: u64,
}

/// Every acknowledgement that any client got.
#[derive(Clone, Default)]
pub(super) struct Ledger {
    acks: Arc<Mutex<Vec<Ack>>>,
    attempted_on_old: Arc<AtomicU64>,
}

impl Ledger {
    fn note(&self, writer: u64, n: u64, by: SocketAddr) {
        let ack = Ack {
            writer,
            n,
            by,
            at_ms: clock::wall_ms(),
        };
        self.acks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push(ack);
    }

    pub fn all(&self) -> Vec<Ack> {
        self.acks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    pub fn count(&self) -> usize {
        self.acks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .len()
    }

    /// When a server other than `old` first acknowledged a write.
    pub fn first_elsewhere(&self, old: SocketAddr) -> Option<Ack> {
        let acks = self
            .acks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        acks.iter()
            .filter(|ack| ack.by != old)
            .min_by_key(|ack| ack.at_ms)
            .copied()
    }

    /// When the last of these clients was first acknowledged a write by a server other than `old`;
    /// `None` if one never was.
    pub fn last_elsewhere(&self, old: SocketAddr, writers: u32) -> Option<u64> {
        let acks = self.all();
        let first = |writer: u64| {
            let its = acks
                .iter()
                .filter(|ack| ack.writer == writer && ack.by != old);
            its.map(|ack| ack.at_ms).min()
        };
        let firsts: Option<Vec<_>> = (1..=u64::from(writers)).map(first).collect();
        firsts?.into_iter().max()
    }

    pub fn attempted_on_old(&self) -> u64 {
        self.attempted_on_old.load(Ordering::Relaxed)
    }
}

pub(super) fn target(address: SocketAddr, app: &Login) -> Target {
    Target {
        address: Address::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        },
        login: app.clone(),
        transport: Transport::Plain,
    }
}

async fn insert(
    session: &mut Session,
    writer: u64,
    n: u64,
    limit: Duration,
) -> Result<(), SessionError> {
    let sql = format!("INSERT INTO app.writes (writer, n) VALUES ({writer}, {n})");
    session.execute(&sql, within(limit)).await
}

/// Writes to whoever is primary until told to stop. A number is used once, whatever became of it.
pub(super) async fn follow(
    writer: u64,
    app: Login,
    ledger: Ledger,
    mut primary: watch::Receiver<Option<Found>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut n = 0;
    while !*stop.borrow() {
        let found = primary.borrow_and_update().clone();
        let Some(found) = found else {
            tokio::select! {
                _ = primary.changed() => {}
                _ = stop.changed() => return,
            }
            continue;
        };
        let work = write_to(writer, &mut n, found.address, &app, &ledger);
        tokio::select! {
            // Never behind its own hung write.
            biased;
            _ = stop.changed() => return,
            () = moved(&mut primary, &found) => {}
            () = work => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Waits until this one is not the primary any more.
async fn moved(primary: &mut watch::Receiver<Option<Found>>, from: &Found) {
    let _ = primary
        .wait_for(|now| now.as_ref().is_none_or(|now| now.address != from.address))
        .await;
}

/// Writes until something fails.
async fn write_to(writer: u64, n: &mut u64, to: SocketAddr, app: &Login, ledger: &Ledger) {
    let target = target(to, app);
    let connecting = Session::connect(&target, within(CONNECT_LIMIT));
    let Ok(mut session) = connecting.await else {
        return;
    };
    write_on(&mut session, writer, n, to, ledger).await;
}

async fn write_on(
    session: &mut Session,
    writer: u64,
    n: &mut u64,
    to: SocketAddr,
    ledger: &Ledger,
) {
    loop {
        *n += 1;
        if insert(session, writer, *n, WRITE_LIMIT).await.is_err() {
            return;
        }
        ledger.note(writer, *n, to);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Writes over one connection of a pool through a load balancer, opened anew whenever it breaks.
/// Who answers is known by its port.
pub(super) async fn through(
    writer: u64,
    balancer: SocketAddr,
    servers: Vec<SocketAddr>,
    app: Login,
    ledger: Ledger,
    mut stop: watch::Receiver<bool>,
) {
    let mut n = 0;
    let target = target(balancer, &app);
    while !*stop.borrow() {
        let work = async {
            let connecting = Session::connect(&target, within(CONNECT_LIMIT));
            let Ok(mut session) = connecting.await else {
                return;
            };
            if let Some(server) = answering(&mut session, &servers).await {
                write_on(&mut session, writer, &mut n, server, &ledger).await;
            }
        };
        tokio::select! {
            biased;
            _ = stop.changed() => return,
            () = work => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn answering(session: &mut Session, servers: &[SocketAddr]) -> Option<SocketAddr> {
    let sql = "SELECT CAST(@@port AS CHAR) AS port";
    let sets = session.ask(sql, within(WRITE_LIMIT)).await.ok()?;
    let row = sets.into_iter().flatten().next()?;
    let port: String = row.get(0)?;
    let port: u16 = port.parse().ok()?;
    servers.iter().find(|server| server.port() == port).copied()
}

/// Clients that were connected to the primary before it broke, and stay.
pub(super) struct Stayers {
    sessions: Vec<(u64, Session)>,
    old: SocketAddr,
    app: Login,
}

impl Stayers {
    /// Opens the connections.
    pub async fn connect(old: SocketAddr, app: &Login) -> Result<Self, SessionError> {
        let mut sessions = Vec::new();
        for number in 0..OLD_CONNECTIONS {
            let session = Session::connect(&target(old, app), within(CONNECT_LIMIT)).await?;
            sessions.push((OLD_WRITER + number, session));
        }
        Ok(Self {
            sessions,
            old,
            app: app.clone(),
        })
    }

    /// From now on: an INSERT begun on the next connection every 50 ms and not waited for, and one
    /// over a fresh connection. Whatever they are ever answered counts.
    pub async fn write(mut self, ledger: Ledger, mut stop: watch::Receiver<bool>) {
        let mut turn = 0;
        loop {
            if let Some((writer, mut session)) = self.sessions.pop() {
                let (ledger, old) = (ledger.clone(), self.old);
                ledger.attempted_on_old.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut n = 0;
                    loop {
                        n += 1;
                        if insert(&mut session, writer, n, STAY_LIMIT).await.is_err() {
                            return;
                        }
                        ledger.note(writer, n, old);
                        tokio::time::sleep(OLD_EVERY).await;
                    }
                });
            }
            turn += 1;
            let (ledger, old, app) = (ledger.clone(), self.old, self.app.clone());
            ledger.attempted_on_old.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let target = target(old, &app);
                let connecting = Session::connect(&target, within(CONNECT_LIMIT));
                if let Ok(mut session) = connecting.await
                    && insert(&mut session, FRESH_WRITER, turn, STAY_LIMIT)
                        .await
                        .is_ok()
                {
                    ledger.note(FRESH_WRITER, turn, old);
                }
            });
            tokio::select! {
                () = tokio::time::sleep(OLD_EVERY) => {}
                _ = stop.changed() => return,
            }
        }
    }
}
