//! Starved, in tables. One letter per voter: `S` starved, `T` starved for too short, the rest as
//! above. One letter per acker, as every voter that says Starved has it:
//!
//! ```text
//! w waits in vain   u waits, too short   n does something else   h hears   _ unreached
//! ```

use super::super::Verdict::{self, Dead, Standing, Starved, Undecided, Wedged};
use proptest::prelude::*;

use super::*;
use crate::observe::{ReplicaSeen, Starvation};

fn starvation(letters: &str, policy: &Policy) -> Starvation {
    let seen = letters.chars().zip('a'..).filter_map(|(letter, name)| {
        let deaf_ms = match letter {
            'w' => Some(policy.starved_sustain_ms),
            'u' => Some(policy.starved_sustain_ms - 1),
            'n' | 'h' => None,
            '_' => return None,
            other => panic!("no such acker: {other}"),
        };
        let seen = ReplicaSeen {
            deaf_ms,
            ..ReplicaSeen::default()
        };
        Some((instance(&name.to_string()), seen))
    });
    Starvation {
        probe_ms: policy.starved_sustain_ms,
        replicas: seen.collect(),
    }
}

/// What `heard` makes of the same letters: one that waits heard nothing lately.
fn deaf(letters: &str) -> String {
    letters.replace(['w', 'u', 'n'], "l")
}

fn cast(policy: &Policy, letter: char, node: u64, ackers: &str) -> Option<Vote> {
    let for_ms = match letter {
        'S' => policy.starved_sustain_ms,
        'T' => policy.starved_sustain_ms - 1,
        other => {
            let sight = sight(other, policy)?;
            return Some(Vote {
                reached: heard(&deaf(ackers), policy),
                ..vote(node, sight.kind, sight.for_ms)
            });
        }
    };
    Some(Vote {
        reached: heard(&deaf(ackers), policy),
        starvation: Some(Box::new(starvation(ackers, policy))),
        ..vote(node, SightKind::Starved, for_ms)
    })
}

/// Voters in a region each, who all say the same of the ackers.
fn starving(voters: &str, ackers: &str, k: usize) -> Case {
    let mut case = case(&"_".repeat(voters.len())).ackers(&deaf(ackers), k);
    for (letter, node) in voters.chars().zip(1..) {
        if let Some(cast) = cast(&case.policy, letter, node, ackers) {
            assert!(case.inquest.take(&cast));
        }
    }
    case
}

#[track_caller]
fn check(voters: &str, ackers: &str, k: usize, expected: Verdict) {
    starving(voters, ackers, k).is(expected);
}

#[test]
fn a_majority_of_all_voters_from_two_regions_must_see_it() {
    let seen = |voters, expected| check(voters, "ww", 1, expected);
    seen("SSS", Starved);
    seen("SS_", Starved);
    seen("SSa", Starved);
    seen("S__", Undecided);
    seen("Saa", Standing);
    seen("ST_", Undecided);
    seen("TTa", Undecided);
    seen("Taa", Standing);
    seen("SSbaa", Undecided);
    // Three findings: none helps another to a majority.
    seen("Ssa", Standing);
    seen("Swa", Standing);
    seen("Ss_", Undecided);
    seen("Sss", Dead);
    seen("Sww", Wedged);
    starving("SS_", "ww", 1).regions("xxy").is(Undecided);
    starving("SSa", "ww", 1).regions("xxy").is(Standing);
    starving("SSa", "ww", 1).regions("xxx").is(Starved);
}

#[test]
fn so_many_ackers_must_wait_in_vain_that_fewer_than_k_are_left() {
    let ackers = |letters, k, expected| check("SSS", letters, k, expected);
    ackers("ww", 1, Starved);
    ackers("wwh", 2, Starved);
    ackers("whh", 3, Starved);
    ackers("wh", 1, Undecided);
    ackers("wu", 1, Undecided);
    // One that stands still for a reason of its own would fare no better with another primary.
    ackers("wn", 1, Undecided);
    ackers("w_", 1, Undecided);
    ackers("__", 1, Undecided);
    starving("SSS", "ww", 1).strangers(1).is(Undecided);
    starving("SSS", "www", 2).strangers(1).is(Starved);
}

/// An acker that was restarted, or whose receiver was just started, counts from then.
#[test]
fn one_observer_that_knows_better_outweighs_those_that_do_not() {
    let second_says = |letters: &str, expected| {
        let mut case = starving("SS_", "ww", 1);
        let told = starvation(letters, &case.policy);
        case.vote(2).starvation = Some(Box::new(told));
        case.is(expected);
    };
    second_says("ww", Starved);
    second_says("w_", Starved);
    second_says("wu", Undecided);
    second_says("wn", Undecided);
    // Nor one that votes otherwise, and knows that an acker hears.
    let mut case = starving("SSa", "ww", 1);
    let reached = heard("lh", &case.policy);
    case.vote(3).reached = reached;
    case.is(Undecided);
}

