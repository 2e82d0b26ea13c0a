//! Why nobody can be chosen yet, or why an instance was passed over: each says what would satisfy it.

use serde::{Deserialize, Serialize};

use super::LossBound;
use crate::gtid::Uuid;
use crate::ids::InstanceId;
use crate::policy::MaxLoss;
use crate::record::stranger_names;

/// Why nobody can be chosen yet, or why an instance was passed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    #[error("nothing is deposed")]
    NotDeposed,
    #[error(
        "{frozen} of {needed} ackers needed are frozen; waiting for one of {names}, or for \
         the old primary to confirm its fence",
        names = listed(.missing)
    )]
    TooFewFrozen {
        frozen: usize,
        needed: usize,
        missing: Vec<InstanceId>,
    },
    #[error(
        "{names} acknowledged to the old primary without being in V: each counts as an acker that \
         nobody can freeze; where freezing all of V is not enough, only the old primary's confirmed \
         fence is",
        names = stranger_names(.uuids)
    )]
    Strangers { uuids: Vec<Uuid> },
    #[error(
        "{0} answers but cannot write; waiting until its agent confirms the fence, or its exit"
    )]
    NotFenced(InstanceId),
    /// Nobody but the old primary may open, and it has not confirmed its fence.
    #[error(
        "{who} aborted the failover: {primary} alone may open again, once its agent confirms its \
         fence{exited}; until then nobody takes writes. If it cannot come back, lift the abort: \
         `primacy approve` for the same epoch",
        exited = if *.exited { " (its mysqld has exited; its agent starts it again after restart_hold_ms)" } else { "" }
    )]
    Aborted {
        primary: InstanceId,
        who: String,
        exited: bool,
    },
    #[error(
        "the failover is aborted, and {primary}, who alone may open again, lacks {set}, which is \
         needed; lift the abort: `primacy approve` for the same epoch"
    )]
    Unreturnable { primary: InstanceId, set: String },
    #[error("{instance} came back, but {why}: it opens again only if nobody else qualifies")]
    LastResort { instance: InstanceId, why: Unfit },
    #[error("{0} is not frozen")]
    NotFrozen(InstanceId),
    /// Otherwise a delayed re-point of an epoch in between could make a member forget that it
    /// acknowledged to this primary.
    #[error("{0} was primary before and has not rejoined")]
    LeftBehind(InstanceId),
    #[error("{0} must never be promoted")]
    RuleNever(InstanceId),
    #[error("{0} is not the one that the approval names")]
    NotTheNamed(InstanceId),
    #[error("{instance} must be rebuilt before it may be promoted: {why}")]
    Marked { instance: InstanceId, why: String },
    #[error("{instance} holds errant transactions {set}")]
    Errant { instance: InstanceId, set: String },
    #[error("{instance} lacks {set}")]
    Lacks { instance: InstanceId, set: String },
    #[error("{instance} has purged what its future replicas still need")]
    Purged { instance: InstanceId },
    #[error("{0} would have no acker left")]
    NoAckerLeft(InstanceId),
    #[error(
        "the loss would be {loss}: {why}; the policy allows {allowed}. Raise `max_loss`, or approve \
         it by name: `primacy approve --max-loss any`"
    )]
    Loss {
        loss: LossBound,
        why: Doubt,
        allowed: MaxLoss,
    },
}

fn listed(instances: &[InstanceId]) -> String {
    let names: Vec<_> = instances.iter().map(InstanceId::as_str).collect();
    names.join(", ")
}

/// Why it is not proved that nothing acknowledged is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    #[error("no marker of this cluster was ever held by k ackers; one must be")]
    NoFloor,
    #[error(
        "the ground was broken on the old primary ({0}), and no marker written since was held by k \
         ackers"
    )]
    Broken(String),
    #[error(
        "no node had looked at the ground of the old primary since this run of it began; its \
         settings are not known"
    )]
    Unseen,
    #[error("the ground was last seen {age_ms} ms before its end, and {allowed_ms} ms are allowed")]
    Old { age_ms: u64, allowed_ms: u64 },
    #[error("it was {0} already on the one whose choice was taken back")]
    Carried(LossBound),
    #[error(
        "{told} of {needed} ackers needed tell all that they ever acknowledged; what the others \
         forgot is not known: {forgot}"
    )]
    Forgotten {
        told: usize,
        needed: usize,
        forgot: String,
    },
}

/// Why a primary that came back is not the one to open again while another qualifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    #[error("it could not write")]
    Wedged,
    #[error("it could gather no acknowledgement")]
    Starved,
    #[error("it shut itself, since nobody acknowledged its writes")]
    Unacknowledged,
    #[error("no write of its epoch was ever acknowledged")]
    NeverAcknowledged,
    #[error("it stalled before it opened")]
    Stalled,
}
