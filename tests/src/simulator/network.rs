//! The network between every pair of places: delay, loss, and cuts in one direction or both.
//!
//! A place is a control node, an instance's host (agent and `mysqld` share it) or a client.

use super::prng::Rng;

/// How long a lost segment of a stream takes to be sent again.
pub const RETRANSMIT_US: u64 = 200_000;

/// Every way between one place and these, in both directions.
pub(super) fn both_ways(
    one: usize,
    others: impl IntoIterator<Item = usize>,
) -> Vec<(usize, usize)> {
    let others = others.into_iter();
    others
        .flat_map(|other| [(one, other), (other, one)])
        .collect()
}

#[derive(Debug)]
pub struct Network {
    /// Region of each place.
    region: Vec<usize>,
    /// How many faults cut the way from a place to another.
    cuts: Vec<Vec<u32>>,
    /// One way between two regions.
    base_us: Vec<Vec<u64>>,
    /// Added to every way, by a fault.
    pub slow_us: u64,
    pub loss_permille: u64,
    /// Messages that arrive twice, the second time up to this much later.
    pub twice_permille: u64,
    pub twice_later_us: u64,
}

impl Network {
    pub fn new(region: Vec<usize>, rng: &mut Rng) -> Self {
        let places = region.len();
        let regions = region.iter().max().map_or(0, |last| last + 1);
        let mut base_us = vec![vec![150; regions]; regions];
        for (one, other) in (0..regions).flat_map(|one| (0..one).map(move |other| (one, other))) {
            let us = rng.between(1_000, 40_000);
            base_us[one][other] = us;
            base_us[other][one] = us;
        }
        Self {
            region,
            cuts: vec![vec![0; places]; places],
            base_us,
            slow_us: 0,
            loss_permille: 0,
            twice_permille: rng.below(3) * 10,
            twice_later_us: rng.between(1_000, 6_000_000),
        }
    }

    pub fn open(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] == 0
    }

    pub fn both_ways(&self, one: usize, other: usize) -> bool {
        self.open(one, other) && self.open(other, one)
    }

    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts[from][to] += 1;
    }

    pub fn mend(&mut self, from: usize, to: usize) {
        self.cuts[from][to] = self.cuts[from][to].saturating_sub(1);
    }

    pub fn heal(&mut self) {
        for row in &mut self.cuts {
            row.fill(0);
        }
        self.slow_us = 0;
        self.loss_permille = 0;
        self.twice_permille = 0;
    }

    /// One way, undisturbed.
    pub fn base_us(&self, from: usize, to: usize) -> u64 {
        self.base_us[self.region[from]][self.region[to]]
    }

    fn delay_us(&self, from: usize, to: usize, rng: &mut Rng) -> u64 {
        let base = self.base_us(from, to);
        let jitter = if rng.chance(20) {
            rng.below(20_000)
        } else {
            rng.below(base / 4 + 100)
        };
        let slow = match self.slow_us {
            0 => 0,
            most => rng.below(most),
        };
        base + jitter + slow
    }

    /// A message of its own: it arrives after this, or never.
    pub fn message_us(&self, from: usize, to: usize, rng: &mut Rng) -> Option<u64> {
        if !self.open(from, to) || rng.chance(self.loss_permille) {
            return None;
        }
        Some(self.delay_us(from, to, rng))
    }

    /// A segment of a stream: lost ones are sent again, so it arrives, later.
    pub fn segment_us(&self, from: usize, to: usize, rng: &mut Rng) -> u64 {
        let mut us = self.delay_us(from, to, rng);
        while rng.chance(self.loss_permille) {
            us += RETRANSMIT_US;
        }
        us
    }
}
