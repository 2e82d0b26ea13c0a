//! Record: what this node proposes to the log, and what it must remember itself.

mod refusals;
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

pub use refusals::Refusals;
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
pub fn propose(
    handle: &Handle,
    mut proposal: Proposal,
    inputs: &mpsc::Sender<NodeInput>,
    refusals: &Refusals,
) {
    proposal.wall_ms = clock::wall_ms();
    let (handle, inputs, refusals) = (handle.clone(), inputs.clone(), refusals.clone());
    tokio::spawn(async move {
        let (seq, proposer, run) = (proposal.seq, proposal.proposer, proposal.incarnation);
        let end = match handle.propose(proposal, PROPOSE_LIMIT).await {
            Ok(outcome) => {
                let state = handle.local();
                let known = state.get().proposers.get(&proposer);
                if let Some((newest, _)) = known.filter(|(newest, _)| *newest > run) {
                    refusals.note(&format!(
                        "it knows run {newest} of this node, and this is run {run}: nothing that \
                         this node proposes counts. Set the clock right, delete memory.json in its \
                         folder and start it again"
                    ));
                }
                for refusal in outcome
                    .get()
                    .results
                    .iter()
                    .filter_map(|r| r.as_ref().err())
                {
                    refusals.note(&refusal.to_string());
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
    /// Its run is not the newest that the log knows of its node.
    #[error(
        "nothing was changed: the log takes this node's proposals for repetitions, its count of its \
         own runs has fallen back to {0} (memory.json is older than the log, or the clock was set \
         back). It counts on from the log's now: ask again"
    )]
    Overtaken(Incarnation),
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
    /// The key of the newest proposal.
    last: Arc<Mutex<(Incarnation, Seq)>>,
}

impl Door {
    pub fn new(handle: Handle, node: NodeId, incarnation: Incarnation) -> Self {
        Self {
            handle,
            proposer: node.operators_door(),
            last: Arc::new(Mutex::new((incarnation, Seq::INITIAL))),
        }
    }

    /// Proposes one command and waits for what its apply said.
    pub async fn submit(
        &self,
        command: Command,
        limit: Duration,
    ) -> Result<Vec<Event>, SubmitError> {
        let mut last = self.last.lock().await;
        last.1 = last.1.next();
        let (incarnation, seq) = *last;
        let proposal = Proposal {
            proposer: self.proposer,
            incarnation,
            seq,
            wall_ms: clock::wall_ms(),
            commands: vec![command],
        };
        let outcome = self
            .handle
            .propose(proposal, limit)
            .await
            .map_err(SubmitError::Unavailable)?;
        let mut outcome = outcome.into_inner();
        if outcome.repeated {
            // Each key is used once here: somebody else used this one, or a higher one.
            *last = self.above(incarnation);
            return Err(SubmitError::Overtaken(incarnation));
        }
        match outcome.results.pop() {
            Some(result) => result.map_err(SubmitError::Refused),
            None => Ok(Vec::new()),
        }
    }

    /// A run above every one that the log knows of this door.
    fn above(&self, mine: Incarnation) -> (Incarnation, Seq) {
        let state = self.handle.local();
        let known = state.get().proposers.get(&self.proposer);
        let known = known.map_or(mine, |(incarnation, _)| (*incarnation).max(mine));
        (known.next(), Seq::INITIAL)
    }
}

#[cfg(test)]
mod tests {
    use primacy_core::ids::PlaneId;
    use primacy_core::record::Member;
    use primacy_raft::Config;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// A plane of one node, whose two runs have the same number: its memory was put back.
    #[tokio::test]
    async fn what_the_log_takes_for_a_repetition_is_no_success() {
        let dir = tempfile::tempdir().unwrap();
        let one = Member {
            address: "127.0.0.1:1".into(),
            region: "here".into(),
        };
        let config = Config::new(NodeId(1), dir.path(), [(NodeId(1), one)].into());
        let handle = Handle::start(config).await.unwrap();
        handle.enter().await.unwrap();
        let door = || Door::new(handle.clone(), NodeId(1), Incarnation(7));
        let found = |plane: &str| Command::FoundPlane {
            plane: PlaneId::from(plane),
            level: 1,
        };
        let (first, second) = (door(), door());
        first.submit(found("plane"), LIMIT).await.unwrap();
        let announce = Command::Announce {
            node: NodeId(1),
            knows: 1,
        };
        let error = second.submit(announce.clone(), LIMIT).await.unwrap_err();
        assert!(
            matches!(error, SubmitError::Overtaken(Incarnation(7))),
            "{error}"
        );
        assert!(handle.local().get().knows.is_empty(), "nothing was changed");
        second.submit(announce, LIMIT).await.unwrap();
        assert_eq!(handle.local().get().knows.get(&NodeId(1)), Some(&1));
        handle.halt().await;
    }

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
