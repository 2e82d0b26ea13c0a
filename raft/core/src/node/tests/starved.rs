//! A primary that lives and gathers no acknowledgement.

use super::*;
use crate::observe::{IoThread, Path};
use crate::testing::instances;

/// Replication alone is cut: everybody reaches everybody else.
#[derive(Clone, Copy)]
pub struct Cut {
    /// When the receivers lost the primary, and its oldest write was sent.
    since: u64,
    /// Whose receivers.
    ackers: &'static str,
    /// Why nobody can log in at the others; empty if all can.
    error: &'static str,
    /// How long before each beat that was tried.
    tried_ms: u64,
}

impl Cut {
    pub fn shows(&self, now: u64, host: &str, beat: &mut Heartbeat) {
        let for_ms = now.saturating_sub(self.since);
        if host == "p" {
            beat.unacknowledged_ms = Some(for_ms);
            return;
        }
        for to in instances("ab").into_iter().filter(|to| to.as_str() != host) {
            let path = Path {
                tried_ms: self.tried_ms,
                error: self.error.into(),
            };
            beat.paths.insert(to, path);
        }
        if self.ackers.contains(host) {
            let replica = beat.replica.as_mut().expect("a replica");
            replica.io = IoThread::Connecting;
            replica.heartbeats = 0;
            replica.waits_ms = Some(for_ms);
        }
    }
}

fn cut(plane: &mut Plane) -> &mut Cut {
    let since = plane.now;
    plane.starves.insert(Cut {
        since,
        ackers: "ab",
        error: "",
        tried_ms: 100,
    })
}

fn waits(plane: &Plane) -> String {
    let standing = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    standing.waits.join("; ")
}

#[test]
fn it_is_replaced_when_the_time_is_up() {
    let mut plane = Plane::new(world());
    cut(&mut plane);
    let begun = plane.now;
    plane.runs(6_000);
    let opened = plane.when("1 opens an inquest") - begun;
    let deposed = plane.when("epoch 1 of p deposed") - begun;
    assert!((2_400..=2_800).contains(&opened), "{opened} ms");
    assert!((4_900..=5_400).contains(&deposed), "{deposed} ms");
    assert_eq!(
        plane.said(),
        [
            "1 opens an inquest",
            "1 votes starved",
            "verdict on p: Undecided",
            "2 votes starved",
            "3 votes starved",
            "verdict on p: Starved",
            "epoch 1 of p deposed",
            // Side by side: nothing waits for the fence.
            "order a freeze",
            "order b freeze",
            "order p fence",
        ]
    );
}

#[test]
fn one_acker_that_is_left_is_enough_to_live_on() {
    let mut plane = Plane::new(world());
    cut(&mut plane).ackers = "a";
    plane.runs(10_000);
    assert_eq!(plane.said(), Vec::<String>::new());
}

/// A stranger that acknowledges may be one of the k, as long as nobody has seen its end.
#[test]
fn while_a_stranger_may_acknowledge_it_does_not_starve() {
    let mut plane = Plane::new(world());
    let ground = &mut plane.world.cluster_mut().ground;
    ground.strangers.insert(uuid("z"));
    plane.show_state();
    cut(&mut plane);
    plane.runs(8_000);
    plane.never("votes starved");
}

/// What every commit waits for now and then is no starvation, whoever asks.
#[test]
fn a_short_wait_is_voted_alive() {
    let mut plane = Plane::new(world());
    cut(&mut plane);
    plane.runs(200);
    plane.gone.extend([1, 2]);
    plane.world.open_inquest();
    plane.show_state();
    plane.runs(400);
    plane.when("1 votes alive");
}

/// It is waved through as a silence is: until the write that waits is another one.
#[test]
fn what_an_operator_aborted_is_not_asked_again_while_the_same_write_waits() {
    let mut world = world();
    world.cluster_mut().policy.automation = Automation::Advise;
    let mut plane = Plane::new(world);
    cut(&mut plane);
    plane.runs(6_000);
    plane.when("verdict on p: Starved");
    plane.aborted();
    plane.lines.clear();
    plane.runs(10_000);
    plane.never("opens an inquest");
    plane.starves.as_mut().expect("cut").since = plane.now;
    plane.runs(4_000);
    plane.when("1 opens an inquest");
}

#[test]
fn a_write_that_is_not_sent_starves_of_nothing() {
    let mut plane = Plane::new(world());
    let long_ago = cut(&mut plane).since;
    for _ in 0..20 {
        // Each is acknowledged after half a second.
        plane.runs(500);
        plane.starves.as_mut().expect("cut").since = plane.now;
    }
    assert!(plane.now - long_ago >= 10_000);
    assert_eq!(plane.said(), Vec::<String>::new());
}

