//! Under which feature level the log is applied, and who may raise it.

use super::super::UnknownLevel;
use super::*;
use crate::ids::PlaneId;
use crate::lint::Rule;

fn announce(node: u64, knows: u32) -> Command {
    Command::Announce {
        node: NodeId(node),
        knows,
    }
}

fn raise(to: u32) -> Command {
    Command::RaiseLevel { to }
}

/// One entry, read by a version that knows levels up to `knows`.
fn entry(
    world: &World,
    commands: Vec<Command>,
    knows: u32,
) -> (State, Result<Outcome, UnknownLevel>) {
    let mut state = world.state.clone();
    let last = state.proposers.get(&NodeId(1)).map_or(0, |(_, seq)| seq.0);
    let applied = state.apply(at(99), &proposal(1, last + 1, commands), knows);
    (state, applied)
}

#[test]
fn it_is_raised_when_every_voter_knows_more() {
    let mut world = World::at_level("xyz", 1);
    assert_eq!(world.state.level, 1);
    assert_eq!(world.state.known_by_all(), Some(1));
    let ahead = |state: &State| state.level;
    for (node, expected) in [(1, "node 2 knows 1"), (2, "node 3 knows 1")] {
        world.must(announce(node, 3));
        let why = world.refusal(raise(2));
        assert_eq!(
            why,
            format!("feature level 2 is not raised: {expected}; upgrade it first")
        );
    }
    world.must(announce(3, 2));
    assert_eq!(world.state.known_by_all(), Some(2));
    assert!(world.refusal(raise(3)).contains("node 3 knows 2"));
    let (state, applied) = entry(&world, vec![raise(2)], 2);
    let results = applied.expect("known").results;
    let events = results[0].as_ref().expect("raised");
    assert_eq!(events[0].kind, EventKind::LevelRaised);
    assert_eq!(
        events[0].what,
        "feature level 2 is in force: every voter knows it"
    );
    assert_eq!(ahead(&state), 2);
    // Asked again, or for less: nothing. It never falls.
    world.state = state;
    for to in [2, 1] {
        let (state, applied) = entry(&world, vec![raise(to)], 2);
        assert_eq!(applied.expect("known").results, [Ok(Vec::new())]);
        assert_eq!(ahead(&state), 2);
    }
    let (_, applied) = entry(&world, vec![announce(1, 1)], 2);
    let why = applied.expect("known").results[0]
        .clone()
        .expect_err("refused");
    assert_eq!(
        why.to_string(),
        "node 1 knows feature level 1, and the plane is at 2; upgrade it"
    );
}

#[test]
fn voters_alone_have_a_say() {
    let mut world = World::at_level("xyz", 1);
    assert_eq!(world.refusal(announce(4, 1)), "node 4 is no voter");
    let mut voters = world.state.voters.clone();
    let member = voters[&NodeId(1)].clone();
    voters.insert(NodeId(4), member);
    world.state.set_voters(voters.clone());
    assert_eq!(world.state.known_by_all(), None);
    for node in 1..=3 {
        world.must(announce(node, 2));
    }
    assert_eq!(
        world.refusal(raise(2)),
        "feature level 2 is not raised: node 4 has not said what it knows; upgrade it first"
    );
    voters.remove(&NodeId(4));
    world.state.set_voters(voters);
    assert_eq!(world.state.known_by_all(), Some(2));
}

