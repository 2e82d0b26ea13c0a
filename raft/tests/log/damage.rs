//! Directories that are not as they were left.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, Plane};
use primacy_core::ids::{LogIndex, NodeId};
use primacy_raft::{Config, Handle};

const ONE: NodeId = NodeId(1);

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

/// The start's error, as a person reads it.
fn refused(plane: &mut Plane, id: NodeId) -> String {
    plane
        .start(id)
        .expect_err("a damaged directory started")
        .to_string()
}

#[test]
fn a_torn_end_is_cut_and_a_flipped_byte_refuses() {
    let mut plane = Plane::new(1, 1000);
    for seq in 1..=10 {
        plane.nodes[&ONE].propose(9, seq);
    }
    plane.nodes[&ONE].run(plane.nodes[&ONE].handle.halt());
    plane.crash(ONE);
    let segment = &files(&plane.dir(ONE).join("wal"), "wal")[0];
    let sound = fs::read(segment).unwrap();
    let end = sound.iter().rposition(|byte| *byte != 0).unwrap();

    // A write that a crash tore: garbage where the next record would be.
    let mut torn = sound.clone();
    torn[end + 64..end + 96].fill(0xa5);
    fs::write(segment, &torn).unwrap();
    plane.start(ONE).unwrap();
    plane.nodes[&ONE].propose(9, 11);
    let node = &plane.nodes[&ONE];
    assert_eq!(
        node.run(node.handle.history(LogIndex(0), 100))
            .unwrap()
            .len(),
        11
    );
    node.run(node.handle.halt());
    plane.crash(ONE);

    let mut flipped = fs::read(segment).unwrap();
    flipped[end / 2] ^= 1;
    fs::write(segment, &flipped).unwrap();
    let error = refused(&mut plane, ONE);
    assert!(error.contains("0001.wal at byte"), "{error}");
    assert!(error.contains("let it rejoin under a new id"), "{error}");
}

#[test]
fn another_nodes_directory_is_refused() {
    let plane = Plane::new(1, 1000);
    let node = &plane.nodes[&ONE];
    node.run(node.handle.halt());
    let config = Config::new(NodeId(2), plane.dir(ONE), plane.members.clone());
    let Err(error) = node.run(Handle::start(config)) else {
        panic!("it started")
    };
    assert!(
        error
            .to_string()
            .contains("belongs to node 1, but this is node 2"),
        "{error}"
    );
}

#[test]
fn a_history_that_does_not_open_is_filled_again_from_the_log() {
    let mut plane = Plane::new(1, 20);
    for seq in 1..=50 {
        plane.nodes[&ONE].propose(9, seq);
    }
    let node = &plane.nodes[&ONE];
    node.until("purged", |handle| handle.status().purged.is_some());
    let whole = node.run(node.handle.history(LogIndex(0), 100)).unwrap();
    assert_eq!(whole.len(), 50, "the history is longer than the log");
    node.run(node.handle.halt());
    plane.crash(ONE);

    let history = fs::read_dir(plane.dir(ONE).join("history")).unwrap();
    let mut volumes = history.map(|entry| entry.unwrap().path());
    let volume = volumes.find(|path| path.is_dir()).unwrap();
    fs::write(volume.join("conf"), b"not what sled wrote").unwrap();
    plane.start(ONE).unwrap();
    let node = &plane.nodes[&ONE];
    node.propose(9, 51);
    let purged = node.handle.status().purged.unwrap();
    let refilled = node.run(node.handle.history(LogIndex(0), 100)).unwrap();
    assert_eq!(refilled.first().unwrap().at.index, purged.next());
    assert_eq!(refilled.last().unwrap().proposal.seq.0, 51);
    let kept = &whole[whole.len() + 1 - refilled.len()..];
    for (old, new) in kept.iter().zip(&refilled) {
        assert_eq!((old.at, &old.proposal), (new.at, &new.proposal));
    }
    let aside = fs::read_dir(plane.dir(ONE))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert_eq!(
        aside
            .filter(|name| name.to_string_lossy().contains("damaged"))
            .count(),
        1
    );
}

#[test]
fn a_disk_that_fails_stops_the_node_and_says_so() {
    let mut plane = Plane::new(1, 1000);
    // The snapshots' directory is gone: the next snapshot cannot be written.
    plane.crash(ONE);
    let mut config = Config::new(ONE, plane.dir(ONE), plane.members.clone());
    config.snapshot_every = 10;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let handle = loop {
            match Handle::start(config.clone()).await {
                Ok(handle) => break handle,
                Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
            }
        };
        handle.enter().await.unwrap();
        fs::remove_dir_all(plane.dir(ONE).join("snapshots")).unwrap();
        let mut fatal = handle.fatal();
        let mut seq = 0;
        while fatal.borrow_and_update().is_none() {
            seq += 1;
            let proposal = common::proposal(9, seq);
            if let Err(error) = handle.propose(proposal, common::DEADLINE).await {
                assert!(seq > 5, "{error}");
            }
        }
        let error = fatal.borrow().clone().unwrap().to_string();
        assert!(
            error.contains("cannot create") && error.contains("snapshot"),
            "{error}"
        );
        let next = handle
            .propose(common::proposal(9, seq + 1), common::DEADLINE)
            .await;
        assert!(!next.unwrap_err().retryable());
    });
}
