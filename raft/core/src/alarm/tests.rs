//! Tables: a cluster of `p` and its ackers that serves epoch 1, one thing about it bent, and the
//! alarms that stand: `halts too_few_ackers`, `b errant`.

use std::collections::BTreeMap;

use super::*;
use crate::gtid::GtidSet;
use crate::ids::{Epoch, Tick};
use crate::observe::{
    Besides, ChannelSeen, Fault, Heartbeat, IoThread, MysqldWord, NotSent, Path, Role, ServerError,
};
use crate::policy::Policy;
use crate::record::Cluster;
use crate::testing::{World, beat, broken, instance, set, strangers, uuid};

/// Beats of everybody, all as ordered.
struct Scene {
    world: World,
    beats: BTreeMap<String, Heartbeat>,
    unheard: Vec<&'static str>,
    still_ms: u64,
    expected_ms: Option<u64>,
    ground_age_ms: Option<u64>,
}

fn channel() -> ChannelSeen {
    ChannelSeen {
        host: "p.example".into(),
        port: 3306,
        source_uuid: Some(uuid("p")),
        io: IoThread::On,
        applier_runs: true,
        ..ChannelSeen::default()
    }
}

impl Scene {
    fn new(letters: &str, k: u32) -> Self {
        let world = World::serving(letters, k);
        let mut beats = BTreeMap::new();
        for letter in letters.chars().map(|letter| letter.to_string()) {
            let mut beat = beat(&letter, 1);
            let mut besides = Besides {
                sync_relay_log: 1,
                ..Besides::default()
            };
            if letter == "p" {
                (beat.role, beat.fenced, beat.replica) = (Role::Open(Epoch(1)), false, None);
                let others = letters[1..].chars().map(|of| uuid(&of.to_string()));
                besides.acknowledging = others.collect();
            } else {
                besides.channels = vec![channel()];
            }
            beat.besides = Some(Box::new(besides));
            beats.insert(letter, beat);
        }
        Self {
            world,
            beats,
            unheard: Vec::new(),
            still_ms: 0,
            expected_ms: None,
            ground_age_ms: Some(100),
        }
    }

    fn of(&mut self, letter: &str) -> &mut Heartbeat {
        self.beats
            .get_mut(letter)
            .expect("an instance of the scene")
    }

    fn besides(&mut self, letter: &str) -> &mut Besides {
        let besides = &mut self.of(letter).besides;
        besides.as_mut().expect("it was surveyed")
    }

    fn channel(&mut self, letter: &str) -> &mut ChannelSeen {
        &mut self.besides(letter).channels[0]
    }

    fn cluster(&mut self) -> &mut Cluster {
        self.world.cluster_mut()
    }

    fn facts(&self) -> BTreeMap<InstanceId, Facts<'_>> {
        let each = self.beats.iter().map(|(letter, beat)| {
            let heard_ms = if self.unheard.contains(&letter.as_str()) {
                AGENT_UNHEARD_MS + 1
            } else {
                100
            };
            let facts = Facts {
                beat: Some(beat),
                heard_ms: Some(heard_ms),
                watched_ms: 60_000,
                held_before: None,
                still_ms: self.still_ms,
                expected_ms: self.expected_ms,
                ground_age_ms: self.ground_age_ms.filter(|_| letter == "p"),
                other: None,
            };
            (instance(letter), facts)
        });
        each.collect()
    }

    fn alarms(&self) -> BTreeMap<Key, Alarm> {
        alarms(self.world.cluster(), &self.facts())
    }
}

#[track_caller]
fn check(bend: impl FnOnce(&mut Scene), expected: &str) {
    let mut scene = Scene::new("pabc", 2);
    bend(&mut scene);
    let found = scene.alarms().into_iter();
    let told: Vec<String> = found
        .map(|(key, alarm)| {
            let halts = (alarm.severity() == Severity::Halts).then_some("halts ");
            let of = key.instance.map(|id| format!("{id} ")).unwrap_or_default();
            format!("{}{of}{}", halts.unwrap_or_default(), key.code)
        })
        .collect();
    assert_eq!(told.join(", "), expected);
}

fn error(number: u32) -> Option<ServerError> {
    let text = "so it is".into();
    Some(ServerError { number, text })
}

#[test]
fn as_ordered_there_is_none() {
    check(|_| {}, "");
    // An agent of an earlier version tells less, and nothing is made of that.
    check(
        |of| of.beats.values_mut().for_each(|beat| beat.besides = None),
        "",
    );
    check(|of| of.besides("a").channels.clear(), "a receiver_down");
}

