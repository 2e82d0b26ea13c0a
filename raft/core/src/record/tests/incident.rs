//! When a region's silences are one incident, and what that changes.

use super::*;
use crate::ids::Region;
use crate::observe::Sight;
use crate::testing::many::{AWAY, Many, of_incidents};

#[test]
fn it_opens_is_joined_and_ends_each_with_one_event() {
    let mut many = Many::of("x1 x2 x3 y1", 10);
    assert_eq!(of_incidents(&many.silent("x1")), Vec::<String>::new());
    let opened = "regional incident in x: 2 of 3 primaries fell silent together: x1, x2";
    assert_eq!(of_incidents(&many.silent("x2")), [opened]);
    assert_eq!(many.incidents(), ["x: x1 x2"]);
    let joined = "x3 joins the regional incident in x";
    assert_eq!(of_incidents(&many.silent("x3")), [joined]);
    assert_eq!(many.deposed(), "x1 x2 x3");
    for id in ["x1", "x2"] {
        many.choose(id);
        assert_eq!(of_incidents(&many.open(id)), Vec::<String>::new());
    }
    many.choose("x3");
    let ended = "the regional incident in x has ended: no primary there is suspected any more; it \
                 was of x1, x2, x3";
    assert_eq!(of_incidents(&many.open("x3")), [ended]);
    assert_eq!(many.incidents(), Vec::<String>::new());
}

#[test]
fn however_short_the_silence() {
    let mut many = Many::of("x1 x2 x3", 10);
    many.silent_for("x1", 10);
    assert_eq!(many.incidents(), Vec::<String>::new());
    let events = many.silent_for("x2", 10);
    assert_eq!(of_incidents(&events).len(), 1);
    assert_eq!(many.deposed(), "", "an incident deposes nobody");
    // Who was suspected once joins once.
    many.alive("x2");
    assert_eq!(
        of_incidents(&many.silent_for("x2", 10)),
        Vec::<String>::new()
    );
    many.alive("x1");
    assert_eq!(of_incidents(&many.alive("x2")).len(), 1, "it ends");
}

/// Of the clusters named, those with `!` fall silent; how many incidents that makes.
#[test]
fn more_than_the_policys_part_of_the_regions_primaries() {
    let table = [
        ("x1!", 50, 0, "one cluster's trouble is its own"),
        ("x1!", 0, 0, "whatever the policy says"),
        ("x1! x2!", 50, 1, "all of two"),
        ("x1! x2!", 100, 0, "never more than all"),
        ("x1! x2! x3 x4", 50, 0, "half is not more than half"),
        ("x1! x2! x3! x4", 50, 1, "three of four"),
        ("x1! x2! x3 x4", 49, 1, "by another policy"),
        ("x1! x2! y1 y2", 50, 1, "others are of another region"),
        ("x1! y1!", 0, 0, "one of each"),
        ("x1! x2! y1! y2!", 50, 2, "each region has its own"),
    ];
    for (clusters, percent, expected, why) in table {
        let mut many = Many::of(&clusters.replace('!', ""), 10);
        let silent: Vec<_> = clusters
            .split(' ')
            .filter_map(|id| id.strip_suffix('!'))
            .collect();
        for id in &silent {
            many.policy(id, |policy| policy.region_suspect_percent = percent);
        }
        for id in silent {
            many.silent_for(id, 10);
        }
        assert_eq!(many.incidents().len(), expected, "{clusters}: {why}");
    }
}

#[test]
fn who_is_being_founded_has_no_primary_yet() {
    let mut many = Many::of("x1 x2", 10);
    for id in ["x3", "x4"] {
        many.register(id, |_| {});
    }
    many.silent_for("x1", 10);
    let events = many.silent_for("x2", 10);
    assert!(of_incidents(&events)[0].contains("2 of 2"), "{events:?}");
}

