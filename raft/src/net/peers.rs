//! Channels to the other nodes: made once, shared, reconnected by themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use primacy_core::ids::NodeId;
use primacy_core::record::Member;
use primacy_proto::MESSAGE_BYTES_MAX;
use primacy_proto::tls::{HandshakeError, Transport};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::TO;
use super::wire::raft_service_client::RaftServiceClient;

/// A connection is made within this, or tried anew.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// The same with its TLS handshake, which takes a second round trip: peers that are as far from
/// each other as they may be without TLS must reach each other with it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1_000);
/// A silent connection is tested this often, and given up after as long again: a peer that lost
/// its power does not close its connections.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Each has a connection of its own, so that a heartbeat never waits behind a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Heartbeats, votes, proposals.
    Control,
    /// Entries.
    Log,
    /// Snapshots.
    Bulk,
}

pub type Client = RaftServiceClient<Channel>;

/// By who must answer, and where.
type Channels = BTreeMap<(NodeId, String, Lane), Channel>;

#[derive(Clone)]
pub struct Peers {
    transport: Transport,
    channels: Arc<Mutex<Channels>>,
}

impl Peers {
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            channels: Arc::default(),
        }
    }

    /// Whether a peer's certificate tells who it is.
    pub fn are_known(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    pub fn client(
        &self,
        to: NodeId,
        member: &Member,
        lane: Lane,
    ) -> Result<Client, tonic::transport::Error> {
        let key = (to, member.address.clone(), lane);
        let mut channels = self
            .channels
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let channel = match channels.get(&key) {
            Some(channel) => channel.clone(),
            None => {
                let channel = self
                    .transport
                    .lazy(&self.endpoint(&member.address)?, Some(to));
                channels.insert(key, channel.clone());
                channel
            }
        };
        Ok(RaftServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = self.transport.endpoint(address)?;
        let connect_timeout = match self.transport {
            Transport::Plain => CONNECT_TIMEOUT,
            Transport::Tls(_) => HANDSHAKE_TIMEOUT,
        };
        Ok(endpoint
            .tcp_nodelay(true)
            .connect_timeout(connect_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true))
    }
}

/// A request to `to`, with a deadline that the other side knows too.
pub fn request<T>(to: NodeId, message: T, deadline: Duration) -> Request<T> {
    let mut request = stream_request(to, message);
    request.set_timeout(deadline);
    request
}

/// The same for a stream, whose deadlines are per answer.
pub fn stream_request<T>(to: NodeId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(TO, to.0.into());
    request
}

/// Whether a call failed before anything was sent: then it certainly had no effect.
pub fn never_sent(status: &Status) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
            || error.is::<HandshakeError>()
        {
            return true;
        }
        source = error.source();
    }
    false
}
