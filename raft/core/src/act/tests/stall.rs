//! An order to open that makes no progress: when that is said, and what ends it.

use super::*;

/// Ordered to open for epoch 1, it waits for its applier.
fn opening() -> Desk {
    let mut desk = Desk::up();
    desk.acknowledged(1, named(1, "a"));
    desk.order(open_for(1, "p:1-12"), 2);
    desk
}

fn stuck(desk: &Desk) -> Option<(u64, String)> {
    let stuck = desk.beats().stuck.clone()?;
    assert_eq!(stuck.epoch, Epoch(1));
    Some((stuck.for_ms, stuck.why))
}

#[test]
fn one_that_applies_nothing_for_too_long_is_stuck() {
    let mut desk = opening();
    let still = holding("p:1-10", "p:1-12");
    desk.waits(1_000, &still);
    assert_eq!(stuck(&desk), None, "it moved when it was first seen");
    desk.waits(200, &still);
    let (for_ms, why) = stuck(&desk).expect("it is stuck");
    assert!((1_000..1_300).contains(&for_ms), "{for_ms}");
    assert_eq!(why, "it applies nothing");
    // Each transaction is progress.
    desk.waits(100, &holding("p:1-11", "p:1-12"));
    assert_eq!(stuck(&desk), None);
}

#[test]
fn rows_within_a_transaction_are_progress_too() {
    let mut desk = opening();
    let still = holding("p:1-10", "p:1-12");
    for changed in 0..40 {
        desk.applier.at = format!("7:{changed}:Executing");
        desk.waits(100, &still);
        assert_eq!(stuck(&desk), None, "{changed}");
    }
    desk.waits(1_300, &still);
    assert!(stuck(&desk).is_some());
}

#[test]
fn who_holds_it_is_named_and_who_was_ended_is_told() {
    let mut desk = opening();
    let mut still = holding("p:1-10", "p:1-12");
    desk.applier.holders = vec!["session 9 of dba@h holds the global lock".into()];
    still.replication_error = "1062: Duplicate entry".into();
    desk.waits(1_500, &still);
    let (_, why) = stuck(&desk).expect("it is stuck");
    let said =
        "it applies nothing; session 9 of dba@h holds the global lock; 1062: Duplicate entry";
    assert_eq!(why, said);
    desk.applier = Applier {
        ended: vec!["ended session 9 of dba@h".into()],
        ..Applier::default()
    };
    desk.waits(100, &still);
    assert_eq!(stuck(&desk), None, "what held it is gone");
    let freed: Vec<_> = desk.beats().freed.iter().cloned().collect();
    assert_eq!(freed, ["ended session 9 of dba@h"]);
}

#[test]
fn an_order_that_fails_and_is_repeated_is_one_order() {
    let mut desk = opening();
    let still = holding("p:1-10", "p:1-12");
    for _ in 0..15 {
        desk.fails();
        desk.waits(90, &still);
        desk.order(open_for(1, "p:1-12"), 2);
    }
    assert!(stuck(&desk).is_some());
    // Another order is another matter.
    desk.order(fence(1), 3);
    desk.waits(200, &still);
    assert_eq!(stuck(&desk), None);
}

#[test]
fn what_is_open_is_not_stuck() {
    let mut desk = opening();
    desk.opens("p:1-12");
    desk.waits(3_000, &open());
    assert_eq!(stuck(&desk), None);
}

#[test]
fn a_gap_in_its_own_time_begins_the_count_anew() {
    let mut desk = opening();
    let still = holding("p:1-10", "p:1-12");
    desk.waits(900, &still);
    desk.now += 5_000;
    desk.waits(300, &still);
    assert_eq!(stuck(&desk), None);
}

#[test]
fn it_says_that_it_never_began_until_it_has() {
    let never = |desk: &Desk| desk.beats().stuck.clone().expect("stuck").unopened;
    let still = holding("p:1-10", "p:1-12");
    let mut desk = opening();
    desk.waits(1_500, &still);
    assert_eq!(never(&desk), Some(process(77)));
    desk.ends(OpDone::Applied);
    desk.ends(prepared("p:1-12"));
    desk.waits(1_500, &still);
    assert_eq!(never(&desk), None, "it is about to open");
}
