//! What may be registered, and how a cluster is founded.

use super::*;

#[test]
fn registrations_are_refused_by_field_value_and_remedy() {
    type Change = fn(&mut Registration);
    fn of<'a>(registration: &'a mut Registration, letter: &str) -> &'a mut InstanceSpec {
        registration
            .instances
            .get_mut(&instance(letter))
            .expect("registered")
    }
    let table: [(Change, &str); 22] = [
        (|r| r.cluster = "".into(), "cluster = : use 1 to 63 letters"),
        (
            |r| r.cluster = "a b".into(),
            "cluster = a b: use 1 to 63 letters",
        ),
        (
            |r| r.cluster = "other".into(),
            "cluster = other: is registered already",
        ),
        (
            |r| drop(r.instances.insert("a/b".into(), spec("c"))),
            "instances = a/b: use 1 to 63 letters",
        ),
        (
            |r| drop(r.instances.insert(instance("q"), spec("c"))),
            "instances = q: belongs to cluster other already",
        ),
        (
            |r| of(r, "a").host.clear(),
            "instances = a: needs a host, a port and a region",
        ),
        (
            |r| of(r, "a").port = 0,
            "instances = a: needs a host, a port and a region",
        ),
        (
            |r| of(r, "a").region = "".into(),
            "instances = a: needs a host, a port and a region",
        ),
        (
            |r| of(r, "a").host = "b.example".into(),
            "instances = b.example:3306: b has the same address",
        ),
        (
            |r| of(r, "a").server_uuid = Some(uuid("b")),
            "62626262-6262-6262-6262-626262626262: it belongs to b; give each data directory",
        ),
        (
            |r| of(r, "b").server_uuid = Some(uuid("q")),
            "server_uuid of b = 71717171-7171-7171-7171-717171717171: it belongs to q",
        ),
        (
            |r| r.primary = instance("z"),
            "primary = z: name one of the instances",
        ),
        (
            |r| of(r, "p").promotion = PromotionRule::Never,
            "primary = p: its promotion rule is never",
        ),
        (
            |r| r.ackers = instances("az"),
            "ackers = z: name replicas of this cluster",
        ),
        (
            |r| r.ackers = instances("ap"),
            "ackers = p: name replicas of this cluster",
        ),
        (
            |r| r.instances.retain(|id, _| id.as_str() == "p"),
            "ackers = 0: a semi_sync cluster needs 1 to 9 ackers",
        ),
        (
            |r| {
                let more = ('a'..='j').map(|c| c.to_string());
                r.instances.extend(more.map(|c| (instance(&c), spec(&c))));
            },
            "ackers = 10: a semi_sync cluster needs 1 to 9 ackers",
        ),
        (
            |r| r.k = 0,
            "k = 0: must lie between 1 and the number of ackers (2)",
        ),
        (
            |r| r.k = 3,
            "k = 3: must lie between 1 and the number of ackers (2)",
        ),
        (
            |r| r.policy.replica_stale_ms = 3_000,
            "policy.replica_stale_ms = 3000: must be below sustain_ms (3000)",
        ),
        (
            |r| r.policy.source_heartbeat_ms = u64::MAX,
            "policy.replica_stale_ms = 1500: must be above source_heartbeat_ms",
        ),
        (
            |r| r.policy.replication = crate::policy::Replication::Async,
            "policy.replication = async: needs leases",
        ),
    ];
    for (change, expected) in table {
        let mut world = World::of("xyz");
        world.must(Command::Register(Box::new(Registration {
            cluster: "other".into(),
            ..registration("qr", 1)
        })));
        let mut registration = registration("pab", 1);
        change(&mut registration);
        let why = world.refusal(Command::Register(Box::new(registration)));
        assert!(why.contains(expected), "{why:?} lacks {expected:?}");
    }
}

#[test]
fn a_policy_must_not_contradict_itself() {
    let mut world = World::serving("pab", 1);
    let set_policy = |policy: Policy| Command::SetPolicy {
        cluster: cluster_id(),
        policy: Box::new(policy),
    };
    let why = world.refusal(set_policy(Policy {
        restart_hold_ms: 3_000,
        ..Policy::default()
    }));
    assert_eq!(
        why,
        "restart_hold_ms = 3000: must be above sustain_ms (3000)"
    );
    let why = world.refusal(set_policy(Policy {
        promotions_max: 0,
        ..Policy::default()
    }));
    assert_eq!(
        why,
        "promotions_max = 0: must be at least 1; to hold back failovers: automation=off"
    );
    let why = world.refusal(set_policy(Policy {
        region_suspect_percent: 101,
        ..Policy::default()
    }));
    assert_eq!(
        why,
        "region_suspect_percent = 101: is a part of all, at most 100 (no incident is ever opened \
         then)"
    );
    world.must(set_policy(Policy::fast()));
    assert_eq!(world.cluster().policy, Policy::fast());
}

