//! Tables. `p` is the deposed primary, `a`, `b`, … its ackers. The floor is `p:1-11`, and the nodes
//! last saw `p:1-12` executed. A choice reads `a for p:1-15`: who, and what it needs.

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::{Choice, LossBound, Proof, check, choose, feasible};
use crate::gtid::GtidSet;
use crate::ids::Epoch;
use crate::observe::SightKind;
use crate::record::{Ackers, Command, FenceReport, FreezeReport, PromotionRule, Registration};
use crate::testing::{
    World, fenced, instance, instances, registration, report, set, short, strangers, uuid,
};

fn deposed(letters: &str, k: u32) -> World {
    deposed_as(registration(letters, k))
}

fn deposed_as(registration: Registration) -> World {
    let mut world = World::serving_as(registration);
    world.silence("p:1-12");
    assert!(world.cluster().deposition().is_some(), "automation is on");
    world
}

fn wedged(letters: &str, k: u32) -> World {
    let mut world = World::serving(letters, k);
    world.votes(SightKind::Wedged, "p:1-12");
    assert!(world.cluster().deposition().is_some(), "automation is on");
    world
}

fn told(world: &World) -> String {
    match choose(world.cluster()) {
        Ok(choice) => {
            assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
            format!("{} for {}", choice.to, short(&choice.need))
        }
        Err(reasons) => {
            let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
            let mut text = reasons.join("; ");
            for letter in 'a'..='z' {
                let letter = letter.to_string();
                text = text.replace(&uuid(&letter).to_string(), &letter);
            }
            text
        }
    }
}

/// Ackers of `letters` with k, frozen with these reports: executed, received.
#[track_caller]
fn frozen(letters: &str, k: u32, reports: &[(&str, &str, &str)], expected: &str) {
    let mut world = deposed(letters, k);
    for (letter, executed, received) in reports {
        world.freeze(report(letter, executed, received));
    }
    assert_eq!(told(&world), expected);
}

#[test]
fn received_counts_not_executed() {
    let ahead = [("a", "p:1-12", "p:13-20"), ("b", "p:1-15", "")];
    frozen("pab", 1, &ahead, "a for p:1-20");
    let behind = [("a", "p:1-12", ""), ("b", "p:1-12", "p:13")];
    frozen("pab", 1, &behind, "b for p:1-13");
    // Equal in what they hold: the one that has applied more opens sooner.
    let even = [("a", "p:1-12", "p:13-20"), ("b", "p:1-19", "p:20")];
    frozen("pab", 1, &even, "b for p:1-20");
    // An idle primary is replaceable.
    let idle = [("a", "p:1-12", ""), ("b", "p:1-12", "")];
    frozen("pab", 1, &idle, "a for p:1-12");
}

#[test]
fn everything_needed_or_nothing() {
    // What a node saw executed is needed, though no report has it.
    let lost = [("a", "p:1-11", ""), ("b", "p:1-11", "")];
    frozen("pab", 1, &lost, "a lacks p:12; b lacks p:12");
    // A gap: the highest number says nothing.
    let gap = [("a", "p:1-11,p:13-20", ""), ("b", "p:1-12", "")];
    frozen("pab", 2, &gap, "b for p:1-12");
}

#[test]
fn too_few_frozen_says_which() {
    let waits = |n, needed, missing: &str| {
        format!(
            "{n} of {needed} ackers needed are frozen; waiting for one of {missing}, or for the \
             old primary to confirm its fence"
        )
    };
    let one = [("a", "p:1-20", "")];
    let b = "b";
    let bc = "b, c";
    frozen("pab", 1, &one, &waits(1, 2, b));
    frozen("pabc", 2, &one, &waits(1, 2, bc));
    frozen(
        "pab",
        2,
        &one,
        "a for p:1-20; b is not frozen".split(';').next().unwrap(),
    );
}

/// `z` acknowledged without being in V; then `p` is deposed.
fn deposed_with_a_stranger(letters: &str, k: u32) -> World {
    let mut world = World::serving(letters, k);
    world.must(strangers(1, "p", 1, "z"));
    world.silence("p:1-12");
    assert!(world.cluster().deposition().is_some(), "enough are reached");
    world
}

