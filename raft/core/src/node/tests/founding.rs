//! A founding that is refused: it is said why, everybody is asked again, and the log is not filled.

use super::*;
use crate::record::Stage;

/// What each server holds, and whether it says so when it is asked.
type Holds = [(&'static str, &'static str); 3];

fn registered() -> Plane {
    let mut world = World::of("xyz");
    world.must(Command::Register(Box::new(registration("pab", 1))));
    Plane::started(world)
}

/// Runs for a while; the leader's questions are answered.
fn answers(plane: &mut Plane, holds: Holds, ms: u64) -> Vec<(u64, String)> {
    let mut asked = Vec::new();
    for _ in 0..ms / STEP_MS {
        let seen = plane.lines.len();
        plane.runs(STEP_MS);
        let orders: Vec<_> = plane.lines[seen..]
            .iter()
            .filter(|(_, line)| line.ends_with(" report"))
            .cloned()
            .collect();
        for (_, line) in &orders {
            let (letter, holds) = holds
                .into_iter()
                .find(|(letter, _)| line.contains(&format!("order {letter} ")))
                .expect("one of the three");
            if let Stage::Founding { at, .. } = plane.world.cluster().stage {
                let mut answer = reply(
                    at.index.0,
                    letter,
                    Said::Reported {
                        report: report(letter, holds, ""),
                        fenced: true,
                    },
                );
                let NodeInput::Reply(reply) = &mut answer else {
                    unreachable!("it is one");
                };
                (reply.token.epoch, reply.token.at) = (Epoch::INITIAL, at);
                plane.tell(0, answer);
            }
        }
        asked.extend(orders);
    }
    asked
}

fn waits(plane: &Plane) -> Vec<String> {
    let standing = plane.nodes[0].standing(&cluster_id());
    standing.expect("it leads").waits
}

fn recorded(plane: &Plane) -> usize {
    let lines = plane.lines.iter();
    lines
        .filter(|(_, line)| line.contains("FoundingReport"))
        .count()
}

#[test]
fn a_refused_report_is_explained_and_asked_for_until_it_founds() {
    let mut plane = registered();
    let bad: Holds = [("p", "p:1-10"), ("a", "p:1-9"), ("b", "p:1-10,b:4")];
    answers(&mut plane, bad, 3_000);
    let said = waits(&plane);
    assert_eq!(said.len(), 1, "{said:?}");
    for part in [
        "the founding is refused with the report of p: gtid_executed of b = 62626262-6262-6262-6262-626262626262:4",
        "p does not have these; found the cluster with the instance that has everything, or rebuild b",
        "`primacy cluster unregister shop`",
    ] {
        assert!(said[0].contains(part), "{said:?}");
    }
    let before = recorded(&plane);
    let asked = answers(&mut plane, bad, 60_000);
    assert_eq!(recorded(&plane), before, "the log is not filled with it");
    for letter in ["p", "a", "b"] {
        let line = format!("order {letter} report");
        let times = asked.iter().filter(|(_, said)| *said == line).count();
        assert!(
            (25..=35).contains(&times),
            "{letter} is asked {times} times"
        );
    }
    let mended: Holds = [("p", "p:1-10"), ("a", "p:1-9"), ("b", "p:1-10")];
    answers(&mut plane, mended, 3_000);
    assert_eq!(plane.world.cluster().epoch, Epoch(1));
}

/// What stands in the way was taken before anybody could know.
#[test]
fn who_reported_first_is_asked_again_too() {
    let mut plane = registered();
    let bad: Holds = [("p", ""), ("a", "p:1-9,a:1"), ("b", "p:1-10")];
    answers(&mut plane, bad, 2_000);
    let bad: Holds = [("p", "p:1-10"), ("a", "p:1-9,a:1"), ("b", "p:1-10")];
    answers(&mut plane, bad, 5_000);
    let said = waits(&plane).join("; ");
    assert!(said.contains("rebuild a"), "{said}");
    let mended: Holds = [("p", "p:1-10"), ("a", "p:1-9"), ("b", "p:1-10")];
    answers(&mut plane, mended, 8_000);
    assert_eq!(plane.world.cluster().epoch, Epoch(1));
}

/// Whoever has not reported is asked as often as anybody is; whose report is refused, more rarely.
#[test]
fn who_says_nothing_is_asked_four_times_a_second() {
    let mut plane = registered();
    plane.runs(10_000);
    for letter in ["p", "a", "b"] {
        let times = plane.times(&format!("order {letter} report"));
        assert!(
            (33..=41).contains(&times),
            "{letter} is asked {times} times"
        );
    }
}

#[test]
fn who_has_reported_is_left_alone_while_others_are_missing() {
    let mut plane = registered();
    plane.runs(2_000);
    let said = waits(&plane);
    assert_eq!(said.len(), 3);
    assert!(
        said[0].starts_with("the agent of a has not reported it fenced yet"),
        "{said:?}"
    );
    let command = plane.world.founding_report("p", "p:1-10", true);
    plane.world.must(command);
    plane.show_state();
    plane.lines.clear();
    plane.runs(10_000);
    plane.never("order p");
    plane.when("order a report");
    assert_eq!(waits(&plane).len(), 2);
}

/// A cluster of the same name is registered later: nothing is left of the first.
#[test]
fn what_was_refused_is_forgotten_with_the_registration() {
    let mut plane = registered();
    let bad: Holds = [("p", "p:1-10"), ("a", "p:1-9"), ("b", "p:1-10,b:4")];
    answers(&mut plane, bad, 3_000);
    plane.world.must(Command::Unregister {
        cluster: cluster_id(),
        who: "ann".into(),
    });
    let without = plane.world.clone();
    plane.show_state();
    for i in 0..3 {
        plane.tell(i, NodeInput::Tick);
    }
    assert_eq!(plane.nodes[0].standing(&cluster_id()), None);
    plane.world = without;
    let again = Command::Register(Box::new(registration("pab", 1)));
    plane.world.must(again);
    plane.show_state();
    let said = waits(&plane);
    assert!(
        said.iter().all(|why| why.contains("has not reported it")) && said.len() == 3,
        "{said:?}"
    );
}
