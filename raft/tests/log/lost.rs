//! A node that has lost its log is not that node any more. On real files and connections.

use std::fs;
use std::path::Path;

use crate::common::{DEADLINE, Plane};
use primacy_core::ids::{LogIndex, NodeId, Position};
use primacy_raft::Entered;

/// Where this proposer's entry lies in what a node has applied.
fn found(plane: &Plane, node: NodeId, proposer: u64) -> Option<Position> {
    let node = &plane.nodes[&node];
    node.run(node.handle.read(DEADLINE)).unwrap();
    let history = node.run(node.handle.history(LogIndex(0), 1_000)).unwrap();
    let entry = history
        .iter()
        .find(|entry| entry.proposal.proposer == NodeId(proposer));
    entry.map(|entry| entry.at)
}

/// An entry is acknowledged by two, the third being away; then one of the two stops, and the
/// other's folder is emptied.
struct Emptied {
    plane: Plane,
    stopped: NodeId,
    emptied: NodeId,
    away: NodeId,
    acknowledged: Position,
}

fn emptied() -> Emptied {
    let mut plane = Plane::new(3, 1000);
    let stopped = plane.leader();
    let others = [1, 2, 3]
        .map(NodeId)
        .into_iter()
        .filter(|id| *id != stopped);
    let [emptied, away] = others.collect::<Vec<_>>()[..] else {
        panic!("three nodes")
    };
    plane.crash(away);
    let acknowledged = plane.nodes[&stopped].propose(9, 1).at();
    plane.crash(stopped);
    plane.crash(emptied);
    plane.wipe(emptied);
    Emptied {
        plane,
        stopped,
        emptied,
        away,
        acknowledged,
    }
}

#[test]
fn a_member_that_comes_back_empty_takes_nothing_that_was_acknowledged() {
    let Emptied {
        mut plane,
        stopped,
        emptied,
        away,
        acknowledged,
    } = emptied();
    plane.start(away).unwrap();
    let error = plane.refused(emptied);
    let why = format!("the folder of node {emptied} is empty, and node {away} knows this plane");
    assert!(error.contains(&why), "{error}");
    assert!(error.contains("`primacy control replace`"), "{error}");
    plane.start(stopped).unwrap();
    plane.nodes[&away].propose(8, 1);
    plane.agree();
    assert_eq!(found(&plane, away, 9), Some(acknowledged));
}

/// The same without the question: this is what it is asked for.
#[test]
fn planted_a_member_that_does_not_ask_loses_an_acknowledged_entry() {
    let Emptied {
        mut plane,
        emptied,
        away,
        acknowledged,
        ..
    } = emptied();
    plane.asks = false;
    plane.start(away).unwrap();
    plane.start(emptied).unwrap();
    let other = plane.nodes[&plane.leader()].propose(8, 1).at();
    let leader = plane.leader();
    assert_eq!(found(&plane, leader, 9), None, "it was acknowledged");
    assert_eq!(found(&plane, leader, 8), Some(other));
    // How many elections it took, and so how many empty entries lie before it, is the machine's affair.
    assert!(
        other.index >= acknowledged.index,
        "{other:?} is not at or past {acknowledged:?}: nothing was overwritten"
    );
}

#[test]
fn an_empty_folder_waits_for_those_who_could_know() {
    let Emptied {
        mut plane,
        emptied,
        away,
        stopped,
        acknowledged,
    } = emptied();
    plane.start(emptied).unwrap();
    let waits = |handle: &primacy_raft::Handle| handle.waits().unwrap_or_default();
    let node = &plane.nodes[&emptied];
    node.until("it says for whom", |handle| {
        let waits = waits(handle);
        [stopped, away]
            .iter()
            .all(|id| waits.contains(&format!("node {id} (")))
    });
    assert_eq!(node.handle.status().last_log, None);
    // It answers whoever asks meanwhile; and learns from the answer of one that it must not wait.
    plane.start(stopped).unwrap();
    let entered = plane.nodes.get_mut(&stopped).unwrap().entered();
    assert_eq!(entered, Ok(Entered::Again));
    let error = plane
        .nodes
        .get_mut(&emptied)
        .unwrap()
        .entered()
        .unwrap_err();
    assert!(error.to_string().contains("knows this plane"), "{error}");
    plane.crash(emptied);
    plane.start(away).unwrap();
    plane.agree();
    assert_eq!(found(&plane, away, 9), Some(acknowledged));
}

#[test]
fn a_founding_waits_for_every_first_member() {
    let mut plane = Plane::unfounded(3);
    let [one, two, three] = [1, 2, 3].map(NodeId);
    plane.start(one).unwrap();
    plane.start(two).unwrap();
    for id in [one, two] {
        plane.nodes[&id].until("it waits for the third", |handle| {
            handle.waits().is_some_and(|why| why.contains("node 3 ("))
        });
        assert_eq!(plane.nodes[&id].handle.status().last_log, None);
    }
    // One of them is emptied while it waits: nothing is lost yet.
    plane.crash(two);
    plane.wipe(two);
    plane.start(three).unwrap();
    plane.start(two).unwrap();
    for node in plane.nodes.values_mut() {
        assert_eq!(node.entered(), Ok(Entered::Founding));
    }
    let founding = |id| fs::read_to_string(plane.dir(id).join("founding")).unwrap();
    assert!(
        founding(one).contains("\"begun\":true"),
        "{}",
        founding(one)
    );
    assert_eq!(
        [founding(two), founding(three)],
        [founding(one), founding(one)]
    );
    plane.nodes[&three].propose(9, 1);
    plane.agree();
}

