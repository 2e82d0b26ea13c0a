//! The laws, one file each: in words, whence they come, and which planted mistake must break them.
//!
//! They look at the true world (true time, true contents of every server), which no process sees.

mod acked;
mod compared;
mod inquest;
mod kept;
mod level;
mod looked;
mod needed;
mod next_v;
mod one_primary;
mod progress;
mod proof;
mod scheduled;
mod stale;
mod starved;
mod validate;
mod w;

use std::collections::BTreeMap;

use primacy_core::act::Seal;
use primacy_core::gtid::{Gtid, GtidSet};
use primacy_core::ids::{Epoch, Incarnation, InquestId, InstanceId, NodeId, Seq, Token};
use primacy_core::record::{Proposal, Stage, State};

use crate::simulator::{TxId, World};

/// One acknowledged write.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    pub tx: TxId,
    pub gtid: Gtid,
    pub key: u64,
    pub epoch: Epoch,
    pub host: usize,
    /// True time, microseconds.
    pub at: u64,
    /// Answered with fewer acknowledgements than the log says, since somebody had switched semi-sync
    /// off then.
    pub off_at: Option<u64>,
}

/// What a committed choice named.
#[derive(Clone, Debug)]
pub struct Named {
    pub instance: InstanceId,
    pub need: GtidSet,
}

/// What truly happened in a cluster so far.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub acked: Vec<Acked>,
    /// Which host opened for an epoch.
    pub opened: BTreeMap<Epoch, usize>,
    /// What the log named for an epoch.
    pub named: BTreeMap<Epoch, Named>,
    /// All that each host ever received, whatever it lost since.
    pub received: BTreeMap<usize, GtidSet>,
    /// When a node had the last sign of life of a primary before its epoch was deposed.
    pub last_signs: BTreeMap<Epoch, u64>,
    /// The newest token that each agent obeyed in any of its runs.
    obeyed: BTreeMap<usize, Option<Token>>,
    /// Whether the log ever knew that a primary's scheduler ran.
    pub scheduler_ran: bool,
    /// In which inquest each vote was cast.
    votes: BTreeMap<(NodeId, Incarnation, Seq), InquestId>,
}

/// A change of the ground that came so shortly before the last sign of life, no look may have shown:
/// `ground_age_ms`, and what a slow network makes of a look's time.
const UNSEEN_US: u64 = 1_700_000;

impl Truth {
    /// A write that a primary answered without k of V, since somebody had just switched semi-sync
    /// off, may be lost: nobody could see it. Where it could have been seen, it must not be.
    pub fn excuses(&self, write: &Acked) -> bool {
        let last = self.last_signs.get(&write.epoch);
        write
            .off_at
            .is_some_and(|off| last.is_none_or(|last| off + UNSEEN_US >= *last))
    }

    /// An agent makes a seal durable, because it obeys. Says what is wrong with that.
    pub fn obeys(&mut self, host: usize, seal: &Seal) -> Option<String> {
        stale::check(self.obeyed.entry(host).or_default(), seal)
    }
}

impl World {
    /// A server answers OK to a write.
    pub(crate) fn acknowledged(
        &mut self,
        host: usize,
        tx: TxId,
        client: bool,
        off_at: Option<u64>,
    ) {
        let Some(epoch) = self.servers[host].opened else {
            return self.violate("one primary", format!("{host} acknowledges, never opened"));
        };
        if client {
            self.counts.acknowledged += 1;
        }
        let txn = self.txns[tx];
        let write = Acked {
            tx,
            gtid: txn.gtid,
            key: txn.key,
            epoch,
            host,
            at: self.now,
            off_at,
        };
        if let Some(words) = w::check(self, &write) {
            self.violate("W", words);
        }
        if let Some(words) = acked::late(self, &write) {
            self.violate("acked", words);
        }
        self.truth_mut(host).acked.push(write);
    }

    /// A server truly opens for an epoch.
    pub(crate) fn opens(&mut self, host: usize, epoch: Epoch) {
        self.note(&format!("mysqld i{}", host + 1), || {
            format!("OPEN for epoch {epoch}")
        });
        if let Some(words) = one_primary::check(self, host, epoch) {
            self.violate("one primary", words);
        }
        if let Some(words) = proof::check(self, host, epoch) {
            self.violate("proof", words);
        }
        if let Some(words) = acked::check(self, host, epoch) {
            self.violate("acked", words);
        }
        let opened = &mut self.truth_mut(host).opened;
        let first = opened.insert(epoch, host).is_none();
        let before = opened.range(..epoch).next_back().map(|(_, host)| *host);
        if first && epoch > Epoch(1) {
            if before == Some(host) {
                self.counts.reinstated += 1;
            } else {
                self.counts.failovers += 1;
                self.counts.neighbours += self.cluster_of(host) as u64;
            }
        }
    }

    /// A replica starts to replicate.
    pub(crate) fn follows(&mut self, host: usize, source: usize, before: &GtidSet) {
        if let Some(words) = kept::on_server(self, host, before) {
            self.violate("kept", words);
        }
        if let Some(words) = compared::check(self, host, source) {
            self.violate("compared", words);
        }
    }

    /// An entry was applied.
    pub(crate) fn watch_state(&mut self, before: &State, state: &State, proposal: &Proposal) {
        if let Some(words) = level::check(self, state) {
            self.violate("level", words);
        }
        if let Some(words) = validate::check(state) {
            self.violate("validate", words);
        }
        if let Some(words) = inquest::check(self, before, state, proposal) {
            self.violate("inquest", words);
        }
        if let Some(words) = kept::in_log(before, state) {
            self.violate("kept", words);
        }
        if let Some(words) = starved::check(self, before, state) {
            self.violate("starved", words);
        }
        if let Some(words) = looked::check(self, before, state) {
            self.violate("looked", words);
        }
        if let Some(words) = needed::check(self, before, state) {
            self.violate("needed", words);
        }
        if let Some(words) = next_v::check(before, state) {
            self.violate("next V", words);
        }
        for cluster in state.clusters.values() {
            self.truth_of(&cluster.id).scheduler_ran |= cluster.scheduled.runs == Some(true);
            if matches!(cluster.stage, Stage::Deposed(_)) {
                let sign = self.last_sign[self.host_of(&cluster.primary)];
                self.truth_of(&cluster.id)
                    .last_signs
                    .entry(cluster.epoch)
                    .or_insert(sign);
            }
            let Stage::Named(promotion) = &cluster.stage else {
                continue;
            };
            let named = &self.truth_of(&cluster.id).named;
            if !named.contains_key(&cluster.epoch) {
                let proof = match promotion.choice.proof.name() {
                    "confirmed" => Some(0),
                    "exited" => Some(1),
                    "ackers_frozen" => Some(2),
                    _ => None,
                };
                if let Some(proof) = proof {
                    self.counts.proofs[proof] += 1;
                }
                let after = promotion.after.as_ref();
                let fetching = after.and_then(|record| record.fetching.as_ref());
                if fetching.is_some_and(|ordered| ordered.fetch.to == cluster.primary) {
                    self.counts.fetched += 1;
                }
                let named = Named {
                    instance: cluster.primary.clone(),
                    need: promotion.choice.need.clone(),
                };
                self.truth_of(&cluster.id)
                    .named
                    .insert(cluster.epoch, named);
            }
        }
        if !self.faults.healed {
            self.be_cruel(before, state);
        }
    }

    pub(crate) fn judge(&mut self) {
        progress::judge(self);
    }
}
