//! What the log refused of this node's own proposals: each reason is said once, not each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Reasons that are remembered. They name instances and epochs, so that over the months there are
/// more; then all may be said once more.
const REASONS_MAX: usize = 256;

/// Refused once, a proposal was overtaken by another; refused again and again, somebody should know
/// why.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<String, u64>>>);

impl Refusals {
    /// Notes a refusal; whether it was said.
    pub fn note(&self, reason: &str) -> bool {
        let times = self.count(reason);
        let said = times.is_power_of_two() && times != 2;
        if said {
            tracing::info!(times, "the log refused what this node proposed: {reason}");
        } else {
            tracing::debug!(times, "the log refused what this node proposed: {reason}");
        }
        said
    }

    fn count(&self, reason: &str) -> u64 {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() >= REASONS_MAX && !reasons.contains_key(reason) {
            reasons.clear();
        }
        let times = reasons.entry(reason.to_owned()).or_default();
        *times += 1;
        *times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_and_that_it_goes_on() {
        let refusals = Refusals::default();
        let said: Vec<u64> = (1..=100).filter(|_| refusals.note("one")).collect();
        assert_eq!(said, [1, 4, 8, 16, 32, 64]);
        assert!(refusals.note("another"));
        for n in 0..REASONS_MAX {
            assert!(refusals.note(&format!("reason {n}")), "{n}");
        }
        assert!(refusals.note("one"), "bounded");
    }
}
