//! What a scenario asks of its world: the nodes, the agents, the servers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use primacy::api::{HistoryEvent, StatusDocument};
use primacy::client::{Client, operator, primaries};
use primacy::mysqld::session::{Address, Rows, Session, Target, Transport, within};
use primacy_core::ids::InstanceId;
use primacy_core::record::{Cluster, EventKind};
use primacy_proto::v1::{GetPrimaryRequest, GetStatusRequest, Primary};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{LIMIT, Node, World, program, until};

const ASK_LIMIT: Duration = Duration::from_millis(500);
const SQL_LIMIT: Duration = Duration::from_secs(10);

impl World {
    /// As the demo's operator, to whichever node answers.
    pub fn client(&self, limit: Duration) -> Client {
        self.client_to(self.nodes(), limit)
    }

    /// To this very node.
    pub fn client_of(&self, node: &Node, limit: Duration) -> Client {
        self.client_to(std::slice::from_ref(node), limit)
    }

    fn client_to(&self, nodes: &[Node], limit: Duration) -> Client {
        let endpoints: Vec<_> = nodes.iter().map(|node| node.address.clone()).collect();
        Client::new(&endpoints, limit, self.transport()).expect("well-formed addresses")
    }

    /// A verb of the command line, its JSON.
    pub async fn cli<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let mut command = Command::new(program());
        self.told(&mut command).args(arguments).args(["-o", "json"]);
        let ran = tokio::task::spawn_blocking(move || command.output()).await;
        let output = ran.expect("it ran").expect("primacy starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "primacy {arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    }

    /// A verb of the command line, as a person reads it.
    pub async fn told_by(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program());
        self.told(&mut command).args(arguments);
        let ran = tokio::task::spawn_blocking(move || command.output()).await;
        let output = ran.expect("it ran").expect("primacy starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What one node says of itself and the cluster; `None` if it does not answer.
    pub async fn seen_by(&self, node: &Node) -> Option<StatusDocument> {
        let client = self.client_of(node, ASK_LIMIT);
        let request = || GetStatusRequest {
            cluster: self.cluster_id().to_string(),
            ask_others_ms: 0,
        };
        let answer = client
            .ask(|channel| {
                let request = request();
                async move { operator(channel).get_status(request).await }
            })
            .await
            .ok()?;
        serde_json::from_str(&answer.into_inner().status_json).ok()
    }

    /// The cluster as the node knows it that has applied most.
    pub async fn cluster(&self) -> Option<Cluster> {
        let mut newest: Option<StatusDocument> = None;
        for node in self.nodes() {
            if let Some(seen) = self.seen_by(node).await
                && newest
                    .as_ref()
                    .is_none_or(|last| last.applied_index < seen.applied_index)
            {
                newest = Some(seen);
            }
        }
        let mut clusters = newest?.clusters;
        clusters
            .remove(self.cluster_id())
            .map(|status| status.cluster)
    }

    /// The first epoch is open, and nobody has deposed it.
    pub async fn first_epoch_stands(&self) -> bool {
        let cluster = self.cluster().await;
        cluster.is_some_and(|cluster| cluster.epoch.0 == 1 && cluster.deposition().is_none())
    }

    /// What is waited for, the alarms that stand, and whether a failover would succeed.
    pub async fn explained(&self) -> Value {
        self.cli(&["explain", self.cluster_id().as_str()]).await
    }

    /// The same, as a person reads it.
    pub async fn explanation(&self) -> String {
        self.told_by(&["explain", self.cluster_id().as_str()]).await
    }

    /// Waits until no node has a recent word of this instance's agent.
    pub async fn unheard(&self, id: &str) {
        let what = format!("{id} to be unheard");
        until(LIMIT, &what, async || {
            for node in self.nodes() {
                let seen = self.seen_by(node).await?;
                let view = &seen.view.instances[&InstanceId::from(id)];
                if view.agent_heard_ms? < 500 {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Waits until every node has a recent word of this instance's agent.
    pub async fn heard(&self, id: &str) {
        until(LIMIT, &format!("{id} to be heard"), async || {
            for node in self.nodes() {
                let seen = self.seen_by(node).await?;
                let view = &seen.view.instances[&InstanceId::from(id)];
                if view.agent_heard_ms? > 200 {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Waits until a node answers and has applied what any other had when this was called.
    pub async fn caught_up(&self, id: u64) -> StatusDocument {
        let mut goal = 0;
        for node in self.nodes().iter().filter(|node| node.id != id) {
            let seen = self.seen_by(node).await;
            goal = goal.max(seen.map_or(0, |seen| seen.applied_index));
        }
        assert!(goal > 0, "another node answers");
        let node = self.nodes().iter().find(|node| node.id == id);
        let node = node.expect("a node of this world").clone();
        until(LIMIT, &format!("node {id} to catch up"), async || {
            let seen = self.seen_by(&node).await?;
            (seen.applied_index >= goal).then_some(seen)
        })
        .await
    }

    /// The leader of the control plane, by its own word.
    pub async fn leader(&self) -> Node {
        until(LIMIT, "a leader", async || {
            for node in self.nodes() {
                if self.seen_by(node).await.is_some_and(|seen| seen.view.leads) {
                    return Some(node.clone());
                }
            }
            None
        })
        .await
    }

    /// Linearizable.
    pub async fn primary(&self) -> Primary {
        let client = self.client(LIMIT);
        let answer = client
            .ask(|channel| {
                let cluster = self.cluster_id().to_string();
                let request = GetPrimaryRequest {
                    cluster,
                    stale_ok: false,
                };
                async move { primaries(channel).get_primary(request).await }
            })
            .await
            .expect("a majority answers");
        answer.into_inner().primary.expect("the cluster is known")
    }

    pub async fn history(&self) -> Vec<HistoryEvent> {
        self.cli(&["history", self.cluster_id().as_str(), "--limit", "1000"])
            .await
    }

    pub async fn happened(&self, kind: EventKind) -> usize {
        let events = self.history().await;
        events.iter().filter(|e| e.event.kind == kind).count()
    }

    /// The epoch for which an agent says that its instance takes writes.
    pub async fn serves(&self, id: &str) -> Option<u64> {
        serves(self.instance(id).agent_http).await
    }

    /// Waits until an epoch is open with an acknowledged write, and returns what the log says.
    pub async fn opened(&self, epoch: u64) -> Cluster {
        until(LIMIT, &format!("epoch {epoch} to be open"), async || {
            let cluster = self.cluster().await?;
            let promotion = cluster.promotion()?;
            let open = promotion.acknowledged && cluster.epoch.0 == epoch;
            open.then_some(cluster)
        })
        .await
    }

    // ---- MySQL

    pub async fn root(&self, id: &str) -> Session {
        let session = self.try_root(id).await;
        session.expect("root logs in through the socket")
    }

    /// `None` while its server does not let root in.
    pub async fn try_root(&self, id: &str) -> Option<Session> {
        let target = Target {
            address: Address::Socket(self.instance(id).socket.clone()),
            login: self.accounts().root.clone(),
            transport: Transport::Plain,
        };
        Session::connect(&target, within(SQL_LIMIT)).await.ok()
    }

    /// As root.
    pub async fn sql(&self, id: &str, sql: &str) -> Vec<Rows> {
        let mut session = self.root(id).await;
        let answer = session.ask(sql, within(SQL_LIMIT)).await;
        session.close(within(SQL_LIMIT)).await;
        answer.unwrap_or_else(|error| panic!("{id}: {sql}: {error}"))
    }

    /// The first column of the first row.
    pub async fn value(&self, id: &str, sql: &str) -> String {
        let sets = self.sql(id, sql).await;
        let row = sets.into_iter().flatten().next();
        row.and_then(|row| row.get(0)).expect("one value")
    }
}

/// Asks `GET /primary`.
pub async fn serves(agent: SocketAddr) -> Option<u64> {
    let (code, body) = tokio::time::timeout(ASK_LIMIT, get(agent, "/primary"))
        .await
        .ok()??;
    let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
    (code == 200).then(|| body["primary_epoch"].as_u64())?
}

/// Asks an agent: the status code, and the body.
pub async fn get(agent: SocketAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(agent).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, answer[end + 4..].to_vec()))
}

/// Every acknowledged number is among the rows that an instance answered.
pub fn assert_present(acked: &[u64], rows: Vec<Rows>, on: &str) {
    let present: BTreeSet<u64> = rows
        .into_iter()
        .flatten()
        .filter_map(|row| row.get::<String, _>(0)?.parse().ok())
        .collect();
    let lost: Vec<_> = acked.iter().filter(|n| !present.contains(n)).collect();
    assert!(lost.is_empty(), "acknowledged, and not on {on}: {lost:?}");
}
