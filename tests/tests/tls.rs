//! Three control nodes that speak TLS, as processes, without a MySQL server: who is let in, and
//! what becomes of files that are replaced.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use primacy::api::StatusDocument;
use primacy::config::{
    DiskConfig, HistoryConfig, MemberConfig, NodeConfig, ProbeAccount, RaftTimes,
};
use primacy::demo::free_ports;
use primacy_core::ids::{NodeId, PlaneId};
use primacy_proto::tls::{Authority, Files, Lifetime};
use tempfile::TempDir;

/// Generous: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
const NODES: u64 = 3;

/// The program under test, which cargo puts one folder above this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.parent().and_then(Path::parent);
    folder
        .expect("target/<profile>/deps/<test>")
        .join("primacy")
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

struct Plane {
    dir: TempDir,
    authority: Authority,
    addresses: Vec<String>,
    processes: Vec<Child>,
}

impl Plane {
    /// Three nodes that have a leader.
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let ports = free_ports(NODES as usize).expect("free ports");
        let addresses = ports.iter().map(|port| format!("127.0.0.1:{port}"));
        let addresses = addresses.collect();
        let mut plane = Self {
            authority: Authority::create(&dir.path().join("tls")).expect("an authority"),
            dir,
            addresses,
            processes: Vec::new(),
        };
        for id in 1..=NODES {
            plane.start_node("prod", id);
        }
        plane
    }

    fn issue(&self, uri: &str) -> Files {
        issue(&self.authority, &self.dir.path().join("tls"), uri)
    }

    fn log(&self, id: u64) -> String {
        let path = self.dir.path().join(format!("node-{id}.log"));
        fs::read_to_string(path).unwrap_or_default()
    }

    fn start_node(&mut self, plane: &str, id: u64) {
        let files = issue(
            &self.authority,
            &self.dir.path().join(format!("tls-{plane}-{id}")),
            &format!("primacy://{plane}/node/{id}"),
        );
        let region = |id: u64| format!("region-{id}");
        let members = (1..=NODES).map(|id| MemberConfig {
            id: NodeId(id),
            region: region(id),
            address: self.addresses[id as usize - 1].clone(),
        });
        let config = NodeConfig {
            plane: PlaneId::from(plane),
            id: NodeId(id),
            region: region(id),
            listen: self.addresses[id as usize - 1].parse().expect("an address"),
            dir: self.dir.path().join(format!("{plane}-{id}")),
            members: members.collect(),
            source: None,
            probe: ProbeAccount {
                user: "nobody".into(),
                password: String::new(),
                password_file: None,
                tls: true,
            },
            raft: RaftTimes::default(),
            round_trip_ms: 0,
            snapshot_every: 5_000,
            disk: DiskConfig::none(),
            history: HistoryConfig::default(),
            tls: Some(files.into()),
            plaintext: false,
        };
        let path = self.dir.path().join(format!("{plane}-{id}.toml"));
        let config = serde_json::to_value(&config).expect("plain data");
        fs::write(&path, toml::to_string(&config).expect("TOML")).expect("a file");
        let log = self.dir.path().join(format!("node-{id}.log"));
        let log = File::options().create(true).append(true).open(log);
        let child = Command::new(program())
            .args(["node", "--config"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("primacy starts");
        self.processes.push(child);
    }

    /// A verb with these certificates, put to these nodes.
    fn run(&self, nodes: &[u64], tls: Option<&Files>, arguments: &[&str]) -> Ran {
        let endpoints: Vec<_> = nodes
            .iter()
            .map(|id| self.addresses[*id as usize - 1].as_str())
            .collect();
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env("PRIMACY_ENDPOINTS", endpoints.join(","));
        for name in ["PRIMACY_TLS_CA", "PRIMACY_TLS_CERT", "PRIMACY_TLS_KEY"] {
            command.env_remove(name);
        }
        if let Some(Files { ca, cert, key }) = tls {
            let flags = [("--tls-ca", ca), ("--tls-cert", cert), ("--tls-key", key)];
            for (flag, path) in flags {
                command.arg(flag).arg(path);
            }
        }
        let output = command.output().expect("primacy starts");
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn status(&self, nodes: &[u64], tls: &Files) -> Option<StatusDocument> {
        let ran = self.run(nodes, Some(tls), &["status", "-o", "json"]);
        (ran.code == 0).then(|| serde_json::from_str(&ran.out).expect("a document"))
    }

    /// Looks until there is something to return.
    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let logs = || (1..=NODES).map(|id| self.log(id)).collect::<String>();
            assert!(begun.elapsed() < LIMIT, "in vain for {what}: {}", logs());
        }
    }

    /// Every node hears the majority, and sees that the others do.
    fn whole(&self, operator: &Files) {
        self.until("three nodes with a leader", || {
            let seen = self.status(&[1], operator)?;
            let all = seen.sights.len() == NODES as usize && seen.leader.is_some();
            let heard = |sight: &primacy::api::NodeSight| sight.hears_majority == Some(true);
            (all && seen.sights.values().all(heard)).then_some(())
        });
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn issue(authority: &Authority, dir: &Path, uri: &str) -> Files {
    let identity = uri.parse().expect(uri);
    let issued = authority.issue_into(dir, &identity, Lifetime::days(30));
    issued.expect(uri)
}

const ABORT: [&str; 6] = ["abort", "orders", "--epoch", "1", "--why", "a test"];

#[test]
fn who_is_let_in() {
    let plane = Plane::start();
    let operator = plane.issue("primacy://prod/operator/ann");
    plane.whole(&operator);
    let agent = plane.issue("primacy://prod/agent/orders/orders-1");
    let client = plane.issue("primacy://prod/client/app");

    // Everybody of the plane may read; only operators may order.
    for reader in [&agent, &client] {
        let ran = plane.run(&[1, 2, 3], Some(reader), &["status"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let ran = plane.run(&[1, 2, 3], Some(reader), &ABORT);
        assert_eq!(ran.code, 4, "{}", ran.err);
        let asked = "may not call primacy.v1.OperatorService/AbortFailover";
        for word in [asked, "accepted is primacy://prod/operator/NAME"] {
            assert!(ran.err.contains(word), "{}", ran.err);
        }
    }
    let ran = plane.run(&[1, 2, 3], Some(&operator), &ABORT);
    assert!(!ran.err.contains("may not call"), "{}", ran.err);
    assert!(
        ran.err.contains("orders"),
        "only that there is none: {}",
        ran.err
    );

    // Another authority: the command line does not believe the nodes, nor they it.
    let dir = plane.dir.path().join("strangers");
    let theirs = Authority::create(&dir).expect("an authority");
    let stranger = issue(&theirs, &dir, "primacy://prod/operator/eve");
    let ran = plane.run(&[1, 2, 3], Some(&stranger), &["status"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("no authority in tls.ca"), "{}", ran.err);
    let both = plane.authority.cert.clone() + &theirs.cert;
    fs::write(&stranger.ca, both).expect("a file");
    let ran = plane.run(&[1, 2, 3], Some(&stranger), &["status"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    let said = "the node does not accept this side's certificate";
    assert!(ran.err.contains(said), "{}", ran.err);
    plane.until("the node's own word of it", || {
        let logs: String = (1..=NODES).map(|id| plane.log(id)).collect();
        logs.contains("a connection from 127.0.0.1 is refused")
            .then_some(())
    });

    // Without a certificate nobody gets an answer, and is told what is missing.
    let ran = plane.run(&[1], None, &["status", "--timeout", "1"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("give --tls-ca"), "{}", ran.err);
}

#[test]
fn a_node_of_another_plane_takes_no_part() {
    let mut plane = Plane::start();
    let operator = plane.issue("primacy://prod/operator/ann");
    plane.whole(&operator);
    let mut third = plane.processes.pop().expect("it was started");
    third.kill().expect("it runs");
    third.wait().expect("it ends");
    // The same authority, number and address; what it believes is another plane.
    plane.start_node("test", 3);
    let why = plane.until("the others to see who is there", || {
        let seen = plane.status(&[1], &operator)?;
        let why = seen.sights.get(&NodeId(3))?.unanswered.clone()?;
        why.contains("primacy://test/node/3").then_some(why)
    });
    assert!(why.contains("accepted is primacy://prod/node/"), "{why}");
    plane.until("two to be a majority without it", || {
        let seen = plane.status(&[1, 2], &operator)?;
        seen.hears_majority.then_some(())
    });
}

#[test]
fn files_that_are_replaced_serve_new_connections() {
    let plane = Plane::start();
    let operator = plane.issue("primacy://prod/operator/ann");
    plane.whole(&operator);
    let dir = plane.dir.path().join("new");
    let new = Authority::create(&dir).expect("an authority");
    let after = issue(&new, &dir, "primacy://prod/operator/ann");
    let refused = plane.run(&[1], Some(&after), &["status"]);
    assert_eq!(refused.code, 4, "{}", refused.err);

    // Broken first: what was read stays in use, and a warning says so.
    let home = plane.dir.path().join("tls-prod-1");
    let cert = home.join("node-1.pem");
    fs::write(&cert, "broken").expect("a file");
    plane.until("a warning that names the file", || {
        let log = plane.log(1);
        let says = log.contains(&format!("tls.cert = {:?}", cert.display().to_string()));
        (says && log.contains("stays in use")).then_some(())
    });
    plane.status(&[1], &operator).expect("as before");

    // One that ends soon is taken, and shown wherever one looks.
    let second = "primacy://prod/node/2".parse().expect("a node");
    let home_of_2 = plane.dir.path().join("tls-prod-2");
    let soon = plane
        .authority
        .issue_into(&home_of_2, &second, Lifetime::days(3));
    soon.expect("a certificate");
    plane.until("its end to be shown", || {
        let ran = plane.run(&[3], Some(&operator), &["status"]);
        ran.out.contains("its certificate ends on").then_some(())
    });
    plane.until("its end to be warned of", || {
        plane
            .log(2)
            .contains("put a new one there in time")
            .then_some(())
    });

    fs::remove_file(home.join("ca.pem")).expect("a file");
    issue(&new, &home, "primacy://prod/node/1");
    plane.until("the new authority's to be let in", || {
        plane.status(&[1], &after).map(drop)
    });
    let ran = plane.run(&[1], Some(&operator), &["status"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    // It is still one plane: what was connected before is.
    let seen = plane.status(&[2], &operator).expect("another node");
    assert!(seen.hears_majority);
}
