//! What the leader makes of one that was chosen and stalls.

use super::*;
use crate::act::ProcessId;
use crate::observe::Stuck;
use crate::record::Backlog;

fn run() -> ProcessId {
    ProcessId {
        boot: "host".into(),
        pid: 1,
        started: 7,
    }
}

/// `a` is chosen for epoch 2; the reports of `b` say this.
fn chosen(of_b: Backlog) -> Plane {
    chosen_of(world(), [("b", of_b), ("a", Backlog::default())].to_vec())
}

fn chosen_of(world: World, reports: Vec<(&str, Backlog)>) -> Plane {
    let mut plane = Plane::new(world);
    plane.down.insert("p");
    plane.runs(4_000);
    for (letter, backlog) in reports {
        let report = FreezeReport {
            agent: Some(run()),
            backlog,
            ..report(letter, "p:1-12", "p:13-20")
        };
        plane.tell(0, reply(1, letter, Said::Frozen { report }));
    }
    plane.runs(100);
    plane.when("1 chooses");
    assert_eq!(plane.world.cluster().primary, instance("a"));
    plane.lines.clear();
    plane
}

/// Frozen anew.
fn again(letter: &str) -> NodeInput {
    let report = report(letter, "p:1-12", "p:13-20");
    in_epoch(2, reply(1, letter, Said::Frozen { report }))
}

fn stalls(plane: &mut Plane) {
    for beat_number in 1..=3u64 {
        let stuck = Stuck {
            epoch: Epoch(2),
            for_ms: 3_000,
            why: "it applies nothing".into(),
            unopened: Some(run()),
        };
        let mut beat = beat("a", 1_000_000 + beat_number);
        beat.stuck = Some(stuck);
        plane.tell(0, heard(Box::new(beat)));
        plane.now += STEP_MS;
        plane.tell(0, NodeInput::Tick);
    }
}

#[test]
fn it_is_withdrawn_where_another_is_expected_to_do_better() {
    let mut plane = chosen(Backlog::default());
    stalls(&mut plane);
    plane.when("1 withdraws a");
    let cluster = plane.world.cluster();
    assert_eq!(cluster.stage_name(), "primary deposed");
    // Its fence alone can say that it never began to open.
    plane.tell(0, again("b"));
    plane.runs(1_500);
    plane.never("1 chooses");
    let report = FenceReport::Confirmed {
        final_set: set("p:1-12"),
        received: set("p:13-20"),
        server_uuid: uuid("a"),
        unacknowledged: false,
        mysqld: None,
        broken: [].into(),
    };
    let said = Said::Fenced {
        report,
        undurable: false,
        unopened: Some(run()),
    };
    plane.tell(0, in_epoch(2, reply(1, "a", said)));
    plane.runs(100);
    plane.when("1 chooses b");
}

/// Its answer alone can say that it never began to open: for two seconds that is worth more than haste.
#[test]
fn the_fence_of_one_that_was_withdrawn_is_waited_for_a_while() {
    let reports = ["c", "b", "a"].map(|letter| (letter, Backlog::default()));
    let mut plane = chosen_of(World::serving("pabc", 2), reports.to_vec());
    stalls(&mut plane);
    plane.when("1 withdraws a");
    let withdrawn = plane.now;
    plane.tell(0, again("b"));
    plane.tell(0, again("c"));
    plane.runs(3_000);
    let waited_ms = plane.when("1 chooses b") - withdrawn;
    assert!((1_900..=2_040).contains(&waited_ms), "{waited_ms} ms");
}

fn held() -> Backlog {
    Backlog {
        expected_ms: 0,
        held: Some("its applier has stopped: 1062".into()),
    }
}

/// `b`, which was held, has applied this by now.
fn applied(plane: &mut Plane, executed: &str) {
    let mut beat = beat("b", 1_000_000);
    (beat.executed, beat.received) = (set(executed), set(executed));
    let beat = Box::new(beat);
    plane.tell(0, heard(beat));
}

/// One that would not be chosen is no reason to withdraw another: that would be chosen again, and
/// withdrawn again, without end.
#[test]
fn whoever_has_caught_up_is_judged_as_it_will_be() {
    let mut plane = chosen(held());
    applied(&mut plane, "p:1-20");
    stalls(&mut plane);
    plane.when("1 withdraws a");
    let mut plane = chosen(held());
    applied(&mut plane, "p:1-20,b:1");
    stalls(&mut plane);
    plane.never("1 withdraws a");
}

#[test]
fn it_is_waited_for_where_nobody_is_and_that_is_said() {
    let mut plane = chosen(held());
    stalls(&mut plane);
    plane.never("1 withdraws a");
    let standing = plane.nodes[0].standing(&cluster_id()).expect("it leads");
    let said = standing.waits.join("; ");
    let expected = "a has made no progress toward epoch 2 for 3000 ms (it applies nothing), and \
                    nobody else qualifies";
    assert!(said.contains(expected), "{said}");
}

/// What one that was chosen is doing, each in words of its own.
#[test]
fn what_is_waited_for_before_it_opens_is_said() {
    let said = |bend: &dyn Fn(&mut Heartbeat)| {
        let mut plane = chosen(Backlog::default());
        let mut beat = beat("a", 1_000_000);
        beat.role = Role::Frozen(Epoch(1));
        beat.executed = set("p:1-20");
        bend(&mut beat);
        let beat = Box::new(beat);
        plane.tell(0, heard(beat));
        plane.tell(0, NodeInput::Tick);
        plane.standing().waits.join("; ")
    };
    assert!(said(&|_| {}).contains("a is to open for epoch 2: its agent opens it;"));
    let applies = said(&|beat| beat.executed = set("p:1-12"));
    assert!(applies.contains("it has yet to apply"), "{applies}");
    assert!(applies.contains(":13-20;"), "{applies}");
    let starts = said(&|beat| beat.word.says = MysqldWord::Starting);
    assert!(starts.contains("its mysqld is not up"), "{starts}");
    let mut plane = chosen(Backlog::default());
    plane.down.insert("a");
    plane.runs(3_000);
    let waits = plane.standing().waits.join("; ");
    assert!(waits.contains("its agent is not heard"), "{waits}");
}

/// Whose sessions were ended on it is recorded once, by the word of an agent that has its order.
#[test]
fn whose_sessions_were_ended_is_recorded_once() {
    let recorded = |epoch: Option<u64>, freed: &[&str], level: u32| {
        let mut plane = chosen(Backlog::default());
        plane.at_level(level);
        for number in 1..=5 {
            let mut beat = beat("a", 1_000_000 + number);
            beat.token = epoch.map(|epoch| token(epoch, 1));
            beat.freed = freed.iter().map(|who| (*who).to_owned()).collect();
            let beat = Box::new(beat);
            plane.tell(0, heard(beat));
            plane.runs(STEP_MS);
        }
        plane.times("1 Freed")
    };
    use crate::record::{FEATURE_LEVEL, THIRD};
    assert_eq!(recorded(Some(2), &["app@%"], FEATURE_LEVEL), 1);
    assert_eq!(recorded(Some(2), &["app@%"], THIRD), 1);
    assert_eq!(recorded(Some(2), &["app@%"], THIRD - 1), 0);
    assert_eq!(recorded(Some(1), &["app@%"], FEATURE_LEVEL), 0);
    assert_eq!(recorded(None, &["app@%"], FEATURE_LEVEL), 0);
    assert_eq!(recorded(Some(2), &[], FEATURE_LEVEL), 0);
}
