//! openraft's network: its calls, each under its deadline.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, future::BoxFuture};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias;
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2, Snapshot};
use primacy_core::ids::NodeId;
use primacy_core::record::Member;
use prost::bytes::Bytes;
use serde::de::DeserializeOwned;
use tonic::{Code, Response, Status};

use super::peers::{Client, Lane, Peers, request, stream_request};
use super::{SnapshotHeader, decode, encode, wire};
use crate::snapshot::SnapshotBytes;
use crate::types::{RaftVote, TypeConfig};

type C = TypeConfig;
type StreamAnswer = Result<StreamAppendResult<C>, RPCError<C>>;

/// A snapshot is sent in parts of this size.
const CHUNK_BYTES: usize = 1 << 20;

/// Makes a `Network` for each peer.
#[derive(Clone)]
pub struct Networks {
    pub this: NodeId,
    pub peers: Peers,
    /// Whether this node, as leader, hears a majority; told to the followers.
    pub hears_majority: Arc<AtomicBool>,
    /// How long a follower may take to write entries. A heartbeat's time, which openraft allows
    /// them, is too short for a disk that stalls.
    pub append_deadline: Duration,
}

impl Networks {
    fn network(&self, target: NodeId, member: &Member, lane: Lane) -> Network {
        let client = |lane| {
            self.peers
                .client(target, member, lane)
                .map_err(|error| error.to_string())
        };
        Network {
            target,
            client: client(lane),
            control: client(Lane::Control),
            common: self.clone(),
        }
    }
}

