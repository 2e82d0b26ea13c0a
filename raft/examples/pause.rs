//! How long is the log without a leader when its leader is frozen, and is anything lost or applied
//! twice? Three real processes, SIGSTOP and SIGCONT, proposals in flight all the while.
//!
//! `cargo run --release --workspace --example pause -- [rounds] [clients]`

#[path = "../tests/log/common/wait.rs"]
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use primacy_core::ids::{LogIndex, NodeId};
use primacy_core::record::{Member, Proposal};
use primacy_raft::{Config, Handle};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use wait::{DEADLINE, proposal, until};

const ATTEMPT: Duration = Duration::from_secs(2);
/// Client `n` proposes as node `CLIENTS_FROM + n`.
const CLIENTS_FROM: u64 = 100;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "child") {
        return child(&args[1..]).await;
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let number = |at: usize, default| {
        args.get(at)
            .map_or(default, |arg| arg.parse().expect("a number"))
    };
    let (rounds, clients) = (number(0, 50), number(1, 8));
    let dir = tempfile::tempdir_in(std::env::current_dir().expect("a working directory"))
        .expect("a directory on a real disk");
    let nodes = Arc::new(spawn(dir.path()).await);
    latency(&nodes).await;
    pauses(&nodes, rounds, clients as u64).await;
}

// ---------------------------------------------------------------- one node

/// Commands on stdin, each `<request> <what> <arguments>`, answers on stdout.
async fn child(args: &[String]) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "warn,openraft=error".into()))
        .with_writer(std::io::stderr)
        .init();
    let id = NodeId(args[0].parse().expect("an id"));
    let members: BTreeMap<NodeId, Member> = (1..)
        .zip(&args[2..])
        .map(|(id, address)| {
            (
                NodeId(id),
                Member {
                    address: address.clone(),
                    region: "r".to_owned(),
                },
            )
        })
        .collect();
    let config = Config::new(id, &args[1], members.clone());
    let handle = Handle::start(config).await.expect("the node starts");
    let listener = tokio::net::TcpListener::bind(&members[&id].address)
        .await
        .expect("its port");
    let service = Server::builder().add_service(handle.service());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(service.serve_with_incoming(incoming));
    handle.enter().await.expect("founded");
    let (answers, to_write) = std::sync::mpsc::channel::<String>();
    std::thread::spawn(move || {
        let mut stdout = std::io::stdout().lock();
        for line in to_write {
            stdout.write_all(line.as_bytes()).expect("a parent");
            stdout.flush().expect("a parent");
        }
    });
    let (commands, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            commands
                .send(line.expect("a readable command"))
                .expect("a node");
        }
    });
    while let Some(line) = lines.recv().await {
        let (handle, answers) = (handle.clone(), answers.clone());
        tokio::spawn(async move {
            let words: Vec<&str> = line.split(' ').collect();
            let answer = answer(&handle, words[1], &words[2..]).await;
            answers
                .send(format!("{} {answer}\n", words[0]))
                .expect("a writer");
        });
    }
}

async fn answer(handle: &Handle, what: &str, args: &[&str]) -> String {
    match what {
        "propose" => {
            let number = |at: usize| args[at].parse().expect("a number");
            match handle
                .propose(proposal(number(0), number(1)), ATTEMPT)
                .await
            {
                Ok(done) => format!("ok {} {}", done.at().term, done.at().index),
                Err(error) => format!("error {error}"),
            }
        }
        "read" => match handle.read(ATTEMPT).await {
            Ok(state) => format!("ok {}", state.at().index),
            Err(error) => format!("error {error}"),
        },
        "status" => {
            let status = handle.status();
            let leader = status.leadership.leader.map_or(0, |leader| leader.0);
            let applied = status.applied.map_or(0, |applied| applied.0);
            let hears = status.leadership.hears_majority;
            format!("{leader} {} {applied} {hears}", status.term)
        }
        "history" => {
            let all = handle
                .history(LogIndex(0), usize::MAX)
                .await
                .expect("the history");
            let lines = all.iter().map(|entry| {
                let repeated = entry
                    .outcome
                    .as_ref()
                    .is_some_and(|outcome| outcome.repeated);
                let Proposal { proposer, seq, .. } = &entry.proposal;
                format!("{}:{proposer}:{seq}:{}", entry.at.index, u8::from(repeated))
            });
            lines.collect::<Vec<_>>().join(",")
        }
        other => panic!("unknown command {other}"),
    }
}

// ---------------------------------------------------------------- the parent's view of a node

