//! The protocol as two small models, visited in every state.
//!
//! | model | question |
//! | --- | --- |
//! | [`agreement`] | may this epoch be deposed? inquests, votes, the verdict |
//! | [`failover`] | what follows: fences and freezes, need, the choice, opening, coming back |
//!
//! Either is checked twice over. As it is meant, every law must hold and everything worth seeing
//! must be seen ([`runs::bases`]). With one rule broken, a named law must fail ([`runs::planted`]):
//! the planted mistakes are the reason to believe the first half. `cargo run --release --bin model`
//! prints both, with the shortest way into each failure.
//!
//! A change to the protocol is made here first.

pub mod agreement;
pub mod failover;
pub mod mistake;
pub mod report;
pub mod runs;
pub mod set;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use report::Report;
pub use runs::{bases, deep, planted};

/// Runs at once. Each visits on one thread; more than two would outgrow the smallest machine that
/// this is to pass on.
const WORKERS: usize = 2;

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Holds,
    /// By this very law.
    Caught(&'static str),
}

/// One run, and what came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub name: &'static str,
    pub expected: Expected,
    pub report: Report,
}

impl Outcome {
    /// It held, or was caught, as it should.
    pub fn is_as_expected(&self) -> bool {
        match self.expected {
            Expected::Holds => self.report.holds(),
            Expected::Caught(law) => self.report.caught_by(law),
        }
    }
}

/// A run not yet made.
type Run = (&'static str, Expected, fn() -> Report);

/// Makes every run whose name contains `filter`, all of them if it is empty, and hands each outcome
/// to `seen` as it comes. The outcomes are returned in the order of the tables. The deep runs are
/// made only if the filter names them.
pub fn check_all(filter: &str, mut seen: impl FnMut(&Outcome)) -> Vec<Outcome> {
    let bases = bases()
        .into_iter()
        .map(|base| (base.name, Expected::Holds, base.run));
    let deep = deep().into_iter().filter(|_| !filter.is_empty());
    let deep = deep.map(|base| (base.name, Expected::Holds, base.run));
    let planted = planted()
        .into_iter()
        .map(|of| (of.name, Expected::Caught(of.law), of.run));
    let mut runs: Vec<Run> = bases.chain(planted).chain(deep).collect();
    runs.retain(|(name, ..)| name.contains(filter));

    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut outcomes: Vec<(usize, Outcome)> = thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (sender, next, runs) = (sender.clone(), &next, &runs);
            scope.spawn(move || {
                while let Some((at, run)) = take(next, runs) {
                    let (name, expected, report) = (run.0, run.1, run.2());
                    let outcome = Outcome {
                        name,
                        expected,
                        report,
                    };
                    sender
                        .send((at, outcome))
                        .expect("the receiver outlives the workers");
                }
            });
        }
        drop(sender);
        receiver
            .iter()
            .inspect(|(_, outcome)| seen(outcome))
            .collect()
    });
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn take<'a>(next: &AtomicUsize, runs: &'a [Run]) -> Option<(usize, &'a Run)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    runs.get(at).map(|run| (at, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bases hold with all that must be reached; every planted mistake is caught by its law.
    #[test]
    #[cfg_attr(
        debug_assertions,
        ignore = "millions of states: minutes unless built with --release"
    )]
    fn bases_hold_and_planted_mistakes_are_caught() {
        let outcomes = check_all("", |_| {});
        let odd: Vec<String> = outcomes
            .iter()
            .filter(|outcome| !outcome.is_as_expected())
            .map(|outcome| {
                format!(
                    "{} ({:?}): {}",
                    outcome.name, outcome.expected, outcome.report
                )
            })
            .collect();
        assert!(odd.is_empty(), "not as expected:\n{}", odd.join("\n"));
        assert_eq!(outcomes.len(), bases().len() + planted().len());
    }

    /// A counterexample that nobody can read convinces nobody.
    #[test]
    fn a_counterexample_reads_as_steps() {
        let outcomes = check_all("OneAckerTooFew", |_| {});
        let found = outcomes[0]
            .report
            .broken
            .as_ref()
            .expect("one acker too few is caught");
        let expected = [
            "a client commits w0 on db0",
            "db2 receives w0 into its relay log",
            "the acknowledgement of w0 by db2 reaches its source",
            "log: epoch 1 is deposed",
            "db1 obeys an order of epoch 1: freeze",
            "log: db1 is chosen for epoch 2, needs nothing, proof AckersFrozen",
            "db1 obeys an order of epoch 2: open with nothing, k=1",
        ];
        assert_eq!(found.steps, expected);
    }
}
