//! For how long what an agent said counts as said now.

use super::*;
use crate::node::watch::Watch;
use crate::observe::Fault;
use crate::policy::REPORT_FRESH_MS;

/// The way that its word took is allowed for, and not a millisecond more.
#[test]
fn a_word_from_afar_is_fresh_for_as_long_as_one_from_nearby() {
    let world = world();
    let cluster = world.cluster();
    let primary = Watch::new(Tick(0), None);
    for rtt_ms in [0, 1, 2, 200] {
        let mut acker = Watch::new(Tick(0), None);
        acker.beat(Tick(1_000), beat("a", 1), rtt_ms, None, Epoch(1));
        let last = 1_000 + REPORT_FRESH_MS + rtt_ms;
        let heard = |at| {
            let reached = acker.reached(Tick(at), cluster, &primary);
            (reached.is_some(), acker.fresh_beat(Tick(at)).is_some())
        };
        assert_eq!(heard(last), (true, true), "{rtt_ms}");
        assert_eq!(heard(last + 1), (false, false), "{rtt_ms}");
    }
}

/// Beats lie in its sockets while this process stands still, and are read as if they had come just now.
#[test]
fn what_lay_in_a_socket_is_no_word_of_now() {
    let said = |run, number| {
        let mut word = beat("p", number).word;
        word.agent = Incarnation(run);
        word
    };
    let stood_still = || {
        let mut watch = Watch::new(Tick(0), None);
        watch.tick(Tick(0), &NodeSettings::default());
        assert!(!watch.has_lain(Tick(500), said(1, 7), Some(0)), "no gap");
        watch
    };
    // The first that is heard since may be an old one; so may all be that were sent before its
    // acknowledgement was back.
    let mut watch = stood_still();
    for (number, after, lain) in [(8, 7, true), (9, 7, true), (10, 8, false), (11, 7, false)] {
        let found = watch.has_lain(Tick(4_000), said(1, number), Some(after));
        assert_eq!(found, lain, "beat {number} after {after}");
    }
    // Another run of its agent counts anew.
    let mut watch = stood_still();
    for (run, number, after, lain) in [(1, 8, 7, true), (2, 1, 0, true), (2, 2, 1, false)] {
        let found = watch.has_lain(Tick(4_000), said(run, number), Some(after));
        assert_eq!(found, lain, "beat {number} of run {run}");
    }
    // One that was overtaken long ago is the first that is read: what was acknowledged before this
    // process stood still says nothing.
    let mut watch = Watch::new(Tick(0), None);
    watch.beat(Tick(400), beat("p", 7), 0, None, Epoch(1));
    watch.tick(Tick(500), &NodeSettings::default());
    let run = beat("p", 7).word.agent.0;
    for (number, after, lain) in [(3, 2, true), (8, 7, true), (9, 8, false)] {
        let found = watch.has_lain(Tick(4_000), said(run, number), Some(after));
        assert_eq!(found, lain, "beat {number} after {after}");
    }
    // An agent of an earlier version does not say.
    assert!(!stood_still().has_lain(Tick(4_000), said(1, 8), None));
}

/// So do the answers of probes.
#[test]
fn a_look_that_lay_while_this_process_stood_still_leaves_the_gap_after_it() {
    let good = SourceGround::ordered(2);
    let gap_ms = |begun| {
        let mut watch = Watch::new(Tick(0), None);
        watch.tick(Tick(0), &NodeSettings::default());
        watch.look(Tick(100), Epoch(1), 2, &good);
        watch.tick(Tick(400), &NodeSettings::default());
        watch.tick(Tick(3_400), &NodeSettings::default());
        watch.look(Tick(begun), Epoch(1), 2, &good);
        watch.ground_look().map(|look| look.gap_ms)
    };
    assert_eq!(gap_ms(390), Some(3_000));
    assert_eq!(gap_ms(3_399), Some(3_000));
    assert_eq!(gap_ms(3_400), Some(0), "asked after it");
}

/// What a look found broken stands until one that was begun after it finds nothing.
#[test]
fn an_older_look_takes_nothing_back() {
    let good = SourceGround::ordered(2);
    let off = SourceGround {
        enabled: false,
        ..good.clone()
    };
    let mut watch = Watch::new(Tick(0), None);
    watch.look(Tick(1_000), Epoch(1), 2, &off);
    assert!(watch.broken(Epoch(2)).is_empty(), "that of another epoch");
    for begun in [900, 1_000] {
        watch.look(Tick(begun), Epoch(1), 2, &good);
        assert_eq!(watch.broken(Epoch(1)), [Fault::Disabled].into(), "{begun}");
    }
    watch.look(Tick(1_001), Epoch(1), 2, &good);
    assert!(watch.broken(Epoch(1)).is_empty());
}

/// A beat, come at this time, of a primary that was opened for epoch 1: its role, and whether it is
/// fenced.
fn hears(watch: &mut Watch, number: u64, (at, role, fenced): (u64, Role, bool)) {
    let mut said = beat("p", number);
    (said.role, said.fenced, said.opened) = (role, fenced, Some(Epoch(1)));
    watch.beat(Tick(at), said, 0, None, Epoch(1));
}

