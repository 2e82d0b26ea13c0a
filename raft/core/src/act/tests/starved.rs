//! What an agent tells so that others can see whether a primary starves, and whether they could do
//! better.

use super::*;
use crate::act::ProbeAt;

/// A replica of `p`, of epoch 1, whose receiver has connected.
pub(super) fn replica() -> Desk {
    let (mut desk, _) = Desk::with(enrolled_seal(), fenced());
    desk.order(follow_of("p"), 2);
    desk.ends(OpDone::Frozen(Box::new(fenced())));
    desk.ends(OpDone::Followed);
    desk.waits(200, &connected(1));
    assert_eq!(desk.beats().role, Role::Following(Epoch(1)));
    let mut told = named(1, "p");
    told.addresses = ["p", "a", "b", "c"]
        .into_iter()
        .map(|letter| (instance(letter), (format!("{letter}.example"), 3306)))
        .collect();
    desk.acknowledged(1, told);
    desk
}

fn follow_of(letter: &str) -> OrderKind {
    let OrderKind::Follow {
        epoch,
        acking,
        within,
        own,
        heartbeat_ms,
        online,
        ..
    } = follow(1, "p:1-10")
    else {
        unreachable!("an order to follow");
    };
    OrderKind::Follow {
        epoch,
        source: instance(letter),
        host: format!("{letter}.example"),
        port: 3306,
        acking,
        within,
        own,
        heartbeat_ms,
        online,
    }
}

/// Follows `p`, which has sent so many heartbeats.
pub(super) fn connected(heartbeats: u64) -> Survey {
    Survey {
        source: Some(("p.example".into(), 3306)),
        heartbeats,
        ..following()
    }
}

fn connecting() -> Survey {
    Survey {
        io: IoThread::Connecting,
        ..connected(1)
    }
}

fn waited(desk: &Desk) -> Option<u64> {
    desk.beats().replica.as_ref().and_then(|of| of.waits_ms)
}

#[track_caller]
fn about(found: Option<u64>, expected: u64) {
    let ms = found.expect("it waits");
    assert!(ms <= expected && ms + 250 >= expected, "{ms} ms");
}

#[test]
fn a_receiver_waits_from_the_first_look_that_shows_it_so() {
    let mut desk = replica();
    let stands = Survey {
        receiver_waits: false,
        ..connected(2)
    };
    desk.waits(500, &stands);
    assert_eq!(waited(&desk), None, "it writes, or stands still");
    desk.waits(2_000, &connecting());
    about(waited(&desk), 2_000);
    desk.waits(200, &stands);
    assert_eq!(waited(&desk), None);
    // It is connected, and nobody can tell whether half of a large event has arrived.
    let blind = Survey {
        receiver_bytes: None,
        ..connected(1)
    };
    desk.waits(1_000, &blind);
    assert_eq!(waited(&desk), None);
    desk.waits(1_000, &connecting());
    about(waited(&desk), 1_000);
}

/// The receiver first: what the applier lacks comes through it.
#[test]
fn a_beat_names_what_is_wrong_with_its_replication() {
    let mut desk = replica();
    let errors = [
        ("", "", ""),
        ("", "1062: duplicate", "1062: duplicate"),
        ("13114: purged", "1062: duplicate", "13114: purged"),
        ("13114: purged", "", "13114: purged"),
    ];
    for (receiver, applier, told) in errors {
        let survey = Survey {
            receiver_error: receiver.into(),
            applier_error: applier.into(),
            ..connected(1)
        };
        desk.waits(200, &survey);
        let replica = desk.beats().replica.as_ref().expect("it is one");
        assert_eq!(replica.error, told);
    }
}

/// The clock of this run when its newest beat was sent, and when one first told of what it tells.
fn told(desk: &Desk) -> (u64, u64) {
    let beat = desk.beats();
    let moved_ms = beat.replica.as_ref().and_then(|of| of.moved_ms);
    (beat.run_ms.expect("it says"), moved_ms.expect("it says"))
}

