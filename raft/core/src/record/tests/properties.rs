//! Limits and incidents under random interleavings of what nodes, operators and time do to several
//! clusters in two regions.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::ids::Region;
use crate::observe::Sight;
use crate::record::{Event, SLOT_MS};
use crate::testing::many::{AWAY, Many, of_incidents};

const NAMES: [&str; 6] = ["x1", "x2", "x3", "x4", "y1", "y2"];

#[derive(Clone, Debug)]
enum Step {
    Vote(usize, u64, SightKind, u64),
    Approve(usize),
    Close(usize),
    Choose(usize),
    Open(usize),
    Pass(u64),
    Priority(usize, u32),
}

/// What the planted apply does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    LimitNotAsked,
    SlotsNotCounted,
    SlotForEver,
    FreeSlotDeposes,
    IncidentForgotten,
    IncidentForEver,
}

fn step() -> impl Strategy<Value = Step> {
    let one = 0..NAMES.len();
    let kind = prop_oneof![
        5 => Just(SightKind::Silent),
        1 => Just(SightKind::Alive),
        1 => Just(SightKind::Wedged),
    ];
    prop_oneof![
        12 => (one.clone(), 1..=3_u64, kind, prop_oneof![Just(10_u64), Just(10_000)])
            .prop_map(|(one, node, kind, ms)| Step::Vote(one, node, kind, ms)),
        1 => one.clone().prop_map(Step::Approve),
        1 => one.clone().prop_map(Step::Close),
        3 => one.clone().prop_map(Step::Choose),
        3 => one.clone().prop_map(Step::Open),
        1 => (1..=2 * SLOT_MS).prop_map(Step::Pass),
        1 => (one, 0..3_u32).prop_map(|(one, priority)| Step::Priority(one, priority)),
    ]
}

fn take(many: &mut Many, step: &Step) -> Vec<Event> {
    let stands = |many: &Many, one: usize| many.get(NAMES[one]).deposition().is_none();
    match *step {
        Step::Vote(one, node, kind, for_ms) => {
            let vote = many.vote(NAMES[one], node, Sight { kind, for_ms });
            vote.unwrap_or_default()
        }
        Step::Approve(one) => many.approve(NAMES[one]).unwrap_or_default(),
        Step::Close(one) if stands(many, one) => many.close(NAMES[one]),
        Step::Choose(one) if !stands(many, one) => many.try_choose(NAMES[one]),
        Step::Open(one) if stands(many, one) => many.open(NAMES[one]),
        Step::Close(_) | Step::Choose(_) | Step::Open(_) => Vec::new(),
        Step::Pass(ms) => many.pass(ms),
        Step::Priority(one, priority) => {
            many.policy(NAMES[one], |policy| policy.priority = priority);
            Vec::new()
        }
    }
}

fn distort(mistake: Mistake, step: &Step, before: &Many, many: &mut Many) {
    let clusters = &mut many.world.state.clusters;
    match mistake {
        Mistake::LimitNotAsked => {
            if let Step::Vote(one, ..) = step
                && many.get(NAMES[*one]).waits_for_slot()
            {
                let cluster = many.world.state.cluster_mut(&NAMES[*one].into());
                cluster.expect("registered").depose(at(1), None, false);
            }
        }
        Mistake::SlotsNotCounted | Mistake::SlotForEver => {
            for (id, cluster) in clusters {
                let held = before.world.state.clusters[id].slot_ms;
                let cluster = std::sync::Arc::make_mut(cluster);
                let ended = held > 0 && cluster.slot_ms == 0;
                match mistake {
                    Mistake::SlotsNotCounted => cluster.slot_ms = 0,
                    _ if ended && cluster.serving().is_none() => cluster.slot_ms = held,
                    _ => {}
                }
            }
        }
        Mistake::FreeSlotDeposes => {
            for id in next(many) {
                many.approve(id).expect("it is dead");
            }
        }
        Mistake::IncidentForgotten => many.world.state.incidents.clear(),
        Mistake::IncidentForEver => {
            for (region, incident) in &before.world.state.incidents {
                let incidents = &mut many.world.state.incidents;
                incidents.entry(region.clone()).or_insert(incident.clone());
            }
        }
    }
}

/// Whom the next vote that finds them dead deposes, by the lines that nodes go by.
fn next(many: &Many) -> Vec<&'static str> {
    let lines = many.world.state.lines();
    let mut next = NAMES.to_vec();
    next.retain(|id| {
        let cluster = many.get(id);
        let home = cluster.home().expect("a primary");
        lines.get(home).is_some_and(|line| line.is_next(cluster))
    });
    next
}

/// Automatic failovers that have not opened: where, and since when. Kept beside the state's own
/// count.
#[derive(Default)]
struct Ledger {
    began: BTreeMap<&'static str, (Region, u64)>,
    now_ms: u64,
}

