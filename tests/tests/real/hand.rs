//! A control plane and servers set up by hand, step by step: what `primacy demo` does in one go is
//! done here so that a step can go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use primacy::config::{
    AgentConfig, DiskConfig, HistoryConfig, MemberConfig, MysqlAccess, NodeConfig, ProbeAccount,
    RaftTimes, ServerControl,
};
use primacy::demo::free_ports;
use primacy::mysqld::bringup::{Instance, greets, write_config};
use primacy::mysqld::fetch::Server;
use primacy::mysqld::session::{Address, Login, Rows, Session, Target, Transport, within};
use primacy::mysqld::template::Template;
use primacy_core::ids::{ClusterId, InstanceId, NodeId, PlaneId, Region};
use primacy_core::policy::{Automation, Policy};
use primacy_core::record::{Cluster, Founding, InstanceSpec, Registration};
use serde::Serialize;
use tempfile::TempDir;
use tokio::sync::MutexGuard;

use crate::asking::serves;
use crate::logs;
use crate::world::{LIMIT, end, home, mysql, program, signal, sweep, turn, until};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CLUSTER: &str = "shop";
const REGIONS: [&str; 3] = ["frankfurt", "london", "madrid"];

/// What a verb of the command line did.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub struct Place {
    pub id: InstanceId,
    pub instance: Instance,
    pub http: SocketAddr,
}

impl Place {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(LOCAL, self.instance.port)
    }

    pub fn pid(&self) -> u32 {
        let text = fs::read_to_string(self.instance.pid_file()).expect("it runs");
        text.trim().parse().expect("a process id")
    }
}

pub struct Hand {
    /// Nodes and agents by the name of their log; servers by instance.
    processes: BTreeMap<String, Child>,
    pub places: Vec<Place>,
    pub nodes: Vec<String>,
    home: TempDir,
    pub server: Server,
    pub template: Template,
    /// Whether the logs were looked at.
    settled: AtomicBool,
    _turn: MutexGuard<'static, ()>,
}

fn write_toml<T: Serialize>(path: &Path, value: &T) {
    let value = serde_json::to_value(value).expect("plain data");
    let text = toml::to_string(&value).expect("it can be TOML");
    fs::write(path, text).expect("a writable folder");
}

impl Hand {
    /// Three nodes run; `instances` have data, and run nothing yet. `None` without a MySQL server.
    pub async fn begin(instances: usize) -> Option<Hand> {
        let turn = turn().await;
        let server = mysql().await?;
        let template = Template::prepare(&server).await.expect("a data directory");
        let home = home();
        let ports = free_ports(REGIONS.len() + instances * 3).expect("free ports");
        let (node_ports, ports) = ports.split_at(REGIONS.len());
        let mut places = Vec::new();
        for (at, ports) in ports.chunks(3).enumerate() {
            let id = InstanceId(format!("db-{}", at + 1));
            let instance = Instance {
                dir: home.path().join(id.as_str()),
                bind: LOCAL,
                port: ports[0],
                admin_port: ports[1],
                server_id: at as u32 + 1,
                acks_required: 1,
                buffer_pool_mib: 64,
                core_file: false,
            };
            fs::create_dir(&instance.dir).expect("a folder");
            template.copy_to(&instance).await.expect("data of its own");
            let http = SocketAddr::new(LOCAL, ports[2]);
            places.push(Place { id, instance, http });
        }
        let nodes = node_ports
            .iter()
            .map(|port| format!("{LOCAL}:{port}"))
            .collect();
        let mut hand = Hand {
            processes: BTreeMap::new(),
            places,
            nodes,
            home,
            server,
            template,
            settled: AtomicBool::new(false),
            _turn: turn,
        };
        for at in 0..REGIONS.len() {
            let config = hand.node_config(at);
            hand.start_node(&config, &format!("node-{}", at + 1));
        }
        Some(hand)
    }

    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    pub fn place(&self, id: &str) -> &Place {
        let found = self.places.iter().find(|place| place.id.as_str() == id);
        found.expect("an instance of this world")
    }

    // ---- processes

    fn start(&mut self, name: &str, arguments: &[&str]) {
        let log = self.dir().join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(log);
        let child = Command::new(program())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .process_group(0)
            .spawn()
            .expect("primacy starts");
        self.processes.insert(name.to_owned(), child);
    }

