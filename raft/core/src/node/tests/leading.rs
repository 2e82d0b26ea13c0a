//! What the leader makes of answers, and what it orders.

use super::*;
use crate::observe::{Fault, GroundWord, SightKind};

#[test]
fn answers_become_commands() {
    let mut plane = deposed();
    plane.tell(1, frozen("a", "p:1-12"));
    plane.runs(40);
    plane.never("records a frozen");
    plane.tell(0, frozen("a", "p:1-12"));
    plane.runs(40);
    plane.when("1 records a frozen");
    plane.lines.clear();
    plane.runs(1_000);
    plane.never("order a");
    let why = "waiting for b".to_owned();
    plane.tell(0, reply(1, "b", Said::Refused { why: why.clone() }));
    let standing = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    assert_eq!(standing.refused[&instance("b")], why);
    assert!(
        standing.waits[0].starts_with("1 of 2 ackers needed are frozen"),
        "{standing:?}"
    );
    plane.when("order b freeze");
}

#[test]
fn orders_are_repeated_until_the_log_shows_their_effect() {
    let mut plane = deposed();
    plane.runs(1_000);
    let times = plane
        .lines
        .iter()
        .filter(|(_, line)| line == "order a freeze")
        .count();
    assert!((3..=4).contains(&times), "every 250 ms: {times}");
}

#[test]
fn whoever_was_pointed_elsewhere_is_ordered_to_follow_again() {
    let mut plane = Plane::new(world());
    plane.runs(1_000);
    plane.never("order a");
    plane.elsewhere.insert("a");
    plane.runs(1_000);
    plane.when("order a follow");
    plane.never("order b");
    // Under `automation: off` it is left where a person put it.
    let mut left = Plane::new(world());
    left.world.cluster_mut().policy.automation = Automation::Off;
    left.show_state();
    left.elsewhere.insert("a");
    left.runs(1_000);
    left.never("order a");
}

/// When a choice is proposed, after so many of the ackers `a`, `b`, `c` answered; k = 2.
fn chosen_after(answers: &[&str]) -> Option<u64> {
    let mut plane = Plane::new(World::serving("pabc", 2));
    plane.down.insert("p");
    plane.runs(4_000);
    plane.lines.clear();
    let asked = plane.now;
    for letter in answers {
        plane.tell(0, frozen(letter, "p:1-12"));
    }
    plane.runs(400);
    let found = plane
        .lines
        .iter()
        .find(|(_, line)| line.starts_with("1 chooses"));
    found.map(|(when, _)| when - asked)
}

#[test]
fn the_plan_waits_a_grace_for_the_rest() {
    assert_eq!(chosen_after(&["a"]), None, "two are needed");
    let with_grace = chosen_after(&["a", "b"]).expect("two are enough");
    let at_once = chosen_after(&["a", "b", "c"]).expect("all are there");
    assert!(at_once < with_grace, "{at_once} ms, {with_grace} ms");
    // The bound of 20 ms, and the answers' own way through the outbox.
    assert!((20..=140).contains(&with_grace), "{with_grace} ms");
}

/// Where the old primary's own word is all that tells the content, those who could tell it better are
/// given longer than those who could only add to enough.
#[test]
fn an_old_primarys_confirmed_set_alone_waits_for_its_ackers() {
    let chosen_after = |answers: &[&str]| {
        let mut plane = Plane::new(World::serving("pabcd", 2));
        plane.down.insert("p");
        plane.runs(4_000);
        // It comes back, and is closed.
        plane.down.remove("p");
        plane.runs(200);
        plane.lines.clear();
        let asked = plane.now;
        plane.tell(0, fenced("p", confirmed(false)));
        for letter in answers {
            plane.tell(0, frozen(letter, "p:1-12"));
        }
        plane.runs(1_000);
        plane.when("1 chooses") - asked
    };
    let alone = chosen_after(&["a", "b"]);
    assert!((500..=640).contains(&alone), "{alone} ms");
    let told = chosen_after(&["a", "b", "c"]);
    assert!((20..=140).contains(&told), "{told} ms");
}

/// It answers and cannot write: the fence that it does not answer either is waited for as long as a
/// silence must last, and given up once.
#[test]
fn the_fence_of_what_is_wedged_is_given_up() {
    let mut world = world();
    world.votes(SightKind::Wedged, "p:1-12");
    assert!(world.cluster().deposition().is_some());
    let sustain_ms = world.cluster().policy.sustain_ms;
    let mut plane = Plane::started(world);
    plane.runs(sustain_ms - 200);
    plane.never("Unheard");
    plane.runs(2_000);
    let said = plane.lines.iter();
    let times = said.filter(|(_, line)| line.starts_with("1 Unheard"));
    assert_eq!(times.count(), 1);
}

