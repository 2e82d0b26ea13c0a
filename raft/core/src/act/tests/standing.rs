//! The orders that stand at each stage.

use super::*;
use crate::record::Founding;

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
    let state: Committed<&State> = Committed::witness(at(99), &world.state);
    for order in orders(&state, world.cluster()) {
        match &order.get().kind {
            OrderKind::Fence { epoch } => assert_eq!(*epoch, Epoch(1), "of what it was primary"),
            // Only what served on has its own writes in its replicas' logs.
            OrderKind::Follow { own, .. } => assert_eq!(*own, None),
            _ => {}
        }
    }
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

fn kinds(world: &World) -> Vec<(String, OrderKind)> {
    let state: Committed<&State> = Committed::witness(at(99), &world.state);
    let orders = orders(&state, world.cluster());
    let each = orders.iter().map(|order| order.get());
    each.map(|order| (order.instance.to_string(), order.kind.clone()))
        .collect()
}

#[test]
fn a_report_is_asked_for_with_the_primary_that_is_to_be_adopted() {
    for founding in [Founding::New, Founding::Adopted] {
        let mut world = World::of("xyz");
        let mut registration = crate::testing::registration("pab", 1);
        registration.founding = founding;
        world.must(crate::record::Command::Register(Box::new(registration)));
        for (id, kind) in kinds(&world) {
            let OrderKind::Report { adopted } = kind else {
                panic!("{id} is to report");
            };
            let primary = adopted.map(|of| of.primary);
            let expected = (founding == Founding::Adopted).then(|| instance("p"));
            assert_eq!(primary, expected, "{founding:?}");
        }
    }
}

/// Who served on has its own writes in its replicas' logs; who is founded or promoted has none.
#[test]
fn only_who_served_on_may_find_its_own_writes_with_others() {
    let told = |world: &World| {
        let mut found = Vec::new();
        for (id, kind) in kinds(world) {
            match kind {
                OrderKind::Follow { own, .. } => found.push(format!("{id} {}", own.is_some())),
                OrderKind::Open { first, .. } => found.push(format!("{id} first {first}")),
                _ => {}
            }
        }
        found
    };
    let mut world = World::serving("pab", 1);
    assert_eq!(told(&world), ["a false", "b false"]);
    world.silence("p:1-12");
    let mut promoted = world.clone();
    promoted.exit();
    for letter in ["a", "b"] {
        promoted.freeze(report(letter, "p:1-12", ""));
    }
    let choice = crate::decide::choose(promoted.cluster()).expect("a candidate");
    assert_ne!(choice.to, instance("p"));
    promoted.must(crate::record::Command::Choose(Box::new(choice)));
    assert_eq!(told(&promoted)[0], "a first false");
    assert!(
        told(&promoted)[1..]
            .iter()
            .all(|own| own.ends_with("false"))
    );
    world.confirm("p:1-12");
    let choice = crate::decide::choose(world.cluster()).expect("it may come back");
    assert_eq!(choice.to, instance("p"), "reinstated");
    world.must(crate::record::Command::Choose(Box::new(choice)));
    assert_eq!(told(&world), ["p first false", "a true", "b true"]);
    let mut founding = World::of("xyz");
    founding.found(crate::testing::registration("pab", 1));
    assert_eq!(told(&founding), ["p first true", "a false", "b false"]);
}

#[test]
fn who_was_refused_follows_once_what_it_held_beyond_is_common() {
    let mut world = World::serving("pab", 1);
    let follows = |world: &World| standing(world).contains(&"a follow".to_owned());
    assert!(follows(&world));
    let promotion = crate::testing::promotion_of(world.cluster_mut());
    let extra = set("a:1-2");
    let refused = crate::record::Follower::Refused { extra };
    promotion.followers.insert(instance("a"), refused);
    assert!(!follows(&world));
    world.cluster_mut().common = set("a:1");
    assert!(!follows(&world));
    world.cluster_mut().common = set("a:1-2");
    assert!(follows(&world));
}

#[test]
fn an_order_of_a_node_that_does_not_say_it_lets_clients_in() {
    let kind = follow(1, "p:1-10");
    let mut written = serde_json::to_value(&kind).expect("it is written");
    let fields = written
        .as_object_mut()
        .and_then(|of| of.values_mut().next());
    let fields = fields.and_then(serde_json::Value::as_object_mut);
    assert!(fields.expect("fields").remove("online").is_some());
    let read: OrderKind = serde_json::from_value(written).expect("it is read");
    assert_eq!(read, kind);
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
