//! Who may take part: a node that has lost its log is not that node any more.
//!
//! Raft rests on votes and entries that outlive their node. One that comes back with an empty
//! folder would vote a second time, and undo with others what it had confirmed. So each start asks
//! the other members first:
//!
//! ```text
//!  folder empty            somebody knows the plane     refuse, and name the way
//!                          somebody does not answer     wait, and say for whom
//!                          all empty                    agree on one founding, durable on each,
//!                                                       then initialise
//!  begun, log missing                                   refuse
//!  log                     a peer keeps more of it      refuse
//!                          else, or after one second    take part
//! ```
//!
//! **Invariants**
//! - Until it is admitted a node neither votes, nor takes entries, nor stands for election.
//! - A founding is durable on every first member before the first of them initialises.
//! - *Begun* is durable before the first vote or entry.
//! - What a node tells of itself it has durably; so whoever finds less of it has lost something.
//!
//! **Limit:** a copy of the folder that is younger than the last word told about it, or known to
//! nobody who answers within the second, is taken on trust.

mod enter;
mod judge;
mod remains;
#[cfg(test)]
mod tests;
mod word;

pub use enter::{Entered, Seat, aside, tell};
pub use judge::EnterError;
pub use remains::{FoundingId, Remains, RemainsError};
pub use word::Word;
#[cfg(test)]
pub use word::{Extent, Holding};
