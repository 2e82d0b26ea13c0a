//! What is fetched, from whom, where nobody who may be promoted holds all that is needed.

use super::sound::scene;
use super::*;
use crate::decide::{Fetch, check_fetch, fetches};
use crate::testing::cluster_id;

/// `a`, `b`, … as in `frozen`, but these must never be promoted.
fn never(letters: &str, k: u32, never: &str) -> World {
    let mut registration = registration(letters, k);
    for letter in never.chars() {
        let spec = registration
            .instances
            .get_mut(&instance(&letter.to_string()));
        spec.expect("it is registered").promotion = PromotionRule::Never;
    }
    deposed_as(registration)
}

fn options(world: &World) -> Vec<String> {
    let cluster = world.cluster();
    let each = fetches(cluster).into_iter().map(|fetch| {
        assert_eq!(check_fetch(cluster, &fetch), Vec::<String>::new());
        format!("{} from {}: {}", fetch.to, fetch.donor, short(&fetch.set))
    });
    each.collect()
}

fn command(fetch: Fetch) -> Command {
    Command::Fetch {
        cluster: cluster_id(),
        epoch: Epoch(1),
        fetch: Box::new(fetch),
    }
}

/// One acker of two may be promoted, and the other received more.
fn one_behind() -> World {
    let mut world = never("pab", 1, "b");
    world.freeze(report("a", "p:1-12", ""));
    world.freeze(report("b", "p:1-14", "p:15-20"));
    world
}

#[test]
fn what_only_one_holds_that_must_never_be_promoted_is_fetched() {
    let mut world = one_behind();
    assert_eq!(told(&world), "a lacks p:13-20; b must never be promoted");
    assert_eq!(options(&world), ["a from b: p:13-20"]);
    let fetch = fetches(world.cluster()).remove(0);
    world.must(command(fetch));
    let record = world.cluster().deposition().expect("deposed");
    assert!(record.unfetched().is_some());
    // It comes in pieces; each is reported as a freeze is.
    world.freeze(report("a", "p:1-12", "p:13-16"));
    assert!(world.cluster().deposition().unwrap().unfetched().is_some());
    assert_eq!(options(&world), ["a from b: p:17-20"]);
    world.freeze(report("a", "p:1-12", "p:13-20"));
    assert_eq!(world.cluster().deposition().unwrap().unfetched(), None);
    assert_eq!(options(&world), [""; 0]);
    assert_eq!(told(&world), "a for p:1-20");
}

#[test]
fn nothing_is_fetched_where_somebody_can_be_chosen() {
    let mut world = never("pabc", 2, "b");
    world.freeze(report("a", "p:1-12", ""));
    world.freeze(report("b", "p:1-20", ""));
    assert_eq!(options(&world), ["a from b: p:13-20"]);
    // Two of three tell all that was acknowledged, without `b`.
    world.freeze(report("c", "p:1-14", ""));
    assert_eq!(told(&world), "c for p:1-14");
    assert_eq!(options(&world), [""; 0]);
}

#[test]
fn nothing_is_fetched_without_a_proof_or_against_an_abort() {
    let mut world = never("pab", 1, "b");
    world.freeze(report("b", "p:1-20", ""));
    assert_eq!(options(&world), [""; 0], "one of two is too few");
    world.freeze(report("a", "p:1-12", ""));
    assert_eq!(options(&world).len(), 1);
    let fetch = fetches(world.cluster()).remove(0);
    world.must(Command::Abort {
        cluster: cluster_id(),
        epoch: Epoch(1),
        who: "ann".into(),
        why: "a drill".into(),
    });
    assert_eq!(options(&world), [""; 0]);
    assert!(
        world
            .refusal(command(fetch))
            .contains("after an abort the old primary alone opens again")
    );
}

