//! A control plane of three nodes in three regions, and a cluster of real servers with agents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use primacy_core::ids::{ClusterId, InstanceId, NodeId, Region};
use primacy_core::observe::SightKind;
use primacy_core::policy::Policy;
use primacy_core::record::{Follower, Founding, InstanceSpec, PromotionRule, Registration};
use primacy_proto::tls::{Files, Tls, Transport, Wanted};
use primacy_proto::v1::{RegisterClusterRequest, TransferLeaderRequest};
use tokio::time::Instant;
use tonic::Code;

use super::DemoArgs;
use super::certificates::Certificates;
use super::net::Net;
use super::process::{FOLDER, Process, Sweeper, end_all_in};
use super::start::{Ground, Nodes, start_nodes, start_places};
use crate::api::StatusDocument;
use crate::client::{Client, operator};
use crate::mysqld::bringup::Instance;
use crate::mysqld::template::Template;

pub(super) const REGIONS: [&str; 3] = ["frankfurt", "london", "madrid"];
pub(super) const CLUSTER: &str = "orders";
pub(super) const PLANE: &str = "demo";
/// Five servers and seven processes on two busy cores take their time.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// A busy machine's servers answer within this; what is still found then is wrong.
const SLOW_LIMIT: Duration = Duration::from_secs(20);
const CALL_LIMIT: Duration = Duration::from_secs(3);

/// One instance with its agent.
pub(super) struct Place {
    pub id: InstanceId,
    pub region: String,
    pub instance: Instance,
    pub http: SocketAddr,
    pub agent: Process,
}

impl Place {
    /// The process id of its `mysqld`, if it runs.
    pub fn mysqld_pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.instance.pid_file())
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.instance.bind, self.instance.port)
    }
}

pub(super) struct World {
    pub cluster: ClusterId,
    pub client: Client,
    /// As the demo's operator.
    pub transport: Transport,
    pub tls: Files,
    pub node_addresses: Vec<String>,
    pub nodes: Nodes,
    pub places: BTreeMap<InstanceId, Place>,
    pub app: crate::mysqld::session::Login,
    pub net: Net,
    /// Removed, data and all, when the world ends.
    pub dir: tempfile::TempDir,
    _sweeper: Sweeper,
}

impl World {
    /// Builds everything, and returns when it is ready to be broken: every node sees every
    /// instance alive, every acker has joined, and a write was acknowledged.
    pub async fn build(
        template: &Template,
        args: &DemoArgs,
        net: &Net,
        say: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix(FOLDER).tempdir()?;
        let sweeper = Sweeper::start(dir.path())?;
        let certificates = Certificates::new(dir.path())?;
        let tls = certificates.issue("operator/demo")?;
        let transport = Transport::Tls(Tls::open(tls.clone(), Wanted::Anybody)?);
        say("starting three control nodes in three regions");
        let ground = Ground {
            dir: dir.path(),
            template,
            net,
            certificates: &certificates,
        };
        let (nodes, node_addresses) = start_nodes(&ground)?;
        say("copying and starting the MySQL servers with their agents");
        let places = start_places(&ground, args, &node_addresses).await?;
        let client = Client::new(&node_addresses, CALL_LIMIT, &transport)?;
        let app = template.accounts.app.clone();
        let cluster = ClusterId::from(CLUSTER);
        let mut world = Self {
            cluster,
            client,
            transport,
            tls,
            node_addresses,
            nodes,
            places,
            app,
            net: net.clone(),
            dir,
            _sweeper: sweeper,
        };
        if let Some(pool_mb) = args.pool_mb {
            say("making the first primary's buffer pool resident");
            super::pool::fill(&world.places[&world.first()], pool_mb).await?;
        }
        say("registering the cluster");
        world.register(args).await?;
        say("waiting until every node sees every instance alive and every acker has joined");
        world.ready().await?;
        Ok(world)
    }

