//! Tables. One letter per voter:
//!
//! ```text
//! s silent   t silent, too short   c closed   w wedged   u wedged, too short
//! a alive    o overloaded          b blind    _ no vote  x silent, in another inquest
//! ```
//!
//! One letter per acker: `d` deaf, `l` lost its connection, `h` hears, `_` unreached.

mod book;
mod starved;

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict::{Dead, Isolated, Standing, Undecided, Wedged};
use super::{Bench, Finding, Inquest, Judgement, Verdict, Vote, blocking, judge};
use crate::ids::{Epoch, Incarnation, InquestId, InstanceId, NodeId, Region, Seq};
use crate::observe::{MysqldWord, Reached, Sight, SightKind, Word};
use crate::policy::Policy;
use crate::testing::{at, instance, set, vote, word};

const EXITED: MysqldWord = MysqldWord::Exited;
const RUNNING: MysqldWord = MysqldWord::Running { answered_ms_ago: 0 };

#[derive(Debug)]
struct Case {
    regions: String,
    inquest: Inquest,
    ackers: BTreeSet<InstanceId>,
    k: usize,
    strangers: usize,
    mysqld: Option<Incarnation>,
    at_home: BTreeSet<InstanceId>,
    acknowledged: bool,
    policy: Policy,
}

fn sight(letter: char, policy: &Policy) -> Option<Sight> {
    let (kind, for_ms) = match letter {
        's' | 'x' => (SightKind::Silent, policy.sustain_ms),
        't' => (SightKind::Silent, policy.sustain_ms - 1),
        'c' => (SightKind::Closed, policy.sustain_ms),
        'w' => (SightKind::Wedged, policy.wedged_sustain_ms),
        'u' => (SightKind::Wedged, policy.wedged_sustain_ms - 1),
        'a' => (SightKind::Alive, 60_000),
        'o' => (SightKind::Overloaded, 60_000),
        'b' => (SightKind::Blind, 60_000),
        '_' => return None,
        other => panic!("no such voter: {other}"),
    };
    Some(Sight { kind, for_ms })
}

fn heard(letters: &str, policy: &Policy) -> BTreeMap<InstanceId, Reached> {
    let seen = letters.chars().zip('a'..).filter_map(|(letter, name)| {
        let heard_ms = match letter {
            'd' => Some(policy.replica_stale_ms + 1),
            'h' => Some(policy.replica_stale_ms),
            'l' => None,
            '_' => return None,
            other => panic!("no such acker: {other}"),
        };
        let reached = Reached {
            heard_ms,
            ..Reached::default()
        };
        Some((instance(&name.to_string()), reached))
    });
    seen.collect()
}

/// Voters as letters, a region each; two ackers, deaf, of whom a write needs one.
fn case(voters: &str) -> Case {
    let policy = Policy::default();
    let mut inquest = Inquest::new(InquestId(1), Epoch(1), at(7));
    for (letter, node) in voters.chars().zip(1..) {
        let Some(sight) = sight(letter, &policy) else {
            continue;
        };
        let cast = Vote {
            inquest: InquestId(if letter == 'x' { 2 } else { 1 }),
            ..vote(node, sight.kind, sight.for_ms)
        };
        assert_eq!(inquest.take(&cast), letter != 'x');
    }
    Case {
        regions: "xyzvw"[..voters.len()].into(),
        inquest,
        ackers: BTreeSet::new(),
        k: 1,
        strangers: 0,
        mysqld: None,
        at_home: BTreeSet::from([instance("a"), instance("b")]),
        acknowledged: true,
        policy,
    }
    .ackers("dd", 1)
}

impl Case {
    fn regions(mut self, regions: &str) -> Self {
        self.regions = regions.into();
        self
    }

    /// What every voter that voted says of the ackers `a`, `b`, …
    fn ackers(mut self, letters: &str, k: usize) -> Self {
        self.ackers = ('a'..)
            .take(letters.len())
            .map(|c| instance(&c.to_string()))
            .collect();
        self.k = k;
        let seen = heard(letters, &self.policy);
        for vote in self.inquest.votes.values_mut() {
            vote.reached = seen.clone();
        }
        self
    }

    /// What one voter says of them.
    fn sees(mut self, node: u64, letters: &str) -> Self {
        let seen = heard(letters, &self.policy);
        self.vote(node).reached = seen;
        self
    }