#[test]
fn a_beat_says_since_when_it_tells_of_this_progress() {
    let mut desk = replica();
    desk.waits(1_000, &connected(2));
    let (sent, moved) = told(&desk);
    assert!(moved < sent);
    desk.waits(1_000, &connected(2));
    let (later, same) = told(&desk);
    assert_eq!((later - sent, same), (1_000, moved));
    desk.waits(500, &connected(3));
    let (sent, moved) = told(&desk);
    assert!(moved > later && moved <= sent, "{later} {moved} {sent}");
    // Another run counts from its own start, and does not know since when.
    let (mut another, _) = desk.restarts(connected(3));
    another.waits(300, &connected(3));
    let (sent, moved) = told(&another);
    assert!(moved <= sent && sent < 1_000, "{moved} {sent}");
}

/// Its newest look is of before it slept, or of a server that does not answer: the primary may have
/// gone on meanwhile.
#[test]
fn a_look_of_long_ago_tells_nothing_of_now() {
    let mut desk = replica();
    desk.waits(1_000, &connected(2));
    let (_, moved) = told(&desk);
    desk.now += 3_000;
    desk.tell(AgentInput::Tick);
    assert!(desk.beats().slept);
    let (sent, until) = told(&desk);
    assert_eq!(until, sent);
    // Nothing came meanwhile; that is said at once, for whoever sleeps again and again.
    desk.surveyed(connected(2));
    assert!(!desk.beats().slept);
    assert_eq!(told(&desk).1, moved);
    // It looks, and is not answered.
    desk.now += 3_000;
    for _ in 0..12 {
        desk.tell(AgentInput::Tick);
        assert!(desk.beats().slept, "as long as it may be answered");
        desk.now += 80;
    }
    desk.now += 100;
    desk.tell(AgentInput::Tick);
    assert!(!desk.beats().slept, "its server hangs");
    let (sent, until) = told(&desk);
    assert_eq!(until, sent);
}

#[test]
fn toward_another_source_than_ordered_it_does_not_wait() {
    let mut desk = replica();
    let elsewhere = Survey {
        source: Some(("z.example".into(), 3306)),
        ..connecting()
    };
    desk.waits(1_000, &elsewhere);
    assert_eq!(waited(&desk), None);
}

#[test]
fn a_start_a_restart_and_a_gap_begin_the_count_anew() {
    let begins_anew = |what: fn(&mut Desk)| {
        let mut desk = replica();
        desk.waits(5_000, &connecting());
        what(&mut desk);
        desk.waits(1_000, &connecting());
        about(waited(&desk), 1_000);
    };
    // A sleep of this process.
    begins_anew(|desk| desk.now += 3_000);
    // Its server went away and came back, which this agent starts to follow again.
    begins_anew(|desk| {
        desk.tell(AgentInput::ServerExited);
        desk.comes_up(fenced());
        desk.order(follow_of("p"), 2);
        desk.ends(OpDone::Followed);
    });
    // It was told to follow once more.
    begins_anew(|desk| {
        desk.order(follow_of("p"), 3);
        desk.ends(OpDone::Followed);
    });
}

/// What was asked for before the count began anew is older than that, whenever it is answered.
#[test]
fn a_look_from_before_a_gap_says_nothing_of_the_receiver() {
    let mut desk = replica();
    desk.waits(5_000, &connecting());
    while desk.survey.is_none() {
        desk.now += 10;
        desk.tell(AgentInput::Tick);
    }
    desk.now += 3_000;
    desk.tell(AgentInput::Tick);
    desk.surveyed(connecting());
    for _ in 0..30 {
        desk.now += 10;
        desk.tell(AgentInput::Tick);
    }
    assert_eq!(waited(&desk), None);
}

/// Its source's heartbeats arrive.
fn hears(desk: &mut Desk, ms: u64) -> String {
    let mut lines = Vec::new();
    for _ in 0..ms / 500 {
        let heartbeats = desk.now;
        lines.push(desk.waits(500, &connected(heartbeats)));
    }
    lines.retain(|line| !line.is_empty());
    lines.join(", ")
}

