//! What people must know before a failover does: what would halt one, what would make it lose
//! something, and what is not as ordered.
//!
//! Whoever leads judges it, from the log, the agents' newest beats and its own looks. Nothing
//! follows from an alarm but words: no proof, no order, no vote.
//!
//! **Invariant:** a code is stable: scripts and paging rules name it. PROTOCOL.md lists all of them.

mod hold;
mod judge;
mod kind;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;

pub use hold::{Change, Standing};
pub use judge::{AGENT_UNHEARD_MS, Facts, acknowledges, alarms, judged, left};
pub use kind::{Alarm, Severity};

/// What an alarm is about: raised once, however its data change, until it is cleared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// `None`: the cluster as a whole.
    pub instance: Option<InstanceId>,
    pub code: String,
}

impl Key {
    pub fn new(instance: Option<&InstanceId>, alarm: &Alarm) -> Self {
        Self {
            instance: instance.cloned(),
            code: alarm.code().to_owned(),
        }
    }
}

/// One alarm that stands, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// `None`: the cluster as a whole.
    pub instance: Option<InstanceId>,
    pub severity: Severity,
    /// For how long this leader has seen it.
    pub for_ms: u64,
    /// In a sentence, with what mends it.
    pub text: String,
    #[serde(flatten)]
    pub alarm: Alarm,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{instance}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}
