//! Fetching from another frozen replica, frozen all the while.

use super::*;

fn fetch(epoch: u64, wanted: &str, within: &str) -> OrderKind {
    OrderKind::Fetch {
        epoch: Epoch(epoch),
        donor: instance("c"),
        host: "c.example".into(),
        port: 3306,
        set: set(wanted),
        within: set(within),
        heartbeat_ms: 500,
    }
}

/// Follows `b` in epoch 1, then frozen for it.
fn frozen_desk() -> Desk {
    let mut desk = Desk::up();
    desk.order(follow(1, "p:1-10"), 2);
    desk.ends(frozen(fenced()));
    desk.ends(OpDone::Followed);
    desk.order(freeze(1), 20);
    desk.ends(frozen(fenced()));
    desk
}

#[test]
fn it_fetches_and_says_what_it_holds() {
    let mut desk = frozen_desk();
    let order = || fetch(1, "p:11-12", "p:1-12");
    assert_eq!(desk.order(order(), 21), "persist(token 21), run freeze");
    assert_eq!(desk.ends(frozen(fenced())), "run fetch c.example");
    assert_eq!(desk.order(order(), 21), "", "in hand");
    let more = holding("p:1-10", "p:11-12");
    assert_eq!(desk.ends(frozen(more.clone())), "say frozen p:1-12");
    assert_eq!(desk.agent.role(), Role::Frozen(Epoch(1)));
    assert_eq!(desk.order(order(), 21), "say frozen p:1-12", "asked again");
    // Whom it acknowledged to stays on record.
    assert_eq!(desk.disk.source, Some((instance("b"), Epoch(1))));
    assert_eq!(desk.disk.frozen, Some(Epoch(1)));
    // The order before it is stale.
    assert!(desk.order(freeze(1), 20).starts_with("refused: stale"));
}

#[test]
fn what_came_in_part_is_fetched_on() {
    let mut desk = frozen_desk();
    let order = || fetch(1, "p:11-12", "p:1-12");
    desk.order(order(), 21);
    desk.ends(frozen(fenced()));
    let part = holding("p:1-10", "p:11");
    assert_eq!(desk.ends(frozen(part.clone())), "say frozen p:1-11");
    desk.waits(200, &part);
    assert_eq!(desk.order(order(), 21), "run freeze");
}

#[test]
fn only_one_that_is_frozen_for_that_epoch_fetches() {
    let mut desk = Desk::up();
    assert_eq!(
        desk.order(fetch(1, "p:11", "p:1-11"), 21),
        "persist(token 21), refused: not frozen for epoch 1"
    );
    let mut desk = frozen_desk();
    assert_eq!(
        desk.order(fetch(2, "p:11", "p:1-11"), 30),
        "persist(token 30), refused: not frozen for epoch 2"
    );
    // It remembers, whatever restarts.
    let (mut desk, _) = frozen_desk().restarts(fenced());
    assert_eq!(
        desk.order(fetch(1, "p:11", "p:1-11"), 30),
        "persist(token 30), run freeze"
    );
}

#[test]
fn it_is_compared_with_its_donor_first() {
    let mut desk = frozen_desk();
    desk.order(fetch(1, "p:11-12", "p:1-12"), 21);
    let more = holding("p:1-10", "q:7");
    assert_eq!(
        desk.ends(frozen(more)),
        format!("refused: it holds {}:7, which c does not", uuid("q"))
    );
}

#[test]
fn a_higher_epoch_ends_it() {
    let mut desk = frozen_desk();
    desk.order(fetch(1, "p:11-12", "p:1-12"), 21);
    desk.ends(frozen(fenced()));
    assert_eq!(
        desk.order(follow(2, "p:1-12"), 30),
        "cancel, persist(token 30), run freeze",
        "it receives from nobody before it is compared"
    );
}

/// Somebody else's report made the fetch needless, and it was chosen meanwhile. What still came in
/// would be applied once it is open, beside its clients' writes. (Found by the simulator.)
#[test]
fn one_that_is_to_open_stops_fetching_and_applies_what_came() {
    let mut desk = frozen_desk();
    desk.order(fetch(1, "p:11-12", "p:1-12"), 21);
    desk.ends(frozen(fenced()));
    assert_eq!(
        desk.order(open_for(2, "p:1-10"), 30),
        "cancel, persist(token 30), run freeze"
    );
    let came = holding("p:1-10", "p:11");
    assert_eq!(desk.ends(frozen(came)), "run apply p:1-11");
}

#[test]
fn one_that_receives_as_far_as_its_agent_knows_is_stopped_before_it_opens() {
    let (mut desk, _) = frozen_desk().restarts(Survey {
        io: IoThread::On,
        ..fenced()
    });
    assert_eq!(
        desk.order(open_for(2, "p:1-10"), 30),
        "persist(token 30), run freeze"
    );
}

/// Frozen, it restarted, and boots with its applier stopped: what it received would never reach its
/// binary log, from which another has to fetch it. (Found by the simulator.)
#[test]
fn a_frozen_one_that_restarted_applies_what_it_received() {
    let left = Survey {
        applier_runs: false,
        source: Some(("b.example".into(), 3306)),
        ..holding("p:1-10", "p:11-12")
    };
    let (_, said) = frozen_desk().restarts(left.clone());
    assert_eq!(said, "run start applier");
    // The primary is gone, so its receiver cannot connect: that stops no applier.
    let alone = Survey {
        receiver_error: "2003: Error connecting to source".into(),
        ..left.clone()
    };
    assert_eq!(frozen_desk().restarts(alone).1, "run start applier");
    // One that stopped on an error would stop on it again; one that follows is no concern of this.
    let broken = Survey {
        applier_error: "1062: Duplicate entry".into(),
        ..left.clone()
    };
    assert_eq!(frozen_desk().restarts(broken).1, "");
    let mut follows = Desk::up();
    follows.order(follow(1, "p:1-10"), 2);
    follows.ends(frozen(fenced()));
    follows.ends(OpDone::Followed);
    assert_eq!(follows.restarts(left).1, "");
}

/// What it fetched came by a receiver that may run still, whatever the look before showed.
#[test]
fn one_that_has_fetched_is_stopped_before_it_opens() {
    let mut desk = frozen_desk();
    desk.order(fetch(1, "p:11-12", "p:1-12"), 21);
    desk.ends(frozen(fenced()));
    desk.fails();
    let said = desk.order(open_for(2, "p:1-10"), 30);
    assert_eq!(said, "persist(token 30), run freeze");
    assert!(desk.ends(frozen(fenced())).starts_with("run apply"));
}

#[test]
fn only_what_is_left_with_a_stopped_applier_is_started() {
    let left = Survey {
        source: Some(("b.example".into(), 3306)),
        ..holding("p:1-10", "p:11-12")
    };
    let runs = Survey {
        applier_runs: true,
        ..left.clone()
    };
    assert_eq!(frozen_desk().restarts(runs).1, "");
    let forgot = Survey {
        source: None,
        applier_runs: false,
        ..left
    };
    assert_eq!(frozen_desk().restarts(forgot).1, "");
}
