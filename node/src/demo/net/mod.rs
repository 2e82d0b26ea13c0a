//! The regions' networks: one loopback for all, or a network namespace for each with a line
//! between them that takes its time (`--rtt-ms`).
//!
//! ```text
//! region 1: 10.91.1.1 ── tun ─┐               ┌─ tun ── 10.91.2.1 :region 2
//!   within it: its own lo     └─ held for N/2 ┘          within it: its own lo
//! ```
//!
//! **Invariant:** nothing has a name that outlives the demo. Namespaces are held by descriptors and
//! by the processes in them, the lines by descriptors of this process alone.

mod namespace;
mod router;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;

use namespace::{Namespace, Obstacle};
use router::Router;

/// The regions' networks cannot be made on this machine.
#[derive(Debug, thiserror::Error)]
#[error("--rtt-ms {rtt_ms}: cannot {what}; {remedy}, or leave --rtt-ms out")]
pub struct NetError {
    rtt_ms: u32,
    what: &'static str,
    remedy: &'static str,
    source: io::Error,
}

/// Cheap to clone; the networks end with the last clone.
#[derive(Clone)]
pub(super) struct Net(Arc<Regions>);

struct Regions {
    rtt: Duration,
    /// None without a delay.
    namespaces: BTreeMap<String, (Ipv4Addr, Arc<Namespace>)>,
    /// Ends before the namespaces are let go.
    _router: Option<Router>,
}

impl Net {
    /// Networks between which a round trip takes `rtt_ms`; with 0, one loopback for all.
    pub fn new(regions: &[&str], rtt_ms: u32) -> Result<Self, NetError> {
        let rtt = Duration::from_millis(rtt_ms.into());
        let mut namespaces = BTreeMap::new();
        let mut ends = Vec::new();
        let failed = |obstacle: Obstacle| NetError {
            rtt_ms,
            what: obstacle.what,
            remedy: obstacle.remedy,
            source: obstacle.source,
        };
        for (region, number) in regions.iter().zip(1..).filter(|_| rtt_ms > 0) {
            let address = Ipv4Addr::new(10, 91, number, 1);
            let (namespace, tun) = Namespace::create(address).map_err(failed)?;
            namespaces.insert((*region).to_owned(), (address, Arc::new(namespace)));
            ends.push((address, tun));
        }
        let router = match ends.is_empty() {
            true => None,
            false => Some(Router::start(ends, rtt / 2).map_err(|source| {
                failed(Obstacle {
                    what: "start the line between the regions",
                    remedy: "raise the limits on threads and open files (ulimit)",
                    source,
                })
            })?),
        };
        Ok(Self(Arc::new(Regions {
            rtt,
            namespaces,
            _router: router,
        })))
    }

    /// Between two regions.
    pub fn rtt(&self) -> Duration {
        self.0.rtt
    }

    /// Where everything in a region listens.
    pub fn address(&self, region: &str) -> IpAddr {
        match self.0.namespaces.get(region) {
            Some((address, _)) => IpAddr::V4(*address),
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// Starts a process in a region. A child begins in the network of the thread that starts it.
    pub fn spawn(&self, region: &str, command: &mut Command) -> io::Result<Child> {
        let Some((_, namespace)) = self.0.namespaces.get(region) else {
            return command.spawn();
        };
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| {
                namespace.enter()?;
                command.spawn()
            });
            let panicked = |_| Err(io::Error::other("the thread that starts it panicked"));
            starting.join().unwrap_or_else(panicked)
        })
    }

    /// Runs a future on threads that live in a region. Dropped, it ends what it runs before it
    /// returns.
    pub async fn live_in<F, W, T>(&self, region: &str, work: F) -> anyhow::Result<T>
    where
        F: FnOnce() -> W + Send + 'static,
        W: Future<Output = anyhow::Result<T>>,
        T: Send + 'static,
    {
        let Some((_, namespace)) = self.0.namespaces.get(region).cloned() else {
            return work().await;
        };
        let (done, result) = oneshot::channel();
        let (cancel, cancelled) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(region.to_owned())
            .spawn(move || {
                // Nobody waits for it any more if the future was dropped.
                let _ = done.send(lives(&namespace, work, cancelled));
            })
            .context("no thread can be started")?;
        let _inhabitant = Inhabitant {
            cancel: Some(cancel),
            thread: Some(thread),
        };
        result.await.context("what lived in the region panicked")?
    }
}

fn lives<F, W, T>(
    namespace: &Arc<Namespace>,
    work: F,
    cancelled: oneshot::Receiver<()>,
) -> anyhow::Result<T>
where
    F: FnOnce() -> W,
    W: Future<Output = anyhow::Result<T>>,
{
    let entered = "a region's network cannot be entered";
    namespace.enter().context(entered)?;
    let inherited = namespace.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(move || {
            // This thread's parent has just done the same: with fewer rights now, all is off.
            if let Err(error) = inherited.enter() {
                panic!("{entered}: {error}");
            }
        })
        .build()
        .context("no runtime can be started")?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            _ = cancelled => anyhow::bail!("interrupted"),
            done = work() => done,
        }
    })
}

/// A thread in a region; dropped, it is cancelled and waited for.
struct Inhabitant {
    cancel: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        drop(self.cancel.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
