//! Proposing and reading, wherever the leader is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use primacy_core::ids::{Committed, NodeId};
use primacy_core::record::{Outcome, Proposal, State};
use thiserror::Error;
use tokio::time::Instant;
use tonic::Status;

use crate::fatal::FatalError;
use crate::handle::Handle;
use crate::net::peers::{Lane, never_sent, request};
use crate::net::{Proposed, ReadFrom, wire};
use crate::types::{LoggedProposal, Raft, position};

/// After a refusal that names no leader, the next attempt waits for news, at most this long.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// Certainly not in the log.
    #[error("no leader was found within the deadline")]
    NoLeader,
    /// It may be in the log, or may yet come there.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    #[error("this node has stopped")]
    Stopped(#[source] Option<FatalError>),
}

impl ProposeError {
    /// Whether to propose the *same* proposal again, under the same key: it takes effect at most
    /// once. `Unknown` is retryable for that reason alone; a new key could take effect twice.
    pub fn retryable(&self) -> bool {
        !matches!(self, Self::Stopped(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("no leader was found within the deadline")]
    NoLeader,
    #[error("no majority confirmed the leader within the deadline")]
    TimedOut,
    #[error("this node has stopped")]
    Stopped(#[source] Option<FatalError>),
}

impl ReadError {
    pub fn retryable(&self) -> bool {
        !matches!(self, Self::Stopped(_))
    }
}

/// Puts a proposal to this node, which must be the leader.
pub async fn here(raft: &Raft, proposal: Proposal) -> Proposed {
    let unknown = |why: String| Proposed::Unknown { why };
    match raft.client_write(LoggedProposal(proposal)).await {
        Ok(written) => match written.data {
            Some(outcome) => Proposed::Committed {
                at: position(&written.log_id),
                outcome,
            },
            None => unknown("the entry has no outcome".to_owned()),
        },
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => Proposed::NotLeader {
            leader: to.leader_id,
        },
        Err(error) => unknown(error.to_string()),
    }
}

/// How far a linearizable read must see, by ReadIndex: no clock is trusted.
pub async fn read_from_here(raft: &Raft) -> ReadFrom {
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => ReadFrom::Index(linearizer.read_log_id().index()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
            ReadFrom::NotLeader {
                leader: to.leader_id,
            }
        }
        Err(error) => ReadFrom::Failed {
            why: error.to_string(),
        },
    }
}

/// What one attempt says about the next.
enum Attempt<T> {
    Done(T),
    /// Without effect; another node may lead.
    Elsewhere,
}

impl Handle {
    /// Proposes, through the leader, and waits until it is applied there.
    ///
    /// Tries again by itself as long as it certainly had no effect. Keep one node's proposals in
    /// order: the state drops a key that is not above the proposer's last.
    pub async fn propose(
        &self,
        proposal: Proposal,
        deadline: Duration,
    ) -> Result<Committed<Outcome>, ProposeError> {
        let until = Instant::now() + deadline;
        loop {
            let leader = self.leader_before(until).await;
            let leader = leader
                .map_err(|gone| gone.unless_late(ProposeError::Stopped, ProposeError::NoLeader))?;
            let attempt = async {
                if leader == self.node() {
                    return settled(here(self.raft(), proposal.clone()).await);
                }
                self.forward(leader, &proposal, until).await
            };
            let attempt = match self.while_leading(leader, until, attempt).await {
                Ok(attempt) => attempt?,
                Err(why) => {
                    self.check_running().map_err(ProposeError::Stopped)?;
                    return Err(ProposeError::Unknown(why.to_owned()));
                }
            };
            match attempt {
                Attempt::Done(committed) => return Ok(committed),
                Attempt::Elsewhere => self.news(until).await,
            }
        }
    }

    /// The state with every effect that was acknowledged before the call: linearizable.
    pub async fn read(&self, deadline: Duration) -> Result<Committed<Arc<State>>, ReadError> {
        let until = Instant::now() + deadline;
        loop {
            let leader = self.leader_before(until).await;
            let leader =
                leader.map_err(|gone| gone.unless_late(ReadError::Stopped, ReadError::NoLeader))?;
            let attempt = async {
                if leader == self.node() {
                    return read_from_here(self.raft()).await;
                }
                self.ask_read_index(leader, until).await
            };
            match self.while_leading(leader, until, attempt).await {
                Ok(ReadFrom::Index(index)) => return self.applied(index, until).await,
                Ok(ReadFrom::NotLeader { .. } | ReadFrom::Failed { .. }) | Err(LEADER_CHANGED) => {
                    self.news(until).await;
                }
                Err(_) => {
                    self.check_running().map_err(ReadError::Stopped)?;
                    return Err(ReadError::TimedOut);
                }
            }
        }
    }

    async fn applied(
        &self,
        index: u64,
        until: Instant,
    ) -> Result<Committed<Arc<State>>, ReadError> {
        let mut states = self.local_states();
        let reached = states.wait_for(|state| state.at().index.0 >= index);
        match tokio::time::timeout_at(until, reached).await {
            Ok(Ok(state)) => Ok(state.clone()),
            Ok(Err(_)) => Err(ReadError::Stopped(self.fatal_now())),
            Err(_) => Err(ReadError::TimedOut),
        }
    }

    async fn forward(
        &self,
        leader: NodeId,
        proposal: &Proposal,
        until: Instant,
    ) -> Result<Attempt<Committed<Outcome>>, ProposeError> {
        let Some(mut client) = self.client(leader, Lane::Control) else {
            return Ok(Attempt::Elsewhere);
        };
        let unknown = |status: Status| ProposeError::Unknown(status.message().to_owned());
        let encoded = rmp_serde::to_vec_named(proposal);
        let encoded = encoded.map_err(|error| ProposeError::Unknown(error.to_string()))?;
        let message = wire::ForwardRequest {
            proposal: encoded.into(),
        };
        match client.forward(request(leader, message, left(until))).await {
            Ok(answer) => {
                let answer = rmp_serde::from_slice(&answer.into_inner().payload);
                settled(answer.map_err(|error| ProposeError::Unknown(error.to_string()))?)
            }
            Err(status) if never_sent(&status) => Ok(Attempt::Elsewhere),
            // It refused to look at it: the call was meant for another node, or it does not accept
            // this one's certificate.
            Err(status) if REFUSED.contains(&status.code()) => Ok(Attempt::Elsewhere),
            Err(status) => Err(unknown(status)),
        }
    }

    async fn ask_read_index(&self, leader: NodeId, until: Instant) -> ReadFrom {
        let failed = |why: String| ReadFrom::Failed { why };
        let Some(mut client) = self.client(leader, Lane::Control) else {
            return ReadFrom::NotLeader { leader: None };
        };
        let message = request(leader, wire::ReadIndexRequest {}, left(until));
        match client.read_index(message).await {
            Ok(answer) => rmp_serde::from_slice(&answer.into_inner().payload)
                .unwrap_or_else(|error| failed(error.to_string())),
            Err(status) => failed(status.message().to_owned()),
        }
    }

    /// The leader, when one is heard.
    async fn leader_before(&self, until: Instant) -> Result<NodeId, Gone> {
        let mut leadership = self.leadership();
        self.check_running().map_err(Gone::Stopped)?;
        let heard = leadership.wait_for(|leadership| leadership.leader.is_some());
        match tokio::time::timeout_at(until, heard).await {
            Ok(Ok(leadership)) => leadership.leader.ok_or(Gone::Late),
            Ok(Err(_)) => Err(Gone::Stopped(self.fatal_now())),
            Err(_) => match self.check_running() {
                Ok(()) => Err(Gone::Late),
                Err(fatal) => Err(Gone::Stopped(fatal)),
            },
        }
    }

    /// Runs an attempt, but not past the deadline, nor past `leader`: when another leads, the
    /// answer of the old one may never come.
    async fn while_leading<T>(
        &self,
        leader: NodeId,
        until: Instant,
        attempt: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        let mut leadership = self.leadership();
        let replaced = async {
            let other = leadership.wait_for(|now| now.leader.is_some_and(|now| now != leader));
            if other.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            done = attempt => Ok(done),
            () = replaced => Err(LEADER_CHANGED),
            () = self.stopped() => Err("this node stopped"),
            () = tokio::time::sleep_until(until) => Err("the deadline passed"),
        }
    }

    /// Waits for a change of the leadership, not long.
    async fn news(&self, until: Instant) {
        let mut leadership = self.leadership();
        let soon = until.min(Instant::now() + ASK_AGAIN_AFTER);
        // Either way the next attempt looks for itself.
        let _ = tokio::time::timeout_at(soon, leadership.changed()).await;
    }
}

/// What a node answers that did nothing with a call.
const REFUSED: [tonic::Code; 3] = [
    tonic::Code::FailedPrecondition,
    tonic::Code::PermissionDenied,
    tonic::Code::Unauthenticated,
];

const LEADER_CHANGED: &str = "the leader changed";

/// Why there is no leader to ask.
enum Gone {
    Late,
    Stopped(Option<FatalError>),
}

impl Gone {
    fn unless_late<E>(self, stopped: impl FnOnce(Option<FatalError>) -> E, late: E) -> E {
        match self {
            Self::Late => late,
            Self::Stopped(fatal) => stopped(fatal),
        }
    }
}

fn settled(proposed: Proposed) -> Result<Attempt<Committed<Outcome>>, ProposeError> {
    match proposed {
        Proposed::Committed { at, outcome } => Ok(Attempt::Done(Committed::witness(at, outcome))),
        Proposed::NotLeader { .. } => Ok(Attempt::Elsewhere),
        Proposed::Unknown { why } => Err(ProposeError::Unknown(why)),
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
