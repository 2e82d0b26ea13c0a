//! Which server is left alone, and which is ended: by what is seen of it from outside.

use super::*;
use crate::act::ServerSeen;

impl Desk {
    /// Looked at twice a second for so long, without an answer from it; what the agent did.
    fn looked_at(&mut self, ms: u64, moved: bool, ending: bool) -> String {
        let mut lines = Vec::new();
        for _ in 0..ms / 500 {
            self.now += 500;
            lines.push(self.tell(AgentInput::ServerSeen(ServerSeen { moved, ending })));
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