    /// The configuration of one of the three nodes.
    pub fn node_config(&self, at: usize) -> NodeConfig {
        let members = REGIONS.iter().zip(&self.nodes).enumerate();
        let control = &self.template.accounts.control;
        NodeConfig {
            plane: PlaneId::from("hand"),
            id: NodeId(at as u64 + 1),
            region: REGIONS[at].to_owned(),
            listen: self.nodes[at].parse().expect("an address"),
            dir: self.dir().join(format!("node-{}", at + 1)),
            members: members
                .map(|(at, (region, address))| MemberConfig {
                    id: NodeId(at as u64 + 1),
                    region: (*region).to_owned(),
                    address: address.clone(),
                })
                .collect(),
            source: None,
            probe: ProbeAccount {
                user: control.user.clone(),
                password: control.password().to_owned(),
                password_file: None,
                tls: false,
            },
            raft: RaftTimes::default(),
            round_trip_ms: 0,
            snapshot_every: 5_000,
            disk: DiskConfig::none(),
            history: HistoryConfig::default(),
            tls: None,
            plaintext: false,
        }
    }

    pub fn start_node(&mut self, config: &NodeConfig, name: &str) {
        let path = self.dir().join(format!("{name}.toml"));
        write_toml(&path, config);
        self.start(name, &["node", "--config", &path.display().to_string()]);
    }

    pub fn agent_config(&self, id: &str) -> AgentConfig {
        let place = self.place(id);
        let (accounts, instance) = (&self.template.accounts, &place.instance);
        AgentConfig {
            cluster: ClusterId::from(CLUSTER),
            instance: place.id.clone(),
            nodes: self.nodes.clone(),
            dir: self.dir().join(format!("agent-{id}")),
            http: place.http,
            plaintext: false,
            tls: None,
            source: None,
            mysql: MysqlAccess {
                user: accounts.agent.user.clone(),
                password: accounts.agent.password().to_owned(),
                password_file: None,
                replication_user: accounts.repl.user.clone(),
                replication_password: accounts.repl.password().to_owned(),
                replication_password_file: None,
                replication_tls: false,
            },
            server: ServerControl {
                dir: instance.dir.clone(),
                bind: LOCAL,
                port: instance.port,
                admin_port: instance.admin_port,
                server_id: instance.server_id,
                buffer_pool_mib: instance.buffer_pool_mib,
                core_file: false,
            },
        }
    }

    pub fn start_agent(&mut self, config: &AgentConfig, name: &str) {
        let path = self.dir().join(format!("{name}.toml"));
        write_toml(&path, config);
        self.start(name, &["agent", "--config", &path.display().to_string()]);
    }

    /// Waits for the end of a process that cannot go on; its log.
    pub async fn ended(&mut self, name: &str) -> String {
        let child = self.processes.get_mut(name).expect("a process");
        until(LIMIT, "it to end", async || {
            child.try_wait().expect("a child")
        })
        .await;
        self.log(name)
    }

    pub fn log(&self, name: &str) -> String {
        logs::of(self.dir(), name)
    }