impl RaftNetworkFactory<C> for Networks {
    type Network = Network;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Network {
        self.network(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Member) -> Network {
        self.network(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &Member) -> Network {
        self.network(target, node, Lane::Bulk)
    }
}

/// The way to one peer. A member whose address is no address is never reached.
pub struct Network {
    target: NodeId,
    client: Result<Client, String>,
    control: Result<Client, String>,
    common: Networks,
}

impl Network {
    /// One call with one answer.
    async fn call<T, F>(
        &self,
        action: RPCTypes,
        deadline: Duration,
        answer: impl FnOnce() -> Result<F, RPCError<C>>,
    ) -> Result<T, RPCError<C>>
    where
        T: DeserializeOwned,
        F: Future<Output = Result<Bytes, Status>>,
    {
        match tokio::time::timeout(deadline, answer()?).await {
            Ok(Ok(payload)) => decode(&payload).map_err(|status| network_error(&status)),
            Ok(Err(status)) => Err(self.refused(action, deadline, &status)),
            Err(_) => Err(self.timeout(action, deadline)),
        }
    }

    fn refused(&self, action: RPCTypes, deadline: Duration, status: &Status) -> RPCError<C> {
        match status.code() {
            // openraft waits before it tries such a peer again.
            Code::Unavailable
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated => Unreachable::from_string(status.message()).into(),
            Code::DeadlineExceeded | Code::Cancelled => self.timeout(action, deadline),
            _ => network_error(status),
        }
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RPCError<C> {
        Timeout {
            action,
            id: self.common.this,
            target: self.target,
            timeout,
        }
        .into()
    }

    fn client(&self) -> Result<Client, RPCError<C>> {
        reach(&self.client)
    }

    fn control(&self) -> Result<Client, RPCError<C>> {
        reach(&self.control)
    }
}

fn reach(client: &Result<Client, String>) -> Result<Client, RPCError<C>> {
    client
        .clone()
        .map_err(|error| Unreachable::from_string(error).into())
}

fn network_error(status: &Status) -> RPCError<C> {
    NetworkError::from_string(status.message()).into()
}

fn encoded<T: serde::Serialize>(message: &T) -> Result<Bytes, RPCError<C>> {
    encode(message).map_err(|status| network_error(&status))
}

/// Takes the payload out of an answer.
macro_rules! payload {
    ($call:expr) => {
        $call
            .await
            .map(|answer: Response<_>| answer.into_inner().payload)
    };
}

impl RaftNetworkV2<C> for Network {
    type SnapshotData = SnapshotBytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        let deadline = option.hard_ttl();
        let leader_hears_majority = self.common.hears_majority.load(Ordering::Relaxed);
        self.call(RPCTypes::AppendEntries, deadline, || {
            let message = wire::AppendRequest {
                payload: encoded(&rpc)?,
                leader_hears_majority,
            };
            let message = request(self.target, message, deadline);
            let mut client = self.client()?;
            Ok(async move { payload!(client.append(message)) })
        })
        .await
    }

    /// Pipelined: requests are sent as openraft makes them, answers come in their order. The
    /// deadline is that of the oldest request without an answer.
    ///
    /// The first request is awaited before anything is dialled, because that is where openraft
    /// waits before it tries an unreachable peer again. Else a dead peer is dialled without a
    /// pause, some 6,000 times a second, each try with its lines in the log.
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, StreamAnswer>, RPCError<C>>>
    where
        S: Stream<Item = AppendEntriesRequest<C>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let deadline = self.common.append_deadline;
            let unanswered: Arc<Mutex<VecDeque<Instant>>> = Arc::default();
            let sent = unanswered.clone();
            let hears_majority = self.common.hears_majority.clone();
            let Some(first) = input.next().await else {
                return Ok(stream::empty().boxed());
            };
            let messages = stream::iter([first]).chain(input).map(move |rpc| {
                lock(&sent).push_back(Instant::now());
                let payload = encode(&rpc).unwrap_or_else(|status| {
                    // Empty, it is refused by the other side, which ends the stream.
                    tracing::error!("cannot send entries: {}", status.message());
                    Bytes::new()
                });
                let leader_hears_majority = hears_majority.load(Ordering::Relaxed);
                wire::StreamAppendRequest {
                    payload,
                    leader_hears_majority,
                }
            });
            let mut client = self.client()?;
            let call = client.stream_append(stream_request(self.target, messages));
            let answers = match tokio::time::timeout(deadline, call).await {
                Ok(Ok(answers)) => answers.into_inner(),
                Ok(Err(status)) => {
                    return Err(self.refused(RPCTypes::AppendEntries, deadline, &status));
                }
                Err(_) => return Err(self.timeout(RPCTypes::AppendEntries, deadline)),
            };
            let this = &*self;
            let state = Some((answers, unanswered));
            let answers = stream::unfold(state, move |state| async move {
                let (mut answers, unanswered) = state?;
                let answer = this
                    .next_answer(&mut answers, &unanswered, deadline)
                    .await?;
                let goes_on = matches!(answer, Ok(Ok(_)));
                Some((answer, goes_on.then_some((answers, unanswered))))
            });
            Ok(answers.boxed())
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        let deadline = option.hard_ttl();
        self.call(RPCTypes::Vote, deadline, || {
            let message = wire::VoteRequest {
                payload: encoded(&rpc)?,
            };
            let message = request(self.target, message, deadline);
            let mut client = self.control()?;
            Ok(async move { payload!(client.vote(message)) })
        })
        .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C>,
        option: RPCOption,
    ) -> Result<VoteResponse<C>, RPCError<C>> {
        let deadline = option.hard_ttl();
        self.call(RPCTypes::Vote, deadline, || {
            let message = wire::PreVoteRequest {
                payload: encoded(&rpc)?,
            };
            let message = request(self.target, message, deadline);
            let mut client = self.control()?;
            Ok(async move { payload!(client.pre_vote(message)) })
        })
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: alias::SnapshotOf<C, SnapshotBytes>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        let deadline = option.hard_ttl();
        let Snapshot { meta, snapshot } = snapshot;
        let sending = self.call(RPCTypes::InstallSnapshot, deadline, || {
            let header = encoded(&SnapshotHeader { vote, meta })?;
            let first = wire::InstallSnapshotRequest {
                header,
                chunk: Bytes::new(),
            };
            let body = Bytes::from_owner(snapshot.0);
            let offsets = (0..body.len()).step_by(CHUNK_BYTES);
            let chunks = stream::iter(offsets.map(move |from| {
                let chunk = body.slice(from..body.len().min(from + CHUNK_BYTES));
                wire::InstallSnapshotRequest {
                    header: Bytes::new(),
                    chunk,
                }
            }));
            let messages = stream::once(async move { first }).chain(chunks);
            let message = request(self.target, messages, deadline);
            let mut client = self.client()?;
            Ok(async move { payload!(client.install_snapshot(message)) })
        });
        tokio::select! {
            answer = sending => answer.map_err(StreamingError::from),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<C>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C>, RPCError<C>> {
        let deadline = option.hard_ttl();
        self.call(RPCTypes::TransferLeader, deadline, || {
            let message = wire::TransferLeaderRequest {
                payload: encoded(&rpc)?,
            };
            let message = request(self.target, message, deadline);
            let mut client = self.control()?;
            Ok(async move { payload!(client.transfer_leader(message)) })
        })
        .await
    }
}

impl Network {
    /// The next answer on the stream; `None` at its end.
    async fn next_answer(
        &self,
        answers: &mut tonic::Streaming<wire::StreamAppendResponse>,
        unanswered: &Mutex<VecDeque<Instant>>,
        deadline: Duration,
    ) -> Option<StreamAnswer> {
        loop {
            // Without a request there is nothing to wait for; look again after one deadline.
            let oldest = lock(unanswered).front().copied();
            let left = oldest.map_or(deadline, |sent| deadline.saturating_sub(sent.elapsed()));
            match tokio::time::timeout(left, answers.message()).await {
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(answer))) => {
                    lock(unanswered).pop_front();
                    return Some(decode(&answer.payload).map_err(|status| network_error(&status)));
                }
                Ok(Err(status)) => {
                    return Some(Err(self.refused(
                        RPCTypes::AppendEntries,
                        deadline,
                        &status,
                    )));
                }
                Err(_) if oldest.is_some() => {
                    return Some(Err(self.timeout(RPCTypes::AppendEntries, deadline)));
                }
                Err(_) => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