    fn strangers(mut self, count: usize) -> Self {
        self.strangers = count;
        self
    }

    fn lasting(mut self, node: u64, for_ms: u64) -> Self {
        self.vote(node).sight.for_ms = for_ms;
        self
    }

    fn says(mut self, node: u64, word: Word) -> Self {
        self.vote(node).word = Some(word);
        self
    }

    fn home(mut self, letters: &str) -> Self {
        self.at_home = crate::testing::instances(letters);
        self
    }

    fn vote(&mut self, node: u64) -> &mut Vote {
        self.inquest.votes.get_mut(&NodeId(node)).expect("voted")
    }

    fn judge(&self) -> Judgement {
        let voters: BTreeMap<NodeId, Region> = (1..)
            .map(NodeId)
            .zip(self.regions.chars().map(|c| Region(c.to_string())))
            .collect();
        let bench = Bench {
            voters: &voters,
            policy: &self.policy,
            ackers: &self.ackers,
            k: self.k,
            strangers: self.strangers,
            mysqld: self.mysqld,
            at_home: self.at_home.clone(),
            acknowledged: self.acknowledged,
        };
        judge(&bench, &self.inquest)
    }

    #[track_caller]
    fn is(self, expected: Verdict) {
        let judged = self.judge();
        assert_eq!(judged.verdict, expected, "{judged:?}");
    }
}

#[track_caller]
fn check(voters: &str, expected: Verdict) {
    case(voters).is(expected);
}

#[test]
fn a_majority_of_all_voters_must_see_silence() {
    check("sss", Dead);
    check("ss_", Dead);
    check("ssa", Dead);
    check("s__", Undecided);
    check("sa_", Undecided);
    check("saa", Standing);
    check("a__", Undecided);
    check("aa_", Standing);
    check("___", Undecided);
    // Two of five are a majority of those that answered, and nobody's quorum.
    check("ss___", Undecided);
    check("ssaa_", Undecided);
    check("ssaaa", Standing);
    check("sssaa", Dead);
    check("s", Dead);
    check("ssxx", Undecided);
}

#[test]
fn votes_of_another_inquest_count_as_missing() {
    check("sx_", Undecided);
    check("xxx", Undecided);
    check("sxa", Undecided);
    check("xaa", Standing);
}

#[test]
fn what_is_not_silence() {
    check("soo", Standing);
    check("so_", Undecided);
    // A blind voter may come to see.
    check("sba", Undecided);
    check("baa", Standing);
    check("bbb", Undecided);
    check("ttt", Undecided);
    check("st_", Undecided);
    check("taa", Standing);
}

#[test]
fn writes_stuck_while_reads_answer() {
    check("ww_", Wedged);
    check("wwa", Wedged);
    check("waa", Standing);
    // A vote that is missing, or does not last yet, could tip it.
    check("w__", Undecided);
    check("w_a", Undecided);
    check("wua", Undecided);
    check("uua", Undecided);
    check("uaa", Standing);
    // Silence and stuck writes are two findings: neither helps the other to a majority.
    check("swa", Standing);
    check("sw_", Undecided);
    check("ssw", Dead);
}

#[test]
fn a_control_plane_of_several_regions_wants_silence_from_two() {
    case("ss_").regions("xxy").is(Undecided);
    case("ssa").regions("xxy").is(Standing);
    case("s_s").regions("xxy").is(Dead);
    case("sss").regions("xxx").is(Dead);
    case("ss_").regions("xxx").is(Dead);
    let judged = case("ss_").regions("xxy").judge();
    let region = Region::from("x");
    assert!(judged.findings.contains(&Finding::OneRegionOnly { region }));
}

#[test]
fn the_primary_must_be_unable_to_gather_k() {
    let ackers = |letters, k, expected| case("sss").ackers(letters, k).is(expected);
    ackers("dd", 1, Dead);
    ackers("dl", 1, Dead);
    ackers("ll", 1, Dead);
    ackers("dh", 1, Isolated);
    ackers("hh", 1, Isolated);
    ackers("h_", 1, Isolated);
    ackers("d_", 1, Undecided);
    ackers("__", 1, Undecided);
    // With k = 2 of 3, two deaf ones leave it one.
    ackers("ddh", 2, Dead);
    ackers("dd_", 2, Dead);
    ackers("dhh", 2, Isolated);
    ackers("dh_", 2, Undecided);
    ackers("h__", 2, Undecided);
    ackers("ddd", 3, Dead);
    ackers("dhh", 3, Dead);
    ackers("d__", 3, Dead);
    ackers("hh_", 3, Undecided);
}

