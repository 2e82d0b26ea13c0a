//! Replication that nobody ordered, and what else is put back beside it.

use super::starved::{connected, replica};
use super::*;
use crate::observe::ChannelSeen;

fn with_second_channel() -> Survey {
    let mut survey = connected(1);
    survey.ground.channels.push(ChannelSeen {
        name: "reports".into(),
        ..ChannelSeen::default()
    });
    survey
}

#[test]
fn replication_that_runs_on_an_open_primary_is_ended() {
    let mut desk = Desk::serving();
    desk.waits(100, &open());
    desk.acknowledged(1, named(1, "a"));
    let circle = Survey {
        source: Some(("b.example".into(), 3306)),
        io: IoThread::Connecting,
        ..open()
    };
    assert_eq!(desk.waits(100, &circle), "run clean up");
    assert_eq!(desk.waits(200, &circle), "", "one at a time");
}

/// A look that was under way while it was frozen saw the replica that it was: it is frozen once, and
/// reports once.
#[test]
fn a_look_from_before_the_freeze_shows_no_receiver_of_now() {
    let mut desk = replica();
    desk.begins_a_look();
    desk.order(freeze(1), 3);
    desk.now += 10;
    desk.ends(frozen(fenced()));
    assert_eq!(desk.surveyed(connected(1)), "");
    // One that somebody starts afterwards.
    assert_eq!(desk.waits(200, &connected(1)), "run freeze");
}

#[test]
fn a_channel_that_no_order_asked_for_is_ended_on_a_member() {
    let mut desk = replica();
    let second = with_second_channel();
    assert_eq!(desk.waits(100, &second), "run end channel reports");
    assert_eq!(desk.waits(2_000, &second), "", "one at a time");
    desk.fails();
    assert_eq!(desk.waits(1_500, &second), "run end channel reports");
    desk.ends(OpDone::Cleaned);
    assert_eq!(desk.waits(2_000, &connected(1)), "");
    // What people set is left alone where nothing is to be decided.
    desk.acknowledged(
        2,
        NamedPrimary {
            hands_off: true,
            ..named(1, "p")
        },
    );
    assert_eq!(desk.waits(2_000, &second), "");
}

#[test]
fn a_channel_is_left_alone_while_an_order_is_in_hand() {
    let mut desk = replica();
    let second = with_second_channel();
    desk.order(fence(1), 3);
    let said = desk.waits(300, &second);
    assert!(!said.contains("end channel"), "{said}");
}

#[test]
fn one_repair_is_under_way_whatever_else_ends() {
    let mut desk = Desk::serving();
    desk.waits(100, &open());
    desk.acknowledged(1, named(1, "a"));
    let circle = Survey {
        io: IoThread::On,
        ..open()
    };
    assert_eq!(desk.waits(100, &circle), "run clean up");
    let ends_circle = desk.op.expect("it runs");
    let mut off = circle;
    (off.ground.source.enabled, off.ground.source.status) = (false, false);
    assert_eq!(desk.waits(100, &off), "run repair 1");
    desk.ended(ends_circle, Ok(OpDone::Cleaned));
    assert_eq!(desk.waits(300, &off), "");
    desk.ends(OpDone::Cleaned);
    assert!(desk.waits(100, &off).contains("run repair 1"), "still off");
}
