//! Decide: from the agreed state to one choice, its proof, and what it could lose.
//!
//! `choose` plans, `check` vets; they share no code. Inaction is explained too.

mod basis;
mod check;
mod choose;
mod evidence;
mod feasible;
mod fetch;
mod paths;
mod readiness;
mod reason;
mod registration;
mod successor;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use check::{check, check_fetch};
pub use choose::{Circumstances, choose, choose_with};
pub use feasible::{feasible, feasible_with};
pub use fetch::{Fetch, Fetching, fetches};
pub use paths::{Way, forsaken};
pub use readiness::{Known, Readiness, as_if_frozen, readiness};
pub use reason::{Doubt, Reason, Unfit};
pub use registration::check_registration;
pub use successor::successor;

use std::collections::BTreeSet;

use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Epoch, InstanceId};
use crate::record::Ackers;

/// Why the old primary can acknowledge nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// There was no primary before (or it is the same, adopted).
    Founding { adopted: bool },
    /// It answered the fence order: shut for this epoch, and this is all it executed.
    Confirmed { final_set: GtidSet },
    /// Its `mysqld` was reaped, and the frozen ackers tell what was acknowledged.
    Exited { frozen: BTreeSet<InstanceId> },
    /// So many ackers are frozen that it can gather no k acknowledgements.
    AckersFrozen {
        frozen: BTreeSet<InstanceId>,
        of: BTreeSet<InstanceId>,
        k: u32,
        /// Acknowledged without being in V; counted as members that nobody froze.
        #[serde(default)]
        strangers: BTreeSet<Uuid>,
    },
}

impl Proof {
    /// One word, stable, for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Proof::Founding { .. } => "founding",
            Proof::Confirmed { .. } => "confirmed",
            Proof::Exited { .. } => "exited",
            Proof::AckersFrozen { .. } => "ackers_frozen",
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &BTreeSet<InstanceId>| {
            ids.iter()
                .map(InstanceId::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Proof::Founding { adopted: false } => f.write_str("there was no primary before"),
            Proof::Founding { adopted: true } => f.write_str("the open primary is adopted"),
            Proof::Confirmed { .. } => f.write_str("the old primary confirmed that it is fenced"),
            Proof::Exited { frozen } => {
                write!(
                    f,
                    "the old mysqld has exited, and {} are frozen",
                    list(frozen)
                )
            }
            Proof::AckersFrozen {
                frozen,
                of,
                k,
                strangers,
            } => {
                let (some, of, names) = (frozen.len(), of.len(), list(frozen));
                write!(
                    f,
                    "{some} of {of} ackers are frozen ({names}), and a write needs {k}"
                )?;
                match strangers.len() {
                    0 => Ok(()),
                    some => write!(f, "; {some} outside V counted as not frozen"),
                }
            }
        }
    }
}

/// Which acknowledged writes could be missing on the new primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossBound {
    /// None, proved.
    Zero,
    AtMost(GtidSet),
    Unknown,
}

impl fmt::Display for LossBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossBound::Zero => f.write_str("zero"),
            LossBound::AtMost(set) => write!(f, "at most {}", set.compact()),
            LossBound::Unknown => f.write_str("unknown"),
        }
    }
}

/// Who is next, and everything that its opening rests on. Leaves no choice to execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub cluster: ClusterId,
    pub from: InstanceId,
    pub to: InstanceId,
    /// The epoch that opens with it.
    pub epoch: Epoch,
    pub proof: Proof,
    /// The new primary must have executed all of this before it opens.
    pub need: GtidSet,
    /// What the new primary holds, executed or received; whoever holds more must not follow it.
    pub within: GtidSet,
    /// V′ and k′.
    pub ackers: Ackers,
    pub loss: LossBound,
    /// Why it and not the others, a sentence each.
    pub why: Vec<String>,
}
