//! Observe: what one node sees of one instance. Pulses and a passed-in `now` become a sight.
//!
//! **Invariant:** one node's sight is never acted on; it only becomes a vote.

mod detector;
mod ground;
mod heartbeat;
mod pace;
mod progress;
mod server;
mod starved;

#[cfg(test)]
mod tests;

pub use detector::{BeatWord, Detector, Named, Probe, Pulse, Sight, SightKind, TICK_GAP_MS};
pub use ground::{Fault, GroundLook, Seen, SourceGround, TIMEOUT_MS, fault_list};
pub use heartbeat::{
    Branches, GroundWord, Heartbeat, IoThread, MysqldWord, ReplicaReport, Role, Stuck, Word,
};
pub use pace::{Held, Pace};
pub use progress::{Asked, Progress, Reached, Timed};
pub use server::{Besides, ChannelSeen, NotSent, ServerError};
pub use starved::{Path, PathSeen, ReplicaSeen, Starvation};