struct Node {
    child: Child,
    commands: mpsc::UnboundedSender<String>,
    waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<String>>>>,
    next: AtomicU64,
}

async fn spawn(dir: &std::path::Path) -> Vec<Node> {
    let ports: Vec<_> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .collect();
    let addresses: Vec<_> = ports
        .iter()
        .map(|port| port.local_addr().expect("an address").to_string())
        .collect();
    drop(ports);
    (1..=3)
        .map(|id| {
            let mut child = Command::new(std::env::current_exe().expect("this program"))
                .arg("child")
                .arg(id.to_string())
                .arg(dir.join(id.to_string()))
                .args(&addresses)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("a child");
            let waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<String>>>> = Arc::default();
            let (commands, to_write) = mpsc::unbounded_channel();
            tokio::spawn(write(child.stdin.take().expect("piped"), to_write));
            let stdout = child.stdout.take().expect("piped");
            let answered = waiting.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let (request, answer) = line.split_once(' ').expect("an answer");
                    let request: u64 = request.parse().expect("a number");
                    if let Some(waiting) = answered.lock().expect("no panic").remove(&request) {
                        let _ = waiting.send(answer.to_owned());
                    }
                }
            });
            Node {
                child,
                commands,
                waiting,
                next: AtomicU64::new(0),
            }
        })
        .collect()
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Node {
    async fn ask(&self, what: &str) -> Option<String> {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        let (done, answer) = oneshot::channel();
        self.waiting.lock().expect("no panic").insert(request, done);
        self.commands.send(format!("{request} {what}\n")).ok()?;
        answer.await.ok()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("running");
        kill(Pid::from_raw(pid as i32), signal).expect("a signal sent");
    }

    /// (leader or 0, term, applied, hears a majority)
    async fn status(&self) -> (u64, u64, u64, bool) {
        let answer = self.ask("status").await.expect("an answer");
        let words: Vec<&str> = answer.split(' ').collect();
        let number = |at: usize| words[at].parse().expect("a number");
        (number(0), number(1), number(2), words[3] == "true")
    }
}

/// The one that leads the newest term: a thawed leader does not know yet that it is deposed.
async fn leader(nodes: &[Node]) -> usize {
    until(
        || "a leader".into(),
        async || {
            let (mut newest, mut found) = (0, None);
            for (at, node) in nodes.iter().enumerate() {
                let (leader, term, _, hears) = node.status().await;
                let leads = leader == at as u64 + 1 && hears;
                if term > newest {
                    (newest, found) = (term, leads.then_some(at));
                } else if term == newest && leads {
                    found = Some(at);
                }
            }
            found
        },
    )
    .await
}

// ---------------------------------------------------------------- what is measured

async fn latency(nodes: &[Node]) {
    let leader = leader(nodes).await;
    let follower = (leader + 1) % 3;
    let mut seq = 0;
    for (name, at) in [("leader", leader), ("follower", follower)] {
        for what in ["propose", "read"] {
            let mut micros = Vec::new();
            while micros.len() < 2_000 {
                seq += 1;
                let start = Instant::now();
                let command = if what == "read" {
                    "read".to_owned()
                } else {
                    format!("propose 99 {seq}")
                };
                let answer = nodes[at].ask(&command).await.expect("an answer");
                assert!(answer.starts_with("ok"), "{answer}");
                micros.push(start.elapsed().as_micros());
            }
            micros.sort();
            let p = |percent: usize| micros[micros.len() * percent / 100] as f64 / 1000.0;
            println!(
                "1 client, {what} at the {name}: p50 {:.2} ms, p99 {:.2} ms",
                p(50),
                p(99)
            );
        }
    }
}

#[derive(Default)]
struct Shared {
    avoid: AtomicU64,
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<(u64, u64)>>,
    unknown: AtomicU64,
}

