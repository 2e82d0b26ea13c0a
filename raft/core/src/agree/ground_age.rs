//! How old the last look at a primary's ground was when it ended, by the votes of an inquest.
//!
//! Somebody may have changed the ground since: source of the rule: `PROTOCOL.md`, "The ground".
//!
//! **Invariant:** nobody's clock is compared with another's, and a vote that was cast long ago makes
//! nothing younger.

use std::collections::BTreeMap;

use super::Inquest;
use crate::ids::InstanceId;
use crate::observe::Timed;

impl Inquest {
    /// How long before the primary's end its ground was last seen to be as ordered, in milliseconds;
    /// `None` if nobody had looked, or an acker heard it and nobody's look can be told on the clock
    /// of that acker's agent.
    ///
    /// The largest of three: a vote's own sign of life after its look, among those that count toward
    /// a verdict (no smaller one is safe without a common clock); for each acker, what it heard of
    /// the primary when no node looked any more; and the gaps in the nodes' own time. Of the gaps the
    /// smallest that a vote gives, and for an acker whoever looked last, so that one cut link or one
    /// paused node bars nothing.
    pub fn ground_age_ms(&self) -> Option<u64> {
        let looked = || {
            self.votes
                .values()
                .filter_map(|vote| Some((vote, vote.ground?)))
        };
        let gaps_ms = looked().map(|(_, look)| look.gap_ms).min()?;
        let signs_ms = looked()
            .filter(|(vote, _)| vote.sight.kind.counts())
            .map(|(_, look)| look.age_ms)
            .max()?;
        let mut heard: BTreeMap<&InstanceId, Vec<Timed>> = BTreeMap::new();
        for (acker, reached) in self.votes.values().flat_map(|vote| &vote.reached) {
            if let Some(timed) = reached.timed {
                heard.entry(acker).or_default().push(timed);
            }
        }
        let mut heard_ms = 0;
        for told in heard.values() {
            heard_ms = heard_ms.max(since_look_ms(told)?);
        }
        Some(gaps_ms.max(signs_ms).max(heard_ms))
    }
}

/// How long after the last look of any node an acker heard the primary, by what the nodes tell of it.
fn since_look_ms(told: &[Timed]) -> Option<u64> {
    // What was told of an earlier run of its agent is on another clock.
    let agent = told.iter().map(|of| of.agent).max()?;
    let newest = || told.iter().filter(|of| of.agent == agent);
    let united = Timed {
        agent,
        moved_ms: newest().map(|of| of.moved_ms).max()?,
        looked_ms: newest().filter_map(|of| of.looked_ms).max(),
    };
    united.age_ms()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;

    fn timed(agent: u64, (moved_ms, looked_ms): (i64, Option<i64>)) -> Timed {
        Timed {
            agent: Incarnation(agent),
            moved_ms,
            looked_ms,
        }
    }

    /// Of (newest progress, look), all told by one run of the acker's agent.
    fn since(told: &[(i64, Option<i64>)]) -> Option<u64> {
        let told: Vec<_> = told.iter().map(|of| timed(1, *of)).collect();
        since_look_ms(&told)
    }

    #[test]
    fn whoever_looked_last_measures() {
        assert_eq!(since(&[(8_900, None)]), None);
        assert_eq!(since(&[(8_900, Some(8_860))]), Some(40));
        assert_eq!(since(&[(8_900, Some(8_960))]), Some(0));
        let (cut, never) = ((8_900, Some(2_000)), (8_900, None));
        assert_eq!(since(&[cut, never, (8_900, Some(8_800))]), Some(100));
    }

    /// The votes on one whose agents had all slept (a seed of the simulator): a node voted before the
    /// acker told that the primary had gone on, and looked no more.
    #[test]
    fn a_vote_of_before_lends_no_smaller_age() {
        let before = (2_900, Some(2_850));
        assert_eq!(since(&[before]), Some(50));
        assert_eq!(since(&[before, (6_900, Some(800))]), Some(4_050));
        assert_eq!(since(&[before, (6_900, None)]), Some(4_050));
    }

    #[test]
    fn another_run_of_the_agent_is_another_clock() {
        let old = timed(1, (89_900, Some(89_890)));
        assert_eq!(since_look_ms(&[old]), Some(10));
        let seen = timed(2, (0, Some(-700)));
        assert_eq!(since_look_ms(&[seen, old]), Some(700));
        let unseen = timed(2, (0, None));
        assert_eq!(since_look_ms(&[old, unseen]), None);
    }
}
