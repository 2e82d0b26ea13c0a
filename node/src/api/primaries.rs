use std::collections::BTreeMap;
use std::pin::Pin;

use primacy_core::ids::{ClusterId, LogIndex};
use primacy_proto::v1::primacy_service_server::PrimacyService;
use primacy_proto::v1::{
    ControlNode, GetControlPlaneRequest, GetControlPlaneResponse, GetPrimaryRequest,
    GetPrimaryResponse, Primary, WatchPrimariesRequest, WatchPrimariesResponse,
};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Access, no_such_cluster, primary_of};

/// Changes waiting for one watcher; a slower one is closed and resumes by log index.
const WATCH_BACKLOG: usize = 256;

/// Who is primary.
pub struct Primaries(pub Access);

#[tonic::async_trait]
impl PrimacyService for Primaries {
    async fn get_primary(
        &self,
        request: Request<GetPrimaryRequest>,
    ) -> Result<Response<GetPrimaryResponse>, Status> {
        let request = request.into_inner();
        let (state, age_ms) = if request.stale_ok {
            // Before the state: never younger than it is.
            let age = self.0.handle.age();
            let state = self.0.handle.watch().borrow().clone();
            if state.at().index == LogIndex::INITIAL {
                return Err(Status::unavailable(
                    "this node has not caught up since its start; ask another",
                ));
            }
            (state, age.map(|age| age.as_millis() as u64))
        } else {
            (self.0.linearizable().await?, Some(0))
        };
        let id = ClusterId(request.cluster);
        let cluster = state
            .get()
            .clusters
            .get(&id)
            .ok_or_else(|| no_such_cluster(&id))?;
        let primary = primary_of(cluster, state.at().index.0);
        Ok(Response::new(GetPrimaryResponse {
            primary: Some(primary),
            age_ms,
        }))
    }

    type WatchPrimariesStream =
        Pin<Box<dyn Stream<Item = Result<WatchPrimariesResponse, Status>> + Send>>;

    async fn watch_primaries(
        &self,
        request: Request<WatchPrimariesRequest>,
    ) -> Result<Response<Self::WatchPrimariesStream>, Status> {
        let request = request.into_inner();
        let (sender, receiver) = mpsc::channel(WATCH_BACKLOG);
        let mut states = self.0.handle.watch();
        tokio::spawn(async move {
            let mut told: BTreeMap<String, (String, u64)> = BTreeMap::new();
            loop {
                let state = states.borrow_and_update().clone();
                let index = state.at().index.0;
                for cluster in state.get().clusters.values() {
                    let wanted = request.clusters.is_empty()
                        || request.clusters.iter().any(|id| id == cluster.id.as_str());
                    let primary = primary_of(cluster, index);
                    let key = (primary.instance.clone(), primary.epoch);
                    if !wanted || told.get(&primary.cluster) == Some(&key) {
                        continue;
                    }
                    told.insert(primary.cluster.clone(), key);
                    if request.after_log_index >= index {
                        continue; // the watcher knows, and perhaps better than this node so far
                    }
                    if send(&sender, primary).is_err() {
                        return;
                    }
                }
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_control_plane(
        &self,
        _: Request<GetControlPlaneRequest>,
    ) -> Result<Response<GetControlPlaneResponse>, Status> {
        let state = self.0.handle.watch().borrow().clone();
        let leadership = self.0.handle.leadership().borrow().clone();
        let nodes = state
            .get()
            .voters
            .iter()
            .map(|(id, member)| ControlNode {
                id: id.0,
                address: member.address.clone(),
                region: member.region.clone(),
            })
            .collect();
        Ok(Response::new(GetControlPlaneResponse {
            plane: state
                .get()
                .plane
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            leader: leadership.leader.map_or(0, |id| id.0),
            term: leadership.term.0,
            applied_index: state.at().index.0,
            nodes,
            answered_by: self.0.node.0,
        }))
    }
}

fn send(
    sender: &mpsc::Sender<Result<WatchPrimariesResponse, Status>>,
    primary: Primary,
) -> Result<(), ()> {
    sender
        .try_send(Ok(WatchPrimariesResponse {
            primary: Some(primary),
        }))
        .map_err(|_| ())
}