#[test]
fn a_stranger_counts_as_an_acker_that_nobody_froze() {
    let mut world = deposed_with_a_stranger("pabc", 2);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    // What `c` and `z` acknowledged could be on neither.
    assert!(
        told(&world).starts_with("2 of 3 ackers needed are frozen"),
        "{}",
        told(&world)
    );
    assert!(told(&world).contains("z acknowledged to the old primary without being in V"));
    world.freeze(report("c", "p:1-22", ""));
    assert_eq!(told(&world), "c for p:1-22");
    // One more, found by a late word of the old primary's agent: freezing proves nothing any more.
    world.must(strangers(1, "p", 2, "yz"));
    assert!(told(&world).starts_with("3 of 4 ackers needed are frozen"));
    world.confirm("p:1-22");
    assert_eq!(told(&world), "p for p:1-22");
}

#[test]
fn an_exit_does_not_tell_what_a_stranger_acknowledged() {
    let mut world = deposed_with_a_stranger("pabc", 2);
    world.exit();
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-20", ""));
    assert!(told(&world).starts_with("2 of 3 ackers needed are frozen"));
    world.freeze(report("c", "p:1-20", ""));
    assert_eq!(told(&world), "a for p:1-20");
}

#[test]
fn errant_is_neither_chosen_nor_needed() {
    let errant = [
        ("a", "p:1-20,a:1", ""),
        ("b", "p:1-20", ""),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &errant, "b for p:1-20");
    let both = [("a", "p:1-20,a:1-2", ""), ("b", "p:1-12,b:7", "")];
    frozen(
        "pab",
        1,
        &both,
        "a holds errant transactions a:1-2; b holds errant transactions b:7",
    );
    // Held by two, it came through replication.
    let shared = [("a", "p:1-12,z:1", ""), ("b", "p:1-12", "z:1")];
    frozen("pab", 1, &shared, "a for p:1-12,z:1");
    // The deposed primary's own are never errant, though one alone received them.
    let own = [("a", "p:1-12", "p:13-20"), ("b", "p:1-12", "")];
    frozen("pab", 1, &own, "a for p:1-20");
}

#[test]
fn one_that_never_replicated_from_this_primary_adds_nothing() {
    for from in [None, Some(instance("z"))] {
        let mut world = deposed("pabc", 1);
        world.freeze(report("a", "p:1-15", ""));
        world.freeze(report("b", "p:1-12", ""));
        world.freeze(FreezeReport {
            replicated_from: from,
            ..report("c", "p:1-12,p:16-30", "")
        });
        // It counts among the frozen all the same: without it, two of three are too few.
        assert_eq!(told(&world), "a for p:1-15");
    }
}

#[test]
fn one_unsatisfiable_report_does_not_block() {
    let odd = [
        ("a", "p:1-12,p:14", ""),
        ("b", "p:1-13", ""),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &odd, "a for p:1-12:14");
    // Where every report is needed, it does.
    let odd = [("a", "p:1-12,p:14", ""), ("b", "p:1-13", "")];
    frozen("pab", 1, &odd, "a lacks p:13; b lacks p:14");
}

