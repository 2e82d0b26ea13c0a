//! Scheduled events of an open primary: taken over once, then watched.

use super::*;
use crate::record::{Idle, Owed, ScheduledSaid, TakeOver, TakenOver};
use std::collections::BTreeSet;

fn told(owed: Owed, index: u64) -> NamedPrimary {
    NamedPrimary {
        scheduled: Some(owed),
        at: at(index),
        ..named(1, "a")
    }
}

fn this() -> Owed {
    Owed::This(TakeOver {
        runs: true,
        all_but: Some(["app.off".to_owned()].into()),
    })
}

fn scheduler(word: &str) -> Survey {
    let mut survey = open();
    survey.ground.event_scheduler = word.into();
    survey
}

fn done(enabled: &[&str]) -> OpDone {
    OpDone::ScheduledTakenOver(TakenOver {
        enabled: enabled.iter().map(|name| (*name).to_owned()).collect(),
        ..TakenOver::default()
    })
}

fn word(desk: &mut Desk) -> Option<ScheduledSaid> {
    desk.waits(100, &scheduler("OFF"));
    desk.beats().scheduled.clone()
}

const TAKES_OVER: &str = "run take over TakeOver { runs: true, all_but: Some({\"app.off\"}) }";

#[test]
fn they_are_taken_over_when_the_log_says_so_and_told_till_it_has_heard() {
    let mut desk = Desk::serving();
    assert_eq!(word(&mut desk), None, "nobody has said what is due");
    assert_eq!(desk.acknowledged(1, told(this(), 10)), TAKES_OVER);
    assert_eq!(
        word(&mut desk),
        None,
        "off since the boot: nothing is told of that"
    );
    desk.ends(done(&["app.tick"]));
    let taken_over = word(&mut desk).and_then(|said| said.taken_over);
    let enabled = taken_over.expect("it is told").enabled;
    assert_eq!(enabled, ["app.tick".to_owned()].into());
    // The log has not heard of it: done again, what was enabled stays told.
    desk.waits(1_000, &open());
    desk.ends(done(&[]));
    let taken_over = word(&mut desk).and_then(|said| said.taken_over);
    assert_eq!(taken_over.expect("still").enabled, enabled);
}

#[test]
fn once_nothing_is_due_what_is_seen_is_told() {
    let mut desk = Desk::serving();
    desk.acknowledged(1, told(this(), 10));
    desk.ends(done(&[]));
    assert_eq!(
        desk.acknowledged(2, told(Owed::Nothing, 11)),
        "run look at events"
    );
    let idle = Idle::Named(["app.off".to_owned()].into());
    desk.ends(OpDone::ScheduledSeen(idle.clone()));
    desk.waits(200, &scheduler("ON"));
    let said = |runs| ScheduledSaid {
        runs,
        idle: Some(idle.clone()),
        taken_over: None,
    };
    assert_eq!(desk.beats().scheduled, Some(said(Some(true))));
    desk.waits(200, &scheduler("OFF"));
    assert_eq!(desk.beats().scheduled, Some(said(Some(false))));
    desk.waits(200, &scheduler("DISABLED"));
    assert_eq!(
        desk.beats().scheduled,
        Some(said(None)),
        "that server's own"
    );
    // A node that lags behind knows of what was due.
    assert_eq!(desk.acknowledged(3, told(this(), 9)), "");
    let later = desk.waits(1_000, &scheduler("ON"));
    assert!(
        !later.contains("events") && !later.contains("take over"),
        "{later}"
    );
    desk.acknowledged(4, told(Owed::Nothing, 12));
    let later = desk.waits(1_000, &scheduler("ON"));
    assert!(!later.contains("take over"), "{later}");
}

/// Nothing of what was seen before a server was shut is told once it is open again.
#[test]
fn what_was_seen_before_it_was_shut_is_forgotten() {
    let mut desk = Desk::serving();
    desk.acknowledged(1, told(Owed::Nothing, 10));
    desk.ends(OpDone::ScheduledSeen(Idle::Named(BTreeSet::new())));
    desk.waits(200, &scheduler("ON"));
    assert!(desk.beats().scheduled.is_some());
    let mut shut = scheduler("OFF");
    (shut.super_read_only, shut.offline_mode) = (true, true);
    desk.waits(300, &shut);
    assert_eq!(word(&mut desk), None);
}

