//! Tables. What one node's detector was told, and what it sees then. Each event stands behind its
//! time in milliseconds:
//!
//! ```text
//! w+ w- wx w1040   the warm connection answered, failed, answered fenced, answered that error
//! f+ f- fx f1040   a fresh one likewise; `f-@50`: it was begun at 50
//! wu fu            this node could not even ask
//! hR hR900 hF      heartbeat: mysqld answered now, 900 ms ago; answered, fenced
//! hX hS hW2000     it exited; it starts; a write has been stuck for 2 s
//! gap              this process slept since the event before
//! ```

mod receiver;
mod signs;

use super::{
    Asked, BeatWord, Detector, Heartbeat, IoThread, MysqldWord, Named, Probe, Progress, Pulse,
    Reached, SightKind, Word,
};
use crate::ids::{Epoch, Incarnation, InstanceId, Tick};
use crate::testing::{instance, word};

const OPEN: Named = Named {
    epoch: Epoch(1),
    opened: true,
};

struct Eye {
    detector: Detector,
    named: Named,
    now: u64,
    beats: u64,
}

impl Eye {
    fn new(named: Named) -> Self {
        Self {
            detector: Detector::new(Tick(0), None),
            named,
            now: 0,
            beats: 0,
        }
    }

    /// Ticks every 100 ms until then, as the shell does.
    fn wait(&mut self, until: u64) {
        while self.now + 100 < until {
            self.now += 100;
            self.detector.tick(Tick(self.now));
        }
        self.now = until;
        self.detector.tick(Tick(until));
    }

    fn script(&mut self, script: &str) {
        for event in script.split(", ").filter(|event| !event.is_empty()) {
            let (at, what) = event.split_once(' ').expect("time, event");
            let at: u64 = at.parse().expect("milliseconds");
            if what == "gap" {
                self.now = at;
                self.detector.tick(Tick(at));
                continue;
            }
            self.wait(at);
            self.event(what);
        }
    }

    fn event(&mut self, what: &str) {
        let (what, begun) = match what.split_once('@') {
            Some((what, begun)) => (what, begun.parse().expect("milliseconds")),
            None => (what, self.now),
        };
        let (kind, rest) = what.split_at(1);
        let probe = match kind {
            "w" => Probe::Warm,
            "f" => Probe::Fresh,
            "h" => return self.heartbeat(rest),
            other => panic!("no such event: {other}"),
        };
        let pulse = match rest {
            "+" => Pulse::Answered { fenced: false },
            "x" => Pulse::Answered { fenced: true },
            "-" => Pulse::Failed { reset: false },
            "u" => Pulse::Unable,
            code => Pulse::Refused {
                code: code.parse().expect("an error code"),
            },
        };
        let (now, named) = (Tick(self.now), Some(self.named));
        self.detector.pulse(now, probe, Tick(begun), pulse, named);
    }

    fn heartbeat(&mut self, what: &str) {
        let number = || what[1..].parse().unwrap_or(0);
        let says = match &what[..1] {
            "R" => MysqldWord::Running {
                answered_ms_ago: number(),
            },
            "F" | "W" | "O" => MysqldWord::Running { answered_ms_ago: 0 },
            "X" => MysqldWord::Exited,
            "S" => MysqldWord::Starting,
            other => panic!("no such word: {other}"),
        };
        let stuck_ms = (&what[..1] == "W").then(number);
        self.beats += 1;
        let word = word(self.beats, 1, says);
        let beat = BeatWord {
            word,
            fenced: &what[..1] == "F",
            write_stuck_ms: stuck_ms,
            opening: &what[..1] == "O",
        };
        self.detector.heartbeat(Tick(self.now), beat);
    }

    fn sees(&self, hears_majority: bool) -> String {
        let sight = self
            .detector
            .sight(Tick(self.now), self.named.epoch, hears_majority);
        format!("{:?} {}", sight.kind, sight.for_ms).to_lowercase()
    }
}

/// After the script, at that time, the node sees this, for so long.
#[track_caller]
fn check(script: &str, at: u64, expected: &str) {
    let mut eye = Eye::new(OPEN);
    eye.script(script);
    eye.wait(at);
    assert_eq!(eye.sees(true), expected, "{script:?} at {at}");
}

