//! Channels to the other nodes: made once, shared, reconnected by themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use primacy_core::ids::NodeId;
use primacy_core::record::Member;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::wire::raft_service_client::RaftServiceClient;
use super::{MESSAGE_BYTES_MAX, TO};
use crate::config::Dialer;

/// A connection is made within this, or tried anew.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
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

#[derive(Clone)]
pub struct Peers {
    dialer: Option<Dialer>,
    channels: Arc<Mutex<BTreeMap<(String, Lane), Channel>>>,
}

impl Peers {
    pub fn new(dialer: Option<Dialer>) -> Self {
        Self {
            dialer,
            channels: Arc::default(),
        }
    }

    pub fn client(&self, member: &Member, lane: Lane) -> Result<Client, tonic::transport::Error> {
        let key = (member.address.clone(), lane);
        let mut channels = self
            .channels
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let channel = match channels.get(&key) {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.endpoint(&member.address)?.connect_lazy();
                channels.insert(key, channel.clone());
                channel
            }
        };
        Ok(RaftServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = match &self.dialer {
            Some(dial) => dial(address)?,
            None => Endpoint::from_shared(format!("http://{address}"))?,
        };
        Ok(endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
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
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        source = error.source();
    }
    false
}
