//! Record: the replicated state, the commands that change it, and what an apply reports.

mod state;

pub use state::{Member, Outcome, Proposal, State};
