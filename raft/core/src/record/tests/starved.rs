//! A policy's `starved_sustain_ms`, and planes that do not know it yet.

use super::*;
use crate::policy::Contradiction;
use crate::record::{THIRD, policy_fields, with_fields};

fn change(ms: u64) -> Command {
    Command::ChangePolicy(Box::new(PolicyChange {
        cluster: cluster_id(),
        who: "ann".into(),
        wall_ms: 0,
        expected: None,
        fields: [("starved_sustain_ms".into(), ms.to_string())].into(),
    }))
}

fn refused(policy: &Policy, level: u32) -> Option<String> {
    policy
        .beyond(level)
        .map(|why: Contradiction| why.to_string())
}

#[test]
fn it_is_not_written_while_nobody_has_changed_it() {
    let written = |policy: &Policy| {
        let value = serde_json::to_value(policy).expect("plain data");
        value.get("starved_sustain_ms").cloned()
    };
    assert_eq!(written(&Policy::default()), None);
    assert_eq!(written(&Policy::fast()), Some(2_000.into()));
    // It is shown, and may be set, all the same.
    assert_eq!(
        policy_fields(&Policy::default())["starved_sustain_ms"],
        5_000
    );
    let fields = [("starved_sustain_ms".to_owned(), "7000".to_owned())].into();
    let changed = with_fields(&Policy::default(), &fields).expect("a field");
    assert_eq!(changed.starved_sustain_ms, 7_000);
}

#[test]
fn it_is_changed_once_every_node_knows_it() {
    let mut world = World::serving("pab", 1);
    let events = world.must(change(7_000));
    assert!(
        events[0]
            .what
            .contains("starved_sustain_ms=7000 (was 5000)")
    );
    world.must(change(5_000));
    world.state.level = THIRD - 1;
    let why = world.refusal(change(7_000));
    assert!(why.contains("starved_sustain_ms"), "{why}");
    assert_eq!(refused(&Policy::default(), THIRD - 1), None);
    let early = refused(&Policy::fast(), THIRD - 1).expect("refused");
    assert!(early.contains("came with feature level 3"), "{early}");
}

#[test]
fn what_contradicts_it_is_refused_by_name() {
    let with = |ms: u64| Policy {
        starved_sustain_ms: ms,
        ..Policy::default()
    };
    assert_eq!(refused(&Policy::fast(), THIRD), None);
    assert_eq!(refused(&with(1_801), THIRD), None);
    assert_eq!(
        refused(&with(1_800), THIRD).expect("refused"),
        "starved_sustain_ms = 1800: must be above replica_stale_ms (1500) plus a report's age (300 ms)"
    );
    assert_eq!(refused(&with(29_999), THIRD), None);
    assert_eq!(
        refused(&with(30_000), THIRD).expect("refused"),
        "starved_sustain_ms = 30000: must be below unacked_fence_ms (30000), else a fence precedes \
         every verdict"
    );
    let mut world = World::serving("pab", 1);
    let why = world.refusal(change(1_000));
    assert!(why.contains("must be above replica_stale_ms"), "{why}");
}