#[test]
fn silence_wants_a_fresh_failure_after_the_last_answer() {
    check("0 f+", 3000, "alive 3000");
    // A broken pooled connection is no proof of anything.
    check("0 f+, 200 w-, 400 w-, 600 w-", 3000, "alive 3000");
    check("0 f+, 200 w-, 400 f-", 3000, "silent 3000");
    check("0 f+, 400 f-", 3000, "silent 3000");
    // Begun before the last answer, it says nothing after it.
    check("0 f+, 100 w+, 900 f-@50", 3000, "alive 2900");
    check("0 f+, 200 f-, 400 w+, 600 w-", 3000, "alive 2600");
    check("0 f+, 200 f-, 400 w+, 600 w-, 800 f-", 3000, "silent 2600");
}

#[test]
fn any_answer_in_mysqls_protocol_ends_a_silence() {
    for code in [1045, 1129, 1130, 2026] {
        let vouched = format!("0 f+, 200 f-, 980 hS, 1000 w{code}");
        check(&vouched, 3000, "alive 2000");
        let again = format!("0 f+, 200 f-, 980 hS, 1000 f{code}, 1200 w-, 1400 f-");
        check(&again, 3000, "silent 2000");
    }
    check("0 f+, 200 f-, 980 hS, 1000 f1040", 3000, "overloaded 2000");
    check("0 f+, 980 hR, 1000 f1040, 2000 f+", 3000, "alive 1000");
    check("0 f+, 980 hR, 1000 f1040, 2000 f-", 3000, "silent 2000");
}

/// Another server may answer at the address of a dead one, and an error names none.
#[test]
fn an_answer_that_names_no_server_is_the_enrolled_ones_only_where_that_is_vouched_for() {
    for code in [1040, 1045, 1129, 3032] {
        let nobody = format!("0 f+, 200 f-, 1000 f{code}");
        check(&nobody, 3000, "silent 3000");
        let exited = format!("0 f+, 200 f-, 980 hX, 1000 f{code}");
        check(&exited, 3000, "silent 3000");
    }
    // The connection made before to the named one stands.
    check("0 w+, 200 f-, 1000 f1040", 3000, "overloaded 2000");
    check("0 w+, 100 w-, 200 f-, 1000 f1040", 3000, "silent 3000");
}

#[test]
fn silence_dates_from_the_last_answer() {
    check("0 f+, 500 w+, 2000 f-", 2100, "silent 1600");
    check("0 f+, 500 hR, 2000 f-", 2100, "silent 1600");
    // The agent's probe was answered a while before its beat.
    check("0 f+, 500 hR200, 2000 f-", 2100, "silent 1800");
}

#[test]
fn the_agent_must_be_silent_too_or_agree() {
    check("0 f+, 200 f-, 2900 hR", 3000, "alive 100");
    check("0 f+, 200 f-, 2900 hR300", 3000, "alive 400");
    // Its local probes are unanswered as well.
    check("0 f+, 200 f-, 2900 hR2900", 3000, "silent 3000");
    check("0 f+, 200 f-, 2900 hX", 3000, "silent 3000");
    check("0 f+, 200 f-, 2900 hS", 3000, "silent 3000");
    // Three beats of 100 ms may be missed.
    check("0 f+, 0 hR, 100 f-", 300, "alive 300");
    check("0 f+, 0 hR, 100 f-", 301, "silent 301");
    // An attested exit is certain: no attempt need fail besides.
    check("0 f+, 200 hX", 300, "silent 300");
    check("0 f+, 200 hX, 250 f-", 300, "silent 300");
    // What was asked before it exited may have been answered late.
    check("0 f+, 200 hX, 210 w+@190", 300, "silent 90");
    // An answer to what was asked since, on the connection that stood: nobody exited.
    check("0 w+, 200 hX, 300 w+@250", 400, "alive 100");
}

#[test]
fn a_gap_in_its_own_time_counts_toward_no_silence() {
    check("0 f+, 300 f-, 801 gap", 900, "alive 99");
    check("0 f+, 300 f-, 801 gap, 900 f-", 1000, "silent 199");
    check("0 f+, 300 f-, 801 gap, 900 f-@700", 1000, "alive 199");
    check("0 f+, 300 f-, 800 gap", 900, "silent 900");
    // Nor does a time in which it could not ask.
    check("0 f+, 300 f-, 900 fu", 1000, "alive 100");
    check("0 f+, 300 f-, 900 wu, 950 f-", 1000, "silent 100");
    // Its own start is the end of a gap.
    let mut eye = Eye::new(OPEN);
    eye.detector = Detector::new(Tick(5000), Some(Epoch(1)));
    eye.now = 5000;
    eye.script("5100 w-, 5200 f-");
    assert_eq!(eye.sees(true), "silent 200");
}

