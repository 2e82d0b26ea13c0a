//! What an agent has promised and must never forget: durable (fsync) before it acts.

use serde::{Deserialize, Serialize};

use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Epoch, Incarnation, InstanceId, PlaneId, Token};

/// The durable memory of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    /// The plane it is enrolled in; all others' tokens are refused, whatever their order.
    pub plane: Option<PlaneId>,
    /// The data it speaks for. It opens only under this `server_uuid`.
    pub server_uuid: Option<Uuid>,
    /// Which run of the agent this is.
    pub agent: Incarnation,
    /// Counted up before each start of `mysqld`.
    pub mysqld: Incarnation,
    /// The newest token obeyed.
    pub token: Option<Token>,
    /// It starts no replication toward a primary of an epoch not above this one.
    pub frozen: Option<Epoch>,
    /// It answered a fence order for this epoch: it opens only for one above.
    pub shut: Option<Epoch>,
    /// The newest epoch for which it opened its instance, or was about to.
    pub opened: Option<Epoch>,
    /// The epoch in which it last shut itself, since nobody acknowledged its writes.
    #[serde(default)]
    pub unacknowledged: Option<Epoch>,
    /// Why its GTIDs do not say what is in it, until it is rebuilt: rows were filtered out, or its GTIDs
    /// were reset.
    #[serde(default)]
    pub marked: Option<String>,
    /// What it held once, and lost with its relay log.
    #[serde(default)]
    pub lost: GtidSet,
    /// Whom it last replicated from, in which epoch; durable before the thread starts.
    pub source: Option<(InstanceId, Epoch)>,
}

impl Seal {
    pub fn blank(cluster: ClusterId, instance: InstanceId) -> Self {
        Self {
            cluster,
            instance,
            plane: None,
            server_uuid: None,
            agent: Incarnation::INITIAL,
            mysqld: Incarnation::INITIAL,
            token: None,
            frozen: None,
            shut: None,
            opened: None,
            unacknowledged: None,
            marked: None,
            lost: GtidSet::default(),
            source: None,
        }
    }

    /// Whether replication toward a primary of `epoch` may be started.
    pub fn may_follow(&self, epoch: Epoch) -> bool {
        self.frozen.is_none_or(|frozen| epoch > frozen)
    }

    /// Whether the instance may be opened for `epoch`.
    pub fn may_open(&self, epoch: Epoch) -> bool {
        self.shut.is_none_or(|shut| epoch > shut) && self.frozen.is_none_or(|frozen| epoch > frozen)
    }
}