#[test]
fn an_instance_is_enrolled_under_one_server_uuid() {
    let mut world = World::serving_as(unenrolled("pab", 1, "a"));
    let named = world.cluster().instances[&instance("a")].server_uuid;
    assert_eq!(
        named,
        Some(uuid("a")),
        "at the latest with its first report"
    );
    let enrolled = |letter: &str, uuid_of: &str| Command::Enrolled {
        cluster: cluster_id(),
        instance: instance(letter),
        server_uuid: uuid(uuid_of),
    };
    let why = world.refusal(enrolled("a", "b"));
    assert!(
        why.starts_with("server_uuid of a = 6262") && why.contains("it belongs to b"),
        "{why}"
    );
    world.must(enrolled("a", "a"));
    world.must(enrolled("a", "a"));
    let why = world.refusal(enrolled("a", "z"));
    assert!(why.contains("the log knows it as 6161"), "{why}");
    assert_eq!(
        world.refusal(enrolled("y", "y")),
        "cluster shop has no instance y"
    );
}

// ---- founding

#[test]
fn founded_when_all_have_reported() {
    let mut world = World::of("xyz");
    world.must(Command::Register(Box::new(registration("pab", 1))));
    assert_eq!(stage(&world), "epoch 0, being founded");
    let why = {
        let open = world.founding_report("a", "p:1-10", false);
        world.refusal(open)
    };
    assert_eq!(
        why,
        "super_read_only and offline_mode of a = OFF: an instance boots closed, with both of them \
         ON; set them"
    );
    for letter in ["a", "b"] {
        let command = world.founding_report(letter, "p:1-9", true);
        world.must(command);
        assert_eq!(stage(&world), "epoch 0, being founded");
    }
    let last = world.founding_report("p", "p:1-10", true);
    world.must(last.clone());
    assert_eq!(stage(&world), "epoch 1, opening the new primary");
    let cluster = world.cluster();
    assert_eq!(cluster.ackers.members, instances("ab"));
    assert_eq!(cluster.floor, set("p:1-10"));
    assert!(cluster.floor_stands && cluster.primaries.contains(&uuid("p")));
    assert!(world.refusal(last).contains("not at that stage"));
}

#[test]
fn founding_wants_the_primary_to_hold_everything() {
    let found = |founding, extra: &str| {
        let mut world = World::of("xyz");
        world.must(Command::Register(Box::new(Registration {
            founding,
            ..registration("pab", 1)
        })));
        for (letter, holds) in [("p", "p:1-10"), ("a", "p:1-10")] {
            let fenced = founding == Founding::New || letter != "p";
            let command = world.founding_report(letter, holds, fenced);
            world.must(command);
        }
        let last = world.founding_report("b", extra, true);
        (world, last)
    };
    let must = |founding, extra| {
        let (mut world, last) = found(founding, extra);
        world.must(last);
        assert_eq!(world.cluster().epoch, Epoch(1));
    };
    let refusal = |founding, extra| {
        let (mut world, last) = found(founding, extra);
        world.refusal(last)
    };
    must(Founding::New, "p:1-10");
    let why = refusal(Founding::New, "p:1-11");
    assert!(
        why.starts_with("gtid_executed of b = ") && why.contains("rebuild b"),
        "{why}"
    );
    // A running primary's set grows while the others are asked.
    must(Founding::Adopted, "p:1-11");
    refusal(Founding::Adopted, "p:1-10,b:1");
}

/// Registered, with these reports taken.
fn reported(reports: &[(&str, &str)]) -> World {
    let mut world = World::of("xyz");
    world.must(Command::Register(Box::new(registration("pab", 1))));
    for (letter, holds) in reports {
        let command = world.founding_report(letter, holds, true);
        world.must(command);
    }
    world
}