#[test]
fn who_is_preferred() {
    let spec = |registration: &mut Registration, letter: &str, change: &str| {
        let spec = registration.instances.get_mut(&instance(letter)).unwrap();
        match change {
            "" => {}
            "far" => spec.region = "y".into(),
            "prefer" => spec.promotion = PromotionRule::Prefer,
            "prefer_not" => spec.promotion = PromotionRule::PreferNot,
            "never" => spec.promotion = PromotionRule::Never,
            "priority" => spec.priority = 9,
            "far, prefer" => {
                spec.region = "y".into();
                spec.promotion = PromotionRule::Prefer;
            }
            other => panic!("no such change: {other}"),
        }
    };
    let first = |a: &str, b: &str, a_has: &str, b_has: &str, b_version| {
        let mut registration = registration("pab", 1);
        spec(&mut registration, "a", a);
        spec(&mut registration, "b", b);
        let mut world = deposed_as(registration);
        let received = "p:1-20";
        world.freeze(report("a", a_has, received));
        world.freeze(FreezeReport {
            version: b_version,
            ..report("b", b_has, received)
        });
        let choice = choose(world.cluster()).expect("both hold everything");
        choice.to.to_string()
    };
    let same = (8, 4, 6);
    let check = |a, b, expected| assert_eq!(first(a, b, "", "", same), expected, "a {a}, b {b}");
    check("", "", "a");
    check("far", "", "b");
    check("far", "never", "a");
    check("prefer_not", "", "b");
    check("never", "prefer_not", "b");
    check("", "prefer", "b");
    check("", "priority", "b");
    // The region goes before the rule, the rule before what is applied, that before the version.
    check("", "far, prefer", "a");
    assert_eq!(first("", "prefer", "p:1-20", "", same), "b");
    assert_eq!(first("", "", "p:1-19", "p:1-20", (9, 0, 0)), "b");
    assert_eq!(
        first("", "priority", "", "", (9, 0, 0)),
        "a",
        "no newer version"
    );
    assert_eq!(first("", "", "", "", (8, 4, 5)), "b");
}

#[test]
fn one_that_must_never_be_promoted_is_passed_over() {
    let mut registration = registration("pab", 1);
    registration
        .instances
        .get_mut(&instance("a"))
        .unwrap()
        .promotion = PromotionRule::Never;
    let mut world = deposed_as(registration);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    assert_eq!(told(&world), "a must never be promoted; b lacks p:13-20");
}

#[test]
fn purged_is_what_its_replicas_must_not_need() {
    let purged = FreezeReport {
        purged: set("p:1-15"),
        ..report("a", "p:1-20", "")
    };
    let mut world = deposed("pabc", 2);
    world.freeze(purged.clone());
    world.freeze(report("b", "p:1-12", ""));
    assert_eq!(
        told(&world),
        "a for p:1-20",
        "c may hold it, and one acker is enough"
    );
    world.freeze(report("c", "p:1-12", ""));
    assert_eq!(told(&world), "b for p:1-12", "b and c are reporters enough");
    let mut world = deposed("pab", 1);
    world.freeze(purged);
    world.freeze(report("b", "p:1-12", ""));
    assert_eq!(
        told(&world),
        "a has purged what its future replicas still need; b lacks p:13-20"
    );
}

#[test]
fn a_lone_candidate_keeps_no_acker() {
    let mut world = World::serving("pa", 1);
    world.silence("");
    assert!(world.cluster().deposition().is_none(), "not feasible");
    let text = feasible(world.cluster())
        .expect_err("no acker would be left")
        .join("; ");
    assert!(text.contains("would keep an acker"), "{text}");
}

#[test]
fn an_old_primary_that_confirms_is_reinstated() {
    let mut world = deposed("pab", 1);
    world.confirm("p:1-14");
    assert_eq!(told(&world), "p for p:1-14");
    let choice = choose(world.cluster()).unwrap();
    assert_eq!((choice.epoch, choice.within), (Epoch(2), set("p:1-14")));
    assert_eq!(choice.ackers, world.cluster().ackers, "V and k stay");
    // Also where it first said that it exited, or others are frozen.
    let mut world = deposed("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-20", ""));
    assert_eq!(told(&world), "a for p:1-20");
    world.exit();
    assert_eq!(told(&world), "a for p:1-20");
    assert!(matches!(
        choose(world.cluster()).unwrap().proof,
        Proof::Exited { .. }
    ));
    world.confirm("p:1-20");
    assert_eq!(told(&world), "p for p:1-20");
}

#[test]
fn one_that_lost_what_was_seen_on_it_is_not_reinstated() {
    let mut world = deposed("pab", 1);
    world.confirm("p:1-11");
    assert_eq!(told(&world), "a is not frozen; b is not frozen");
    world.freeze(report("b", "p:1-12", ""));
    assert_eq!(told(&world), "b for p:1-12");
}

