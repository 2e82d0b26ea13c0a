//! Which server is left alone, and which is ended: by what is seen of it from outside.

use super::*;
use crate::act::ServerSeen;

impl Desk {
    /// What is seen of its server from outside.
    pub(super) fn seen_as(&mut self, moved: bool, ending: bool) -> String {
        self.tell(AgentInput::ServerSeen(ServerSeen { moved, ending }))
    }

    /// Looked at twice a second for so long, without an answer from it; what the agent did.
    fn looked_at(&mut self, ms: u64, moved: bool, ending: bool) -> String {
        let mut lines = Vec::new();
        for _ in 0..ms / 500 {
            self.now += 500;
            lines.push(self.seen_as(moved, ending));
        }
        lines.retain(|line| !line.is_empty());
        lines.join(", ")
    }
}

fn starting(started: bool) -> Desk {
    let mut desk = Desk::up();
    desk.runs(7, false);
    desk.tell(AgentInput::ServerExited);
    desk.acknowledged(1, named(1, "b"));
    desk.runs(8, started);
    desk
}

#[test]
fn a_recovery_is_left_alone_while_it_makes_progress() {
    let mut desk = starting(true);
    assert_eq!(desk.looked_at(3_600_000, true, false), "", "an hour");
    assert_eq!(desk.beats().word.says, MysqldWord::Starting);
    assert_eq!(desk.looked_at(9_500, false, false), "");
    assert_eq!(desk.looked_at(500, false, false), "kill", "restart_hold_ms");
    assert_eq!(desk.looked_at(9_500, false, false), "", "once");
    // Somebody else's may be open, and hung.
    assert_eq!(starting(false).looked_at(60_000, false, false), "");
}

#[test]
fn one_that_ran_and_hangs_is_not_ended_for_that() {
    assert_eq!(Desk::up().looked_at(60_000, false, false), "");
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    assert_eq!(desk.looked_at(60_000, false, false), "");
}

#[test]
fn a_shutdown_is_left_alone_while_it_makes_progress() {
    let mut desk = Desk::up();
    assert_eq!(desk.looked_at(3_600_000, true, true), "");
    assert_eq!(desk.looked_at(9_500, false, true), "");
    assert_eq!(desk.looked_at(500, false, true), "kill");
    assert_eq!(desk.tell(AgentInput::ServerExited), "start");
}

#[test]
fn a_shutdown_that_a_freeze_waits_for_is_ended() {
    // Ordered while it goes away, working hard.
    let mut desk = Desk::up();
    desk.looked_at(1_500, true, true);
    let said = desk.order(freeze(1), 20);
    assert_eq!(
        said,
        "persist(token 20; frozen 1), kill, refused: mysqld is shutting down; it is ended, and \
         asked again when it is up"
    );
    // The freeze was in hand before.
    let mut desk = Desk::up();
    desk.now += 1_500;
    desk.order(freeze(1), 20);
    assert_eq!(desk.looked_at(500, true, true), "kill");
    // Nobody waits for a server that is to follow.
    let mut desk = Desk::up();
    desk.looked_at(1_500, true, true);
    let said = desk.order(follow(1, "p:1-10"), 20);
    assert!(!said.contains("kill"), "{said}");
}

#[test]
fn a_shutdown_that_still_answers_is_left_to_answer() {
    let mut desk = Desk::up();
    desk.tell(AgentInput::ServerSeen(ServerSeen {
        moved: true,
        ending: true,
    }));
    let said = desk.order(freeze(1), 20);
    assert_eq!(said, "persist(token 20; frozen 1), run freeze");
}

/// On a full disk an earlier statement hangs in its server, and KILL does not end it.
#[test]
fn a_server_in_which_a_freeze_hangs_is_ended_and_frozen_when_it_is_up() {
    let frozen_by_kill = "refused: freeze failed: a statement hangs; mysqld is ended with SIGKILL and \
                          started again, and frozen then, kill";
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    assert_eq!(desk.hangs(), frozen_by_kill);
    assert_eq!(desk.order(freeze(1), 20), "", "in hand until it has exited");
    assert_eq!(
        desk.tell(AgentInput::ServerExited),
        "refused: mysqld exited; it is asked again when it is up, start"
    );
    desk.comes_up(holding("p:1-10", "p:1-12"));
    assert_eq!(desk.order(freeze(1), 20), "run freeze");
    assert_eq!(
        desk.ends(frozen(holding("p:1-10", "p:1-12"))),
        "say frozen p:1-12",
        "from the restarted server"
    );
    assert_eq!(desk.report.as_ref().unwrap().forgot, None);
}

#[test]
fn what_a_killed_server_holds_no_more_is_said() {
    let mut desk = Desk::up();
    desk.waits(200, &holding("p:1-10", "p:1-12"));
    desk.order(freeze(1), 20);
    desk.hangs();
    desk.now += 10;
    desk.tell(AgentInput::ServerExited);
    desk.comes_up(holding("p:1-10", "p:1-11"));
    desk.order(freeze(1), 20);
    desk.ends(frozen(holding("p:1-10", "p:1-11")));
    let report = desk.report.expect("it reports");
    let lost = format!("it lost {}:12 with its relay log", uuid("p"));
    assert_eq!(report.forgot, Some(lost));
}

/// Each would cost a restart, and gain no more than the one before.
#[test]
fn one_that_hangs_again_is_not_ended_over_and_over() {
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    desk.hangs();
    desk.tell(AgentInput::ServerExited);
    desk.comes_up(fenced());
    desk.order(freeze(1), 20);
    assert_eq!(desk.hangs(), "refused: freeze failed: a statement hangs");
    desk.waits(10_000, &fenced());
    desk.order(freeze(1), 20);
    assert!(desk.hangs().ends_with("kill"), "restart_hold_ms");
}

/// Only a freeze is worth a restart: somebody waits for what it yields.
#[test]
fn what_nobody_waits_for_is_not_ended() {
    let mut desk = Desk::up();
    desk.order(follow(1, "p:1-10"), 20);
    assert_eq!(desk.hangs(), "refused: follow failed: a statement hangs");
}

/// The freeze is undone then: nothing that it held can be read.
#[test]
fn one_that_does_not_start_again_says_why() {
    let mut desk = Desk::up();
    desk.order(freeze(1), 20);
    desk.hangs();
    desk.tell(AgentInput::ServerExited);
    desk.runs(77, true);
    desk.tell(AgentInput::ServerFails("No space left on device".into()));
    desk.tell(AgentInput::ServerExited);
    assert_eq!(
        desk.order(freeze(1), 20),
        "refused: mysqld is not up: No space left on device"
    );
    desk.comes_up(fenced());
    assert_eq!(desk.order(freeze(1), 20), "run freeze");
    desk.tell(AgentInput::ServerExited);
    assert_eq!(desk.order(freeze(1), 20), "refused: mysqld is not up yet");
}
