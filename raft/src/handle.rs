//! The only door to the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use openraft::EntryPayload;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{InitializeError as RaftInitializeError, RaftError};
use primacy_core::ids::{Committed, LogIndex, NodeId, Term};
use primacy_core::record::{Member, State};
use thiserror::Error;
use tokio::sync::watch;

use crate::config::{Config, StartError};
use crate::disk::DiskError;
use crate::fatal::{FatalCell, FatalError};
use crate::history::{History, HistoryEntry, HistoryError};
use crate::leadership::{Contact, Leadership, Watcher};
use crate::log_store::LogStore;
use crate::net::client::Networks;
use crate::net::peers::{Client, Lane, Peers};
use crate::net::server::{self, RaftServer};
use crate::snapshot::{SnapshotError, Snapshots};
use crate::state_machine::{Published, StateMachine, voters};
use crate::status::Status;
use crate::types::{Raft, position};
use crate::{identity, wal};

/// One node's part in the log. Cheap to clone; ended by `shutdown`, not by dropping it.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    node: NodeId,
    raft: Raft,
    log: LogStore,
    history: History,
    peers: Peers,
    published: Published,
    contact: Arc<Contact>,
    leadership: watch::Sender<Leadership>,
    fatal: FatalCell,
    stopped: watch::Sender<bool>,
    /// Within this a transfer is done, or has failed.
    transfer_time: Duration,
}

