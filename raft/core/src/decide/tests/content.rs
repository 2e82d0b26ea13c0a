//! What must be there: of what the frozen tell, what the next primary needs.

use super::*;

#[test]
fn received_counts_not_executed() {
    let ahead = [("a", "p:1-12", "p:13-20"), ("b", "p:1-15", "")];
    frozen("pab", 1, &ahead, "a for p:1-20");
    let behind = [("a", "p:1-12", ""), ("b", "p:1-12", "p:13")];
    frozen("pab", 1, &behind, "b for p:1-13");
    // Equal in what they hold: the one that has applied more opens sooner.
    let even = [("a", "p:1-12", "p:13-20"), ("b", "p:1-19", "p:20")];
    frozen("pab", 1, &even, "b for p:1-20");
    // An idle primary is replaceable.
    let idle = [("a", "p:1-12", ""), ("b", "p:1-12", "")];
    frozen("pab", 1, &idle, "a for p:1-12");
}

#[test]
fn everything_needed_or_nothing() {
    // What a node saw executed is needed, though no report has it.
    let lost = [("a", "p:1-11", ""), ("b", "p:1-11", "")];
    frozen("pab", 1, &lost, "a lacks p:12; b lacks p:12");
    // A gap: the highest number says nothing.
    let gap = [("a", "p:1-11,p:13-20", ""), ("b", "p:1-12", "")];
    frozen("pab", 2, &gap, "b for p:1-12");
}

#[test]
fn errant_is_neither_chosen_nor_needed() {
    let errant = [
        ("a", "p:1-20,a:1", ""),
        ("b", "p:1-20", ""),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &errant, "b for p:1-20");
    let both = [("a", "p:1-20,a:1-2", ""), ("b", "p:1-12,b:7", "")];
    frozen(
        "pab",
        1,
        &both,
        "a holds errant transactions a:1-2; b holds errant transactions b:7",
    );
    // Held by two, it came through replication.
    let shared = [("a", "p:1-12,z:1", ""), ("b", "p:1-12", "z:1")];
    frozen("pab", 1, &shared, "a for p:1-12,z:1");
    // The deposed primary's own are never errant, though one alone received them.
    let own = [("a", "p:1-12", "p:13-20"), ("b", "p:1-12", "")];
    frozen("pab", 1, &own, "a for p:1-20");
}

#[test]
fn one_that_never_replicated_from_this_primary_adds_nothing() {
    for from in [None, Some(instance("z"))] {
        let mut world = deposed("pabc", 1);
        world.freeze(report("a", "p:1-15", ""));
        world.freeze(report("b", "p:1-12", ""));
        world.freeze(FreezeReport {
            replicated_from: from,
            ..report("c", "p:1-12,p:16-30", "")
        });
        // It counts among the frozen all the same: without it, two of three are too few.
        assert_eq!(told(&world), "a for p:1-15");
    }
}

#[test]
fn one_that_left_this_primary_tells_what_it_held_then() {
    let beyond = |left: Option<&str>, unknown: bool| {
        let mut world = deposed("pabc", 1);
        world.freeze(report("a", "p:1-15", ""));
        world.freeze(report("b", "p:1-12", ""));
        let left = left.map(|text| (instance("p"), set(text)));
        let left_unknown = unknown.then(|| instance("p"));
        world.freeze(FreezeReport {
            replicated_from: Some(instance("z")),
            left: left.into_iter().collect(),
            left_unknown: left_unknown.into_iter().collect(),
            ..report("c", "p:1-18,p:20-30", "")
        });
        told(&world)
    };
    assert_eq!(beyond(None, false), "a for p:1-15");
    // Acknowledged to the one before, and fetched by nobody yet.
    assert_eq!(beyond(Some("p:1-18"), false), "c for p:1-18");
    // A memory that had no room is no memory.
    assert!(beyond(None, true).starts_with("the loss would be unknown: 2 of 3 ackers needed"));
}