#[test]
fn a_chosen_one_that_never_opened_may_have_more_to_apply() {
    let mut world = deposed("pab", 1);
    world.must(fenced(
        1,
        "p",
        FenceReport::Confirmed {
            final_set: set("p:1-11"),
            received: set("p:12-14"),
            server_uuid: uuid("p"),
        },
    ));
    // `told` demands that the check agrees.
    assert_eq!(told(&world), "p for p:1-12");
    let choice = choose(world.cluster()).unwrap();
    assert_eq!(
        choice.within,
        set("p:1-14"),
        "others may hold what it has yet to apply"
    );
}

#[test]
fn an_exit_proves_silence_but_not_content() {
    let mut world = deposed("pab", 1);
    world.exit();
    world.freeze(report("a", "p:1-20", ""));
    assert!(told(&world).starts_with("1 of 2 ackers needed are frozen"));
    world.freeze(report("b", "p:1-12", ""));
    assert_eq!(told(&world), "a for p:1-20");
}

#[test]
fn one_that_still_answers_is_fenced_first() {
    let mut world = wedged("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    assert_eq!(
        told(&world),
        "p answers but cannot write; waiting until its agent confirms the fence, or its exit"
    );
    let mut exited = world.clone();
    exited.exit();
    assert_eq!(told(&exited), "a for p:1-20");
    // Its disk is stuck: it is not the one to open again. Its final set is the content.
    world.confirm("p:1-12");
    assert_eq!(told(&world), "a for p:1-12");
}

