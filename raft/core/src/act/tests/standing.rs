//! The orders that stand at each stage.

use super::*;

// ---- the orders that stand

fn standing(world: &World) -> Vec<String> {
    let state: Committed<&State> = Committed::witness(at(99), &world.state);
    orders(&state, world.cluster())
        .iter()
        .map(|order| {
            let order = order.get();
            assert_eq!(order.token.epoch.0, world.cluster().epoch.0);
            format!("{} {}", order.instance, order.kind.name())
        })
        .collect()
}

#[test]
fn the_orders_of_each_stage() {
    let mut world = World::serving("pab", 1);
    assert_eq!(standing(&world), ["a follow", "b follow"]);
    world.must(crate::record::Command::Reopen {
        cluster: cluster_id(),
        epoch: Epoch(1),
        instance: instance("p"),
        mysqld: Incarnation(2),
    });
    assert_eq!(standing(&world), ["p reopen", "a follow", "b follow"]);
    world.silence("p:1-12");
    assert_eq!(standing(&world), ["a freeze", "b freeze", "p fence"]);
    world.freeze(report("a", "p:1-20", ""));
    world.exit();
    assert_eq!(
        standing(&world),
        ["b freeze", "p fence"],
        "an exit is no final set"
    );
    world.freeze(report("b", "p:1-12", ""));
    let choice = crate::decide::choose(world.cluster()).expect("a candidate");
    world.must(crate::record::Command::Choose(Box::new(choice)));
    // The old one is shut whenever it comes back, whatever the proof was.
    assert_eq!(standing(&world), ["a open", "b follow", "p fence"]);
    let mut founding = World::of("xyz");
    let registration = crate::testing::registration("pab", 1);
    founding.must(crate::record::Command::Register(Box::new(registration)));
    assert_eq!(standing(&founding), ["a report", "b report", "p report"]);
    let reported = founding.founding_report("a", "p:1-10", true);
    founding.must(reported);
    assert_eq!(
        standing(&founding),
        ["a report", "b report", "p report"],
        "what a holds may be what p is refused for"
    );
}

/// An online replica would commit a replicated branch by itself.
#[test]
fn where_branches_are_in_use_no_replica_goes_online() {
    let online = |world: &World| {
        let state: Committed<&State> = Committed::witness(at(99), &world.state);
        let orders = orders(&state, world.cluster());
        let follows = orders.iter().filter_map(|order| match order.get().kind {
            OrderKind::Follow { online, .. } => Some(online),
            _ => None,
        });
        follows.collect::<Vec<_>>()
    };
    let mut world = World::serving("pab", 1);
    assert_eq!(online(&world), [true, true]);
    world.cluster_mut().policy.xa = true;
    assert_eq!(online(&world), [false, false]);
}