#[test]
fn nothing_is_moved_where_nobody_would_fare_better() {
    let mut plane = Plane::new(world());
    cut(&mut plane).error = "account locked";
    plane.runs(8_000);
    assert!(plane.said().contains(&"verdict on p: Starved".to_owned()));
    plane.never("deposed");
    assert_eq!(
        waits(&plane),
        "halted: no candidate would fare better: too few ackers can log in there with the \
         replication account (a needs 1, b cannot; b needs 1, a cannot). Mend the network between \
         them, or the account; the primary stays"
    );
    plane.starves.as_mut().expect("cut").error = "";
    plane.runs(2_000);
    assert!(plane.said().contains(&"epoch 1 of p deposed".to_owned()));
}

/// After a death too: whoever could gather no acknowledgement is no choice while another qualifies.
#[test]
fn who_could_not_be_followed_is_chosen_after_the_others() {
    for (error, chosen) in [("", "a"), ("account locked", "b")] {
        let mut plane = Plane::new(World::serving("pabc", 1));
        plane.bend = Box::new(move |host, beat| {
            let others = instances("abc").into_iter();
            for to in others.filter(|to| host != "p" && to.as_str() != host) {
                let shut = to.as_str() == "a";
                let path = Path {
                    tried_ms: 100,
                    error: if shut { error } else { "" }.into(),
                };
                beat.paths.insert(to, path);
            }
        });
        plane.down.insert("p");
        plane.runs(4_000);
        for letter in ["a", "b", "c"] {
            plane.tell(0, frozen(letter, "p:1-20"));
        }
        plane.runs(200);
        assert_eq!(plane.world.cluster().primary, instance(chosen), "{error:?}");
    }
}

#[test]
fn a_path_that_was_tried_before_the_write_was_sent_proves_nothing() {
    let mut plane = Plane::new(world());
    cut(&mut plane).tried_ms = 60_000;
    plane.runs(8_000);
    plane.never("deposed");
    let waits = waits(&plane);
    assert!(waits.contains("is not known yet"), "{waits}");
}

#[test]
fn until_every_node_knows_of_it_it_is_alive() {
    let mut plane = Plane::new(world());
    // Node 3 is of the version before, and could not read such a vote.
    plane.gone.insert(2);
    plane.world.state.level = 2;
    plane.world.state.knows.insert(NodeId(3), 2);
    plane.show_state();
    cut(&mut plane);
    plane.runs(8_000);
    plane.never("votes starved");
    plane.never("deposed");
}

#[test]
fn before_its_first_write_was_acknowledged_it_is_not_asked() {
    let mut world = World::of("xyz");
    world.found(registration("pab", 1));
    world.must(opened(1, "p"));
    let mut plane = Plane::started(world);
    plane.runs(1_000);
    cut(&mut plane);
    plane.runs(8_000);
    plane.never("deposed");
}

/// What the agents of V are told, so that they can try their paths.
#[test]
fn members_of_v_are_told_who_may_be_next() {
    let mut world = world();
    let rule = |world: &mut World, letter: &str, rule| {
        let spec = world.cluster_mut().instances.get_mut(&instance(letter));
        spec.expect("registered").promotion = rule;
    };
    rule(&mut world, "b", PromotionRule::Never);
    let mut node = node(1, &world, &[]);
    node.handle(Tick(1_000), leads(1, Some(1)));
    let mut told = |host: &str| {
        let beat = Box::new(beat(host, 1));
        let input = heard(beat);
        let out = node.handle(Tick(1_010), input);
        let named = out.into_iter().find_map(|output| match output {
            NodeOutput::Acknowledge {
                acknowledgement, ..
            } => acknowledgement.named,
            _ => None,
        });
        let named = named.expect("it leads");
        let ids = named.addresses.into_iter();
        ids.map(|(id, (host, port))| format!("{id} at {host}:{port}"))
            .collect::<Vec<_>>()
    };
    let both = ["a at a.example:3306", "p at p.example:3306"];
    assert_eq!(told("a"), both);
    assert_eq!(
        told("b"),
        both,
        "it may not be next, and may have to follow"
    );
    assert_eq!(told("p"), Vec::<String>::new());
}

/// One that never served starves nobody, and who does not know the level could not read the vote.
#[test]
fn it_is_asked_about_where_it_served_and_everybody_understands() {
    let voted = |bend: &dyn Fn(&mut Plane)| {
        let mut plane = Plane::new(world());
        bend(&mut plane);
        plane.show_state();
        cut(&mut plane);
        plane.runs(4_000);
        plane.times("1 votes starved") > 0
    };
    assert!(voted(&|_| {}));
    assert!(!voted(&|plane| {
        plane.at_level(crate::record::THIRD - 1);
    }));
    assert!(!voted(&|plane| {
        let promotion = promotion_of(plane.world.cluster_mut());
        promotion.acknowledged = false;
    }));
}