/// Whether this call founded the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialized {
    Now,
    Already,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InitializeError {
    #[error("this node, {0}, is not among the members")]
    NotAMember(NodeId),
    #[error("this node has stopped: {0}")]
    Stopped(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    #[error("this node does not lead")]
    NotLeader,
    #[error("node {0} is no voter")]
    NotAVoter(NodeId),
    #[error("node {0} did not take over in time")]
    TimedOut(NodeId),
    #[error("this node has stopped: {0}")]
    Stopped(String),
}

impl Handle {
    /// Opens what the node's directory holds and takes part from now on; the service must be
    /// mounted for the peers to be answered.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let raft_config = config.timing.openraft(config.snapshot_every)?;
        let raft_config = raft_config
            .validate()
            .map_err(|error| StartError::Raft(error.to_string()))?;
        if config.snapshot_every < 10 {
            return Err(StartError::SnapshotTooOften(config.snapshot_every));
        }
        let fatal = FatalCell::new();
        let opened = open(&config, fatal.clone()).await?;
        let Opened {
            log,
            history,
            state_machine,
        } = opened;
        let published = state_machine.published();

        let peers = Peers::new(config.transport.clone());
        let hears_majority = Arc::new(AtomicBool::new(false));
        let election_max = Duration::from_millis(config.timing.election_max_ms);
        let networks = Networks {
            this: config.node_id,
            peers: peers.clone(),
            hears_majority: hears_majority.clone(),
            append_deadline: election_max,
        };
        let raft = Raft::new(
            config.node_id,
            Arc::new(raft_config),
            networks,
            log.clone(),
            state_machine,
        );
        let raft = raft.await.map_err(|error| match fatal.get() {
            Some(ours) => StartError::Fatal(ours),
            None => StartError::Raft(error.to_string()),
        })?;

        let contact = Arc::new(Contact::default());
        let leadership = watch::Sender::new(Leadership::default());
        let watcher = Watcher {
            node: config.node_id,
            raft: raft.clone(),
            contact: contact.clone(),
            leadership: leadership.clone(),
            hears_majority,
            fatal: fatal.clone(),
            election: Duration::from_millis(config.timing.election_min_ms),
        };
        tokio::spawn(watcher.run());
        tokio::spawn(show_when_recovered(raft.clone(), published.clone()));

        Ok(Self(Arc::new(Inner {
            node: config.node_id,
            raft,
            log,
            history,
            peers,
            published,
            contact,
            leadership,
            fatal,
            stopped: watch::Sender::new(false),
            transfer_time: 2 * election_max,
        })))
    }

    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Founds the log with these voters. Harmless to repeat, also on each of the members, as long
    /// as all name the same ones.
    pub async fn initialize(
        &self,
        members: BTreeMap<NodeId, Member>,
    ) -> Result<Initialized, InitializeError> {
        match self.0.raft.initialize(members).await {
            Ok(()) => Ok(Initialized::Now),
            Err(RaftError::APIError(RaftInitializeError::NotAllowed(_))) => {
                Ok(Initialized::Already)
            }
            Err(RaftError::APIError(RaftInitializeError::NotInMembers(_))) => {
                Err(InitializeError::NotAMember(self.0.node))
            }
            Err(RaftError::Fatal(fatal)) => Err(InitializeError::Stopped(fatal.to_string())),
        }
    }

    /// The newest applied state, at each apply. Nothing (position 0.0) until this node has caught
    /// up, after its start, with all that it may have known before.
    pub fn watch(&self) -> watch::Receiver<Committed<Arc<State>>> {
        self.0.published.shown()
    }

    /// The newest state applied here, caught up or not: committed, but it may be older than what
    /// this node showed before its last start. For people, when no majority is left.
    pub fn local(&self) -> Committed<Arc<State>> {
        self.0.published.local().borrow().clone()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.subscribe()
    }

    /// How old the applied state may be: since when no majority has spoken to this node, as its
    /// leader or through it. What was still on its way then (one heartbeat) is not counted. `None`
    /// if none has since its start.
    pub fn age(&self) -> Option<Duration> {
        self.0.contact.age()
    }

    /// The service for the peers. Its listener must set TCP_NODELAY: with Nagle's algorithm a
    /// linearizable read takes 36 ms instead of half a one.
    pub fn service(&self) -> RaftServer {
        let Inner { node, raft, .. } = &*self.0;
        let known = self.0.peers.are_known();
        server::service(*node, raft.clone(), self.0.contact.clone(), known)
    }

    /// The applied entries from `from` on, oldest first.
    pub async fn history(
        &self,
        from: LogIndex,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, HistoryError> {
        self.0.history.read(from, limit).await
    }

    /// The applied entries below `before`, or all, newest first.
    pub async fn history_newest(
        &self,
        before: Option<LogIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, HistoryError> {
        self.0.history.read_newest(before, limit).await
    }

    pub fn status(&self) -> Status {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let voters = voters(membership);
        let learners = membership
            .nodes()
            .filter(|(id, _)| !voters.contains_key(id))
            .map(|(id, member)| (*id, member.clone()))
            .collect();
        Status {
            node: self.0.node,
            leadership: self.0.leadership.borrow().clone(),
            term: Term(metrics.current_term),
            last_log: metrics.last_log_index.map(LogIndex),
            applied: metrics.last_applied.as_ref().map(|id| position(id).index),
            snapshot: metrics.snapshot.as_ref().map(|id| position(id).index),
            purged: metrics.purged.as_ref().map(|id| position(id).index),
            voters,
            learners,
        }
    }

    /// Hands the leadership to `to`; returns when `to` leads.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), TransferError> {
        let mut leadership = self.leadership();
        if !leadership.borrow_and_update().is_leader {
            return Err(TransferError::NotLeader);
        }
        if !self.status().voters.contains_key(&to) {
            return Err(TransferError::NotAVoter(to));
        }
        if to == self.0.node {
            return Ok(());
        }
        let trigger = self.0.raft.trigger();
        let asked = trigger.transfer_leader(to).await;
        asked.map_err(|fatal| TransferError::Stopped(fatal.to_string()))?;
        let leads = leadership.wait_for(|now| now.leader == Some(to));
        match tokio::time::timeout(self.0.transfer_time, leads).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(TransferError::TimedOut(to)),
        }
    }

    /// Hands over the leadership, if this node has it, and stops.
    pub async fn shutdown(&self) {
        if let Some(heir) = self.heir()
            && let Err(error) = self.transfer_leader(heir).await
        {
            tracing::warn!("stopping without having handed over the leadership: {error}");
        }
        self.halt().await;
    }

    /// Stops at once, as a crash would. The directory is free when it returns.
    pub async fn halt(&self) {
        self.0.stopped.send_replace(true);
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::error!("the consensus task had panicked: {error}");
        }
        let Inner { log, history, .. } = &*self.0;
        let (log, history) = (log.clone(), history.clone());
        let closed = tokio::task::spawn_blocking(move || {
            history.close();
            log.close();
        });
        if let Err(error) = closed.await {
            tracing::error!("closing the log panicked: {error}");
        }
    }

    /// Set when this node can take part no more. The process must then end.
    pub fn fatal(&self) -> watch::Receiver<Option<FatalError>> {
        self.0.fatal.subscribe()
    }

    /// The other voter that has the most of the log, if this node leads.
    fn heir(&self) -> Option<NodeId> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        metrics
            .membership_config
            .voter_ids()
            .filter(|voter| *voter != self.0.node)
            .max_by_key(|voter| replication.get(voter).copied().flatten())
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.0.raft
    }

    pub(crate) fn local_states(&self) -> watch::Receiver<Committed<Arc<State>>> {
        self.0.published.local()
    }

    pub(crate) fn fatal_now(&self) -> Option<FatalError> {
        self.0.fatal.get()
    }

    pub(crate) fn check_running(&self) -> Result<(), Option<FatalError>> {
        match self.0.fatal.get() {
            Some(fatal) => Err(Some(fatal)),
            None if *self.0.stopped.borrow() => Err(None),
            None => Ok(()),
        }
    }

    /// Returns when this node has stopped, for whatever reason.
    pub(crate) async fn stopped(&self) {
        let (mut stopped, mut fatal) = (self.0.stopped.subscribe(), self.0.fatal.subscribe());
        // Both senders live as long as `self`.
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            _ = fatal.wait_for(Option::is_some) => {}
        }
    }

    /// The way to a member, if it is one.
    pub(crate) fn client(&self, to: NodeId, lane: Lane) -> Option<Client> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (_, member) = metrics
            .membership_config
            .nodes()
            .find(|(id, _)| **id == to)?;
        self.0.peers.client(to, member, lane).ok()
    }
}