#[test]
fn the_loss_must_be_none() {
    let mut world = deposed("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    let choice = choose(world.cluster()).unwrap();
    world.cluster_mut().floor_stands = false;
    assert_eq!(
        told(&world),
        "the loss would be unknown, and the policy allows none; the floor must stand first (one \
         acknowledged marker)"
    );
    assert!(!check(world.cluster(), &choice).is_empty());
}

#[test]
fn v_and_k_of_the_next_epoch() {
    // As many ackers may be missing as before, and a write waits for at least one.
    let table = [
        (1, 1, 1),
        (2, 1, 1),
        (2, 2, 1),
        (3, 1, 1),
        (3, 2, 1),
        (3, 3, 2),
        (5, 3, 2),
    ];
    for (members, k, expected) in table {
        let ackers = Ackers {
            members: instances(&"abcde"[..members]),
            k,
        };
        let next = ackers.without(&instance("a"));
        assert_eq!(next.k, expected, "|V| = {members}, k = {k}");
        assert_eq!(next.members, instances(&"bcde"[..members - 1]));
        // One that was no acker takes nobody's place.
        assert_eq!(ackers.without(&instance("z")), ackers);
    }
}

#[test]
fn nothing_deposed_nothing_chosen() {
    assert_eq!(told(&World::serving("pab", 1)), "nothing is deposed");
    let mut world = deposed("pab", 1);
    world.confirm("p:1-14");
    let choice = choose(world.cluster()).unwrap();
    world.must(Command::Choose(Box::new(choice.clone())));
    assert_eq!(
        check(world.cluster(), &choice),
        ["a choice follows a deposed epoch, and none is deposed"]
    );
}

#[test]
fn feasible_says_what_is_missing() {
    let with = |k, reached: &str| {
        let mut world = World::serving("pabc", k);
        world.cluster_mut().policy.automation = crate::policy::Automation::Off;
        world.open_inquest();
        let mut vote = world.vote(1, SightKind::Silent, 10_000);
        vote.reached.retain(|id, _| reached.contains(id.as_str()));
        world.must(Command::Vote(Box::new(vote)));
        feasible(world.cluster()).err().map(|why| why.join("; "))
    };
    assert_eq!(with(2, "ab"), None);
    assert_eq!(with(1, "abc"), None);
    let why = with(1, "ab").expect("three are needed");
    assert!(
        why.contains("2 of 3 ackers are reached, 3 are needed"),
        "{why}"
    );
    assert!(why.ends_with("bring back one of: c"), "{why}");
    let why = with(3, "").expect("one is needed");
    assert!(why.contains("no replica that may be promoted"), "{why}");
}

// ---- every choice is sound, and no other one like it is

/// What one acker reports: the highest number executed and received, a hole, an errant one, its
/// source, what it purged.
type Told = (u64, u64, Option<u64>, bool, u8, u64);

#[derive(Clone, Debug)]
struct Scene {
    k: u32,
    told: Vec<Option<Told>>,
    last_known: u64,
    /// 0: nothing heard of the old primary; 1: exited; else what it executed at last.
    fence: u64,
    wedged: bool,
}

fn scene() -> impl Strategy<Value = Scene> {
    let one = (
        11_u64..=16,
        11_u64..=16,
        prop::option::weighted(0.2, 11_u64..=16),
        prop::bool::weighted(0.15),
        0_u8..8,
        0_u64..=13,
    );
    (
        prop::collection::vec(prop::option::weighted(0.85, one), 2..=4),
        1_u32..=4,
        11_u64..=13,
        prop_oneof![4 => Just(0), 1 => Just(1), 2 => 11_u64..=16],
        prop::bool::weighted(0.15),
    )
        .prop_map(|(told, k, last_known, fence, wedged)| Scene {
            k: k.min(told.len() as u32),
            told,
            last_known,
            fence,
            wedged,
        })
}

impl Scene {
    fn world(&self) -> World {
        let mut world = World::serving(&"pabcd"[..=self.told.len()], self.k);
        let kind = if self.wedged {
            SightKind::Wedged
        } else {
            SightKind::Silent
        };
        world.votes(kind, &format!("p:1-{}", self.last_known));
        for (letter, told) in ["a", "b", "c", "d"].iter().zip(&self.told) {
            let Some((executed, received, hole, errant, from, purged)) = told else {
                continue;
            };
            let mut report = report(letter, &format!("p:1-{executed}"), "");
            report.received = set(&format!("p:12-{}", received.max(&12)));
            if let Some(hole) = hole {
                report.executed = report.executed.subtract(&set(&format!("p:{hole}")));
                report.received = report.received.subtract(&set(&format!("p:{hole}")));
            }
            if *errant {
                report.executed.union_with(&set(&format!("{letter}:1")));
            }
            report.purged = match purged {
                0..6 => GtidSet::default(),
                purged => set(&format!("p:1-{purged}")),
            };
            if *from == 0 {
                report.replicated_from = None;
            }
            world.freeze(report);
        }
        match self.fence {
            0 => {}
            1 => world.exit(),
            last => world.confirm(&format!("p:1-{last}")),
        }
        world
    }
}

/// Every choice like this one with one field altered so that it must be refused.
fn altered(world: &World, choice: &Choice) -> Vec<(&'static str, Choice)> {
    let cluster = world.cluster();
    let record = cluster.deposition().expect("deposed");
    let mut all = Vec::new();
    let mut alter = |what: &'static str, change: &dyn Fn(&mut Choice)| {
        let mut other = choice.clone();
        change(&mut other);
        if other != *choice {
            all.push((what, other));
        }
    };
    alter("the same epoch", &|c| c.epoch = cluster.epoch);
    alter("an epoch left out", &|c| c.epoch = c.epoch.next());
    alter("another cluster", &|c| c.cluster = "other".into());
    alter("replaces another", &|c| c.from = instance("b"));
    alter("a loss", &|c| c.loss = LossBound::Unknown);
    alter("needs nothing", &|c| c.need = GtidSet::default());
    alter("needs more than it holds", &|c| {
        c.need.union_with(&set("p:99"))
    });
    alter("without the floor", &|c| {
        c.need = c.need.subtract(&set("p:11"))
    });
    let seen = format!(
        "p:{}",
        short(&record.inquest.last_known)
            .split('-')
            .next_back()
            .unwrap()
    );
    alter("without what was seen", &|c| {
        c.need = c.need.subtract(&set(&seen))
    });
    alter("compares with less", &|c| {
        c.within = c.within.subtract(&set("p:5"))
    });
    alter("compares with more", &|c| c.within.union_with(&set("p:99")));
    alter("the old primary acknowledges", &|c| {
        c.ackers.members.insert(cluster.primary.clone());
    });
    alter("it acknowledges to itself", &|c| {
        c.ackers.members.insert(c.to.clone());
    });
    alter("an acker less", &|c| {
        c.ackers.members.pop_first();
    });
    alter("a stranger acknowledges", &|c| {
        c.ackers.members.insert(instance("z"));
    });
    alter("k + 1", &|c| c.ackers.k += 1);
    alter("k - 1", &|c| c.ackers.k -= 1);
    alter("nobody", &|c| c.to = instance("z"));
    for id in cluster
        .instances
        .keys()
        .filter(|id| **id != cluster.primary)
    {
        if !record.frozen.contains_key(id) {
            alter("one that is not frozen", &|c| {
                c.to = id.clone();
                c.ackers = cluster.ackers.without(id);
            });
        }
    }
    if !matches!(choice.proof, Proof::Confirmed { .. }) {
        alter("the old primary, unconfirmed", &|c| {
            c.to = cluster.primary.clone();
            c.ackers = cluster.ackers.clone();
        });
    }
    alter("founded", &|c| c.proof = Proof::Founding { adopted: false });
    alter("confirmed something else", &|c| {
        c.proof = Proof::Confirmed {
            final_set: set("p:1-2"),
        }
    });
    if record.fence != Some(FenceReport::Exited) {
        alter("no exit", &|c| {
            c.proof = Proof::Exited { frozen: [].into() }
        });
    }
    let acker_proof = |frozen: &str, of: &str, k| Proof::AckersFrozen {
        frozen: instances(frozen),
        of: instances(of),
        k,
        strangers: cluster.strangers.seen.clone(),
    };
    alter("names nobody frozen", &|c| {
        c.proof = acker_proof("", "ab", cluster.ackers.k)
    });
    alter("names a stranger frozen", &|c| {
        if let Proof::AckersFrozen { frozen, .. } | Proof::Exited { frozen } = &mut c.proof {
            frozen.insert(instance("z"));
        }
    });
    alter("counts other ackers", &|c| {
        if let Proof::AckersFrozen { of, .. } = &mut c.proof {
            of.pop_first();
        }
    });
    alter("counts another stranger", &|c| {
        if let Proof::AckersFrozen { strangers, .. } = &mut c.proof {
            strangers.insert(uuid("w"));
        }
    });
    alter("counts another k", &|c| {
        if let Proof::AckersFrozen { k, .. } = &mut c.proof {
            *k += 1;
        }
    });
    all
}

