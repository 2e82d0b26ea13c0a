//! What a leader makes of an agent's words: each is recorded once, and what it may not rest on never.

use super::*;

#[test]
fn a_freeze_that_may_be_forgotten_is_not_recorded() {
    let mut plane = deposed();
    let report = FreezeReport {
        undurable: true,
        ..report("a", "p:1-12", "")
    };
    plane.tell(0, reply(1, "a", Said::Frozen { report }));
    plane.runs(40);
    plane.never("records a frozen");
    let refused = plane.standing().refused;
    assert!(refused[&instance("a")].contains("disk takes no writes"));
    plane.tell(0, frozen("a", "p:1-12"));
    plane.runs(40);
    assert_eq!(plane.times("1 records a frozen"), 1);
    assert_eq!(plane.standing().refused, BTreeMap::new());
}

#[test]
fn what_a_fence_found_is_recorded_once_and_never_after_the_choice() {
    let mut plane = deposed();
    let says = |plane: &mut Plane, report: FenceReport| {
        plane.tell(0, fenced("p", report));
        plane.runs(40);
    };
    for _ in 0..3 {
        says(&mut plane, FenceReport::Exited);
    }
    assert_eq!(plane.times("1 records p fenced"), 1);
    for letter in ["a", "b"] {
        plane.tell(0, frozen(letter, "p:1-12"));
    }
    plane.runs(200);
    plane.when("1 chooses a");
    says(&mut plane, FenceReport::Exited);
    assert_eq!(plane.times("1 records p fenced"), 1);
}

#[test]
fn that_one_follows_is_recorded_once() {
    let mut plane = Plane::new(World::serving("pab", 1));
    plane.lines.clear();
    for _ in 0..3 {
        plane.tell(0, reply(1, "a", Said::Following));
        plane.runs(40);
    }
    assert_eq!(plane.times("1 Followed"), 1);
}

/// That a primary is open is news where the log does not say so, or says that it is to open again.
#[test]
fn that_one_is_open_is_recorded_where_the_log_does_not_have_it() {
    for (opened, reopens, acknowledged, news) in [
        (true, false, true, false),
        (true, false, false, false),
        (true, true, true, true),
        (true, true, false, false),
        (false, false, false, true),
    ] {
        let mut plane = Plane::new(world());
        if reopens {
            plane.world.must(Command::Reopen {
                cluster: cluster_id(),
                epoch: Epoch(1),
                instance: instance("p"),
                mysqld: Incarnation(1),
            });
        }
        let of = promotion_of(plane.world.cluster_mut());
        (of.opened, of.acknowledged) = (opened, acknowledged);
        plane.show_state();
        plane.lines.clear();
        let mysqld = Some(Incarnation(1));
        plane.tell(0, reply(1, "p", Said::Opened { mysqld }));
        plane.runs(40);
        let case = format!("opened {opened}, reopens {reopens}, acknowledged {acknowledged}");
        assert_eq!(plane.times("1 Opened") == 1, news, "{case}");
    }
}

/// `p` has opened, and the log has no acknowledged write of it.
fn unproved() -> Plane {
    let mut plane = Plane::new(world());
    promotion_of(plane.world.cluster_mut()).acknowledged = false;
    plane.show_state();
    plane
}

fn first_write(epoch: u64, letter: &str, floor: &str) -> NodeInput {
    let said = Said::Acknowledged { floor: set(floor) };
    in_epoch(epoch, reply(1, letter, said))
}

#[test]
fn a_first_write_counts_once_k_ackers_hold_it() {
    let mut plane = unproved();
    plane.tell(0, first_write(1, "p", "p:1-13"));
    plane.runs(500);
    plane.never("records the first write");
    let waits = plane.standing().waits.join("; ");
    assert!(
        waits.contains("once 1 ackers hold what was executed then (0 do)"),
        "{waits}"
    );
    plane.bend = Box::new(|host, beat| {
        if host == "b" {
            beat.received = set("p:13");
        }
    });
    plane.runs(500);
    plane.when("1 records the first write");
    let promotion = plane.world.cluster().promotion();
    assert!(promotion.is_some_and(|of| of.acknowledged));
}

#[test]
fn a_first_write_of_another_or_of_another_epoch_counts_for_nothing() {
    for (epoch, letter) in [(0, "p"), (2, "p"), (1, "a")] {
        let mut plane = unproved();
        plane.tell(0, first_write(epoch, letter, "p:1-12"));
        plane.runs(500);
        plane.never("records the first write");
    }
}

#[test]
fn a_server_enrols_once_its_agent_tells_which_one_it_is() {
    let mut plane = Plane::new(world());
    plane.lines.clear();
    plane.runs(500);
    plane.never("Enrolled");
    let spec = plane.world.cluster_mut().instances.get_mut(&instance("a"));
    spec.expect("an instance").server_uuid = None;
    plane.show_state();
    plane.runs(500);
    assert_eq!(plane.times("1 Enrolled"), 1);
    let spec = &plane.world.cluster().instances[&instance("a")];
    assert_eq!(spec.server_uuid, Some(uuid("a")));
}

/// A learner has no say in the feature level.
#[test]
fn who_is_no_voter_announces_nothing() {
    let mut plane = Plane::new(world());
    plane.world.state.voters.remove(&NodeId(3));
    plane.world.state.knows.clear();
    plane.show_state();
    plane.runs(500);
    for (line, times) in [("1 Announce", 1), ("2 Announce", 1), ("3 Announce", 0)] {
        assert_eq!(plane.times(line), times, "{line}");
    }
}

/// What the rest after a failover still lasts is said where a verdict waits for it.
#[test]
fn a_verdict_that_waits_for_the_rest_says_how_long() {
    let mut plane = Plane::new(world());
    plane.world.cluster_mut().rest_ms = 90_000;
    plane.show_state();
    plane.down.insert("p");
    plane.runs(4_000);
    plane.never("deposed");
    let waits = plane.standing().waits.join("; ");
    assert!(
        waits.contains("less than min_interval_s ago (90 s left)"),
        "{waits}"
    );
}
