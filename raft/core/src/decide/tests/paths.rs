//! Who could be followed. A path reads `a>b` (from an acker's agent to a candidate): `a>b+100` was
//! tried 100 ms ago and is open, `a>b-100` failed.

use super::*;
use crate::agree::{Verdict, Vote};
use crate::decide::{Reason, Unfit, Way, forsaken};
use crate::ids::InstanceId;
use crate::observe::{PathSeen, ReplicaSeen, Starvation};

/// A write has waited for so long.
const PROBE_MS: u64 = 6_000;

fn starvation(letters: &str, paths: &str) -> Starvation {
    let seen = ReplicaSeen {
        deaf_ms: Some(10_000),
        holds: set("p:1-12"),
        paths: Default::default(),
    };
    let mut replicas: std::collections::BTreeMap<InstanceId, ReplicaSeen> = instances(letters)
        .into_iter()
        .map(|id| (id, seen.clone()))
        .collect();
    for path in paths.split(' ').filter(|path| !path.is_empty()) {
        let (from, rest) = path.split_once('>').expect("from>to");
        let (to, age) = rest.split_at(1);
        let seen = PathSeen {
            open: age.starts_with('+'),
            tried_ms: age[1..].parse().expect("an age"),
        };
        let of = replicas.get_mut(&instance(from)).expect("a replica");
        of.paths.insert(instance(to), seen);
    }
    Starvation {
        probe_ms: PROBE_MS,
        replicas,
    }
}

/// `p` of these letters starves: each node's votes tell of these paths.
fn starving_as(registration: Registration, reached: &str, votes: &[&str]) -> World {
    starving_holding(registration, reached, votes, &[])
}

/// The same, where some hold other sets.
fn starving_holding(
    registration: Registration,
    reached: &str,
    votes: &[&str],
    holds: &[(&str, &str)],
) -> World {
    let mut world = World::serving_as(registration);
    world.open_inquest();
    for (node, paths) in (1..).zip(votes) {
        let cast = world.vote(node, SightKind::Starved, 10_000);
        let mut seen = starvation(reached, paths);
        for (letter, holds) in holds {
            let of = seen.replicas.get_mut(&instance(letter)).expect("reached");
            of.holds = set(holds);
        }
        let cast = Vote {
            last_known: set("p:1-12"),
            starvation: Some(Box::new(seen)),
            ..cast
        };
        world.must(Command::Vote(Box::new(cast)));
    }
    world
}

fn starving(letters: &str, k: u32, paths: &str) -> World {
    starving_as(registration(letters, k), &letters[1..], &[paths, paths])
}

#[track_caller]
fn stays(world: &World, why: &str) {
    let judged = world.cluster().judgement.as_ref().expect("judged");
    assert_eq!(judged.verdict, Verdict::Starved);
    let told = feasible(world.cluster()).expect_err("nobody would fare better");
    let told = told.join("; ");
    assert!(told.contains(why), "{told}");
}

#[track_caller]
fn is_replaced(world: &World) {
    let record = world.cluster().deposition().expect("deposed");
    assert_eq!(record.judgement.verdict, Verdict::Starved);
}

#[test]
fn whoever_may_be_chosen_must_be_followed_by_as_many_as_it_needs() {
    is_replaced(&starving("pab", 1, "a>b+100 b>a+100"));
    // One of them is known to be forsaken: the other is chosen.
    is_replaced(&starving("pab", 1, "a>b-100 b>a+100"));
    let cannot = "a needs 1, b cannot; b needs 1, a cannot";
    stays(&starving("pab", 1, "a>b-100 b>a-100"), cannot);
    // With three ackers and k = 2, each needs one of two.
    is_replaced(&starving("pabc", 2, "b>a+9 c>a-9 a>b+9 a>c+9"));
    let none = "a>b-9 a>c-9 b>a-9 b>c-9 c>a-9 c>b-9";
    stays(&starving("pabc", 2, none), "a needs 1, b, c cannot");
}

#[test]
fn a_login_counts_from_its_beginning_and_since_the_write_was_sent() {
    let unknown = "whether a would gather acknowledgements is not known yet";
    is_replaced(&starving("pab", 1, "a>b+6000 b>a+6000"));
    stays(&starving("pab", 1, "a>b+100 b>a+6001"), unknown);
    stays(&starving("pab", 1, "a>b+100"), unknown);
    stays(&starving("pab", 1, ""), unknown);
    // A failure counts however old it is.
    stays(
        &starving("pab", 1, "a>b-60000 b>a-60000"),
        "no candidate would fare better",
    );
}

#[test]
fn votes_are_united_and_a_failure_outweighs() {
    let of = |votes: &[&str]| starving_as(registration("pab", 1), "ab", votes);
    is_replaced(&of(&["a>b+9", "b>a+9"]));
    stays(
        &of(&["a>b+9 b>a+9", "a>b-9 b>a-9"]),
        "no candidate would fare better",
    );
}