#[test]
fn it_starves_of_nothing_before_a_write_was_acknowledged() {
    let mut case = starving("SSS", "ww", 1);
    case.acknowledged = false;
    let judged = case.judge();
    assert_eq!(judged.verdict, Standing);
    assert!(judged.findings.contains(&Finding::NeverAcknowledged));
}

#[test]
fn it_says_what_was_demanded_and_what_was_found() {
    let judged = starving("ST_", "wwh", 2).judge();
    let found: Vec<String> = judged.findings.iter().map(ToString::to_string).collect();
    let short = "node 2: it gathers no acknowledgement for 4999 ms, 5000 are demanded";
    assert!(found.iter().any(|words| words == short), "{found:?}");
    let judged = starving("SS_", "wwh", 2).judge();
    assert_eq!(judged.threshold_ms, 5_000);
    let counts = |judged: &Judgement| {
        let strangers = judged.findings.iter().filter_map(|of| match of {
            Finding::Strangers { count } => Some(*count),
            _ => None,
        });
        strangers.collect::<Vec<_>>()
    };
    assert_eq!(counts(&judged), Vec::<usize>::new());
    let with_two = starving("SS_", "wwh", 2).strangers(2).judge();
    assert_eq!(counts(&with_two), [2]);
    let found: Vec<String> = judged.findings.iter().map(ToString::to_string).collect();
    for words in [
        "2 of 3 nodes saw it gather no acknowledgement for 5000 ms; 2 must",
        "2 ackers have waited for it in vain for long enough; 2 must",
    ] {
        assert!(found.iter().any(|found| found == words), "{found:?}");
    }
}

// ---- against a naive reading of the rule

fn any_starving() -> impl Strategy<Value = Case> {
    let letters = ['S', 'S', 'T', 's', 'a', 'b', 'w', '_'];
    let one_vote = (
        prop::sample::select(letters.to_vec()),
        prop::collection::vec(prop::sample::select(vec!['w', 'w', 'u', 'n', 'h', '_']), 4),
    );
    (
        prop::collection::vec(one_vote, 1..=5),
        prop::collection::vec(prop::sample::select(vec!["x", "y"]), 5),
        1_usize..=4,
        1_usize..=4,
        0_usize..=1,
        prop::bool::weighted(0.9),
    )
        .prop_map(|(votes, regions, members, k, strangers, acknowledged)| {
            let mut case = case(&"_".repeat(votes.len()));
            case = case.ackers(&"_".repeat(members), k.min(members));
            case.regions = regions[..votes.len()].concat();
            (case.strangers, case.acknowledged) = (strangers, acknowledged);
            for (node, (letter, ackers)) in (1..).zip(votes) {
                let ackers: String = ackers[..members].iter().collect();
                if let Some(cast) = cast(&case.policy, letter, node, &ackers) {
                    assert!(case.inquest.take(&cast));
                }
            }
            case
        })
}

/// The law of Starved, read word by word.
fn starved_by_the_book(case: &Case) -> bool {
    let votes: Vec<_> = case.inquest.votes.values().collect();
    let enough_ms = case.policy.starved_sustain_ms;
    let saw: Vec<_> = votes
        .iter()
        .filter(|vote| vote.sight.kind == SightKind::Starved && vote.sight.for_ms >= enough_ms)
        .collect();
    let region = |node: NodeId| case.regions.as_bytes()[node.0 as usize - 1];
    let spanned: BTreeSet<u8> = case.regions.bytes().collect();
    let regions: BTreeSet<u8> = saw.iter().map(|vote| region(vote.node)).collect();
    let in_vain = case.ackers.iter().filter(|id| {
        let told: Vec<_> = votes
            .iter()
            .filter_map(|vote| vote.starvation.as_ref()?.replicas.get(*id))
            .collect();
        let hears = votes.iter().any(|vote| {
            let heard_ms = vote.reached.get(*id).and_then(|seen| seen.heard_ms);
            heard_ms.is_some_and(|ms| ms <= case.policy.replica_stale_ms)
        });
        let waits = told
            .iter()
            .all(|seen| seen.deaf_ms.is_some_and(|ms| ms >= enough_ms));
        !told.is_empty() && waits && !hears
    });
    let left = case.ackers.len() + case.strangers - in_vain.count();
    case.acknowledged
        && saw.len() * 2 > case.regions.len()
        && (spanned.len() < 2 || regions.len() >= 2)
        && left < case.k
}

proptest! {
    #[test]
    fn starved_is_what_the_book_says(case in any_starving()) {
        let judged = case.judge();
        prop_assert_eq!(judged.verdict == Starved, starved_by_the_book(&case), "{:?}", judged);
    }
}
