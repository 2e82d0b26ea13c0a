//! Whether this instance could follow whoever may be primary next: tried before it is needed.
//!
//! A firewall between two replicas, or an account that is locked on one of them, shows on the day of
//! the failover otherwise.

use std::collections::BTreeMap;

use super::super::op::{Op, OpDone, OpError, OpId};
use super::{Agent, AgentOutput, Server};
use crate::ids::{InstanceId, Tick};
use crate::observe::Path;

/// Between two tries at one instance.
const EVERY_MS: u64 = 10_000;
/// The same while the receiver waits in vain: somebody may have to be chosen.
const DOUBT_EVERY_MS: u64 = 500;

#[derive(Clone, Debug)]
struct Tried {
    begun: Tick,
    error: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// The newest try at each that has ended.
    tried: BTreeMap<InstanceId, Tried>,
    under_way: BTreeMap<OpId, (InstanceId, Tick)>,
}

impl Paths {
    fn is_due(&self, now: Tick, to: &InstanceId, every_ms: u64) -> bool {
        let tries = !self.under_way.values().any(|(id, _)| id == to);
        let last = self.tried.get(to);
        tries && last.is_none_or(|last| now.since_ms(last.begun) >= every_ms)
    }

    /// Whether it was a try that ended.
    pub fn ended(&mut self, id: OpId, result: &Result<OpDone, OpError>) -> bool {
        let Some((to, begun)) = self.under_way.remove(&id) else {
            return false;
        };
        let error = match result {
            Ok(_) => String::new(),
            Err(why) => why.to_string(),
        };
        self.tried.insert(to, Tried { begun, error });
        true
    }

    pub fn told(&self, now: Tick) -> BTreeMap<InstanceId, Path> {
        let tried = self.tried.iter();
        tried
            .map(|(id, tried)| {
                let path = Path {
                    tried_ms: now.since_ms(tried.begun),
                    error: tried.error.clone(),
                };
                (id.clone(), path)
            })
            .collect()
    }
}

impl Agent {
    pub(super) fn tick_paths(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        // What it is ordered to do comes first.
        let idle = self.server == Server::Up && self.job.is_none() && !self.connects(now);
        let Some(named) = self.named.as_ref().filter(|_| idle) else {
            return;
        };
        let doubts = self.receiver.doubts(now, named.replica_stale_ms);
        let every_ms = if doubts { DOUBT_EVERY_MS } else { EVERY_MS };
        let own = &self.seal.instance;
        let next = named.addresses.iter();
        let next = next.filter(|(id, _)| **id != named.instance && *id != own);
        let next: BTreeMap<_, _> = next.map(|(id, at)| (id.clone(), at.clone())).collect();
        self.paths.tried.retain(|id, _| next.contains_key(id));
        for (id, (host, port)) in next {
            if self.paths.is_due(now, &id, every_ms) {
                let op = self.run(Op::LogIn { host, port }, out);
                self.paths.under_way.insert(op, (id, now));
            }
        }
    }
}
