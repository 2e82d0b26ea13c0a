//! Each mistake is refused at start, by the name of its key and with its remedy.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use primacy_core::record::Registration;
use primacy_proto::tls::{Authority, Lifetime};

use super::{AgentConfig, ConfigError, NodeConfig};

const NODE: &str = r#"
plane = "prod"
id = 1
region = "frankfurt"
listen = "127.0.0.1:7400"
dir = "/var/lib/primacy"
[probe]
user = "primacy_control"
password = "secret"
[[members]]
id = 1
region = "frankfurt"
address = "10.0.0.1:7400"
[[members]]
id = 2
region = "london"
address = "10.0.1.1:7400"
[[members]]
id = 3
region = "madrid"
address = "10.0.2.1:7400"
"#;

const AGENT: &str = r#"
cluster = "shop"
instance = "db-1"
nodes = ["10.0.0.1:7400", "10.0.1.1:7400"]
dir = "/var/lib/primacy-agent"
http = "127.0.0.1:8008"
plaintext = true
[mysql]
user = "primacy_agent"
password = "secret"
replication_user = "repl"
replication_password = "secret"
[server]
dir = "/var/lib/mysql-1"
bind = "127.0.0.1"
port = 3306
admin_port = 33062
server_id = 1
"#;

fn refused<T>(
    load: fn(&Path) -> Result<T, ConfigError>,
    good: &str,
    from: &str,
    to: &str,
    words: &[&str],
) {
    assert!(good.contains(from), "{from:?} is in the example");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, good).expect("a file");
    load(&path).map(|_| ()).expect("the example is good");
    std::fs::write(&path, good.replacen(from, to, 1)).expect("a file");
    let error = load(&path).map(|_| ()).expect_err(to).to_string();
    for word in words.iter().chain(&["config.toml"]) {
        assert!(error.contains(word), "{to:?}: {word:?} in {error}");
    }
}

#[test]
fn a_node_refuses_what_it_does_not_know_and_what_contradicts() {
    let refused = |from: &str, to: &str, words: &[&str]| {
        refused(NodeConfig::load, NODE, from, to, words);
    };
    refused(
        "region = \"f",
        "regoin = \"x\"\nregion = \"f",
        &["regoin", "region"],
    );
    refused("[probe]", "[probe]\nssl = true", &["ssl", "tls"]);
    refused("id = 1", "id = \"one\"", &["id", "u64"]);
    refused("plane = \"prod\"\n", "", &["plane"]);
    refused("id = 1", "id = 7", &["id = \"7\"", "not among the members"]);
    refused(
        "region = \"frankfurt\"",
        "region = \"paris\"",
        &["region", "the members say"],
    );
    refused(
        "id = 2",
        "id = 1",
        &["members.id = \"1\"", "each node has its own id"],
    );
    refused(
        "10.0.1.1:7400",
        "10.0.0.1:7400",
        &["members.address", "each node has its own address"],
    );
    refused(
        "10.0.1.1:7400",
        "10.0.1.1/7400",
        &["members.address", "use host:port"],
    );
    let two = NODE.find("[[members]]\nid = 3").expect("a third");
    refused(&NODE[two..], "", &["members = \"2\"", "odd number"]);
    let times = |times: &str, word: &str| {
        let with = format!("[raft]\n{times}\n[probe]");
        refused("[probe]", &with, &["raft.heartbeat_ms", word]);
    };
    times("heartbeat_ms = 1", "below 5");
    times("election_min_ms = 900", "not above election_min_ms (900)");
    times(
        "heartbeat_ms = 300",
        "one late heartbeat would start an election",
    );
    times(
        "election_min_ms = 700",
        "too little is left to hold the election",
    );
}

