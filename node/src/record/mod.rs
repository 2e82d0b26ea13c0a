//! Record: what this node proposes to the log, and what it must remember itself.

mod space;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use primacy_core::ids::{ClusterId, Epoch, Incarnation, NodeId, Seq};
use primacy_core::node::{NodeInput, ProposalEnd};
use primacy_core::record::{Command, Event, Proposal, Refusal};
use primacy_raft::{Handle, ProposeError};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};

use crate::{clock, durable};

pub use space::Space;

/// A proposal that is not committed by then is proposed anew: the leader may be gone.
const PROPOSE_LIMIT: Duration = Duration::from_millis(400);

/// What a node keeps on its own disk, beside the log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    pub incarnation: Incarnation,
    /// Epochs in which it saw the primary alive: a node that never did is blind.
    pub seen_alive: BTreeMap<ClusterId, Epoch>,
}

/// `Memory` on disk.
pub struct MemoryFile {
    path: PathBuf,
    memory: Memory,
}

impl MemoryFile {
    /// Loads it and counts this run up.
    ///
    /// The log takes nothing from a run that is not above the last it knows: a node that lost its
    /// file and counted from one again would be unheard, and not know it.
    pub fn begin(dir: &Path) -> Result<Self, durable::DurableError> {
        let path = dir.join("memory.json");
        let first = || Memory {
            incarnation: Incarnation(clock::first_count()),
            ..Memory::default()
        };
        let mut memory = durable::load::<Memory>(&path)?.unwrap_or_else(first);
        memory.incarnation = memory.incarnation.next();
        durable::save(&path, &memory)?;
        Ok(Self { path, memory })
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    pub fn remember(
        &mut self,
        cluster: ClusterId,
        epoch: Epoch,
    ) -> Result<(), durable::DurableError> {
        self.memory.seen_alive.insert(cluster, epoch);
        durable::save(&self.path, &self.memory)
    }
}

/// Proposes what the core wants proposed; the end comes back as an input.
pub fn propose(handle: &Handle, mut proposal: Proposal, inputs: &mpsc::Sender<NodeInput>) {
    proposal.wall_ms = clock::wall_ms();
    let (handle, inputs) = (handle.clone(), inputs.clone());
    tokio::spawn(async move {
        let seq = proposal.seq;
        let end = match handle.propose(proposal, PROPOSE_LIMIT).await {
            Ok(outcome) => {
                for result in &outcome.get().results {
                    if let Err(refusal) = result {
                        tracing::debug!(%refusal, "the log refused a command");
                    }
                }
                ProposalEnd::Committed
            }
            Err(ProposeError::NoLeader) => ProposalEnd::NoLeader,
            Err(_) => ProposalEnd::Unknown,
        };
        let _ = inputs.send(NodeInput::Proposed { seq, end }).await;
    });
}

/// Why an operator's command had no effect, or may have had one.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Refused(Refusal),
    #[error(
        "no majority of the control plane answers; nothing was changed unless it says so later"
    )]
    Unavailable(#[source] ProposeError),
}

/// The door for operators' commands.
#[derive(Clone)]
pub struct Door {
    handle: Handle,
    proposer: NodeId,
    incarnation: Incarnation,
    seq: Arc<Mutex<Seq>>,
}

impl Door {
    pub fn new(handle: Handle, node: NodeId, incarnation: Incarnation) -> Self {
        Self {
            handle,
            proposer: node.operators_door(),
            incarnation,
            seq: Arc::default(),
        }
    }

    /// Proposes one command and waits for what its apply said.
    pub async fn submit(
        &self,
        command: Command,
        limit: Duration,
    ) -> Result<Vec<Event>, SubmitError> {
        let mut seq = self.seq.lock().await;
        *seq = seq.next();
        let proposal = Proposal {
            proposer: self.proposer,
            incarnation: self.incarnation,
            seq: *seq,
            wall_ms: clock::wall_ms(),
            commands: vec![command],
        };
        let outcome = self
            .handle
            .propose(proposal, limit)
            .await
            .map_err(SubmitError::Unavailable)?;
        let mut results = outcome.into_inner().results;
        match results.pop() {
            Some(result) => result.map_err(SubmitError::Refused),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_counts_above_all_before_also_without_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let run = || MemoryFile::begin(dir.path()).unwrap().memory.incarnation;
        let (first, second) = (run(), run());
        assert_eq!(second, first.next());
        std::fs::remove_file(dir.path().join("memory.json")).unwrap();
        assert!(run() >= first, "a clock that goes on");
        assert!(first > Incarnation(1_000_000_000_000));
    }
}
