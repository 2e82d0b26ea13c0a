//! What each command expects of the log; who may start a failover; the state's own laws.

use super::*;

fn take(state: &mut State, index: u64, proposal: &Proposal) -> Outcome {
    let applied = state.apply(at(index), proposal, FEATURE_LEVEL);
    applied.expect("a level that this version knows")
}

#[test]
fn a_proposal_takes_effect_once() {
    let mut world = World::serving("pab", 1);
    let mut apply = |incarnation, seq, ms| {
        world.cluster_mut().rest_ms = 1_000;
        let proposal = proposal(incarnation, seq, vec![Command::TimePassed { ms }]);
        let outcome = take(&mut world.state, 99, &proposal);
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
        assert!(!take(&mut state, 1, &proposal).repeated);
        assert!(take(&mut state, 2, &proposal).repeated);
    }
}

#[test]
fn one_refused_command_does_not_stop_the_others() {
    let mut world = World::serving("pab", 1);
    world.cluster_mut().rest_ms = 1_000;
    let commands = vec![opened(9, "p"), Command::TimePassed { ms: 400 }];
    let outcome = take(&mut world.state, 99, &proposal(1, 999, commands));
    assert!(outcome.results[0].is_err() && outcome.results[1].is_ok());
    assert_eq!(world.cluster().rest_ms, 600);
}

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
        after: None,
    };
    let approve = |epoch| Command::Approve {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        who: "ann".into(),
        allows: Default::default(),
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
        after: None,
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
        allows: Default::default(),
    };
    world.open_inquest();
    let one = world.vote(1, SILENT, 10_000);
    let events = world.must(Command::Vote(Box::new(one)));
    assert_eq!(events[0].what, "node 1 sees p silent for 10000 ms");
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
        allows: Default::default(),
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

#[test]
fn a_broken_law_stops_the_process() {
    type Break = fn(&mut Cluster);
    let table: [(Break, &str); 9] = [
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
        (
            |c| promotion_of(c).choice.to = instance("a"),
            "the named primary is the chosen one",
        ),
        (
            |c| c.inquest = Some(Inquest::new(InquestId(9), Epoch(1), at(1))),
            "an open inquest is the newest, and of the newest epoch",
        ),
        (
            |c| c.inquest = Some(Inquest::new(c.inquests, Epoch(7), at(1))),
            "an open inquest is the newest, and of the newest epoch",
        ),
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
    let outcome = take(&mut State::default(), 1, &proposal);
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
