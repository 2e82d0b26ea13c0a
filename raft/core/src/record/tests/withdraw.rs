//! What becomes of an epoch whose choice is taken back.

use super::*;
use crate::act::ProcessId;
use crate::decide::{Choice, LossBound};
use crate::record::{Ackers, Backlog};
use crate::testing::promotion_of;

fn run(started: u64) -> ProcessId {
    ProcessId {
        boot: "host".into(),
        pid: 1,
        started,
    }
}

fn by(letter: &str, holds: &str, agent: u64) -> FreezeReport {
    FreezeReport {
        agent: Some(run(agent)),
        ..report(letter, holds, "")
    }
}

/// `p` is dead, `a` was chosen by the report of its agent's run 7, and is not open yet.
fn chosen(letters: &str, k: u32) -> World {
    let mut world = World::serving(letters, k);
    world.silence("p:1-12");
    for letter in letters.chars().skip(1) {
        world.freeze(by(&letter.to_string(), "p:1-20", 7));
    }
    promoted(&mut world);
    assert_eq!(world.cluster().primary, instance("a"));
    world
}

fn withdraw(letter: &str) -> Command {
    Command::Withdraw {
        cluster: cluster_id(),
        epoch: Epoch(2),
        instance: instance(letter),
        why: "it applies nothing".into(),
    }
}

/// `a` answers its fence; `unopened`: by the run that says that it never began to open.
fn shut(unopened: Option<u64>) -> Command {
    let report = FenceReport::Confirmed {
        final_set: set("p:1-20"),
        received: GtidSet::default(),
        server_uuid: uuid("a"),
        unacknowledged: false,
        mysqld: None,
        broken: [].into(),
    };
    match fenced(2, "a", report) {
        Command::Fence {
            cluster,
            epoch,
            instance,
            report,
            ..
        } => Command::Fence {
            cluster,
            epoch,
            instance,
            report,
            unopened: unopened.map(run),
        },
        other => other,
    }
}

/// Everybody but `a` is frozen for epoch 2, following whom they followed then.
fn frozen_again(world: &mut World, letters: &str) {
    for letter in letters.chars() {
        world.freeze(by(&letter.to_string(), "p:1-20", 7));
    }
}

fn next(world: &World) -> Choice {
    choose(world.cluster()).expect("a candidate")
}

fn ackers(letters: &str, k: u32) -> Ackers {
    Ackers {
        members: instances(letters),
        k,
    }
}

#[test]
fn it_is_deposed_like_any_other() {
    let mut world = chosen("pabc", 2);
    let events = world.must(withdraw("a"));
    assert_eq!(events[0].kind, EventKind::Withdrawn);
    let what = "a is withdrawn before it opened for epoch 2: it applies nothing";
    assert_eq!(events[0].what, what);
    assert_eq!(stage(&world), "epoch 2, primary deposed");
    let record = world.cluster().deposition().unwrap();
    assert_eq!(record.judgement.verdict, Verdict::Stuck);
    assert!(record.frozen.is_empty(), "all of them are asked anew");
    // The word proves nothing: V is {b, c}, and k 1.
    let waits = choose(world.cluster()).unwrap_err()[0].to_string();
    assert!(
        waits.starts_with("0 of 2 ackers needed are frozen"),
        "{waits}"
    );
}

#[test]
fn only_what_has_not_opened_is_taken_back() {
    let mut world = chosen("pab", 1);
    let why = world.refusal(withdraw("b"));
    assert!(why.contains("not at that stage"), "{why}");
    world.must(opened(2, "a"));
    let why = world.refusal(withdraw("a"));
    assert!(why.contains("not at that stage"), "{why}");
    // A founding has nobody else.
    let mut world = World::of("xyz");
    world.found(registration("pab", 1));
    let why = world.refusal(Command::Withdraw {
        cluster: cluster_id(),
        epoch: Epoch(1),
        instance: instance("p"),
        why: String::new(),
    });
    assert!(why.contains("not at that stage"), "{why}");
}

#[test]
fn one_that_never_began_to_open_stays_in_v_and_adds_nothing_to_the_need() {
    let mut world = chosen("pabc", 2);
    assert_eq!(world.cluster().ackers, ackers("bc", 1));
    world.must(withdraw("a"));
    world.must(shut(Some(7)));
    frozen_again(&mut world, "bc");
    let choice = next(&world);
    assert_eq!(choice.to, instance("b"));
    assert_eq!(short(&choice.need), "p:1-20");
    assert_eq!(choice.ackers, ackers("ac", 1));
    assert_eq!(choice.loss, LossBound::Zero);
    world.must(Command::Choose(Box::new(choice)));
    assert!(!world.cluster().left_behind.contains(&instance("a")));
    assert!(world.cluster().left_behind.contains(&instance("p")));
}

