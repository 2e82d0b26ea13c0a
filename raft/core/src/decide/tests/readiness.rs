//! What would become of a failover now: `a`, or why nobody.

use super::super::{Known, Readiness, readiness};
use super::*;
use crate::policy::Automation;

fn told(found: &Readiness) -> String {
    assert_eq!(found.ready, found.why.is_empty());
    match &found.next {
        Some(next) if found.ready => next.to_string(),
        _ => {
            let mut text = found.why.join("; ");
            for letter in 'a'..='z' {
                let letter = letter.to_string();
                text = text.replace(&uuid(&letter).to_string(), &letter);
            }
            text
        }
    }
}

/// The ackers that are heard: their letters, and what each executed and received.
fn known(reports: &[(&str, &str, &str)]) -> Known {
    let each = reports
        .iter()
        .map(|(letter, executed, received)| (instance(letter), report(letter, executed, received)));
    Known {
        frozen: each.collect(),
        ground_age_ms: Some(100),
        ..Known::default()
    }
}

const EVEN: [(&str, &str, &str); 2] = [("a", "p:1-12", ""), ("b", "p:1-12", "")];

#[test]
fn the_next_one_is_who_would_be_chosen() {
    let world = World::serving("pab", 1);
    assert_eq!(told(&readiness(world.cluster(), known(&EVEN))), "a");
    let ahead = [("a", "p:1-12", ""), ("b", "p:1-12", "p:13-14")];
    assert_eq!(told(&readiness(world.cluster(), known(&ahead))), "b");
    assert!(world.cluster().promotion().is_some(), "nothing was deposed");
}

#[test]
fn why_not_is_said_as_a_failover_would_say_it() {
    let world = World::serving("pab", 1);
    let not = |known| told(&readiness(world.cluster(), known));
    let one = not(known(&EVEN[..1]));
    assert!(one.starts_with("1 of 2 ackers needed are frozen; waiting for one of b"));
    let own = [("a", "p:1-12,a:1", ""), ("b", "p:1-12,b:1", "")];
    assert_eq!(
        not(known(&own)),
        "a holds errant transactions a:1; b holds errant transactions b:1"
    );
    let unseen = Known {
        ground_age_ms: None,
        ..known(&EVEN)
    };
    assert!(not(unseen).starts_with("the loss would be unknown: no node had looked"));
    // A word that is older than the others' lacks nothing that they told before it.
    let mut skewed = known(&[("a", "p:1-12", ""), ("b", "p:1-11", "p:12-14")]);
    assert_eq!(told(&readiness(world.cluster(), skewed.clone())), "b");
    skewed.newest.insert(instance("a"), set("p:1-14"));
    skewed.held = [(instance("b"), "its applier has stopped".into())].into();
    assert_eq!(told(&readiness(world.cluster(), skewed)), "a");
    // Who cannot open is ranked last, and holds everything up where nobody else qualifies.
    let held = |letters: &str| Known {
        held: instances(letters)
            .into_iter()
            .map(|id| (id, "its applier has stopped".to_owned()))
            .collect(),
        ..known(&EVEN)
    };
    assert_eq!(
        readiness(world.cluster(), held("a")).next,
        Some(instance("b"))
    );
    let held = held("ab");
    assert_eq!(
        not(held),
        "a would be next, and could not open: its applier has stopped"
    );
}

#[test]
fn what_is_fetched_first_is_no_obstacle() {
    let mut registration = registration("pab", 1);
    let spec = registration.instances.get_mut(&instance("b")).expect("b");
    spec.promotion = PromotionRule::Never;
    let world = World::serving_as(registration);
    let behind = [("a", "p:1-12", ""), ("b", "p:1-14", "")];
    assert_eq!(told(&readiness(world.cluster(), known(&behind))), "a");
}

#[test]
fn nobody_to_replace_is_not_ready() {
    let world = deposed("pab", 1);
    let found = told(&readiness(world.cluster(), known(&EVEN)));
    assert_eq!(
        found,
        "primary deposed: nobody serves that could be replaced"
    );
}

#[test]
fn who_must_agree_is_told_apart() {
    let waits = |bend: fn(&mut World)| {
        let mut world = World::serving("pab", 1);
        bend(&mut world);
        let found = readiness(world.cluster(), known(&EVEN));
        assert!(found.ready, "what it waits for is no obstacle");
        found.waits.join("; ")
    };
    assert_eq!(waits(|_| {}), "");
    let advise = |world: &mut World| world.cluster_mut().policy.automation = Automation::Advise;
    assert_eq!(waits(advise), "an operator's approval");
    let rests = |world: &mut World| world.cluster_mut().rest_ms = 90_500;
    assert_eq!(
        waits(rests),
        "the end of min_interval_s, 91 s from now, or an approval"
    );
}

#[test]
fn a_primary_that_has_proved_nothing_is_not_ready_to_be_replaced() {
    let mut world = World::serving("pab", 1);
    let promotion = crate::testing::promotion_of(world.cluster_mut());
    promotion.acknowledged = false;
    let found = told(&readiness(world.cluster(), known(&EVEN)));
    assert_eq!(found, "p is to open, and has no acknowledged write yet");
}

#[test]
fn who_must_agree_is_told_also_where_nobody_qualifies() {
    let mut world = World::serving("pab", 1);
    world.cluster_mut().policy.automation = Automation::Advise;
    let own = [("a", "p:1-12,a:1", ""), ("b", "p:1-12,b:1", "")];
    let found = readiness(world.cluster(), known(&own));
    assert!(!found.ready);
    assert_eq!(found.waits, ["an operator's approval"]);
}
