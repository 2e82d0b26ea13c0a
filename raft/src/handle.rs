//! The only door to the log.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{InitializeError as RaftInitializeError, RaftError};
use primacy_core::ids::{Committed, LogIndex, NodeId, Term};
use primacy_core::record::State;
use thiserror::Error;
use tokio::sync::watch;

use crate::admission::{EnterError, Entered, Seat, tell};
use crate::config::{Config, StartError};
use crate::fatal::{FatalCell, FatalError};
use crate::history::{Bounds, Gone, History, HistoryEntry, HistoryError};
use crate::leadership::{Contact, Leadership, Watcher};
use crate::net::client::Networks;
use crate::net::peers::{Client, Lane, Peers};
use crate::net::server::{self, Ear, RaftServer};
use crate::opening::{Opened, open};
use crate::state_machine::{Published, voters};
use crate::status::Status;
use crate::types::{Raft, position};

/// One node's part in the log. Cheap to clone; ended by `shutdown`, not by dropping it.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    node: NodeId,
    raft: Raft,
    seat: Seat,
    /// Whether this node takes part; before, for what it waits.
    admitted: watch::Sender<bool>,
    waits: watch::Sender<Option<String>>,
    history: History,
    contact: Arc<Contact>,
    leadership: watch::Sender<Leadership>,
    fatal: FatalCell,
    stopped: watch::Sender<bool>,
    /// Within this a transfer is done, or has failed.
    transfer_time: Duration,
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
    /// Opens what the node's directory holds. The service must be mounted for the peers to be
    /// answered; the node takes no part before `enter`.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let raft_config = config.timing.openraft(config.snapshot_every)?;
        let raft_config = raft_config
            .validate()
            .map_err(|error| StartError::Raft(error.to_string()))?;
        if config.snapshot_every < 10 {
            return Err(StartError::SnapshotTooOften(config.snapshot_every));
        }
        let Bounds {
            max_mb, max_days, ..
        } = config.history;
        if max_mb < Bounds::LEAST_MB || max_days == 0 {
            return Err(StartError::HistoryTooShort { max_mb, max_days });
        }
        let fatal = FatalCell::new();
        let opened = open(&config, fatal.clone()).await?;
        let Opened {
            log,
            remains,
            history,
            state_machine,
        } = opened;
        let published = state_machine.published();

        let peers = Peers::new(config.transport.clone());
        let seat = Seat {
            node: config.node_id,
            plane: config.plane.clone(),
            members: config.members.clone(),
            remains,
            log: log.clone(),
            published: published.clone(),
            peers: peers.clone(),
        };
        let hears_majority = Arc::new(AtomicBool::new(false));
        let election_max = Duration::from_millis(config.timing.election_max_ms);
        let networks = Networks {
            this: config.node_id,
            peers,
            hears_majority: hears_majority.clone(),
            append_deadline: election_max,
        };
        let raft = Raft::new(
            config.node_id,
            Arc::new(raft_config),
            networks,
            log,
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
        tokio::spawn(show_when_recovered(raft.clone(), published));

        Ok(Self(Arc::new(Inner {
            node: config.node_id,
            raft,
            seat,
            admitted: watch::Sender::new(false),
            waits: watch::Sender::new(None),
            history,
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

    /// Asks the members, founds the plane with them if none of them knows it, and takes part from
    /// now on. Waits for as long as it must; an error is for good, and the process must end.
    pub async fn enter(&self) -> Result<Entered, EnterError> {
        let Inner { seat, waits, .. } = &*self.0;
        let entered = tokio::select! {
            entered = seat.enter(waits) => entered?,
            () = self.stopped() => {
                let why = self.fatal_now().map_or("told to".to_owned(), |why| why.to_string());
                return Err(EnterError::Stopped(why));
            }
        };
        if entered == Entered::Founding {
            self.initialize().await?;
        }
        self.take_part();
        let (seat, fatal, this) = (seat.clone(), self.0.fatal.clone(), self.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = tell(seat, fatal) => {}
                () = this.stopped() => {}
            }
        });
        Ok(entered)
    }

    /// Takes part without having asked anybody, as a node must not: for the tests that show why.
    #[doc(hidden)]
    pub async fn enter_unasked(&self) -> Result<(), EnterError> {
        self.initialize().await?;
        self.take_part();
        Ok(())
    }

    /// For whom or what this node waits before it takes part.
    pub fn waits(&self) -> Option<String> {
        self.0.waits.borrow().clone()
    }

    /// Every first member does this; the log keeps one of them.
    async fn initialize(&self) -> Result<(), EnterError> {
        let members = self.0.seat.members.clone();
        match self.0.raft.initialize(members).await {
            // It has a log from somebody who was quicker.
            Ok(()) | Err(RaftError::APIError(RaftInitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(RaftInitializeError::NotInMembers(_))) => {
                Err(EnterError::NotAMember(self.0.node))
            }
            Err(RaftError::Fatal(fatal)) => Err(EnterError::Stopped(fatal.to_string())),
        }
    }

    fn take_part(&self) {
        self.0.waits.send_replace(None);
        self.0.admitted.send_replace(true);
        self.0.raft.runtime_config().elect(true);
    }

    /// The newest applied state, at each apply. Nothing (position 0.0) until this node has caught
    /// up, after its start, with all that it may have known before.
    pub fn watch(&self) -> watch::Receiver<Committed<Arc<State>>> {
        self.0.seat.published.shown()
    }

    /// The newest state applied here, caught up or not: committed, but it may be older than what
    /// this node showed before its last start. For people, when no majority is left.
    pub fn local(&self) -> Committed<Arc<State>> {
        self.0.seat.published.local().borrow().clone()
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
        server::service(self.ear())
    }

    pub(crate) fn ear(&self) -> Ear {
        Ear {
            node: self.0.node,
            raft: self.0.raft.clone(),
            contact: self.0.contact.clone(),
            known: self.0.seat.peers.are_known(),
            seat: self.0.seat.clone(),
            admitted: self.0.admitted.subscribe(),
            fatal: self.0.fatal.clone(),
        }
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

    /// What is no longer in the history, to keep it within its bounds.
    pub async fn history_gone(&self) -> Result<Gone, HistoryError> {
        self.0.history.gone().await
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
        let Inner { seat, history, .. } = &*self.0;
        let (log, history) = (seat.log.clone(), history.clone());
        let closed = tokio::task::spawn_blocking(move || {
            history.close();
            log.close();
        });
        if let Err(error) = closed.await
            && error.is_panic()
        {
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
        self.0.seat.published.local()
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
        self.0.seat.peers.client(to, member, lane).ok()
    }
}

/// After a restart the applied state may be older than what this node once showed. It is shown
/// when a commit of the cluster covers everything in this node's log.
async fn show_when_recovered(raft: Raft, published: Published) {
    match raft.wait_for_recovery(None).await {
        Ok(_) => published.set_recovered(),
        Err(error) => tracing::debug!("stopped before it had caught up: {error}"),
    }
}