#[test]
fn one_that_heard_outweighs_those_that_did_not() {
    case("ss_").sees(1, "dd").sees(2, "dh").is(Isolated);
    case("ss_").sees(1, "d_").sees(2, "_d").is(Dead);
    case("ss_").sees(1, "l_").sees(2, "h_").is(Isolated);
    // Whoever sees it alive may know of the ackers all the same.
    case("ssa")
        .sees(1, "d_")
        .sees(2, "d_")
        .sees(3, "_h")
        .is(Isolated);
}

#[test]
fn silences_of_different_lengths_make_no_age_older() {
    // The paths to it were cut one after the other: what the second hears of the ackers is new.
    case("ssa")
        .lasting(1, 13_000)
        .sees(1, "__")
        .sees(2, "hh")
        .sees(3, "__")
        .is(Isolated);
}

#[test]
fn silence_has_to_last() {
    let lasting = |ms, expected| case("ss_").lasting(1, ms).lasting(2, ms).is(expected);
    lasting(3_000, Dead);
    lasting(2_999, Undecided);
    case("ss_").lasting(1, 2_999).is(Undecided);
}

#[test]
fn an_attested_exit_needs_no_patience() {
    let told = |says, ms, ackers| {
        case("ss_")
            .ackers(ackers, 1)
            .lasting(1, ms)
            .lasting(2, ms)
            .says(1, word(9, 1, says))
    };
    told(EXITED, 0, "dd").is(Dead);
    told(RUNNING, 0, "dd").is(Undecided);
    // Unless the policy asks for some.
    let after = |says, ms, ackers, expected| {
        let mut case = told(says, ms, ackers);
        case.policy.crash_sustain_ms = 250;
        case.is(expected)
    };
    after(EXITED, 250, "dd", Dead);
    after(EXITED, 249, "dd", Undecided);
    after(RUNNING, 250, "dd", Undecided);
    // Being reached is enough, whatever an acker heard a moment ago.
    after(EXITED, 250, "hh", Dead);
    after(EXITED, 250, "h_", Undecided);
}

#[test]
fn a_newer_word_cancels_an_exit() {
    let told = |one: Word, other: Word| {
        case("ss_")
            .lasting(1, 250)
            .lasting(2, 250)
            .says(1, one)
            .says(2, other)
    };
    told(word(9, 1, EXITED), word(10, 2, RUNNING)).is(Undecided);
    told(word(10, 2, RUNNING), word(9, 1, EXITED)).is(Undecided);
    told(word(9, 1, EXITED), word(8, 1, RUNNING)).is(Dead);
    let next_run = Word {
        agent: Incarnation(2),
        ..word(1, 2, MysqldWord::Starting)
    };
    told(word(9, 1, EXITED), next_run).is(Undecided);
}

/// A late link, a relay or a copied host may speak of a run of the server that is long over.
#[test]
fn a_word_on_another_run_than_the_log_names_is_none() {
    let said = |mysqld, named: Option<u64>| {
        let mut case = case("ss_")
            .lasting(1, 400)
            .lasting(2, 400)
            .says(1, word(9, mysqld, EXITED));
        case.mysqld = named.map(Incarnation);
        case
    };
    said(4, Some(4)).is(Dead);
    said(4, None).is(Dead);
    said(3, Some(4)).is(Undecided);
    said(5, Some(4)).is(Undecided);
}

/// What an exit demands counts from the word of it.
#[test]
fn an_exit_lasts_since_it_was_told() {
    let told = |exit_ms| {
        let mut case = case("ss_").says(1, word(9, 1, EXITED));
        case.policy.crash_sustain_ms = 100;
        for node in [1, 2] {
            case.vote(node).exit_ms = Some(exit_ms);
        }
        case
    };
    told(100).is(Dead);
    told(99).is(Undecided);
}

