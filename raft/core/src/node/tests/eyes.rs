//! What a node keeps of what it sees and hears: only from the enrolled server, and of a primary only
//! while it is open and its ground is good.

use super::*;
use crate::observe::Fault;

/// What the inquest into `p` says that it had executed, after beats like this and looks without ground.
fn last_known(world: World, bend: Bend) -> Vec<crate::gtid::GtidSet> {
    let mut plane = Plane::started(world);
    plane.sees = |_| None;
    plane.bend = bend;
    plane.runs(2_000);
    plane.down.insert("p");
    plane.runs(1_000);
    let inquest = plane.world.cluster().inquest.clone();
    inquest.into_iter().map(|of| of.last_known).collect()
}

fn of_p(bend: impl Fn(&mut Heartbeat) + 'static) -> Bend {
    Box::new(move |host, beat| {
        if host == "p" {
            beat.executed = set("p:1-15");
            bend(beat);
        }
    })
}

#[test]
fn what_an_open_primary_executed_is_known_of_it() {
    assert_eq!(last_known(world(), of_p(|_| {})), [set("p:1-15")]);
}

#[test]
fn what_one_executed_that_is_not_open_on_good_ground_is_not() {
    let none = [set("")];
    let fenced = of_p(|beat| beat.fenced = true);
    assert_eq!(last_known(world(), fenced), none);
    let before = of_p(|beat| beat.role = Role::Open(Epoch(0)));
    assert_eq!(last_known(world(), before), none);
    let broken = of_p(|beat| beat.ground.broken = [Fault::Disabled].into());
    assert_eq!(last_known(world(), broken), none);
    // The log knows that it was broken.
    let mut logged = world();
    logged.cluster_mut().ground.broken = [Fault::Disabled].into();
    assert_eq!(last_known(logged, of_p(|_| {})), none);
    // It may hold what it brought along, until its first write is acknowledged.
    let mut unproved = world();
    let promotion = promotion_of(unproved.cluster_mut());
    promotion.acknowledged = false;
    assert_eq!(last_known(unproved, of_p(|_| {})), none);
    // A replica says that it is open.
    let replica: Bend = Box::new(|host, beat| {
        if host == "p" {
            beat.role = Role::Closed;
        }
        if host == "a" {
            (beat.role, beat.fenced) = (Role::Open(Epoch(1)), false);
            beat.executed = set("p:1-99");
        }
    });
    assert_eq!(last_known(world(), replica), none);
}

/// With its agent gone, what a probe sees stands.
#[test]
fn what_a_probe_saw_is_known_as_well() {
    let mut plane = Plane::started(world());
    plane.bend = of_p(|beat| beat.executed = set(""));
    plane.runs(2_000);
    plane.down.insert("p");
    plane.runs(1_000);
    let inquest = plane.world.cluster().inquest.clone().expect("it is open");
    assert_eq!(inquest.last_known, set("p:1-12"));
}

#[test]
fn each_node_makes_durable_once_that_it_saw_a_primary() {
    let mut plane = Plane::started(world());
    plane.runs(3_000);
    plane.remembered.sort();
    assert_eq!(plane.remembered, [0, 1, 2].map(|node| (node, Epoch(1))));
    let mut plane = Plane::started(world());
    plane.down.insert("p");
    plane.runs(3_000);
    assert_eq!(plane.remembered, [], "nobody has seen it");
}

/// Whatever answers in the name of an instance, and is not its enrolled server, tells nothing of it.
#[test]
fn another_server_in_the_name_of_one_is_not_heard() {
    let mut plane = Plane::new(world());
    plane.bend = Box::new(|host, beat| {
        if host == "a" {
            beat.server_uuid = Some(uuid("z"));
        }
    });
    plane.runs(5_000);
    assert!(plane.alarms.contains(&"raised other_server of a".into()));
    let readiness = plane.standing().readiness.expect("it was looked at");
    assert!(!readiness.ready, "{readiness:?}");
    assert!(
        readiness.why[0].contains("waiting for one of a"),
        "{readiness:?}"
    );
}
