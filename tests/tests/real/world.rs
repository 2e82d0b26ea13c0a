//! One `primacy demo --stay`: what it started, and its certain end.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use primacy::api::StatusDocument;
use primacy::mysqld::fetch::{Server, find_or_fetch};
use primacy::mysqld::session::Login;
use primacy::mysqld::template::{Accounts, Template};
use primacy_core::ids::{ClusterId, InstanceId};
use primacy_core::record::Cluster;
use primacy_proto::tls::{Files, Tls, Transport, Wanted};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::asking::assert_present;
use crate::logs;
use crate::writer::Writer;

/// For everything that takes seconds on a quiet machine; this one has two cores and neighbours.
pub const LIMIT: Duration = Duration::from_secs(60);
const BUILD_LIMIT: Duration = Duration::from_secs(150);
/// After SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(10);
const VANISH_LIMIT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One world at a time, whatever `--test-threads` says: a machine's load is not what is tested.
static TURN: Mutex<()> = Mutex::const_new(());

#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub id: u64,
    pub address: String,
    pub pid: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub address: SocketAddr,
    pub agent_http: SocketAddr,
    pub agent_pid: u32,
    pub mysqld_pid: u32,
    pub socket: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct App {
    user: String,
    password: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Shape {
    cluster: ClusterId,
    nodes: Vec<Node>,
    instances: Vec<Instance>,
    app: App,
    tls: Certificate,
    dir: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct Certificate {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

pub struct World {
    demo: Child,
    shape: Shape,
    transport: Transport,
    /// Started by the scenario itself.
    others: Vec<Child>,
    /// The demo's TMPDIR: whatever it starts has this in its command line.
    home: TempDir,
    pub server: Server,
    pub template: Template,
    /// What must hold after every scenario was asked.
    settled: AtomicBool,
    _turn: MutexGuard<'static, ()>,
}

/// The program under test, which cargo puts one folder above this test.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.parent().and_then(Path::parent);
    folder
        .expect("target/<profile>/deps/<test>")
        .join("primacy")
}

/// A MySQL server, or the news that there is none.
pub async fn mysql() -> Option<Server> {
    match find_or_fetch(|_| {}).await {
        Ok(server) => Some(server),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn certificate(dir: &Path, stem: &str) -> Transport {
    let file = |name: &str| dir.join("tls").join(name);
    let files = Files {
        ca: file("ca.pem"),
        cert: file(&format!("{stem}.pem")),
        key: file(&format!("{stem}-key.pem")),
    };
    Transport::Tls(Tls::open(files, Wanted::Anybody).expect("the demo's certificate"))
}

pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id is small"));
    // Its process may have ended by itself.
    let _ = kill(pid, signal);
}

/// Waits for a condition: looks until there is something to return.
pub async fn until<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for {what}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Demands that something holds for a while: where the law is that nothing happens, time is the
/// only witness.
pub async fn throughout(time: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(holds().await, "did not hold for {time:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub fn is_up(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).exists()
}

/// Waits until no thread of a process runs any more; whether it has been reaped does not matter.
pub async fn ended(pid: u32) {
    let gone = || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        if threads.is_ok_and(|threads| threads.count() > 1) {
            return false;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return true;
        };
        let state = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.trim().chars().next());
        matches!(state, Some('Z' | 'X') | None)
    };
    until(LIMIT, &format!("process {pid} to end"), async || {
        gone().then_some(())
    })
    .await;
}

/// `mysql-2` is at home and preferred; another one only if it lacks what was on its way when the
/// primary died, or has not been frozen within the grace.
pub fn assert_home_first(cluster: &Cluster) {
    let choice = &cluster.promotion().expect("somebody is chosen").choice;
    let lacks = |why: &String| why.starts_with("mysql-2 lacks ") || why == "mysql-2 is not frozen";
    assert!(
        choice.to.as_str() == "mysql-2" || choice.why.iter().any(lacks),
        "{choice:?}"
    );
    assert_ne!(choice.to, choice.from);
}

impl World {
    /// A fresh one, ready to be broken; `None` if there is no MySQL server.
    pub async fn build() -> Option<World> {
        Self::build_with(&[]).await
    }

    /// The same, with more options of the demo.
    pub async fn build_with(options: &[&str]) -> Option<World> {
        let turn = turn().await;
        let server = mysql().await?;
        let template = Template::prepare(&server).await.expect("a data directory");
        let home = home();
        let mut demo = Command::new(program())
            .args(["demo", "--stay", "-o", "json"])
            .args(options)
            .env("TMPDIR", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the demo starts");
        let stdout = demo.stdout.take().expect("it is piped");
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(line);
        });
        let line = receiver.recv_timeout(BUILD_LIMIT).unwrap_or_default();
        match serde_json::from_str::<Shape>(&line) {
            Ok(shape) => Some(World {
                demo,
                transport: certificate(&shape.dir, "operator-demo"),
                shape,
                others: Vec::new(),
                home,
                server,
                template,
                settled: AtomicBool::new(false),
                _turn: turn,
            }),
            Err(error) => {
                end(&mut demo);
                sweep(home.path());
                let mut said = String::new();
                if let Some(mut stderr) = demo.stderr.take() {
                    let _ = stderr.read_to_string(&mut said);
                }
                panic!("the demo did not say what it built: {error}; {line:?}; {said}");
            }
        }
    }

    pub fn dir(&self) -> &Path {
        &self.shape.dir
    }

    /// Of one of its processes: `node-1`, `agent-1`.
    pub fn log(&self, name: &str) -> String {
        logs::of(self.dir(), name)
    }

    pub fn cluster_id(&self) -> &ClusterId {
        &self.shape.cluster
    }

    pub fn nodes(&self) -> &[Node] {
        &self.shape.nodes
    }

    pub fn instances(&self) -> &[Instance] {
        &self.shape.instances
    }

    /// `mysql-1` is the first primary; `mysql-2` shares its region.
    pub fn instance(&self, id: &str) -> &Instance {
        let found = self.instances().iter().find(|i| i.id.as_str() == id);
        found.expect("an instance of this world")
    }

    /// As the demo's operator.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// With the certificate of one of this world's processes: `node-1`, `agent-orders-mysql-1`.
    pub fn transport_of(&self, stem: &str) -> Transport {
        certificate(self.dir(), stem)
    }

    /// Tells a verb of the command line where the nodes are, and who asks.
    pub fn told<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let endpoints: Vec<_> = self.nodes().iter().map(|n| n.address.as_str()).collect();
        let Certificate { ca, cert, key } = &self.shape.tls;
        command
            .env("PRIMACY_ENDPOINTS", endpoints.join(","))
            .env("PRIMACY_TLS_CA", ca)
            .env("PRIMACY_TLS_CERT", cert)
            .env("PRIMACY_TLS_KEY", key)
    }

    /// Changes the cluster's policy, `field=value` each, as an operator does.
    pub async fn policy(&self, fields: &[&str]) {
        let mut command = Command::new(program());
        let command = self.told(&mut command);
        command.args(["policy", "set", self.cluster_id().as_str()]);
        let output = command.args(fields).output().expect("it ran");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{fields:?}: {said}");
    }

    pub fn accounts(&self) -> &Accounts {
        &self.template.accounts
    }

    pub fn app(&self) -> Login {
        Login::new(&self.shape.app.user, &self.shape.app.password)
    }

    /// Stops both processes of an instance, as a stopped host does.
    pub fn stop_host(&self, id: &str) {
        let instance = self.instance(id);
        signal(instance.agent_pid, Signal::SIGSTOP);
        signal(instance.mysqld_pid, Signal::SIGSTOP);
    }

    pub fn continue_host(&self, id: &str) {
        let instance = self.instance(id);
        signal(instance.mysqld_pid, Signal::SIGCONT);
        signal(instance.agent_pid, Signal::SIGCONT);
    }

    /// Kills an agent and starts it again, with the arguments of the first.
    pub async fn restart_agent(&mut self, id: &str) {
        self.kill(self.instance(id).agent_pid).await;
        self.start_agent(id);
    }

    /// Starts an agent again, with the arguments of the first.
    pub fn start_agent(&mut self, id: &str) {
        let pid = self.start_again("agent", &id.replace("mysql", "agent"), &[]);
        let mut instances = self.shape.instances.iter_mut();
        let instance = instances.find(|instance| instance.id.as_str() == id);
        instance.expect("an instance of this world").agent_pid = pid;
    }

    /// Starts a control node again, with the arguments of the first; `settings` override its file.
    pub fn start_node(&mut self, id: u64, settings: &[(&str, &str)]) {
        let pid = self.start_again("node", &format!("node-{id}"), settings);
        let node = self.shape.nodes.iter_mut().find(|node| node.id == id);
        node.expect("a node of this world").pid = pid;
    }

    fn start_again(&mut self, verb: &str, name: &str, settings: &[(&str, &str)]) -> u32 {
        let log = self.dir().join(format!("{name}.log"));
        let log = File::options().append(true).open(log).expect("its log");
        let process = Command::new(program())
            .args([verb, "--config"])
            .arg(self.dir().join(format!("{name}.toml")))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let pid = process.id();
        self.others.push(process);
        pid
    }

    /// SIGKILL, and waits until its files and ports are free.
    pub async fn kill(&self, pid: u32) {
        signal(pid, Signal::SIGKILL);
        ended(pid).await;
    }

    /// The process id of an instance's `mysqld` as it runs now.
    pub fn mysqld(&self, id: &str) -> u32 {
        let socket = &self.instance(id).socket;
        let text = std::fs::read_to_string(socket.with_file_name("mysqld.pid"));
        let pid = text.expect("its pid file").trim().parse();
        pid.expect("a process id")
    }

    /// What must hold after every scenario.
    pub async fn settle(&self, writer: Writer, listed: &[&str]) {
        writer.more(20).await;
        let acked = writer.stop().await;

        let primary = self.primary().await;
        let status: StatusDocument = self.cli(&["status"]).await;
        let cluster = &status.clusters[self.cluster_id()].cluster;
        let (epoch, instance) = cluster.serving().expect("somebody serves");
        assert_eq!(
            (primary.instance.as_str(), primary.epoch),
            (instance.as_str(), epoch.0),
            "GetPrimary and status name the same primary"
        );
        for instance in self.instances() {
            let expected = (instance.id == cluster.primary).then_some(epoch.0);
            let id = instance.id.as_str();
            let what = format!("the agent of {id} to answer as the log says");
            until(LIMIT, &what, async || {
                (self.serves(id).await == expected).then_some(())
            })
            .await;
        }

        let sql = "SELECT CAST(n AS CHAR) FROM app.writes WHERE writer=1";
        let rows = self.sql(&primary.instance, sql).await;
        assert_present(&acked, rows, &primary.instance);

        self.settled.store(true, Ordering::Relaxed);
        let unlisted = logs::unlisted(self.dir(), listed);
        assert!(unlisted.is_empty(), "unlisted:\n{}", unlisted.join("\n"));
    }

    fn explain_failure(&self) {
        for verb in ["explain", "history"] {
            let output = self
                .told(&mut Command::new(program()))
                .args([verb, self.cluster_id().as_str()])
                .output();
            if let Ok(output) = output {
                println!("{verb}:\n{}", String::from_utf8_lossy(&output.stdout));
            }
        }
        println!("{}", logs::ends(self.dir(), 15));
    }
}

