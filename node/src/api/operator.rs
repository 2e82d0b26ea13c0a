use std::sync::Arc;
use std::time::Duration;

use primacy_core::decide::check_registration;
use primacy_core::ids::{ClusterId, Epoch, InstanceId, NodeId};
use primacy_core::lint::{Report, Subject, refuse_policy};
use primacy_core::policy::Policy;
use primacy_core::record::{
    Cluster, Command, Event, PolicyChange, Refusal, Registration, SECOND, with_fields,
};
use primacy_proto::tls::Identity;
use primacy_proto::v1::operator_service_server::OperatorService;
use primacy_proto::v1::{
    AbortFailoverRequest, AbortFailoverResponse, AcceptErrantRequest, AcceptErrantResponse,
    ApproveFailoverRequest, ApproveFailoverResponse, ChangePolicyRequest, ChangePolicyResponse,
    CheckClusterRequest, CheckClusterResponse, GetStatusRequest, GetStatusResponse,
    ListHistoryRequest, ListHistoryResponse, RegisterClusterRequest, RegisterClusterResponse,
    SetPolicyRequest, SetPolicyResponse, TransferLeaderRequest, TransferLeaderResponse,
    UnregisterClusterRequest, UnregisterClusterResponse,
};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::approval::{allowed, gtid_set};
use super::status::{ClusterStatus, StatusDocument};
use super::{Access, SUBMIT_LIMIT, no_such_cluster};
use crate::clock;
use crate::record::SubmitError;

/// A caller may not make this node wait longer for the others.
const OTHERS_LIMIT_MAX: Duration = Duration::from_secs(5);

/// What operators ask and order.
pub struct Operator(pub Access);

impl Operator {
    /// Proposes a command; the answer names a position in the log by which it has taken effect.
    async fn submit<T>(
        &self,
        command: Command,
        answer: impl FnOnce(u64) -> T,
    ) -> Result<Response<T>, Status> {
        let (log_index, _) = self.submitted(command).await?;
        Ok(Response::new(answer(log_index)))
    }

    /// The same, with what happened by it.
    async fn submitted(&self, command: Command) -> Result<(u64, Vec<Event>), Status> {
        match self.0.door.submit(command, SUBMIT_LIMIT).await {
            Ok(events) => {
                let log_index = self.0.handle.watch().borrow().at().index.0;
                Ok((log_index, events))
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

    /// The feature level that is in force, as far as this node knows. It never falls.
    fn level(&self) -> u32 {
        self.0.handle.watch().borrow().get().level
    }

    /// Refuses a policy that cannot be in force, or breaks what holds.
    async fn fits(&self, known: &Cluster, wanted: &Policy) -> Result<(), Status> {
        if let Some(first) = wanted.contradictions().first() {
            return Err(Status::invalid_argument(first.to_string()));
        }
        let subject = Subject::registered(known);
        let evidence = self.0.evidence(&subject).await;
        match refuse_policy(&subject, wanted, &evidence) {
            Some(why) => Err(Status::failed_precondition(why)),
            None => Ok(()),
        }
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

fn later(what: &str, level: u32) -> Status {
    let refusal = Refusal::LaterLevel {
        what: what.into(),
        since: SECOND,
        level,
    };
    Status::failed_precondition(refusal.to_string())
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

    async fn unregister_cluster(
        &self,
        request: Request<UnregisterClusterRequest>,
    ) -> Result<Response<UnregisterClusterResponse>, Status> {
        let who = who(&request, &request.get_ref().who);
        let cluster = ClusterId(request.into_inner().cluster);
        let level = self.level();
        if level < SECOND {
            // Nodes that are not upgraded yet could not read it in the log.
            return Err(later("unregister", level));
        }
        let command = Command::Unregister { cluster, who };
        self.submit(command, |log_index| UnregisterClusterResponse { log_index })
            .await
    }

    async fn change_policy(
        &self,
        request: Request<ChangePolicyRequest>,
    ) -> Result<Response<ChangePolicyResponse>, Status> {
        let who = who(&request, &request.get_ref().who);
        let ChangePolicyRequest {
            cluster,
            fields,
            expected_revision,
            ..
        } = request.into_inner();
        let cluster = ClusterId(cluster);
        let known = self.known(&cluster)?;
        let fields = fields.into_iter().collect();
        let wanted = with_fields(&known.policy, &fields)
            .map_err(|bad| Status::invalid_argument(bad.to_string()))?;
        self.fits(&known, &wanted).await?;
        let command = if self.level() < SECOND {
            // Nodes that are not upgraded yet know no other way.
            Command::SetPolicy {
                cluster,
                policy: Box::new(wanted),
            }
        } else {
            Command::ChangePolicy(Box::new(PolicyChange {
                cluster,
                who,
                wall_ms: clock::wall_ms(),
                expected: expected_revision,
                fields,
            }))
        };
        let (log_index, events) = self.submitted(command).await?;
        let what = events.into_iter().next().map(|event| event.what);
        Ok(Response::new(ChangePolicyResponse {
            log_index,
            what: what.unwrap_or_default(),
        }))
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
        self.fits(&known, &policy).await?;
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
        let request = request.into_inner();
        let allows = allowed(&request).map_err(Status::invalid_argument)?;
        let command = Command::Approve {
            cluster: ClusterId(request.cluster),
            epoch: Epoch(request.epoch),
            who,
            allows,
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

    async fn accept_errant(
        &self,
        request: Request<AcceptErrantRequest>,
    ) -> Result<Response<AcceptErrantResponse>, Status> {
        let who = who(&request, &request.get_ref().who);
        let request = request.into_inner();
        let cluster = ClusterId(request.cluster);
        let set = gtid_set("gtid_set", &request.gtid_set).map_err(Status::invalid_argument)?;
        let command = Command::Common {
            epoch: self.known(&cluster)?.epoch,
            cluster,
            holder: InstanceId(request.instance),
            set,
            who: Some(who),
        };
        self.submit(command, |log_index| AcceptErrantResponse { log_index })
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
        let page = match request.before_log_index {
            Some(before) => self.0.history_before(&request, before).await,
            None => self.0.history_from(&request).await,
        };
        page.map(Response::new)
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
