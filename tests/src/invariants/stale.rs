//! **Law:** an agent obeys no token older than one it has obeyed in any of its runs.
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: `token-forgotten`.

use primacy_core::act::Seal;
use primacy_core::ids::Token;

/// `newest` is what the agent obeyed last, in true history, whatever its disk remembers.
pub fn check(newest: &mut Option<Token>, seal: &Seal) -> Option<String> {
    let token = seal.token.as_ref()?;
    if let Some(newest) = newest
        && token.older_than(newest)
    {
        return Some(format!(
            "the agent of {} obeys {token} after it obeyed {newest}",
            seal.instance
        ));
    }
    *newest = Some(token.clone());
    None
}
