//! The other side: answers the peers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::Snapshot;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, TransferLeaderRequest,
    VoteRequest,
};
use primacy_core::ids::NodeId;
use primacy_core::record::{Command, Proposal};
use primacy_proto::MESSAGE_BYTES_MAX;
use primacy_proto::tls::{Identity, speaks_as};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::wire::raft_service_server::{RaftService, RaftServiceServer};
use super::{SnapshotHeader, TO, decode, encode, wire};
use crate::admission::{Seat, Word};
use crate::disk::DiskError;
use crate::fatal::{FatalCell, FatalError};
use crate::leadership::Contact;
use crate::propose;
use crate::snapshot::SnapshotBytes;
use crate::types::{Raft, TypeConfig};

/// The service for the peers, to be mounted beside others on one port.
pub type RaftServer = RaftServiceServer<Ear>;

/// Far above any state: it is bounded, and lives in memory.
const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// A call that comes before this node takes part waits so long: with all members starting
/// together it is a matter of milliseconds.
const ADMITTED_WITHIN: Duration = Duration::from_secs(1);

/// What hears the peers of one node.
#[derive(Clone)]
pub struct Ear {
    pub(crate) node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) contact: Arc<Contact>,
    /// Every call must carry an identity.
    pub(crate) known: bool,
    pub(crate) seat: Seat,
    /// Whether this node takes part; until then it answers `Ask` alone.
    pub(crate) admitted: watch::Receiver<bool>,
    pub(crate) fatal: FatalCell,
}