/// A majority of all voters, not of those that voted; silence, not any trouble.
#[test]
fn a_minority_or_another_trouble_suspects_nobody() {
    let seen = |nodes: &[u64], kind: SightKind| {
        let mut many = Many::of("x1 x2", 10);
        for id in ["x1", "x2"] {
            for node in nodes {
                let sight = Sight { kind, for_ms: 10 };
                many.vote(id, *node, sight).expect("taken");
            }
        }
        many.incidents().len()
    };
    assert_eq!(seen(&[1, 2], SILENT), 1);
    assert_eq!(seen(&[1], SILENT), 0);
    for other in [
        SightKind::Blind,
        SightKind::Closed,
        SightKind::Wedged,
        SightKind::Alive,
    ] {
        assert_eq!(seen(&[1, 2, 3], other), 0, "{other:?}");
    }
}

/// Two are suspected and not deposed; whatever ends both suspicions ends the incident.
#[test]
fn it_ends_by_whatever_ends_the_last_suspicion() {
    type End = fn(&mut Many, &str) -> Vec<crate::record::Event>;
    let table: [(&str, End); 3] = [
        ("an answer", |many, id| many.alive(id)),
        ("a closed inquest", |many, id| many.close(id)),
        ("an abort", |many, id| {
            many.world.must(Command::Abort {
                cluster: id.into(),
                epoch: Epoch(1),
                who: "ann".into(),
                why: "a planned stop".into(),
            })
        }),
    ];
    for (case, end) in table {
        let mut many = Many::of("x1 x2", 10);
        many.silent_for("x1", 10);
        many.silent_for("x2", 10);
        assert_eq!(
            of_incidents(&end(&mut many, "x1")),
            Vec::<String>::new(),
            "{case}"
        );
        assert_eq!(of_incidents(&end(&mut many, "x2")).len(), 1, "{case}");
        assert_eq!(many.incidents(), Vec::<String>::new(), "{case}");
    }
    // Failovers that halt count no longer than their slots.
    let mut many = Many::of("x1 x2", 10);
    many.silent("x1");
    many.silent("x2");
    let ended = many.pass(crate::record::SLOT_MS);
    assert_eq!(of_incidents(&ended).len(), 1);
}

#[test]
fn who_is_deposed_while_it_lasts_is_replaced_from_outside() {
    let mut many = Many::of("x1 x2", 10);
    many.silent("x1");
    many.silent("x2");
    let fails = |many: &Many, id| many.get(id).deposition().expect("deposed").region_fails;
    assert!(!fails(&many, "x1"), "it was the first");
    assert!(fails(&many, "x2"), "the very vote that opened it");
    let taken = |many: &mut Many, id| {
        many.choose(id);
        let cluster = many.get(id);
        let why = cluster.promotion().expect("chosen").choice.why[0].clone();
        (cluster.home().expect("named").clone(), why)
    };
    let (region, why) = taken(&mut many, "x1");
    assert_eq!(region, Region::from("x"));
    assert!(why.ends_with("in the old primary's region"), "{why}");
    let (region, why) = taken(&mut many, "x2");
    assert_eq!(region, Region::from(AWAY));
    let said = "outside the old primary's region, which has an incident";
    assert!(why.ends_with(said), "{why}");
}

#[test]
fn a_failover_that_an_operator_starts_speaks_for_it_too() {
    let mut many = Many::of("x1 x2 x3", 10);
    for id in ["x1", "x2", "x3"] {
        many.policy(id, |policy| policy.automation = Automation::Advise);
        many.policy(id, |policy| policy.region_suspect_percent = 60);
    }
    // Stuck, not silent: suspected only once somebody acts on it.
    let (kind, for_ms) = (SightKind::Wedged, 60_000);
    for node in [1, 2] {
        many.vote("x1", node, Sight { kind, for_ms })
            .expect("taken");
    }
    many.silent_for("x2", 10);
    assert_eq!(many.incidents(), Vec::<String>::new());
    let events = many.approve("x1").expect("approved");
    assert_eq!(of_incidents(&events).len(), 1, "{events:?}");
    assert_eq!(many.incidents(), ["x: x1 x2"]);
}
