//! Who is chosen, what it needs, and why the others are not.

use super::*;

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
fn a_chosen_one_that_never_opened_may_have_more_to_apply() {
    let mut world = deposed("pab", 1);
    world.must(fenced(
        1,
        "p",
        FenceReport::Confirmed {
            final_set: set("p:1-11"),
            received: set("p:12-14"),
            server_uuid: uuid("p"),
            unacknowledged: false,
            mysqld: None,
            broken: [].into(),
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
    // Its disk is stuck: it is not the one to open again while another qualifies.
    world.confirm("p:1-20");
    assert_eq!(told(&world), "a for p:1-20");
}

#[test]
fn one_that_is_not_heard_is_not_chosen_while_another_qualifies() {
    let mut world = deposed("pab", 1);
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-14", ""));
    }
    let to = |unheard: &str| {
        let now = Circumstances {
            unheard: instances(unheard),
            ..Circumstances::default()
        };
        choose_with(world.cluster(), &now).expect("both qualify").to
    };
    assert_eq!(to(""), instance("a"));
    assert_eq!(to("a"), instance("b"));
    assert_eq!(to("ab"), instance("a"));
}

/// A filter left rows out under GTIDs that it executed: it holds less than its set says.
#[test]
fn a_marked_one_proves_nothing_and_is_no_candidate() {
    let mut world = deposed("pabc", 2);
    world.freeze(FreezeReport {
        marked: Some("it replicates under a filter".into()),
        ..report("a", "p:1-20", "")
    });
    world.freeze(report("b", "p:1-14", ""));
    assert!(told(&world).starts_with("the loss would be unknown: 1 of 2 ackers"));
    world.freeze(report("c", "p:1-13", ""));
    assert_eq!(told(&world), "b for p:1-14");
    let choice = choose(world.cluster()).expect("b");
    let why = "a must be rebuilt before it may be promoted: it replicates under a filter";
    assert!(
        choice.why.iter().any(|line| line == why),
        "{:?}",
        choice.why
    );
}

/// A fence that has no answer for as long as a silence must last is not waited for.
#[test]
fn a_wedged_primary_that_leaves_its_fence_unanswered_is_replaced() {
    let mut world = wedged("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    let unheard = Command::Unheard {
        cluster: crate::testing::cluster_id(),
        epoch: Epoch(1),
    };
    let mut later = world.clone();
    later.must(unheard.clone());
    let choice = choose(later.cluster());
    let choice = choice.expect("what the ackers prove is enough");
    assert!(!check(world.cluster(), &choice).is_empty(), "before that");
    world.must(unheard);
    assert_eq!(told(&world), "a for p:1-20");
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
