//! What a detector makes of an exit that is told, of its own pauses, and of being told who is primary.

use super::*;

fn after(script: &str) -> Eye {
    let mut eye = Eye::new(OPEN);
    eye.script(script);
    eye
}

/// A connection that stood when the word came, and answers what was asked after it, refutes it.
#[test]
fn an_exit_is_refuted_by_a_connection_that_stood_and_answers() {
    for (script, refuted) in [
        ("100 w+, 200 hX, 310 w+@300", true),
        ("200 w+, 200 hX, 310 w+@300", true),
        // Asked before the word, or in the same moment: it says nothing of after.
        ("100 w+, 200 hX, 310 w+@150", false),
        ("100 w+, 200 hX, 310 w+@200", false),
        // Another process may answer a connection that was not there before.
        ("200 hX, 310 w+@300", false),
        ("200 hX, 310 w+@300, 410 w+@400", false),
        ("100 w+, 200 hX, 310 f+@300", false),
        // What was refuted once stays so until the agent says something else.
        ("100 w+, 200 hX, 310 w+@300, 410 w-", true),
        ("100 w+, 200 hX, 310 w+@300, 410 hR", false),
    ] {
        let eye = after(script);
        assert_eq!(eye.detector.contradicted(), refuted, "{script}");
        if refuted {
            assert_eq!(eye.detector.exited_since(), None, "{script}");
            assert_eq!(eye.detector.word(), None, "{script}");
        }
    }
    assert!(after("100 w+, 200 hX").detector.exit_attested());
}

/// From when it is named, or from the newest pause of this process.
#[test]
fn what_it_sees_counts_from_when_it_could_see() {
    let mut eye = Eye::new(OPEN);
    assert_eq!(eye.detector.counts_from(), Tick(0));
    eye.wait(500);
    eye.detector.name(Tick(500), Epoch(1), 5_000, true);
    eye.wait(900);
    eye.detector.name(Tick(900), Epoch(1), 5_000, true);
    assert_eq!(eye.detector.counts_from(), Tick(500), "named once");
    eye.detector.name(Tick(950), Epoch(2), 5_000, true);
    assert_eq!(eye.detector.counts_from(), Tick(950));
    assert_eq!(eye.detector.named_at(), Tick(950));
    eye.script("9000 gap");
    assert_eq!(eye.detector.counts_from(), Tick(9_000));
    assert_eq!(eye.detector.named_at(), Tick(950));
}

/// In whatever role it was: this node could tell how it is, not long before it was named.
#[test]
fn whoever_was_seen_shortly_before_it_was_named_was_seen() {
    for (named, seen) in [(5_100, true), (5_101, false)] {
        let mut eye = after("100 w+");
        eye.wait(named);
        eye.detector.name(Tick(named), Epoch(2), 5_000, true);
        assert_eq!(eye.detector.seen_in() == Some(Epoch(2)), seen, "{named}");
    }
}

/// A fresh connection is tried once for each suspicion, and again after a pause.
#[test]
fn a_fresh_connection_is_wanted_once_for_a_silence() {
    let wants = |script: &str| {
        let eye = after(script);
        eye.detector.wants_fresh(Tick(eye.now))
    };
    assert!(!wants("100 hR, 100 w+"));
    assert!(wants("100 hR, 100 w+, 200 w-"));
    assert!(!wants("100 hR, 100 w+, 200 w-, 210 f-@205"), "it was tried");
    assert!(wants("100 hR, 100 w+, 200 w-, 210 f-@205, 300 w+, 400 w-"));
    assert!(wants("100 hR, 100 w+, 200 w-, 210 f-@205, 5000 gap"));
    assert!(!wants("100 hR, 100 w+, 200 w-, 5000 gap, 5000 f-"));
    assert!(wants("100 w+, 100 hX"), "its agent says that it exited");
    assert!(wants("100 w+, 5000 w+"), "its agent is silent");
}

#[test]
fn what_counts_against_a_primary() {
    use SightKind::*;
    for (kind, counts) in [
        (Silent, true),
        (Closed, true),
        (Wedged, true),
        (Starved, true),
        (Alive, false),
        (Overloaded, false),
        (Blind, false),
    ] {
        assert_eq!(kind.counts(), counts, "{kind:?}");
    }
}