#[test]
fn a_founding_that_was_refused_is_founded_once_the_server_is_mended() {
    // The last to report holds too much; or the first, which shows only at the end.
    for (reports, last, mended) in [
        ([("p", "p:1-10"), ("a", "p:1-10")], ("b", "p:1-10,b:1"), "b"),
        ([("a", "p:1-9,a:7"), ("b", "p:1-10")], ("p", "p:1-10"), "a"),
    ] {
        let mut world = reported(&reports);
        let (letter, holds) = last;
        for _ in 0..2 {
            let command = world.founding_report(letter, holds, true);
            let why = world.refusal(command);
            assert!(why.contains(&format!("rebuild {mended}")), "{why}");
        }
        for letter in [mended, letter] {
            assert_eq!(stage(&world), "epoch 0, being founded");
            let command = world.founding_report(letter, "p:1-10", true);
            world.must(command);
            if mended == last.0 {
                break;
            }
        }
        assert_eq!(stage(&world), "epoch 1, opening the new primary");
        assert_eq!(world.cluster().floor, set("p:1-10"));
    }
}

#[test]
fn a_refused_report_enrols_nobody() {
    let mut world = World::of("xyz");
    world.must(Command::Register(Box::new(unenrolled("pab", 1, "b"))));
    for letter in ["p", "a"] {
        let command = world.founding_report(letter, "p:1-10", true);
        world.must(command);
    }
    for (holds, fenced) in [("p:1-10,b:1", true), ("p:1-10", false)] {
        let command = world.founding_report("b", holds, fenced);
        world.refusal(command);
        assert_eq!(world.cluster().instances[&instance("b")].server_uuid, None);
    }
}

/// Every node of a plane applies alike, whatever else it knows.
#[test]
fn the_first_level_stores_what_it_refuses() {
    let mut world = World::at_level("xyz", 1);
    world.must(Command::Register(Box::new(registration("pab", 1))));
    for (letter, holds) in [("p", "p:1-10"), ("a", "p:1-10")] {
        let command = world.founding_report(letter, holds, true);
        world.must(command);
    }
    let last = world.founding_report("b", "p:1-10,b:1", true);
    let why = world.run(last).expect_err("p lacks one").to_string();
    assert!(why.contains("rebuild b"), "{why}");
    let Stage::Founding { reports, .. } = &world.cluster().stage else {
        panic!("it is not founded");
    };
    assert_eq!(reports.len(), 3);
    // Mended, and asked again: what stood in the way is not there any more.
    let mended = world.founding_report("b", "p:1-10", true);
    world.must(mended);
    assert_eq!(world.cluster().epoch, Epoch(1));
}

#[test]
fn a_report_says_something_new_or_nothing() {
    let known = |world: &World, letter: &str, holds: &str| {
        let report = report(letter, holds, "");
        world
            .cluster()
            .has_founding_report(&instance(letter), &report)
    };
    let world = reported(&[("p", "p:1-10"), ("a", "p:1-10")]);
    assert!(known(&world, "p", "p:1-10") && known(&world, "a", "p:1-10"));
    assert!(!known(&world, "a", "p:1-9") && !known(&world, "b", "p:1-10"));
    let mut foreign = report("a", "p:1-10", "");
    foreign.server_uuid = uuid("z");
    assert!(
        !world
            .cluster()
            .has_founding_report(&instance("a"), &foreign)
    );

    // What a running primary writes arrives all the time.
    let mut world = World::of("xyz");
    world.must(Command::Register(Box::new(Registration {
        founding: Founding::Adopted,
        ..registration("pab", 1)
    })));
    for letter in ["p", "a"] {
        let command = world.founding_report(letter, "p:1-10", letter != "p");
        world.must(command);
    }
    assert!(known(&world, "p", "p:1-99") && known(&world, "a", "p:1-20"));
    assert!(!known(&world, "a", "p:1-20,a:1"));
    let founded = World::serving("pab", 1);
    assert!(!known(&founded, "a", "p:1-10"));
}

// ---- taken back

fn unregister() -> Command {
    Command::Unregister {
        cluster: cluster_id(),
        who: "ann".into(),
    }
}

#[test]
fn a_cluster_that_never_opened_is_taken_back() {
    let mut world = reported(&[("p", "p:1-10"), ("a", "p:1-10")]);
    let events = world.must(unregister());
    assert_eq!(events[0].kind, EventKind::Unregistered);
    assert_eq!(events[0].cluster, Some(cluster_id()));
    assert_eq!(
        events[0].what,
        "ann takes the registration back; it was never founded"
    );
    assert_eq!(
        world.refusal(unregister()),
        "cluster shop is not registered"
    );
    // Its names, its addresses and its servers are free.
    let again = Registration {
        cluster: "other".into(),
        ..registration("pab", 1)
    };
    world.must(Command::Register(Box::new(again)));
}

