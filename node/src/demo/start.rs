//! Starts a world's processes: what each is configured with, where it listens.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use primacy_core::ids::{ClusterId, InstanceId, NodeId, PlaneId};

use super::DemoArgs;
use super::certificates::Certificates;
use super::faults::Fault;
use super::net::Net;
use super::process::Process;
use super::world::{CLUSTER, PLANE, Place, REGIONS};
use crate::config::{
    AgentConfig, DiskConfig, HistoryConfig, MemberConfig, MysqlAccess, NodeConfig, ProbeAccount,
    RaftTimes, ServerControl, snapshot_every,
};
use crate::mysqld::bringup::Instance;
use crate::mysqld::template::Template;

/// Outgoing connections take their ports from above (`ip_local_port_range`): one that is chosen
/// below cannot be taken by any of them between now and its server's start.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// What every part of a world is built on.
pub(super) struct Ground<'a> {
    pub dir: &'a Path,
    pub template: &'a Template,
    pub net: &'a Net,
    pub certificates: &'a Certificates,
}

impl Ground<'_> {
    /// Writes the configuration of `primacy VERB` and starts it, both under this name.
    fn start<T: serde::Serialize>(
        &self,
        verb: &str,
        name: &str,
        config: &T,
        region: &str,
    ) -> anyhow::Result<Process> {
        let path = self.dir.join(format!("{name}.toml"));
        write_toml(&path, config)?;
        let log = self.dir.join(format!("{name}.log"));
        let path = path.display().to_string();
        let args = [verb, "--config", &path];
        Process::start(name, &log, &args, self.net, region)
    }
}

pub(super) type Nodes = BTreeMap<NodeId, (String, Process)>;

pub(super) fn start_nodes(ground: &Ground<'_>) -> anyhow::Result<(Nodes, Vec<String>)> {
    let ports = free_ports(REGIONS.len())?;
    let listens: Vec<_> = REGIONS
        .iter()
        .zip(ports)
        .map(|(region, port)| SocketAddr::new(ground.net.address(region), port))
        .collect();
    let members: Vec<_> = REGIONS
        .iter()
        .zip(&listens)
        .enumerate()
        .map(|(at, (region, listen))| MemberConfig {
            id: NodeId(at as u64 + 1),
            region: (*region).to_owned(),
            address: listen.to_string(),
        })
        .collect();
    let round_trip_ms = ground.net.rtt().as_millis() as u64;
    let mut nodes = Nodes::new();
    for (member, listen) in members.iter().zip(listens) {
        let name = format!("node-{}", member.id);
        let config = NodeConfig {
            plane: PlaneId::from(PLANE),
            id: member.id,
            region: member.region.clone(),
            listen,
            dir: ground.dir.join(&name),
            members: members.clone(),
            source: None,
            probe: ProbeAccount {
                user: ground.template.accounts.control.user.clone(),
                password: ground.template.accounts.control.password().to_owned(),
                password_file: None,
                tls: false,
            },
            raft: RaftTimes::across(round_trip_ms),
            round_trip_ms,
            snapshot_every: snapshot_every(),
            disk: DiskConfig::none(),
            history: HistoryConfig::default(),
            tls: Some(
                ground
                    .certificates
                    .issue(&format!("node/{}", member.id))?
                    .into(),
            ),
            plaintext: false,
        };
        let process = ground.start("node", &name, &config, &member.region)?;
        nodes.insert(member.id, (member.region.clone(), process));
    }
    let addresses = members.into_iter().map(|member| member.address);
    Ok((nodes, addresses.collect()))
}

pub(super) async fn start_places(
    ground: &Ground<'_>,
    args: &DemoArgs,
    nodes: &[String],
) -> anyhow::Result<BTreeMap<InstanceId, Place>> {
    // With four, the primary and one replica share the first region.
    let regions: &[&str] = if args.instances == 4 {
        &[REGIONS[0], REGIONS[0], REGIONS[1], REGIONS[2]]
    } else {
        &REGIONS
    };
    let ports = free_ports(regions.len() * 3)?;
    let mut places = BTreeMap::new();
    for (at, region) in regions.iter().enumerate() {
        let id = InstanceId(format!("mysql-{}", at + 1));
        let name = format!("agent-{}", at + 1);
        let bind = ground.net.address(region);
        let instance = Instance {
            dir: ground.dir.join(id.as_str()),
            bind,
            port: ports[at * 3],
            admin_port: ports[at * 3 + 1],
            server_id: at as u32 + 1,
            acks_required: 1,
            buffer_pool_mib: args.pool_mb.filter(|_| at == 0).unwrap_or(64),
            core_file: args.fault == Fault::Segv,
        };
        ground.template.copy_to(&instance).await?;
        let http = SocketAddr::new(bind, ports[at * 3 + 2]);
        let config = AgentConfig {
            cluster: ClusterId::from(CLUSTER),
            instance: id.clone(),
            nodes: nodes.to_vec(),
            dir: ground.dir.join(&name),
            http,
            plaintext: false,
            tls: Some(
                ground
                    .certificates
                    .issue(&format!("agent/{CLUSTER}/{id}"))?
                    .into(),
            ),
            source: None,
            mysql: MysqlAccess {
                user: ground.template.accounts.agent.user.clone(),
                password: ground.template.accounts.agent.password().to_owned(),
                password_file: None,
                replication_user: ground.template.accounts.repl.user.clone(),
                replication_password: ground.template.accounts.repl.password().to_owned(),
                replication_password_file: None,
                replication_tls: false,
            },
            server: ServerControl {
                dir: instance.dir.clone(),
                bind,
                port: instance.port,
                admin_port: instance.admin_port,
                server_id: instance.server_id,
                buffer_pool_mib: instance.buffer_pool_mib,
                core_file: instance.core_file,
            },
        };
        let agent = ground.start("agent", &name, &config, region)?;
        let region = (*region).to_owned();
        places.insert(
            id.clone(),
            Place {
                id,
                region,
                instance,
                http,
                agent,
            },
        );
    }
    Ok(places)
}

/// Ports that are free now, all different; two demos begin at different places.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let span = u32::from(PORTS.end - PORTS.start);
    let begin = std::process::id().wrapping_mul(97);
    let mut ports = Vec::new();
    for _ in 0..span {
        let step = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = PORTS.start + (begin.wrapping_add(step) % span) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
        if ports.len() == count {
            return Ok(ports);
        }
    }
    anyhow::bail!(
        "no {count} free ports between {} and {}",
        PORTS.start,
        PORTS.end
    )
}

fn write_toml<T: serde::Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let text = toml::to_string(value).context("a configuration cannot be written as TOML")?;
    std::fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))
}
