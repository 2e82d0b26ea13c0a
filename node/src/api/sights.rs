//! What every node of the control plane sees: the one that is asked asks the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use primacy_core::ids::NodeId;
use primacy_core::record::Member;
use primacy_proto::tls::Transport;
use primacy_proto::v1::GetStatusRequest;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::status::{NodeSight, StatusDocument};
use crate::client::{channel, operator};

/// Connections to the other nodes' API, kept between two questions.
#[derive(Clone)]
pub struct Peers {
    transport: Transport,
    open: Arc<Mutex<BTreeMap<String, Channel>>>,
}

impl Peers {
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            open: Arc::default(),
        }
    }

    /// When the own certificate ends, if that is soon.
    pub(super) fn certificate_ends(&self) -> Option<String> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => tls.ends_soon(),
        }
    }

    fn to(&self, address: &str) -> Result<Channel, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.get(address) {
            return Ok(open.clone());
        }
        let opened = channel(address, &self.transport).map_err(|error| error.to_string())?;
        open.insert(address.to_owned(), opened.clone());
        Ok(opened)
    }

    /// What each node sees, `own` included; one that does not answer in time is shown as such.
    pub(super) async fn sights(
        &self,
        own: &StatusDocument,
        cluster: &str,
        limit: Duration,
    ) -> BTreeMap<NodeId, NodeSight> {
        let asked = own.nodes.iter().map(|(id, member)| async move {
            if *id == own.answered_by {
                return (*id, NodeSight::of(&member.region, own));
            }
            let asked = timeout(limit, self.ask(member, cluster));
            let sight = match asked.await {
                Ok(Ok(document)) => NodeSight::of(&member.region, &document),
                Ok(Err(why)) => NodeSight::unanswered(&member.region, why),
                Err(_) => {
                    let why = format!("no answer within {} ms", limit.as_millis());
                    NodeSight::unanswered(&member.region, why)
                }
            };
            (*id, sight)
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn ask(&self, member: &Member, cluster: &str) -> Result<StatusDocument, String> {
        let request = GetStatusRequest {
            cluster: cluster.to_owned(),
            ask_others_ms: 0,
        };
        let answer = operator(self.to(&member.address)?)
            .get_status(request)
            .await
            .map_err(|status| match self.transport.refusal(&member.address) {
                Some(refusal) => refusal.to_string(),
                None => status.message().to_owned(),
            })?;
        serde_json::from_str(&answer.into_inner().status_json)
            .map_err(|error| format!("its answer is not understood: {error}"))
    }
}
