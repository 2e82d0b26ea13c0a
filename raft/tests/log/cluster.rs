//! Three nodes: commit, leaders that go, followers that come back.

use std::time::{Duration, Instant};

use crate::common::{DEADLINE, Plane, proposal};
use primacy_core::ids::{LogIndex, NodeId};
use primacy_raft::{ProposeError, ReadError};

#[test]
fn three_nodes_commit_and_every_node_takes_proposals_and_reads() {
    let plane = Plane::new(3, 1000);
    for (seq, (id, node)) in plane.nodes.iter().enumerate() {
        let committed = node.propose(id.0, seq as u64 + 1);
        assert_eq!(committed.at(), committed.get().at);
        assert!(!committed.get().repeated);
        let read = node.run(node.handle.read(DEADLINE)).unwrap();
        assert!(
            read.at() >= committed.at(),
            "a read sees what was acknowledged before"
        );
        assert_eq!(read.get().voters.len(), 3);
    }
    // The same key again has no effect.
    let again = plane.nodes[&NodeId(2)].propose(2, 2);
    assert!(again.get().repeated);
    plane.agree();

    let node = &plane.nodes[&plane.follower()];
    let history = node.run(node.handle.history(LogIndex(0), 100)).unwrap();
    assert_eq!(history.len(), 4);
    let applied = history
        .iter()
        .filter(|entry| !entry.outcome.as_ref().unwrap().repeated);
    assert_eq!(applied.count(), 3);
}

#[test]
fn a_leader_that_crashes_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut plane = Plane::new(3, 1000);
    let mut last = plane.nodes[&plane.leader()].propose(9, 1).at();
    for seq in 2..5 {
        let old = plane.leader();
        plane.crash(old);
        let survivor = &plane.nodes[&plane.follower()];
        let next = survivor.propose(9, seq).at();
        assert!(next > last && next.term > last.term);
        last = next;
        plane.start(old).unwrap();
        plane.agree();
    }
}

/// A second of attempts at a dead follower; heartbeats alone are some 13.
const ATTEMPTS_MAX: usize = 100;

