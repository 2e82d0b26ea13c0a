//! What a frame says. MessagePack with named fields: a field added later is skipped by the
//! version before.

use serde::{Deserialize, Serialize};

use super::WalError;
use crate::types::{LogId, RaftEntry, RaftVote};

/// A record as read.
#[derive(Debug, Deserialize)]
pub enum Record {
    /// Begins each segment: what older segments, which a purge may delete, had established.
    Checkpoint(Meta),
    Vote(RaftVote),
    Committed(Option<LogId>),
    Append(RaftEntry),
    /// Entries above this index are gone; all of them without one.
    TruncateAfter(Option<u64>),
    Purge(LogId),
}

/// Everything but the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub vote: Option<RaftVote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
}

/// The same as `Record`, borrowed.
#[derive(Serialize)]
enum Borrowed<'a> {
    Checkpoint(&'a Meta),
    Vote(&'a RaftVote),
    Committed(Option<LogId>),
    Append(&'a RaftEntry),
    TruncateAfter(Option<u64>),
    Purge(&'a LogId),
}

/// What the writer must remember of a record that it writes.
#[derive(Clone, Debug)]
pub enum Effect {
    None,
    Vote(RaftVote),
    Committed(Option<LogId>),
    Append(u64),
    Purge(LogId),
}

/// A record, ready to be written.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub(super) body: Vec<u8>,
    pub(super) effect: Effect,
}

impl Encoded {
    fn new(record: &Borrowed<'_>, effect: Effect) -> Result<Self, WalError> {
        let body = rmp_serde::to_vec_named(record).map_err(|e| WalError::Encode(e.to_string()))?;
        if body.len() > RECORD_BYTES_MAX {
            let bytes = body.len();
            return Err(WalError::Encode(format!(
                "it has {bytes} bytes, above {RECORD_BYTES_MAX}"
            )));
        }
        Ok(Self { body, effect })
    }

    pub fn checkpoint(meta: &Meta) -> Result<Self, WalError> {
        Self::new(&Borrowed::Checkpoint(meta), Effect::None)
    }

    pub fn vote(vote: &RaftVote) -> Result<Self, WalError> {
        Self::new(&Borrowed::Vote(vote), Effect::Vote(*vote))
    }

    pub fn committed(committed: Option<LogId>) -> Result<Self, WalError> {
        Self::new(
            &Borrowed::Committed(committed),
            Effect::Committed(committed),
        )
    }

    pub fn append(entry: &RaftEntry) -> Result<Self, WalError> {
        Self::new(&Borrowed::Append(entry), Effect::Append(entry.log_id.index))
    }

    pub fn truncate_after(index: Option<u64>) -> Result<Self, WalError> {
        Self::new(&Borrowed::TruncateAfter(index), Effect::None)
    }

    pub fn purge(upto: &LogId) -> Result<Self, WalError> {
        Self::new(&Borrowed::Purge(upto), Effect::Purge(*upto))
    }
}

/// No entry comes near it: gRPC refuses messages of 4 MiB long before.
const RECORD_BYTES_MAX: usize = 64 << 20;
