//! How large does the folder of a node get whose plane has one cluster in trouble without end? Votes
//! through the real log, and what lies on the disk after each half.
//!
//! `cargo run --release --workspace --example folder -- [entries] [history MB]`, here or after
//! `cargo build`: `target/release/examples/folder 200000`

#[path = "../tests/log/common/wait.rs"]
#[allow(dead_code, reason = "a part of it is enough here")]
mod wait;

use std::fs;
use std::path::Path;
use std::time::Instant;

use futures::stream::{self, StreamExt};
use primacy_core::ids::{NodeId, Seq};
use primacy_core::record::{Command, Member, Proposal};
use primacy_raft::{Config, Handle};
use wait::{DEADLINE, proposal};

/// One vote of a node that sees a dead primary and three replicas, as the log carries it.
const VOTE: &str = r#"{"vote":{"cluster":"orders","inquest":17,"node":2,"incarnation":1764357000000,
    "seq":4711,"sight":{"kind":"silent","for_ms":86400000},"lease_left_ms":0,"last_known":
    "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-4711000","reached":{},"word":null}}"#;
/// Proposals on their way at once.
const AT_ONCE: usize = 64;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let entries: u64 = args
        .first()
        .map_or(200_000, |arg| arg.parse().expect("a number"));
    let dir = tempfile::tempdir_in(std::env::current_dir().expect("a working directory"))
        .expect("a directory on a real disk");
    let one = Member {
        address: "127.0.0.1:1".to_owned(),
        region: "here".to_owned(),
    };
    let mut config = Config::new(NodeId(1), dir.path(), [(NodeId(1), one)].into());
    if let Some(megabytes) = args.get(1) {
        config.history.max_mb = megabytes.parse().expect("a number of megabytes");
    }
    println!("history.max_mb = {}", config.history.max_mb);
    let handle = Handle::start(config).await.expect("the node starts");
    handle.enter().await.expect("it is alone");
    let vote = vote();
    let mut sizes = Vec::new();
    for half in 0..2 {
        let begun = Instant::now();
        let first = half * entries + 1;
        put(&handle, &vote, first..first + entries).await;
        let took = begun.elapsed();
        let gone = handle.history_gone().await.expect("the history");
        let size = megabytes(dir.path());
        println!(
            "after {:>9} entries ({:.0} s): folder {size:.1} MB (wal {:.1}, snapshots {:.1}, \
             history {:.1}); {} entries of the history went",
            first - 1 + entries,
            took.as_secs_f64(),
            megabytes(&dir.path().join("wal")),
            megabytes(&dir.path().join("snapshots")),
            megabytes(&dir.path().join("history")),
            gone.entries
        );
        sizes.push(size);
    }
    println!("grown by {:.1} %", (sizes[1] / sizes[0] - 1.0) * 100.0);
    handle.shutdown().await;
}

/// Of the same size, if the form of a vote has changed since.
fn vote() -> Command {
    serde_json::from_str(VOTE).unwrap_or_else(|error| {
        println!("votes look different now ({error}): as many bytes go in their place");
        Command::FoundPlane {
            plane: VOTE.into(),
            level: 1,
        }
    })
}

async fn put(handle: &Handle, vote: &Command, seqs: std::ops::Range<u64>) {
    let proposals = stream::iter(seqs).map(|seq| {
        let proposal = Proposal {
            // Each under a proposer of its own: they overtake each other on their way.
            proposer: NodeId(2 + seq % AT_ONCE as u64),
            seq: Seq(seq),
            commands: vec![vote.clone()],
            ..proposal(2, seq)
        };
        handle.propose(proposal, DEADLINE)
    });
    let mut done = proposals.buffer_unordered(AT_ONCE);
    while let Some(outcome) = done.next().await {
        outcome.expect("committed");
    }
}

fn megabytes(dir: &Path) -> f64 {
    let sizes = fs::read_dir(dir).expect("its folder").map(|entry| {
        let entry = entry.expect("readable");
        match entry.file_type().expect("a kind").is_dir() {
            true => megabytes(&entry.path()),
            false => entry.metadata().expect("a size").len() as f64 / f64::from(1 << 20),
        }
    });
    sizes.sum()
}
