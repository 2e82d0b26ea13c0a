//! What replicas wrote themselves and nobody misses.

use super::*;
use crate::act::{OrderKind, orders};

fn common(holder: &str, gtids: &str) -> Command {
    Command::Common {
        cluster: cluster_id(),
        epoch: Epoch(1),
        holder: instance(holder),
        set: set(gtids),
        who: None,
    }
}

/// `p` dies; `a` and `b` report this.
fn halts_or_chooses(world: &mut World, a: &str, b: &str) -> String {
    world.silence("p:1-12");
    world.freeze(report("a", a, ""));
    world.freeze(report("b", b, ""));
    match choose(world.cluster()) {
        Ok(choice) => {
            world.must(Command::Choose(Box::new(choice.clone())));
            format!("{} for {}", choice.to, short(&choice.need))
        }
        Err(why) => why
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    }
}

#[test]
fn from_its_entry_on_it_bars_nobody_and_stands_in_no_need() {
    let (a, b) = ("p:1-20,a:1", "p:1-20,b:7");
    let mut barred = World::serving("pab", 1);
    let why = halts_or_chooses(&mut barred, a, b);
    assert!(why.starts_with("a holds errant transactions "), "{why}");

    let mut world = World::serving("pab", 1);
    let events = world.must(common("a", "a:1"));
    assert_eq!(events.len(), 1, "{events:?}");
    world.must(common("b", "b:7"));
    assert_eq!(halts_or_chooses(&mut world, a, b), "a for p:1-20");
    // What `b` holds beyond is nothing that bars it from following; `a` writes it as well.
    let state = world.committed();
    let view = state.as_ref().follows(state.get().as_ref());
    let orders = orders(&view, world.cluster());
    let follow = orders.iter().find_map(|order| match &order.get().kind {
        OrderKind::Follow { within, .. } if order.get().instance == instance("b") => Some(within),
        _ => None,
    });
    assert_eq!(follow, Some(&set("p:1-20,a:1,b:7")));
    assert_eq!(world.cluster().common, set("a:1,b:7"));
}

/// Held by as many as acknowledge, it came through the primary: whoever lacks it lacks nothing.
#[test]
fn one_that_others_hold_by_now_is_needed_of_nobody() {
    let mut world = World::serving("pabc", 2);
    world.must(common("a", "a:1"));
    world.silence("p:1-12");
    for (letter, holds) in [("a", "p:1-12,a:1"), ("b", "p:1-12,a:1"), ("c", "p:1-20")] {
        world.freeze(report(letter, holds, ""));
    }
    let choice = choose(world.cluster()).expect("somebody");
    assert_eq!(choice.need, set("p:1-12"));
    assert_eq!(
        crate::decide::check(world.cluster(), &choice),
        Vec::<String>::new()
    );
}

#[test]
fn it_is_forgotten_once_the_floor_contains_it() {
    let mut world = World::serving("pab", 1);
    world.must(common("a", "a:1"));
    assert!(world.must(common("a", "a:1")).is_empty(), "it is known");
    world.silence("p:1-12,a:1");
    world.freeze(report("a", "p:1-20,a:1", ""));
    world.freeze(report("b", "p:1-20,a:1", ""));
    promoted(&mut world);
    assert!(world.cluster().common.is_empty());
    assert!(world.cluster().floor.is_superset_of(&set("a:1")));
}

#[test]
fn what_a_primary_wrote_is_never_named_nor_anything_out_of_turn() {
    let mut world = World::serving("pab", 1);
    let why = world.refusal(common("a", "p:13,a:1"));
    assert!(why.contains("a primary of this cluster wrote"), "{why}");
    world.refusal(common("p", "a:1"));
    world.refusal(common("z", "a:1"));
    let mut later = common("a", "a:1");
    if let Command::Common { epoch, .. } = &mut later {
        *epoch = Epoch(2);
    }
    world.refusal(later);
    world.state.level = crate::record::THIRD - 1;
    let why = world.refusal(common("a", "a:1"));
    assert!(why.contains("level"), "{why}");
    world.state.level = crate::record::THIRD;
    world.silence("p:1-12");
    world.refusal(common("a", "a:1"));
}

/// Below its level, and before a write of the primary was acknowledged, the log could not take it.
#[test]
fn what_could_not_be_named_yet_is_not_asked_for() {
    let mut world = World::serving("pab", 1);
    let own = set("a:7");
    let lacks = |world: &World, level| world.cluster().lacks_common(level, &own);
    assert_eq!(lacks(&world, THIRD), own);
    assert_eq!(lacks(&world, THIRD - 1), set(""));
    promotion_of(world.cluster_mut()).acknowledged = false;
    assert_eq!(lacks(&world, THIRD), set(""));
}
