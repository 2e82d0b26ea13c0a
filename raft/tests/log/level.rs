//! A node that knows only lower feature levels than the log's stops before it applies anything
//! under the new one: as a follower, after a restart, and when it is sent a snapshot.

use crate::common::{DEADLINE, Plane, proposal};
use primacy_core::ids::{LogIndex, NodeId, PlaneId};
use primacy_core::record::{Command, Proposal};
use primacy_raft::StartError;

const OLD: u32 = 1;
const NEW: u32 = 2;

/// What such a node says, with the remedy.
const WHY: &str = "the log goes on under feature level 2, and this version knows levels up to 1: \
                   upgrade this node; it has applied nothing under the new level";

fn propose(plane: &Plane, seq: u64, commands: Vec<Command>) -> LogIndex {
    let node = &plane.nodes[&plane.leader()];
    let proposal = Proposal {
        commands,
        ..proposal(9, seq)
    };
    let committed = node.run(node.handle.propose(proposal, DEADLINE)).unwrap();
    for result in &committed.get().results {
        assert!(result.is_ok(), "{result:?}");
    }
    committed.at().index
}

/// Founded under the old level; every voter has said that it knows the new one, which is true of
/// all but one: that was not upgraded, or is put back after this.
fn founded(snapshot_every: u64) -> Plane {
    let plane = Plane::knowing(3, snapshot_every, NEW);
    let mut commands = vec![Command::FoundPlane {
        plane: PlaneId::from("plane"),
        level: OLD,
    }];
    commands.extend([1, 2, 3].map(|node| Command::Announce {
        node: NodeId(node),
        knows: NEW,
    }));
    propose(&plane, 1, commands);
    plane
}

fn raise(plane: &Plane, seq: u64) -> LogIndex {
    propose(plane, seq, vec![Command::RaiseLevel { to: NEW }])
}

/// It stops by itself, says why, and has shown nothing from the entry on that raised the level.
fn stops(plane: &Plane, id: NodeId, raised: LogIndex) {
    let node = &plane.nodes[&id];
    node.until("it stops", |handle| handle.fatal().borrow().is_some());
    let why = node.handle.fatal().borrow().clone().expect("stopped");
    assert_eq!(why.to_string(), WHY);
    for state in [node.handle.local(), node.handle.watch().borrow().clone()] {
        assert!(state.at().index < raised && state.get().level == OLD);
    }
}

#[test]
fn a_follower_stops_before_the_entry_and_goes_on_once_upgraded() {
    let mut plane = founded(1_000);
    let old = plane.follower();
    plane.crash(old);
    plane.knows = OLD;
    plane.start(old).unwrap();
    plane.agree();
    let raised = raise(&plane, 2);
    propose(&plane, 3, Vec::new());
    stops(&plane, old, raised);
    // Its log holds the entry now: a restart ends there as well, at once where it knows that the
    // entry is committed.
    plane.crash(old);
    match plane.start(old) {
        Ok(()) => {
            stops(&plane, old, raised);
            plane.crash(old);
        }
        Err(why) => assert_eq!(why.to_string(), WHY),
    }
    // Upgraded it has lost nothing.
    plane.knows = NEW;
    plane.start(old).unwrap();
    propose(&plane, 4, Vec::new());
    plane.agree();
    assert_eq!(plane.nodes[&old].handle.local().get().level, NEW);
}

#[test]
fn one_far_behind_takes_no_snapshot_of_a_level_that_it_does_not_know() {
    let mut plane = founded(20);
    let old = plane.follower();
    plane.crash(old);
    let raised = raise(&plane, 2);
    for seq in 3..=120 {
        propose(&plane, seq, Vec::new());
    }
    let leader = &plane.nodes[&plane.leader()];
    leader.until("purged", |handle| handle.status().purged > Some(raised));
    plane.knows = OLD;
    plane.start(old).unwrap();
    stops(&plane, old, raised);
    // Nor has it kept it.
    plane.crash(old);
    plane.start(old).unwrap();
    stops(&plane, old, raised);
    assert_eq!(plane.nodes[&old].handle.status().snapshot, None);
}

#[test]
fn a_node_with_a_snapshot_of_an_unknown_level_does_not_start() {
    let mut plane = founded(20);
    raise(&plane, 2);
    for seq in 3..=60 {
        propose(&plane, seq, Vec::new());
    }
    let follower = plane.follower();
    let node = &plane.nodes[&follower];
    node.until("a snapshot", |handle| {
        handle.status().snapshot > Some(LogIndex(20))
    });
    plane.crash(follower);
    plane.knows = OLD;
    match plane.start(follower) {
        Err(StartError::Snapshot(why)) => assert_eq!(why.to_string(), WHY),
        Err(other) => panic!("{other}"),
        Ok(()) => panic!("it started"),
    }
}
