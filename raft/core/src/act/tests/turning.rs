//! Whoever is told to follow is compared first: by its newest look where it stands frozen, and once
//! more by the statement that turns it.

use super::*;
use crate::act::Left;

const TURNS: &str =
    "persist(token 30; source b 2), run follow b.example acking with p:1-12 at most";

/// Frozen for epoch 1, under `p`.
fn stands_frozen() -> Desk {
    let mut seal = enrolled_seal();
    seal.source = Some((instance("p"), Epoch(1)));
    let (mut desk, _) = Desk::with(seal, following());
    desk.order(freeze(1), 20);
    desk.ends(frozen(holding("p:1-10", "p:11-12")));
    desk
}

#[test]
fn one_that_stands_frozen_is_not_stopped_again() {
    let mut desk = stands_frozen();
    assert_eq!(desk.order(follow(2, "p:1-12"), 30), TURNS);
    assert_eq!(desk.ends(OpDone::Followed), "");
    assert_eq!(desk.waits(10, &following()), "", "it connects");
    assert_eq!(desk.waits(10, &following()), "say following");
    // From here on it has what its source sends: it is compared with nothing.
    desk.waits(200, &fenced());
    assert_eq!(
        desk.order(follow(2, "p:1-12"), 30),
        "run follow b.example acking"
    );
}

/// It is told what it was compared with as often as it is not known to have turned.
#[test]
fn who_may_not_have_turned_is_compared_by_the_next_try_too() {
    let mut desk = stands_frozen();
    desk.order(follow(2, "p:1-12"), 30);
    assert!(desk.fails().starts_with("refused: follow failed"));
    assert_eq!(
        desk.order(follow(2, "p:1-12"), 31),
        "persist(token 31), run follow b.example acking with p:1-12 at most"
    );
}

#[test]
fn one_that_was_given_more_since_is_compared_in_full() {
    let more = || frozen(holding("p:1-12", "p:13"));
    let mut desk = stands_frozen();
    desk.order(follow(2, "p:1-12"), 30);
    assert_eq!(
        desk.ends(OpDone::HoldsMore),
        "persist(source p 1), run freeze",
        "it turned nowhere"
    );
    assert_eq!(desk.disk.left, BTreeMap::new());
    let refused = desk.ends(more());
    assert!(refused.starts_with("say will not follow"), "{refused}");
    assert_eq!(desk.agent.role(), Role::Closed);
    // Asked again it is compared again.
    assert_eq!(
        desk.order(follow(2, "p:1-12"), 31),
        "persist(token 31), run freeze"
    );
    // What it was given may be what its source has.
    let mut desk = stands_frozen();
    desk.order(follow(2, "p:1-12"), 30);
    desk.ends(OpDone::HoldsMore);
    desk.ends(frozen(holding("p:1-11", "p:12")));
    let left = Left::Held {
        server_uuid: None,
        holds: set("p:1-12"),
    };
    assert_eq!(desk.disk.left, [(instance("p"), left)].into());
    assert_eq!(desk.disk.source, Some((instance("b"), Epoch(2))));
}

#[test]
fn an_old_look_or_one_that_receives_serves_for_nothing() {
    let stops = "persist(token 30), run freeze";
    // It holds too much already: what is said of it is what it holds now.
    let mut desk = stands_frozen();
    assert_eq!(desk.order(follow(2, "p:1-11"), 30), stops);
    // Somebody has started its receiver.
    let mut desk = stands_frozen();
    desk.acknowledged(
        1,
        NamedPrimary {
            hands_off: true,
            ..named(1, "p")
        },
    );
    desk.waits(200, &following());
    assert_eq!(desk.order(follow(2, "p:1-12"), 30), stops);
    // It was not frozen at all.
    let mut desk = Desk::up();
    assert_eq!(desk.order(follow(2, "p:1-12"), 30), stops);
    // Its agent has forgotten that it was.
    let desk = stands_frozen();
    let (mut desk, _) = desk.restarts(holding("p:1-10", "p:11-12"));
    assert_eq!(desk.order(follow(2, "p:1-12"), 30), stops);
    // A fetch is under way, or was given up.
    let mut desk = stands_frozen();
    let fetches = OrderKind::Fetch {
        epoch: Epoch(1),
        donor: instance("c"),
        host: "c.example".into(),
        port: 3306,
        set: set("p:13"),
        within: set("p:1-13"),
        heartbeat_ms: 500,
    };
    desk.order(fetches, 21);
    desk.ends(frozen(holding("p:1-10", "p:11-12")));
    assert_eq!(
        desk.order(follow(2, "p:1-12"), 30),
        format!("cancel, {stops}")
    );
}