#[test]
fn an_agent_refuses_what_it_does_not_know_and_what_contradicts() {
    let refused = |from: &str, to: &str, words: &[&str]| {
        refused(AgentConfig::load, AGENT, from, to, words);
    };
    refused("http =", "htpp = 1\nhttp =", &["htpp", "http"]);
    refused("[server]", "[server]\nsocket = \"/s\"", &["socket", "dir"]);
    refused("port = 3306", "port = 70000", &["port", "u16"]);
    refused("instance = \"db-1\"\n", "", &["instance"]);
    refused(
        "nodes = [\"10.0.0.1:7400\", \"10.0.1.1:7400\"]",
        "nodes = []",
        &["nodes", "name the control nodes"],
    );
    refused(
        "10.0.1.1:7400",
        "10.0.0.1:7400",
        &["nodes = \"10.0.0.1:7400\"", "named twice"],
    );
    refused(
        "10.0.1.1:7400",
        "10.0.1.1 7400",
        &["nodes", "use host:port"],
    );
    refused(
        "33062",
        "3306",
        &[
            "server.admin_port = \"3306\"",
            "must differ from server.port",
        ],
    );
    refused(
        "server_id = 1",
        "server_id = 0",
        &["server.server_id", "refuses replicas"],
    );
}

/// Certificates of a plane `prod`, under `tls/`.
fn certificates(dir: &Path) {
    let dir = dir.join("tls");
    let authority = Authority::create(&dir).expect("an authority");
    for who in ["node/1", "node/2", "agent/shop/db-1", "operator/ann"] {
        let identity = format!("primacy://prod/{who}").parse().expect(who);
        let issued = authority.issue_into(&dir, &identity, Lifetime::days(30));
        issued.expect(who);
    }
}

/// A `[tls]` that names these files of it.
fn section(dir: &Path, ca: &str, cert: &str, key: &str) -> String {
    let line = |field: &str, name: &str| {
        let path = dir.join("tls").join(name);
        match name {
            "" => String::new(),
            _ => format!("{field} = {:?}\n", path.display().to_string()),
        }
    };
    let lines = [line("ca", ca), line("cert", cert), line("key", key)];
    format!("[tls]\n{}", lines.concat())
}

/// Loads an example with something in the place of a line of it; the error, if it is refused.
fn loaded<T>(
    load: fn(&Path) -> Result<T, ConfigError>,
    good: &str,
    from: &str,
    to: &str,
) -> Result<(), String> {
    assert!(good.contains(from), "{from:?} is in the example");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, good.replacen(from, to, 1)).expect("a file");
    load(&path).map(drop).map_err(|error| error.to_string())
}

fn says(error: Result<(), String>, words: &[&str]) {
    let error = error.expect_err(words[0]);
    for word in words.iter().chain(&["config.toml: "]) {
        assert!(error.contains(word), "{word:?} in {error}");
    }
}

#[test]
fn a_node_says_how_its_certificate_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    certificates(dir.path());
    let with = |ca: &str, cert: &str, key: &str| {
        let tls = format!("{}[probe]", section(dir.path(), ca, cert, key));
        loaded(NodeConfig::load, NODE, "[probe]", &tls)
    };
    with("ca.pem", "node-1.pem", "node-1-key.pem").expect("its own");
    let named = ["another of the three is", "name the PEM file"];
    says(
        with("", "node-1.pem", "node-1-key.pem"),
        &["tls.ca = \"\"", named[0], named[1]],
    );
    says(
        with("ca.pem", "", "node-1-key.pem"),
        &["tls.cert = \"\"", named[0], named[1]],
    );
    says(
        with("ca.pem", "node-1.pem", ""),
        &["tls.key = \"\"", named[0], named[1]],
    );
    says(with("", "", ""), &["tls.ca", "[tls] is empty"]);
    says(
        with("ca.pem", "none.pem", "node-1-key.pem"),
        &["tls.cert", "none.pem", "No such file"],
    );
    says(
        with("ca.pem", "node-1.pem", "node-2-key.pem"),
        &["tls.key", "node-2-key.pem", "is not the key of"],
    );
    says(
        with("ca.pem", "node-2.pem", "node-2-key.pem"),
        &[
            "tls.cert",
            "speaks for primacy://prod/node/2",
            "primacy://prod/node/1",
        ],
    );
    says(
        with("ca.pem", "operator-ann.pem", "operator-ann-key.pem"),
        &["tls.cert", "speaks for primacy://prod/operator/ann"],
    );
    let all = section(dir.path(), "ca.pem", "node-1.pem", "node-1-key.pem");
    let unknown = format!("{all}crl = 1\n[probe]");
    says(
        loaded(NodeConfig::load, NODE, "[probe]", &unknown),
        &["crl"],
    );
    let both = format!("plaintext = true\n{all}[probe]");
    says(
        loaded(NodeConfig::load, NODE, "[probe]", &both),
        &["plaintext = true", "remove one"],
    );
}