/// Whatever its followers hold beyond, nobody was answered for it.
#[test]
fn what_was_written_under_one_that_never_began_to_open_is_not_needed() {
    let mut world = chosen("pabc", 2);
    world.must(withdraw("a"));
    world.must(shut(Some(7)));
    for letter in ["b", "c"] {
        world.freeze(FreezeReport {
            replicated_from: Some(instance("a")),
            ..by(letter, "p:1-20,a:1", 7)
        });
    }
    assert_eq!(short(&next(&world).need), "p:1-20");
}

#[test]
fn one_that_may_have_opened_is_a_former_primary() {
    // No word of it; or of a run that began after the choice, whose file may be an older one.
    for said in [None, Some(8)] {
        let mut world = chosen("pabc", 2);
        world.must(withdraw("a"));
        world.must(shut(said));
        frozen_again(&mut world, "bc");
        let choice = next(&world);
        assert_eq!(choice.ackers, ackers("c", 1), "{said:?}");
        world.must(Command::Choose(Box::new(choice)));
        assert!(world.cluster().left_behind.contains(&instance("a")));
    }
}

#[test]
fn as_many_may_be_missing_as_before_the_first_choice() {
    // Four of V, one needed: three may be missing, and V' of three still needs one. Three needed:
    // one may be missing, and V' needs two.
    for (v, k, k_next) in [("abcd", 1, 1), ("abcd", 3, 2), ("abcde", 2, 1)] {
        let mut world = chosen(&format!("p{v}"), k);
        assert_eq!(world.cluster().ackers, ackers(&v[1..], k_next));
        world.must(withdraw("a"));
        world.must(shut(Some(7)));
        assert_eq!(world.cluster().inherited(), ackers(v, k));
        frozen_again(&mut world, &v[1..]);
        let again = next(&world);
        assert_eq!(again.ackers, ackers(&format!("a{}", &v[2..]), k_next));
        world.must(Command::Choose(Box::new(again)));
    }
}

#[test]
fn nobody_else_means_the_same_again() {
    let mut world = chosen("pab", 1);
    world.must(withdraw("a"));
    world.must(shut(Some(7)));
    world.freeze(FreezeReport {
        marked: Some("its GTIDs were reset".into()),
        ..by("b", "p:1-20", 7)
    });
    let choice = next(&world);
    let why = "a is tried again, since nobody else qualifies; it stalled before";
    assert!(choice.why[0].starts_with(why), "{:?}", choice.why);
    assert_eq!((choice.to, choice.ackers), (instance("a"), ackers("b", 1)));
}

#[test]
fn what_could_be_missing_on_the_first_could_be_on_the_next() {
    let mut world = chosen("pabc", 2);
    promotion_of(world.cluster_mut()).choice.loss = LossBound::Unknown;
    world.must(withdraw("a"));
    world.must(shut(Some(7)));
    // Not all have been heard: nobody is tried again yet.
    frozen_again(&mut world, "b");
    let waits = choose(world.cluster()).unwrap_err();
    let why = waits.iter().map(ToString::to_string).collect::<String>();
    assert!(
        why.contains("unknown already on the one whose choice"),
        "{why}"
    );
    frozen_again(&mut world, "c");
    let choice = next(&world);
    assert_eq!(
        (choice.to.as_str(), &choice.loss),
        ("a", &LossBound::Unknown)
    );
    world.must(Command::Choose(Box::new(choice)));
}

#[test]
fn an_approval_covers_it_and_whom_it_names_until_that_one_stalls() {
    let mut world = chosen("pabc", 2);
    let promotion = promotion_of(world.cluster_mut());
    let after = promotion.after.as_mut().unwrap();
    after.approval.to = Some(instance("a"));
    after.approval.errant = set("b:1");
    after.approved_by = Some("dba".into());
    world.must(withdraw("a"));
    let record = world.cluster().deposition().unwrap();
    assert_eq!(record.approval.to, None);
    assert_eq!(short(&record.approval.errant), "b:1");
    assert_eq!(record.approved_by.as_deref(), Some("dba"));
}

/// A withdrawal has no votes of its own: what those of the first deposing told of the region and of
/// the ground stands for the next choice too.
#[test]
fn what_the_first_votes_told_is_carried_on() {
    for (region_fails, ground_age_ms) in [(true, Some(70)), (false, None)] {
        let mut world = chosen("pabc", 2);
        let promotion = promotion_of(world.cluster_mut());
        let after = promotion.after.as_mut().unwrap();
        (after.region_fails, after.ground_age_ms) = (region_fails, ground_age_ms);
        world.must(withdraw("a"));
        let record = world.cluster().deposition().unwrap();
        let told = (record.region_fails, record.ground_age_ms);
        assert_eq!(told, (region_fails, ground_age_ms));
    }
}