#[test]
fn closed_serves_nobody() {
    check("cc_", Dead);
    case("cc_").lasting(1, 2_999).is(Undecided);
    // It is shut: what the ackers heard lately is no obstacle.
    case("cc_").ackers("hh", 1).is(Dead);
    case("cc_").ackers("h_", 1).is(Undecided);
    // One that saw it shut is enough: it feeds its ackers, and serves nobody.
    case("cs_").ackers("hh", 1).is(Dead);
    case("ss_").ackers("hh", 1).is(Isolated);
    check("cs_", Dead);
    // An exit shortens no patience with a server that answers, however long ago it was told.
    let mut exited = case("cc_")
        .lasting(1, 250)
        .lasting(2, 250)
        .says(1, word(1, 1, EXITED));
    for node in [1, 2] {
        exited.vote(node).exit_ms = Some(9_000);
    }
    exited.is(Undecided);
}

#[test]
fn a_stranger_is_an_acker_that_nobody_silences() {
    // One of three may hear it where a write needs two, but for a stranger that may, too.
    case("sss").ackers("ddl", 2).strangers(0).is(Dead);
    case("sss").ackers("ddh", 2).strangers(1).is(Undecided);
    case("sss").ackers("ddd", 2).strangers(1).is(Dead);
    case("sss").ackers("ddd", 2).strangers(2).is(Undecided);
    case("sss").ackers("hhd", 2).strangers(1).is(Isolated);
    let counted = |count| {
        let judged = case("sss").ackers("ddl", 2).strangers(count).judge();
        let found = judged.findings.into_iter();
        let found = found.filter(|of| matches!(of, Finding::Strangers { .. }));
        found.collect::<Vec<_>>()
    };
    assert_eq!(counted(0), []);
    assert_eq!(counted(1), [Finding::Strangers { count: 1 }]);
    // Two that a write needs one of: no number of silent ackers proves anything.
    case("sss").ackers("dd", 1).strangers(1).is(Undecided);
    // A reaped server hears nobody, but the content is on whoever acknowledged.
    case("ss_")
        .ackers("dd", 1)
        .strangers(1)
        .lasting(1, 250)
        .lasting(2, 250)
        .says(1, word(1, 1, EXITED))
        .is(Undecided);
}

#[test]
fn crossing_regions_takes_longer() {
    let last = |home, ms, expected| {
        case("ss_")
            .home(home)
            .lasting(1, ms)
            .lasting(2, ms)
            .is(expected)
    };
    last("", 3_000, Undecided);
    last("", 4_999, Undecided);
    last("", 5_000, Dead);
    last("b", 3_000, Dead);
    // A candidate at home that nobody reaches is none.
    last("z", 4_999, Undecided);
    case("ss_")
        .ackers("dd", 1)
        .home("")
        .lasting(1, 250)
        .lasting(2, 250)
        .says(1, word(1, 1, EXITED))
        .is(Dead);
}

#[test]
fn only_newer_votes_are_taken() {
    let mut inquest = Inquest::new(InquestId(1), Epoch(1), at(7));
    let mut cast = |incarnation, seq, kind, known: &str| {
        inquest.take(&Vote {
            incarnation: Incarnation(incarnation),
            seq: Seq(seq),
            last_known: set(known),
            ..vote(1, kind, 0)
        })
    };
    assert!(cast(1, 5, SightKind::Silent, "p:1-5"));
    assert!(!cast(1, 5, SightKind::Alive, "p:9"), "the same again");
    assert!(!cast(1, 4, SightKind::Alive, "p:9"), "overtaken");
    assert!(cast(1, 6, SightKind::Blind, "p:1-3"));
    assert!(cast(2, 1, SightKind::Alive, ""), "the node's next run");
    assert!(!cast(1, 7, SightKind::Silent, "p:9"), "of the run before");
    assert_eq!(inquest.votes[&NodeId(1)].sight.kind, SightKind::Alive);
    assert_eq!(
        inquest.last_known,
        set("p:1-5"),
        "united, never overwritten"
    );
}

#[test]
fn how_many_must_be_silenced() {
    for (v, k, expected) in [(2, 1, 2), (2, 2, 1), (3, 2, 2), (4, 1, 4), (1, 1, 1)] {
        assert_eq!(blocking(v, k), expected, "|V| = {v}, k = {k}");
    }
}
