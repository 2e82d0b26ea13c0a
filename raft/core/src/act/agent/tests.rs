//! Parts of the agent, each alone: what its transcripts show too seldom to tell.

use std::collections::BTreeSet;

use super::ground::Ground;
use super::probes::Probes;
use super::receiver::Receiver;
use super::{Agent, Settings};
use crate::act::tests::{following, holding, open};
use crate::act::{Marker, NamedPrimary, OpDone, OpError, OpId, ProbeAt, ProcessId, Seal, Survey};
use crate::ids::{Epoch, Tick};
use crate::observe::Role;
use crate::policy::Policy;
use crate::testing::{cluster_id, instance, set, uuid};

// ---- the agent's own writes

fn given_up() -> Result<OpDone, OpError> {
    Err(OpError::Unknown("no answer in time".into()))
}

fn marked() -> Result<OpDone, OpError> {
    Ok(OpDone::Marked(Marker {
        before: set("p:1-10"),
        after: set("p:1-11"),
    }))
}

/// Somebody waits for an acknowledgement.
fn awaited() -> Survey {
    Survey {
        ack_waits: 1,
        ..open()
    }
}

/// Probes that began then, numbered from 1.
fn probes(begun: &[u64]) -> Probes {
    let mut probes = Probes::default();
    for (number, begun) in (1..).zip(begun) {
        probes.insert(OpId(number), Tick(*begun));
    }
    probes
}

#[test]
fn of_the_writes_that_were_given_up_the_oldest_counts() {
    for order in [[1, 2], [2, 1]] {
        let mut probes = probes(&[1_000, 3_000]);
        for id in order {
            probes.ended(OpId(id), &given_up());
        }
        probes.look(Tick(5_000), &awaited());
        assert_eq!(probes.unacknowledged_ms(Tick(5_000)), 4_000, "{order:?}");
    }
}

#[test]
fn an_acknowledged_write_answers_for_those_before_it_alone() {
    // When the one that was given up began, and when the acknowledged one: for how long it waits.
    for (lost, acknowledged, expected) in
        [(3_000, 1_000, 2_000), (1_000, 3_000, 0), (1_000, 1_000, 0)]
    {
        let mut probes = probes(&[lost, acknowledged]);
        probes.ended(OpId(1), &given_up());
        probes.ended(OpId(2), &marked());
        probes.look(Tick(5_000), &awaited());
        assert_eq!(
            probes.unacknowledged_ms(Tick(5_000)),
            expected,
            "{lost}, {acknowledged}"
        );
    }
}

#[test]
fn a_look_from_before_a_gap_says_nothing_though_the_server_is_another_since() {
    let mut probes = probes(&[]);
    probes.slept(Tick(5_000), 3_000);
    probes.clear();
    probes.insert(OpId(1), Tick(5_000));
    probes.ended(OpId(1), &given_up());
    probes.look(Tick(4_999), &awaited());
    assert_eq!(probes.unacknowledged_ms(Tick(6_000)), 0);
    probes.look(Tick(5_000), &awaited());
    assert_eq!(probes.unacknowledged_ms(Tick(6_000)), 1_000);
}

// ---- a receiver that waits

#[test]
fn a_receiver_waits_from_the_first_look_that_began_with_the_count() {
    let mut receiver = Receiver::new(Tick(10));
    receiver.look(Tick(9), &following(), true);
    assert_eq!(receiver.waits_ms(Tick(30)), None);
    receiver.look(Tick(10), &following(), true);
    assert_eq!(receiver.waits_ms(Tick(30)), Some(20));
}

// ---- the ground

#[test]
fn only_a_marker_that_began_after_the_strangers_were_gone_catches_up() {
    for (begun, caught_up) in [(100, None), (101, Some(set("p:1-11")))] {
        let mut ground = Ground::default();
        let none = BTreeSet::new();
        ground.look(Tick(100), Tick(90), 1, [].into_iter(), &none);
        ground.marked(Tick(150), Tick(begun), &set("p:1-11"));
        ground.look(Tick(300), Tick(200), 2, [].into_iter(), &none);
        assert_eq!(ground.word().caught_up, caught_up, "begun at {begun}");
    }
}

