//! How many failovers at once, in which order, and that none begins without a fresh vote.

use super::super::{FEATURE_LEVEL, Incident, Line, SLOT_MS};
use crate::policy::Automation;
use crate::testing::many::Many;

fn line(many: &Many, region: &str) -> Line {
    let lines = many.world.state.lines();
    lines.get(&region.into()).cloned().unwrap_or_default()
}

fn waits(many: &Many, id: &str) -> String {
    let cluster = many.get(id);
    let region = cluster.home().expect("a primary").clone();
    line(many, region.as_str())
        .explain(cluster)
        .unwrap_or_default()
}

#[test]
fn the_second_waits_until_the_first_has_opened() {
    let mut many = Many::of("x1 x2 x3 x4 x5", 1);
    many.silent("x1");
    assert_eq!(many.get("x1").slot_ms, SLOT_MS);
    many.silent("x2");
    assert_eq!(many.deposed(), "x1");
    assert_eq!(
        waits(&many, "x2"),
        "a failover is under way in x (x1), and promotions_max is 1. It goes when enough of them \
         have opened, each at the latest 60 s after its deposing; approve it by hand, or wait"
    );
    many.choose("x1");
    many.silent("x2");
    assert_eq!(many.deposed(), "", "the chosen one has yet to open");
    assert_eq!(line(&many, "x").under_way, ["x1".into()]);
    many.open("x1");
    assert_eq!(many.deposed(), "", "a free slot deposes nobody");
    assert!(line(&many, "x").is_next(many.get("x2")));
    assert_eq!(waits(&many, "x2"), "");
    many.silent("x2");
    assert_eq!(many.deposed(), "x2");
}

#[test]
fn who_halts_gives_its_slot_up() {
    let mut many = Many::of("x1 x2 x3 x4 x5", 1);
    many.silent("x1");
    many.pass(SLOT_MS - 1);
    many.silent("x2");
    assert_eq!(many.deposed(), "x1");
    many.pass(1);
    assert_eq!(many.deposed(), "x1", "time deposes nobody");
    many.silent("x2");
    assert_eq!(many.deposed(), "x1 x2");
    // The late one goes on; it takes no slot again, and gives none back.
    many.choose("x1");
    many.silent("x3");
    many.open("x1");
    many.silent("x3");
    assert_eq!(many.deposed(), "x2");
    assert_eq!(line(&many, "x").under_way, ["x2".into()]);
}

#[test]
fn the_more_important_goes_first_then_the_smaller_name() {
    let mut many = Many::of("x1 x2 x3 x4 x5 x6 x7 x8 x9", 1);
    many.policy("x3", |policy| policy.priority = 5);
    for id in ["x1", "x2", "x3", "x4"] {
        many.silent(id);
    }
    assert_eq!(many.deposed(), "x1");
    let order: Vec<_> = line(&many, "x").waiting;
    assert_eq!(order, ["x3".into(), "x2".into(), "x4".into()]);
    assert_eq!(
        waits(&many, "x4"),
        "a failover is under way in x (x1), and promotions_max is 1; before it, by priority, go \
         x3, x2. It goes when enough of them have opened, each at the latest 60 s after its \
         deposing; approve it by hand, or wait"
    );
    let mut went = vec!["x1"];
    while went.len() < 4 {
        let last = went[went.len() - 1];
        many.choose(last);
        many.open(last);
        for id in ["x4", "x2", "x3"] {
            many.silent(id);
        }
        went.push(match many.deposed().as_str() {
            "x2" => "x2",
            "x3" => "x3",
            "x4" => "x4",
            other => panic!("{other:?} went together"),
        });
    }
    assert_eq!(went, ["x1", "x3", "x2", "x4"]);
}