/// `a` may be promoted and lacks what `b` and `c` hold, who must never be.
fn with_two_donors() -> Plane {
    let mut registration = registration("pabc", 1);
    for letter in ["b", "c"] {
        let spec = registration.instances.get_mut(&instance(letter)).unwrap();
        spec.promotion = PromotionRule::Never;
    }
    let mut plane = Plane::new(World::serving_as(registration));
    plane.down.insert("p");
    plane.runs(4_000);
    plane.lines.clear();
    for (letter, executed) in [("a", "p:1-12"), ("b", "p:1-14"), ("c", "p:1-14")] {
        plane.tell(0, frozen(letter, executed));
    }
    plane
}

#[test]
fn what_is_missing_is_fetched_then_the_choice_is_made() {
    let mut plane = with_two_donors();
    plane.runs(400);
    plane.when("1 has a fetch from b");
    plane.when("order a fetch");
    let standing = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    assert!(
        standing.waits[0].starts_with("a fetches ") && standing.waits[0].ends_with(" from b"),
        "{standing:?}"
    );
    plane.never("chooses");
    // Stays with one donor while there is hope, and another leader with it.
    plane.led_by(Some(2));
    plane.lines.clear();
    plane.runs(5_000);
    plane.when("order a fetch");
    plane.never("has a fetch");
    plane.tell(1, frozen("a", "p:1-14"));
    plane.runs(400);
    plane.when("2 chooses a");
}

#[test]
fn a_donor_that_does_not_give_is_left_for_another() {
    let mut plane = with_two_donors();
    plane.runs(9_000);
    let times = |plane: &Plane, donor: &str| {
        let line = format!("1 has a fetch from {donor}");
        plane.lines.iter().filter(|(_, said)| *said == line).count()
    };
    assert_eq!((times(&plane, "b"), times(&plane, "c")), (1, 0));
    plane.runs(3_000);
    assert_eq!((times(&plane, "b"), times(&plane, "c")), (1, 1));
    plane.runs(11_000);
    assert_eq!(
        (times(&plane, "b"), times(&plane, "c")),
        (2, 1),
        "round again"
    );
}

#[test]
fn a_closed_primary_reopens_when_k_hold_what_it_has() {
    let reopened_if = |executed: &str, for_ms: u64, bend: fn(&mut Heartbeat)| {
        let mut plane = Plane::new(world());
        plane.down.insert("p");
        plane.runs(200);
        for _ in 0..for_ms / 100 {
            for i in 0..3 {
                let mut closed = beat("p", plane.beats + 1);
                closed.word = word(
                    plane.beats + 1,
                    2,
                    MysqldWord::Running { answered_ms_ago: 0 },
                );
                (closed.role, closed.replica) = (Role::Closed, None);
                closed.opened = Some(Epoch(1));
                closed.executed = set(executed);
                bend(&mut closed);
                let beat = Box::new(closed);
                plane.tell(i, heard(beat));
            }
            plane.runs(100);
        }
        plane.said().contains(&"1 lets p reopen".to_owned())
    };
    let reopened = |executed, for_ms| reopened_if(executed, for_ms, |_| {});
    assert!(reopened("p:1-12", 800));
    assert!(!reopened("p:1-12", 300), "an opening in hand looks alike");
    let others: [fn(&mut Heartbeat); 4] = [
        |beat| beat.word.says = MysqldWord::Starting,
        |beat| beat.server_uuid = Some(uuid("z")),
        |beat| beat.fenced = false,
        |beat| beat.role = Role::Open(Epoch(1)),
    ];
    for (nth, bend) in others.into_iter().enumerate() {
        assert!(!reopened_if("p:1-12", 800, bend), "{nth}: it is not closed");
    }
    assert!(!reopened("p:1-13", 800), "nobody else has it");
}

#[test]
fn an_adopted_floor_needs_k_that_hold_it() {
    // Beats of `a` and `b` hold p:1-12. The answer of a primary that does not wait proves nothing.
    let recorded = |floor: &str| {
        let mut world = World::of("xyz");
        world.found(Registration {
            founding: Founding::Adopted,
            ..registration("pab", 1)
        });
        world.must(opened(1, "p"));
        let mut plane = Plane::started(world);
        plane.runs(300);
        let floor = set(floor);
        plane.tell(0, reply(1, "p", Said::Acknowledged { floor }));
        plane.runs(40);
        plane
            .said()
            .contains(&"1 records the first write".to_owned())
    };
    assert!(recorded("p:1-12"));
    assert!(!recorded("p:1-13"));
}

#[test]
fn the_rest_is_logged_in_portions() {
    let mut world = world();
    world.cluster_mut().rest_ms = 12_000;
    let mut plane = Plane::started(world);
    plane.runs(20_000);
    assert_eq!(plane.world.cluster().rest_ms, 0);
    let portions = plane
        .lines
        .iter()
        .filter(|(_, line)| line.contains("logs"))
        .count();
    assert_eq!(portions, 3, "{:?}", plane.lines);
}

// ---- one proposal at a time