fn log_in(desk: &mut Desk, why: &str) {
    for id in std::mem::take(&mut desk.logins).into_values() {
        let result = match why {
            "" => Ok(OpDone::LoggedIn),
            why => Err(OpError::Refused(why.into())),
        };
        desk.ended(id, result);
    }
}

const BOTH: &str = "run log in at b.example, run log in at c.example";

/// To try them costs both servers time that an order needs more.
#[test]
fn no_path_is_tried_while_an_order_is_carried_out() {
    let addresses = || {
        let at = ("c.example".to_owned(), 3306);
        NamedPrimary {
            addresses: [(instance("c"), at)].into(),
            ..named(2, "b")
        }
    };
    let (mut desk, _) = Desk::with(enrolled_seal(), fenced());
    desk.order(follow(2, "p:1-10"), 2);
    assert_eq!(desk.acknowledged(1, addresses()), "");
    assert_eq!(
        desk.ends(frozen(fenced())),
        "persist(source b 2), run follow b.example acking with p:1-10 at most"
    );
    desk.ends(OpDone::Followed);
    let connects = Survey {
        io: IoThread::Connecting,
        ..following()
    };
    assert_eq!(desk.waits(240, &connects), "");
    // One that does not get there may need another to be chosen.
    assert_eq!(desk.waits(20, &connects), "run log in at c.example");
}

#[test]
fn paths_are_tried_every_ten_seconds_and_more_often_in_doubt() {
    let mut desk = replica();
    assert_eq!(
        desk.logins.len(),
        2,
        "itself and its primary it need not try"
    );
    assert_eq!(hears(&mut desk, 9_000), "", "not tried twice at once");
    assert!(desk.beats().paths.is_empty(), "not answered is no answer");
    log_in(&mut desk, "");
    assert_eq!(hears(&mut desk, 500), "");
    let path = desk.beats().paths[&instance("b")].clone();
    assert_eq!(path.error, "");
    assert!(path.tried_ms >= 9_000, "since it was begun: {path:?}");
    assert_eq!(hears(&mut desk, 1_000), BOTH);
    // One that is not answered yet leaves the last answer.
    assert_eq!(desk.waits(30_000, &connecting()), "");
    assert_eq!(desk.beats().paths[&instance("b")].error, "");
    log_in(&mut desk, "account locked");
    desk.waits(100, &connecting());
    assert_eq!(desk.beats().paths[&instance("b")].error, "account locked");
    log_in(&mut desk, "");
    assert_eq!(desk.waits(300, &connecting()), "");
    assert_eq!(desk.waits(300, &connecting()), BOTH);
}

#[test]
fn silence_is_doubt_as_well() {
    let mut desk = replica();
    log_in(&mut desk, "");
    desk.waits(100, &connected(2));
    assert_eq!(desk.waits(1_300, &connected(2)), "", "its heartbeat is due");
    assert_eq!(desk.waits(300, &connected(2)), BOTH);
}

#[test]
fn a_primary_tells_for_how_long_a_write_has_waited() {
    let mut desk = Desk::serving();
    desk.waits(1_000, &open());
    assert_eq!(desk.beats().unacknowledged_ms, None);
    let probes = |desk: &Desk, at: ProbeAt| Survey {
        ack_waits: 1,
        probes: desk.markers.iter().map(|id| (*id, at.clone())).collect(),
        ..open()
    };
    let waits = probes(&desk, ProbeAt::Acknowledgement);
    desk.waits(2_000, &waits);
    let ms = desk.beats().unacknowledged_ms.expect("it waits");
    assert!((1_800..=3_000).contains(&ms), "{ms} ms");
    desk.marked();
    desk.waits(100, &open());
    assert_eq!(desk.beats().unacknowledged_ms, None);
    // Behind a lock it was not sent.
    desk.waits(1_000, &open());
    let locked = probes(&desk, ProbeAt::Lock("a backup".into()));
    let locked = Survey {
        ack_waits: 0,
        ..locked
    };
    desk.waits(2_000, &locked);
    assert_eq!(desk.beats().unacknowledged_ms, None);
}
