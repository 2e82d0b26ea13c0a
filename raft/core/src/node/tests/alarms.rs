//! What the leader tells of the servers, and when.

use super::*;

#[test]
fn an_alarm_is_told_by_the_leader_alone() {
    let mut plane = Plane::new(world());
    plane.exited.insert("a");
    plane.runs(3_000);
    let told = |plane: &Plane, line: &str| {
        let lines = plane.alarms.iter();
        lines.filter(|said| *said == line).count()
    };
    assert_eq!(told(&plane, "raised server_down of a"), 1);
    let standing = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    let codes: Vec<_> = standing.alarms.iter().map(|of| of.alarm.code()).collect();
    // One of two ackers is gone: nobody could prove that the primary is silent.
    assert_eq!(codes, ["not_ready", "server_down"]);
    assert!(
        standing.alarms[1]
            .to_string()
            .starts_with("a: its mysqld has exited")
    );
    // The next leader raises it anew, and it is cleared there.
    plane.alarms.clear();
    plane.led_by(Some(2));
    plane.runs(2_000);
    assert_eq!(told(&plane, "left server_down of a"), 1);
    assert_eq!(told(&plane, "raised server_down of a"), 1);
    plane.exited.remove("a");
    plane.runs(3_000);
    assert_eq!(told(&plane, "cleared server_down of a"), 1);
    assert_eq!(told(&plane, "cleared not_ready"), 1);
}

fn readiness(plane: &Plane) -> crate::decide::Readiness {
    let standing = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    standing.readiness.expect("it was looked at")
}

#[test]
fn whether_a_failover_would_succeed_is_told_before_it_begins() {
    let mut plane = Plane::new(world());
    plane.runs(2_000);
    let ready = readiness(&plane);
    assert!(ready.ready, "{ready:?}");
    assert_eq!(ready.next, Some(instance("a")));
    plane.down.insert("b");
    plane.runs(3_000);
    let not = readiness(&plane);
    assert!(!not.ready);
    assert!(
        not.why[0].starts_with("1 of 2 ackers needed are frozen; waiting for one of b"),
        "{not:?}"
    );
    plane.never("opens an inquest");
}

#[test]
fn a_leader_that_just_began_gives_agents_the_time_to_find_it() {
    let mut plane = Plane::started(world());
    plane.down.insert("a");
    plane.runs(5_000);
    assert_eq!(plane.alarms, Vec::<String>::new());
    plane.runs(2_000);
    assert!(plane.alarms.contains(&"raised agent_unheard of a".into()));
}

/// A cluster of the same name may be registered later.
#[test]
fn what_was_watched_is_forgotten_with_the_registration() {
    let mut world = World::of("xyz");
    world.must(Command::Register(Box::new(registration("pab", 1))));
    let mut plane = Plane::started(world);
    plane.runs(8_000);
    let watched = |plane: &Plane| plane.nodes[0].lead.watched.readiness(&cluster_id());
    assert!(watched(&plane).is_some());
    plane.world.must(Command::Unregister {
        cluster: cluster_id(),
        who: "ann".into(),
    });
    let state = plane.world.committed();
    plane.nodes[0].handle(Tick(plane.now), NodeInput::Applied(state));
    plane.nodes[0].handle(Tick(plane.now), NodeInput::Tick);
    assert!(watched(&plane).is_none());
}
