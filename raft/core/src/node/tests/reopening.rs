//! A primary that restarted, or was closed, within its epoch.

use super::*;
use crate::node::lead::CLOSED_MS;

/// `p` is closed, and runs as this incarnation; `a` and `b` hold this.
fn closed(mysqld: u64, a: &'static str, b: &'static str) -> Bend {
    Box::new(move |host, beat| match host {
        "p" => {
            (beat.role, beat.fenced) = (Role::Closed, true);
            beat.executed = set("p:1-20");
            beat.word.mysqld = Incarnation(mysqld);
        }
        "a" => beat.received = set(a),
        _ => beat.received = set(b),
    })
}

/// It is seen closed from the next beat on.
fn closes(mut plane: Plane, bend: Bend) -> Plane {
    while !(plane.now + STEP_MS).is_multiple_of(100) {
        plane.runs(STEP_MS);
    }
    plane.lines.clear();
    plane.bend = bend;
    plane
}

#[test]
fn it_opens_again_once_k_of_v_hold_what_it_has() {
    let mut plane = closes(Plane::new(world()), closed(9, "p:1-20", "p:1-19"));
    let seen = plane.now + STEP_MS;
    plane.runs(CLOSED_MS + 1_000);
    assert_eq!(plane.times("1 lets p reopen"), 1, "one of two is enough");
    assert_eq!(plane.when("1 lets p reopen"), seen + CLOSED_MS);
    // It restarts once more before it has opened.
    plane.lines.clear();
    plane.bend = closed(10, "p:1-20", "p:1-20");
    plane.runs(1_000);
    assert_eq!(plane.times("1 lets p reopen"), 1);
}

#[test]
fn it_stays_closed_while_too_few_hold_it() {
    let mut plane = closes(Plane::new(world()), closed(9, "p:1-19", "p:1-19"));
    plane.runs(2_000);
    plane.never("lets p reopen");
    let waits = plane.standing().waits.join("; ");
    assert!(
        waits.contains("opens again when 1 ackers hold what it has (0 do)"),
        "{waits}"
    );
}

/// Under `off` it takes up its role again where it restarted, and stays as a person left it otherwise.
#[test]
fn under_off_what_a_person_closed_stays_closed() {
    for (mysqld, reopens) in [(1, false), (9, true)] {
        let mut plane = Plane::new(world());
        let cluster = plane.world.cluster_mut();
        cluster.policy.automation = Automation::Off;
        cluster.mysqld = Some(Incarnation(1));
        plane.show_state();
        let mut plane = closes(plane, closed(mysqld, "p:1-20", "p:1-20"));
        plane.runs(2_000);
        assert_eq!(plane.times("1 lets p reopen") == 1, reopens);
        let waits = plane.standing().waits.join("; ");
        assert_eq!(waits.contains("by somebody else than the plane"), !reopens);
    }
}

#[test]
fn another_server_at_its_address_is_not_opened_again() {
    let bend: Bend = Box::new(|host, beat| {
        closed(9, "p:1-20", "p:1-20")(host, beat);
        if host == "p" {
            beat.server_uuid = Some(crate::testing::uuid("z"));
        }
    });
    let mut plane = closes(Plane::new(world()), bend);
    plane.runs(2_000);
    plane.never("lets p reopen");
}

/// One whose order to open still stands is not its business.
#[test]
fn only_one_that_had_opened_opens_again() {
    let bend: Bend = Box::new(|host, beat| {
        closed(9, "p:1-20", "p:1-20")(host, beat);
        if host == "p" {
            beat.opened = None;
        }
    });
    let mut plane = closes(Plane::new(world()), bend);
    plane.runs(2_000);
    plane.never("lets p reopen");
}
