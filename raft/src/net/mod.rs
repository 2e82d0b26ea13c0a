//! What the nodes say to each other, over gRPC.
//!
//! **Invariants**
//! - Every call has a deadline; a transport error is an error, never an answer.
//! - Every call names the node that it is meant for, and any other refuses it: addresses are
//!   reused, ids are not.
//! - With TLS, nobody is heard in another node's name.

pub mod client;
pub mod peers;
pub mod server;
#[cfg(test)]
mod tests;

use openraft::type_config::alias;
use primacy_core::ids::{NodeId, Position};
use primacy_core::record::Outcome;
use prost::bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::types::{SnapshotMeta, TypeConfig};

/// The generated messages.
pub mod wire {
    #![allow(clippy::all, missing_docs)]
    tonic::include_proto!("primacy.internal.raft.v1");
}

/// The metadata key with the id of the node that a call is meant for.
const TO: &str = "primacy-to-node";

/// Opens an InstallSnapshot call.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct SnapshotHeader {
    vote: alias::VoteOf<TypeConfig>,
    meta: SnapshotMeta,
}

/// What became of a proposal at the node that it was put to.
#[derive(Debug, Serialize, Deserialize)]
pub enum Proposed {
    Committed {
        at: Position,
        outcome: Outcome,
    },
    /// Nothing was appended; this one may know better.
    NotLeader {
        leader: Option<NodeId>,
    },
    /// It may have been, or may yet be, committed.
    Unknown {
        why: String,
    },
}

/// How far a reader must have applied.
#[derive(Debug, Serialize, Deserialize)]
pub enum ReadFrom {
    Index(u64),
    NotLeader { leader: Option<NodeId> },
    Failed { why: String },
}

pub fn encode<T: Serialize>(value: &T) -> Result<Bytes, Status> {
    rmp_serde::to_vec_named(value)
        .map(Bytes::from)
        .map_err(|error| Status::internal(format!("cannot encode a message: {error}")))
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Status> {
    rmp_serde::from_slice(bytes)
        .map_err(|error| Status::invalid_argument(format!("cannot decode a message: {error}")))
}
