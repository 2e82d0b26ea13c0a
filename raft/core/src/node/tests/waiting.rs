//! A primary that is dead, and waits for a slot of its region; nodes of several versions.

use super::*;
use crate::node::SETTLED_REVOTE_MS;
use crate::record::FEATURE_LEVEL;
use crate::testing::many::Many;

/// `x1` of the same region is deposed and holds the one slot; `p` is dead since.
fn waiting() -> Plane {
    let mut world = world();
    world.cluster_mut().policy.promotions_max = 1;
    let mut many = Many::within(world);
    many.add("x1", |_| {});
    many.silent("x1");
    let mut plane = Plane::started(many.world);
    plane.runs(1_000);
    plane.down.insert("p");
    plane.runs(6_000);
    plane.never("deposed");
    plane
}

fn opens(plane: &mut Plane) {
    let mut many = Many::within(plane.world.clone());
    many.choose("x1");
    many.open("x1");
    plane.world = many.world;
    plane.lines.clear();
    plane.show_state();
}

#[test]
fn it_is_explained_and_votes_go_on() {
    let mut plane = waiting();
    let standing = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    assert_eq!(
        standing.waits,
        [
            "a failover is under way in x (x1), and promotions_max is 1. It goes when enough of \
             them have opened, each at the latest 60 s after its deposing; approve it by hand, or \
             wait"
        ]
    );
    plane.lines.clear();
    plane.runs(10 * SETTLED_REVOTE_MS);
    let votes = plane
        .lines
        .iter()
        .filter(|(_, line)| line.contains("votes"));
    let votes = votes.count();
    assert!(
        (30..=40).contains(&votes),
        "each node, each second: {votes}"
    );
    plane.never("closes");
}

#[test]
fn once_the_slot_is_free_it_goes_at_the_next_vote_and_that_is_soon() {
    let mut plane = waiting();
    let freed = plane.now;
    opens(&mut plane);
    plane.never("deposed");
    plane.runs(400);
    let waited_ms = plane.when("epoch 1 of p deposed") - freed;
    assert!(waited_ms <= 200, "{waited_ms} ms");
}

/// A slot that nobody gives back ends by the time that the leader logs.
#[test]
fn the_time_of_a_slot_is_logged() {
    let mut plane = waiting();
    plane.runs(70_000);
    plane.when("epoch 1 of p deposed");
}

/// What a node saw before it fell silent itself must not depose anybody later.
#[test]
fn a_voter_that_is_gone_is_asked_anew_while_it_waits() {
    let mut plane = waiting();
    let voted = plane.last("2 votes silent");
    plane.gone.insert(1);
    plane.lines.clear();
    plane.runs(6_000);
    let closed = plane.when("1 closes it: node 2 votes no more, and is asked anew");
    assert!(
        (voted + 3_020..=voted + 3_040).contains(&closed),
        "{}",
        closed - voted
    );
    let inquest = plane.world.cluster().inquest.clone().expect("asked anew");
    assert!(!inquest.votes.contains_key(&NodeId(2)));
    opens(&mut plane);
    plane.runs(400);
    plane.when("epoch 1 of p deposed");
}

// ---- feature levels

fn with_knowledge(levels: [u32; 3]) -> Plane {
    let mut plane = Plane::started(world());
    for (i, knows) in levels.into_iter().enumerate() {
        upgrade(&mut plane, i, knows);
    }
    plane
}

fn upgrade(plane: &mut Plane, i: usize, knows: u32) {
    let id = i as u64 + 1;
    let settings = NodeSettings {
        knows,
        ..NodeSettings::default()
    };
    let (incarnation, state) = (Incarnation(7 + u64::from(knows)), plane.world.committed());
    plane.nodes[i] = Node::new(NodeId(id), incarnation, settings, BTreeMap::new(), state);
    plane.tell(i, leads(id, Some(1)));
}

#[test]
fn the_level_is_raised_when_the_last_node_is_upgraded() {
    let now = FEATURE_LEVEL;
    let next = now + 1;
    let mut plane = with_knowledge([next, now, next + 1]);
    plane.runs(500);
    assert_eq!(plane.world.state.level, now);
    let told: Vec<_> = plane.world.state.knows.values().copied().collect();
    assert_eq!(told, [next, now, next + 1]);
    plane.lines.clear();
    plane.runs(2_000);
    plane.never("Announce");
    plane.never("RaiseLevel");
    plane.world.knows = next;
    upgrade(&mut plane, 1, next);
    plane.runs(500);
    assert_eq!(plane.world.state.level, next);
    plane.when(&format!("1 RaiseLevel {{ to: {next} }}"));
    plane.lines.clear();
    plane.runs(1_000);
    plane.never("RaiseLevel");
}
