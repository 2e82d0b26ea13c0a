//! What every process has: a gate that says whether it runs, and a clock of its own.

use std::ops::Range;

use primacy_core::ids::Tick;

use super::event::Event;
use super::prng::Rng;

/// Whether a process runs, and what waits for it while it is stopped.
#[derive(Debug, Default)]
pub struct Gate {
    pub up: bool,
    /// How many faults hold it stopped (SIGSTOP, a frozen host).
    pub paused: u32,
    /// Counted up at each start and death.
    pub run: u64,
    pub parked: Vec<Event>,
    /// When it last went on.
    pub woke: u64,
    /// The events that waited for it then: they come first.
    pub backlog: Range<u64>,
    /// When it is through with them.
    pub busy_until: u64,
}

impl Gate {
    pub fn runs(&self) -> bool {
        self.up && self.paused == 0
    }

    /// The process is gone; what waited for it is lost.
    pub fn die(&mut self) {
        self.up = false;
        self.run += 1;
        self.parked.clear();
    }

    pub fn start(&mut self) {
        self.up = true;
        self.run += 1;
    }
}

/// The monotonic clock of one process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    local_us: u64,
    true_us: u64,
    /// Parts per million that it runs too fast.
    rate_ppm: i64,
}

impl Clock {
    pub fn new(now: u64, rng: &mut Rng) -> Self {
        Self {
            local_us: rng.below(3_600_000_000),
            true_us: now,
            rate_ppm: rng.between(0, 20_000) as i64 - 10_000,
        }
    }

    fn local(&self, now: u64) -> u64 {
        let passed = (now - self.true_us) as i64;
        self.local_us + (passed + passed * self.rate_ppm / 1_000_000) as u64
    }

    pub fn tick(&self, now: u64) -> Tick {
        Tick(self.local(now) / 1_000)
    }

    pub fn set_rate(&mut self, now: u64, rate_ppm: i64) {
        self.local_us = self.local(now);
        self.true_us = now;
        self.rate_ppm = rate_ppm;
    }
}
