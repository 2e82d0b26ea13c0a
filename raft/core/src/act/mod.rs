//! Act: the orders that follow from the committed state, and the agent's state machine that
//! carries them out.
//!
//! **Invariant:** every order carries its token; an agent obeys none older than the newest it has
//! obeyed, and makes that token durable before it acts on it.

mod agent;
mod look;
mod op;
mod order;
mod seal;

#[cfg(test)]
mod tests;

pub use crate::observe::{ChannelSeen, NotSent};
pub use agent::{
    Acknowledgement, Agent, AgentInput, AgentOutput, NamedPrimary, ServerSeen, Settings,
};
pub use look::{Ground, ProbeAt, SemiSyncDump};
pub use op::{Applier, Marker, Op, OpDone, OpError, OpId, Opened, Survey};
pub use order::{Adopted, Order, OrderKind, Reply, Said, acker_uuids, orders};
pub use seal::{LEFT_BYTES_MAX, Left, ProcessId, Seal};
