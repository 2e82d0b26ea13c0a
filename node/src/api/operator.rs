use std::sync::Arc;
use std::time::Duration;

use primacy_core::decide::check_registration;
use primacy_core::ids::{ClusterId, Epoch, LogIndex, NodeId};
use primacy_core::lint::{Report, Subject, refuse_policy};
use primacy_core::policy::Policy;
use primacy_core::record::{Cluster, Command, Refusal, Registration};
use primacy_proto::tls::Identity;
use primacy_proto::v1::operator_service_server::OperatorService;
use primacy_proto::v1::{
    AbortFailoverRequest, AbortFailoverResponse, ApproveFailoverRequest, ApproveFailoverResponse,
    CheckClusterRequest, CheckClusterResponse, GetStatusRequest, GetStatusResponse,
    ListHistoryRequest, ListHistoryResponse, RegisterClusterRequest, RegisterClusterResponse,
    SetPolicyRequest, SetPolicyResponse, TransferLeaderRequest, TransferLeaderResponse,
};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::status::{ClusterStatus, HistoryEvent, StatusDocument};
use super::{Access, SUBMIT_LIMIT, no_such_cluster};
use crate::record::SubmitError;

/// A caller may not make this node wait longer for the others.
const OTHERS_LIMIT_MAX: Duration = Duration::from_secs(5);
/// Entries read from the history at once.
const HISTORY_PAGE_MAX: u32 = 1_000;

/// What operators ask and order.
pub struct Operator(pub Access);

impl Operator {
    /// Proposes a command; the answer names a position in the log by which it has taken effect.
    async fn submit<T>(
        &self,
        command: Command,
        answer: impl FnOnce(u64) -> T,
    ) -> Result<Response<T>, Status> {
        match self.0.door.submit(command, SUBMIT_LIMIT).await {
            Ok(_) => {
                let log_index = self.0.handle.watch().borrow().at().index.0;
                Ok(Response::new(answer(log_index)))
            }
            Err(SubmitError::Refused(refusal)) => {
                let remedy = match &refusal {
                    Refusal::OtherEpoch { .. } => "; name the epoch that `primacy explain` shows",
                    _ => "",
                };
                Err(Status::failed_precondition(format!("{refusal}{remedy}")))
            }
            Err(error) => Err(Status::unavailable(format!(
                "{:#}",
                anyhow::Error::new(error)
            ))),
        }
    }

    /// A registration as it came, with what the lint finds.
    async fn judged(&self, text: &str) -> Result<(Registration, Report), Status> {
        let registration: Registration =
            serde_json::from_str(text).map_err(|error| malformed("registration", &error))?;
        let state = self.0.handle.watch().borrow().clone();
        check_registration(state.get(), &registration)
            .map_err(|refusal| Status::failed_precondition(refusal.to_string()))?;
        let subject = Subject::registration(&registration);
        let report = self.0.readiness(&subject).await;
        Ok((registration, report))
    }

    /// A cluster as this node's log has it.
    fn known(&self, id: &ClusterId) -> Result<Arc<Cluster>, Status> {
        let state = self.0.handle.watch().borrow().clone();
        let known = state.get().clusters.get(id);
        known.cloned().ok_or_else(|| no_such_cluster(id))
    }
}

/// Who gives an order: the name in the certificate, if there is one, and else what the caller says.
fn who<T>(request: &Request<T>, says: &str) -> String {
    match request.extensions().get::<Identity>() {
        Some(Identity::Operator { name, .. }) => name.clone(),
        Some(other) => other.to_string(),
        None => says.to_owned(),
    }
}

fn malformed(field: &str, error: &serde_json::Error) -> Status {
    Status::invalid_argument(format!("{field}: {error}"))
}

#[tonic::async_trait]
impl OperatorService for Operator {
    async fn register_cluster(
        &self,
        request: Request<RegisterClusterRequest>,
    ) -> Result<Response<RegisterClusterResponse>, Status> {
        let text = request.into_inner().registration_json;
        let (registration, report) = self.judged(&text).await?;
        if !report.ready() {
            return Err(Status::failed_precondition(report.refusal()));
        }
        self.submit(Command::Register(Box::new(registration)), |log_index| {
            RegisterClusterResponse { log_index }
        })
        .await
    }