fn write_founding(dir: &Path, id: &str) {
    fs::create_dir_all(dir).unwrap();
    let text = format!("{{\"id\":\"{id}\",\"begun\":false}}");
    fs::write(dir.join("founding"), text).unwrap();
}

#[test]
fn members_of_two_foundings_are_refused_by_name() {
    let mut plane = Plane::unfounded(3);
    let [one, two, three] = [1, 2, 3].map(NodeId);
    write_founding(&plane.dir(two), "aa");
    write_founding(&plane.dir(three), "bb");
    for id in [one, two, three] {
        plane.start(id).unwrap();
    }
    let error = plane.nodes.get_mut(&three).unwrap().entered().unwrap_err();
    let error = error.to_string();
    for named in ["node 3 holds founding bb", "node 2 holds founding aa"] {
        assert!(error.contains(named), "{error}");
    }
    let error = plane.nodes.get_mut(&two).unwrap().entered().unwrap_err();
    assert!(error.to_string().contains("they are of two foundings"));
}

#[test]
fn a_log_that_is_missing_beside_what_has_begun_is_lost() {
    let mut plane = Plane::new(3, 1000);
    let follower = plane.follower();
    plane.nodes[&follower].propose(9, 1);
    plane.nodes[&follower].run(plane.nodes[&follower].handle.halt());
    plane.crash(follower);
    fs::remove_dir_all(plane.dir(follower).join("wal")).unwrap();
    let error = plane.start(follower).unwrap_err().to_string();
    assert!(
        error.contains("says that this node has taken part"),
        "{error}"
    );
    assert!(error.contains("`primacy control replace`"), "{error}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A follower whose folder is as it was before it confirmed its last entries; its leader leads on.
fn reverted() -> (Plane, NodeId, NodeId) {
    let mut plane = Plane::new(3, 1000);
    let (leader, follower) = (plane.leader(), plane.follower());
    let copied = plane.dir(follower).with_extension("copy");
    plane.nodes[&follower].propose(9, 1);
    plane.nodes[&follower].run(plane.nodes[&follower].handle.halt());
    plane.crash(follower);
    copy(&plane.dir(follower), &copied);
    plane.start(follower).unwrap();
    let all = (2..=30).map(|seq| plane.nodes[&leader].propose(9, seq).at());
    let last = all.collect::<Vec<_>>().pop().unwrap().index;
    plane.nodes[&follower].until("it has them", |handle| {
        handle.status().last_log >= Some(last)
    });
    // The leader has heard so, too.
    plane.agree();
    plane.crash(follower);
    plane.wipe(follower);
    fs::rename(copied, plane.dir(follower)).unwrap();
    (plane, leader, follower)
}

#[test]
fn an_older_copy_is_seen_by_the_leader_to_the_entry() {
    let (mut plane, leader, follower) = reverted();
    let error = plane.refused(follower);
    let why = format!("a part of the log of node {follower} is lost: node {leader} knows of it");
    assert!(error.contains(&why), "{error}");
    plane.nodes[&leader].propose(9, 31);
}

/// Let in all the same, it is filled again, under the very leader that it had confirmed to.
#[test]
fn a_follower_whose_log_fell_back_catches_up_under_the_same_leader() {
    let (mut plane, leader, follower) = reverted();
    plane.asks = false;
    plane.start(follower).unwrap();
    let term = plane.nodes[&leader].handle.status().term;
    plane.nodes[&leader].propose(9, 31);
    plane.agree();
    assert_eq!(
        plane.nodes[&leader].handle.status().term,
        term,
        "no election helped"
    );
}

/// What a node told the others binds it, also when its leader is gone.
#[test]
fn an_older_copy_is_seen_by_what_it_told() {
    let (mut plane, leader, follower) = reverted();
    // It tells when it starts, as well as every ten seconds: here, its own folder once more.
    plane.crash(leader);
    let third = *plane.nodes.keys().next().unwrap();
    let peers = plane.dir(third).join("peers");
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&peers).unwrap()).unwrap();
    let kept = &kept[follower.to_string()];
    assert!(kept["term"].as_u64() >= Some(1), "{kept}");
    // As it would be ten seconds later.
    let told = format!(
        "{{\"{follower}\":{{\"generation\":0,\"term\":1,\"committed\":{{\"term\":1,\"index\":25}}}}}}"
    );
    plane.nodes[&third].run(plane.nodes[&third].handle.halt());
    plane.crash(third);
    fs::write(&peers, told).unwrap();
    plane.start(third).unwrap();
    let error = plane.refused(follower);
    assert!(
        error.contains("entries up to 25, and its folder holds"),
        "{error}"
    );
}

/// A version before this one left a log, and none of the files beside it.
#[test]
fn folders_of_an_earlier_version_go_on() {
    let mut plane = Plane::new(3, 1000);
    let acknowledged = plane.nodes[&plane.leader()].propose(9, 1).at();
    let all = [1, 2, 3].map(NodeId);
    for id in all {
        plane.crash(id);
        fs::remove_file(plane.dir(id).join("founding")).unwrap();
        let _ = fs::remove_file(plane.dir(id).join("peers"));
    }
    for id in all {
        plane.start(id).unwrap();
    }
    for node in plane.nodes.values_mut() {
        assert_eq!(node.entered(), Ok(Entered::Again));
    }
    plane.nodes[&NodeId(1)].propose(8, 1);
    plane.agree();
    assert_eq!(found(&plane, NodeId(2), 9), Some(acknowledged));
}