/// Its disk says that it turned, and nobody knows whether its server did.
#[test]
fn another_run_of_its_agent_compares_in_full_unless_its_server_shows_the_new_source() {
    let restarted = |shows: Survey| {
        let mut desk = stands_frozen();
        desk.order(follow(2, "p:1-12"), 30);
        desk.restarts(shows).0
    };
    let compares = "persist(token 31), run freeze";
    let elsewhere = Survey {
        source: Some(("p.example".into(), 3306)),
        ..following()
    };
    for shows in [fenced(), elsewhere] {
        let mut desk = restarted(shows);
        assert_eq!(desk.order(follow(2, "p:1-12"), 31), compares);
        let refused = desk.ends(frozen(holding("p:1-12", "p:13")));
        assert!(refused.starts_with("say will not follow"), "{refused}");
    }
    let mut desk = restarted(following());
    assert_eq!(
        desk.order(follow(2, "p:1-12"), 31),
        "persist(token 31), run follow b.example acking"
    );
}

/// Whoever was compared in full is stopped once more by the statement that turns it.
#[test]
fn one_that_is_started_between_its_comparison_and_its_turn_is_compared_again() {
    let mut desk = Desk::up();
    desk.order(follow(2, "p:1-12"), 30);
    let turns = desk.ends(frozen(holding("p:1-10", "p:11")));
    assert!(turns.ends_with("acking with p:1-11 at most"), "{turns}");
    assert!(desk.ends(OpDone::HoldsMore).ends_with("run freeze"));
    let turns = desk.ends(frozen(holding("p:1-10", "p:11-12")));
    assert!(turns.ends_with("acking with p:1-12 at most"), "{turns}");
}

/// An order for a later epoch leaves nothing of it: it may have turned, or not.
#[test]
fn what_was_compared_for_one_epoch_serves_for_no_other() {
    let mut desk = stands_frozen();
    desk.order(follow(2, "p:1-12"), 30);
    assert_eq!(
        desk.order(freeze(2), 40),
        "cancel, persist(token 40; frozen 2), run freeze"
    );
    desk.ends(frozen(holding("p:1-13", "")));
    let said = desk.order(follow(3, "p:1-13"), 50);
    assert!(
        said.ends_with("run follow b.example acking with p:1-13 at most"),
        "{said}"
    );
    desk.ends(OpDone::HoldsMore);
    assert_eq!(
        desk.disk.source,
        Some((instance("b"), Epoch(2))),
        "as it was"
    );
}

/// A tool that keeps replicas running starts one that is frozen: it is stopped again, and tells what it
/// holds now, some of which it may have acknowledged.
#[test]
fn a_receiver_that_is_started_while_frozen_is_stopped_and_told() {
    let mut desk = stands_frozen();
    assert_eq!(desk.waits(200, &following()), "run freeze");
    assert_eq!(
        desk.ends(frozen(holding("p:1-10", "p:11-14"))),
        "say frozen p:1-14"
    );
    assert_eq!(
        desk.order(freeze(1), 20),
        "say frozen p:1-14",
        "asked again"
    );
    // Without its report, which is to come, there is nothing to be told.
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    desk.fails();
    assert_eq!(desk.waits(200, &following()), "run freeze");
    assert_eq!(desk.ends(frozen(fenced())), "");
}