#[test]
fn an_agent_says_how_its_certificate_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    certificates(dir.path());
    let with = |stem: &str| {
        let (cert, key) = (format!("{stem}.pem"), format!("{stem}-key.pem"));
        let tls = section(dir.path(), "ca.pem", &cert, &key);
        loaded(AgentConfig::load, AGENT, "plaintext = true\n", &tls)
    };
    with("agent-shop-db-1").expect("its own");
    says(
        with("node-1"),
        &[
            "tls.cert",
            "speaks for primacy://prod/node/1",
            "primacy://prod/agent/shop/db-1",
        ],
    );
}

#[test]
fn other_machines_are_spoken_to_in_the_clear_only_where_that_is_written() {
    let listen = |to: &str| loaded(NodeConfig::load, NODE, "\"127.0.0.1:7400\"", to);
    listen("\"[::1]:7400\"").expect("this machine");
    for address in ["\"0.0.0.0:7400\"", "\"10.0.0.1:7400\"", "\"[::]:7400\""] {
        let words = ["listen = ", address, "[tls]", "plaintext = true"];
        says(listen(address), &words);
        listen(&format!("{address}\nplaintext = true")).expect("it is written");
    }
    let nodes = |to: &str| loaded(AgentConfig::load, AGENT, "plaintext = true", to);
    says(
        nodes(""),
        &["nodes = \"10.0.0.1:7400\"", "[tls]", "plaintext = true"],
    );
    let local = AGENT
        .replace("10.0.0.1", "localhost")
        .replace("10.0.1.1", "[::1]");
    loaded(AgentConfig::load, &local, "plaintext = true", "").expect("this machine");
}

/// What the README shows must load, with its certificates.
#[test]
fn the_examples_of_the_readme_load() {
    let readme = include_str!("../../../README.md");
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    for who in ["node/1", "agent/orders/orders-1"] {
        let identity = format!("primacy://trading/{who}").parse().unwrap();
        let lifetime = Lifetime::days(1);
        authority
            .issue_into(dir.path(), &identity, lifetime)
            .unwrap();
    }
    let here = dir.path().display().to_string();
    let example = |language: &str, nth: usize| {
        let mark = format!("```{language}\n");
        let block = readme.split(&mark).nth(nth).expect("an example");
        let block = block.split("```").next().unwrap();
        block.replace("/etc/primacy", &here)
    };
    let path = dir.path().join("example.toml");
    std::fs::write(&path, example("toml", 1)).unwrap();
    assert_eq!(NodeConfig::load(&path).unwrap().round_trip_ms, 20);
    std::fs::write(&path, example("toml", 2)).unwrap();
    assert_eq!(AgentConfig::load(&path).unwrap().server.server_id, 101);

    let registration: Registration = serde_json::from_str(&example("json", 1)).unwrap();
    let state = primacy_core::record::State::default();
    primacy_core::decide::check_registration(&state, &registration).unwrap();
}