/// One that is seen open again may have answered since it was last looked at; one that is seen shut
/// has not.
#[test]
fn who_is_seen_open_is_shut_no_more() {
    let mut watch = Watch::new(Tick(0), None);
    watch.tick(Tick(0), &NodeSettings::default());
    hears(&mut watch, 1, (1_000, Role::Open(Epoch(1)), false));
    hears(&mut watch, 2, (1_100, Role::Closed, true));
    for (at, fenced, age_ms) in [(5_000, true, 100), (6_000, false, 5_000)] {
        let pulse = Pulse::Answered { fenced };
        watch.pulse(Tick(at), Probe::Warm, Tick(at), pulse, None);
        let look = watch.ground_look().expect("it was looked at");
        assert_eq!(look.age_ms, age_ms, "at {at}");
    }
}

/// A server that is shut says nothing of what it answered while it was open and nobody looked.
#[test]
fn a_look_at_a_shut_primary_is_none_at_what_it_answered_before() {
    let looks = |beats: &[(u64, Role, bool)]| {
        let mut watch = Watch::new(Tick(0), None);
        watch.tick(Tick(0), &NodeSettings::default());
        for (number, of) in (1..).zip(beats) {
            hears(&mut watch, number, *of);
        }
        watch.ground_look().map(|look| look.age_ms)
    };
    let open = (1_000, Role::Open(Epoch(1)), false);
    assert_eq!(looks(&[open]), Some(0));
    // It shut itself, and goes on saying so.
    let shut = |at| (at, Role::Closed, true);
    assert_eq!(looks(&[open, shut(1_100), shut(9_000)]), Some(100));
    // Its host was away, and it is back.
    assert_eq!(looks(&[open, shut(8_000), shut(9_000)]), Some(7_000));
    // Its agent is back beside a server that is open still.
    let unfenced = |at| (at, Role::Closed, false);
    assert_eq!(
        looks(&[open, unfenced(1_100), unfenced(8_000)]),
        Some(7_000)
    );
    // Its server exited, and came back after a while: nothing was answered in between.
    let mut watch = Watch::new(Tick(0), None);
    let beats = [
        (1_000, Role::Open(Epoch(1)), Some(0)),
        (1_100, Role::Closed, None),
        (7_000, Role::Closed, Some(0)),
    ];
    for (number, (at, role, answered)) in beats.into_iter().enumerate() {
        let mut said = beat("p", number as u64 + 1);
        (said.role, said.fenced) = (role, role == Role::Closed);
        said.opened = Some(Epoch(1));
        said.word.says = match answered {
            Some(answered_ms_ago) => MysqldWord::Running { answered_ms_ago },
            None => MysqldWord::Exited,
        };
        watch.beat(Tick(at), said, 0, None, Epoch(1));
    }
    assert_eq!(watch.ground_look().map(|look| look.age_ms), Some(100));
    // It was opened again.
    let again = (9_100, Role::Open(Epoch(1)), false);
    assert_eq!(looks(&[open, shut(8_000), again]), Some(0));
    // In an epoch for which it was not opened yet, all is read before that.
    assert_eq!(looks(&[(1_000, Role::Open(Epoch(0)), false)]), None);
    let mut watch = Watch::new(Tick(0), None);
    watch.beat(Tick(1_000), beat("p", 1), 0, None, Epoch(1));
    assert_eq!(watch.ground_look().map(|look| look.age_ms), Some(0));
}

#[test]
fn a_node_that_stood_still_takes_no_old_beat_for_a_sign() {
    let mut plane = Plane::new(world());
    plane.down.insert("p");
    plane.runs(40);
    let mut old = plane.beat_of("p");
    plane.now += 3_000;
    old.word.beat += 1;
    let number = old.word.beat;
    let mut heard = |after| {
        let beat = Box::new(old.clone());
        let input = NodeInput::Beat {
            beat,
            rtt_ms: 1,
            after,
        };
        plane.tell(2, input);
        old.word.beat += 1;
        let sights = plane.nodes[2].views(Tick(plane.now));
        sights[&instance("p")].agent_heard_ms
    };
    assert!(heard(Some(number - 1)) >= Some(3_000), "as before");
    assert_eq!(heard(Some(number)), Some(0), "that is one of now");
    // Nor is who was there all the while taken for one that is gone.
    let mut plane = Plane::new(world());
    plane.now += 3_000;
    let mut old = plane.beat_of("a");
    old.word.beat += 1;
    let input = NodeInput::Beat {
        after: Some(old.word.beat - 2),
        beat: Box::new(old),
        rtt_ms: 1,
    };
    plane.tell(0, input);
    let unheard = plane.nodes[0].unheard(Tick(plane.now), plane.world.cluster());
    assert_eq!(unheard, [instance("b"), instance("p")].into());
}

/// Counters that moved say that semi-sync was off, if both looks were at one epoch's primary.
#[test]
fn a_look_is_compared_with_the_one_before_it_of_the_same_epoch() {
    let before = SourceGround::ordered(2);
    let moved = SourceGround {
        no_times: before.no_times + 1,
        ..before.clone()
    };
    for (epoch, faults) in [(Epoch(1), vec![Fault::WasOff]), (Epoch(2), vec![])] {
        let mut watch = Watch::new(Tick(0), None);
        watch.look(Tick(100), Epoch(1), 2, &before);
        let found = watch.look(Tick(200), epoch, 2, &moved);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), faults, "{epoch}");
    }
}