impl Ledger {
    fn note(&mut self, step: &Step, before: &Many, many: &Many) {
        if let Step::Pass(ms) = step {
            self.now_ms += ms;
        }
        for id in NAMES {
            let cluster = many.get(id);
            if cluster.serving().is_some() {
                self.began.remove(id);
            }
            let record = cluster.deposition();
            if let Some(record) = record.filter(|_| before.get(id).deposition().is_none()) {
                self.began.remove(id);
                if record.approved_by.is_none() {
                    let home = cluster.home().expect("a primary").clone();
                    self.began.insert(id, (home, self.now_ms));
                }
            }
        }
    }

    fn recent(&self, id: &str) -> Option<&Region> {
        let (home, at) = self.began.get(id)?;
        (self.now_ms - at < SLOT_MS).then_some(home)
    }

    fn under_way(&self, region: &Region) -> usize {
        let here = |id: &&'static str| self.recent(id) == Some(region);
        NAMES.into_iter().filter(here).count()
    }
}

fn run(limit: u32, steps: &[Step], mistake: Option<Mistake>) -> Result<(), TestCaseError> {
    let mut many = Many::of(&NAMES.join(" "), limit);
    for id in NAMES {
        many.policy(id, |policy| policy.min_interval_s = 0);
    }
    let mut ledger = Ledger::default();
    for step in steps {
        let before = many.clone();
        let events = take(&mut many, step);
        if let Some(mistake) = mistake {
            distort(mistake, step, &before, &mut many);
        }
        ledger.note(step, &before, &many);
        for region in ["x", "y", AWAY].map(Region::from) {
            let under_way = ledger.under_way(&region);
            prop_assert!(
                under_way <= limit as usize,
                "{under_way} at once in {region}"
            );
            incident_holds(&region, &before, &many, &events)?;
        }
        for id in NAMES {
            begins_by_a_fresh_vote(id, step, &before, &many)?;
            let automatic = ledger.began.contains_key(id);
            let kept = many.get(id).slot_ms > 0;
            let recent = ledger.recent(id).is_some();
            prop_assert!(!automatic || kept == recent, "{id} keeps its slot: {kept}");
        }
        prop_assert_eq!(many.world.state.violations(), Vec::<String>::new());
    }
    Ok(())
}

fn incident_holds(
    region: &Region,
    before: &Many,
    many: &Many,
    events: &[Event],
) -> Result<(), TestCaseError> {
    let state = &many.world.state;
    let mut clusters = state.clusters.values();
    let suspected = clusters.any(|one| state.suspects(one, region));
    let (was, open) = (
        before.world.state.incidents.contains_key(region),
        state.incidents.contains_key(region),
    );
    prop_assert!(suspected || !open, "an incident outlived its cause");
    prop_assert!(open || !was || !suspected, "an incident ended too early");
    let said = of_incidents(events);
    let begun = format!("incident in {region}:");
    let ended = format!("incident in {region} has ended");
    let turns = said
        .iter()
        .filter(|it| it.contains(&begun) || it.contains(&ended));
    prop_assert_eq!(turns.count(), usize::from(was != open), "{:?}", said);
    Ok(())
}

fn begins_by_a_fresh_vote(
    id: &str,
    step: &Step,
    before: &Many,
    many: &Many,
) -> Result<(), TestCaseError> {
    let deposed = |many: &Many| many.get(id).deposition().is_some();
    let begins = deposed(many) && !deposed(before);
    let of_it = |one: usize| NAMES[one] == id;
    let voted = matches!(step, Step::Vote(one, ..) if of_it(*one));
    let approved = matches!(step, Step::Approve(one) if of_it(*one));
    prop_assert!(!begins || voted || approved, "{id} was deposed by {step:?}");
    let passed_over = voted && !begins && next(before).contains(&id);
    let waits = many.get(id).waits_for_slot();
    prop_assert!(!(passed_over && waits), "{id} was next, and did not go");
    Ok(())
}

fn holds(mistake: Option<Mistake>) -> Result<(), String> {
    let config = Config {
        cases: 256,
        failure_persistence: None,
        ..Config::default()
    };
    let cases = (1..=3_u32, vec(step(), 1..80));
    let mut runner = match mistake {
        None => TestRunner::new(config),
        // The same cases each time: what finds a mistake once finds it always.
        Some(_) => {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, rng)
        }
    };
    runner
        .run(&cases, |(limit, steps)| run(limit, &steps, mistake))
        .map_err(|why| why.to_string())
}

#[test]
fn limits_and_incidents_hold_whatever_happens() {
    holds(None).expect("no law is broken");
}

#[test]
fn each_planted_mistake_breaks_a_law() {
    let table = [
        (Mistake::LimitNotAsked, "at once in"),
        (Mistake::SlotsNotCounted, "keeps its slot: false"),
        (Mistake::SlotForEver, "keeps its slot: true"),
        (Mistake::FreeSlotDeposes, "was deposed by"),
        (Mistake::IncidentForgotten, "fell silent together"),
        (Mistake::IncidentForEver, "outlived its cause"),
    ];
    for (mistake, expected) in table {
        let found = holds(Some(mistake)).expect_err("a broken law");
        assert!(found.contains(expected), "{mistake:?}: {found}");
    }
}
