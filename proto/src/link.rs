//! The messages of the agent link, wire ↔ domain.

use std::collections::BTreeMap;

use primacy_core::act::{Acknowledgement, Order, Reply};
use primacy_core::ids::{ClusterId, InstanceId};
use primacy_core::lint::Facts;
use primacy_core::observe::Heartbeat;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

use crate::MESSAGE_BYTES_MAX;
use crate::agent_link::agent_link_service_client::AgentLinkServiceClient;
use crate::agent_link::agent_link_service_server::{AgentLinkService, AgentLinkServiceServer};

/// The version of the payloads. Fields may be added with a default without changing it.
pub const FORMAT: u32 = 1;

/// The agent's side. A beat carries three GTID sets, each as long as a server's history is torn.
pub fn client(channel: Channel) -> AgentLinkServiceClient<Channel> {
    AgentLinkServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// The node's side.
pub fn server<T: AgentLinkService>(service: T) -> AgentLinkServiceServer<T> {
    AgentLinkServiceServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// From an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Up {
    Hello {
        cluster: ClusterId,
        instance: InstanceId,
        /// Drawn at the start of the agent: two agents with one id are told apart by it.
        #[serde(default)]
        run: u64,
    },
    Beat {
        beat: Box<Heartbeat>,
        rtt_ms: u64,
        /// The newest beat that the node had acknowledged on this link when this one was sent; 0 before
        /// the first. Agents of an earlier version do not say.
        #[serde(default)]
        after: Option<u64>,
    },
    Reply(Box<Reply>),
    /// The answer to an `Inspect`; an error says why the server cannot be asked.
    Facts {
        ask: u64,
        facts: Box<Result<Facts, String>>,
    },
}

/// To an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    Acknowledged(Box<Acknowledgement>),
    Order(Box<Order>),
    /// Tell what the readiness lint judges. `peers`: the others' agents, `host:port`, to be
    /// measured.
    Inspect {
        ask: u64,
        peers: BTreeMap<InstanceId, String>,
    },
}

/// A payload that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("format {found} of the agent link is not known here (this is {FORMAT}); upgrade")]
    Format { found: u32 },
    #[error("malformed message on the agent link")]
    Malformed(#[source] rmp_serde::decode::Error),
    #[error("a message could not be encoded")]
    Encode(#[source] rmp_serde::encode::Error),
}

pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, LinkError> {
    rmp_serde::to_vec_named(message).map_err(LinkError::Encode)
}

pub fn decode<T: DeserializeOwned>(format: u32, payload: &[u8]) -> Result<T, LinkError> {
    if format != FORMAT {
        return Err(LinkError::Format { found: format });
    }
    rmp_serde::from_slice(payload).map_err(LinkError::Malformed)
}