#[test]
fn how_soon_one_is_expected_to_open_comes_before_any_preference() {
    let held = Backlog {
        expected_ms: 0,
        held: Some("nothing of 3 transactions for 1200 ms".into()),
    };
    let slow = |expected_ms| Backlog {
        expected_ms,
        held: None,
    };
    let table = [
        (slow(0), slow(0), slow(0), "a", ""),
        // Within the time in which none counts as stalled.
        (slow(3_000), slow(0), slow(0), "a", ""),
        (slow(9_000), slow(0), slow(0), "b", ""),
        (
            slow(9_000),
            held.clone(),
            slow(8_000),
            "c",
            "; has 8000 ms to apply",
        ),
        (
            held.clone(),
            held.clone(),
            slow(90_000),
            "c",
            "; has 90000 ms to apply",
        ),
        (
            held.clone(),
            held.clone(),
            held.clone(),
            "a",
            "; applies nothing: nothing of 3 transactions for 1200 ms",
        ),
    ];
    for (of_a, of_b, of_c, chosen, told) in table {
        let mut world = World::serving("pabc", 2);
        world.silence("p:1-12");
        for (letter, backlog) in [("a", of_a), ("b", of_b), ("c", of_c)] {
            world.freeze(FreezeReport {
                backlog,
                ..report(letter, "p:1-20", "")
            });
        }
        let choice = next(&world);
        assert_eq!(choice.to, instance(chosen), "{:?}", choice.why);
        assert!(choice.why[0].ends_with(told), "{:?}", choice.why);
    }
}

#[test]
fn whose_sessions_were_ended_is_recorded_once() {
    let mut world = chosen("pab", 1);
    let freed = |who: &[&str]| Command::Freed {
        cluster: cluster_id(),
        epoch: Epoch(2),
        instance: instance("a"),
        ended: who.iter().map(|who| (*who).to_owned()).collect(),
    };
    let said: Vec<_> = world.must(freed(&["ended session 9 of backup@h"]));
    assert_eq!(said[0].what, "a: ended session 9 of backup@h");
    assert_eq!(world.must(freed(&["ended session 9 of backup@h"])), []);
    let two = ["ended session 9 of backup@h", "ended session 10 of x@h"];
    assert_eq!(world.must(freed(&two)).len(), 1);
}

#[test]
fn a_plane_of_an_earlier_level_takes_nothing_back() {
    let mut world = chosen("pab", 1);
    world.state.level = SECOND;
    let why = world.refusal(withdraw("a"));
    assert!(why.contains("came with feature level 3"), "{why}");
}

/// A member of V that had not reported by then, and has all that is needed now, is as good as one that
/// had.
#[test]
fn who_caught_up_since_may_be_next() {
    let mut world = World::serving("pabc", 2);
    world.silence("p:1-12");
    for letter in ["a", "b"] {
        world.freeze(by(letter, "p:1-20", 7));
    }
    promoted(&mut world);
    let next = |unheard: &str, caught_up: &[(&str, &str)]| {
        let caught_up = caught_up
            .iter()
            .map(|(letter, holds)| (instance(letter), by(letter, holds, 7)))
            .collect();
        let unheard = instances(unheard);
        crate::decide::successor(world.cluster(), None, &unheard, &caught_up)
    };
    assert_eq!(next("", &[]), Some(instance("b")));
    assert_eq!(next("b", &[]), None);
    assert_eq!(next("b", &[("c", "p:1-20")]), Some(instance("c")));
    assert_eq!(next("b", &[("c", "p:1-19")]), None);
    assert_eq!(next("bc", &[("c", "p:1-20")]), None);
}

/// Only the run of its agent that was chosen can say that it never began to open.
#[test]
fn whoever_stalls_acknowledges_to_the_next_only_by_the_word_of_the_run_that_was_chosen() {
    let mut world = World::serving("pab", 1);
    world.silence("p:1-12");
    for letter in ["a", "b"] {
        world.freeze(by(letter, "p:1-20", 7));
    }
    promoted(&mut world);
    let next = |unopened: Option<u64>| {
        let (unopened, nobody) = (unopened.map(run), instances(""));
        let caught_up = Default::default();
        crate::decide::successor(world.cluster(), unopened.as_ref(), &nobody, &caught_up)
    };
    assert_eq!(next(Some(7)), Some(instance("b")));
    assert_eq!(next(Some(8)), None);
    assert_eq!(next(None), None);
}
