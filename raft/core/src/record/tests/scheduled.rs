//! What becomes of scheduled events when a primary is replaced.

use super::*;
use crate::record::{Due, IDLE_MAX, Idle, Owed, ScheduledSaid, TakeOver, TakenOver};

fn names(all: &[&str]) -> std::collections::BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

fn said(epoch: u64, letter: &str, said: ScheduledSaid) -> Command {
    Command::Scheduled {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        instance: instance(letter),
        said: Box::new(said),
    }
}

fn taken_over(enabled: &[&str]) -> ScheduledSaid {
    ScheduledSaid {
        taken_over: Some(TakenOver {
            enabled: names(enabled),
            ..TakenOver::default()
        }),
        ..ScheduledSaid::default()
    }
}

fn seen(runs: bool, idle: &[&str]) -> ScheduledSaid {
    ScheduledSaid {
        runs: Some(runs),
        idle: Some(Idle::Named(names(idle))),
        taken_over: None,
    }
}

fn owed(world: &World) -> Option<Owed> {
    world.cluster().owed_scheduled(world.state.level)
}

fn this(runs: bool, all_but: Option<&[&str]>) -> Option<Owed> {
    let all_but = all_but.map(names);
    Some(Owed::This(TakeOver { runs, all_but }))
}

/// Serving, its own events settled.
fn settled_world() -> World {
    let mut world = World::serving("pab", 1);
    assert_eq!(
        owed(&world),
        this(true, None),
        "a founded one's are its own"
    );
    assert!(world.must(said(1, "p", taken_over(&[]))).is_empty());
    assert_eq!(owed(&world), Some(Owed::Nothing));
    world
}

fn fail_over(world: &mut World) {
    world.silence("p:1-12");
    let word = seen(false, &["app.late"]);
    assert!(!world.cluster().lacks_scheduled(&word), "nobody is open");
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-20", ""));
    promoted(world);
}

#[test]
fn a_promoted_one_takes_them_over_once_after_its_first_acknowledged_write() {
    let mut world = settled_world();
    let word = seen(true, &["app.off"]);
    assert!(world.cluster().lacks_scheduled(&word));
    let events = world.must(said(1, "p", word.clone()));
    assert!(!world.cluster().lacks_scheduled(&word));
    let words: Vec<_> = events.iter().map(|event| event.what.as_str()).collect();
    assert_eq!(
        words,
        [
            "event_scheduler is ON on p; the next primary takes that over",
            "a scheduled event is on p not enabled, and stay so on the next primary: app.off"
        ]
    );
    fail_over(&mut world);
    assert_eq!(owed(&world), None);
    world.must(opened(2, "a"));
    assert_eq!(owed(&world), None, "not before its first write");
    // What its server shows until then is none of the cluster's.
    assert!(!world.cluster().lacks_scheduled(&seen(false, &[])));
    assert!(world.must(said(2, "a", seen(false, &[]))).is_empty());
    world.must(acknowledged(2, "a", "p:1-20,a:1"));
    assert_eq!(owed(&world), this(true, Some(&["app.off"])));
    let events = world.must(said(2, "a", taken_over(&["app.tick"])));
    assert_eq!(
        events[0].what,
        "scheduled events enabled on a, as they were on the primary before: app.tick"
    );
    assert_eq!(events[0].kind, EventKind::Scheduled);
    assert_eq!(owed(&world), Some(Owed::Nothing), "once");
    assert!(
        world
            .must(said(2, "a", taken_over(&["app.late"])))
            .is_empty()
    );
}

/// Three deposed in a row, or one that died before: what is owed is owed still.
#[test]
fn who_was_chosen_and_had_nothing_done_yet_hands_it_on() {
    let mut world = settled_world();
    world.must(said(1, "p", seen(false, &["app.off"])));
    fail_over(&mut world);
    world.must(opened(2, "a"));
    world.must(acknowledged(2, "a", "p:1-20,a:1"));
    // Its server restarts within its epoch, and boots with the scheduler off.
    world.must(Command::Reopen {
        cluster: cluster_id(),
        epoch: Epoch(2),
        instance: instance("a"),
        mysqld: Incarnation(7),
    });
    assert_eq!(owed(&world), this(false, Some(&["app.off"])));
    world.must(said(2, "a", taken_over(&[])));
    world.must(Command::Reopen {
        cluster: cluster_id(),
        epoch: Epoch(2),
        instance: instance("a"),
        mysqld: Incarnation(8),
    });
    assert_eq!(
        owed(&world),
        this(false, None),
        "its events are its own now"
    );
}

#[test]
fn a_reinstated_one_takes_over_the_scheduler_alone() {
    let mut world = settled_world();
    world.must(said(1, "p", seen(true, &["app.off"])));
    world.silence("p:1-12");
    world.confirm("p:1-14");
    promoted(&mut world);
    world.open(2, "p", "p:1-15");
    assert_eq!(owed(&world), this(true, None));
}

#[test]
fn an_adopted_one_is_left_as_it_is() {
    let mut adopted = registration("pab", 1);
    adopted.founding = Founding::Adopted;
    let world = World::serving_as(adopted);
    assert_eq!(world.cluster().scheduled.due, Due::Nothing);
}

#[test]
fn with_more_than_are_remembered_none_is_enabled_and_that_is_said() {
    let mut world = settled_world();
    let many = ScheduledSaid {
        idle: Some(Idle::TooMany(IDLE_MAX as u64 + 1)),
        ..ScheduledSaid::default()
    };
    world.must(said(1, "p", many));
    fail_over(&mut world);
    world.open(2, "a", "p:1-20,a:1");
    assert_eq!(owed(&world), this(true, None));
    let events = world.must(said(2, "a", taken_over(&[])));
    assert!(
        events[0]
            .what
            .starts_with("no scheduled event is enabled on a: 65 "),
        "{}",
        events[0].what
    );
}

#[test]
fn what_could_not_be_enabled_is_named() {
    let mut world = settled_world();
    fail_over(&mut world);
    world.open(2, "a", "p:1-20,a:1");
    let failed = ScheduledSaid {
        taken_over: Some(TakenOver {
            enabled: names(&[]),
            failed: [("app.tick".to_owned(), "no such definer".to_owned())].into(),
        }),
        ..ScheduledSaid::default()
    };
    let events = world.must(said(2, "a", failed));
    assert_eq!(
        events[0].what,
        "scheduled events that could not be enabled on a: app.tick (no such definer); enable them by \
         hand: ALTER DEFINER=… EVENT … ENABLE"
    );
}

#[test]
fn nobody_else_is_heard_and_no_earlier_level_knows_of_it() {
    let mut world = settled_world();
    world.refusal(said(1, "a", seen(false, &[])));
    world.refusal(said(2, "p", seen(false, &[])));
    let mut before = World::at_level("xyz", SECOND).serving_with(registration("pab", 1));
    assert_eq!(owed(&before), None);
    let why = before.refusal(said(1, "p", seen(false, &[])));
    assert!(why.contains("feature level 3"), "{why}");
    fail_over(&mut before);
    assert_eq!(before.cluster().scheduled.due, Due::Nothing);
}