#[test]
fn closed_serves_nobody_and_ends_no_silence() {
    check("0 f+, 500 wx", 3000, "closed 3000");
    check("0 f+, 200 f-, 1000 fx", 3000, "closed 3000");
    check("0 f+, 1000 fx, 1200 f-", 3000, "silent 3000");
    check("0 f+, 1000 fx, 1000 f-", 3000, "silent 3000");
    // A fresh failure from before its answer is none after it, whatever fails besides.
    check("0 f+, 200 f-, 1000 fx, 1200 w-", 3000, "closed 3000");
    check("0 f+, 1000 fx, 1200 w-", 3000, "closed 3000");
    check("0 f+, 1000 fx, 2000 f+", 3000, "alive 1000");
    // offline_mode refuses the session: that is its way to say that it is fenced.
    check("0 f+, 480 hR, 500 w3032", 3000, "closed 2520");
    check("0 f+, 200 hF, 500 wx", 3000, "closed 3000");
    // One that the log does not name open yet serves by being there while its agent is at work.
    let chosen = |script: &str| {
        let mut eye = Eye::new(Named {
            opened: false,
            ..OPEN
        });
        eye.script(script);
        eye.sees(true)
    };
    assert_eq!(chosen("0 fx, 450 hO, 500 wx"), "alive 0");
    assert_eq!(chosen("0 fx, 450 hF, 500 wx"), "closed 500");
    assert_eq!(chosen("0 fx, 100 hO, 500 wx"), "closed 400");
}

#[test]
fn wedged_is_the_agents_word_and_no_older_than_its_beat() {
    check("0 f+, 2900 w+, 2950 hW2000", 3000, "wedged 2050");
    check("0 f+, 2900 w+, 2950 hR", 3000, "alive 50");
    check("0 f+, 2500 hW2000, 2900 w+", 3000, "alive 100");
    check("0 f+, 200 f-, 2900 hX", 3000, "silent 3000");
}

#[test]
fn blind_says_nothing() {
    check("", 3000, "blind 3000");
    // Answers of an instance that never served in this epoch are none of it.
    check("100 w-, 200 f-", 3000, "blind 3000");
    check("100 f1045, 200 w-, 300 f-", 3000, "blind 3000");
    let mut eye = Eye::new(OPEN);
    eye.script("0 f+, 200 f-, 3000 w-");
    assert_eq!(eye.sees(false), "blind 3000");
    assert_eq!(eye.sees(true), "silent 3000");
    eye.named.epoch = Epoch(2);
    assert_eq!(eye.sees(true), "blind 3000");
    eye.detector.recall(Epoch(2));
    assert_eq!(eye.sees(true), "silent 3000");
    eye.detector.recall(Epoch(1));
    assert_eq!(eye.detector.seen_in(), Some(Epoch(2)), "never forgotten");
}

#[test]
fn fresh_connections_are_made_on_suspicion() {
    let wants = |script: &str| {
        let mut eye = Eye::new(OPEN);
        eye.script(script);
        eye.detector.wants_fresh(Tick(eye.now))
    };
    let table = [
        ("0 f+, 0 hR", false),
        ("0 f+, 100 hR, 200 w-", true),
        ("0 f+, 100 hX", true),
        // It was begun before the newest answer.
        ("0 f+, 0 hR, 200 w+, 250 w-@100", false),
        ("0 f+, 0 hR, 300 w+", false),
        ("0 f+, 0 hR, 301 w+", true),
        // Once, until something answers or this process slept.
        ("0 f+, 200 w-, 400 f-", false),
        ("0 f+, 200 w-, 400 f-, 600 w+, 800 w-", true),
        ("0 f+, 200 w-, 400 f-, 1000 gap", true),
    ];
    for (script, expected) in table {
        assert_eq!(wants(script), expected, "{script:?}");
    }
}

#[test]
fn an_older_beat_is_overtaken() {
    let mut detector = Detector::new(Tick(0), Some(Epoch(1)));
    let said = |word| BeatWord {
        word,
        fenced: false,
        write_stuck_ms: None,
        opening: false,
    };
    detector.heartbeat(Tick(100), said(word(7, 1, MysqldWord::Exited)));
    let late = word(6, 1, MysqldWord::Running { answered_ms_ago: 0 });
    detector.heartbeat(Tick(110), said(late));
    assert!(detector.exit_attested());
    assert_eq!(detector.last_sign(), None);
    let next_run = Word {
        agent: Incarnation(2),
        ..word(1, 2, MysqldWord::Starting)
    };
    detector.heartbeat(Tick(120), said(next_run));
    assert!(!detector.exit_attested());
}

