//! Each mistake is refused at start, by the name of its key and with its remedy.

use std::path::Path;

use primacy_core::record::Registration;

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

/// What the README shows must load.
#[test]
fn the_examples_of_the_readme_load() {
    let readme = include_str!("../../../README.md");
    let dir = tempfile::tempdir().unwrap();
    let example = |language: &str, nth: usize| {
        let mark = format!("```{language}\n");
        let block = readme.split(&mark).nth(nth).expect("an example");
        block.split("```").next().unwrap().to_owned()
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