/// SIGTERM, and SIGKILL if that does not help. Whether SIGTERM was enough.
pub fn end(child: &mut Child) -> bool {
    end_within(child, END_LIMIT)
}

pub fn end_within(child: &mut Child, limit: Duration) -> bool {
    signal(child.id(), Signal::SIGTERM);
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// A folder for one demo. Short: the path of a socket in it must be.
pub fn home() -> TempDir {
    let named = tempfile::Builder::new().prefix("real-").tempdir();
    named.expect("a temporary folder")
}

/// Kills whatever runs in this folder; returns what that was.
pub fn sweep(home: &Path) -> Vec<String> {
    // A killed server takes a moment to give its memory back.
    let deadline = Instant::now() + VANISH_LIMIT;
    let mut left = processes_of(home);
    while !left.is_empty() && Instant::now() < deadline {
        std::thread::sleep(LOOK_EVERY);
        left = processes_of(home);
    }
    for (pid, _) in &left {
        signal(*pid, Signal::SIGKILL);
    }
    left.into_iter().map(|(_, line)| line).collect()
}

/// Processes that have this folder in their command line.
pub fn processes_of(dir: &Path) -> Vec<(u32, String)> {
    let dir = dir.as_os_str().as_encoded_bytes();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let ours = line.windows(dir.len()).any(|part| part == dir);
            ours.then(|| (pid, String::from_utf8_lossy(&line).replace('\0', " ")))
        })
        .collect()
}

impl Drop for World {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.explain_failure();
        }
        for other in &mut self.others {
            let _ = other.kill();
            let _ = other.wait();
        }
        let ended = end(&mut self.demo);
        sweep(self.home.path());
        assert!(ended || failed, "the demo did not end within {END_LIMIT:?}");
        let settled = *self.settled.get_mut();
        assert!(
            settled || failed,
            "a scenario ends with `settle`: it looks for warnings"
        );
    }
}