#[test]
fn a_password_is_here_or_in_a_file_and_can_be_used() {
    let own = "password = \"secret\"\nreplication";
    let refused = |to: &str, words: &[&str]| refused(AgentConfig::load, AGENT, own, to, words);
    refused("replication", &["mysql.password", "mysql.password_file"]);
    refused(
        "password = \"secret\"\npassword_file = \"own\"\nreplication",
        &["mysql.password", "not both", "(not shown)"],
    );
    refused(
        "password_file = \"nowhere\"\nreplication",
        &["mysql.password_file", "nowhere", "cannot be read"],
    );
    refused(
        "password = \"a\\tb\"\nreplication",
        &["mysql.password", "control characters"],
    );
    let long = format!("replication_password = \"{}\"", "x".repeat(33));
    super::tests::refused(
        AgentConfig::load,
        AGENT,
        "replication_password = \"secret\"",
        &long,
        &["mysql.replication_password", "32 characters"],
    );

    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("agent.toml");
    let text = AGENT.replacen(own, "password_file = \"own\"\nreplication", 1);
    std::fs::write(&path, text).expect("a file");
    for odd in ["it's", "back\\slash", "\"quoted\" and spaced", "süß"] {
        std::fs::write(dir.path().join("own"), format!("{odd}\n")).expect("a file");
        let config = AgentConfig::load(&path).expect("it can be used");
        assert_eq!(config.mysql.password, odd);
        assert_eq!(config.password_files(), [dir.path().join("own")]);
    }
}

static REFUSED: AtomicUsize = AtomicUsize::new(0);

fn load_and_count(path: &Path) -> Result<AgentConfig, ConfigError> {
    AgentConfig::load(path).inspect_err(|_| {
        REFUSED.fetch_add(1, Ordering::Relaxed);
    })
}

/// Each change comes where a look could miss it: between the caller's own reading and the first one,
/// and while what was read is taken over.
#[tokio::test]
async fn changed_files_are_taken_over_and_bad_ones_are_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, own) = (dir.path().join("agent.toml"), dir.path().join("own"));
    let beside = |file: &str| {
        let beside = format!("password_file = \"{file}\"\nreplication");
        AGENT.replacen("password = \"secret\"\nreplication", &beside, 1)
    };
    std::fs::write(&path, beside("own")).expect("a file");
    std::fs::write(&own, "first").expect("a file");
    let first = AgentConfig::load(&path).expect("good");
    assert_eq!(first.mysql.password, "first");
    std::fs::write(&own, "second").expect("a file");
    let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let (at, other) = (path.clone(), dir.path().join("other"));
    let changes = move |config: &AgentConfig| {
        let password = config.mysql.password.clone();
        match password.as_str() {
            "second" => {
                std::fs::write(&other, "third").expect("a file");
                std::fs::write(&at, beside("other")).expect("a file");
            }
            "third" => std::fs::write(&other, "fourth").expect("a file"),
            _ => {}
        }
        let _ = sender.send(password);
    };
    let files = AgentConfig::password_files;
    tokio::spawn(super::reload::follow(
        path.clone(),
        load_and_count,
        files,
        changes,
    ));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    for wanted in ["second", "third", "fourth"] {
        loop {
            let next = tokio::time::timeout_at(deadline, taken.recv()).await;
            if next.expect("in time").expect("it goes on") == wanted {
                break;
            }
        }
    }
    std::fs::write(&path, "nonsense = ").expect("a file");
    while REFUSED.load(Ordering::Relaxed) == 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it is not looked at"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It may have been taken once more before that: whoever is watched anew is read anew.
    while let Ok(again) = taken.try_recv() {
        assert_eq!(again, "fourth");
    }
    std::fs::write(&path, AGENT.replacen("secret", "fifth", 1)).expect("a file");
    let next = tokio::time::timeout_at(deadline, taken.recv()).await;
    assert_eq!(next.expect("in time"), Some("fifth".into()));
}