pub(crate) fn service(ear: Ear) -> RaftServer {
    RaftServiceServer::new(ear)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Ear {
    /// Takes the message out of a request for this node as one that takes part.
    async fn accept<T>(&self, request: Request<T>) -> Result<(T, Speaker), Status> {
        let accepted = self.meant_for_this(request)?;
        let mut admitted = self.admitted.clone();
        let admitted = timeout(ADMITTED_WITHIN, admitted.wait_for(|admitted| *admitted));
        match admitted.await {
            Ok(Ok(_)) => Ok(accepted),
            Ok(Err(_)) | Err(_) => Err(Status::unavailable(format!(
                "node {} takes no part yet: it asks the members first",
                self.node
            ))),
        }
    }

    /// Takes the message out of a request that is meant for this node, and notes who sent it.
    fn meant_for_this<T>(&self, request: Request<T>) -> Result<(T, Speaker), Status> {
        let to = request
            .metadata()
            .get(TO)
            .and_then(|to| to.to_str().ok()?.parse().ok());
        if to != Some(self.node.0) {
            let to = to.map_or("nobody".to_owned(), |to: u64| format!("node {to}"));
            return Err(Status::failed_precondition(format!(
                "this is node {}, and the call is meant for {to}",
                self.node
            )));
        }
        let identity = request.extensions().get::<Identity>().cloned();
        if self.known && identity.is_none() {
            return Err(Status::unauthenticated("a peer must say who it is"));
        }
        Ok((request.into_inner(), Speaker(identity)))
    }
}

/// Who sent a message: `None` where no TLS is spoken.
#[derive(Clone)]
struct Speaker(Option<Identity>);

impl Speaker {
    /// A node speaks for itself: neither a vote nor an entry is taken in another one's name.
    fn must_be(&self, named: NodeId) -> Result<(), Status> {
        let Some(identity) = &self.0 else {
            return Ok(());
        };
        speaks_as(identity, named).map_err(|refusal| refusal.told())
    }
}

/// openraft has stopped: this node is as good as gone.
fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl RaftService for Ear {
    async fn append(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let (message, speaker) = self.accept(request).await?;
        let rpc: AppendEntriesRequest<TypeConfig> = decode(&message.payload)?;
        let leader = rpc.vote.leader_id.voted_for;
        speaker.must_be(leader)?;
        let answer = self.raft.append_entries(rpc).await.map_err(stopped)?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.contact.heard(leader, message.leader_hears_majority);
        }
        Ok(Response::new(wire::AppendResponse {
            payload: encode(&answer)?,
        }))
    }

    type StreamAppendStream = BoxStream<'static, Result<wire::StreamAppendResponse, Status>>;

    async fn stream_append(
        &self,
        request: Request<Streaming<wire::StreamAppendRequest>>,
    ) -> Result<Response<Self::StreamAppendStream>, Status> {
        let (messages, speaker) = self.accept(request).await?;
        let leader = Arc::new(StreamLeader::default());
        let requests = requests(messages, speaker, leader.clone());
        let contact = self.contact.clone();
        let answers = self.raft.stream_append(requests).map(move |answer| {
            let answer = answer.map_err(stopped)?;
            if !matches!(answer, Err(StreamAppendError::HigherVote(_)))
                && let Some(id) = leader.id.get()
            {
                contact.heard(*id, leader.hears_majority.load(Ordering::Relaxed));
            }
            Ok(wire::StreamAppendResponse {
                payload: encode(&answer)?,
            })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let (message, speaker) = self.accept(request).await?;
        let rpc: VoteRequest<TypeConfig> = decode(&message.payload)?;
        speaker.must_be(rpc.vote.leader_id.voted_for)?;
        let answer = self.raft.vote(rpc).await.map_err(stopped)?;
        Ok(Response::new(wire::VoteResponse {
            payload: encode(&answer)?,
        }))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::PreVoteRequest>,
    ) -> Result<Response<wire::PreVoteResponse>, Status> {
        let (message, speaker) = self.accept(request).await?;
        let rpc: VoteRequest<TypeConfig> = decode(&message.payload)?;
        speaker.must_be(rpc.vote.leader_id.voted_for)?;
        let answer = self.raft.pre_vote(rpc).await.map_err(stopped)?;
        Ok(Response::new(wire::PreVoteResponse {
            payload: encode(&answer)?,
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::InstallSnapshotRequest>>,
    ) -> Result<Response<wire::InstallSnapshotResponse>, Status> {
        let (mut messages, speaker) = self.accept(request).await?;
        let first = messages.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("a snapshot without a header"))?;
        let SnapshotHeader { vote, meta } = decode(&first.header)?;
        let leader = vote.leader_id.voted_for;
        speaker.must_be(leader)?;
        let mut body = Vec::new();
        while let Some(message) = messages.message().await? {
            if body.len() + message.chunk.len() > SNAPSHOT_BYTES_MAX {
                return Err(Status::out_of_range("a snapshot above a gigabyte"));
            }
            body.extend_from_slice(&message.chunk);
        }
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotBytes(body.into()),
        };
        let answer = self
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(stopped)?;
        if answer.vote == vote {
            self.contact
                .heard(leader, self.contact.leader_hears_majority(leader));
        }
        Ok(Response::new(wire::InstallSnapshotResponse {
            payload: encode(&answer)?,
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let (message, speaker) = self.accept(request).await?;
        let rpc: TransferLeaderRequest<TypeConfig> = decode(&message.payload)?;
        speaker.must_be(rpc.from_leader().leader_id.voted_for)?;
        let answer = self
            .raft
            .handle_transfer_leader(rpc)
            .await
            .map_err(stopped)?;
        Ok(Response::new(wire::TransferLeaderResponse {
            payload: encode(&answer)?,
        }))
    }

    async fn forward(
        &self,
        request: Request<wire::ForwardRequest>,
    ) -> Result<Response<wire::ForwardResponse>, Status> {
        let (message, speaker) = self.accept(request).await?;
        let proposal: Proposal = decode(&message.proposal)?;
        speaker.must_be(proposal.proposer.of_door())?;
        for command in &proposal.commands {
            if let Command::Vote(vote) = command {
                speaker.must_be(vote.node)?;
            }
        }
        let answer = propose::here(&self.raft, proposal).await;
        Ok(Response::new(wire::ForwardResponse {
            payload: encode(&answer)?,
        }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        self.accept(request).await?;
        let answer = propose::read_from_here(&self.raft).await;
        Ok(Response::new(wire::ReadIndexResponse {
            payload: encode(&answer)?,
        }))
    }

    async fn ask(
        &self,
        request: Request<wire::AskRequest>,
    ) -> Result<Response<wire::AskResponse>, Status> {
        let (message, speaker) = self.meant_for_this(request)?;
        let word: Word = decode(&message.payload)?;
        speaker.must_be(word.node)?;
        let answer = self.seat.answer(&self.raft, &word).await;
        let answer = answer.map_err(|error: DiskError| {
            let error = error.into_io();
            self.fatal.set(FatalError::new(&error));
            stopped(error)
        })?;
        Ok(Response::new(wire::AskResponse {
            payload: encode(&answer)?,
        }))
    }
}

/// Whom a stream comes from.
#[derive(Default)]
struct StreamLeader {
    id: std::sync::OnceLock<NodeId>,
    hears_majority: AtomicBool,
}

/// The requests of a stream, up to the first that cannot be read; openraft then ends the answers.
fn requests(
    messages: Streaming<wire::StreamAppendRequest>,
    speaker: Speaker,
    leader: Arc<StreamLeader>,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static {
    futures::stream::unfold(messages, move |mut messages| {
        let (leader, speaker) = (leader.clone(), speaker.clone());
        async move {
            let message = messages.message().await.ok()??;
            let rpc: AppendEntriesRequest<TypeConfig> = match decode(&message.payload) {
                Ok(rpc) => rpc,
                Err(status) => {
                    tracing::warn!("entries from a peer are dropped: {}", status.message());
                    return None;
                }
            };
            speaker.must_be(rpc.vote.leader_id.voted_for).ok()?;
            leader.id.get_or_init(|| rpc.vote.leader_id.voted_for);
            leader
                .hears_majority
                .store(message.leader_hears_majority, Ordering::Relaxed);
            Some((rpc, messages))
        }
    })
}
