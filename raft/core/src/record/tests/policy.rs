//! A policy's bounds: at each of them it may still be used, a step beyond it is refused by name.

use super::*;
use crate::decide::Doubt;
use crate::policy::{GROUND_AGE_MIN_MS, OPEN_STALL_MIN_MS, REPORT_FRESH_MS};

fn contradictions(bend: impl FnOnce(&mut Policy)) -> Vec<String> {
    let mut policy = Policy::default();
    bend(&mut policy);
    let found = policy.contradictions();
    found.iter().map(|one| one.field.clone()).collect()
}

#[test]
fn each_bound_is_where_it_is_said_to_be() {
    type Set = fn(&mut Policy, u64);
    let sustain = Policy::default().sustain_ms;
    let heartbeat = Policy::default().source_heartbeat_ms;
    let cross = Policy::default().cross_region_sustain_ms;
    let table: [(&str, Set, u64, u64); 11] = [
        // Field, how it is set, the last good value, the first bad one.
        (
            "replica_stale_ms",
            |policy, ms| policy.replica_stale_ms = ms,
            heartbeat + REPORT_FRESH_MS + 1,
            heartbeat + REPORT_FRESH_MS,
        ),
        (
            "replica_stale_ms",
            |policy, ms| policy.replica_stale_ms = ms,
            sustain - REPORT_FRESH_MS - 1,
            sustain - REPORT_FRESH_MS,
        ),
        (
            "crash_sustain_ms",
            |policy, ms| policy.crash_sustain_ms = ms,
            sustain,
            sustain + 1,
        ),
        (
            "cross_region_sustain_ms",
            |policy, ms| policy.cross_region_sustain_ms = ms,
            sustain,
            sustain - 1,
        ),
        (
            "source_heartbeat_ms",
            |policy, ms| policy.source_heartbeat_ms = ms,
            50,
            49,
        ),
        (
            "restart_hold_ms",
            |policy, ms| policy.restart_hold_ms = ms,
            sustain + 1,
            sustain,
        ),
        (
            "unacked_fence_ms",
            |policy, ms| policy.unacked_fence_ms = ms,
            cross + 1,
            cross,
        ),
        (
            "open_stall_ms",
            |policy, ms| policy.open_stall_ms = ms,
            OPEN_STALL_MIN_MS,
            OPEN_STALL_MIN_MS - 1,
        ),
        (
            "ground_age_ms",
            |policy, ms| policy.ground_age_ms = ms,
            GROUND_AGE_MIN_MS,
            GROUND_AGE_MIN_MS - 1,
        ),
        (
            "promotions_max",
            |policy, count| policy.promotions_max = count as u32,
            1,
            0,
        ),
        (
            "region_suspect_percent",
            |policy, percent| policy.region_suspect_percent = percent as _,
            100,
            101,
        ),
    ];
    for (field, set, good, bad) in table {
        let found = contradictions(|policy| set(policy, good));
        assert_eq!(found, [""; 0], "{field} = {good}");
        let found = contradictions(|policy| set(policy, bad));
        assert!(
            found.contains(&field.to_owned()),
            "{field} = {bad}: {found:?}"
        );
    }
}

/// What the measuring profile is: the README's figures are taken with it.
#[test]
fn the_fast_profile_is_what_is_measured() {
    let fast = Policy::fast();
    assert_eq!(
        [
            fast.sustain_ms,
            fast.crash_sustain_ms,
            fast.cross_region_sustain_ms,
            fast.wedged_sustain_ms,
            fast.starved_sustain_ms,
            fast.source_heartbeat_ms,
            fast.replica_stale_ms,
            fast.open_stall_ms,
        ],
        [1_000, 0, 1_500, 2_000, 2_000, 250, 650, 1_000]
    );
    assert_eq!(fast.min_interval_s, 0);
    assert!(fast.contradictions().is_empty());
}

/// Up to the age that the policy allows nothing is in doubt.
#[test]
fn a_look_as_old_as_is_allowed_leaves_no_doubt() {
    let world = World::serving("pab", 1);
    let cluster = world.cluster();
    let allowed_ms = cluster.policy.ground_age_ms;
    assert_eq!(cluster.doubt(Some(allowed_ms)), None);
    let age_ms = allowed_ms + 1;
    let old = Doubt::Old { age_ms, allowed_ms };
    assert_eq!(cluster.doubt(Some(age_ms)), Some(old));
    assert_eq!(cluster.doubt(None), Some(Doubt::Unseen));
}

/// Somebody who was chosen serves nobody before it has opened.
#[test]
fn whoever_has_not_opened_serves_nobody() {
    let mut world = World::serving("pab", 1);
    assert_eq!(world.cluster().serving(), Some((Epoch(1), &instance("p"))));
    let promotion = crate::testing::promotion_of(world.cluster_mut());
    promotion.opened = false;
    assert_eq!(world.cluster().serving(), None);
}

/// Who is at home, may be promoted, and was not left behind.
#[test]
fn who_could_take_over_at_home() {
    let home = |bend: &dyn Fn(&mut Cluster)| {
        let mut world = World::serving("pab", 1);
        for spec in world.cluster_mut().instances.values_mut() {
            spec.region = "x".into();
        }
        bend(world.cluster_mut());
        let home = world.cluster().at_home();
        home.iter().map(ToString::to_string).collect::<String>()
    };
    let of_a = |cluster: &mut Cluster, set: fn(&mut InstanceSpec)| {
        set(cluster.instances.get_mut(&instance("a")).expect("a"));
    };
    assert_eq!(home(&|_| {}), "ab");
    assert_eq!(
        home(&|cluster| of_a(cluster, |spec| spec.region = "y".into())),
        "b"
    );
    let never = |cluster: &mut Cluster| {
        of_a(cluster, |spec| spec.promotion = PromotionRule::Never);
    };
    assert_eq!(home(&never), "b");
    let behind = |cluster: &mut Cluster| {
        cluster.left_behind.insert(instance("a"));
    };
    assert_eq!(home(&behind), "b");
}

/// A rule that came with a later level is given up from that level on.
#[test]
fn a_rule_is_given_up_from_its_level_on() {
    let mut policy = Policy::default();
    policy.gives_up.insert("scheduled_events".into());
    assert_eq!(policy.beyond(3), None);
    let early = policy.beyond(2).expect("it is refused");
    assert_eq!(
        (early.field.as_str(), early.value.as_str()),
        ("gives_up", "scheduled_events")
    );
}
