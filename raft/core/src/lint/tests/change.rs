//! A policy that would break what holds is refused; one that changes nothing of it is not.

use super::*;

/// The rules that refuse the change, if any does.
fn refused(case: &Case, change: impl FnOnce(&mut Policy)) -> Option<String> {
    let subject = Subject::registration(&case.registration);
    let mut wanted = case.registration.policy.clone();
    change(&mut wanted);
    refuse_policy(&subject, &wanted, &case.evidence)
}

#[test]
fn what_holds_is_not_given_away_unnamed() {
    // Healthy: only what no longer holds is refused.
    let case = healthy();
    assert_eq!(refused(&case, |_| {}), None);
    assert_eq!(refused(&case, |policy| policy.min_interval_s = 1), None);
    let why = refused(&case, |policy| policy.survive = Survive::Zone).expect("no zones");
    assert!(why.contains("survive on a: survive is zone"), "{why}");
    let why = refused(&case, |policy| policy.sustain_ms = 40_000).expect("too long");
    assert!(why.contains("replica_net_timeout"), "{why}");

    // Broken already: what has nothing to do with it may change.
    let mut case = healthy();
    case.facts("a")
        .variables
        .insert("sync_relay_log".into(), "10000".into());
    assert_eq!(refused(&case, |policy| policy.min_interval_s = 1), None);
    let why = refused(&case, |policy| policy.survive = Survive::Zone).expect("no zones");
    assert!(!why.contains("sync_relay_log"), "{why}");

    // Given up, and still broken: it cannot be taken back. Mended, it can.
    let name = Rule::SyncRelayLog.name().to_owned();
    case.registration.policy.gives_up.insert(name.clone());
    let take_back = |policy: &mut Policy| policy.gives_up.clear();
    let why = refused(&case, take_back).expect("still broken");
    assert!(why.contains("sync_relay_log on a"), "{why}");
    let also = |policy: &mut Policy| {
        let other = Rule::SyncBinlog.name().to_owned();
        policy.gives_up.insert(other);
    };
    assert_eq!(refused(&case, also), None);
    let mended = case.facts("a").variables.get_mut("sync_relay_log");
    "1".clone_into(mended.expect("it is there"));
    assert_eq!(refused(&case, take_back), None);

    // Nobody could look: it is not known to hold.
    case.evidence.get_mut(&instance("a")).expect("it is").agent = AgentWord::Silent;
    let why = refused(&case, take_back).expect("unknown");
    assert!(why.contains(" on a"), "{why}");
    assert_eq!(refused(&case, |policy| policy.min_interval_s = 1), None);
}
