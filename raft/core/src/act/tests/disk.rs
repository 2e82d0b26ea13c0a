//! What waits for a disk, and what does not: toward closed nothing.

use super::*;

const REFUSED: &str = "refused: this agent's disk takes no writes, and nothing that opens or \
                       follows is done before what allows it is durable";

fn stalled(mut desk: Desk) -> Desk {
    desk.disk_hangs = true;
    desk
}

#[test]
fn a_freeze_is_done_beside_the_write_and_said_after_it() {
    let mut desk = stalled(Desk::up());
    assert_eq!(
        desk.order(freeze(1), 20),
        "persist(token 20; frozen 1), run freeze"
    );
    assert_eq!(desk.ends(frozen(fenced())), "", "nothing is durable");
    assert_eq!(desk.writes(), "say frozen p:1-10");
}

#[test]
fn a_fence_is_done_beside_the_write_and_said_after_it() {
    let mut desk = stalled(Desk::serving());
    assert_eq!(desk.order(fence(1), 20), "persist(token 20), run fence");
    assert_eq!(desk.ends(confirmed()), "persist(shut 1)");
    assert_eq!(desk.agent.serving(), None);
    assert_eq!(desk.writes(), "say confirmed p:1-12");
}

/// However many have ended before it.
#[test]
fn a_write_that_hangs_behind_another_is_slow_too() {
    let mut desk = stalled(Desk::up());
    desk.order(fence(1), 20);
    let (first, _) = desk.handed.clone().expect("something to write");
    desk.order(freeze(1), 21);
    desk.tell(AgentInput::Persisted {
        number: first,
        ok: true,
    });
    assert_eq!(desk.ends(frozen(fenced())), "", "nothing is durable");
    let said = desk.waits(5_000, &fenced());
    assert!(said.contains("say frozen p:1-10, undurable"), "{said}");
}

#[test]
fn what_follows_waits_for_its_promise() {
    let mut desk = Desk::up();
    desk.order(follow(1, "p:1-10"), 20);
    let mut desk = stalled(desk);
    assert_eq!(desk.ends(frozen(fenced())), "persist(source b 1)");
    let turns = "run follow b.example acking with p:1-10 at most";
    assert_eq!(desk.writes(), turns);
}

#[test]
fn what_opens_waits_for_its_promise() {
    let mut desk = Desk::up();
    desk.order(open_for(1, "p:1-10"), 20);
    desk.ends(OpDone::Applied);
    let mut desk = stalled(desk);
    assert_eq!(desk.ends(prepared("p:1-10")), "persist(opened 1)");
    assert_eq!(desk.writes(), "run open k=1");
    // A newer order withdraws what has not left.
    let mut desk = Desk::up();
    desk.order(open_for(1, "p:1-10"), 20);
    desk.ends(OpDone::Applied);
    let mut desk = stalled(desk);
    desk.ends(prepared("p:1-10"));
    assert_eq!(desk.order(fence(1), 21), "persist(token 21), run fence");
    assert_eq!(desk.writes(), "", "no opening leaves");
    // So does an exit.
    let mut desk = stalled(Desk::up());
    desk.order(open_for(1, "p:1-10"), 20);
    desk.tell(AgentInput::ServerExited);
    assert!(!desk.writes().contains("run"));
}

#[test]
fn a_freeze_that_nothing_is_written_of_says_so_and_is_said_anew() {
    for fails in [true, false] {
        let mut desk = stalled(Desk::up());
        desk.order(freeze(1), 20);
        desk.ends(frozen(fenced()));
        let said = if fails {
            desk.write_fails()
        } else {
            assert_eq!(desk.waits(200, &fenced()), "");
            desk.waits(10, &fenced())
        };
        assert_eq!(said, "say frozen p:1-10, undurable");
        assert_eq!(
            desk.order(freeze(1), 20),
            "say frozen p:1-10, undurable",
            "asked again"
        );
        assert_eq!(desk.order(follow(2, "p:1-10"), 30), REFUSED);
        assert_eq!(desk.order(open_for(2, "p:1-10"), 30), REFUSED);
        assert_eq!(
            desk.waits(1_000, &fenced()),
            "persist()",
            "tried each second"
        );
        assert_eq!(desk.writes(), "say frozen p:1-10", "once");
        assert_eq!(
            desk.order(follow(2, "p:1-10"), 31),
            "persist(token 31; source b 2), run follow b.example acking with p:1-10 at most",
            "it obeys again"
        );
    }
}

#[test]
fn an_order_that_its_disk_fails_is_refused() {
    let mut desk = Desk::up();
    desk.order(open_for(1, "p:1-10"), 20);
    desk.ends(OpDone::Applied);
    let mut desk = stalled(desk);
    desk.ends(prepared("p:1-10"));
    assert_eq!(desk.write_fails(), REFUSED);
    assert!(!desk.writes().contains("run"), "given up");
    assert_eq!(desk.agent.role(), Role::Closed);
}