#[test]
fn a_dead_follower_is_not_dialled_without_a_pause() {
    let mut plane = Plane::new(3, 1000);
    let follower = plane.follower();
    plane.nodes[&follower].propose(9, 1);
    plane.crash(follower);
    plane.nodes[&plane.leader()].propose(9, 2);
    // Somebody else on its port, who hangs up on whoever calls.
    let port = plane.listener(follower);
    port.set_nonblocking(true).unwrap();
    let mut attempts = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        match port.accept() {
            Ok(_) => attempts += 1,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    assert!(attempts < ATTEMPTS_MAX, "{attempts} attempts in a second");
    assert!(attempts > 0, "and it is not given up");
    drop(port);
    plane.start(follower).unwrap();
    plane.agree();
}

#[test]
fn a_follower_that_crashes_keeps_its_data_and_catches_up() {
    let mut plane = Plane::new(3, 1000);
    let follower = plane.follower();
    for seq in 1..=20 {
        plane.nodes[&follower].propose(9, seq);
    }
    let before = plane.nodes[&follower].handle.status().last_log;
    plane.crash(follower);
    plane.nodes[&plane.leader()].propose(9, 21);
    plane.start(follower).unwrap();
    let node = &plane.nodes[&follower];
    node.until("its log is back", |handle| {
        handle.status().last_log >= before
    });
    plane.agree();
    let node = &plane.nodes[&follower];
    let history = node.run(node.handle.history(LogIndex(0), 100)).unwrap();
    assert_eq!(history.len(), 21);
    let newest = |before, limit| {
        let page = node.run(node.handle.history_newest(before, limit)).unwrap();
        page.into_iter().rev().collect::<Vec<_>>()
    };
    assert_eq!(newest(None, 100), history);
    assert_eq!(newest(None, 4), history[17..]);
    assert_eq!(newest(Some(history[17].at.index), 5), history[12..17]);
    assert_eq!(newest(Some(history[0].at.index), 5), []);
}

#[test]
fn all_crash_together_and_come_back() {
    let mut plane = Plane::new(3, 1000);
    let acknowledged = plane.nodes[&plane.leader()].propose(9, 1).at();
    for id in [1, 2, 3] {
        plane.crash(NodeId(id));
    }
    for id in [1, 2, 3] {
        plane.start(NodeId(id)).unwrap();
    }
    let node = &plane.nodes[&NodeId(1)];
    let read = node.run(node.handle.read(DEADLINE)).unwrap();
    assert!(read.at() >= acknowledged);
    plane.agree();
}

#[test]
fn one_far_behind_is_caught_up_by_a_snapshot() {
    let mut plane = Plane::new(3, 20);
    let follower = plane.follower();
    plane.nodes[&follower].propose(9, 1);
    plane.crash(follower);
    let leader = plane.leader();
    for seq in 2..=120 {
        plane.nodes[&leader].propose(9, seq);
    }
    let behind = LogIndex(30);
    plane.nodes[&leader].until("purged", |handle| handle.status().purged > Some(behind));
    plane.start(follower).unwrap();
    plane.agree();
    let node = &plane.nodes[&follower];
    node.until("a snapshot", |handle| {
        handle.status().snapshot > Some(behind)
    });
    let shown = node.handle.watch().borrow().clone();
    assert_eq!(shown.get().voters.len(), 3);

    // And what it was sent is its own: it starts from it.
    plane.crash(follower);
    plane.start(follower).unwrap();
    plane.nodes[&follower].propose(9, 121);
    plane.agree();
}

#[test]
fn leadership_is_handed_over_on_request_and_on_shutdown() {
    let mut plane = Plane::new(3, 1000);
    plane.nodes[&plane.leader()].propose(9, 1);
    let (old, heir) = (plane.leader(), plane.follower());
    let node = &plane.nodes[&old];
    node.run(node.handle.transfer_leader(heir)).unwrap();
    assert_eq!(plane.leader(), heir);
    assert!(
        node.run(node.handle.transfer_leader(old)).is_err(),
        "only a leader hands over"
    );

    let node = plane.nodes.remove(&heir).unwrap();
    node.run(node.handle.shutdown());
    let error = node
        .run(node.handle.propose(proposal(9, 2), DEADLINE))
        .unwrap_err();
    assert!(!error.retryable() && matches!(error, ProposeError::Stopped(None)));
    drop(node);
    plane.nodes[&plane.leader()].propose(9, 2);
    plane.start(heir).unwrap();
    plane.agree();
}

#[test]
fn without_a_majority_nothing_is_committed_nothing_read_and_nobody_claims_to_hear_one() {
    let mut plane = Plane::new(3, 1000);
    let lonely = plane.leader();
    let last = plane.nodes[&lonely].propose(9, 1).at();
    for id in [1, 2, 3].map(NodeId).into_iter().filter(|id| *id != lonely) {
        plane.crash(id);
    }
    let node = &plane.nodes[&lonely];
    node.until("silence noticed", |handle| {
        !handle.leadership().borrow().hears_majority
    });
    let short = Duration::from_millis(300);
    let error = node
        .run(node.handle.propose(proposal(9, 2), short))
        .unwrap_err();
    assert!(error.retryable(), "{error}");
    let error = node.run(node.handle.read(short)).unwrap_err();
    assert!(
        matches!(error, ReadError::NoLeader | ReadError::TimedOut),
        "{error}"
    );
    assert!(
        node.handle.local().at() >= last,
        "for people, what it knows is still there"
    );
}

/// What `age` says is how long it has heard no majority, led or following.
#[test]
fn a_node_that_hears_no_majority_grows_old() {
    let mut plane = Plane::new(3, 1_000);
    let young = Duration::from_secs(1);
    for node in plane.nodes.values() {
        node.until("young", |handle| {
            handle.age().is_some_and(|age| age < young)
        });
    }
    let leader = plane.leader();
    let others: Vec<_> = plane
        .nodes
        .keys()
        .copied()
        .filter(|id| *id != leader)
        .collect();
    for id in &others {
        plane.crash(*id);
    }
    plane.nodes[&leader].until("old", |handle| {
        handle.age().is_some_and(|age| age > 2 * young)
    });
    plane.crash(leader);
    plane.start(others[0]).unwrap();
    assert_eq!(
        plane.nodes[&others[0]].handle.age(),
        None,
        "alone since its start"
    );
    plane.start(others[1]).unwrap();
    for id in &others {
        plane.nodes[id].until("young again", |handle| {
            handle.age().is_some_and(|age| age < young)
        });
    }
}
