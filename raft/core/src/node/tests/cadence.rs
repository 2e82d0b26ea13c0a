//! How soon a question is asked, how often a node votes, and how often it looks.

use super::*;
use crate::node::SETTLED_REVOTE_MS;
use crate::node::watch::Watch;

/// Nodes 2 and 3 are gone, so that no verdict is ever reached; `p` is silent.
fn alone() -> Plane {
    let mut plane = Plane::new(world());
    plane.gone.extend([1, 2]);
    plane.down.insert("p");
    plane.lines.clear();
    plane
}

fn votes(plane: &mut Plane, ms: u64) -> usize {
    plane.lines.clear();
    plane.runs(ms);
    plane.times("1 votes")
}

/// Until every threshold is passed a silence is told ten times a second, and then once.
#[test]
fn a_silence_that_has_said_all_is_told_more_rarely() {
    let mut plane = alone();
    plane.runs(1_200);
    plane.when("1 opens an inquest");
    let soon = votes(&mut plane, 3_000);
    assert!((24..=31).contains(&soon), "{soon}");
    // The longest threshold is 5 s.
    plane.runs(1_200);
    let late = votes(&mut plane, 10_000);
    assert!((9..=11).contains(&late), "{late}");
}

#[test]
fn a_verdict_that_waits_for_an_approval_is_kept_fresh_once_a_second() {
    let mut plane = Plane::new(world());
    plane.world.cluster_mut().policy.automation = Automation::Advise;
    plane.show_state();
    plane.down.insert("p");
    plane.runs(3_600);
    plane.when("verdict on p: Dead");
    let late = votes(&mut plane, 10_000);
    assert!((9..=11).contains(&late), "{late}");
}

/// Just after a vote, in a second in which none would be due.
fn settled() -> Plane {
    let mut plane = alone();
    plane.runs(7_000);
    plane.lines.clear();
    while plane.times("1 votes") == 0 {
        plane.runs(STEP_MS);
    }
    plane.runs(100);
    plane.lines.clear();
    plane
}

/// What changes is told at once, whatever was told last.
#[test]
fn a_change_is_told_at_once() {
    const SOON_MS: u64 = SETTLED_REVOTE_MS / 2;
    let mut same = settled();
    same.runs(SOON_MS);
    same.never("votes");
    let mut back = settled();
    back.down.remove("p");
    back.runs(SOON_MS);
    back.when("1 votes alive");
    let mut exits = settled();
    exits.down.remove("p");
    exits.exited.insert("p");
    exits.runs(SOON_MS);
    exits.when("1 votes silent");
    // An acker hears the primary, which the node does not.
    let mut heard = settled();
    heard.hear = true;
    heard.runs(SOON_MS);
    heard.when("1 votes silent");
}

/// One that alone cannot reach it asks now and then.
#[test]
fn one_that_is_cut_off_alone_asks_no_oftener_than_it_must() {
    let mut plane = Plane::new(world());
    plane.cut.insert((1, "p"));
    plane.runs(1_000);
    plane.lines.clear();
    plane.runs(20_000);
    let asked = plane.times("2 opens an inquest");
    assert!(
        (15..=20).contains(&asked),
        "each second at the most: {asked}"
    );
}

/// A primary that nobody has ordered shut, and that refuses writes, is asked about after half the time.
#[test]
fn one_that_is_found_closed_is_asked_about_before_the_time_is_up() {
    let mut plane = Plane::new(world());
    plane.shut.insert("p");
    let begun = plane.now;
    // Nobody holds what it has, so that it does not open again meanwhile.
    plane.bend = Box::new(|host, beat| {
        if host == "p" {
            (beat.role, beat.fenced, beat.executed) = (Role::Closed, true, set("p:1-20"));
        }
    });
    plane.runs(3_000);
    let opened = plane
        .lines
        .iter()
        .find(|(_, line)| line.ends_with("opens an inquest"));
    let (at, _) = opened.expect("an inquest");
    let after_ms = at - begun;
    assert!((1_400..=1_900).contains(&after_ms), "{after_ms} ms");
}

/// Then its shell calls it more rarely.
#[test]
fn it_is_at_rest_only_while_nothing_is_in_doubt_or_under_way() {
    let rests = |plane: &Plane| plane.nodes[0].at_rest();
    let mut plane = Plane::started(world());
    assert!(!rests(&plane), "nobody was seen yet");
    plane.runs(1_000);
    assert!(rests(&plane));

    plane.down.insert("p");
    plane.runs(600);
    assert_eq!(plane.world.cluster().inquest, None);
    assert!(!rests(&plane), "it is silent");
    plane.down.remove("p");
    plane.runs(600);
    assert!(rests(&plane));

    // Who is not asked says nothing: the question stays open.
    plane.gone.extend([1, 2]);
    plane.world.open_inquest();
    plane.show_state();
    assert!(!rests(&plane), "it is asked about");

    let mut plane = Plane::new(world());
    promotion_of(plane.world.cluster_mut()).acknowledged = false;
    plane.show_state();
    assert!(!rests(&plane), "no write of it was acknowledged");

    assert!(!rests(&deposed()), "somebody is to be chosen");

    let mut plane = Plane::new(world());
    plane.led_by(None);
    assert!(rests(&plane));
    plane.bend = Box::new(|host, beat| {
        if host == "a" {
            (beat.executed, beat.harmless) = (set("p:1-12,a:7"), set("a:7"));
        }
    });
    plane.runs(400);
    assert!(!rests(&plane), "nobody takes what it has to say");
}

/// One whose own write hangs on its disk, too.
#[test]
fn one_that_is_wedged_is_asked_about_before_the_time_is_up() {
    let mut plane = Plane::new(world());
    let (begun, beats) = (plane.now, plane.beats);
    plane.bend = Box::new(move |host, beat| {
        if host == "p" {
            beat.write_stuck_ms = Some((beat.word.beat - beats) * 100);
        }
    });
    plane.runs(4_000);
    let after_ms = plane.when("1 opens an inquest") - begun;
    // Of 5 s.
    assert!((2_400..=2_900).contains(&after_ms), "{after_ms} ms");
}

#[test]
fn a_warm_probe_comes_each_in_its_time_and_one_under_way_is_waited_for() {
    let settings = NodeSettings::default();
    let mut watch = Watch::new(Tick(0), None);
    let mut times = 0;
    for now in (0..=60_000).step_by(20) {
        for probe in watch.tick(Tick(now), &settings) {
            times += u64::from(probe == Probe::Warm);
            let pulse = Pulse::Answered { fenced: false };
            watch.pulse(Tick(now), probe, Tick(now), pulse, None);
        }
    }
    assert_eq!(times, 60_000 / settings.warm_every_ms + 1);
    assert_eq!(watch.tick(Tick(200_000), &settings).len(), 2);
    assert_eq!(watch.tick(Tick(300_000), &settings), []);
}