// ---- what a node tells

#[test]
fn what_a_node_does_not_tell_of_the_policy_is_the_policys_default() {
    let told = crate::act::tests::named(1, "a");
    let mut told = serde_json::to_value(&told).expect("it is written");
    let fields = told.as_object_mut().expect("fields");
    assert!(fields.remove("open_stall_ms").is_some());
    assert!(fields.remove("ends_holders").is_some());
    let told: NamedPrimary = serde_json::from_value(told).expect("it is read");
    let policy = Policy::default();
    assert_eq!(told.open_stall_ms, policy.open_stall_ms);
    assert_eq!(told.ends_holders, policy.ends_holders);
}

// ---- what it holds

fn agent() -> Agent {
    let seal = Seal::blank(cluster_id(), instance("a"));
    let process = ProcessId {
        boot: "a boot".into(),
        pid: 7,
        started: 1,
    };
    let mut agent = Agent::new(Tick(0), seal, process, Settings::default());
    agent.seal.server_uuid = Some(uuid("a"));
    agent
}

/// One that was answered before the other began shows what came later.
#[test]
fn less_than_before_is_a_reset_only_if_it_was_looked_at_later() {
    for (begun, marked) in [(100, false), (101, true)] {
        let mut agent = agent();
        let mut out = Vec::new();
        let mut look = |at, begun, held| {
            agent.watch_content(Tick(at), Tick(begun), &holding(held, ""), &mut out);
            agent.seal.marked.is_some()
        };
        assert!(!look(100, 90, "p:1-10"));
        assert_eq!(look(200, begun, "p:1-5"), marked, "begun at {begun}");
    }
}

#[test]
fn what_another_epochs_source_sends_is_not_waited_for() {
    for (of, waits) in [(2, Some(10)), (1, None)] {
        let mut agent = agent();
        agent.role = Role::Following(Epoch(2));
        agent.seal.source = Some((instance("b"), Epoch(of)));
        agent.receiver = Receiver::new(Tick(0));
        agent.look_at_receiver(Tick(20), &following());
        assert_eq!(agent.receiver.waits_ms(Tick(30)), waits, "of epoch {of}");
    }
}

#[test]
fn a_receiver_is_doubted_once_it_was_still_for_longer_than_its_source_ever_is() {
    let mut receiver = Receiver::new(Tick(10));
    receiver.look(Tick(10), &following(), true);
    assert!(
        !receiver.doubts(Tick(9_999), 0),
        "nobody has told for how long"
    );
    let first = (0..9_999).find(|now| receiver.doubts(Tick(*now), 1_500));
    let still = first.expect("it is doubted");
    assert!(receiver.doubts(Tick(still + 1), 1_500));
    assert!(receiver.doubts(Tick(still + 1_000), 1_500));
    assert!(!receiver.doubts(Tick(still - 1), 1_500));
    assert_eq!(still, 1_511, "it arrived at 10");
}

#[test]
fn a_write_is_stuck_after_its_period_once_a_later_look_was_answered() {
    let mut probes = probes(&[1_000]);
    let works = Survey {
        probes: [(OpId(1), ProbeAt::Work)].into(),
        ..open()
    };
    probes.look(Tick(1_100), &works);
    let stuck = |now, answered| probes.stuck_ms(Tick(now), 500, Some(Tick(answered)));
    assert_eq!(stuck(1_500, 1_400), None);
    assert_eq!(stuck(1_501, 1_400), Some(501));
    assert_eq!(stuck(1_501, 1_000), None, "the look may be from before");
    assert_eq!(stuck(1_501, 1_001), Some(501));
}

#[test]
fn only_a_look_that_began_after_the_marker_was_answered_catches_up() {
    for (begun, caught_up) in [(150, None), (151, Some(set("p:1-11")))] {
        let mut ground = Ground::default();
        let none = BTreeSet::new();
        ground.look(Tick(100), Tick(90), 1, [].into_iter(), &none);
        ground.marked(Tick(150), Tick(110), &set("p:1-11"));
        ground.look(Tick(300), Tick(begun), 2, [].into_iter(), &none);
        assert_eq!(ground.word().caught_up, caught_up, "begun at {begun}");
    }
}