/// `a` lacks what `b` has; `b` is no donor for this reason.
#[track_caller]
fn no_donor(a: FreezeReport, b: FreezeReport, law: &str) {
    let mut world = never("pab", 1, "b");
    world.freeze(a.clone());
    world.freeze(b.clone());
    let none: [&str; 0] = [];
    assert_eq!(options(&world), none, "{law}");
    let held = b.holds();
    let refused = world.refusal(command(Fetch {
        to: instance("a"),
        donor: instance("b"),
        set: held.subtract(&a.holds()).intersect(&set("p:13-20")),
        within: held,
    }));
    assert!(refused.contains(law), "{law:?} in {refused:?}");
}

#[test]
fn a_donor_followed_this_primary_and_holds_nothing_of_its_own() {
    let behind = || report("a", "p:1-12", "");
    let ahead = || report("b", "p:1-20", "");
    for from in [None, Some(instance("z"))] {
        // Both are needed, so what the other holds beyond is not: it is phantom, and `a` is chosen.
        let mut world = never("pab", 1, "b");
        world.freeze(behind());
        world.freeze(FreezeReport {
            replicated_from: from,
            ..ahead()
        });
        assert_eq!(told(&world), "a for p:1-12");
        assert_eq!(options(&world), [""; 0]);
        let within = set("p:1-20");
        let (to, donor, set) = (instance("a"), instance("b"), set("p:13-20"));
        let refused = world.refusal(command(Fetch {
            to,
            donor,
            set,
            within,
        }));
        assert!(refused.contains("may be phantom"), "{refused}");
    }
    no_donor(
        behind(),
        report("b", "p:1-20,b:1", ""),
        "neither has an errant transaction",
    );
    no_donor(
        FreezeReport {
            executed: set("p:1-11"),
            ..behind()
        },
        FreezeReport {
            purged: set("p:1-12"),
            ..ahead()
        },
        "the donor's binary log goes back far enough",
    );
    no_donor(
        report("a", "p:1-12,p:22", ""),
        ahead(),
        "compared: the donor holds all that the other does",
    );
}

/// One that has not joined the newest primary still holds what the epoch before needed.
#[test]
fn one_that_holds_nothing_but_what_is_needed_may_give_it() {
    let mut world = World::serving("pabc", 1);
    let of_a = FreezeReport {
        replicated_from: Some(instance("z")),
        ..report("a", "p:1-11", "")
    };
    let spec = world.cluster_mut().instances.get_mut(&instance("a"));
    spec.expect("a").promotion = PromotionRule::Never;
    world.silence("");
    world.freeze(of_a);
    for letter in ["b", "c"] {
        world.freeze(report(letter, "p:1-9", ""));
    }
    assert_eq!(options(&world)[0], "b from a: p:10-11");
    // Whatever is beyond may be phantom.
    world.freeze(FreezeReport {
        replicated_from: Some(instance("z")),
        ..report("a", "p:1-12", "")
    });
    assert_eq!(options(&world), [""; 0]);
}

#[test]
fn a_former_primary_gives_and_takes_nothing() {
    for left in ["a", "b"] {
        let mut world = one_behind();
        let fetch = fetches(world.cluster()).remove(0);
        world.cluster_mut().left_behind.insert(instance(left));
        assert_eq!(options(&world), [""; 0]);
        assert!(check_fetch(world.cluster(), &fetch)[0].contains("before it rejoined"));
    }
}

/// What was frozen of `b`, to be bent.
fn of_b(world: &mut World) -> &mut FreezeReport {
    let crate::record::Stage::Deposed(record) = &mut world.cluster_mut().stage else {
        panic!("it is deposed");
    };
    record.frozen.get_mut(&instance("b")).expect("frozen")
}

