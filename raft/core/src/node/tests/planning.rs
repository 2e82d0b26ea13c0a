//! Whom a leader proposes, and for whom it waits.

use super::*;
use crate::node::plan::LAST_RESORT_MS;

/// `p` is back, and is closed; some write of it nobody had acknowledged.
fn returns(plane: &mut Plane, unacknowledged: bool) {
    plane.down.remove("p");
    plane.exited.remove("p");
    plane.bend = Box::new(|host, beat| {
        if host == "p" {
            (beat.role, beat.fenced) = (Role::Closed, true);
        }
    });
    plane.runs(200);
    plane.tell(0, fenced("p", confirmed(unacknowledged)));
}

/// The last report and the choice that rests on it are one entry: a failover waits for one less.
#[test]
fn the_choice_goes_with_the_report_that_it_waited_for() {
    let mut plane = deposed();
    plane.tell(0, frozen("a", "p:1-12"));
    plane.never("1 chooses");
    let before = plane.world.committed().at().index.next();
    plane.tell(0, frozen("b", "p:1-12"));
    plane.when("1 chooses a");
    assert_eq!(plane.world.committed().at().index, before, "one entry");
}

/// A candidate whose agent is gone could not be seen to open, or to fail.
#[test]
fn who_is_not_heard_is_not_chosen_while_another_qualifies() {
    let mut plane = deposed();
    plane.tell(0, frozen("a", "p:1-12"));
    plane.runs(40);
    plane.down.insert("a");
    plane.runs(2_000);
    plane.tell(0, frozen("b", "p:1-12"));
    plane.runs(1_000);
    plane.when("1 chooses b");
    plane.never("chooses a");
}

#[test]
fn where_nobody_who_qualifies_is_heard_that_is_said() {
    let mut plane = deposed();
    plane.tell(0, frozen("a", "p:1-12"));
    plane.runs(40);
    plane.down.extend(["a", "b"]);
    plane.runs(2_000);
    plane.tell(0, frozen("b", "p:1-12"));
    plane.runs(1_000);
    plane.never("chooses");
    let waits = plane.standing().waits.join("; ");
    assert!(
        waits.contains("a is next, and its agent is not heard"),
        "{waits}"
    );
    plane.down.remove("a");
    plane.runs(1_000);
    plane.when("1 chooses a");
}

/// An old primary that would serve no better than before is chosen again where nobody else is there,
/// and only once they were waited for.
#[test]
fn an_old_primary_is_the_last_resort() {
    let chosen_after = |unacknowledged: bool| {
        let mut plane = deposed();
        let begun = plane.now;
        plane.down.extend(["a", "b"]);
        returns(&mut plane, unacknowledged);
        plane.runs(LAST_RESORT_MS + 2_000);
        plane.when("1 chooses p") - begun
    };
    assert!(chosen_after(false) < 1_000, "it came back in time");
    let waited_ms = chosen_after(true);
    // The leader saw it deposed some time before.
    assert!(
        (LAST_RESORT_MS - 4_000..=LAST_RESORT_MS).contains(&waited_ms),
        "{waited_ms}"
    );
}