#[test]
fn one_that_is_not_reached_follows_nobody() {
    // `b` alone is reached, and holds all: it needs `a`.
    let world = starving_as(registration("pab", 1), "b", &["b>a+9", "b>a+9"]);
    assert_eq!(
        world.cluster().judgement.as_ref().expect("judged").verdict,
        Verdict::Undecided
    );
    let mut registration = registration("pabc", 3);
    registration.ackers = instances("abc");
    let world = starving_as(registration, "bc", &["b>c+9 c>b+9", "b>c+9 c>b+9"]);
    stays(&world, "b needs 2, a cannot");
}

#[test]
fn only_who_may_be_promoted_and_holds_what_is_needed_is_asked() {
    let mut rule = registration("pab", 1);
    rule.instances.get_mut(&instance("a")).expect("a").promotion = PromotionRule::Never;
    is_replaced(&starving_as(rule.clone(), "ab", &["a>b+9", "a>b+9"]));
    let other = starving_as(rule, "ab", &["b>a+9", "b>a+9"]);
    stays(&other, "whether b would gather");
}

/// What one that must never be promoted holds alone can be fetched from it: somebody will qualify.
#[test]
fn who_could_fetch_what_is_needed_is_asked_where_nobody_has_it() {
    let mut rule = registration("pab", 1);
    rule.instances.get_mut(&instance("a")).expect("a").promotion = PromotionRule::Never;
    let starving = |a: &str, b: &str, paths: &str| {
        let holds = [("a", a), ("b", b)];
        starving_holding(rule.clone(), "ab", &[paths, paths], &holds)
    };
    is_replaced(&starving("p:1-14", "p:1-12", "a>b+9"));
    stays(
        &starving("p:1-14", "p:1-12", "a>b-9"),
        "b needs 1, a cannot",
    );
    // One that holds what the other does not, which nobody needs, may not give.
    let none = "nobody who may be promoted is reached and holds what is needed";
    stays(&starving("p:1-14", "p:1-12,a:1", "a>b+9"), none);
}

/// The one that would be chosen is not the one that was foreseen: the choice looks again.
#[test]
fn a_forsaken_one_is_not_chosen_while_another_qualifies() {
    let mut world = starving("pab", 1, "a>b+9 b>a+9");
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-14", ""));
    }
    let choice = |forsaken: &str| {
        let now = Circumstances {
            forsaken: instances(forsaken),
            ..Circumstances::default()
        };
        let choice = choose_with(world.cluster(), &now).expect("both qualify");
        assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
        choice
    };
    assert_eq!(choice("").to, instance("a"));
    let second = choice("a");
    assert_eq!(second.to, instance("b"));
    let why = "a: qualified, but too few ackers can log in there";
    assert!(
        second.why.iter().any(|said| said == why),
        "{:?}",
        second.why
    );
    // An epoch once deposed is not halted by a path.
    assert_eq!(choice("ab").to, instance("a"));
    assert!(
        matches!(choice("").proof, Proof::AckersFrozen { .. }),
        "no fence is waited for"
    );
}

#[test]
fn who_could_be_followed_by_what_is_known_now() {
    let world = World::serving("pabc", 2);
    let of = |open: &str, shut: &str| {
        let ways = |from: &InstanceId, to: &InstanceId| {
            let path = format!("{from}>{to}");
            match (open.contains(&path), shut.contains(&path)) {
                (true, _) => Way::Open,
                (_, true) => Way::Shut,
                _ => Way::Untried,
            }
        };
        forsaken(world.cluster(), ways)
    };
    assert_eq!(of("", ""), instances(""), "not tried is not failed");
    assert_eq!(of("", "b>a"), instances(""), "the other may");
    assert_eq!(of("", "b>a c>a"), instances("a"));
    assert_eq!(of("c>a", "b>a"), instances(""));
}

/// What could gather no acknowledgement would gather none again.
#[test]
fn the_old_primary_opens_again_only_if_nobody_else_qualifies() {
    let confirm = |world: &mut World| {
        let report = FenceReport::Confirmed {
            final_set: set("p:1-14"),
            received: GtidSet::default(),
            server_uuid: uuid("p"),
            unacknowledged: false,
            mysqld: None,
            broken: [].into(),
        };
        world.must(fenced(1, "p", report));
    };
    let mut world = starving("pab", 1, "a>b+9 b>a+9");
    confirm(&mut world);
    let reasons = choose(world.cluster()).expect_err("the others are waited for");
    let last = Reason::LastResort {
        instance: instance("p"),
        why: Unfit::Starved,
    };
    assert!(reasons.contains(&last), "{reasons:?}");
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-14", ""));
    }
    assert_eq!(told(&world), "a for p:1-14");
}

#[test]
fn who_is_approved_must_be_the_one_that_fares_better() {
    let mut registration = registration("pab", 1);
    registration.policy.automation = crate::policy::Automation::Off;
    // `a` can log in at `b`, and nobody at `a`.
    let paths = "a>b+9 b>a-9";
    let world = starving_as(registration, "ab", &[paths, paths]);
    let feasible = |to: &str| {
        let allows = crate::record::Approval {
            to: Some(instance(to)),
            ..crate::record::Approval::default()
        };
        crate::decide::feasible_with(world.cluster(), &allows)
    };
    assert_eq!(feasible("b"), Ok(()));
    assert!(feasible("a").is_err());
}
