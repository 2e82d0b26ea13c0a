//! Who is chosen, what it needs, and why the others are not.

use super::*;

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
fn one_that_left_this_primary_tells_what_it_held_then() {
    let beyond = |left: Option<&str>, unknown: bool| {
        let mut world = deposed("pabc", 1);
        world.freeze(report("a", "p:1-15", ""));
        world.freeze(report("b", "p:1-12", ""));
        let left = left.map(|text| (instance("p"), set(text)));
        let left_unknown = unknown.then(|| instance("p"));
        world.freeze(FreezeReport {
            replicated_from: Some(instance("z")),
            left: left.into_iter().collect(),
            left_unknown: left_unknown.into_iter().collect(),
            ..report("c", "p:1-18,p:20-30", "")
        });
        told(&world)
    };
    assert_eq!(beyond(None, false), "a for p:1-15");
    // Acknowledged to the one before, and fetched by nobody yet.
    assert_eq!(beyond(Some("p:1-18"), false), "c for p:1-18");
    // A memory that had no room is no memory.
    assert!(beyond(None, true).starts_with("the loss would be unknown: 2 of 3 ackers needed"));
}

#[test]
fn one_unsatisfiable_report_does_not_block() {
    let odd = [
        ("a", "p:1-12,p:14", ""),
        ("b", "p:1-13", ""),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &odd, "a for p:1-12");
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
    // Its disk is stuck: it is not the one to open again while another qualifies.
    world.confirm("p:1-20");
    assert_eq!(told(&world), "a for p:1-20");
}

/// What one of three received of k = 2 nobody was ever told: it bars nobody, now or later.
#[test]
fn what_too_few_hold_is_not_needed() {
    let one = [
        ("a", "p:1-12", "p:13-20"),
        ("b", "p:1-12", ""),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &one, "a for p:1-12");
    let two = [
        ("a", "p:1-12", "p:13-20"),
        ("b", "p:1-12", "p:13-15"),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &two, "a for p:1-15");
    // With one of them unheard it may hold what the others hold alone.
    frozen("pabc", 2, &two[..2], "a for p:1-20");
    // The one that received most is preferred, and its host is lost: the others hold all that was
    // ever answered, and the floor does not say otherwise.
    let mut world = deposed("pabc", 2);
    for (letter, executed, received) in one {
        world.freeze(report(letter, executed, received));
    }
    let choice = choose(world.cluster()).expect("a");
    world.must(Command::Choose(Box::new(choice)));
    assert_eq!(world.cluster().floor, set("p:1-12"));
}

#[test]
fn a_final_set_stands_in_only_where_too_few_can_tell() {
    let mut world = deposed("pabc", 2);
    // What waited for an acknowledgement was committed when its client was cut off.
    world.confirm("p:1-14");
    assert_eq!(told(&world), "p for p:1-14");
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-13", ""));
    }
    assert_eq!(told(&world), "p for p:1-13");
}

fn forgetful(letter: &str, executed: &str) -> FreezeReport {
    FreezeReport {
        forgot: Some("its relay log was reset".into()),
        ..report(letter, executed, "")
    }
}