/// How many frozen ackers this need satisfies, were `gone` taken out of it.
fn satisfied_without(world: &World, choice: &Choice, gone: &GtidSet) -> usize {
    let cluster = world.cluster();
    let frozen = &cluster.deposition().expect("deposed").frozen;
    let holders = |set: &GtidSet| {
        let holds = |report: &&FreezeReport| !report.holds().intersect(set).is_empty();
        frozen.values().filter(holds).count()
    };
    cluster
        .ackers
        .members
        .iter()
        .filter_map(|id| frozen.get(id))
        .filter(|report| {
            if report.replicated_from != Some(instance("p")) {
                return true;
            }
            let mut held = report.holds();
            for letter in ["a", "b", "c", "d"] {
                let own = held.only(&uuid(letter));
                if holders(&own) == 1 {
                    held = held.subtract(&own);
                }
            }
            choice.need.subtract(gone).is_superset_of(&held)
        })
        .count()
}

proptest! {
    #[test]
    fn every_choice_passes_the_check(scene in scene()) {
        let mut world = scene.world();
        if let Ok(choice) = choose(world.cluster()) {
            prop_assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
            let enough = world.cluster().blocking();
            let content = matches!(choice.proof, Proof::Confirmed { .. })
                || satisfied_without(&world, &choice, &GtidSet::default()) >= enough;
            prop_assert!(content, "{:?}", choice);
            world.must(Command::Choose(Box::new(choice)));
        }
    }

    #[test]
    fn every_altered_choice_is_refused(scene in scene()) {
        let mut world = scene.world();
        if let Ok(choice) = choose(world.cluster()) {
            for (what, bad) in altered(&world, &choice) {
                let broken = check(world.cluster(), &bad);
                prop_assert!(!broken.is_empty(), "{}: {:?}", what, bad);
                world.refusal(Command::Choose(Box::new(bad)));
            }
        }
    }

    /// One transaction less is refused wherever too few reports would be left in it.
    #[test]
    fn a_need_with_one_transaction_less_is_refused(scene in scene(), n in 1_u64..=16) {
        let world = scene.world();
        if let Ok(mut choice) = choose(world.cluster()) {
            let gone = set(&format!("p:{n}"));
            let record = world.cluster().deposition().expect("deposed");
            let fixed = [&world.cluster().floor, &record.inquest.last_known];
            let confirmed = matches!(choice.proof, Proof::Confirmed { .. });
            let must = fixed.iter().any(|set| set.is_superset_of(&gone))
                || confirmed && choice.need.is_superset_of(&gone)
                || !confirmed
                    && satisfied_without(&world, &choice, &gone) < world.cluster().blocking();
            choice.need = choice.need.subtract(&gone);
            prop_assert_eq!(must, !check(world.cluster(), &choice).is_empty());
        }
    }
}