/// Both switches may be turned back once the agent has forgotten why they were set.
#[test]
fn without_a_disk_only_an_exit_is_a_fence() {
    let mut desk = stalled(Desk::serving());
    desk.order(fence(1), 20);
    assert_eq!(desk.ends(confirmed()), "persist(shut 1)");
    assert_eq!(desk.write_fails(), "", "the write may still return");
    let said = desk.waits(3_600, &fenced());
    assert!(said.contains("kill"), "{said}");
    assert!(!said.contains("say"), "{said}");
    let said = desk.tell(AgentInput::ServerExited);
    assert!(said.ends_with("say exited, undurable"), "{said}");
    assert_eq!(desk.writes(), "say exited");
}

/// It is given as long as a fence may take, and no longer.
#[test]
fn the_write_of_a_fence_has_the_time_of_a_fence() {
    let mut desk = stalled(Desk::serving());
    desk.order(fence(1), 20);
    desk.ends(confirmed());
    let begun = desk.now;
    while !desk.waits(10, &fenced()).contains("kill") {}
    assert_eq!(desk.now - begun, Settings::default().fence_ms);
}

/// No other process is ever called by a number that may be forgotten.
#[test]
fn a_new_process_is_spoken_of_once_its_number_is_durable() {
    let mut desk = Desk::serving();
    desk.tell(AgentInput::ServerExited);
    let mut desk = stalled(desk);
    desk.runs(8, true);
    desk.waits(100, &fenced());
    let word = desk.beats().word;
    assert_eq!(
        (word.mysqld, word.says),
        (Incarnation(0), MysqldWord::Exited)
    );
    desk.writes();
    let word = desk.beats().word;
    assert_eq!(
        (word.mysqld, word.says),
        (Incarnation(1), MysqldWord::Starting)
    );
}

#[test]
fn what_it_held_when_it_left_its_source_is_reported() {
    let seal = Seal {
        source: Some((instance("p"), Epoch(1))),
        ..enrolled_seal()
    };
    let (mut desk, _) = Desk::with(seal, fenced());
    desk.order(follow(2, "p:1-20"), 20);
    desk.ends(frozen(holding("p:1-10", "p:11-12")));
    assert_eq!(
        desk.disk.left.keys().collect::<Vec<_>>(),
        [&instance("p")],
        "durable before it turns"
    );
    desk.ends(OpDone::Followed);
    desk.order(freeze(2), 30);
    desk.ends(frozen(holding("p:1-15", "")));
    let report = desk.report.clone().expect("it is frozen");
    assert_eq!(report.replicated_from, Some(instance("b")));
    assert_eq!(report.left, [(instance("p"), set("p:1-12"))].into());
    // Opened, what it holds is its own.
    desk.order(open_for(3, "p:1-10"), 40);
    desk.opens("p:1-15");
    assert_eq!(desk.disk.left, BTreeMap::new());
}

/// The write that was under way before it says nothing of it; the first that holds it does.
#[test]
fn a_process_is_durable_with_the_first_write_that_names_it() {
    let number = |desk: &mut Desk| {
        desk.waits(110, &fenced());
        desk.beats().word.mysqld
    };
    let written = |desk: &mut Desk, number| desk.tell(AgentInput::Persisted { number, ok: true });
    let asked = |desk: &Desk| desk.handed.as_ref().expect("something to write").0;
    let mut desk = Desk::up();
    desk.tell(AgentInput::ServerExited);
    let mut desk = stalled(desk);
    desk.order(freeze(1), 20);
    let before = asked(&desk);
    desk.runs(8, true);
    let by = asked(&desk);
    desk.order(freeze(2), 21);
    assert!(before < by && by < asked(&desk));
    written(&mut desk, before);
    assert_eq!(number(&mut desk), Incarnation(0));
    written(&mut desk, by);
    assert_eq!(number(&mut desk), Incarnation(1));
}

#[test]
fn what_was_frozen_is_said_though_its_server_exits_meanwhile() {
    let mut desk = stalled(Desk::up());
    desk.order(freeze(1), 20);
    assert_eq!(desk.ends(frozen(fenced())), "");
    desk.tell(AgentInput::ServerExited);
    let said = desk.writes();
    assert!(said.contains("say frozen p:1-10"), "{said}");
}

/// Each leader asks anew; the newest order is the one that is to be answered.
#[test]
fn a_fence_that_was_asked_for_twice_ends_with_an_exit_too() {
    let mut desk = stalled(Desk::serving());
    desk.order(fence(1), 20);
    desk.ends(confirmed());
    desk.order(fence(1), 25);
    desk.ends(confirmed());
    let said = desk.waits(Settings::default().fence_ms + 100, &fenced());
    assert!(said.contains("kill"), "{said}");
    let said = desk.tell(AgentInput::ServerExited);
    assert!(said.contains("say exited, undurable"), "{said}");
}

/// A fence that a later order took the place of kills nothing.
#[test]
fn an_order_in_hand_is_not_ended_for_a_fence_before_it() {
    let mut desk = stalled(Desk::serving());
    desk.order(fence(1), 20);
    desk.ends(confirmed());
    desk.order(freeze(1), 21);
    let said = desk.waits(Settings::default().fence_ms + 100, &fenced());
    assert!(!said.contains("kill"), "{said}");
}