    /// Starts a server as its administrator would, with more lines in its configuration.
    pub async fn start_server(&mut self, id: &str, lines: &str) {
        let instance = self.place(id).instance.clone();
        write_config(&self.server, &instance).expect("a configuration");
        let mut config = File::options()
            .append(true)
            .open(instance.config())
            .expect("it is there");
        writeln!(config, "[mysqld]\n{lines}").expect("a writable file");
        let _ = fs::remove_file(instance.pid_file());
        let log = File::options()
            .create(true)
            .append(true)
            .open(instance.error_log());
        let child = self
            .server
            .command()
            .arg(format!("--defaults-file={}", instance.config().display()))
            .current_dir(&instance.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .process_group(0)
            .spawn()
            .expect("mysqld starts");
        self.processes.insert(id.to_owned(), child);
        let address = SocketAddr::new(LOCAL, instance.port);
        until(LIMIT, "a greeting", async || {
            let ready = instance.pid_file().exists();
            (ready && greets(address, within(Duration::from_secs(1))).await).then_some(())
        })
        .await;
    }

    /// SIGKILL, and the end of the process.
    pub fn kill(&mut self, name: &str) {
        let mut child = self.processes.remove(name).expect("a process");
        signal(child.id(), Signal::SIGKILL);
        let _ = child.wait();
    }

    // ---- asking

    pub fn registration(&self, founding: Founding) -> Registration {
        let instances = self.places.iter().enumerate().map(|(at, place)| {
            let spec = InstanceSpec {
                host: LOCAL.to_string(),
                port: place.instance.port,
                region: Region(REGIONS[at % REGIONS.len()].to_owned()),
                zone: String::new(),
                machine: place.id.to_string(),
                promotion: Default::default(),
                priority: 0,
                server_uuid: None,
                agent: place.http.to_string(),
            };
            (place.id.clone(), spec)
        });
        Registration {
            cluster: ClusterId::from(CLUSTER),
            instances: instances.collect(),
            primary: self.places[0].id.clone(),
            ackers: BTreeSet::new(),
            k: 1,
            policy: Policy {
                automation: Automation::Auto,
                ..Policy::fast()
            },
            founding,
        }
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env("PRIMACY_ENDPOINTS", self.nodes.join(","));
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.expect("it ran").expect("primacy starts");
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A verb that takes a registration, from a file.
    pub async fn with_file(&self, verb: &[&str], registration: &Registration) -> Ran {
        let path: PathBuf = self.dir().join("registration.json");
        let text = serde_json::to_string(registration).expect("plain data");
        fs::write(&path, text).expect("a writable folder");
        let path = path.display().to_string();
        let arguments: Vec<&str> = verb.iter().copied().chain([path.as_str()]).collect();
        self.run(&arguments).await
    }

    /// What `cluster check` says of a registration, once a node leads: its lines.
    pub async fn check(&self, registration: &Registration) -> Ran {
        self.with_file(&["cluster", "check", "--file"], registration)
            .await
    }

    /// Waits until `cluster check` answers so.
    pub async fn until_check(&self, registration: &Registration, holds: fn(&Ran) -> bool) -> Ran {
        until(LIMIT, "cluster check to answer so", async || {
            let ran = self.check(registration).await;
            holds(&ran).then_some(ran)
        })
        .await
    }

    pub async fn cluster(&self) -> Option<Cluster> {
        let ran = self.run(&["describe", CLUSTER, "-o", "json"]).await;
        let status: serde_json::Value = serde_json::from_str(&ran.out).ok()?;
        serde_json::from_value(status.get("cluster")?.clone()).ok()
    }

    /// Waits until an epoch is open with an acknowledged write.
    pub async fn opened(&self, epoch: u64) -> Cluster {
        until(LIMIT, &format!("epoch {epoch} to be open"), async || {
            let cluster = self.cluster().await?;
            let open = cluster.promotion()?.acknowledged && cluster.epoch.0 == epoch;
            open.then_some(cluster)
        })
        .await
    }

    pub async fn serves(&self, id: &str) -> Option<u64> {
        serves(self.place(id).http).await
    }

    // ---- MySQL

    pub fn target(&self, id: &str, login: &Login) -> Target {
        Target {
            address: Address::Socket(self.place(id).instance.socket()),
            login: login.clone(),
            transport: Transport::Plain,
        }
    }

    /// As root.
    pub async fn sql(&self, id: &str, sql: &str) -> Vec<Rows> {
        let target = self.target(id, &self.template.accounts.root);
        let session = Session::connect(&target, within(LIMIT)).await;
        let mut session = session.expect("root logs in through the socket");
        let answer = session.ask(sql, within(LIMIT)).await;
        answer.unwrap_or_else(|error| panic!("{id}: {sql}: {error}"))
    }

    /// No log holds a warning that is not listed.
    pub fn settle(&self, listed: &[&str]) {
        self.settled.store(true, Ordering::Relaxed);
        let unlisted = logs::unlisted(self.dir(), listed);
        assert!(unlisted.is_empty(), "unlisted:\n{}", unlisted.join("\n"));
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", logs::ends(self.dir(), 15));
        }
        // Agents first, so that none starts its server again.
        let (agents, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.processes)
            .into_iter()
            .partition(|(name, _)| name.starts_with("agent"));
        for (name, mut child) in agents.into_iter().chain(others) {
            if name.starts_with("node") {
                end(&mut child);
            } else {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        sweep(self.dir());
        let settled = *self.settled.get_mut() || std::thread::panicking();
        assert!(
            settled,
            "a scenario ends with `settle`: it looks for warnings"
        );
    }
}
