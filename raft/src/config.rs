//! What a node of the control plane is started with, and why it may refuse.

use std::collections::BTreeMap;
use std::path::PathBuf;

use primacy_core::ids::{LogIndex, NodeId, PlaneId};
use primacy_core::record::{FEATURE_LEVEL, Member};
use primacy_proto::tls::Transport;
use thiserror::Error;

use crate::admission::RemainsError;
use crate::disk::DiskError;
use crate::fatal::FatalError;
use crate::history::{Bounds, HistoryError};
use crate::identity::IdentityError;
use crate::snapshot::SnapshotError;
use crate::timing::{Timing, TimingError};
use crate::wal::WalError;

#[derive(Clone)]
pub struct Config {
    /// Stable for ever; a node that lost its data comes back under a new one.
    pub node_id: NodeId,
    /// Everything this node must not forget. Nobody else's.
    pub dir: PathBuf,
    /// The plane's name: nodes of different ones do not found one together.
    pub plane: PlaneId,
    /// The first members, this one included, and how each is reached. They found the plane
    /// together, and ask each other whenever one starts.
    pub members: BTreeMap<NodeId, Member>,
    pub timing: Timing,
    /// Entries between two snapshots. The log in memory stays below some 1.2 times as many.
    pub snapshot_every: u64,
    pub history: Bounds,
    /// The newest feature level that this version can apply; it stops before a higher one.
    pub knows: u32,
    /// How peers are reached, and whether they must say who they are.
    pub transport: Transport,
}

impl Config {
    /// The usual times, a snapshot each 5,000 entries, no TLS.
    pub fn new(
        node_id: NodeId,
        dir: impl Into<PathBuf>,
        members: BTreeMap<NodeId, Member>,
    ) -> Self {
        Self {
            node_id,
            dir: dir.into(),
            plane: PlaneId::from(""),
            members,
            timing: Timing::default(),
            snapshot_every: 5_000,
            history: Bounds::default(),
            knows: FEATURE_LEVEL,
            transport: Transport::Plain,
        }
    }
}

#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Timing(#[from] TimingError),
    #[error("snapshot_every is {0}, below 10: the node would do nothing else")]
    SnapshotTooOften(u64),
    #[error(
        "the history's bounds of {max_mb} MB and {max_days} days are too narrow: at least {} MB \
         and a day",
        Bounds::LEAST_MB
    )]
    HistoryTooShort { max_mb: u64, max_days: u64 },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error(transparent)]
    Remains(#[from] RemainsError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "{} holds no snapshot, but the log is purged up to entry {purged}; remove this node and \
         let it rejoin under a new id",
        dir.display()
    )]
    SnapshotLost { dir: PathBuf, purged: LogIndex },
    /// What it found while it applied again what it had.
    #[error(transparent)]
    Fatal(FatalError),
    #[error("the consensus library refuses to start: {0}")]
    Raft(String),
}
