//! The write-ahead log: entries, vote, committed position, in segments of our own.
//!
//! ```text
//!  caller ──job──▶ writer thread: drain the queue ─▶ one write ─▶ one fdatasync ─▶ answers
//! ```
//!
//! - A *batch* is what one write carried. The next batch is written only after the last is
//!   synced, so at most the newest batch can be torn, and nobody was promised it.
//! - Each frame names its segment, its batch and its place in it, under a CRC. A damaged frame
//!   with a younger batch behind it was promised: the log refuses to start. One without is the
//!   torn end: its whole batch is cut.
//! - Segments are written full of zeros first, so that a sync has no metadata to write, and so
//!   that a full disk is met when a segment is made, not in the middle of an entry.
//!
//! **Limit:** damage within the very last batch looks like a torn write, unless the log itself
//! says that more was committed.

mod frame;
mod record;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use primacy_core::ids::NodeId;
use thiserror::Error;

pub use record::{Encoded, Meta};
pub use recover::{Recovered, open};
pub use writer::Writer;

pub use frame::crc32 as frame_checksum;

use crate::disk::DiskError;

/// Bounds the zeros that a new segment costs (a few milliseconds), and what a purge leaves behind.
pub const SEGMENT_BYTES: u64 = 4 << 20;

/// The version of the segments' format. One version back must stay readable.
pub const FORMAT_VERSION: u32 = 1;

#[derive(Clone, Debug, Error)]
pub enum WalError {
    #[error(transparent)]
    Disk(#[from] Arc<DiskError>),
    #[error(
        "the log is damaged in {} at byte {offset}: {what}; nothing was changed. Remove this node \
         and let it rejoin under a new id: an agreed entry may be lost, and a node that forgets \
         one can undo what a majority agreed",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        offset: u64,
        what: String,
    },
    #[error(
        "{} has log format {found}, and this version reads {FORMAT_VERSION}; start the version \
         that wrote it",
        path.display()
    )]
    Version { path: PathBuf, found: u32 },
    #[error("{} was written by node {found}, and this is node {expected}", path.display())]
    Foreign {
        path: PathBuf,
        found: NodeId,
        expected: NodeId,
    },
    #[error("cannot encode an entry of the log: {0}")]
    Encode(String),
    #[error("the log has been closed")]
    Closed,
}

impl From<DiskError> for WalError {
    fn from(error: DiskError) -> Self {
        Self::Disk(Arc::new(error))
    }
}

impl WalError {
    pub(crate) fn into_io(self) -> std::io::Error {
        match self {
            Self::Disk(error) => {
                std::io::Error::new(error.source.kind(), format!("{error} ({})", error.source))
            }
            other => std::io::Error::other(other.to_string()),
        }
    }
}
