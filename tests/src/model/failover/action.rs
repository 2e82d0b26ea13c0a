//! The steps, and how they read.

use std::fmt::{self, Display};

use super::agent::Order;
use super::answer::Reply;
use super::choice::Choice;
use super::{Epoch, Instance, WriteId};

/// One step. Its `Display` is a line of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Write { on: Instance, write: WriteId },
    WriteErrant { on: Instance, write: WriteId },
    Receive { on: Instance, write: WriteId },
    Acknowledge { write: WriteId, by: Instance },
    CommitBranch { on: Instance, write: WriteId },
    Crash(Instance),
    Restart(Instance),
    AskToReopen(Instance),
    Reopen(Instance),
    Repair(Instance),
    LoseRelayLog { on: Instance, write: WriteId },
    Obey(Order),
    ObeyUnwritten(Order),
    ReadLog(Instance),
    Hear(Reply),
    SwitchOff(Instance),
    PutBack(Instance),
    StatusOn(Instance),
    ClaimAgain,
    Look(Instance),
    NameCommon { on: Instance, write: WriteId },
    WriteCommon { on: Instance, write: WriteId },
    SayStuck(Instance),
    Depose(Epoch),
    Choose(Choice),
    OrderBeforeCommit(Choice),
    OrderFetch { to: Instance, donor: Instance },
    Join(Instance),
    Found(Instance),
    Attach(Instance),
    CutOff(Instance),
    Forget,
    Settle,
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { on, write } => write!(f, "a client commits {write} on {on}"),
            Self::WriteErrant { on, write } => write!(f, "someone writes {write} on replica {on}"),
            Self::Receive { on, write } => write!(f, "{on} receives {write} into its relay log"),
            Self::Acknowledge { write, by } => {
                write!(
                    f,
                    "the acknowledgement of {write} by {by} reaches its source"
                )
            }
            Self::CommitBranch { on, write } => {
                write!(f, "a prepared branch is committed on {on} as {write}")
            }
            Self::Crash(on) => write!(f, "{on} crashes, mysqld and agent"),
            Self::Restart(on) => write!(f, "{on} starts again, fenced"),
            Self::AskToReopen(on) => write!(f, "{on} reads that its epoch stands undeposed"),
            Self::Reopen(on) => write!(f, "{on} reopens within its epoch"),
            Self::Repair(on) => write!(f, "a repair loop restarts replication on {on}"),
            Self::LoseRelayLog { on, write } => write!(f, "{on} loses {write} with its relay log"),
            Self::Obey(order) => Display::fmt(order, f),
            Self::ObeyUnwritten(order) => write!(f, "{order}, and cannot write it down"),
            Self::ReadLog(on) => write!(f, "the agent of {on} reads which epochs are over"),
            Self::Hear(reply) => Display::fmt(reply, f),
            Self::SwitchOff(on) => write!(f, "someone switches semi-sync off on {on}; it is seen"),
            Self::PutBack(on) => write!(f, "{on}'s agent switches semi-sync on again"),
            Self::StatusOn(on) => write!(f, "semi-sync's status on {on} reads ON"),
            Self::ClaimAgain => write!(f, "log: nothing is lost any more"),
            Self::Look(on) => write!(f, "a node reads what {on} has executed, and votes it"),
            Self::NameCommon { on, write } => write!(f, "log: {write}, written on {on}, is common"),
            Self::WriteCommon { on, write } => {
                write!(f, "{on} writes {write} too, since it is common")
            }
            Self::SayStuck(on) => write!(f, "log: {on} says that it cannot open"),
            Self::Depose(epoch) => write!(f, "log: epoch {} is deposed", epoch.0),
            Self::Choose(choice) => write!(f, "log: {choice}"),
            Self::OrderBeforeCommit(choice) => {
                write!(
                    f,
                    "a leader orders the opening, not yet committed: {choice}"
                )
            }
            Self::OrderFetch { to, donor } => {
                write!(f, "log: {to} is to fetch what it lacks from {donor}")
            }
            Self::Join(on) => write!(f, "log: {on} joins V"),
            Self::Found(on) => write!(f, "log: the cluster is founded with primary {on}, epoch 1"),
            Self::Attach(on) => write!(f, "log: the stranger {on} is seen to acknowledge"),
            Self::CutOff(on) => write!(f, "the primary's agent cuts the stranger {on}"),
            Self::Forget => write!(
                f,
                "the primary's agent: V holds all that a stranger acknowledged"
            ),
            Self::Settle => write!(f, "log: no stranger counts any more"),
        }
    }
}
