//! Record: the replicated state, the commands that change it, and what an apply reports.

mod abort;
mod apply;
mod change;
mod cluster;
mod command;
mod common;
mod founding;
mod ground;
mod incident;
mod level;
mod limits;
mod scheduled;
mod start;
mod state;
mod steps;
mod validate;
mod withdraw;

#[cfg(test)]
mod tests;

pub use change::{FieldChange, PolicyChange, PolicyChanges, policy_fields, with_fields};
pub use cluster::{
    Abort, Ackers, Approval, Backlog, Cluster, Deposition, FenceReport, Follower, Founding,
    FreezeReport, InstanceSpec, Promotion, PromotionRule, Registration, Reopen, Stage,
};
pub use command::{Command, Event, EventKind, Outcome, Proposal, Refusal};
pub use founding::FoundingWord;
pub use ground::{Ground, GroundSaid, Told, stranger_names};
pub use incident::Incident;
pub use level::{FEATURE_LEVEL, SECOND, THIRD, UnknownLevel};
pub use limits::{Line, SLOT_MS};
pub use scheduled::{Due, IDLE_MAX, Idle, Owed, Scheduled, ScheduledSaid, TakeOver, TakenOver};
pub use state::{Member, State};
pub use withdraw::Withdrawn;