/// A closed server's scheduler is off by order.
#[test]
fn what_a_shut_one_shows_is_not_told() {
    let mut desk = Desk::serving();
    desk.acknowledged(1, told(Owed::Nothing, 10));
    desk.waits(200, &scheduler("ON"));
    let mut shut = scheduler("OFF");
    shut.super_read_only = true;
    desk.waits(300, &shut);
    assert_eq!(desk.beats().scheduled, None);
}

#[test]
fn what_fails_is_tried_again_after_a_while() {
    let mut desk = Desk::serving();
    desk.acknowledged(1, told(this(), 10));
    desk.fails();
    let later = desk.waits(900, &open());
    assert!(!later.contains("take over"), "{later}");
    let later = desk.waits(200, &open());
    assert!(later.contains(TAKES_OVER), "{later}");
}

#[test]
fn another_than_the_named_primary_does_nothing() {
    let mut desk = Desk::serving();
    let other = NamedPrimary {
        instance: instance("b"),
        ..told(this(), 10)
    };
    assert_eq!(desk.acknowledged(1, other), "");
    let over = NamedPrimary {
        deposed: true,
        ..told(this(), 11)
    };
    let said = desk.acknowledged(2, over);
    assert!(!said.contains("take over"), "{said}");
}

#[test]
fn what_hangs_is_not_asked_again() {
    let mut desk = Desk::serving();
    assert_eq!(desk.acknowledged(1, told(this(), 10)), TAKES_OVER);
    let later = desk.waits(3_000, &open());
    assert!(!later.contains("take over"), "{later}");
}

/// What the server was asked that is gone is asked of the next one.
#[test]
fn an_exit_leaves_no_question_open() {
    let mut desk = Desk::serving();
    let looks = "run look at events";
    assert_eq!(desk.acknowledged(1, told(Owed::Nothing, 10)), looks);
    desk.tell(AgentInput::ServerExited);
    desk.comes_up(fenced());
    let number = desk.disk.mysqld.0;
    desk.order(reopen(1, number), 30);
    desk.ends(prepared("p:1-10"));
    let said = desk.ends(OpDone::Opened(Opened));
    assert!(said.contains(looks), "{said}");
}

#[test]
fn an_answer_to_what_is_not_due_any_more_is_not_told() {
    let mut desk = Desk::serving();
    desk.acknowledged(1, told(this(), 10));
    desk.acknowledged(2, told(Owed::Nothing, 11));
    desk.ends(done(&["app.tick"]));
    assert_eq!(word(&mut desk).and_then(|said| said.taken_over), None);
    let mut desk = Desk::serving();
    desk.acknowledged(1, told(Owed::Nothing, 10));
    desk.acknowledged(2, told(this(), 11));
    desk.ends(OpDone::ScheduledSeen(Idle::Named(BTreeSet::new())));
    assert_eq!(word(&mut desk).and_then(|said| said.idle), None);
}

/// A look that began in the very moment of the node's word may be from before.
#[test]
fn a_look_from_before_the_word_is_not_told() {
    let mut desk = Desk::serving();
    desk.survey = None;
    desk.begins_a_look();
    desk.acknowledged(1, told(Owed::Nothing, 10));
    desk.surveyed(scheduler("ON"));
    desk.survey = None;
    for _ in 0..15 {
        desk.now += 10;
        desk.tell(AgentInput::Tick);
    }
    assert_eq!(
        desk.beats().scheduled.as_ref().and_then(|said| said.runs),
        None
    );
    desk.surveyed(scheduler("ON"));
    desk.waits(110, &scheduler("ON"));
    assert_eq!(
        desk.beats().scheduled.as_ref().and_then(|said| said.runs),
        Some(true)
    );
}

/// Its statement would switch on the scheduler of a server that is shut.
#[test]
fn what_is_under_way_is_given_up_before_it_is_shut() {
    let mut desk = Desk::serving();
    assert_eq!(desk.acknowledged(1, told(this(), 10)), TAKES_OVER);
    let said = desk.order(fence(1), 20);
    assert!(said.ends_with("cancel, run fence"), "{said}");
    // Nothing is under way.
    let mut desk = Desk::serving();
    assert!(!desk.order(fence(1), 20).contains("cancel"));
}
