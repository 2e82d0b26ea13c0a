//! Which standing orders a leader goes on repeating: those whose effect no beat shows.

use super::*;
use crate::observe::IoThread;

/// The orders that a leader gives `letter` from its third second on, whose beats are like this.
fn told(world: &World, letter: &str, bend: impl Fn(&mut Heartbeat)) -> BTreeSet<&'static str> {
    let mut node = node(1, world, &[]);
    node.handle(Tick(0), leads(1, Some(1)));
    node.handle(Tick(0), NodeInput::Applied(world.committed()));
    let mut told = BTreeSet::new();
    for number in 1..=100 {
        let now = Tick(number * 100);
        let mut beat = beat(letter, number);
        bend(&mut beat);
        let beat = Box::new(beat);
        let mut outputs = node.handle(now, NodeInput::Beat { beat, rtt_ms: 1 });
        outputs.extend(node.handle(now, NodeInput::Tick));
        let orders = outputs.iter().filter_map(|output| match output {
            NodeOutput::Order(order) => Some(order.get()),
            _ => None,
        });
        let mine = orders.filter(|order| order.instance == instance(letter) && now >= Tick(3_000));
        told.extend(mine.map(|order| order.kind.name()));
    }
    told
}

fn replica(beat: &mut Heartbeat) -> &mut crate::observe::ReplicaReport {
    beat.replica.as_mut().expect("it replicates")
}

/// An order to follow has its effect where the receiver was started and the applier runs, toward
/// the ordered epoch and acknowledging as ordered.
#[test]
fn an_order_to_follow_is_repeated_until_it_follows_as_ordered() {
    let follow = BTreeSet::from(["follow"]);
    let world = world();
    assert_eq!(told(&world, "a", |_| {}), BTreeSet::new());
    let connecting = |beat: &mut Heartbeat| replica(beat).io = IoThread::Connecting;
    assert_eq!(told(&world, "a", connecting), BTreeSet::new(), "it tries");
    let wrong: [fn(&mut Heartbeat); 6] = [
        |beat| replica(beat).io = IoThread::Off,
        |beat| replica(beat).applier_runs = false,
        |beat| replica(beat).acking = false,
        |beat| beat.replica = None,
        |beat| beat.role = Role::Closed,
        |beat| beat.role = Role::Following(Epoch(2)),
    ];
    for (nth, bend) in wrong.into_iter().enumerate() {
        assert_eq!(told(&world, "a", bend), follow, "{nth}");
    }
    // The log does not say yet that it follows.
    let unlogged = World::serving("pab", 1);
    assert!(told(&unlogged, "a", |_| {}).contains("follow"));
}

/// Only where a replica has to stay offline is one that clients can reach told again.
#[test]
fn one_that_is_open_to_clients_follows_as_ordered_unless_it_is_to_stay_offline() {
    let reachable = |beat: &mut Heartbeat| beat.fenced = false;
    let mut world = world();
    assert_eq!(told(&world, "a", reachable), BTreeSet::new());
    world.cluster_mut().policy.xa = true;
    assert_eq!(told(&world, "a", reachable), BTreeSet::from(["follow"]));
    assert_eq!(told(&world, "a", |_| {}), BTreeSet::new());
}