#[test]
fn of_the_agent_and_its_server() {
    check(|of| of.unheard = vec!["a"], "a agent_unheard");
    check(
        |of| of.of("p").login_error = Some("1045".into()),
        "p login_refused",
    );
    check(
        |of| of.of("a").word.says = MysqldWord::Exited,
        "a server_down",
    );
    check(
        |of| of.of("a").word.says = MysqldWord::Starting,
        "a recovering",
    );
    check(|of| of.besides("a").goes_away = true, "a goes_away");
    check(|of| of.of("a").marked = Some("a filter".into()), "a marked");
    check(
        |of| of.besides("a").forgot = Some("it lost p:12".into()),
        "a forgot",
    );
}

#[test]
fn of_replication() {
    check(
        |of| of.channel("a").receiver_error = error(2003),
        "a receiver_error",
    );
    let stopped = |of: &mut Scene| {
        of.channel("a").io = IoThread::Off;
        of.of("a").replica.as_mut().expect("a replica").io = IoThread::Off;
        of.besides("p").acknowledging.remove(&uuid("a"));
    };
    check(stopped, "a not_acking, a receiver_down");
    check(
        |of| of.channel("a").applier_error = error(1062),
        "a applier_error",
    );
    check(
        |of| of.channel("a").applier_runs = false,
        "a applier_stopped",
    );
    let left = |of: &mut Scene| of.of("a").received = set("p:1-20");
    check(left, "");
    check(
        |of| {
            left(of);
            of.still_ms = 3_000;
        },
        "a applier_held",
    );
    for (expected_ms, told) in [(3_000, ""), (3_001, "a applier_lag")] {
        check(
            |of| {
                left(of);
                of.expected_ms = Some(expected_ms);
            },
            told,
        );
    }
    check(|of| of.channel("a").delay_s = 60, "a source_delay");
    let delayed = |of: &mut Scene| {
        left(of);
        of.still_ms = 3_000;
        of.channel("a").delay_s = 60;
    };
    check(delayed, "a source_delay");
    check(
        |of| of.channel("a").source_uuid = Some(uuid("b")),
        "a other_source",
    );
    // The same server under another name.
    check(|of| of.channel("a").host = "10.0.0.1".into(), "");
    let second = ChannelSeen {
        name: "reports".into(),
        ..channel()
    };
    check(
        |of| of.besides("a").channels.push(second),
        "a other_channels",
    );
    check(
        |of| of.besides("p").channels.push(channel()),
        "p replicates",
    );
    check(|of| of.of("a").role = Role::Closed, "a not_following");
    check(|of| of.besides("a").sync_relay_log = 0, "a weak_relay_log");
    // What nobody can send it any more; its receiver's error says the same.
    let purged = |of: &mut Scene| {
        of.of("p").purged = set("p:1-12");
        of.of("a").executed = set("p:1-7");
        of.channel("a").receiver_error = error(13_114);
    };
    check(purged, "a binlogs_purged");
}

#[test]
fn own_transactions_are_told_when_they_appear() {
    check(|of| of.of("a").executed = set("p:1-12,a:1"), "a errant");
    // The primary has it too: so it is nobody's own.
    let common = |of: &mut Scene| {
        of.of("a").executed = set("p:1-12,z:1");
        of.of("p").executed = set("p:1-12,z:1");
    };
    check(common, "");
    // What a primary wrote is never errant, though its own beat is older.
    check(|of| of.of("a").executed = set("p:1-30"), "");
}

#[test]
fn a_write_that_waits_and_whoever_could_follow_nobody_are_told() {
    let waits = |ms| move |of: &mut Scene| of.of("p").unacknowledged_ms = Some(ms);
    check(waits(1_000), "");
    check(waits(1_001), "p write_unacknowledged");
    let path = |error: &'static str| {
        move |of: &mut Scene| {
            let path = Path {
                tried_ms: 100,
                error: error.into(),
            };
            of.of("a").paths.insert(instance("b"), path);
        }
    };
    check(path(""), "");
    check(path("error 3118: the account is locked"), "a no_path");
}

#[test]
fn of_the_primarys_ground() {
    let fault = |fault| {
        move |of: &mut Scene| {
            of.world.must(broken(1, "p", 1, fault));
        }
    };
    check(fault(Fault::Timeout), "halts p ground_broken");
    check(fault(Fault::Reset), "halts p gtids_reset");
    check(
        |of| {
            of.world.must(strangers(1, "p", 1, "z"));
        },
        "p strangers",
    );
    check(
        |of| {
            of.world.must(strangers(1, "p", 1, "xyz"));
        },
        "halts p strangers",
    );
    check(|of| of.ground_age_ms = Some(1_000), "");
    check(|of| of.ground_age_ms = Some(1_001), "halts p ground_unseen");
    check(
        |of| of.cluster().floor_stands = false,
        "halts floor_missing",
    );
    check(|of| of.of("p").fenced = true, "p closed");
    let lock = NotSent::Locked("global lock, held by session 9 of backup@10.0.0.9".into());
    check(
        |of| of.besides("p").not_sent = Some(lock),
        "p write_not_sent",
    );
}

