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
        let mut outputs = node.handle(now, heard(beat));
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

fn p_is_closed(beat: &mut Heartbeat) {
    (beat.role, beat.fenced, beat.replica) = (Role::Closed, true, None);
}

/// To open again is asked of one run of its server alone.
#[test]
fn an_order_to_reopen_is_repeated_to_the_server_that_it_names() {
    let mut world = world();
    let mysqld = beat("p", 1).word.mysqld;
    world.must(Command::Reopen {
        cluster: cluster_id(),
        epoch: Epoch(1),
        instance: instance("p"),
        mysqld,
    });
    assert!(told(&world, "p", p_is_closed).contains("reopen"));
    let another = |beat: &mut Heartbeat| {
        p_is_closed(beat);
        beat.word.mysqld = Incarnation(mysqld.0 + 1);
    };
    assert!(!told(&world, "p", another).contains("reopen"));
}

/// One that was left behind is shut until it is seen to be.
#[test]
fn an_order_to_fence_is_repeated_until_the_server_is_shut() {
    let mut behind = world();
    behind.cluster_mut().left_behind.insert(instance("b"));
    let fence = BTreeSet::from(["fence"]);
    let shut = |beat: &mut Heartbeat| beat.role = Role::Closed;
    assert_eq!(told(&behind, "b", shut), BTreeSet::new());
    let reachable = |beat: &mut Heartbeat| (beat.role, beat.fenced) = (Role::Closed, false);
    assert_eq!(told(&behind, "b", reachable), fence);
    let open = |beat: &mut Heartbeat| beat.role = Role::Open(Epoch(0));
    assert_eq!(told(&behind, "b", open), fence);
    // Where the primary is deposed, its answer is wanted, however it looks.
    let mut deposed = world();
    deposed.silence("p:1-12");
    assert!(told(&deposed, "p", p_is_closed).contains("fence"));
}

/// When an order is sent to `letter`, in milliseconds, whose beats are like this.
fn sent(letter: &str, seconds: u64, bend: impl Fn(u64, &mut Heartbeat)) -> Vec<u64> {
    let world = world();
    let mut node = node(1, &world, &[]);
    node.handle(Tick(0), leads(1, Some(1)));
    node.handle(Tick(0), NodeInput::Applied(world.committed()));
    let mut sent = Vec::new();
    for number in 1..=seconds * 10 {
        let now = Tick(number * 100);
        let mut beat = beat(letter, number);
        bend(number, &mut beat);
        let beat = Box::new(beat);
        let mut outputs = node.handle(now, heard(beat));
        outputs.extend(node.handle(now, NodeInput::Tick));
        let mine = outputs.iter().any(|output| {
            matches!(output, NodeOutput::Order(order) if order.get().instance == instance(letter))
        });
        sent.extend(mine.then_some(now.0));
    }
    sent
}

fn gaps(sent: &[u64]) -> Vec<u64> {
    let pairs = sent.iter().zip(&sent[1..]);
    pairs.map(|(from, to)| to - from).collect()
}

/// What stands in the way of following is said, and each repetition may cost a replica something.
#[test]
fn an_order_to_follow_is_repeated_at_longer_and_longer_intervals() {
    let stopped = |_, beat: &mut Heartbeat| replica(beat).applier_runs = false;
    let times = sent("a", 60, stopped);
    // Each 250, 500, 1,000 ms and so on, at the beat that comes then or next.
    assert_eq!(gaps(&times)[..6], [300, 500, 1_000, 2_000, 4_000, 8_000]);
    assert_eq!(gaps(&times)[6], 16_000);
}

/// Another run of its server, or of its agent, has not heard it.
#[test]
fn a_server_or_an_agent_that_restarted_is_told_at_once() {
    for which in [0, 1] {
        let times = sent("a", 20, |number, beat| {
            replica(beat).applier_runs = false;
            if number >= 100 {
                let word = &mut beat.word;
                let run = [&mut word.mysqld, &mut word.agent][which].0 + 1;
                *[&mut word.mysqld, &mut word.agent][which] = Incarnation(run);
            }
        });
        assert!(times.contains(&10_000), "{times:?}");
        assert!(times.contains(&10_300), "and as often as anew: {times:?}");
    }
}