#[test]
fn a_choice_is_vetted_by_the_log_not_by_its_own_word() {
    let mut world = deposed("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    let too_few = world.clone();
    world.freeze(report("b", "p:1-12", ""));
    let choice = choose(world.cluster()).expect("two of two are frozen");
    // The same choice, where the log holds one report less.
    let broken = check(too_few.cluster(), &choice);
    for law in [
        "the ackers left could still acknowledge a write",
        "who is named is a frozen acker",
        "the need contains the reports of enough ackers",
    ] {
        assert!(
            broken.iter().any(|words| words == law),
            "{law:?} in {broken:?}"
        );
    }
}

#[test]
fn the_scenes_are_worth_it() {
    // Were nothing ever chosen, the properties would hold of nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let chosen = (0..200)
        .filter(|_| {
            let scene = scene().new_tree(&mut runner).expect("a scene").current();
            choose(scene.world().cluster()).is_ok()
        })
        .count();
    assert!(chosen > 50, "{chosen} of 200");
}

#[test]
fn a_choice_speaks_of_its_own_cluster() {
    let mut world = deposed("pab", 1);
    world.confirm("p:1-14");
    let mut choice = choose(world.cluster()).unwrap();
    choice.cluster = "other".into();
    assert_eq!(
        world.refusal(Command::Choose(Box::new(choice))),
        "cluster other is not registered"
    );
}

// ---- after an abort

/// What `a` and `b` report and what the old primary `p` says, then the abort.
fn aborted(mut world: World, fence: &str) -> String {
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-15", ""));
    }
    match fence {
        "" => {}
        "exited" => world.exit(),
        final_set => world.confirm(final_set),
    }
    world.must(Command::Abort {
        cluster: crate::testing::cluster_id(),
        epoch: Epoch(1),
        who: "ann".into(),
        why: "a planned stop".into(),
    });
    told(&world)
}

#[test]
fn after_an_abort_the_old_primary_alone_is_chosen() {
    let alone = "ann aborted the failover: p alone may open again, once its agent confirms its \
                 fence";
    let undo = "until then nobody takes writes. If it cannot come back, lift the abort: \
                `primacy approve` for the same epoch";
    let table = [
        ("", format!("{alone}; {undo}")),
        (
            "exited",
            format!(
                "{alone} (its mysqld has exited; its agent starts it again after restart_hold_ms); {undo}"
            ),
        ),
        ("p:1-16", "p for p:1-16".to_owned()),
        (
            "p:1-9",
            "the failover is aborted, and p, who alone may open again, lacks p:10-12, which was \
             seen on it before; lift the abort: `primacy approve` for the same epoch"
                .to_owned(),
        ),
    ];
    for (fence, expected) in table {
        assert_eq!(aborted(deposed("pab", 1), fence), expected, "{fence}");
    }
}

/// Without the abort another is promoted; with it an operator has said that it is well again.
#[test]
fn a_wedged_primary_returns_only_by_an_abort() {
    let alone = "ann aborted the failover: p alone may open again, once its agent confirms its \
                 fence; until then nobody takes writes. If it cannot come back, lift the abort: \
                 `primacy approve` for the same epoch";
    assert_eq!(aborted(wedged("pab", 1), "p:1-15"), "p for p:1-15");
    assert_eq!(aborted(wedged("pab", 1), ""), alone);
}
