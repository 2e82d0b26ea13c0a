//! Many seeds: two threads, each seed within one of them, so that each replays alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Fault, Options, Planted, Report, run};

const THREADS: usize = 2;

/// In so many seeds every kind of fault strikes.
const ALL_KINDS: u64 = 300;

const OF_NEIGHBOURS: &str = "failovers of a second cluster";

fn is_kind(what: &str) -> bool {
    Fault::KINDS.contains(&what) || what == OF_NEIGHBOURS
}

/// What a sweep did, summed.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    pub seeds: u64,
    pub failovers: u64,
    pub neighbours: u64,
    pub reinstated: u64,
    pub acknowledged: u64,
    pub faults: u64,
    pub fetched: u64,
    pub halts: u64,
    pub proofs: [u64; 3],
    /// How often each kind of fault struck.
    pub kinds: BTreeMap<&'static str, u64>,
    pub simulated_ms: u64,
    /// By seed, ascending.
    pub violated: Vec<Report>,
}

impl Sweep {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.failovers += report.counts.failovers;
        self.neighbours += report.counts.neighbours;
        self.reinstated += report.counts.reinstated;
        self.acknowledged += report.counts.acknowledged;
        self.faults += report.counts.faults;
        self.fetched += report.counts.fetched;
        self.halts += report.counts.halts;
        for (kind, count) in &report.counts.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        for (sum, of_run) in self.proofs.iter_mut().zip(report.counts.proofs) {
            *sum += of_run;
        }
        self.simulated_ms += report.ended_ms;
        if report.violation.is_some() {
            self.violated.push(report);
        }
    }

    /// A run in which nothing happened proves nothing.
    pub fn idle(&self) -> Vec<&'static str> {
        [
            (self.seeds, "seeds"),
            (self.failovers, "failovers"),
            (self.neighbours, OF_NEIGHBOURS),
            (self.acknowledged, "acknowledged writes"),
            (self.faults, "faults injected"),
        ]
        .into_iter()
        .chain(Fault::KINDS.map(|kind| (self.kinds.get(kind).copied().unwrap_or_default(), kind)))
        // A few seeds need not show every kind.
        .filter(|(count, what)| *count == 0 && (self.seeds >= ALL_KINDS || !is_kind(what)))
        .map(|(_, what)| what)
        .collect()
    }
}

/// Runs every seed of the range; stops early once `enough` violations were found.
pub fn sweep(seeds: Range<u64>, options: Options, enough: usize) -> Sweep {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sweep::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let mut report = run(Options { seed, ..options });
                    if report.violation.is_some() && options.planted.is_some() {
                        // Found only if it is the mistake that breaks the law.
                        let planted = None;
                        let sane = Options {
                            planted,
                            ..report.options
                        };
                        if run(sane).violation.is_some() {
                            report.violation = None;
                        }
                    }
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(report);
                    if sum.violated.len() >= enough {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.violated.sort_by_key(|report| report.options.seed);
    sum
}

/// The first seed that finds a planted mistake, within so many.
pub fn find(planted: Planted, seeds: u64) -> Option<Report> {
    let options = Options {
        planted: Some(planted),
        ..Options::default()
    };
    sweep(0..seeds, options, 1).violated.into_iter().next()
}
