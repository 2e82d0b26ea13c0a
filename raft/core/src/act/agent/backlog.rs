//! How far a replica is from having applied what it received, and at what pace it does.

use std::collections::VecDeque;

use super::super::op::Survey;
use crate::ids::Tick;
use crate::record::Backlog;

/// Over so long its pace is measured.
const PACE_MS: u64 = 10_000;

/// What its looks have shown of the applier.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    looks: VecDeque<Look>,
    /// Since when nothing was applied though something was left.
    still: Option<Tick>,
    /// What it stopped on, until it applies something: started again, it says nothing of it until it
    /// has failed once more.
    broke: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Tick,
    executed: u128,
    left: u128,
}

impl Pace {
    pub fn look(&mut self, at: Tick, survey: &Survey) {
        let look = Look {
            at,
            executed: survey.executed.count(),
            left: survey.received.subtract(&survey.executed).count(),
        };
        let last = self.looks.back();
        let moved = last.is_none_or(|last| last.executed != look.executed);
        if moved || look.left == 0 {
            self.still = (look.left > 0).then_some(at);
        } else {
            self.still.get_or_insert(at);
        }
        if let Some(error) = stopped_on(survey) {
            self.broke = Some(error.to_owned());
        } else if moved || look.left == 0 {
            self.broke = None;
        }
        self.looks.push_back(look);
        while self
            .looks
            .front()
            .is_some_and(|oldest| at.since_ms(oldest.at) > PACE_MS)
        {
            self.looks.pop_front();
        }
    }

    /// Transactions applied and the milliseconds that it took, where something was left to apply.
    fn applied(&self) -> (u128, u64) {
        let pairs = self.looks.iter().zip(self.looks.iter().skip(1));
        let busy = pairs.filter(|(from, _)| from.left > 0);
        busy.fold((0, 0), |(count, ms), (from, to)| {
            let more = to.executed.saturating_sub(from.executed);
            (count + more, ms + to.at.since_ms(from.at))
        })
    }

    /// As of a survey made now, of a replica whose opening may stall for `stall_ms`.
    pub fn backlog(&self, now: Tick, survey: &Survey, stall_ms: u64) -> Backlog {
        let left = survey.received.subtract(&survey.executed).count();
        if left == 0 {
            return Backlog::default();
        }
        let (applied, ms) = self.applied();
        let expected_ms = left.saturating_mul(ms.into()).checked_div(applied);
        let expected_ms = u64::try_from(expected_ms.unwrap_or(0)).unwrap_or(u64::MAX);
        let error = survey.applier_error.as_str();
        let last = self.looks.back();
        let moved = last.is_some_and(|last| last.executed != survey.executed.count());
        let broke = self.broke.as_deref().filter(|_| !moved);
        let still_ms = self.still.map_or(0, |since| now.since_ms(since));
        let held = if let Some(error) = stopped_on(survey).or(broke) {
            Some(format!("its applier has stopped: {error}"))
        } else if still_ms >= stall_ms {
            Some(match error {
                "" => format!("nothing of {left} transactions for {still_ms} ms"),
                error => format!("nothing of {left} transactions for {still_ms} ms: {error}"),
            })
        } else {
            None
        };
        Backlog { expected_ms, held }
    }
}