#[test]
fn a_cluster_that_may_have_opened_is_not_taken_back() {
    let mut world = reported(&[("p", "p:1-10"), ("a", "p:1-10"), ("b", "p:1-10")]);
    let why = "unregister: shop has been founded, it is at epoch 1; only one that never opened is \
               taken back";
    assert_eq!(world.refusal(unregister()), why, "it is being opened");
    assert_eq!(World::serving("pab", 1).refusal(unregister()), why);
    assert_eq!(deposed().refusal(unregister()), why);

    let mut world = World::at_level("xyz", 1);
    world.must(Command::Register(Box::new(registration("pab", 1))));
    assert_eq!(
        world.refusal(unregister()),
        "unregister came with feature level 2, and the plane is at 1: upgrade every node, then the \
         leader raises it"
    );
}

#[test]
fn a_report_for_a_registration_that_was_taken_back_founds_nothing() {
    let registered = |world: &World| match world.cluster().stage {
        Stage::Founding { at, .. } => at,
        _ => panic!("it is being founded"),
    };
    let mut world = reported(&[]);
    let first = registered(&world);
    world.must(unregister());
    world.must(Command::Register(Box::new(registration("pab", 1))));
    let of = |world: &World, at| {
        let mut command = world.founding_report("p", "p:1-10", true);
        let Command::FoundingReport { registered, .. } = &mut command else {
            unreachable!("it is one");
        };
        *registered = Some(at);
        command
    };
    let late = of(&world, first);
    let why = world.refusal(late);
    assert!(why.starts_with("founding report of an earlier"), "{why}");
    let second = registered(&world);
    let command = of(&world, second);
    world.must(command);
    let (instance, report) = (instance("a"), report("a", "p:1-10", ""));
    let word = |registered| FoundingWord {
        instance: &instance,
        report: &report,
        fenced: true,
        registered,
    };
    let judged = |at| world.state.judge_founding(&cluster_id(), word(at));
    assert_eq!(judged(Some(second)), Ok(None), "b has not reported");
    assert!(judged(Some(first)).is_err());
    assert_eq!(judged(None), Ok(None));
    let why = world.state.judge_founding(&"nowhere".into(), word(None));
    assert!(why.is_err());
}

#[test]
fn a_founding_report_enrols() {
    // Else the primary, named before its ackers are known, would cut them as strangers.
    let mut world = World::of("xyz");
    let unknown = unenrolled("pab", 1, "pab");
    world.must(Command::Register(Box::new(unknown)));
    for letter in ["p", "a"] {
        let command = world.founding_report(letter, "p:1-10", true);
        world.must(command);
    }
    // The server of another instance under this one's name.
    let mut foreign = world.founding_report("b", "p:1-10", true);
    if let Command::FoundingReport { report, .. } = &mut foreign {
        report.server_uuid = uuid("a");
    }
    let why = world.refusal(foreign);
    assert!(why.contains("belongs to a"), "{why}");
    let command = world.founding_report("b", "p:1-10", true);
    world.must(command);
    assert_eq!(world.cluster().epoch, Epoch(1));
    let ackers = crate::act::acker_uuids(world.cluster());
    assert_eq!(ackers, [uuid("a"), uuid("b")].into());
}

#[test]
fn an_adopted_floor_stands_only_with_its_first_marker() {
    let mut world = World::of("xyz");
    world.found(Registration {
        founding: Founding::Adopted,
        ..registration("pab", 1)
    });
    assert!(!world.cluster().floor_stands);
    world.must(opened(1, "p"));
    world.silence("p:1-12");
    assert!(
        world.cluster().deposition().is_none(),
        "the loss would be unknown"
    );
    world.must(acknowledged(1, "p", "p:1-12"));
    assert!(world.cluster().floor_stands);
    assert_eq!(world.cluster().floor, set("p:1-12"));
}

#[test]
fn as_many_ackers_as_are_weighed_and_no_more() {
    let registers = |letters: &str| {
        let mut world = World::of("xyz");
        let registration = Box::new(registration(letters, 1));
        world.run(Command::Register(registration)).is_ok()
    };
    assert!(registers("pabcdefghi"), "nine");
    assert!(!registers("pabcdefghij"), "ten");
}

#[test]
fn a_name_has_letters_digits_and_three_signs() {
    for (name, fits) in [("a-b", true), ("a_b", true), ("a.b", true), ("a+b", false)] {
        let mut world = World::of("xyz");
        let mut registration = Box::new(registration("pab", 1));
        registration.cluster = name.into();
        let ran = world.run(Command::Register(registration));
        assert_eq!(ran.is_ok(), fits, "{name}");
    }
}
