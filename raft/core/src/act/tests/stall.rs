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
fn who_holds_it_is_looked_for_while_it_applies() {
    let mut desk = Desk::up();
    desk.acknowledged(1, named(1, "a"));
    desk.applier.ended = ["ended session 7".to_owned()].into();
    assert_eq!(
        desk.order(open_for(1, "p:1-12"), 2),
        "persist(token 2), run apply p:1-12"
    );
    assert_eq!(
        desk.looks, 0,
        "mostly it has applied all before a look could end"
    );
    let still = holding("p:1-10", "p:1-12");
    desk.waits(90, &still);
    assert_eq!(desk.looks, 0);
    desk.waits(10, &still);
    assert_eq!(desk.looks, 1);
    // However long the look takes, it opens; whom the look ended is told all the same.
    assert!(desk.ends(OpDone::Applied).starts_with("say applied"));
    desk.waits(100, &holding("p:1-12", "p:1-12"));
    assert!(desk.beats().freed.contains("ended session 7"));
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
    still.receiver_error = "2003: Error connecting to source".into();
    still.applier_error = "1062: Duplicate entry".into();
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

/// A client's global read lock does not keep it from being opened.
#[test]
fn who_holds_its_writes_is_looked_for_until_one_is_acknowledged() {
    let mut desk = opening();
    desk.opens("p:1-12");
    assert_eq!(desk.looks, 0, "it was fast");
    desk.waits(300, &open());
    assert_eq!(desk.looks, 3);
    desk.marked();
    desk.waits(1_000, &open());
    assert_eq!(desk.looks, 3);
}

#[test]
fn it_is_looked_at_ten_times_a_second() {
    let mut desk = opening();
    desk.looks = 0;
    desk.waits(1_000, &holding("p:1-10", "p:1-12"));
    assert_eq!(desk.looks, 10);
}

#[test]
fn holders_are_ended_as_the_policy_says() {
    for ends in [true, false] {
        let mut desk = Desk::up();
        desk.acknowledged(
            1,
            NamedPrimary {
                ends_holders: ends,
                ..named(1, "a")
            },
        );
        desk.order(open_for(1, "p:1-12"), 2);
        desk.waits(100, &holding("p:1-10", "p:1-12"));
        assert_eq!(desk.look_ends, Some(ends));
    }
}

#[test]
fn it_stalls_after_the_policys_time_and_each_step_begins_it_anew() {
    let mut desk = opening();
    let still = holding("p:1-10", "p:1-12");
    let stuck_after = |desk: &mut Desk| {
        let begun = desk.now;
        while desk.beat.as_ref().is_none_or(|beat| beat.stuck.is_none()) {
            desk.waits(10, &still);
            assert!(desk.now < begun + 5_000, "it is never told");
        }
        desk.now - begun
    };
    // From its first look, which finds it where it was.
    desk.waits(100, &still);
    let for_ms = stuck_after(&mut desk);
    assert!((900..=1_000).contains(&for_ms), "{for_ms}");
    assert_eq!(desk.beats().stuck.as_ref().expect("stuck").for_ms, 1_000);
    desk.ends(OpDone::Applied);
    desk.waits(110, &still);
    assert_eq!(stuck(&desk), None, "the next step");
}

#[test]
fn who_opened_for_an_earlier_epoch_has_not_begun_this_one() {
    let mut desk = Desk::serving();
    desk.order(fence(1), 3);
    desk.ends(confirmed());
    desk.acknowledged(1, named(2, "a"));
    desk.order(open_for(2, "p:1-12"), 4);
    desk.waits(1_500, &holding("p:1-10", "p:1-12"));
    let stuck = desk.beats().stuck.clone().expect("stuck");
    assert_eq!((stuck.epoch, stuck.unopened), (Epoch(2), Some(process(77))));
}

/// An order of the same token that is none to open, or one of another.
#[test]
fn another_order_ends_the_watch() {
    let still = holding("p:1-10", "p:1-12");
    let mut desk = opening();
    desk.order(open_for(1, "p:1-12"), 3);
    desk.waits(900, &still);
    assert_eq!(stuck(&desk), None);
    let mut desk = opening();
    desk.order(fence(1), 2);
    desk.waits(1_500, &still);
    assert_eq!(stuck(&desk), None);
}

#[test]
fn whoever_opens_or_starts_says_so() {
    let says = |desk: &mut Desk, survey: &Survey| {
        desk.waits(110, survey);
        desk.beats().opening
    };
    assert!(says(&mut opening(), &fenced()));
    assert!(!says(&mut Desk::serving(), &open()));
    let mut starts = Desk::up();
    starts.tell(AgentInput::ServerExited);
    starts.runs(8, true);
    assert!(says(&mut starts, &fenced()));
}

#[test]
fn nobody_looks_while_no_order_to_open_is_in_hand() {
    let mut desk = opening();
    desk.fails();
    desk.looks = 0;
    desk.waits(900, &holding("p:1-10", "p:1-12"));
    assert_eq!(desk.looks, 0);
}

/// What a server that answers computes is no progress of its applier's.
#[test]
fn one_that_works_and_applies_nothing_is_stuck() {
    let mut desk = opening();
    let still = holding("p:1-10", "p:1-12");
    for _ in 0..3 {
        desk.waits(500, &still);
        desk.seen_as(true, false);
    }
    assert!(stuck(&desk).is_some());
}

/// However long it recovered: from its first answer on it has all its time.
#[test]
fn one_that_has_recovered_is_not_stuck_at_once() {
    let mut desk = opening();
    let still = holding("p:1-10", "p:1-12");
    desk.waits(200, &still);
    desk.tell(AgentInput::ServerExited);
    desk.runs(8, true);
    for _ in 0..20 {
        desk.now += 500;
        desk.seen_as(true, false);
        assert_eq!(stuck(&desk), None);
    }
    desk.tell(AgentInput::ServerUp);
    desk.surveyed(still.clone());
    desk.order(open_for(1, "p:1-12"), 2);
    desk.waits(800, &still);
    assert_eq!(stuck(&desk), None);
    desk.waits(400, &still);
    assert!(stuck(&desk).is_some());
}
