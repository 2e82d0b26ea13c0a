//! The gRPC API: who is primary, and what operators ask and order. Any node answers.

mod approval;
mod history;
mod operator;
mod primaries;
mod readiness;
mod sights;
mod status;

use std::time::Duration;

use primacy_core::ids::{ClusterId, Committed, NodeId};
use primacy_core::record::{Cluster, State};
use primacy_proto::v1::Primary;
use primacy_raft::Handle;
use tokio::sync::mpsc;
use tonic::Status;

use crate::act::Links;
use crate::config::ProbeAccount;
use crate::decide::ViewRequest;
use crate::record::{Door, Space};

pub use operator::Operator;
pub use primaries::Primaries;
pub use sights::Peers;
pub use status::{ClusterStatus, HistoryEvent, NodeSight, StatusDocument};

/// A read that finds no majority within this fails as unavailable.
const READ_LIMIT: Duration = Duration::from_secs(2);
const SUBMIT_LIMIT: Duration = Duration::from_secs(5);

/// What every service needs.
#[derive(Clone)]
pub struct Access {
    pub node: NodeId,
    pub handle: Handle,
    pub door: Door,
    pub views: mpsc::Sender<ViewRequest>,
    pub peers: Peers,
    pub links: Links,
    pub probe: ProbeAccount,
    pub space: Space,
}

impl Access {
    /// What will stop this node if nobody sees to it.
    async fn warnings(&self) -> Vec<String> {
        let ends = self.peers.certificate_ends();
        let ends = ends.map(|ends| format!("its certificate ends on {ends}"));
        ends.into_iter().chain(self.space.look().await).collect()
    }

    async fn linearizable(&self) -> Result<Committed<std::sync::Arc<State>>, Status> {
        self.handle.read(READ_LIMIT).await.map_err(|error| {
            Status::unavailable(format!(
                "no majority of the control plane answers this node: {:#}; ask another, or set \
                 stale_ok",
                anyhow::Error::new(error)
            ))
        })
    }
}

fn primary_of(cluster: &Cluster, log_index: u64) -> Primary {
    let serving = cluster.serving();
    let spec = serving.and_then(|(_, id)| cluster.instances.get(id));
    Primary {
        cluster: cluster.id.to_string(),
        instance: serving.map(|(_, id)| id.to_string()).unwrap_or_default(),
        address: spec
            .map(|spec| format!("{}:{}", spec.host, spec.port))
            .unwrap_or_default(),
        epoch: cluster.epoch.0,
        log_index,
    }
}

fn no_such_cluster(id: &ClusterId) -> Status {
    Status::not_found(format!(
        "cluster {id} is not registered; `primacy status` lists them"
    ))
}