/// Nothing of an entry that raises the level too far is applied, also not what comes before it.
#[test]
fn who_does_not_know_it_stops_before_the_entry() {
    let mut world = World::at_level("xyz", 1).serving_with(registration("pab", 1));
    for node in 1..=3 {
        world.must(announce(node, 2));
    }
    let rest = || Command::TimePassed { ms: 1 };
    world.cluster_mut().rest_ms = 10;
    let table = [
        (vec![rest(), raise(2), rest()], 1, false),
        (vec![rest(), raise(2), rest()], 2, true),
        (vec![rest(), raise(3)], 1, true), // refused, so it raises nothing
        (vec![announce(1, 7)], 1, true),
        (vec![rest()], 1, true),
    ];
    for (commands, knows, goes_on) in table {
        let (state, applied) = entry(&world, commands.clone(), knows);
        match applied {
            Ok(_) => assert!(goes_on, "{commands:?}"),
            Err(why) => {
                assert!(!goes_on, "{commands:?}");
                assert_eq!(why, UnknownLevel { level: 2, knows: 1 });
                assert_eq!(
                    why.to_string(),
                    "the log goes on under feature level 2, and this version knows levels up to 1: \
                     upgrade this node; it has applied nothing under the new level"
                );
                assert_eq!(state, world.state);
            }
        }
    }
    // It is above already, as after a snapshot.
    world.state.level = 2;
    assert!(entry(&world, vec![rest()], 1).1.is_err());
    assert!(world.state.known_to(1).is_err() && world.state.known_to(2).is_ok());
}

#[test]
fn a_plane_is_founded_at_its_founders_level() {
    let found = |level| Command::FoundPlane {
        plane: PlaneId::from("plane"),
        level,
    };
    let mut state = State::default();
    let applied = state.apply(at(1), &proposal(1, 1, vec![found(2)]), 1);
    assert_eq!(applied, Err(UnknownLevel { level: 2, knows: 1 }));
    assert_eq!(state, State::default());
    let applied = state.apply(at(1), &proposal(1, 1, vec![found(2)]), 2);
    assert!(applied.is_ok() && state.level == 2);
    // A second founding founds nothing.
    let applied = state.apply(at(2), &proposal(1, 2, vec![found(3)]), 2);
    assert!(applied.is_ok() && state.level == 2);
}

#[test]
fn logs_and_snapshots_without_a_level_are_of_the_first() {
    let old: Command = serde_json::from_str(r#"{"found_plane":{"plane":"plane"}}"#).expect("read");
    let first = Command::FoundPlane {
        plane: PlaneId::from("plane"),
        level: 1,
    };
    assert_eq!(old, first);
    let mut world = World::at_level("xyz", 1).serving_with(registration("pab", 1));
    world.silence("p:1-12");
    world.state.knows.clear();
    let mut text = serde_json::to_value(&world.state).expect("written");
    let drop = |value: &mut serde_json::Value, name: &str| {
        let object = value.as_object_mut().expect("an object");
        object.remove(name).unwrap_or_else(|| panic!("{name}"));
    };
    for name in ["level", "knows", "incidents"] {
        drop(&mut text, name);
    }
    let cluster = &mut text["clusters"]["shop"];
    drop(cluster, "slot_ms");
    drop(cluster, "changes");
    drop(&mut cluster["stage"]["deposed"], "region_fails");
    for name in ["promotions_max", "priority", "region_suspect_percent"] {
        drop(&mut cluster["policy"], name);
    }
    let read: State = serde_json::from_value(text).expect("read");
    world.cluster_mut().slot_ms = 0; // it holds no slot then, which halts nothing
    assert_eq!(read, world.state);
    assert_eq!(read.violations(), Vec::<String>::new());
}

#[test]
fn rules_of_a_later_level_are_not_given_up_yet() {
    for rule in Rule::ALL {
        assert!((1..=FEATURE_LEVEL).contains(&rule.since()), "{rule}");
    }
    let policy = Policy {
        gives_up: ["clone_plugin".into()].into(),
        ..Policy::default()
    };
    let mut world = World::serving("pab", 1);
    let set_policy = Command::SetPolicy {
        cluster: cluster_id(),
        policy: Box::new(policy.clone()),
    };
    world.must(set_policy.clone());
    // As a plane is that has not reached the rule's level.
    world.state.level = 0;
    let why = "gives_up = clone_plugin: came with feature level 1, and the plane is at 0: upgrade \
               every node, then the leader raises it";
    assert_eq!(world.refusal(set_policy), why);
    let why = world.refusal(Command::Register(Box::new(Registration {
        policy,
        cluster: "other".into(),
        ..registration("qrs", 1)
    })));
    assert!(why.contains("came with feature level 1"), "{why}");
}