#[test]
fn one_unsatisfiable_report_does_not_block() {
    let odd = [
        ("a", "p:1-12,p:14", ""),
        ("b", "p:1-13", ""),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &odd, "a for p:1-12");
    // Where every report is needed, it does.
    let odd = [("a", "p:1-12,p:14", ""), ("b", "p:1-13", "")];
    frozen("pab", 1, &odd, "a lacks p:13; b lacks p:14");
}

#[test]
fn an_exit_proves_silence_but_not_content() {
    let mut world = deposed("pab", 1);
    world.exit();
    world.freeze(report("a", "p:1-20", ""));
    assert!(told(&world).starts_with("1 of 2 ackers needed are frozen"));
    world.freeze(report("b", "p:1-12", ""));
    assert_eq!(told(&world), "a for p:1-20");
}

/// What one of three received of k = 2 nobody was ever told: it bars nobody, now or later.
#[test]
fn what_too_few_hold_is_not_needed() {
    let one = [
        ("a", "p:1-12", "p:13-20"),
        ("b", "p:1-12", ""),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &one, "a for p:1-12");
    let two = [
        ("a", "p:1-12", "p:13-20"),
        ("b", "p:1-12", "p:13-15"),
        ("c", "p:1-12", ""),
    ];
    frozen("pabc", 2, &two, "a for p:1-15");
    // With one of them unheard it may hold what the others hold alone.
    frozen("pabc", 2, &two[..2], "a for p:1-20");
    // The one that received most is preferred, and its host is lost: the others hold all that was
    // ever answered, and the floor does not say otherwise.
    let mut world = deposed("pabc", 2);
    for (letter, executed, received) in one {
        world.freeze(report(letter, executed, received));
    }
    let choice = choose(world.cluster()).expect("a");
    world.must(Command::Choose(Box::new(choice)));
    assert_eq!(world.cluster().floor, set("p:1-12"));
}

#[test]
fn a_final_set_stands_in_only_where_too_few_can_tell() {
    let mut world = deposed("pabc", 2);
    // What waited for an acknowledgement was committed when its client was cut off.
    world.confirm("p:1-14");
    assert_eq!(told(&world), "p for p:1-14");
    for letter in ["a", "b"] {
        world.freeze(report(letter, "p:1-13", ""));
    }
    assert_eq!(told(&world), "p for p:1-13");
}

fn forgetful(letter: &str, executed: &str) -> FreezeReport {
    FreezeReport {
        forgot: Some("its relay log was reset".into()),
        ..report(letter, executed, "")
    }
}

#[test]
fn one_that_forgot_is_silent_and_tells_nothing() {
    let mut world = deposed("pabc", 2);
    world.freeze(report("a", "p:1-12", ""));
    world.freeze(forgetful("b", "p:1-12"));
    assert_eq!(
        told(&world),
        "the loss would be unknown: 1 of 2 ackers needed tell all that they ever acknowledged; \
         what the others forgot is not known: b: its relay log was reset; the policy allows none. \
         Raise `max_loss`, or approve it by name: `primacy approve --max-loss any`"
    );
    world.freeze(report("c", "p:1-14", ""));
    assert_eq!(
        told(&world),
        "c for p:1-14",
        "what a and c hold, either one"
    );
    // The checker takes no word of it either.
    let mut choice = choose(world.cluster()).expect("c");
    assert_eq!(check(world.cluster(), &choice), Vec::<String>::new());
    choice.need = set("p:1-12");
    assert!(!check(world.cluster(), &choice).is_empty());
    // What it loses after its first report changes nothing.
    let mut world = deposed("pab", 1);
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    world.freeze(forgetful("b", "p:1-11"));
    assert_eq!(told(&world), "a for p:1-20");
    // Nor does it remember again.
    let mut world = deposed("pab", 1);
    world.freeze(forgetful("a", "p:1-20"));
    world.freeze(report("a", "p:1-20", ""));
    world.freeze(report("b", "p:1-12", ""));
    assert!(told(&world).starts_with("the loss would be unknown"));
}
