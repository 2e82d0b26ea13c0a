//! Finds the primary as a client would: all agents asked in parallel, `GET /primary` every 10 ms.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use primacy_core::ids::InstanceId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

const EVERY: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_millis(200);

/// Who answered 200 with the highest epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub instance: InstanceId,
    pub address: SocketAddr,
    pub epoch: u64,
}

/// Agents to ask: instance, its agent's HTTP address, its MySQL address.
pub(super) type Asked = Vec<(InstanceId, SocketAddr, SocketAddr)>;

/// Polls in the background until the receiver is dropped. `rtt`: to the agents of other regions.
pub(super) fn discover(agents: Asked, rtt: Duration) -> watch::Receiver<Option<Found>> {
    let (sender, receiver) = watch::channel(None);
    // Once to connect, once to ask.
    let limit = LIMIT + 2 * rtt;
    let answers: Arc<Mutex<BTreeMap<InstanceId, Found>>> = Arc::default();
    for (instance, http, address) in agents {
        let (sender, answers) = (sender.clone(), answers.clone());
        tokio::spawn(async move {
            let mut stream = None;
            while !sender.is_closed() {
                let epoch = ask(&mut stream, http, limit).await;
                let found = epoch.map(|epoch| Found {
                    instance: instance.clone(),
                    address,
                    epoch,
                });
                let best = best_of(&answers, &instance, found);
                sender.send_if_modified(|last| {
                    let changed = *last != best;
                    *last = best;
                    changed
                });
                tokio::time::sleep(EVERY).await;
            }
        });
    }
    receiver
}

/// Notes one agent's answer; the best of all.
fn best_of(
    answers: &Mutex<BTreeMap<InstanceId, Found>>,
    instance: &InstanceId,
    found: Option<Found>,
) -> Option<Found> {
    let mut all = answers
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    match found {
        Some(found) => all.insert(instance.clone(), found),
        None => all.remove(instance),
    };
    all.values().max_by_key(|found| found.epoch).cloned()
}

/// The epoch for which this agent's instance takes writes, if it does.
async fn ask(kept: &mut Option<TcpStream>, http: SocketAddr, limit: Duration) -> Option<u64> {
    let answer = timeout(limit, exchange(kept, http)).await.ok().flatten();
    if answer.is_none() {
        *kept = None;
    }
    let (code, body) = answer?;
    if code != 200 {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
    body.get("primary_epoch")?.as_u64()
}

async fn exchange(kept: &mut Option<TcpStream>, http: SocketAddr) -> Option<(u16, Vec<u8>)> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(http).await.ok()?,
    };
    stream
        .write_all(b"GET /primary HTTP/1.1\r\nHost: agent\r\n\r\n")
        .await
        .ok()?;
    let mut answer = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            break (end + 4, length?.trim().parse::<usize>().ok()?);
        }
    };
    while answer.len() < head + length {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    let code = String::from_utf8_lossy(&answer[..head])
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    *kept = Some(stream);
    Some((code, answer[head..].to_vec()))
}
