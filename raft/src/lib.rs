//! The replicated log of the control plane: openraft over our own write-ahead log, snapshots, a
//! history of what was applied, and gRPC between the nodes.
//!
//! [`Handle`] is the only door. Whatever leaves it as [`Committed`](primacy_core::ids::Committed)
//! was agreed by a majority and applied here.
//!
//! **Invariants**
//! - Nothing is answered before it is durable: a vote, an entry, an installed snapshot.
//! - The history keeps within its bounds, and says what it let go.
//! - The log is purged only below a durable snapshot and a durable history.
//! - A damaged log never starts; a torn end of it, which nobody was promised, is cut.
//! - A node takes no part before it has asked the members whether its log is whole.
//! - An IO error stops the node. It is never retried: after a failed fsync nobody knows what the
//!   disk holds.

mod admission;
mod boot_clock;
mod config;
mod disk;
mod fatal;
mod handle;
mod history;
mod identity;
mod leadership;
mod log_store;
mod net;
mod opening;
mod propose;
mod snapshot;
mod state_machine;
mod status;
mod timing;
mod types;
mod wal;

pub use admission::{EnterError, Entered, RemainsError};
pub use config::{Config, StartError};
pub use disk::DiskError;
pub use fatal::FatalError;
pub use handle::{Handle, TransferError};
pub use history::{Bounds as HistoryBounds, Gone as HistoryGone, HistoryEntry, HistoryError};
pub use identity::IdentityError;
pub use leadership::Leadership;
pub use net::server::RaftServer;
pub use propose::{ProposeError, ReadError};
pub use snapshot::SnapshotError;
pub use status::Status;
pub use timing::{Timing, TimingError};
pub use wal::WalError;
