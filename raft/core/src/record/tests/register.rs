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
        world.run(last).err().map(|why| why.to_string())
    };
    assert_eq!(found(Founding::New, "p:1-10"), None);
    let why = found(Founding::New, "p:1-11").expect("p lacks one");
    assert!(
        why.starts_with("gtid_executed of b = ") && why.contains("rebuild b"),
        "{why}"
    );
    // A running primary's set grows while the others are asked.
    assert_eq!(found(Founding::Adopted, "p:1-11"), None);
    assert!(found(Founding::Adopted, "p:1-10,b:1").is_some());
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
    assert_eq!(ackers, [uuid("a"), uuid("b")]);
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