    /// The first instance: primary at first.
    pub fn first(&self) -> InstanceId {
        InstanceId::from("mysql-1")
    }

    async fn register(&self, args: &DemoArgs) -> anyhow::Result<()> {
        if let Some(never) = &args.never {
            let known: Vec<_> = self.places.keys().skip(1).map(InstanceId::as_str).collect();
            anyhow::ensure!(
                known.contains(&never.as_str()),
                "--never {never}: not one of the replicas; name one of {}",
                known.join(", ")
            );
        }
        let instances: BTreeMap<_, _> = self
            .places
            .values()
            .map(|place| {
                let spec = InstanceSpec {
                    host: place.instance.bind.to_string(),
                    port: place.instance.port,
                    region: Region(place.region.clone()),
                    zone: String::new(),
                    machine: place.id.to_string(),
                    promotion: match args.never.as_ref() == Some(&place.id) {
                        true => PromotionRule::Never,
                        false => PromotionRule::default(),
                    },
                    priority: 0,
                    server_uuid: None,
                    agent: place.http.to_string(),
                };
                (place.id.clone(), spec)
            })
            .collect();
        let k = if instances.len() == 4 { 2 } else { 1 };
        let registration = Registration {
            cluster: self.cluster.clone(),
            instances,
            primary: self.first(),
            ackers: BTreeSet::new(),
            k,
            policy: Policy {
                // Whatever stops the demo's surroundings ends the demo, data and all.
                gives_up: BTreeSet::from(["kill_signal".to_owned()]),
                ..args.profile.policy()
            },
            founding: Founding::New,
        };
        let registration_json = serde_json::to_string(&registration)?;
        // A node asks the lint again when it registers, and may then find a server slow to answer.
        let firm = Instant::now() + SLOW_LIMIT;
        let patient = Client::new(&self.node_addresses, READY_LIMIT, &self.transport)?;
        loop {
            self.lint(&registration_json, firm).await?;
            let asked = patient.ask(|channel| {
                let request = RegisterClusterRequest {
                    registration_json: registration_json.clone(),
                };
                async move { operator(channel).register_cluster(request).await }
            });
            match asked.await {
                Err(error) if error.code() == Code::FailedPrecondition && Instant::now() < firm => {
                }
                answer => {
                    answer.context("the cluster cannot be registered")?;
                    return Ok(());
                }
            }
        }
    }