struct Opened {
    log: LogStore,
    history: History,
    state_machine: StateMachine,
}

/// Reads the directory, off the async threads.
async fn open(config: &Config, fatal: FatalCell) -> Result<Opened, StartError> {
    let (dir, node, knows) = (config.dir.clone(), config.node_id, config.knows);
    let opening = tokio::task::spawn_blocking(move || {
        let lock = identity::claim(&dir, node)?;
        let (recovered, writer) = wal::open(&dir.join("wal"), node, Some(lock))?;
        let (snapshots, newest) = Snapshots::open(&dir.join("snapshots"))?;
        if let Some((_, state)) = &newest {
            state.known_to(knows).map_err(SnapshotError::from)?;
        }
        let snapshot_index = newest
            .as_ref()
            .and_then(|(stored, _)| stored.meta.last_log_id);
        let snapshot_index = snapshot_index.map(|last| last.index);
        let purged_index = recovered.meta.purged.map(|purged| purged.index);
        if purged_index > snapshot_index {
            return Err(StartError::SnapshotLost {
                dir: dir.join("snapshots"),
                purged: LogIndex(purged_index.unwrap_or_default()),
            });
        }
        let history = History::open(&dir.join("history"))?;
        let log = LogStore::new(recovered, writer, history.clone(), fatal.clone());
        let state_machine = StateMachine::new(snapshots, newest, history.clone(), fatal, knows);
        Ok((
            Opened {
                log,
                history,
                state_machine,
            },
            snapshot_index,
        ))
    });
    let opened = match opening.await {
        Ok(opened) => opened,
        Err(error) => {
            let path = config.dir.clone();
            return Err(DiskError {
                act: "open",
                path,
                source: error.into(),
            }
            .into());
        }
    };
    let (opened, snapshot_index) = opened?;
    if let Some(index) = snapshot_index {
        refill_history(&opened, index).await?;
    }
    Ok(opened)
}

/// What the snapshot covers is not applied again: where the history lacks it, the log may help.
async fn refill_history(opened: &Opened, snapshot_index: u64) -> Result<(), HistoryError> {
    let mut known = BTreeMap::new();
    for entry in opened.log.entries(0, snapshot_index) {
        let at = position(&entry.log_id);
        if let EntryPayload::Normal(logged) = entry.payload {
            known.insert(
                at.index,
                HistoryEntry {
                    at,
                    proposal: logged.0,
                    outcome: None,
                },
            );
        }
    }
    let missing = opened
        .history
        .missing(known.keys().copied().collect())
        .await?;
    let entries: Vec<_> = missing
        .iter()
        .filter_map(|index| known.remove(index))
        .collect();
    if !entries.is_empty() {
        tracing::warn!(
            "{} entries of the history come back from the log alone",
            entries.len()
        );
        opened.history.put(entries);
    }
    Ok(())
}

/// After a restart the applied state may be older than what this node once showed. It is shown
/// when a commit of the cluster covers everything in this node's log.
async fn show_when_recovered(raft: Raft, published: Published) {
    match raft.wait_for_recovery(None).await {
        Ok(_) => published.set_recovered(),
        Err(error) => tracing::debug!("stopped before it had caught up: {error}"),
    }
}
