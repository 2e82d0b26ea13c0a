//! Whose exit is told, and what becomes of a server that somebody else started.

use super::*;

/// What a seal remembers of its process, and what it makes of the one that it meets.
#[test]
fn each_process_is_an_incarnation_of_its_own() {
    let meets = |known: Option<u32>, pid, started| {
        let seal = Seal {
            process: known.map(process),
            ..enrolled_seal()
        };
        let mut desk = Desk::boot(seal);
        desk.runs(pid, started);
        assert_eq!(desk.disk.process, Some(process(pid)), "durable");
        assert_eq!(desk.beats().word.says, MysqldWord::Starting);
        assert_eq!(desk.beats().word.mysqld, desk.disk.mysqld);
        desk.disk.mysqld.0
    };
    assert_eq!(meets(Some(7), 7, false), 0, "the known one");
    assert_eq!(meets(Some(7), 8, false), 1, "another, whoever started it");
    assert_eq!(meets(Some(7), 8, true), 1);
    assert_eq!(meets(None, 8, false), 0, "found by a seal that knew none");
    assert_eq!(meets(None, 8, true), 1);
}

#[test]
fn no_right_to_be_open_passes_from_one_process_to_another() {
    let found = |pid| {
        let mut desk = Desk::serving();
        desk.disk.process = Some(process(7));
        let mut desk = Desk::boot(desk.disk.clone());
        desk.runs(pid, false);
        desk.tell(AgentInput::ServerUp);
        let said = desk.surveyed(open());
        (said, desk.agent.role())
    };
    let goes_on = ("run marker 1".to_owned(), Role::Open(Epoch(1)));
    assert_eq!(found(7), goes_on, "only the agent restarted");
    assert_eq!(found(8), ("run fence".to_owned(), Role::Closed));
}

/// It may take hours over its recovery; it boots fenced, and nobody has opened it.
#[test]
fn what_it_started_is_closed_as_it_stands() {
    let starting = || {
        let mut desk = Desk::serving();
        desk.tell(AgentInput::ServerExited);
        desk.waits(10_010, &fenced());
        desk.runs(77, true);
        desk
    };
    let mut desk = starting();
    assert_eq!(
        desk.order(fence(1), 20),
        "persist(token 20; shut 1), say exited"
    );
    assert_eq!(desk.disk.boots, Some(Incarnation(1)));
    // So it is after a restart of the agent, as long as it has not come up.
    let mut seal = starting().disk;
    seal.agent = seal.agent.next();
    let mut desk = Desk::boot(seal.clone());
    desk.runs(77, false);
    assert!(desk.order(fence(1), 20).ends_with("say exited"));
    // Up, anybody may have changed it.
    let mut desk = Desk::boot(seal);
    desk.runs(77, false);
    desk.tell(AgentInput::ServerUp);
    desk.surveyed(fenced());
    let mut desk = Desk::boot(desk.disk);
    desk.runs(77, false);
    assert!(desk.order(fence(1), 20).ends_with("run fence"));
}

/// Not even a word that it has exited, said just before, answers for it.
#[test]
fn what_somebody_else_started_is_fenced_or_killed() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    desk.runs(8, false);
    assert_eq!(
        desk.order(fence(1), 20),
        "persist(token 20), run fence",
        "it is not up yet, and how it boots is not known"
    );
    assert_eq!(desk.fails(), "kill");
    assert_eq!(
        desk.tell(AgentInput::ServerExited),
        "persist(shut 1), say exited"
    );
}

#[test]
fn one_that_fails_to_start_has_been_down_since_it_exited() {
    let mut desk = Desk::serving();
    desk.acknowledged(1, named(1, "a"));
    desk.tell(AgentInput::ServerExited);
    assert_eq!(desk.waits(10_000, &fenced()), "start");
    desk.runs(77, true);
    assert_eq!(desk.tell(AgentInput::ServerExited), "start", "held enough");
    desk.comes_up(fenced());
    assert_eq!(desk.tell(AgentInput::ServerExited), "", "held anew");
}