// ---- progress

fn beat(io: IoThread, heartbeats: u64, position: u64) -> Heartbeat {
    let mut beat = crate::testing::beat("a", 1);
    let replica = beat.replica.as_mut().expect("it replicates");
    replica.io = io;
    replica.heartbeats = heartbeats;
    replica.read_position.1 = position;
    beat
}

/// Of one that was named long ago, whose ground nobody has seen.
fn asked(primary: &InstanceId, fresh_ms: u64) -> Asked<'_> {
    Asked {
        primary,
        fresh_ms,
        named: Tick(0),
        patience_ms: 0,
        ground: None,
    }
}

/// After these reports (time, thread, heartbeats, position): the age of what the replica heard.
#[track_caller]
fn heard(reports: &[(u64, IoThread, u64, u64)], at: u64, expected: Option<Option<u64>>) {
    let mut progress = Progress::default();
    for &(now, io, heartbeats, position) in reports {
        progress.report(Tick(now), &beat(io, heartbeats, position));
    }
    let reached = progress.reached(Tick(at), &asked(&instance("p"), 310));
    let reached = reached.map(|of| of.heard_ms);
    assert_eq!(reached, expected, "{reports:?} at {at}");
}

#[test]
fn progress_is_a_heartbeat_or_a_moved_position() {
    use IoThread::{Connecting, Off, On};
    heard(&[], 0, None);
    heard(
        &[(0, On, 1, 100), (1000, On, 1, 100)],
        1100,
        Some(Some(1100)),
    );
    heard(
        &[(0, On, 1, 100), (1000, On, 2, 100)],
        1100,
        Some(Some(100)),
    );
    // Heartbeats stop during a large transaction; the position goes on.
    heard(
        &[(0, On, 1, 100), (1000, On, 1, 900)],
        1100,
        Some(Some(100)),
    );
    // One that lost its connection does not hear.
    heard(
        &[(0, On, 1, 100), (1000, Connecting, 1, 100)],
        1100,
        Some(None),
    );
    heard(&[(0, On, 1, 100), (1000, Off, 2, 200)], 1100, Some(None));
    // An old report is none.
    heard(&[(0, On, 1, 100)], 310, Some(Some(310)));
    heard(&[(0, On, 1, 100)], 311, None);
}

/// When it was read, by which run it was sent, and on its clock when, its heartbeats, and since when it
/// tells of these.
type Reported = (u64, u64, Option<u64>, u64, Option<u64>);

/// What the last of these lets a node say that looked at the ground at 5,000.
#[track_caller]
fn timed(reports: &[Reported], expected: (i64, i64)) {
    let mut progress = Progress::default();
    for &(now, run, run_ms, heartbeats, moved_ms) in reports {
        let mut beat = beat(IoThread::On, heartbeats, 1);
        (beat.word.agent, beat.run_ms) = (Incarnation(run), run_ms);
        beat.replica.as_mut().expect("it replicates").moved_ms = moved_ms;
        progress.report(Tick(now), &beat);
    }
    let primary = instance("p");
    let of = |ground| {
        let asked = Asked {
            ground,
            ..asked(&primary, 310)
        };
        let at = reports.last().expect("one").0;
        let reached = progress.reached(Tick(at), &asked);
        reached.and_then(|of| of.timed).expect("it was heard")
    };
    let (moved_ms, looked_ms) = expected;
    let timed = of(Some(Tick(5_000)));
    assert_eq!(
        (timed.moved_ms, timed.looked_ms),
        (moved_ms, Some(looked_ms))
    );
    assert_eq!(of(None).looked_ms, None, "who never looked");
}

#[test]
fn a_look_is_told_on_the_clock_of_the_ackers_agent() {
    let first = (5_100, 1, Some(700), 1, Some(640));
    timed(&[first], (640, 600));
    // What comes late makes the look older, and the progress no newer.
    timed(&[first, (5_900, 1, Some(800), 1, Some(640))], (640, -100));
    timed(&[first, (5_200, 1, Some(800), 2, Some(790))], (790, 600));
    // Another run has another clock.
    timed(&[first, (5_200, 2, Some(50), 1, Some(40))], (40, -150));
    // Of one that does not tell its time, what was read here counts.
    timed(&[(5_100, 1, None, 1, None)], (0, -100));
    timed(
        &[(5_100, 1, None, 1, None), (5_300, 1, None, 1, None)],
        (0, -100),
    );
    timed(
        &[(5_100, 1, None, 1, None), (5_300, 1, None, 2, None)],
        (0, -300),
    );
}