#[test]
fn one_that_forgot_is_silent_and_tells_nothing() {
    let mut world = deposed("pabc", 2);
    world.freeze(report("a", "p:1-12", ""));
    world.freeze(forgetful("b", "p:1-12"));
    assert_eq!(
        told(&world),
        "the loss would be unknown: 1 of 2 ackers needed tell all that they ever acknowledged; \
         what the others forgot is not known: b: its relay log was reset; the policy allows none. \
         Raise `max_loss`, or approve it by name: `primacy approve --max-loss any`"
    );
    world.freeze(report("c", "p:1-14", ""));
    assert_eq!(
        told(&world),
        "c for p:1-14",
        "what a and c hold, either one"
    );
    // What it loses after its first report changes nothing.
    let mut world = deposed("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    world.freeze(forgetful("b", "p:1-11"));
    assert_eq!(told(&world), "a for p:1-20");
    // Nor does it remember again.
    let mut world = deposed("pab", 1);
    world.freeze(forgetful("a", "p:1-20"));
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    assert!(told(&world).starts_with("the loss would be unknown"));
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

#[test]
fn an_approval_names_who_and_what_may_be() {
    let approve = |to: &str, errant: &str| Command::Approve {
        cluster: crate::testing::cluster_id(),
        epoch: Epoch(1),
        who: "ann".into(),
        allows: crate::record::Approval {
            to: (!to.is_empty()).then(|| instance(to)),
            errant: set(errant),
            max_loss: None,
        },
    };
    let mut world = deposed("pab", 1);
    for letter in ["a", "b"] {
        world.freeze(report(letter, &format!("p:1-20,{letter}:1-2"), ""));
    }
    let halted = "a holds errant transactions a:1-2; b holds errant transactions b:1-2";
    assert_eq!(told(&world), halted);
    world.must(approve("", "a:1"));
    assert!(told(&world).starts_with("a holds errant transactions a:2"));
    world.must(approve("", "a:1-2,b:1-2"));
    assert_eq!(told(&world), "a for p:1-20");
    world.must(approve("b", "a:1-2,b:1-2"));
    assert_eq!(told(&world), "b for p:1-20");
    let why = world.refusal(approve("z", ""));
    assert_eq!(why, "cluster shop has no instance z");
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
fn no_more_is_lost_than_is_proved_or_allowed() {
    let lost = |bend: &dyn Fn(&mut World)| {
        let mut world = World::serving("pab", 1);
        bend(&mut world);
        world.cluster_mut().policy.max_loss = MaxLoss::Any;
        world.silence("p:1-12");
        world.cluster_mut().policy.max_loss = MaxLoss::None;
        for letter in ["a", "b"] {
            world.freeze(report(letter, "p:1-20", ""));
        }
        let why = told(&world);
        // Allowed, by the policy or by whoever approved it.
        world.cluster_mut().policy.max_loss = MaxLoss::Any;
        let choice = choose(world.cluster()).expect("a loss is allowed");
        assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
        world.cluster_mut().policy.max_loss = MaxLoss::Stated;
        assert_eq!(
            check(world.cluster(), &choice).is_empty(),
            choice.loss == LossBound::Zero
        );
        let mut claimed = choice.clone();
        claimed.loss = LossBound::Zero;
        assert_eq!(
            check(world.cluster(), &claimed).is_empty(),
            choice.loss == LossBound::Zero,
            "zero is not claimed beyond the proof"
        );
        let why = why.strip_prefix("the loss would be unknown: ").map(|why| {
            let end = why.find("; the policy allows none").expect("it says so");
            why[..end].to_owned()
        });
        (choice.loss, why)
    };
    let unknown = |why: &str| (LossBound::Unknown, Some(why.to_owned()));
    assert_eq!(lost(&|_| {}), (LossBound::Zero, None));
    assert_eq!(
        lost(&|world| world.cluster_mut().floor_stands = false),
        unknown("no marker of this cluster was ever held by k ackers; one must be")
    );
    assert_eq!(
        lost(&|world| {
            world.must(broken(1, "p", 5, Fault::Disabled));
        }),
        unknown(
            "the ground was broken on the old primary (rpl_semi_sync_source_enabled is OFF), and no \
             marker written since was held by k ackers"
        )
    );
    assert_eq!(
        lost(&|world| {
            world.must(broken(1, "p", 5, Fault::Disabled));
            world.must(settled(1, "p", 6, "p:1-12"));
        }),
        (LossBound::Zero, None)
    );
}

/// How old the last look at the ground is: the largest of three.
#[test]
fn a_ground_that_was_seen_too_long_ago_is_not_known() {
    let age = |looks: &[Option<(u64, u64)>], heard: &[Option<u64>]| {
        let mut world = World::serving("pab", 1);
        world.cluster_mut().policy.automation = crate::policy::Automation::Off;
        world.open_inquest();
        for (node, look) in (1..).zip(looks) {
            let mut vote = world.vote(node, SightKind::Silent, 10_000);
            vote.ground = look.map(|(age_ms, gap_ms)| GroundLook { age_ms, gap_ms });
            let of = heard.get(node as usize - 1).copied().flatten();
            for reached in vote.reached.values_mut() {
                reached.ground_ms = of;
            }
            world.must(Command::Vote(Box::new(vote)));
        }
        let inquest = world.cluster().inquest.as_ref().expect("open");
        inquest.ground_age_ms()
    };
    assert_eq!(age(&[None, None], &[]), None, "nobody looked");
    assert_eq!(age(&[Some((10, 0)), None], &[]), Some(10));
    // No smaller one is safe without a common clock.
    assert_eq!(age(&[Some((10, 0)), Some((700, 0))], &[]), Some(700));
    // Of gaps, and of what an acker heard since, whoever looked latest measures.
    assert_eq!(age(&[Some((10, 900)), Some((10, 40))], &[]), Some(40));
    let heard = [Some(2_000), Some(300)];
    assert_eq!(age(&[Some((10, 0)), Some((10, 0))], &heard), Some(300));
    assert_eq!(age(&[Some((10, 0)), None], &heard), Some(2_000));
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
