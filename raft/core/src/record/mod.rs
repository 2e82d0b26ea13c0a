//! Record: the replicated state, the commands that change it, and what an apply reports.

mod abort;
mod apply;
mod cluster;
mod command;
mod state;
mod steps;
mod validate;

#[cfg(test)]
mod tests;

pub use cluster::{
    Abort, Ackers, Cluster, Deposition, FenceReport, Follower, Founding, FreezeReport,
    InstanceSpec, Promotion, PromotionRule, Registration, Reopen, Stage,
};
pub use command::{Command, Event, EventKind, Outcome, Proposal, Refusal};
pub use state::{Member, State};
