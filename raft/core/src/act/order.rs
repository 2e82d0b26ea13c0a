//! What each instance is to do, as it follows from the committed state. The same state yields the
//! same orders on every node, so that a new leader resumes where the last one stopped.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::seal::ProcessId;
use crate::decide::{Fetching, Proof};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Committed, Epoch, Incarnation, InstanceId, Position, Token};
use crate::record::{Cluster, FenceReport, Follower, Founding, FreezeReport, Stage, State};

/// One order to one instance's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub token: Token,
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub kind: OrderKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// Report what you hold, and whether you are fenced; epoch 0. In an `adopted` cluster nothing
    /// is stopped for it: the primary stays open, and its replicas go on.
    Report { adopted: Option<Adopted> },
    /// Stop the IO thread, acknowledge nothing more, report what you hold.
    Freeze { epoch: Epoch },
    /// Frozen as you are for this epoch, receive `set` from another frozen replica, acknowledging
    /// nothing, unless you hold more than `within`; then stop again and report what you hold.
    Fetch {
        epoch: Epoch,
        donor: InstanceId,
        host: String,
        port: u16,
        set: GtidSet,
        within: GtidSet,
        heartbeat_ms: u64,
    },
    /// Acknowledge no write any more; report the final set.
    Fence { epoch: Epoch },
    /// Replicate from the new primary, unless you hold more than `within`.
    Follow {
        epoch: Epoch,
        source: InstanceId,
        host: String,
        port: u16,
        /// A member of V acknowledges; nobody else does.
        acking: bool,
        within: GtidSet,
        /// Of a primary that was adopted or reinstated: a replica may have received its writes while
        /// nobody asked, and they are in its binary log, so they are nothing extra.
        own: Option<Uuid>,
        heartbeat_ms: u64,
        /// Clients are let in. Not where prepared branches (XA) are in use: an online replica would
        /// commit them by itself.
        #[serde(default = "yes")]
        online: bool,
    },
    /// Apply what you received, then open for this epoch.
    Open {
        epoch: Epoch,
        /// All that must be executed before.
        need: GtidSet,
        k: u32,
        first: bool,
        adopted: bool,
        /// V by `server_uuid`: whoever else acknowledges is cut before the opening.
        #[serde(default)]
        members: BTreeSet<Uuid>,
    },
    /// Open again within your epoch, after a restart of this incarnation of `mysqld`.
    Reopen {
        epoch: Epoch,
        k: u32,
        #[serde(default)]
        members: BTreeSet<Uuid>,
        mysqld: Incarnation,
    },
}

fn yes() -> bool {
    true
}

/// The running primary of a cluster that is adopted. A replica that follows it already makes that
/// durable before it reports: from epoch 1 on, what it holds counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    pub primary: InstanceId,
    pub host: String,
    pub port: u16,
}

/// An agent's answer. Every answer names the token it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub token: Token,
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Reported {
        report: FreezeReport,
        fenced: bool,
    },
    Frozen {
        report: FreezeReport,
    },
    Fenced {
        report: FenceReport,
        /// Its agent's disk takes no writes: it may forget this with its next start.
        #[serde(default)]
        undurable: bool,
        /// The run of the agent that says that it never began to open it for this epoch.
        #[serde(default)]
        unopened: Option<ProcessId>,
    },
    Following,
    WillNotFollow {
        extra: GtidSet,
    },
    Applied,
    Opened {
        /// The run of its server that is open.
        #[serde(default)]
        mysqld: Option<Incarnation>,
    },
    /// A marker begun when `floor` was executed has been acknowledged.
    Acknowledged {
        floor: GtidSet,
    },
    /// Refused, or failed: why, and what would help.
    Refused {
        why: String,
    },
}

impl OrderKind {
    pub fn name(&self) -> &'static str {
        match self {
            OrderKind::Report { .. } => "report",
            OrderKind::Freeze { .. } => "freeze",
            OrderKind::Fetch { .. } => "fetch",
            OrderKind::Fence { .. } => "fence",
            OrderKind::Follow { .. } => "follow",
            OrderKind::Open { .. } => "open",
            OrderKind::Reopen { .. } => "reopen",
        }
    }
}

