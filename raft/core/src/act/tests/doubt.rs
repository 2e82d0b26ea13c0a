//! Markers, and the doubt that one of them or a node's word ends.

use super::*;
use crate::act::ProbeAt;

#[test]
fn markers_go_out_fast_until_one_is_acknowledged() {
    let mut desk = Desk::up();
    desk.order(open_for(2, "p:1-10"), 20);
    desk.opens("p:1-10");
    assert_eq!(desk.markers.len(), 1);
    desk.waits(60, &open());
    assert_eq!(desk.markers.len(), 4, "every 20 ms");
    desk.waits(1_000, &open());
    assert_eq!(desk.markers.len(), 8, "at most eight in flight");
    assert_eq!(desk.marked(), "say acknowledged p:1-11");
    for _ in 0..7 {
        assert_eq!(desk.marked(), "", "said once");
    }
    assert_eq!(
        desk.waits(2_000, &open()),
        "run marker 2",
        "then one at a time, once a second"
    );
}

#[test]
fn the_first_epoch_makes_its_table_one_at_a_time() {
    let mut desk = Desk::up();
    desk.order(open_for(1, "p:1-10"), 20);
    desk.opens("p:1-10");
    desk.waits(1_000, &open());
    assert_eq!(desk.markers.len(), 1);
}

#[test]
fn a_marker_of_an_earlier_epoch_proves_nothing() {
    let mut desk = Desk::serving();
    desk.waits(1_000, &open());
    let old = desk.markers.pop().expect("a write probe");
    desk.order(fence(1), 20);
    desk.ends(confirmed());
    desk.order(open_for(2, "p:1-12"), 30);
    desk.opens("p:1-12");
    assert_eq!(desk.ended(old, Ok(OpDone::Marked(marker()))), "");
    assert_eq!(desk.marked(), "say acknowledged p:1-11");
}

#[test]
fn replication_is_forgotten_a_while_after_the_first_write() {
    let seal = enrolled_seal();
    let replica = Survey {
        source: Some(("p.example".into(), 3306)),
        ..fenced()
    };
    let (mut desk, _) = Desk::with(seal, replica.clone());
    desk.order(open_for(2, "p:1-10"), 20);
    desk.opens("p:1-10");
    desk.waits(300, &open());
    assert_eq!(desk.marked(), "say acknowledged p:1-11, run clean up");
    // Its first write was acknowledged sooner.
    desk.order(fence(2), 30);
    desk.ends(confirmed());
    let (mut desk, _) = desk.restarts(replica);
    desk.order(open_for(3, "p:1-10"), 40);
    desk.opens("p:1-10");
    assert_eq!(desk.marked(), "say acknowledged p:1-11");
    let said = desk.waits(240, &open());
    assert!(!said.contains("clean up"), "{said}");
    let said = desk.waits(20, &open());
    assert!(said.contains("run clean up"), "{said}");
    let said = desk.waits(2_000, &open());
    assert!(!said.contains("clean up"), "once: {said}");
}

#[test]
fn after_a_gap_503_until_confirmed() {
    let doubtful = || {
        let mut desk = Desk::serving();
        desk.waits(100, &open());
        desk.now += 600;
        desk.tell(AgentInput::Tick);
        assert_eq!(desk.agent.serving(), None, "it slept");
        let before = desk.beats().word.beat - 1;
        (desk, before)
    };
    // A node confirms a beat that was sent after it.
    let (mut desk, before) = doubtful();
    desk.acknowledged(before, named(1, "a"));
    assert_eq!(desk.agent.serving(), None, "the answer to an older beat");
    desk.acknowledged(before + 1, named(1, "a"));
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
    // Not if its epoch is over, or another's.
    for other in [named(2, "b"), named(1, "b"), named(2, "a")] {
        let (mut desk, before) = doubtful();
        desk.acknowledged(before + 1, other);
        assert_eq!(desk.agent.serving(), None);
    }
    let (mut desk, before) = doubtful();
    let deposed = NamedPrimary {
        deposed: true,
        ..named(1, "a")
    };
    desk.acknowledged(before + 1, deposed);
    assert_eq!(desk.agent.serving(), None);
    // Or k of V acknowledge a write begun after it.
    let (mut desk, _) = doubtful();
    desk.marked();
    assert_eq!(desk.agent.serving(), None, "begun before it");
    desk.waits(1_000, &open());
    desk.marked();
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
    // 500 ms are none.
    let mut desk = Desk::serving();
    desk.now += 500;
    desk.tell(AgentInput::Tick);
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
}

#[test]
fn one_that_nobody_acknowledges_fences_itself() {
    for known in [true, false] {
        let mut desk = Desk::serving();
        if known {
            let named = NamedPrimary {
                unacked_fence_ms: 20_000,
                ..named(1, "a")
            };
            desk.acknowledged(1, named);
        }
        let bound_ms = if known { 20_000 } else { 30_000 };
        desk.waits(1_000, &open());
        let [probe] = desk.markers[..] else {
            panic!("one probe: {:?}", desk.markers)
        };
        let waits = Survey {
            ack_waits: 1,
            probes: [(probe, ProbeAt::Acknowledgement)].into(),
            ..open()
        };
        assert_eq!(desk.waits(bound_ms - 100, &waits), "");
        assert_eq!(desk.agent.serving(), Some(Epoch(1)));
        let said = desk.waits(1_200, &waits);
        assert!(said.starts_with("persist(), run fence"), "{said:?}");
        assert_eq!(desk.disk.unacknowledged, Some(Epoch(1)), "it says so");
        assert_eq!(desk.agent.serving(), None);
    }
}

#[test]
fn told_of_a_deposition_it_answers_503_at_once() {
    let deposed = || NamedPrimary {
        deposed: true,
        ..named(1, "a")
    };
    for told in [deposed(), named(2, "b")] {
        let mut desk = Desk::serving();
        desk.acknowledged(1, told);
        assert_eq!(desk.agent.serving(), None);
    }
    // A node that lags behind takes nothing back.
    let mut desk = Desk::serving();
    desk.acknowledged(1, deposed());
    desk.acknowledged(2, named(1, "a"));
    assert_eq!(desk.agent.serving(), None);
}

#[test]
fn an_older_word_or_one_of_another_primary_ends_no_doubt() {
    let (mut desk, _) = Desk::serving().restarts(open());
    desk.acknowledged(100, named(1, "b"));
    desk.acknowledged(0, named(1, "a"));
    assert_eq!(
        desk.agent.serving(),
        None,
        "this beat is from before the doubt"
    );
    desk.acknowledged(100, named(1, "a"));
    assert_eq!(desk.agent.serving(), Some(Epoch(1)));
}
