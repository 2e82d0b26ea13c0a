//! What it has promised, it keeps; coming back after a crash.

use super::*;

// ---- promises kept

#[test]
fn frozen_starts_nothing_toward_the_same_epoch() {
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    desk.ends(frozen(fenced()));
    let refusal = "persist(token 30), refused: frozen for an epoch not below 1";
    assert_eq!(desk.order(follow(1, "p:1-10"), 30), refusal);
    let (mut desk, _) = desk.restarts(fenced());
    let refusal = "persist(token 31), refused: frozen for an epoch not below 1";
    assert_eq!(
        desk.order(follow(1, "p:1-10"), 31),
        refusal,
        "whatever restarts"
    );
    assert_eq!(
        desk.order(open_for(1, ""), 32),
        "persist(token 32), refused: shut or frozen for an epoch not below 1"
    );
    assert_eq!(
        desk.order(follow(2, "p:1-10"), 33),
        "persist(token 33), run freeze"
    );
}

#[test]
fn confirmed_binds() {
    let mut desk = Desk::serving();
    desk.order(fence(1), 20);
    desk.ends(confirmed());
    for kind in [open_for(1, ""), reopen(1, 0)] {
        let said = desk.order(kind, 30);
        assert!(said.contains("refused") && said.contains("shut"), "{said}");
    }
    let (mut desk, said) = desk.restarts(open());
    assert_eq!(said, "run fence", "whoever opened it meanwhile");
    assert!(desk.order(reopen(1, 0), 31).contains("refused"));
    assert_eq!(
        desk.order(open_for(2, "p:1-10"), 40),
        "persist(token 40), run apply p:1-10"
    );
}

#[test]
fn an_exit_answers_the_fence() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    assert_eq!(
        desk.beats().word.says,
        MysqldWord::Exited,
        "at once, not with the next beat"
    );
    assert_eq!(
        desk.order(fence(1), 20),
        "persist(token 20; shut 1), say exited"
    );
    assert_eq!(desk.order(fence(1), 20), "say exited", "asked again");
    // While it fences.
    let mut desk = Desk::serving();
    desk.order(fence(1), 20);
    assert_eq!(
        desk.tell(AgentInput::ServerExited),
        "persist(shut 1), say exited"
    );
    // Another order is asked again later.
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    assert!(
        desk.tell(AgentInput::ServerExited)
            .starts_with("refused: mysqld exited; it is asked again when it is up")
    );
}

#[test]
fn one_that_came_up_again_says_what_it_holds() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    desk.order(fence(1), 20);
    let said = desk.waits(10_010, &fenced());
    assert_eq!(said, "start");
    desk.comes_up(fenced());
    assert_eq!(desk.order(fence(1), 20), "run fence");
    assert_eq!(desk.ends(confirmed()), "persist(), say confirmed p:1-12");
}

#[test]
fn what_cannot_be_fenced_is_killed() {
    let mut desk = Desk::serving();
    desk.order(fence(1), 20);
    assert_eq!(desk.fails(), "kill");
    assert_eq!(desk.order(fence(1), 20), "", "in hand");
    assert_eq!(
        desk.tell(AgentInput::ServerExited),
        "persist(shut 1), say exited"
    );
}

#[test]
fn an_order_of_a_higher_epoch_first_closes_what_is_open() {
    let mut desk = Desk::serving();
    assert_eq!(
        desk.order(freeze(2), 20),
        "persist(token 20; frozen 2), run fence"
    );
    assert_eq!(desk.ends(confirmed()), "run freeze");
    assert_eq!(desk.agent.role(), Role::Frozen(Epoch(2)));
}

// ---- coming back

#[test]
fn a_primary_waits_for_the_log_before_it_starts_again() {
    let exited = || {
        let mut desk = Desk::serving();
        desk.acknowledged(1, named(1, "a"));
        assert_eq!(desk.tell(AgentInput::ServerExited), "");
        desk
    };
    let mut desk = exited();
    assert_eq!(desk.waits(9_990, &fenced()), "");
    assert_eq!(
        desk.waits(10, &fenced()),
        "start",
        "it was held long enough"
    );
    let mut desk = exited();
    assert_eq!(desk.acknowledged(2, named(2, "b")), "start");
    // A replica boots fenced, and starts at once.
    let mut desk = Desk::up();
    assert_eq!(desk.tell(AgentInput::ServerExited), "start");
}
