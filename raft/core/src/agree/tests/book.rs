//! Against a naive reading of the rule.

use proptest::prelude::*;

use super::*;

fn any_sight() -> impl Strategy<Value = Sight> {
    let kinds = [
        SightKind::Silent,
        SightKind::Silent,
        SightKind::Closed,
        SightKind::Wedged,
        SightKind::Alive,
        SightKind::Blind,
        SightKind::Overloaded,
    ];
    let times = [0, 249, 250, 2_999, 3_000, 4_999, 5_000];
    (
        prop::sample::select(kinds.to_vec()),
        prop::sample::select(times.to_vec()),
    )
        .prop_map(|(kind, for_ms)| Sight { kind, for_ms })
}

fn any_case() -> impl Strategy<Value = Case> {
    let one_acker = prop::sample::select(vec!['d', 'h', 'l', '_']);
    let one_vote = (
        any_sight(),
        prop::collection::vec(one_acker, 4),
        prop::option::weighted(0.3, (1_u64..4, any::<bool>())),
        prop::bool::weighted(0.8),
    );
    (
        prop::collection::vec(one_vote, 1..=5),
        prop::collection::vec(prop::sample::select(vec!["x", "y"]), 5),
        1_usize..=4,
        1_usize..=4,
        prop::sample::select(vec!["", "a", "ab"]),
    )
        .prop_map(|(votes, regions, members, k, home)| {
            let mut case = case(&"_".repeat(votes.len()));
            case.regions = regions[..votes.len()].concat();
            for (node, (sight, ackers, said, cast)) in (1..).zip(votes) {
                let letters: String = ackers[..members].iter().collect();
                let word =
                    said.map(|(beat, gone)| word(beat, 1, if gone { EXITED } else { RUNNING }));
                let cast_vote = Vote {
                    inquest: InquestId(if cast { 1 } else { 2 }),
                    reached: heard(&letters, &case.policy),
                    word,
                    ..vote(node, sight.kind, sight.for_ms)
                };
                assert_eq!(case.inquest.take(&cast_vote), cast);
            }
            case.ackers = ('a'..)
                .take(members)
                .map(|c| instance(&c.to_string()))
                .collect();
            case.k = k.min(members);
            case.home(home)
        })
}

/// The law of Dead, read word by word.
fn dead_by_the_book(case: &Case) -> bool {
    let votes: Vec<_> = case.inquest.votes.values().collect();
    let newest =
        votes
            .iter()
            .filter_map(|vote| vote.word)
            .fold(None, |best: Option<Word>, word| {
                match best {
                    Some(best) if best.beat > word.beat => Some(best),
                    // `judge` takes the last of two that say they are the same beat.
                    _ => Some(word),
                }
            });
    let exited = newest.is_some_and(|word| word.says == EXITED);
    let home = votes
        .iter()
        .any(|vote| case.at_home.iter().any(|id| vote.reached.contains_key(id)));
    let patience = match (exited, home) {
        (true, _) => case.policy.crash_sustain_ms,
        (false, true) => case.policy.sustain_ms,
        (false, false) => case.policy.cross_region_sustain_ms,
    };
    let silent: Vec<_> = votes
        .iter()
        .filter(|vote| match vote.sight.kind {
            SightKind::Silent => vote.sight.for_ms >= patience,
            SightKind::Closed => vote.sight.for_ms >= patience.max(case.policy.sustain_ms),
            _ => false,
        })
        .collect();
    let region = |node: NodeId| case.regions.as_bytes()[node.0 as usize - 1];
    let spanned: BTreeSet<u8> = case.regions.bytes().collect();
    let regions: BTreeSet<u8> = silent.iter().map(|vote| region(vote.node)).collect();
    let shut = silent
        .iter()
        .any(|vote| vote.sight.kind == SightKind::Closed);
    let deaf = case
        .ackers
        .iter()
        .filter(|id| {
            let ages: Vec<_> = votes
                .iter()
                .filter_map(|vote| vote.reached.get(*id))
                .collect();
            let hears = ages.iter().any(|seen| {
                seen.heard_ms
                    .is_some_and(|ms| ms <= case.policy.replica_stale_ms)
            });
            !ages.is_empty() && (exited || shut || !hears)
        })
        .count();
    silent.len() * 2 > case.regions.len()
        && (spanned.len() < 2 || regions.len() >= 2)
        && deaf > case.ackers.len() - case.k
}

proptest! {
    #[test]
    fn dead_is_what_the_book_says(case in any_case()) {
        let judged = case.judge();
        prop_assert_eq!(judged.verdict == Dead, dead_by_the_book(&case), "{:?}", judged);
    }

    /// Whatever is Standing stays so, however the missing votes are cast.
    #[test]
    fn standing_is_beyond_the_missing_votes(case in any_case(), late in any_sight()) {
        let mut case = case;
        let was = case.judge().verdict;
        for node in (1..).take(case.regions.len()) {
            if !case.inquest.votes.contains_key(&NodeId(node)) {
                let cast = vote(node, late.kind, late.for_ms);
                prop_assert!(case.inquest.take(&cast));
            }
        }
        let now = case.judge().verdict;
        prop_assert!(was != Standing || now == Standing, "{:?} became {:?}", was, now);
    }
}