    async fn check_cluster(
        &self,
        request: Request<CheckClusterRequest>,
    ) -> Result<Response<CheckClusterResponse>, Status> {
        let CheckClusterRequest {
            cluster,
            registration_json,
        } = request.into_inner();
        let report = if registration_json.is_empty() {
            let known = self.known(&ClusterId(cluster))?;
            self.0.readiness(&Subject::registered(&known)).await
        } else {
            self.judged(&registration_json).await?.1
        };
        let report_json =
            serde_json::to_string(&report).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(CheckClusterResponse { report_json }))
    }

    async fn set_policy(
        &self,
        request: Request<SetPolicyRequest>,
    ) -> Result<Response<SetPolicyResponse>, Status> {
        let SetPolicyRequest {
            cluster,
            policy_json,
        } = request.into_inner();
        let policy: Policy =
            serde_json::from_str(&policy_json).map_err(|error| malformed("policy", &error))?;
        let cluster = ClusterId(cluster);
        let known = self.known(&cluster)?;
        let subject = Subject::registered(&known);
        let evidence = self.0.evidence(&subject).await;
        if let Some(why) = refuse_policy(&subject, &policy, &evidence) {
            return Err(Status::failed_precondition(why));
        }
        let command = Command::SetPolicy {
            cluster,
            policy: Box::new(policy),
        };
        self.submit(command, |log_index| SetPolicyResponse { log_index })
            .await
    }

    async fn approve_failover(
        &self,
        request: Request<ApproveFailoverRequest>,
    ) -> Result<Response<ApproveFailoverResponse>, Status> {
        let who = who(&request, &request.get_ref().who);
        let ApproveFailoverRequest { cluster, epoch, .. } = request.into_inner();
        let command = Command::Approve {
            cluster: ClusterId(cluster),
            epoch: Epoch(epoch),
            who,
            allows: Default::default(),
        };
        self.submit(command, |log_index| ApproveFailoverResponse { log_index })
            .await
    }

    async fn abort_failover(
        &self,
        request: Request<AbortFailoverRequest>,
    ) -> Result<Response<AbortFailoverResponse>, Status> {
        let who = who(&request, &request.get_ref().who);
        let AbortFailoverRequest {
            cluster,
            epoch,
            why,
            ..
        } = request.into_inner();
        let command = Command::Abort {
            cluster: ClusterId(cluster),
            epoch: Epoch(epoch),
            who,
            why,
        };
        self.submit(command, |log_index| AbortFailoverResponse { log_index })
            .await
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let GetStatusRequest {
            cluster: wanted,
            ask_others_ms,
        } = request.into_inner();
        if let Some(why) = self.0.handle.waits() {
            let node = self.0.node;
            let text = format!("node {node} takes no part yet: {why}");
            return Err(Status::unavailable(text));
        }
        let (sender, receiver) = oneshot::channel();
        let stopping = || Status::unavailable("the node is stopping");
        self.0.views.send(sender).await.map_err(|_| stopping())?;
        let view = receiver.await.map_err(|_| stopping())?;
        let state = self.0.handle.watch().borrow().clone();
        let leadership = self.0.handle.leadership().borrow().clone();
        let clusters: std::collections::BTreeMap<_, _> = state
            .get()
            .clusters
            .values()
            .filter(|cluster| wanted.is_empty() || wanted == cluster.id.as_str())
            .map(|cluster| {
                let stage = cluster.stage_name().to_owned();
                let cluster = cluster.as_ref().clone();
                (cluster.id.clone(), ClusterStatus { stage, cluster })
            })
            .collect();
        if !wanted.is_empty() && clusters.is_empty() {
            return Err(no_such_cluster(&ClusterId(wanted)));
        }
        let mut document = StatusDocument {
            plane: state.get().plane.as_ref().map(ToString::to_string),
            answered_by: self.0.node,
            leader: leadership.leader,
            term: leadership.term.0,
            applied_index: state.at().index.0,
            hears_majority: leadership.hears_majority,
            nodes: state.get().voters.clone(),
            level: state.get().level,
            knows: state.get().knows.clone(),
            incidents: state.get().incidents.clone(),
            warnings: self.0.warnings().await,
            clusters,
            view,
            sights: Default::default(),
        };
        if ask_others_ms > 0 {
            let limit = Duration::from_millis(ask_others_ms.into()).min(OTHERS_LIMIT_MAX);
            document.sights = self.0.peers.sights(&document, &wanted, limit).await;
        }
        let status_json = serde_json::to_string(&document)
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(GetStatusResponse { status_json }))
    }

    async fn list_history(
        &self,
        request: Request<ListHistoryRequest>,
    ) -> Result<Response<ListHistoryResponse>, Status> {
        let request = request.into_inner();
        let limit = request.page_size.clamp(1, HISTORY_PAGE_MAX);
        let entries = self
            .0
            .handle
            .history(LogIndex(request.from_log_index), limit as usize)
            .await
            .map_err(|error| Status::unavailable(format!("{:#}", anyhow::Error::new(error))))?;
        let mut event_json = Vec::new();
        let mut next_log_index = request.from_log_index;
        for entry in entries {
            next_log_index = entry.at.index.0 + 1;
            let proposer = entry.proposal.proposer;
            for event in entry
                .outcome
                .into_iter()
                .flat_map(|outcome| outcome.results)
                .flatten()
                .flatten()
            {
                // What befalls the whole plane or a region is part of each cluster's history.
                let of_another = |of: &ClusterId| of.as_str() != request.cluster;
                if !request.cluster.is_empty() && event.cluster.as_ref().is_some_and(of_another) {
                    continue;
                }
                let event = HistoryEvent {
                    log_index: entry.at.index.0,
                    term: entry.at.term.0,
                    wall_ms: entry.proposal.wall_ms,
                    proposed_by: proposer.of_door(),
                    by_operator: proposer != proposer.of_door(),
                    event,
                };
                let text = serde_json::to_string(&event)
                    .map_err(|error| Status::internal(error.to_string()))?;
                event_json.push(text);
            }
        }
        Ok(Response::new(ListHistoryResponse {
            event_json,
            next_log_index,
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        let to = NodeId(request.into_inner().to);
        self.0.handle.transfer_leader(to).await.map_err(|error| {
            Status::failed_precondition(format!("{:#}", anyhow::Error::new(error)))
        })?;
        Ok(Response::new(TransferLeaderResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_says_who_gives_an_order() {
        let mut request = Request::new(AbortFailoverRequest::default());
        assert_eq!(who(&request, "ann"), "ann");
        let operator: Identity = "primacy://prod/operator/bob".parse().unwrap();
        request.extensions_mut().insert(operator);
        assert_eq!(who(&request, "ann"), "bob");
    }
}
