//! The trace of one run, for people: what happened, when, to whom.

use std::fmt::Write;

/// Collects lines only when asked to: a sweep pays nothing for it.
#[derive(Debug, Default)]
pub struct Timeline {
    pub on: bool,
    lines: Vec<String>,
}

impl Timeline {
    pub fn new(on: bool) -> Self {
        Self {
            on,
            lines: Vec::new(),
        }
    }

    /// One line: true simulated time, who, what.
    pub fn note(&mut self, now_us: u64, who: &str, what: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        let (ms, us) = (now_us / 1_000, now_us % 1_000);
        let mut line = String::new();
        let _ = write!(
            line,
            "{:>4}.{:03}{us:03} s  {who:<10} {}",
            ms / 1_000,
            ms % 1_000,
            what()
        );
        self.lines.push(line);
    }

    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}
