//! Tables: which commands take effect at which stage, and how a refusal reads.

use super::{
    Cluster, Command, EventKind, FenceReport, Follower, Founding, FreezeReport, InstanceSpec,
    Outcome, PromotionRule, Proposal, Registration, Stage, State,
};
use crate::agree::{Verdict, Vote};
use crate::decide::choose;
use crate::gtid::GtidSet;
use crate::ids::{ClusterId, Epoch, Incarnation, InquestId, NodeId, Seq};
use crate::observe::SightKind;
use crate::policy::{Automation, Policy};
use crate::testing::{
    World, acknowledged, at, cluster_id, fenced, frozen, instance, instances, opened, registration,
    report, set, short, spec, strangers, uuid,
};

const SILENT: SightKind = SightKind::Silent;

fn proposal(incarnation: u64, seq: u64, commands: Vec<Command>) -> Proposal {
    Proposal {
        proposer: NodeId(1),
        incarnation: Incarnation(incarnation),
        seq: Seq(seq),
        wall_ms: 0,
        commands,
    }
}

fn deposed() -> World {
    let mut world = World::serving("pab", 1);
    world.silence("p:1-12");
    world
}

fn stage(world: &World) -> String {
    format!(
        "epoch {}, {}",
        world.cluster().epoch,
        world.cluster().stage_name()
    )
}

// ---- keys

#[test]
fn a_proposal_takes_effect_once() {
    let mut world = World::serving("pab", 1);
    let mut apply = |incarnation, seq, ms| {
        world.cluster_mut().rest_ms = 1_000;
        let proposal = proposal(incarnation, seq, vec![Command::TimePassed { ms }]);
        let outcome = world.state.apply(at(99), &proposal);
        let moved = world.cluster().rest_ms != 1_000;
        assert_eq!(outcome.repeated, !moved, "{incarnation}.{seq}");
        assert_eq!(outcome.results.len(), usize::from(moved));
        moved
    };
    assert!(apply(1, 101, 10));
    assert!(!apply(1, 101, 20), "the same again");
    assert!(!apply(1, 100, 20), "overtaken");
    assert!(apply(2, 1, 20), "the node's next run counts anew");
    assert!(!apply(1, 102, 20), "of the run before");
    assert!(apply(2, 5, 20), "a gap is fine");
}

#[test]
fn proposers_are_numbered_apart() {
    let mut state = State::default();
    for proposer in [NodeId(1), NodeId(2), NodeId(1).operators_door()] {
        let proposal = Proposal {
            proposer,
            ..proposal(1, 1, Vec::new())
        };
        assert!(!state.apply(at(1), &proposal).repeated);
        assert!(state.apply(at(2), &proposal).repeated);
    }
}

#[test]
fn one_refused_command_does_not_stop_the_others() {
    let mut world = World::serving("pab", 1);
    world.cluster_mut().rest_ms = 1_000;
    let commands = vec![opened(9, "p"), Command::TimePassed { ms: 400 }];
    let outcome = world.state.apply(at(99), &proposal(1, 999, commands));
    assert!(outcome.results[0].is_err() && outcome.results[1].is_ok());
    assert_eq!(world.cluster().rest_ms, 600);
}

// ---- registration

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
    world.must(set_policy(Policy::fast()));
    assert_eq!(world.cluster().policy, Policy::fast());
}