/// The error on which its applier stopped.
fn stopped_on(survey: &Survey) -> Option<&str> {
    let error = survey.applier_error.as_str();
    Some(error).filter(|error| !survey.applier_runs && !error.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::tests::holding;

    /// Looks, 100 ms apart: so many executed of so many received.
    fn after(looks: &[(u64, u64)]) -> (Pace, Tick, Survey) {
        let (mut pace, mut now) = (Pace::default(), Tick(0));
        let mut survey = holding("", "");
        for (executed, received) in looks {
            now = now.plus_ms(100);
            let set = |count: &u64| match count {
                0 => String::new(),
                count => format!("p:1-{count}"),
            };
            survey = holding(&set(executed), &set(received));
            pace.look(now, &survey);
        }
        (pace, now, survey)
    }

    #[test]
    fn what_is_left_takes_as_long_as_its_pace_says() {
        let expects = |looks: &[(u64, u64)]| {
            let (pace, now, survey) = after(looks);
            pace.backlog(now, &survey, 1_000).expected_ms
        };
        assert_eq!(expects(&[(5, 5), (7, 7)]), 0);
        // Ten in 100 ms; forty are left.
        assert_eq!(expects(&[(10, 60), (20, 60)]), 400);
        // Time in which nothing was left tells nothing of its pace.
        assert_eq!(expects(&[(10, 10), (10, 10), (10, 50), (20, 60)]), 400);
        assert_eq!(expects(&[(10, 60), (10, 60)]), 0, "nothing tells");
    }

    #[test]
    fn one_that_applies_nothing_of_what_is_left_is_held() {
        let held = |looks: &[(u64, u64)]| {
            let (pace, now, survey) = after(looks);
            pace.backlog(now, &survey, 1_000).held
        };
        let still = |count: usize| vec![(10, 12); count];
        assert_eq!(held(&still(10)), None);
        let why = "nothing of 2 transactions for 1000 ms".to_owned();
        assert_eq!(held(&still(11)), Some(why));
        assert_eq!(held(&[(10, 10); 30]), None, "nothing is left");
        let mut moves = still(30);
        moves.push((11, 12));
        assert_eq!(held(&moves), None);
        // Idle for long, then something comes in: the time begins there.
        let mut idle = vec![(10, 10); 30];
        idle.extend(still(5));
        assert_eq!(held(&idle), None);
    }

    #[test]
    fn an_applier_that_stopped_on_an_error_is_held_at_once() {
        let (pace, now, mut survey) = after(&[(10, 12)]);
        survey.applier_runs = false;
        assert_eq!(pace.backlog(now, &survey, 1_000).held, None);
        // That its source is gone, as it is when one is chosen, says nothing of its applier.
        survey.receiver_error = "2003: Error connecting".into();
        assert_eq!(pace.backlog(now, &survey, 1_000).held, None);
        survey.applier_error = "1062: Duplicate entry".into();
        let held = pace.backlog(now, &survey, 1_000).held;
        let why = "its applier has stopped: 1062: Duplicate entry";
        assert_eq!(held.as_deref(), Some(why));
    }

    /// An order to follow starts it again, now and then; it fails again a moment later.
    #[test]
    fn one_that_was_started_again_is_held_until_it_applies_something() {
        let (mut pace, now, started) = after(&[(10, 12)]);
        let broken = Survey {
            applier_runs: false,
            applier_error: "1062: Duplicate entry".into(),
            ..started.clone()
        };
        pace.look(now.plus_ms(100), &broken);
        let held = |pace: &Pace, survey: &Survey| {
            let backlog = pace.backlog(now.plus_ms(250), survey, 1_000);
            backlog.held.is_some()
        };
        assert!(held(&pace, &started), "nothing looked since");
        pace.look(now.plus_ms(200), &started);
        assert!(held(&pace, &started), "it has applied nothing yet");
        let moved = holding("p:1-11", "p:1-12");
        assert!(!held(&pace, &moved), "it has since the last look");
        pace.look(now.plus_ms(220), &moved);
        pace.look(now.plus_ms(230), &moved);
        assert!(!held(&pace, &moved), "it stands still for a moment only");
        pace.look(now.plus_ms(240), &broken);
        pace.look(now.plus_ms(245), &holding("p:1-12", "p:1-12"));
        let anew = holding("p:1-12", "p:1-13");
        pace.look(now.plus_ms(248), &anew);
        assert!(!held(&pace, &anew), "it came through all of it");
    }

    #[test]
    fn a_backlog_stands_still_from_the_look_that_first_shows_it() {
        let mut pace = Pace::default();
        pace.look(Tick(0), &holding("p:1-10", "p:1-10"));
        let held = |pace: &Pace, at: u64, survey: &Survey| {
            let backlog = pace.backlog(Tick(at), survey, 1_000);
            backlog.held.is_some()
        };
        let behind = holding("p:1-10", "p:1-12");
        pace.look(Tick(5_000), &behind);
        assert!(
            !held(&pace, 5_999, &behind),
            "it had nothing to apply before"
        );
        assert!(held(&pace, 6_000, &behind));
        let moved = holding("p:1-11", "p:1-12");
        pace.look(Tick(6_100), &moved);
        assert!(!held(&pace, 7_099, &moved));
        assert!(held(&pace, 7_100, &moved), "from the look that saw it move");
    }

    #[test]
    fn how_fast_it_applied_long_ago_says_nothing() {
        let mut pace = Pace::default();
        let at = |executed: u64| holding(&format!("p:1-{executed}"), "p:1-2000");
        pace.look(Tick(0), &at(10));
        pace.look(Tick(100), &at(510));
        // Ten transactions a second since.
        let later = 100_000;
        pace.look(Tick(later), &at(510));
        pace.look(Tick(later + 1_000), &at(520));
        let backlog = pace.backlog(Tick(later + 1_000), &at(520), 1_000);
        assert_eq!(backlog.expected_ms, 148_000);
    }

    /// The look of exactly so long ago still counts.
    #[test]
    fn the_pace_is_that_of_all_its_looks() {
        let mut pace = Pace::default();
        let survey = holding("p:1-11", "p:1-20");
        pace.look(Tick(0), &holding("p:1", "p:1-20"));
        pace.look(Tick(PACE_MS), &survey);
        let backlog = pace.backlog(Tick(PACE_MS), &survey, u64::MAX);
        assert_eq!(backlog.expected_ms, 9_000);
    }
}
