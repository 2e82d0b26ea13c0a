//! What was said lately, so that a caller that tries five times a second is not logged as often.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Beyond this everything is forgotten, and may be said again.
const TEXTS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Said(Mutex<BTreeMap<String, Instant>>);

impl Said {
    /// Whether nobody has said this within the time; it counts as said now.
    pub fn first_within(&self, text: &str, time: Duration) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(text).is_some_and(|at| at.elapsed() < time) {
            return false;
        }
        if said.len() >= TEXTS_MAX {
            said.clear();
        }
        said.insert(text.to_owned(), Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once() {
        let (said, long) = (Said::default(), Duration::from_secs(3_600));
        assert!(said.first_within("one", long));
        assert!(!said.first_within("one", long));
        assert!(said.first_within("one", Duration::ZERO));
        assert!(said.first_within("two", long));
        for n in 0..TEXTS_MAX {
            said.first_within(&n.to_string(), long);
        }
        assert!(said.0.lock().unwrap().len() <= TEXTS_MAX);
    }
}
