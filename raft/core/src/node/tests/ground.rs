//! What a primary's agent, and those of its replicas, tell beside how they are: scheduled events, what a
//! replica wrote itself, what a node sees of the ground.

use super::*;
use crate::observe::{Fault, ServerError};
use crate::record::{FEATURE_LEVEL, Idle, ScheduledSaid, THIRD};

fn scheduled() -> ScheduledSaid {
    ScheduledSaid {
        runs: Some(false),
        idle: Some(Idle::default()),
        taken_over: Some(Default::default()),
    }
}

#[test]
fn a_word_on_scheduled_events_is_recorded_once_from_its_level_on() {
    for (level, times) in [(THIRD - 1, 0), (THIRD, 1), (FEATURE_LEVEL, 1)] {
        let mut plane = Plane::new(world());
        plane.at_level(level);
        plane.lines.clear();
        plane.bend = Box::new(|host, beat| {
            beat.scheduled = (host == "p").then(scheduled);
        });
        plane.runs(400);
        assert_eq!(plane.times("1 Scheduled"), times, "level {level}");
    }
}

/// `a` wrote its own transaction 7, and its agent says that it changes nothing.
fn writes_its_own(host: &str, beat: &mut Heartbeat) {
    if host == "a" {
        (beat.executed, beat.harmless) = (set("p:1-12,a:7"), set("a:7"));
    }
}

fn named_common(bend: impl Fn(&mut World), beats: Bend) -> usize {
    let mut plane = Plane::new(world());
    bend(&mut plane.world);
    plane.show_state();
    plane.lines.clear();
    plane.bend = beats;
    plane.runs(400);
    plane.times("1 Common")
}

#[test]
fn what_a_replica_wrote_and_changes_nothing_is_named_common() {
    assert_eq!(named_common(|_| {}, Box::new(writes_its_own)), 1);
    let kept = |world: &mut World| world.cluster_mut().policy.make_common = false;
    assert_eq!(named_common(kept, Box::new(writes_its_own)), 0);
    let off = |world: &mut World| world.cluster_mut().policy.automation = Automation::Off;
    assert_eq!(named_common(off, Box::new(writes_its_own)), 0);
    // Nobody says that it changes nothing.
    let unknown = |host: &str, beat: &mut Heartbeat| {
        writes_its_own(host, beat);
        beat.harmless = set("");
    };
    assert_eq!(named_common(|_| {}, Box::new(unknown)), 0);
    // The primary's own agent says it of something.
    let own = |host: &str, beat: &mut Heartbeat| {
        if host == "p" {
            (beat.executed, beat.harmless) = (set("p:1-12,a:7"), set("a:7"));
        }
    };
    assert_eq!(named_common(|_| {}, Box::new(own)), 0);
}

/// What the primary holds as well is nobody's own.
#[test]
fn what_the_primary_holds_too_is_not_named() {
    let mut plane = Plane::new(world());
    plane.bend = Box::new(|_, beat| beat.executed = set("p:1-12,a:7"));
    plane.runs(400);
    plane.bend = Box::new(|host, beat| {
        writes_its_own(host, beat);
        beat.executed = set("p:1-12,a:7");
    });
    plane.runs(400);
    plane.never("Common");
}

/// An agent is told what its server wrote itself, so that it looks into that.
#[test]
fn an_agent_is_told_what_its_server_wrote_itself() {
    let mut plane = Plane::new(world());
    let own_writes = |plane: &mut Plane, host: &str| {
        let mut beat = plane.beat_of(host);
        writes_its_own(host, &mut beat);
        let mut own = None;
        // The first one makes it known.
        for _ in 0..2 {
            beat.word.beat += 1_000;
            let input = heard(Box::new(beat.clone()));
            for output in plane.nodes[0].handle(Tick(plane.now), input) {
                if let NodeOutput::Acknowledge {
                    acknowledgement, ..
                } = output
                {
                    own = acknowledgement.named.map(|named| named.own_writes);
                }
            }
        }
        own.expect("it is acknowledged")
    };
    assert_eq!(own_writes(&mut plane, "a"), set("a:7"));
    assert_eq!(own_writes(&mut plane, "b"), set(""));
    assert_eq!(own_writes(&mut plane, "p"), set(""));
}

/// What a node saw is said of what the log has, so that a settlement told before does not undo it.
#[test]
fn what_a_node_sees_is_said_of_what_the_log_has() {
    let mut plane = Plane::new(world());
    plane.runs(500);
    let told = (Incarnation(3), Default::default());
    plane.world.cluster_mut().ground.told = told;
    plane.show_state();
    plane.sees = |ground| {
        Some(SourceGround {
            enabled: false,
            ..ground
        })
    };
    plane.runs(500);
    let ground = &plane.world.cluster().ground;
    assert!(ground.broken.contains(&Fault::Disabled), "{ground:?}");
    assert_eq!(ground.told, told);
}

/// What the agent of a replica says of its own server's settings is nothing of the primary's.
#[test]
fn the_ground_of_a_replica_is_nobodys() {
    let broken = |letter: &'static str| {
        let mut plane = Plane::new(world());
        plane.bend = Box::new(move |host, beat| {
            if host == letter {
                beat.ground.broken = [Fault::Disabled].into();
                beat.ground.since = beat.word.beat;
            }
        });
        plane.runs(500);
        !plane.world.cluster().ground.broken.is_empty()
    };
    assert!(broken("p"));
    assert!(!broken("a"));
    let mut plane = Plane::new(world());
    plane.bend = Box::new(|host, beat| {
        if host == "p" {
            beat.opened = None;
            beat.ground.broken = [Fault::Disabled].into();
        }
    });
    plane.runs(500);
    assert!(
        plane.world.cluster().ground.broken.is_empty(),
        "it never opened"
    );
}

/// A node that has no good look at the ground knows of no bound for the loss.
#[test]
fn without_a_look_at_the_ground_no_failover_is_ready() {
    let mut plane = Plane::new(world());
    plane.sees = |_| None;
    plane.bend = Box::new(|host, beat| {
        if host == "p" {
            beat.word.says = MysqldWord::Running {
                answered_ms_ago: 3_000,
            };
        }
    });
    plane.runs(5_000);
    let why = plane.standing().readiness.expect("it was looked at").why;
    assert!(
        why.join("; ").contains("the loss would be unknown"),
        "{why:?}"
    );
    assert!(plane.alarms.contains(&"raised not_ready".into()));
}

/// One whose applier stopped before it had executed what it received could not open.
#[test]
fn one_whose_applier_stopped_is_not_ready_to_be_next() {
    let mut plane = Plane::new(world());
    let fails = |received: &'static str| -> Bend {
        Box::new(move |host, beat| {
            if host != "p" {
                beat.received = set(received);
                beat.besides = Some(Box::new(Besides {
                    channels: vec![ChannelSeen {
                        host: "p.example".into(),
                        port: 3306,
                        applier_error: Some(ServerError {
                            number: 1062,
                            text: "Duplicate entry".into(),
                        }),
                        ..ChannelSeen::default()
                    }],
                    ..Besides::default()
                }));
            }
        })
    };
    plane.bend = fails("p:1-12");
    plane.runs(3_000);
    let ready = plane.standing().readiness.expect("it was looked at");
    assert!(ready.ready, "nothing is left to apply: {ready:?}");
    plane.bend = fails("p:1-14");
    plane.runs(3_000);
    let not = plane.standing().readiness.expect("it was looked at");
    let why = not.why.join("; ");
    assert!(
        why.contains("could not open: its applier has stopped"),
        "{why}"
    );
}