/// Every order that stands for a cluster now. Whoever has carried his out gets none.
pub fn orders(state: &Committed<&State>, cluster: &Cluster) -> Vec<Committed<Order>> {
    let mut orders = Vec::new();
    let mut give = |instance: &InstanceId, at: Position, kind: OrderKind| {
        if let Some(token) = state.get().token(cluster.epoch, at) {
            let order = Order {
                token,
                cluster: cluster.id.clone(),
                instance: instance.clone(),
                kind,
            };
            orders.push(state.follows(order));
        }
    };
    match &cluster.stage {
        Stage::Founding {
            at, registration, ..
        } => {
            // Also to who has reported: what he holds may be what another is refused for, and may
            // be mended since.
            for instance in cluster.instances.keys() {
                let primary = &cluster.instances[&cluster.primary];
                let adopted = (registration.founding == Founding::Adopted).then(|| Adopted {
                    primary: cluster.primary.clone(),
                    host: primary.host.clone(),
                    port: primary.port,
                });
                give(instance, *at, OrderKind::Report { adopted });
            }
        }
        Stage::Deposed(deposition) => {
            let epoch = cluster.epoch;
            if let Some(Fetching { at, fetch }) = deposition.unfetched() {
                let donor = &cluster.instances[&fetch.donor];
                let kind = OrderKind::Fetch {
                    epoch,
                    donor: fetch.donor.clone(),
                    host: donor.host.clone(),
                    port: donor.port,
                    set: fetch.set.clone(),
                    within: fetch.within.clone(),
                    heartbeat_ms: cluster.policy.source_heartbeat_ms,
                };
                give(&fetch.to, *at, kind);
            }
            for instance in cluster.instances.keys() {
                if *instance == cluster.primary {
                    if deposition.fence.is_none() || deposition.fence == Some(FenceReport::Exited) {
                        give(instance, deposition.at, OrderKind::Fence { epoch });
                    }
                } else if !deposition.frozen.contains_key(instance) {
                    give(instance, deposition.at, OrderKind::Freeze { epoch });
                }
            }
        }
        Stage::Named(promotion) => {
            let (epoch, k) = (cluster.epoch, cluster.ackers.k);
            let primary = &cluster.instances[&cluster.primary];
            let adopted = promotion.choice.proof == Proof::Founding { adopted: true };
            // Adopted or reinstated: whatever a replica has of its own writes is in its binary log.
            let serves_on =
                adopted || (promotion.choice.to == promotion.choice.from && epoch > Epoch(1));
            if let Some(reopen) = cluster.reopen {
                let kind = OrderKind::Reopen {
                    epoch,
                    k,
                    members: acker_uuids(cluster),
                    mysqld: reopen.mysqld,
                };
                give(&cluster.primary, reopen.at, kind);
            } else if !promotion.acknowledged {
                let open = OrderKind::Open {
                    epoch,
                    // Also what nobody needs and it told of: others are compared with all of that,
                    // and one that lost a part of it would follow its own replicas' past.
                    need: promotion.choice.need.union(&promotion.choice.within),
                    k,
                    first: epoch == Epoch(1),
                    adopted,
                    members: acker_uuids(cluster),
                };
                give(&cluster.primary, promotion.at, open);
            }
            for instance in cluster.instances.keys() {
                if *instance == cluster.primary {
                    continue;
                }
                // A former primary is compared and rejoined by an entry of its own. Until then it
                // is shut, whenever it comes back.
                if cluster.left_behind.contains(instance) {
                    let over = Epoch(epoch.0 - 1);
                    give(instance, promotion.at, OrderKind::Fence { epoch: over });
                    continue;
                }
                // Refused for good, unless what it held beyond is common since.
                if let Some(Follower::Refused { extra }) = promotion.followers.get(instance)
                    && !extra.is_subset_of(&cluster.common)
                {
                    continue;
                }
                let follow = OrderKind::Follow {
                    epoch,
                    source: cluster.primary.clone(),
                    host: primary.host.clone(),
                    port: primary.port,
                    acking: cluster.ackers.members.contains(instance),
                    within: promotion.choice.within.union(&cluster.common),
                    own: serves_on.then_some(primary.server_uuid).flatten(),
                    heartbeat_ms: cluster.policy.source_heartbeat_ms,
                    online: !cluster.policy.xa,
                };
                give(instance, promotion.at, follow);
            }
        }
    }
    orders
}

/// The servers that may acknowledge to the primary, by `server_uuid`.
pub fn acker_uuids(cluster: &Cluster) -> BTreeSet<Uuid> {
    cluster
        .ackers
        .members
        .iter()
        .filter_map(|id| cluster.instances.get(id).and_then(|spec| spec.server_uuid))
        .collect()
}