/// `x2` has the higher priority, and does not wait for a slot.
#[test]
fn who_could_not_go_claims_nothing() {
    type Hinder = fn(&mut Many);
    let table: [(&str, Hinder); 5] = [
        ("nobody hinders it", |_| {}),
        ("an operator decides", |many| {
            many.policy("x2", |policy| policy.automation = Automation::Advise);
        }),
        ("it answers", |many| drop(many.alive("x2"))),
        ("its inquest is closed", |many| drop(many.close("x2"))),
        ("it takes no part yet", |many| {
            many.policy("x2", |policy| policy.automation = Automation::Off);
        }),
    ];
    for (case, hinder) in table {
        let mut many = Many::of("x1 x2 x3 x4 x5 x6 x7", 1);
        many.policy("x2", |policy| policy.priority = 5);
        for id in ["x1", "x2", "x3"] {
            many.silent(id);
        }
        many.choose("x1");
        many.open("x1");
        hinder(&mut many);
        many.silent("x3");
        let expected = if case == "nobody hinders it" {
            ""
        } else {
            "x3"
        };
        assert_eq!(many.deposed(), expected, "{case}");
    }
}

#[test]
fn an_operator_may_go_beyond_and_counts() {
    let mut many = Many::of("x1 x2 x3 x4 x5 x6 x7", 1);
    many.silent("x1");
    many.silent("x2");
    many.approve("x2").expect("a person's decision");
    assert_eq!(many.deposed(), "x1 x2");
    many.silent("x3");
    many.choose("x1");
    many.open("x1");
    many.silent("x3");
    assert_eq!(many.deposed(), "x2", "the approved one holds a slot");
    many.choose("x2");
    many.open("x2");
    many.silent("x3");
    assert_eq!(many.deposed(), "x3");
}

#[test]
fn another_region_has_slots_of_its_own() {
    let mut many = Many::of("x1 x2 y1 y2", 1);
    for id in ["x1", "y1", "x2", "y2"] {
        many.silent(id);
    }
    assert_eq!(many.deposed(), "x1 y1");
    many.choose("x1");
    many.open("x1");
    many.silent("y2");
    assert_eq!(many.deposed(), "y1", "it was of x");
}

/// The new primary fails before it has opened: the failover goes on from where that one stood.
#[test]
fn a_slot_moves_with_its_failover() {
    let mut many = Many::of("x1 x2 x3 x4 x5", 1);
    many.silent("x1");
    many.choose("x1");
    many.pass(SLOT_MS - 1);
    many.silent("x1");
    assert_eq!(many.deposed(), "x1", "its own slot is no obstacle");
    assert_eq!(many.get("x1").slot_ms, SLOT_MS);
    assert_eq!(line(&many, "x").under_way, ["x1".into()]);
}

// ---- the state's own laws

#[test]
fn a_broken_law_of_slots_incidents_or_levels_is_named() {
    type Break = fn(&mut Many);
    fn slot(many: &mut Many, id: &str, ms: u64) {
        let cluster = many.world.state.cluster_mut(&id.into());
        cluster.expect("registered").slot_ms = ms;
    }
    let behind = format!("node 1 knows level {FEATURE_LEVEL}, and 99 is in force");
    let table: [(Break, &str); 6] = [
        (
            |many| slot(many, "x1", SLOT_MS + 1),
            "cluster x1: a slot is held by a failover, for a bounded time",
        ),
        (
            |many| slot(many, "x2", 1),
            "cluster x2: who has opened holds no slot",
        ),
        (
            |many| slot(many, "x3", 1),
            "cluster x3: a slot is held by a failover, for a bounded time",
        ),
        (
            |many| drop(incident(many).clusters.pop_first()),
            "the incident in y is of several registered clusters",
        ),
        (
            |many| incident(many).clusters.extend(["nowhere".into()]),
            "the incident in y is of several registered clusters",
        ),
        (|many| many.world.state.level = 99, &behind),
    ];
    fn incident(many: &mut Many) -> &mut Incident {
        let incidents = &mut many.world.state.incidents;
        incidents.get_mut(&"y".into()).expect("open")
    }
    for (bend, expected) in table {
        let mut many = Many::of("x1 x2 y1 y2", 1);
        many.register("x3", |_| {});
        many.silent("x1");
        many.silent_for("y1", 10);
        many.silent_for("y2", 10);
        assert_eq!(many.world.state.violations(), Vec::<String>::new());
        bend(&mut many);
        let found = many.world.state.violations();
        assert_eq!(found.first().map(String::as_str), Some(expected));
    }
}