/// Proposes without a break, in order, each under one key until it is acknowledged.
async fn client(
    nodes: Arc<Vec<Node>>,
    shared: Arc<Shared>,
    proposer: u64,
    commits: mpsc::UnboundedSender<(u64, Instant)>,
) {
    let mut seq = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        seq += 1;
        loop {
            let avoid = shared.avoid.load(Ordering::Relaxed);
            let at = (0..3)
                .map(|n| (proposer + seq + n) % 3)
                .find(|at| *at != avoid)
                .expect("two left");
            let command = format!("propose {proposer} {seq}");
            let answer = nodes[at as usize].ask(&command);
            // A frozen node answers when it is thawed; meanwhile another is asked.
            let Ok(Some(answer)) = tokio::time::timeout(ATTEMPT, answer).await else {
                shared.unknown.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let words: Vec<&str> = answer.split(' ').collect();
            if words[0] == "ok" {
                shared
                    .acknowledged
                    .lock()
                    .expect("no panic")
                    .insert((proposer, seq));
                let _ = commits.send((words[1].parse().expect("a term"), Instant::now()));
                break;
            }
            shared.unknown.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn pauses(nodes: &Arc<Vec<Node>>, rounds: usize, clients: u64) {
    let shared = Arc::new(Shared {
        avoid: AtomicU64::new(u64::MAX),
        ..Shared::default()
    });
    let (commits, mut committed) = mpsc::unbounded_channel();
    let running: Vec<_> = (0..clients)
        .map(|n| {
            client(
                nodes.clone(),
                shared.clone(),
                CLIENTS_FROM + n,
                commits.clone(),
            )
        })
        .map(tokio::spawn)
        .collect();
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        let old = leader(nodes).await;
        let (_, term, _, _) = nodes[old].status().await;
        shared.avoid.store(old as u64, Ordering::Relaxed);
        while committed.try_recv().is_ok() {}
        // Some commits through the survivors, so that all connections are warm.
        for _ in 0..50 {
            committed.recv().await.expect("clients");
        }
        nodes[old].signal(Signal::SIGSTOP);
        let stopped = Instant::now();
        let again = async {
            loop {
                let (found, at) = committed.recv().await.expect("clients");
                if found > term {
                    return at;
                }
            }
        };
        let Ok(again) = tokio::time::timeout(DEADLINE, again).await else {
            for at in (0..3).filter(|at| *at != old) {
                eprintln!("node {}: {:?}", at + 1, nodes[at].status().await);
            }
            panic!(
                "no leader within {DEADLINE:?} of pausing node {} in term {term}",
                old + 1
            );
        };
        gaps.push(again.duration_since(stopped).as_millis());
        tracing::info!(node = old + 1, term, gap_ms = gaps.last(), "paused");
        nodes[old].signal(Signal::SIGCONT);
        shared.avoid.store(u64::MAX, Ordering::Relaxed);
        caught_up(nodes, old).await;
    }
    shared.stop.store(true, Ordering::Relaxed);
    for client in running {
        client.await.expect("a client ends well");
    }
    for at in 0..3 {
        caught_up(nodes, at).await;
    }
    let (entries, twice, lost) = check(nodes, &shared).await;
    gaps.sort();
    let acknowledged = shared.acknowledged.lock().expect("no panic").len();
    println!(
        "{rounds} pauses of the leader, {clients} clients: next commit after min {} / median {} / max {} ms; \
         {acknowledged} acknowledged, {} unknown answers, {entries} entries, {twice} applied twice, \
         {lost} acknowledged but lost",
        gaps[0],
        gaps[gaps.len() / 2],
        gaps[gaps.len() - 1],
        shared.unknown.load(Ordering::Relaxed),
    );
    assert_eq!((twice, lost), (0, 0));
}

/// The node follows a leader, and has applied what that leader had.
async fn caught_up(nodes: &[Node], at: usize) {
    let leader = leader(nodes).await;
    let (_, _, target, _) = nodes[leader].status().await;
    until(
        || format!("node {} to catch up", at + 1),
        async || {
            let (follows, _, applied, _) = nodes[at].status().await;
            (follows != 0 && applied >= target).then_some(())
        },
    )
    .await;
}

/// On each node: every key applied at most once, every acknowledged one applied; all histories
/// alike.
async fn check(nodes: &[Node], shared: &Shared) -> (usize, usize, usize) {
    let mut histories = BTreeSet::new();
    let (mut entries, mut twice, mut lost) = (0, 0, 0);
    for node in nodes {
        let history = node.ask("history").await.expect("an answer");
        let mut applied: BTreeMap<(u64, u64), usize> = BTreeMap::new();
        entries = 0;
        for entry in history.split(',') {
            entries += 1;
            let fields: Vec<u64> = entry
                .split(':')
                .map(|f| f.parse().expect("a number"))
                .collect();
            if fields[3] == 0 {
                *applied.entry((fields[1], fields[2])).or_default() += 1;
            }
        }
        twice += applied.values().filter(|times| **times > 1).count();
        let acknowledged = shared.acknowledged.lock().expect("no panic");
        lost += acknowledged
            .iter()
            .filter(|key| !applied.contains_key(key))
            .count();
        histories.insert(history);
    }
    assert_eq!(
        histories.len(),
        1,
        "all nodes applied the same entries at the same positions"
    );
    (entries, twice, lost)
}
