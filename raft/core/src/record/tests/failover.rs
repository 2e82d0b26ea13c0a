//! The order of a failover, and what the reports are worth.

use super::*;
use crate::observe::Fault;
use crate::policy::MaxLoss;
use crate::record::Told;
use crate::testing::broken;

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

/// It is the primary's end that is asked for, not that of one before.
#[test]
fn a_former_primary_confirms_no_fence_of_another() {
    let mut world = World::serving("pabc", 1);
    world.silence("p:1-12");
    for letter in ["a", "b", "c"] {
        world.freeze(report(letter, "p:1-20", ""));
    }
    promoted(&mut world);
    world.must(acknowledged(2, "a", "p:1-20,a:1"));
    world.cluster_mut().rest_ms = 0;
    world.silence("p:1-20,a:1");
    assert_eq!(stage(&world), "epoch 2, primary deposed");
    assert_eq!(world.cluster().left_behind, instances("p"));
    for letter in ["p", "b"] {
        assert_eq!(
            world.refusal(fenced(2, letter, FenceReport::Exited)),
            "fence report of another than the primary: the cluster is not at that stage (primary \
             deposed)"
        );
    }
    assert!(
        world
            .cluster()
            .deposition()
            .is_some_and(|of| of.fence.is_none())
    );
    world.must(fenced(2, "a", FenceReport::Exited));
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
fn a_reinstated_primary_starts_on_the_ground_that_it_had() {
    let ground_of = |confirmed: bool| {
        let mut world = World::serving("pab", 1);
        world.must(broken(1, "p", 5, Fault::Disabled));
        world.cluster_mut().policy.max_loss = MaxLoss::Any;
        world.silence("p:1-12");
        if confirmed {
            world.confirm("p:1-14");
        } else {
            world.freeze(report("a", "p:1-14", ""));
            world.freeze(report("b", "p:1-14", ""));
        }
        promoted(&mut world);
        let ground = &world.cluster().ground;
        (ground.broken.len(), ground.told)
    };
    // What it answered alone it holds; the next choice could not tell what others lack of it.
    assert_eq!(ground_of(true), (1, Told::default()));
    assert_eq!(ground_of(false), (0, Told::default()));
}

#[test]
fn a_freeze_that_may_be_forgotten_is_not_taken() {
    let mut world = deposed();
    let refused = world.refusal(Command::Freeze {
        cluster: cluster_id(),
        epoch: Epoch(1),
        instance: instance("a"),
        report: FreezeReport {
            undurable: true,
            ..report("a", "p:1-20", "")
        },
    });
    assert!(
        refused.contains("its agent's disk takes no writes"),
        "{refused}"
    );
    assert!(world.cluster().deposition().unwrap().frozen.is_empty());
}

#[test]
fn the_new_primarys_name_is_known_though_it_never_enrolled() {
    let mut world = World::serving_as(unenrolled("pab", 1, "a"));
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
        unacknowledged: false,
        mysqld: None,
        broken: [].into(),
    };
    assert_eq!(fence, Some(first));
}

#[test]
fn strangers_are_counted_by_the_newest_word() {
    let mut world = World::serving("pab", 2);
    let counted = |world: &World| world.cluster().ground.strangers.len();
    world.must(strangers(1, "p", 5, "z"));
    assert_eq!(counted(&world), 1);
    world.must(settled(1, "p", 4, "p:1-13"));
    assert_eq!(counted(&world), 1, "an overtaken word");
    world.must(settled(1, "p", 6, "p:1-12"));
    assert_eq!(counted(&world), 0, "V holds what it acknowledged");
    assert_eq!(world.cluster().floor, set("p:1-12"));
    world.must(strangers(1, "p", 7, "z"));
    world.refusal(strangers(1, "a", 8, ""));
    world.refusal(strangers(2, "p", 8, "y"));

    // Of a deposed epoch none is forgotten; one that is reinstated goes on with them.
    world.silence("p:1-12");
    assert!(world.cluster().deposition().is_some());
    world.must(strangers(1, "p", 9, "y"));
    world.must(settled(1, "p", 10, "p:1-12"));
    assert_eq!(counted(&world), 2);
    world.confirm("p:1-12");
    promoted(&mut world);
    assert_eq!(
        (world.cluster().primary.as_str(), counted(&world)),
        ("p", 2)
    );
    // The agent counts its beats anew.
    world.must(strangers(2, "p", 1, "x"));
    world.must(settled(2, "p", 2, "p:1-13"));
    assert_eq!(
        counted(&world),
        0,
        "words of the epoch before are no measure"
    );
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
        unacknowledged: false,
        mysqld: None,
        broken: [].into(),
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

/// That the chosen one has applied what it received is an event, once.
#[test]
fn what_is_applied_is_told_once() {
    let mut world = World::serving("pab", 1);
    world.silence("p:1-12");
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-20", ""));
    }
    promoted(&mut world);
    let applied = |world: &mut World| {
        let events = world.must(Command::Applied {
            cluster: cluster_id(),
            epoch: Epoch(2),
            instance: instance("a"),
        });
        let words = events.into_iter().map(|event| event.what);
        words.collect::<Vec<_>>()
    };
    assert_eq!(applied(&mut world), ["a has applied all that it received"]);
    assert_eq!(applied(&mut world), [""; 0]);
}

/// A word that the log knows is no event, neither that something is broken nor that it is whole.
#[test]
fn of_the_ground_only_what_is_new_is_told() {
    let mut world = World::serving("pab", 1);
    assert!(world.must(settled(1, "p", 1, "p:1-12")).is_empty());
    assert_eq!(world.must(broken(1, "p", 2, Fault::Disabled)).len(), 1);
    assert!(world.must(broken(1, "p", 3, Fault::Disabled)).is_empty());
    assert_eq!(world.must(broken(1, "p", 4, Fault::TooFew)).len(), 1);
    assert_eq!(world.must(settled(1, "p", 5, "p:1-13")).len(), 1);
    assert!(world.must(settled(1, "p", 6, "p:1-14")).is_empty());
    // What was reset stays broken: nothing is proved again.
    assert_eq!(world.must(broken(1, "p", 7, Fault::Reset)).len(), 1);
    assert!(world.must(settled(1, "p", 8, "p:1-15")).is_empty());
}

/// Which run of its server is primary: the one that its own report spoke of.
#[test]
fn the_run_of_the_next_primary_is_that_of_its_report() {
    let run = |letter: &str, run: u64| FreezeReport {
        mysqld: Some(Incarnation(run)),
        ..report(letter, "p:1-20", "")
    };
    let mut world = World::serving("pab", 1);
    world.silence("p:1-12");
    world.freeze(run("a", 7));
    world.freeze(run("b", 8));
    promoted(&mut world);
    assert_eq!(world.cluster().mysqld, Some(Incarnation(7)));
}
