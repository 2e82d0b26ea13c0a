//! Visits every state of the protocol's models, and says what it found.
//!
//! `model [FILTER]` makes the runs whose name contains FILTER, all without one; `model deep`
//! makes larger ones, in minutes. A line per run, and
//! under each planted mistake the shortest way into the failure that it causes. Exits with 1 if a
//! run came out otherwise than it should.

use std::process::ExitCode;
use std::time::Instant;

use primacy_tests::model::{Outcome, check_all};

fn main() -> ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let started = Instant::now();
    let outcomes = check_all(&filter, print);

    let odd = outcomes
        .iter()
        .filter(|outcome| !outcome.is_as_expected())
        .count();
    let (runs, seconds) = (outcomes.len(), started.elapsed().as_secs_f64());
    println!("{runs} runs in {seconds:.1} s, {odd} not as expected");
    if odd == 0 && runs > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(outcome: &Outcome) {
    let Outcome {
        name,
        expected,
        report,
    } = outcome;
    println!("{name:<36}{report}");
    if !outcome.is_as_expected() {
        println!("    NOT AS EXPECTED: {expected:?}");
    }
    for (number, step) in report
        .broken
        .iter()
        .flat_map(|found| found.steps.iter())
        .enumerate()
    {
        println!("    {:>2}. {step}", number + 1);
    }
}