/// Each law of a fetch stands by itself: what breaks it alone is refused by its words.
#[test]
fn the_laws_of_a_fetch() {
    type Bend = fn(&mut World, &mut Fetch);
    let table: [(Bend, &str); 10] = [
        (|_, _| {}, ""),
        (|_, fetch| fetch.donor = fetch.to.clone(), "two replicas of"),
        (|_, fetch| fetch.donor = instance("p"), "both are frozen"),
        (
            |world, _| {
                world.cluster_mut().left_behind.insert(instance("a"));
            },
            "a former primary gives and takes nothing",
        ),
        (
            |world, _| of_b(world).replicated_from = None,
            "the donor followed the deposed primary",
        ),
        (
            |world, _| of_b(world).executed = set("p:1-14,b:1"),
            "neither has an errant transaction",
        ),
        (|_, fetch| fetch.within = set("p:1-14"), "compared"),
        (
            |_, fetch| fetch.set = set("p:12-20"),
            "the donor has what is",
        ),
        (
            |_, fetch| fetch.set = set("p:13-21"),
            "the donor has what is",
        ),
        (
            |world, _| of_b(world).purged = set("p:1-13"),
            "the donor's binary log goes back",
        ),
    ];
    for (bend, words) in table {
        let mut world = one_behind();
        let mut fetch = fetches(world.cluster()).remove(0);
        bend(&mut world, &mut fetch);
        let broken = check_fetch(world.cluster(), &fetch);
        let first = broken.first().map_or("", String::as_str);
        assert!(first.starts_with(words), "{words}: {broken:?}");
        assert_eq!(first.is_empty(), words.is_empty(), "{broken:?}");
    }
}

#[test]
fn one_at_home_is_fetched_to_and_from_first() {
    let mut registration = registration("pabcd", 2);
    for (letter, region) in [("a", "y"), ("b", "x"), ("c", "x"), ("d", "y")] {
        let spec = registration.instances.get_mut(&instance(letter)).unwrap();
        spec.region = region.into();
        if ["c", "d"].contains(&letter) {
            spec.promotion = PromotionRule::Never;
        }
    }
    let mut world = deposed_as(registration);
    for (letter, executed) in [("a", "p:1-12"), ("c", "p:1-20"), ("d", "p:1-20")] {
        world.freeze(report(letter, executed, ""));
    }
    assert_eq!(options(&world)[0], "a from d: p:13-20");
    world.freeze(report("b", "p:1-12", ""));
    assert_eq!(options(&world)[0], "b from c: p:13-20");
}

proptest! {
    /// With those that hold most barred from promotion: each fetch passes the check, what it brings
    /// is needed and nobody's own, and once they are carried out, somebody can be chosen or nobody
    /// has what is missing.
    #[test]
    fn fetching_ends_in_a_choice_or_with_nothing_to_fetch(scene in scene(), bars in 0_u8..16) {
        let mut world = scene.world();
        for (bit, letter) in ["a", "b", "c", "d"].iter().enumerate() {
            if bars >> bit & 1 == 1
                && let Some(spec) = world.cluster_mut().instances.get_mut(&instance(letter))
            {
                spec.promotion = PromotionRule::Never;
            }
        }
        for _ in 0..16 {
            let Some(fetch) = fetches(world.cluster()).into_iter().next() else {
                break;
            };
            prop_assert!(choose(world.cluster()).is_err());
            prop_assert_eq!(check_fetch(world.cluster(), &fetch), Vec::<String>::new());
            prop_assert!(fetch.set.without(&world.cluster().primaries).is_empty());
            let record = world.cluster().deposition().expect("deposed");
            let mut report = record.frozen[&fetch.to].clone();
            report.received = record.newest[&fetch.to].union(&fetch.set);
            world.must(command(fetch));
            world.freeze(report);
        }
        prop_assert_eq!(fetches(world.cluster()), Vec::new());
        if let Ok(choice) = choose(world.cluster()) {
            prop_assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
        }
    }
}

/// Nothing is fetched for one that will not be chosen: where the old primary is back in time, and where
/// more could be missing than is allowed.
#[test]
fn where_nobody_could_be_chosen_by_it_nothing_is_fetched() {
    let mut back = one_behind();
    back.confirm("p:1-20");
    assert_eq!(told(&back), "p for p:1-20");
    assert_eq!(options(&back), [""; 0]);
    let mut doubtful = one_behind();
    doubtful.cluster_mut().ground.broken = [crate::observe::Fault::Disabled].into();
    assert_eq!(options(&doubtful), [""; 0]);
}
