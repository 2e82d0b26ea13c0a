//! When the old primary may be primary again.

use super::*;

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
fn one_that_would_serve_no_better_returns_only_if_nobody_else_qualifies() {
    let confirmed = |unacknowledged| FenceReport::Confirmed {
        final_set: set("p:1-14"),
        received: GtidSet::default(),
        server_uuid: uuid("p"),
        unacknowledged,
        mysqld: None,
        broken: [].into(),
    };
    let waits = |world: &World, why: &str| {
        let text = told(world);
        let expected =
            format!("p came back, but {why}: it opens again only if nobody else qualifies");
        assert!(text.ends_with(&expected), "{text}");
        let waited = Circumstances {
            last_resort: true,
            ..Circumstances::default()
        };
        let choice = choose_with(world.cluster(), &waited).expect("nobody else");
        assert_eq!(choice.to, instance("p"));
    };
    let mut world = deposed("pab", 1);
    world.must(fenced(1, "p", confirmed(true)));
    waits(
        &world,
        "it shut itself, since nobody acknowledged its writes",
    );
    let unheard = world.clone();
    world.freeze(report("a", "p:1-14", ""));
    assert_eq!(told(&world), "a for p:1-14");
    // Whoever qualifies alone may be gone for good: it is waited for as long as for any other.
    let chosen = |last_resort, unheard: &str| {
        let now = Circumstances {
            last_resort,
            unheard: instances(unheard),
            ..Circumstances::default()
        };
        let choice = choose_with(world.cluster(), &now).expect("one of them");
        assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
        choice.to
    };
    assert_eq!(chosen(true, "a"), instance("p"));
    assert_eq!(chosen(false, "a"), instance("a"));
    assert_eq!(chosen(true, "b"), instance("a"));
    // Everybody was heard, and nobody else qualifies.
    let mut world = unheard;
    for letter in ["a", "b"] {
        world.freeze(report(letter, &format!("p:1-14,{letter}:1"), ""));
    }
    assert_eq!(told(&world), "p for p:1-14");
    // Likewise one that was never acknowledged, or that could not write.
    let mut world = World::of("xyz");
    world.found(registration("pab", 1));
    world.must(crate::testing::opened(1, "p"));
    world.cluster_mut().floor_stands = true;
    world.silence("");
    world.must(fenced(1, "p", confirmed(false)));
    waits(&world, "no write of its epoch was ever acknowledged");
    let mut world = wedged("pab", 1);
    world.must(fenced(1, "p", confirmed(false)));
    waits(&world, "it could not write");
}

/// What could be missing on one that did not open can be missing on an old primary that is tried again:
/// so much, and no more.
#[test]
fn one_that_is_tried_again_may_lack_what_it_lacked() {
    let sound = |taken_back: Option<LossBound>, loss: LossBound| {
        let mut world = deposed("pab", 1);
        world.confirm("p:1-14");
        let mut choice = choose(world.cluster()).expect("it is back");
        choice.loss = loss;
        let crate::record::Stage::Deposed(record) = &mut world.cluster_mut().stage else {
            panic!("it is deposed");
        };
        record.withdrawn = taken_back.map(|loss| crate::record::Withdrawn {
            why: "it applies nothing".into(),
            loss,
        });
        let broken = check(world.cluster(), &choice);
        !broken.contains(&"no more may be lost than is proved, or allowed".to_owned())
    };
    let (zero, unknown) = (LossBound::Zero, LossBound::Unknown);
    assert!(sound(None, zero.clone()));
    assert!(sound(Some(zero.clone()), zero.clone()));
    assert!(!sound(Some(unknown.clone()), zero.clone()));
    assert!(!sound(None, unknown.clone()));
    assert!(!sound(Some(zero), unknown.clone()));
    assert!(sound(Some(unknown.clone()), unknown));
}
