//! The wire: generated gRPC code, the agent link's messages, and TLS.

pub mod link;
pub mod tls;

/// The public API.
pub mod v1 {
    #![allow(clippy::all)]
    tonic::include_proto!("primacy.v1");
}

/// Between agents and nodes.
pub mod agent_link {
    #![allow(clippy::all)]
    tonic::include_proto!("primacy.internal.agent.v1");
}

/// One message: three GTID sets of 16 MiB at most, or some hundred entries of the log.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// For gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