#[test]
fn an_instance_is_enrolled_under_one_server_uuid() {
    let mut registration = registration("pab", 1);
    registration
        .instances
        .get_mut(&instance("a"))
        .unwrap()
        .server_uuid = None;
    let mut world = World::serving_as(registration);
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
        "super_read_only of a = OFF: an instance boots fenced; set super_read_only=ON"
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
    let mut unknown = registration("pab", 1);
    for spec in unknown.instances.values_mut() {
        spec.server_uuid = None;
    }
    let mut world = World::of("xyz");
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

// ---- guards

#[test]
fn commands_of_another_epoch_stage_or_inquest_are_refused() {
    let other_epoch = |what: &str| format!("{what}: expected epoch 7, the log is at 1");
    let exited = FenceReport::Exited;
    let followed = |epoch| Command::Followed {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        instance: instance("a"),
    };
    let reopen = |epoch, letter: &str| Command::Reopen {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        instance: instance(letter),
        mysqld: Incarnation(2),
    };
    let inquest = |epoch| Command::OpenInquest {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
    };
    let approve = |epoch| Command::Approve {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        who: "ann".into(),
    };
    let mut serving = World::serving("pab", 1);
    let table = [
        (opened(7, "p"), other_epoch("progress")),
        (acknowledged(7, "p", ""), other_epoch("acknowledged")),
        (followed(7), other_epoch("follow report")),
        (frozen(7, "a", report("a", "", "")), other_epoch("freeze report")),
        (fenced(7, "p", exited.clone()), other_epoch("fence report")),
        (reopen(7, "p"), other_epoch("reopen")),
        (inquest(7), other_epoch("open inquest")),
        (approve(7), other_epoch("approve")),
        (opened(1, "a"), "progress of another than the primary: the cluster is not at that stage (serving)".into()),
        (reopen(1, "a"), "reopen: the cluster is not at that stage (serving)".into()),
        (frozen(1, "a", report("a", "", "")), "freeze report: the cluster is not at that stage (serving)".into()),
        (fenced(1, "p", exited.clone()), "fence report: the cluster is not at that stage (serving)".into()),
        (approve(1), "a failover needs the verdict Dead, the votes say otherwise: no inquest is open: nobody sees it silent".into()),
        (Command::Vote(Box::new(crate::testing::vote(1, SILENT, 9))), "the vote belongs to inquest 1, open is None; or is not the node's newest".into()),
        (Command::Vote(Box::new(crate::testing::vote(9, SILENT, 9))), "node 9 is no voter".into()),
    ];
    for (command, expected) in table {
        assert_eq!(serving.refusal(command), expected);
    }
    let mut deposed = deposed();
    let not_now = "the cluster is not at that stage (primary deposed)";
    let table = [
        (opened(1, "p"), format!("progress: {not_now}")),
        (acknowledged(1, "p", ""), format!("acknowledged: {not_now}")),
        (followed(1), format!("follow report: {not_now}")),
        (reopen(1, "p"), format!("reopen: {not_now}")),
        (inquest(1), format!("open inquest: {not_now}")),
        (
            fenced(1, "a", exited),
            format!("fence report of another than the primary: {not_now}"),
        ),
        (
            frozen(1, "y", report("y", "", "")),
            "cluster shop has no instance y".into(),
        ),
    ];
    for (command, expected) in table {
        assert_eq!(deposed.refusal(command), expected);
    }
    let unknown = Command::OpenInquest {
        cluster: ClusterId::from("nowhere"),
        epoch: Epoch(1),
    };
    assert_eq!(
        deposed.refusal(unknown),
        "cluster nowhere is not registered"
    );
}

#[test]
fn at_most_one_inquest_is_open() {
    let mut world = World::serving("pab", 1);
    world.open_inquest();
    let first = world.cluster().inquest.clone();
    world.open_inquest();
    assert_eq!(world.cluster().inquest, first, "opened once");
    let close = |inquest| Command::CloseInquest {
        cluster: cluster_id(),
        inquest: InquestId(inquest),
        why: "it answers".into(),
    };
    world.must(close(2));
    assert_eq!(
        world.cluster().inquest,
        first,
        "another one's close is nothing"
    );
    world.must(close(1));
    assert_eq!(world.cluster().inquest, None);
    world.open_inquest();
    assert_eq!(world.cluster().inquests, InquestId(2));
    let late = crate::testing::vote(1, SILENT, 9_000);
    assert_eq!(
        world.refusal(Command::Vote(Box::new(late))),
        "the vote belongs to inquest 1, open is Some(InquestId(2)); or is not the node's newest"
    );
}

// ---- who may start it

/// One vote of silence after the other; the stage after each.
fn votes(automation: Automation, rest_ms: u64) -> Vec<String> {
    let mut world = World::serving("pab", 1);
    world.cluster_mut().policy.automation = automation;
    world.cluster_mut().rest_ms = rest_ms;
    world.open_inquest();
    let mut stages = Vec::new();
    for node in 1..=3 {
        let vote = world.vote(node, SILENT, 10_000);
        let _ = world.run(Command::Vote(Box::new(vote)));
        stages.push(stage(&world));
    }
    stages
}

#[test]
fn under_auto_the_apply_that_yields_dead_deposes() {
    let (serving, over) = ("epoch 1, serving", "epoch 1, primary deposed");
    assert_eq!(votes(Automation::Auto, 0), [serving, over, over]);
    assert_eq!(votes(Automation::Auto, 1), [serving; 3], "it rests");
    assert_eq!(votes(Automation::Advise, 0), [serving; 3]);
    assert_eq!(votes(Automation::Off, 0), [serving; 3]);
}

#[test]
fn under_advise_an_operator_approves() {
    let mut world = World::serving("pab", 1);
    world.cluster_mut().policy.automation = Automation::Advise;
    world.cluster_mut().rest_ms = 60_000;
    let approve = Command::Approve {
        cluster: cluster_id(),
        epoch: Epoch(1),
        who: "ann".into(),
    };
    world.open_inquest();
    let one = world.vote(1, SILENT, 10_000);
    world.must(Command::Vote(Box::new(one)));
    assert!(
        world
            .refusal(approve.clone())
            .ends_with("say otherwise: Undecided")
    );
    let two = world.vote(2, SILENT, 10_000);
    world.must(Command::Vote(Box::new(two)));
    world.must(approve.clone());
    let record = world.cluster().deposition().expect("approved").clone();
    assert_eq!(record.approved_by.as_deref(), Some("ann"));
    assert_eq!(record.judgement.verdict, Verdict::Dead);
    assert_eq!(world.cluster().inquest, None);
    world.refusal(approve);
}

#[test]
fn off_refuses_even_an_approval() {
    let mut world = World::serving("pab", 1);
    world.cluster_mut().policy.automation = Automation::Off;
    world.silence("");
    let approve = Command::Approve {
        cluster: cluster_id(),
        epoch: Epoch(1),
        who: "ann".into(),
    };
    assert_eq!(
        world.refusal(approve),
        "policy.automation = off: set it to advise or auto"
    );
}

#[test]
fn time_passes_only_through_the_log() {
    let mut world = World::serving("pab", 1);
    world.cluster_mut().rest_ms = 7_000;
    world.must(Command::TimePassed { ms: 5_000 });
    assert_eq!(world.cluster().rest_ms, 2_000);
    world.must(Command::TimePassed { ms: 5_000 });
    assert_eq!(world.cluster().rest_ms, 0);
}

// ---- the order of a failover

fn promoted(world: &mut World) {
    let choice = choose(world.cluster()).expect("a candidate");
    world.must(Command::Choose(Box::new(choice)));
}

#[test]
fn a_failover_from_the_deposing_to_the_first_write() {
    let mut world = deposed();
    assert_eq!(stage(&world), "epoch 1, primary deposed");
    world.freeze(report("a", "p:1-12", "p:13-20"));
    world.freeze(report("b", "p:1-12", ""));
    promoted(&mut world);
    assert_eq!(stage(&world), "epoch 2, opening the new primary");
    let cluster = world.cluster();
    assert_eq!(cluster.primary, instance("a"));
    assert_eq!(cluster.ackers.members, instances("b"));
    assert_eq!(cluster.left_behind, instances("p"));
    assert_eq!(
        cluster.floor,
        set("p:1-20"),
        "every later primary contains what this one needed"
    );
    assert!(
        cluster.primaries.contains(&uuid("a")),
        "what it writes is never errant"
    );
    assert!(
        cluster.promotion().is_some_and(|p| p.after.is_some()),
        "what it rests on is kept"
    );
    world.must(opened(2, "a"));
    assert_eq!(stage(&world), "epoch 2, open, first write pending");
    assert_eq!(world.cluster().rest_ms, 600_000);
    world.must(acknowledged(2, "a", "p:1-20,a:1"));
    assert_eq!(stage(&world), "epoch 2, serving");
    assert_eq!(world.cluster().floor, set("p:1-20,a:1"));
    // A second one at once is no automatic one.
    world.silence("p:1-20,a:1");
    assert_eq!(stage(&world), "epoch 2, serving");
}

#[test]
fn the_anti_flap_rest_does_not_hang_on_the_order_of_answers() {
    let mut world = deposed();
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-20", ""));
    promoted(&mut world);
    // One proposal may carry both, and its commands are ordered by name.
    let events = world.must(acknowledged(2, "a", "p:1-20,a:1"));
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let both = [EventKind::Opened, EventKind::Acknowledged];
    assert_eq!(kinds, both, "the timeline lacks no opening");
    assert!(world.must(opened(2, "a")).is_empty());
    assert_eq!(world.cluster().rest_ms, 600_000);
}

#[test]
fn a_rest_of_ages_does_not_overflow() {
    let mut world = deposed();
    world.cluster_mut().policy.min_interval_s = u64::MAX;
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-20", ""));
    promoted(&mut world);
    world.must(opened(2, "a"));
    assert_eq!(world.cluster().rest_ms, u64::MAX);
}

#[test]
fn a_reinstated_primary_is_promoted_like_any_other() {
    let mut world = deposed();
    world.confirm("p:1-14");
    promoted(&mut world);
    assert_eq!(stage(&world), "epoch 2, opening the new primary");
    assert_eq!(world.cluster().primary, instance("p"));
    assert!(world.cluster().left_behind.is_empty());
    assert_eq!(world.cluster().ackers.members, instances("ab"));
    world.must(opened(2, "p"));
    assert_eq!(world.cluster().rest_ms, 0, "reinstatements do not count");
}

#[test]
fn the_new_primarys_name_is_known_though_it_never_enrolled() {
    let mut registration = registration("pab", 1);
    registration
        .instances
        .get_mut(&instance("a"))
        .unwrap()
        .server_uuid = None;
    let mut world = World::serving_as(registration);
    world.silence("");
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    promoted(&mut world);
    assert!(world.cluster().primaries.contains(&uuid("a")));
}

// ---- reports

#[test]
fn freeze_reports_are_united() {
    let mut world = deposed();
    world.freeze(report("a", "p:1-12", "p:13-20"));
    // It lost its relay log, and its agent what it knew.
    world.freeze(FreezeReport {
        replicated_from: None,
        ..report("a", "p:1-13", "")
    });
    let kept = world.cluster().deposition().expect("deposed").frozen[&instance("a")].clone();
    assert_eq!(short(&kept.executed), "p:1-13");
    assert_eq!(short(&kept.holds()), "p:1-20");
    assert_eq!(kept.replicated_from, Some(instance("p")));
}

#[test]
fn what_the_old_primary_confirmed_is_not_forgotten() {
    let mut world = deposed();
    world.exit();
    world.confirm("p:1-14");
    world.exit();
    world.confirm("p:1-15");
    let fence = world.cluster().deposition().expect("deposed").fence.clone();
    let first = FenceReport::Confirmed {
        received: GtidSet::default(),
        final_set: set("p:1-14"),
        server_uuid: uuid("p"),
    };
    assert_eq!(fence, Some(first));
}

#[test]
fn strangers_are_counted_by_the_newest_word() {
    let mut world = World::serving("pab", 2);
    let counted = |world: &World| world.cluster().strangers.seen.len();
    world.must(strangers(1, "p", 5, "z"));
    assert_eq!(counted(&world), 1);
    world.must(strangers(1, "p", 4, ""));
    assert_eq!(counted(&world), 1, "an overtaken word");
    world.must(strangers(1, "p", 6, ""));
    assert_eq!(counted(&world), 0, "V holds what it acknowledged");
    world.must(strangers(1, "p", 7, "z"));
    world.refusal(strangers(1, "a", 8, ""));
    world.refusal(strangers(2, "p", 8, ""));

    // Of a deposed epoch none is forgotten; the next one begins without.
    world.silence("p:1-12");
    assert!(world.cluster().deposition().is_some());
    world.must(strangers(1, "p", 9, "y"));
    assert_eq!(counted(&world), 2);
    world.confirm("p:1-12");
    promoted(&mut world);
    assert_eq!(counted(&world), 0);
}

#[test]
fn reports_of_other_data_count_for_nothing() {
    let mut world = deposed();
    let replaced = |letter: &str| {
        format!(
            "server_uuid of {letter} = {}: its data directory was replaced; it has to be \
             confirmed first",
            uuid("z")
        )
    };
    let why = world.refusal(frozen(1, "a", report("z", "", "")));
    assert_eq!(why, replaced("a"));
    let empty = FenceReport::Confirmed {
        received: GtidSet::default(),
        final_set: GtidSet::default(),
        server_uuid: uuid("z"),
    };
    assert_eq!(world.refusal(fenced(1, "p", empty)), replaced("p"));
}

#[test]
fn followers_join_or_refuse() {
    let mut world = World::serving("pab", 1);
    let refused = Command::FollowRefused {
        cluster: cluster_id(),
        epoch: Epoch(1),
        instance: instance("a"),
        extra: set("a:1"),
    };
    let events = world.must(refused.clone());
    assert!(
        events[0].what.starts_with("a must not follow: it holds "),
        "{}",
        events[0].what
    );
    assert!(world.must(refused).is_empty(), "said once");
    let joined = Command::Followed {
        cluster: cluster_id(),
        epoch: Epoch(1),
        instance: instance("a"),
    };
    world.must(joined);
    let promotion = world.cluster().promotion().expect("named");
    assert_eq!(promotion.followers[&instance("a")], Follower::Joined);
}

// ---- laws, and the written form

#[test]
fn a_broken_law_stops_the_process() {
    type Break = fn(&mut Cluster);
    let table: [(Break, &str); 6] = [
        (
            |c| c.ackers.members.extend([instance("p")]),
            "a primary is no acker of itself",
        ),
        (|c| c.ackers.members.clear(), "V is never empty"),
        (|c| c.ackers.k = 9, "k is not above |V|"),
        (
            |c| c.left_behind.extend([instance("a")]),
            "not in V before it rejoined",
        ),
        (
            |c| c.floor = GtidSet::default(),
            "the floor contains what the choice needed",
        ),
        (|c| c.epoch = Epoch(2), "the choice is for the newest epoch"),
    ];
    for (bend, expected) in table {
        let mut world = World::serving("pab", 1);
        assert_eq!(world.state.violations(), Vec::<String>::new());
        bend(world.cluster_mut());
        let found = world.state.violations().join("; ");
        assert!(found.contains(expected), "{found:?} lacks {expected:?}");
    }
}

#[test]
#[should_panic(expected = "the replicated state broke its own laws")]
fn apply_validates() {
    let mut world = World::serving("pab", 1);
    world.cluster_mut().ackers.k = 9;
    world.must(Command::TimePassed { ms: 1 });
}

#[test]
fn state_and_proposals_survive_being_written() {
    let mut worlds = vec![World::of("xyz"), World::serving("pab", 1), deposed()];
    let mut named = deposed();
    named.freeze(report("a", "p:1-12", "p:13-20"));
    named.freeze(report("b", "p:1-12", ""));
    let chosen = choose(named.cluster()).expect("a candidate");
    promoted(&mut named);
    worlds.push(named);
    for world in worlds {
        let text = serde_json::to_string(&world.state).expect("written");
        let read: State = serde_json::from_str(&text).expect("read");
        assert_eq!(read, world.state);
    }
    let vote: Vote = crate::testing::vote(1, SILENT, 9);
    let commands = vec![
        Command::Register(Box::new(registration("pab", 1))),
        Command::Vote(Box::new(vote)),
        Command::Choose(Box::new(chosen)),
        frozen(1, "a", report("a", "p:1-12", "")),
        fenced(1, "p", FenceReport::Exited),
    ];
    let proposal = proposal(1, 1, commands);
    let text = serde_json::to_string(&proposal).expect("written");
    assert_eq!(
        serde_json::from_str::<Proposal>(&text).expect("read"),
        proposal
    );
    let outcome = State::default().apply(at(1), &proposal);
    let text = serde_json::to_string(&outcome).expect("written");
    assert_eq!(
        serde_json::from_str::<Outcome>(&text).expect("read"),
        outcome
    );
}

#[test]
fn clusters_are_shared_until_one_changes() {
    let world = World::serving("pab", 1);
    let mut copy = world.clone();
    copy.must(Command::SetPolicy {
        cluster: cluster_id(),
        policy: Box::new(Policy::fast()),
    });
    assert_ne!(world.cluster().policy, copy.cluster().policy);
    assert!(matches!(world.cluster().stage, Stage::Named(_)));
}
