//! What may be lost, and what an operator may allow.

use super::*;

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
    // What was answered before has numbers that the server gives out anew: whoever holds them now may
    // hold other writes.
    assert_eq!(
        lost(&|world| {
            world.must(broken(1, "p", 5, Fault::Reset));
            world.must(broken(1, "p", 6, Fault::Disabled));
            world.must(settled(1, "p", 7, "p:1-12"));
        }),
        unknown(
            "the ground was broken on the old primary (its GTIDs were reset), and no marker written \
             since was held by k ackers"
        )
    );
}

/// How old the last look at the ground is: the largest of three.
#[test]
fn a_ground_that_was_seen_too_long_ago_is_not_known() {
    let age = |looks: &[Option<(u64, u64)>], heard: &[Option<Option<i64>>]| {
        let mut world = World::serving("pab", 1);
        world.cluster_mut().policy.automation = crate::policy::Automation::Off;
        world.open_inquest();
        for (node, look) in (1..).zip(looks) {
            let mut vote = world.vote(node, SightKind::Silent, 10_000);
            vote.ground = look.map(|(age_ms, gap_ms)| GroundLook { age_ms, gap_ms });
            let of = heard.get(node as usize - 1).copied().flatten();
            for reached in vote.reached.values_mut() {
                reached.timed = of.map(|ms| Timed {
                    agent: Incarnation(1),
                    moved_ms: 0,
                    looked_ms: ms.map(|ms| -ms),
                });
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
    let heard = [Some(Some(2_000)), Some(Some(300))];
    assert_eq!(age(&[Some((10, 0)), Some((10, 0))], &heard), Some(300));
    let by_one = [Some(Some(2_000)), Some(None)];
    assert_eq!(age(&[Some((10, 0)), None], &by_one), Some(2_000));
    assert_eq!(age(&[Some((10, 0)), None], &[None, Some(None)]), None);
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
    let why = with(2, "a").expect("two are needed");
    assert!(why.ends_with("bring back one of: b, c"), "{why}");
    let why = with(3, "").expect("one is needed");
    assert!(why.contains("no replica that may be promoted"), "{why}");
}

#[test]
fn a_proof_has_a_word_for_machines_and_a_sentence_for_people() {
    let ids = |letters: &str| {
        letters
            .chars()
            .map(|of| instance(&of.to_string()))
            .collect()
    };
    let strangers = |letters: &[&str]| letters.iter().map(|of| crate::testing::uuid(of)).collect();
    let all = [
        (
            Proof::Founding { adopted: false },
            "founding",
            "there was no primary before",
        ),
        (
            Proof::Founding { adopted: true },
            "founding",
            "the open primary is adopted",
        ),
        (
            Proof::Exited { frozen: ids("ab") },
            "exited",
            "the old mysqld has exited, and a, b are frozen",
        ),
    ];
    for (proof, name, words) in all {
        assert_eq!((proof.name(), proof.to_string().as_str()), (name, words));
    }
    let frozen = |of: &[&str]| Proof::AckersFrozen {
        frozen: ids("ab"),
        of: ids("abc"),
        k: 2,
        strangers: strangers(of),
    };
    assert_eq!(frozen(&[]).name(), "ackers_frozen");
    let (none, one) = (frozen(&[]).to_string(), frozen(&["z"]).to_string());
    assert!(none.contains("a, b") && none.contains("2 of 3"), "{none}");
    assert_ne!(none, one, "strangers are said");
}

/// Of two, one has lost a part of what it held: it may alone have held what was acknowledged.
fn one_forgot() -> World {
    let mut world = deposed("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(FreezeReport {
        forgot: Some("it lost p:21".into()),
        ..report("b", "p:1-20", "")
    });
    world
}

#[test]
fn zero_is_not_claimed_where_too_few_remember() {
    let mut world = one_forgot();
    world.cluster_mut().policy.max_loss = MaxLoss::Any;
    let choice = choose(world.cluster()).expect("a loss is allowed");
    assert_eq!(choice.loss, LossBound::Unknown);
    assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
    let claimed = Choice {
        loss: LossBound::Zero,
        ..choice
    };
    assert!(!check(world.cluster(), &claimed).is_empty());
}

#[test]
fn who_ranks_after_it_is_said_with_the_reason() {
    let mut world = deposed("pab", 1);
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-20", ""));
    }
    let why = choose(world.cluster()).expect("a candidate").why;
    let after = "b: qualified, ranks after a".to_owned();
    assert!(why.contains(&after), "{why:?}");
}

/// Where too few remember, the old primary's own word is what is needed.
#[test]
fn a_final_set_is_needed_where_too_few_remember() {
    let mut world = one_forgot();
    world.confirm("p:1-14");
    let choice = choose(world.cluster()).expect("a candidate");
    assert!(choice.need.is_superset_of(&set("p:1-14")));
    assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
    let less = Choice {
        need: set("p:1-12"),
        ..choice
    };
    let laws = check(world.cluster(), &less);
    let law = "the need contains the final set";
    assert!(laws.iter().any(|of| of.contains(law)), "{laws:?}");
}