/// Before its first acknowledged write nothing is held against its replicas.
#[test]
fn a_primary_that_has_proved_nothing_is_not_compared_with() {
    let proves = |acknowledged| {
        move |of: &mut Scene| {
            of.of("a").role = Role::Closed;
            let promotion = crate::testing::promotion_of(of.cluster());
            promotion.acknowledged = acknowledged;
        }
    };
    check(proves(true), "a not_following");
    check(proves(false), "");
}

#[test]
fn what_it_does_instead_is_said() {
    let connecting = |io| {
        let mut scene = Scene::new("pabc", 2);
        scene.channel("a").io = io;
        let alarms = scene.alarms();
        alarms.values().find_map(|alarm| match alarm {
            Alarm::ReceiverDown { connecting } => Some(*connecting),
            _ => None,
        })
    };
    assert_eq!(connecting(IoThread::On), None);
    assert_eq!(connecting(IoThread::Connecting), Some(true));
    assert_eq!(connecting(IoThread::Off), Some(false));
    for (role, words) in [
        (Role::Closed, "it is closed"),
        (Role::Open(Epoch(3)), "it is open for epoch 3"),
        (Role::Frozen(Epoch(3)), "it is frozen for epoch 3"),
        (
            Role::Following(Epoch(3)),
            "it follows the primary of epoch 3",
        ),
    ] {
        let said = Alarm::NotFollowing { role }.to_string();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_node_that_has_only_begun_has_heard_of_nobody() {
    let is_new = |watched_ms, beat| {
        let facts = Facts {
            beat,
            heard_ms: None,
            watched_ms,
            held_before: None,
            still_ms: 0,
            expected_ms: None,
            ground_age_ms: None,
            other: None,
        };
        facts.is_new()
    };
    assert!(is_new(4_999, None));
    assert!(!is_new(5_000, None));
    assert!(!is_new(0, Some(&beat("a", 1))));
}

#[test]
fn fewer_acknowledge_than_are_in_v() {
    let without = |letters: &'static [&'static str]| {
        move |of: &mut Scene| {
            for letter in letters {
                of.of(letter).replica.as_mut().expect("a replica").acking = false;
            }
        }
    };
    check(without(&["a"]), "a not_acking");
    check(
        without(&["a", "b"]),
        "halts too_few_ackers, a not_acking, b not_acking",
    );
    // One whose agent is not heard, and that is attached, acknowledges all the same.
    check(
        |of| of.unheard = vec!["a", "b"],
        "a agent_unheard, b agent_unheard",
    );
}

#[test]
fn while_a_failover_is_under_way_servers_alone_are_judged() {
    let deposed = |of: &mut Scene| {
        of.world.silence("p:1-12");
        of.of("a").role = Role::Frozen(Epoch(1));
        of.of("b").word.says = MysqldWord::Exited;
        of.besides("c").sync_relay_log = 0;
    };
    check(deposed, "b server_down");
    let mut scene = Scene::new("pabc", 2);
    assert!(judged(scene.world.cluster(), "errant"));
    scene.world.silence("p:1-12");
    assert!(!judged(scene.world.cluster(), "errant"));
    assert!(judged(scene.world.cluster(), "server_down"));
}

/// Which members are told to be short: |V|, k, and how many must acknowledge.
#[test]
fn as_many_must_acknowledge_as_a_failover_needs_and_leaves() {
    for (letters, k, needed) in [
        ("pa", 1, 1),
        ("pab", 1, 2),
        ("pab", 2, 2),
        ("pabc", 1, 3),
        ("pabc", 2, 2),
        ("pabc", 3, 3),
        ("pabcd", 2, 3),
    ] {
        let mut scene = Scene::new(letters, k);
        for letter in letters[1..].chars().map(|of| of.to_string()) {
            let replica = scene.of(&letter).replica.as_mut();
            replica.expect("a replica").acking = false;
        }
        let alarm = Alarm::TooFewAckers {
            acking: 0,
            of: letters.len() - 1,
            needed,
        };
        let key = Key::new(None, &alarm);
        assert_eq!(scene.alarms().get(&key), Some(&alarm), "{letters}, {k}");
    }
}

// ---- raised and cleared

/// At each time, whether it is found; what changes then.
#[track_caller]
fn holds(looks: &[(u64, bool, &str)], judged: bool) {
    let mut standing = Standing::default();
    for (at, found, expected) in looks {
        let alarm = Alarm::ServerDown;
        let key = Key::new(Some(&instance("a")), &alarm);
        let found = found.then_some((key, alarm)).into_iter().collect();
        let changes = standing.take(Tick(*at), &Policy::default(), found, |_| judged);
        let told: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Raised(of) => format!("raised {}", of.for_ms),
                Change::Cleared(of) => format!("cleared {}", of.for_ms),
                Change::Left(_) => "left".into(),
            })
            .collect();
        assert_eq!(told.join(", "), *expected, "at {at}");
    }
}

