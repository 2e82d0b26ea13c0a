//! **Law:** the replicated state keeps its own laws after every entry.
//!
//! Source: `primacy_core::record::State::violations`. Planted: `old-primary-counts`.

use primacy_core::record::State;

pub fn check(state: &State) -> Option<String> {
    let found = state.violations();
    (!found.is_empty()).then(|| found.join("; "))
}