    /// Waits until the readiness lint finds nothing: until `firm` whatever it finds, since a server
    /// that is slow to answer looks like a wrong one; then as long as something is not up yet.
    async fn lint(&self, registration_json: &str, firm: Instant) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let asked =
                crate::cli::readiness(&self.client, String::new(), registration_json.into());
            let why = match asked.await {
                Ok(report) if report.ready() => return Ok(()),
                Ok(report) => {
                    let mut blocking = report.findings.iter().filter(|finding| finding.blocks());
                    anyhow::ensure!(
                        Instant::now() < firm || blocking.all(|finding| finding.may_pass()),
                        "{}",
                        report.refusal()
                    );
                    report.refusal()
                }
                Err(error) => format!("{:#}", anyhow::Error::new(error)),
            };
            anyhow::ensure!(Instant::now() < deadline, "{why}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let waits = self.not_ready().await;
            if waits.is_empty() {
                return Ok(());
            }
            for (_, process) in self.nodes.values_mut() {
                anyhow::ensure!(
                    process.alive(),
                    "{} ended: {}",
                    process.name,
                    self.dir.path().display()
                );
            }
            if Instant::now() > deadline {
                anyhow::bail!(
                    "not ready after {READY_LIMIT:?}, waiting for: {}; logs:\n{}",
                    waits.join("; "),
                    self.log_ends()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What is missing before the primary may be broken.
    async fn not_ready(&self) -> Vec<String> {
        let mut waits = Vec::new();
        for (client, address) in self.client.each().into_iter().zip(&self.node_addresses) {
            match crate::cli::fetch(&client, CLUSTER).await {
                Ok(document) => waits.extend(unready(&document, &self.cluster)),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    waits.push(format!("an answer of node {address}: {error:#}"));
                }
            }
        }
        waits
    }

    /// The control node in a region.
    pub fn node_in(&self, region: &str) -> Option<NodeId> {
        self.nodes
            .iter()
            .find(|(_, (of, _))| of == region)
            .map(|(id, _)| *id)
    }

    /// Moves the control plane's leadership to a node, and waits until it has it.
    pub async fn lead_from(&self, node: NodeId) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        while Instant::now() < deadline {
            let document = crate::cli::fetch(&self.client, CLUSTER).await?;
            if document.leader == Some(node) {
                return Ok(());
            }
            for one in self.client.each() {
                let request = TransferLeaderRequest { to: node.0 };
                let _ = one
                    .ask(|channel| async move { operator(channel).transfer_leader(request).await })
                    .await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the leadership did not move to node {node}")
    }

    /// Every process's log: its name, and what is in it.
    fn logs(&self) -> Vec<(String, String)> {
        let Ok(entries) = std::fs::read_dir(self.dir.path()) else {
            return Vec::new();
        };
        let mut logs: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "log"))
            .collect();
        logs.sort();
        let read = |path: &PathBuf| {
            let name = path.file_stem().unwrap_or_default().display().to_string();
            (name, std::fs::read_to_string(path).unwrap_or_default())
        };
        logs.iter().map(read).collect()
    }

    /// The last lines of every log, for an error that must explain itself.
    pub fn log_ends(&self) -> String {
        let mut text = String::new();
        for (name, log) in self.logs() {
            let lines: Vec<_> = log.lines().rev().take(5).collect();
            for line in lines.iter().rev() {
                text.push_str(&format!("{name}: {line}\n"));
            }
        }
        text
    }

    /// What our own code warned of, or ended by.
    pub fn warnings(&self) -> Vec<String> {
        let loud = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            let level = words.next().unwrap_or_default();
            // An alarm tells of the servers, which are broken here on purpose.
            let target = words.next().unwrap_or_default();
            let ours = target.starts_with("primacy") && target != "primacy::alarm:";
            (matches!(level, "WARN" | "ERROR") && ours) || line.contains("panicked at")
        };
        let mut found = Vec::new();
        for (name, log) in self.logs() {
            let lines = log.lines().filter(loud);
            found.extend(lines.map(|line| format!("{name}: {line}")));
        }
        found
    }
}

fn unready(document: &StatusDocument, cluster: &ClusterId) -> Vec<String> {
    let node = document.answered_by;
    let Some(status) = document.clusters.get(cluster) else {
        return vec![format!("node {node} to know the cluster")];
    };
    let mut waits = Vec::new();
    let cluster = &status.cluster;
    match cluster.promotion() {
        Some(promotion) if promotion.acknowledged => {
            for acker in &cluster.ackers.members {
                if promotion.followers.get(acker) != Some(&Follower::Joined) {
                    waits.push(format!("{acker} to join"));
                }
            }
        }
        _ => waits.push(format!("an acknowledged write ({})", status.stage)),
    }
    for instance in cluster.instances.keys() {
        let seen = document
            .view
            .instances
            .get(instance)
            .map(|view| view.sight.kind);
        let primary = *instance == cluster.primary;
        // A replica is not judged; that it answers is enough.
        if primary && seen != Some(SightKind::Alive) {
            waits.push(format!(
                "node {node} to see {instance} alive (it sees {seen:?})"
            ));
        }
        let heard = document
            .view
            .instances
            .get(instance)
            .and_then(|view| view.agent_heard_ms);
        if heard.is_none_or(|ms| ms > 1_000) {
            waits.push(format!("node {node} to hear the agent of {instance}"));
        }
    }
    waits
}

impl Drop for World {
    fn drop(&mut self) {
        end_all_in(self.dir.path());
    }
}