#[test]
fn each_is_raised_once_and_cleared_once() {
    let raised = [(0, true, ""), (900, true, ""), (1_000, true, "raised 1000")];
    let looks = |rest: &[(u64, bool, &'static str)]| [&raised[..], rest].concat();
    holds(&looks(&[(9_000, true, ""), (9_500, false, "")]), true);
    // It flickers.
    let flickers = [
        (1_900, false, ""),
        (2_500, true, ""),
        (3_000, false, ""),
        (4_000, false, "cleared 4000"),
        (9_000, false, ""),
    ];
    holds(&looks(&flickers), true);
    // Nobody can tell that it is over.
    holds(&looks(&[(5_000, false, ""), (9_000, false, "")]), false);
    // It never stood long enough.
    holds(&[(0, true, ""), (900, false, ""), (1_500, true, "")], true);
}

#[test]
fn who_leads_no_more_says_so() {
    let mut standing = Standing::default();
    let alarm = Alarm::ServerDown;
    for at in [0, 1_000] {
        let found = [(Key::new(None, &alarm), alarm.clone())].into();
        standing.take(Tick(at), &Policy::default(), found, |_| true);
    }
    let left = standing.leave(Tick(1_500));
    assert!(matches!(&left[..], [Change::Left(_)]), "{left:?}");
}

#[test]
fn every_code_is_in_the_table() {
    let table = include_str!("../../PROTOCOL.md");
    let why = || "so".to_owned();
    let error = || error(1).expect("an error");
    let set = GtidSet::default;
    let all = [
        Alarm::AgentUnheard,
        Alarm::LoginRefused { error: why() },
        Alarm::ServerDown,
        Alarm::Recovering,
        Alarm::GoesAway,
        Alarm::OtherServer { uuid: uuid("z") },
        Alarm::NotFollowing { role: Role::Closed },
        Alarm::ReceiverError { error: error() },
        Alarm::ReceiverDown { connecting: true },
        Alarm::BinlogsPurged { missing: set() },
        Alarm::ApplierError { error: error() },
        Alarm::ApplierStopped,
        Alarm::ApplierHeld {
            behind: 1,
            still_ms: 1,
        },
        Alarm::ApplierLag {
            behind: 1,
            expected_ms: 1,
        },
        Alarm::OtherSource {
            ordered: why(),
            is: why(),
        },
        Alarm::SourceDelay { delay_s: 1 },
        Alarm::OtherChannels { channels: vec![] },
        Alarm::Replicates {
            source_address: why(),
        },
        Alarm::NoPath { to: vec![why()] },
        Alarm::NotAcking,
        Alarm::WeakRelayLog {
            sync_relay_log: 0,
            relay_log_recovery: true,
        },
        Alarm::Errant {
            set: set(),
            why: None,
        },
        Alarm::Marked { why: why() },
        Alarm::Forgot { why: why() },
        Alarm::Closed,
        Alarm::GroundBroken {
            faults: [Fault::Timeout].into(),
        },
        Alarm::GtidsReset,
        Alarm::Strangers {
            uuids: [uuid("z")].into(),
            blocks: true,
        },
        Alarm::GroundUnseen { age_ms: 1 },
        Alarm::WriteNotSent {
            why: NotSent::ReadOnly,
        },
        Alarm::WriteUnacknowledged { waited_ms: 1_001 },
        Alarm::FloorMissing,
        Alarm::TooFewAckers {
            acking: 0,
            of: 1,
            needed: 1,
        },
        Alarm::NotReady { why: vec![why()] },
    ];
    for alarm in all {
        let code = alarm.code();
        let json = serde_json::to_value(&alarm).expect("it is told as JSON");
        assert_eq!(json["code"], code, "one code, however it is told");
        assert!(table.contains(&format!("| `{code}` |")), "{code}");
        let shown = Shown {
            instance: Some(instance("a")),
            severity: alarm.severity(),
            for_ms: 1,
            text: alarm.to_string(),
            alarm,
        };
        let text = serde_json::to_string(&shown).expect("it is shown as JSON");
        assert_eq!(
            serde_json::from_str::<Shown>(&text).expect("and read"),
            shown
        );
    }
}
