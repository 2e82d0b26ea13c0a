use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use primacy_core::ids::{ClusterId, LogIndex};
use primacy_proto::v1::primacy_service_server::PrimacyService;
use primacy_proto::v1::{
    ControlNode, GetControlPlaneRequest, GetControlPlaneResponse, GetPrimaryRequest,
    GetPrimaryResponse, Primary, RegionalIncident, WatchPrimariesRequest, WatchPrimariesResponse,
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
        let mut watcher = Watcher {
            wanted: request.clusters.into_iter().collect(),
            after: request.after_log_index,
            told: BTreeMap::new(),
        };
        tokio::spawn(async move {
            loop {
                let state = states.borrow_and_update().clone();
                let index = state.at().index.0;
                let clusters = state.get().clusters.values();
                let primaries = clusters.map(|cluster| primary_of(cluster, index));
                for primary in watcher.news(index, primaries) {
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
                knows_level: state.get().knows.get(id).copied().unwrap_or_default(),
            })
            .collect();
        let incidents = state.get().incidents.iter();
        let incidents = incidents.map(|(region, incident)| RegionalIncident {
            region: region.to_string(),
            clusters: incident.clusters.iter().map(ToString::to_string).collect(),
            log_index: incident.at.index.0,
        });
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
            level: state.get().level,
            incidents: incidents.collect(),
        }))
    }
}

/// What one watcher knows.
struct Watcher {
    /// Only these clusters; all if empty.
    wanted: BTreeSet<String>,
    /// Up to here it knew everything when it came.
    after: u64,
    told: BTreeMap<String, (String, u64)>,
}

impl Watcher {
    /// What it does not know yet of the state at `index`. This node may be behind another, from
    /// which the watcher came: then it knows better than this node does so far.
    fn news(&mut self, index: u64, primaries: impl Iterator<Item = Primary>) -> Vec<Primary> {
        let mut news = Vec::new();
        for primary in primaries {
            let wanted = self.wanted.is_empty() || self.wanted.contains(&primary.cluster);
            let now = (primary.instance.clone(), primary.epoch);
            if !wanted || self.told.get(&primary.cluster) == Some(&now) {
                continue;
            }
            self.told.insert(primary.cluster.clone(), now);
            if index > self.after {
                news.push(primary);
            }
        }
        news
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(instance: &str, epoch: u64, log_index: u64) -> Primary {
        Primary {
            cluster: "shop".into(),
            instance: instance.into(),
            address: String::new(),
            epoch,
            log_index,
        }
    }

    /// What a watcher that resumes after `after` is sent, as a node goes through these states:
    /// index, primary, epoch.
    fn sent(after: u64, wanted: &[&str], states: &[(u64, &str, u64)]) -> Vec<(u64, String)> {
        let mut watcher = Watcher {
            wanted: wanted.iter().map(|id| id.to_string()).collect(),
            after,
            told: BTreeMap::new(),
        };
        let mut sent = Vec::new();
        for (index, instance, epoch) in states {
            let now = shop(instance, *epoch, *index);
            let news = watcher.news(*index, [now].into_iter());
            sent.extend(news.into_iter().map(|new| (new.log_index, new.instance)));
        }
        sent
    }

    #[test]
    fn a_watcher_resumes_where_it_was_on_any_node() {
        let states = [
            (100, "a", 1),
            (150, "", 1),
            (160, "b", 2),
            (170, "b", 2),
            (210, "c", 3),
        ];
        let at = |index: u64, instance: &str| (index, instance.to_owned());
        let all = [at(100, "a"), at(150, ""), at(160, "b"), at(210, "c")];
        assert_eq!(sent(0, &[], &states), all, "everything as it is");
        assert_eq!(sent(0, &["shop"], &states), all);
        assert_eq!(sent(0, &["till"], &states), []);
        assert_eq!(sent(149, &[], &states), all[1..]);
        assert_eq!(sent(160, &[], &states), all[3..], "this node was behind");
        assert_eq!(sent(500, &[], &states), [], "and still is");
        let skips = [(100, "a", 1), (210, "c", 3)];
        assert_eq!(
            sent(160, &[], &skips),
            all[3..],
            "it skipped what came between"
        );
        let ahead = [(170, "b", 2)];
        assert_eq!(sent(160, &[], &ahead), [at(170, "b")], "once more");
    }
}
