//! Runs of transaction numbers, and the merges on sorted lists of them.
//!
//! A list here is always normal: ascending, neither overlapping nor touching. Each function takes
//! normal lists and makes one, in time linear in the number of intervals.

use std::fmt;

use super::NUMBER_MAX;

/// The numbers from `first` to `last`, both included; 1 ≤ first ≤ last ≤ [`NUMBER_MAX`].
///
/// Inclusive, as MySQL prints it. `last + 1` never overflows, since [`NUMBER_MAX`] is below 2^63.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Interval {
    first: u64,
    last: u64,
}

impl Interval {
    pub(super) fn new(first: u64, last: u64) -> Self {
        assert!(
            1 <= first && first <= last && last <= NUMBER_MAX,
            "{first}-{last} is no interval"
        );
        Self { first, last }
    }

    pub(super) fn numbers(self) -> std::ops::RangeInclusive<u64> {
        self.first..=self.last
    }

    fn count(self) -> u128 {
        u128::from(self.last - self.first) + 1
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

pub(super) fn is_normal(list: &[Interval]) -> bool {
    !list.is_empty() && list.windows(2).all(|pair| pair[0].last + 1 < pair[1].first)
}

/// Makes any list normal. The only step that is not linear, and only for text out of order.
pub(super) fn normalise(list: &mut Vec<Interval>) {
    list.sort_unstable();
    let mut merged = Vec::new();
    for &interval in list.iter() {
        append(&mut merged, interval);
    }
    *list = merged;
}

/// Adds an interval that starts no earlier than the last one of the list.
fn append(list: &mut Vec<Interval>, interval: Interval) {
    match list.last_mut() {
        Some(end) if interval.first <= end.last + 1 => end.last = end.last.max(interval.last),
        Some(_) | None => list.push(interval),
    }
}

pub(super) fn union<'a>(mut left: &'a [Interval], mut right: &'a [Interval]) -> Vec<Interval> {
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    loop {
        let from_left = match (left.first(), right.first()) {
            (Some(l), Some(r)) => l.first <= r.first,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        let source = if from_left { &mut left } else { &mut right };
        append(&mut out, source[0]);
        *source = &source[1..];
    }
}

/// What is in `from` and not in `cuts`.
pub(super) fn subtract(from: &[Interval], cuts: &[Interval]) -> Vec<Interval> {
    let mut out = Vec::new();
    let mut cuts = cuts;
    for interval in from {
        let mut first = interval.first;
        while let Some((cut, later)) = cuts.split_first()
            && cut.first <= interval.last
        {
            if first < cut.first {
                out.push(Interval::new(first, cut.first - 1));
            }
            first = first.max(cut.last + 1);
            if cut.last > interval.last {
                break; // It may reach into the next interval, so it stays.
            }
            cuts = later;
        }
        if first <= interval.last {
            out.push(Interval::new(first, interval.last));
        }
    }
    out
}

pub(super) fn intersect(mut left: &[Interval], mut right: &[Interval]) -> Vec<Interval> {
    let mut out = Vec::new();
    while let (Some((l, left_later)), Some((r, right_later))) =
        (left.split_first(), right.split_first())
    {
        let (first, last) = (l.first.max(r.first), l.last.min(r.last));
        if first <= last {
            out.push(Interval::new(first, last));
        }
        if l.last <= r.last {
            left = left_later;
        } else {
            right = right_later;
        }
    }
    out
}

/// Whether every number of `part` is in `whole`.
pub(super) fn covers(mut whole: &[Interval], part: &[Interval]) -> bool {
    part.iter().all(|wanted| {
        while let Some((interval, later)) = whole.split_first()
            && interval.last < wanted.first
        {
            whole = later;
        }
        // One interval must hold it all: in a normal list, two of them have a gap between.
        whole
            .first()
            .is_some_and(|i| i.first <= wanted.first && wanted.last <= i.last)
    })
}

pub(super) fn contains(list: &[Interval], n: u64) -> bool {
    let at = list.partition_point(|interval| interval.last < n);
    list.get(at).is_some_and(|interval| interval.first <= n)
}

/// Adds one number; says whether it was new.
pub(super) fn insert(list: &mut Vec<Interval>, n: u64) -> bool {
    if contains(list, n) {
        return false;
    }
    let at = list.partition_point(|interval| interval.last < n);
    let joins_earlier = at > 0 && list[at - 1].last + 1 == n;
    let joins_later = list.get(at).is_some_and(|later| later.first == n + 1);
    match (joins_earlier, joins_later) {
        (true, true) => {
            list[at - 1].last = list[at].last;
            list.remove(at);
        }
        (true, false) => list[at - 1].last = n,
        (false, true) => list[at].first = n,
        (false, false) => list.insert(at, Interval::new(n, n)),
    }
    true
}

/// The lowest number not in the list; `None` once all are used.
pub(super) fn next_free(list: &[Interval]) -> Option<u64> {
    let free = list
        .first()
        .filter(|i| i.first == 1)
        .map_or(1, |i| i.last + 1);
    (free <= NUMBER_MAX).then_some(free)
}

pub(super) fn count(list: &[Interval]) -> u128 {
    list.iter().map(|interval| interval.count()).sum()
}