#[test]
fn who_slept_and_has_not_looked_since_says_nothing_of_it() {
    let primary = instance("p");
    let mut progress = Progress::default();
    let mut told = |now, slept| {
        let beat = Heartbeat {
            slept,
            ..beat(IoThread::On, 1, 100)
        };
        progress.report(Tick(now), &beat);
        let reached = progress.reached(Tick(now), &asked(&primary, 310));
        reached.map(|of| of.heard_ms)
    };
    assert_eq!(told(0, false), Some(Some(0)));
    assert_eq!(told(4_000, true), None);
    assert_eq!(told(4_010, false), Some(Some(4_010)));
}

#[test]
fn only_the_primary_in_question_is_heard() {
    let mut progress = Progress::default();
    progress.report(Tick(0), &beat(IoThread::On, 1, 100));
    let heard = |reached: Option<Reached>| reached.map(|reached| reached.heard_ms);
    let of = |primary| heard(progress.reached(Tick(50), &asked(&instance(primary), 300)));
    assert_eq!(of("p"), Some(Some(50)));
    assert_eq!(of("z"), Some(None));
    let nobodys = Heartbeat {
        replica: None,
        ..beat(IoThread::On, 1, 100)
    };
    progress.report(Tick(60), &nobodys);
    let reached = progress.reached(Tick(60), &asked(&instance("p"), 300));
    assert_eq!(heard(reached), Some(None));
}

#[test]
fn a_replica_whose_server_is_down_is_not_reached() {
    for says in [MysqldWord::Exited, MysqldWord::Starting] {
        let mut progress = Progress::default();
        progress.report(Tick(0), &beat(IoThread::On, 1, 100));
        let down = Heartbeat {
            word: word(2, 1, says),
            ..beat(IoThread::On, 1, 100)
        };
        progress.report(Tick(50), &down);
        assert_eq!(
            progress.reached(Tick(60), &asked(&instance("p"), 300)),
            None
        );
    }
}

#[test]
fn one_that_never_opened_may_be_silent_to_those_that_never_heard_it() {
    let sees = |epoch: u64, opened: bool, at: u64| {
        let mut detector = Detector::new(Tick(0), None);
        detector.name(Tick(1_000), Epoch(epoch), 5_000, opened);
        let failed = Pulse::Failed { reset: false };
        detector.pulse(Tick(2_000), Probe::Fresh, Tick(1_900), failed, None);
        detector.sight(Tick(at), Epoch(epoch), true)
    };
    assert_eq!(sees(2, false, 5_999).kind, SightKind::Blind);
    let sight = sees(2, false, 6_000);
    assert_eq!((sight.kind, sight.for_ms), (SightKind::Silent, 5_000));
    assert_eq!(
        sees(2, true, 60_000).kind,
        SightKind::Blind,
        "it may serve others"
    );
    assert_eq!(
        sees(1, false, 60_000).kind,
        SightKind::Blind,
        "nobody has deposed anybody"
    );
    // Nothing is known of it: that is no silence.
    let mut detector = Detector::new(Tick(0), None);
    detector.name(Tick(1_000), Epoch(2), 5_000, false);
    assert_eq!(
        detector.sight(Tick(9_000), Epoch(2), true).kind,
        SightKind::Blind
    );
}

/// A replica has no epoch in which it could have been seen open.
#[test]
fn a_glance_asks_for_one_answer_and_no_memory() {
    let kind = |detector: &Detector, at| detector.glance(Tick(at)).kind;
    let mut detector = Detector::new(Tick(0), None);
    assert_eq!(
        kind(&detector, 50),
        SightKind::Blind,
        "nothing is known yet"
    );
    let answer = Pulse::Answered { fenced: true };
    detector.pulse(Tick(100), Probe::Warm, Tick(90), answer, None);
    assert_eq!(kind(&detector, 150), SightKind::Alive);
    assert_eq!(
        detector.sight(Tick(150), Epoch(1), true).kind,
        SightKind::Blind,
        "a vote would need more"
    );
}
