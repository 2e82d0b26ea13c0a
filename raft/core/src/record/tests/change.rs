//! Changes of a policy: two operators do not undo each other.

use super::*;
use crate::record::PolicyChanges;

fn change(who: &str, expected: Option<u64>, fields: &[(&str, &str)]) -> Command {
    Command::ChangePolicy(Box::new(PolicyChange {
        cluster: cluster_id(),
        who: who.into(),
        wall_ms: 1_700_000_000_000,
        expected,
        fields: fields
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    }))
}

fn changes(world: &World) -> &PolicyChanges {
    &world.cluster().changes
}

#[test]
fn different_fields_are_changed_by_two_without_a_loss() {
    let mut world = World::serving("pab", 1);
    assert_eq!(*changes(&world), PolicyChanges::default());
    // Both saw revision 0.
    let events = world.must(change(
        "ann",
        Some(0),
        &[("automation", r#""off""#), ("priority", "3")],
    ));
    assert_eq!(events[0].kind, EventKind::PolicyChanged);
    assert_eq!(
        events[0].what,
        "ann sets automation=off (was auto), priority=3 (was 0): policy revision 1"
    );
    world.must(change("bob", Some(0), &[("min_interval_s", "5")]));
    let policy = &world.cluster().policy;
    assert_eq!(policy.automation, Automation::Off);
    assert_eq!((policy.priority, policy.min_interval_s), (3, 5));
    let changes = changes(&world);
    assert_eq!(changes.revision, 2);
    let last = |field: &str| {
        let change = &changes.fields[field];
        (change.who.as_str(), change.revision)
    };
    assert_eq!(last("automation"), ("ann", 1));
    assert_eq!(last("priority"), ("ann", 1));
    assert_eq!(last("min_interval_s"), ("bob", 2));
    assert_eq!(changes.fields.len(), 3);
    assert_eq!(changes.fields["priority"].wall_ms, 1_700_000_000_000);
    assert!(changes.fields["min_interval_s"].at > changes.fields["priority"].at);
}

#[test]
fn the_same_field_on_a_stale_revision_is_refused_with_what_and_by_whom() {
    let mut world = World::serving("pab", 1);
    world.must(change("ann", Some(0), &[("priority", "3")]));
    let at = changes(&world).fields["priority"].at.index;
    let both = [("priority", "4"), ("min_interval_s", "5")];
    assert_eq!(
        world.refusal(change("bob", Some(0), &both)),
        format!(
            "policy: priority was set to 3 by ann in revision 1 (log {at}); you asked on revision \
             0. `primacy policy get shop` shows it as it is; then set it again"
        ),
        "and nothing of it is changed"
    );
    // Who wants the same is not in the way; nor is it counted.
    assert_eq!(world.must(change("bob", Some(0), &[("priority", "3")])), []);
    assert_eq!(changes(&world).revision, 1);
    world.must(change("bob", Some(1), &both));
    // Without a revision the last one wins.
    world.must(change("eve", None, &[("priority", "9")]));
    assert_eq!(world.cluster().policy.priority, 9);
    assert_eq!(changes(&world).fields["priority"].who, "eve");
    assert_eq!(
        world.refusal(change("ann", Some(4), &[("priority", "1")])),
        "revision = 4: the policy of shop is at revision 3"
    );
    world.must(change("ann", Some(3), &[("priority", "1")]));
}

#[test]
fn what_a_field_may_not_be_is_refused_by_its_name() {
    let mut world = World::serving("pab", 1);
    for (field, value, expected) in [
        ("sustain", "1", "sustain = 1: no such field"),
        ("sustain_ms", "soon", "sustain_ms = soon: expected value"),
        ("sustain_ms", "-1", "sustain_ms = -1: invalid value"),
        (
            "automation",
            r#""on""#,
            "automation = \"on\": unknown variant",
        ),
        (
            "promotions_max",
            "0",
            "promotions_max = 0: must be at least 1",
        ),
        ("gives_up", r#"["what"]"#, "gives_up = what: is no rule"),
    ] {
        let why = world.refusal(change("ann", None, &[("priority", "7"), (field, value)]));
        assert!(why.starts_with(expected), "{why}");
    }
    // Two that are sound alone may contradict each other.
    world.must(change("ann", Some(0), &[("sustain_ms", "4000")]));
    let why = world.refusal(change(
        "bob",
        Some(0),
        &[("cross_region_sustain_ms", "3500")],
    ));
    assert!(why.contains("must not be below sustain_ms (4000)"), "{why}");
}

/// Nodes of the first level cannot read it; a node that knows more does not propose it to them, and
/// refuses it as they would halt.
#[test]
fn it_begins_with_its_level() {
    let mut world = World::at_level("xyz", 1).serving_with(registration("pab", 1));
    assert_eq!(
        world.refusal(change("ann", None, &[("priority", "3")])),
        "a change of priority alone came with feature level 2, and the plane is at 1: upgrade every \
         node, then the leader raises it"
    );
    // Nor does anybody count revisions there: a snapshot of such a node names none.
    let whole = |priority| Command::SetPolicy {
        cluster: cluster_id(),
        policy: Box::new(Policy {
            priority,
            ..Policy::default()
        }),
    };
    world.must(whole(1));
    assert_eq!(*changes(&world), PolicyChanges::default());
    for node in 1..=3 {
        world.must(Command::Announce {
            node: NodeId(node),
            knows: SECOND,
        });
    }
    world.must(Command::RaiseLevel { to: SECOND });
    world.must(whole(2));
    let fields: Vec<_> = changes(&world).fields.keys().cloned().collect();
    assert_eq!(
        (changes(&world).revision, fields),
        (1, vec!["priority".into()])
    );
    world.must(whole(2));
    assert_eq!(changes(&world).revision, 1);
    let why = world.refusal(change("ann", Some(0), &[("priority", "3")]));
    assert!(
        why.contains("priority was set to 2 by somebody who set the whole policy"),
        "{why}"
    );
}

/// A field of a later level is not written while it is as before, and no earlier version meets it.
#[test]
fn a_later_field_waits_for_its_level() {
    let mut before = World::at_level("xyz", SECOND).serving_with(registration("pab", 1));
    let why = before.refusal(change("ann", None, &[("xa", "true")]));
    assert!(
        why.contains("a change of xa alone came with feature level 3"),
        "{why}"
    );
    let mut registered = registration("pab", 1);
    registered.policy.xa = true;
    let found = registered
        .policy
        .beyond(SECOND)
        .expect("it is of a later level");
    assert_eq!((found.field.as_str(), found.value.as_str()), ("xa", "true"));
    let written = serde_json::to_string(&Policy::default()).expect("plain data");
    assert!(!written.contains("xa"), "{written}");
    let mut world = World::serving("pab", 1);
    let events = world.must(change("ann", None, &[("xa", "true")]));
    assert_eq!(
        events[0].what,
        "ann sets xa=true (was false): policy revision 1"
    );
    assert!(world.cluster().policy.xa);
}