#[test]
fn what_did_not_get_through_is_asked_again() {
    let mut world = World::serving("pab", 1);
    world.silence("p:1-12");
    let mut node = node(1, &world, &[]);
    node.handle(Tick(0), leads(1, Some(1)));
    node.handle(Tick(0), NodeInput::Applied(world.committed()));
    let mut propose = |now: u64, input: NodeInput| {
        let outputs = node.handle(Tick(now), input);
        outputs.into_iter().find_map(|output| match output {
            NodeOutput::Propose(proposal) => Some(proposal),
            _ => None,
        })
    };
    let first = propose(10, frozen("a", "p:1-12")).expect("proposed");
    assert_eq!(propose(20, frozen("b", "p:1-12")), None, "one is in flight");
    let ended = |end| NodeInput::Proposed {
        seq: first.seq,
        end,
    };
    let second = propose(30, ended(ProposalEnd::NoLeader));
    assert_eq!(second, None, "a moment's rest");
    let second = propose(60, NodeInput::Tick).expect("what waited");
    assert!(second.seq > first.seq, "a key of its own");
    let third = propose(
        70,
        NodeInput::Proposed {
            seq: second.seq,
            end: ProposalEnd::Unknown,
        },
    );
    assert_eq!(third, None, "the agents say it again");
    let again = propose(80, frozen("a", "p:1-12")).expect("at once");
    assert!(again.seq > second.seq);
}

#[test]
fn a_node_that_hears_no_majority_confirms_nothing() {
    let world = world();
    let mut node = node(1, &world, &[]);
    let mut named = |hears_majority| {
        let leads = Leads {
            leader: None,
            me: false,
            hears_majority,
        };
        node.handle(Tick(0), NodeInput::Leads(leads));
        let beat = Box::new(beat("p", 1));
        let outputs = node.handle(Tick(10), heard(beat));
        outputs.into_iter().find_map(|output| match output {
            NodeOutput::Acknowledge {
                acknowledgement, ..
            } => Some(acknowledgement.named),
            _ => None,
        })
    };
    assert_eq!(named(false), Some(None));
    let told = named(true).flatten().expect("its cluster is known");
    assert_eq!(
        (told.epoch, told.instance, told.deposed),
        (Epoch(1), instance("p"), false)
    );
}

/// An agent's beat, with some delay.
const BEAT_MS: u64 = 120;

#[test]
fn a_stranger_that_comes_again_is_logged_anew() {
    let mut plane = Plane::new(world());
    let mut after = |number: u64, since: u64, caught_up: Option<&str>| {
        let mut beat = plane.beat_of("p");
        beat.word.beat = number;
        beat.ground = GroundWord {
            strangers: [uuid("z")].into_iter().filter(|_| since > 0).collect(),
            since,
            caught_up: caught_up.map(set),
            ..GroundWord::default()
        };
        let beat = Box::new(beat);
        plane.beat();
        plane.tell(0, heard(beat));
        plane.now += BEAT_MS;
        plane.tell(0, NodeInput::Tick);
        let ground = &plane.world.cluster().ground;
        (ground.strangers.len(), ground.told.1)
    };
    assert_eq!(after(100, 0, None), (0, 0), "nothing to say");
    assert_eq!(after(101, 101, None), (1, 101));
    assert_eq!(after(102, 101, None), (1, 101), "that is in the log");
    // That V has caught up may be on its way since word 103: a newer one must overtake it.
    assert_eq!(after(104, 104, None), (1, 104));
    assert_eq!(after(105, 104, None), (1, 104), "once");
    // What the ackers do not hold by their own agents' word is not settled.
    assert_eq!(after(106, 104, Some("p:1-13")), (1, 104));
    assert_eq!(after(107, 104, Some("p:1-12")), (0, 107));
    assert_eq!(after(108, 104, Some("p:1-12")), (0, 107), "it is over");
}

#[test]
fn what_a_node_sees_broken_stands_until_the_agent_knows_and_v_has_caught_up() {
    let mut plane = Plane::new(world());
    let seen = Seen {
        ground: Some(SourceGround {
            timeout_ms: 1_000,
            ..SourceGround::ordered(1)
        }),
        ..plane.seen("p")
    };
    let input = NodeInput::Pulse {
        instance: instance("p"),
        probe: Probe::Warm,
        begun: Tick(plane.now),
        pulse: Pulse::Answered { fenced: false },
        seen: Some(Box::new(seen)),
    };
    plane.tell(1, input);
    plane.tell(1, NodeInput::Tick);
    let broken = |plane: &Plane| plane.world.cluster().ground.broken.clone();
    assert_eq!(broken(&plane), [Fault::Timeout].into());
    let mut after = |number: u64, knows: bool| {
        let mut beat = plane.beat_of("p");
        beat.word.beat = number;
        beat.ground = GroundWord {
            broken: [Fault::Timeout].into_iter().filter(|_| knows).collect(),
            since: if knows { 102 } else { 0 },
            caught_up: Some(set("p:1-12")),
            ..GroundWord::default()
        };
        let beat = Box::new(beat);
        plane.beat();
        plane.tell(0, heard(beat));
        plane.now += BEAT_MS;
        plane.tell(0, NodeInput::Tick);
        broken(&plane).len()
    };
    // Its marker may be older than what the node saw.
    assert_eq!(after(101, false), 1);
    // Told anew, then settled.
    assert_eq!(after(102, true), 1);
    assert_eq!(after(103, true), 0);
}
