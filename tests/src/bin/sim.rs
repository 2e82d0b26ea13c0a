//! `sim`: runs seeds of the simulator, replays one, or looks for every planted mistake.

use std::process::ExitCode;
use std::time::Instant;

use primacy_tests::simulator::sweep::{find, sweep};
use primacy_tests::simulator::{Options, Planted, Report, run};

const USAGE: &str = "\
usage: sim --seeds A..B [--mistake NAME]    runs seeds A to B-1
       sim --seed N [--trace] [--mistake NAME] [--calm]
                                            runs one; --trace prints its timeline
       either with --strangers              an unregistered replica is heard before it is seen
       either with --operators              failovers are aborted, and that is lifted again
       sim --planted                        looks for every planted mistake
       sim --mistakes                       lists them";

/// Each planted mistake must be found within so many seeds.
const PLANTED_SEEDS: u64 = 2_000;

fn main() -> ExitCode {
    // A panic of the core is a finding of the run in which it happens, printed with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let args: Vec<String> = std::env::args().skip(1).collect();
    match command(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn command(args: &[String]) -> Result<bool, String> {
    let mut options = Options::default();
    let (mut seeds, mut one, mut planted) = (None, None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--seeds" => seeds = Some(range(value()?)?),
            "--seed" => one = Some(number(value()?)?),
            "--mistake" => {
                let word = value()?;
                let found = Planted::parse(word).ok_or(format!("no mistake is called {word}"))?;
                options.planted = Some(found);
            }
            "--trace" => options.trace = true,
            "--calm" => options.calm = true,
            "--strangers" => options.unseen_strangers = true,
            "--operators" => options.operators = true,
            "--planted" => planted = true,
            "--mistakes" => {
                for mistake in Planted::ALL {
                    println!("{:<24} {}", mistake.word(), mistake.why());
                }
                return Ok(true);
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    match (seeds, one, planted) {
        (Some(seeds), None, false) => Ok(run_many(seeds, options)),
        (None, Some(seed), false) => Ok(run_one(Options { seed, ..options })),
        (None, None, true) => Ok(run_planted()),
        _ => Err("say one of --seeds, --seed, --planted".into()),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is written A..B")?;
    Ok(number(from)?..number(to)?)
}

fn replay(options: &Options) -> String {
    let mistake = options
        .planted
        .map(|mistake| format!(" --mistake {}", mistake.word()))
        .unwrap_or_default();
    let calm = if options.calm { " --calm" } else { "" };
    let strangers = if options.unseen_strangers {
        " --strangers"
    } else {
        ""
    };
    let operators = if options.operators {
        " --operators"
    } else {
        ""
    };
    format!(
        "tests/sim --seed {} --trace{mistake}{calm}{strangers}{operators}",
        options.seed
    )
}

fn tell(report: &Report) {
    if let Some(violation) = &report.violation {
        println!(
            "seed {}: {} broken after {} ms: {}\n  replay: {}",
            report.options.seed,
            violation.law,
            report.ended_ms,
            violation.words,
            replay(&report.options)
        );
    }
}

fn run_many(seeds: std::ops::Range<u64>, options: Options) -> bool {
    let began = Instant::now();
    let sum = sweep(seeds, options, usize::MAX);
    for report in &sum.violated {
        tell(report);
    }
    println!(
        "{:.1} simulated hours in {:.1} s; proofs: {} confirmed, {} exited, {} ackers frozen; \
         {} reinstated, {} after a fetch, {} of a second cluster, {} legitimate halts",
        sum.simulated_ms as f64 / 3_600_000.0,
        began.elapsed().as_secs_f64(),
        sum.proofs[0],
        sum.proofs[1],
        sum.proofs[2],
        sum.reinstated,
        sum.fetched,
        sum.neighbours,
        sum.halts,
    );
    let kinds: Vec<String> = sum
        .kinds
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    println!("faults: {}", kinds.join(", "));
    let idle = sum.idle();
    if !idle.is_empty() {
        println!("failed: a run without {} proves nothing", idle.join(", "));
    }
    if !sum.violated.is_empty() {
        println!("{} seeds violated a law", sum.violated.len());
    }
    println!("{} seeds", sum.seeds);
    println!("{} failovers", sum.failovers);
    println!("{} acknowledged writes", sum.acknowledged);
    println!("{} faults injected", sum.faults);
    sum.violated.is_empty() && idle.is_empty()
}

fn run_one(options: Options) -> bool {
    let report = run(options);
    if options.trace {
        println!("{}", report.trace);
    }
    tell(&report);
    println!("{:?}", report.counts);
    report.violation.is_none()
}

fn run_planted() -> bool {
    let began = Instant::now();
    let mut missed = 0;
    for &mistake in Planted::ALL {
        match find(mistake, PLANTED_SEEDS) {
            Some(report) => {
                let law = report.violation.map_or("", |violation| violation.law);
                println!(
                    "{:<24} found at seed {:>4} by {law}",
                    mistake.word(),
                    report.options.seed
                );
            }
            None => {
                missed += 1;
                println!(
                    "{:<24} NOT FOUND within {PLANTED_SEEDS} seeds",
                    mistake.word()
                );
            }
        }
    }
    println!(
        "{} planted mistakes, {missed} not found, {:.1} s",
        Planted::ALL.len(),
        began.elapsed().as_secs_f64()
    );
    missed == 0
}
