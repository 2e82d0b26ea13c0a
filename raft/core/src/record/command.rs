//! The commands of the log. Each is guarded by what it expects (epoch, inquest, stage), so that a
//! delayed or repeated one has no effect.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::change::PolicyChange;
use super::cluster::{Approval, FenceReport, FreezeReport, Registration};
use super::ground::GroundSaid;
use super::scheduled::ScheduledSaid;
use crate::act::ProcessId;
use crate::agree::Vote;
use crate::decide::{Choice, Fetch};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{
    ClusterId, Epoch, Incarnation, InquestId, InstanceId, NodeId, PlaneId, Position, Seq,
};
use crate::policy::{Contradiction, Policy};

/// One log entry: commands of one node, keyed so that nothing takes effect twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    pub proposer: NodeId,
    pub incarnation: Incarnation,
    pub seq: Seq,
    /// Wall clock of the proposer, Unix milliseconds: for people who read the history. Nothing is
    /// decided by it.
    #[serde(default)]
    pub wall_ms: u64,
    pub commands: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The first entry of a plane's life.
    FoundPlane {
        plane: PlaneId,
        /// The feature level that its founder knows; the first, where an entry does not say.
        #[serde(default = "super::level::first")]
        level: u32,
    },
    /// A voter says up to which feature level it can apply the log.
    Announce {
        node: NodeId,
        knows: u32,
    },
    /// From here on the log is applied under this feature level.
    RaiseLevel {
        to: u32,
    },
    Register(Box<Registration>),
    /// An operator takes back a cluster that was never founded.
    Unregister {
        cluster: ClusterId,
        who: String,
    },
    /// The whole policy at once, as the first feature level changed it.
    SetPolicy {
        cluster: ClusterId,
        policy: Box<Policy>,
    },
    ChangePolicy(Box<PolicyChange>),
    /// An instance reported itself, under this `server_uuid`.
    Enrolled {
        cluster: ClusterId,
        instance: InstanceId,
        server_uuid: Uuid,
    },
    /// An instance of a cluster that is being founded is fenced, and holds this.
    FoundingReport {
        cluster: ClusterId,
        instance: InstanceId,
        report: FreezeReport,
        fenced: bool,
        /// The entry that registered the cluster whose founding it is for; not said under the first
        /// feature level, where no registration could be taken back.
        #[serde(default)]
        registered: Option<Position>,
    },
    OpenInquest {
        cluster: ClusterId,
        epoch: Epoch,
        /// The abort that the asking node knows of this epoch.
        #[serde(default)]
        after: Option<Position>,
    },
    CloseInquest {
        cluster: ClusterId,
        inquest: InquestId,
        why: String,
    },
    Vote(Box<Vote>),
    /// An operator approves a failover that the votes allow.
    Approve {
        cluster: ClusterId,
        epoch: Epoch,
        who: String,
        /// What it allows beyond the policy.
        #[serde(default)]
        allows: Approval,
    },
    /// An operator withdraws what has been started in this epoch and not yet chosen.
    Abort {
        cluster: ClusterId,
        epoch: Epoch,
        who: String,
        #[serde(default)]
        why: String,
    },
    /// A replica stopped its IO thread by order, and holds this.
    Freeze {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        report: FreezeReport,
    },
    Fence {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        report: FenceReport,
        /// The run of its agent that never began to open it for this epoch.
        #[serde(default)]
        unopened: Option<ProcessId>,
    },
    /// The chosen one stalls before it opens; its choice is taken back.
    Withdraw {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        why: String,
    },
    /// Sessions were ended on the chosen one, for they held what it had to apply.
    Freed {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        ended: BTreeSet<String>,
    },
    /// A frozen replica is to fetch what is needed from another before a choice can be made.
    Fetch {
        cluster: ClusterId,
        epoch: Epoch,
        fetch: Box<Fetch>,
    },
    Choose(Box<Choice>),
    Applied {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
    },
    Opened {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        /// The run of its server that was opened.
        #[serde(default)]
        mysqld: Option<Incarnation>,
    },
    Followed {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
    },
    FollowRefused {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        extra: GtidSet,
    },
    /// A marker begun when the primary had executed `floor` was acknowledged by k of V.
    Acknowledged {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        floor: GtidSet,
    },
    /// The primary of this epoch restarted fenced, and k of V hold what it has.
    Reopen {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        mysqld: Incarnation,
    },
    /// What was seen of the primary's ground, by its agent or by a node.
    Ground {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        said: Box<GroundSaid>,
    },
    /// What the open primary's agent says of its scheduled events.
    Scheduled {
        cluster: ClusterId,
        epoch: Epoch,
        instance: InstanceId,
        said: Box<ScheduledSaid>,
    },
    /// A replica wrote these itself, and they change nothing, or an operator (`who`) accepts them: they
    /// bar nobody, and the primary writes them too, empty.
    Common {
        cluster: ClusterId,
        epoch: Epoch,
        holder: InstanceId,
        set: GtidSet,
        #[serde(default)]
        who: Option<String>,
    },
    /// The leader's clock says that the order to fence what answers and cannot write has had no
    /// answer for too long.
    Unheard {
        cluster: ClusterId,
        epoch: Epoch,
    },
    /// The leader's clock says that so much has passed since it last said so.
    TimePassed {
        ms: u64,
    },
}

impl Command {
    /// The cluster it speaks of, if one.
    pub fn cluster(&self) -> Option<&ClusterId> {
        match self {
            Command::FoundPlane { .. }
            | Command::Announce { .. }
            | Command::RaiseLevel { .. }
            | Command::TimePassed { .. } => None,
            Command::Register(registration) => Some(&registration.cluster),
            Command::Vote(vote) => Some(&vote.cluster),
            Command::Choose(choice) => Some(&choice.cluster),
            Command::ChangePolicy(change) => Some(&change.cluster),
            Command::SetPolicy { cluster, .. }
            | Command::Unregister { cluster, .. }
            | Command::Enrolled { cluster, .. }
            | Command::FoundingReport { cluster, .. }
            | Command::OpenInquest { cluster, .. }
            | Command::CloseInquest { cluster, .. }
            | Command::Approve { cluster, .. }
            | Command::Abort { cluster, .. }
            | Command::Freeze { cluster, .. }
            | Command::Fence { cluster, .. }
            | Command::Withdraw { cluster, .. }
            | Command::Freed { cluster, .. }
            | Command::Fetch { cluster, .. }
            | Command::Applied { cluster, .. }
            | Command::Opened { cluster, .. }
            | Command::Followed { cluster, .. }
            | Command::FollowRefused { cluster, .. }
            | Command::Acknowledged { cluster, .. }
            | Command::Reopen { cluster, .. }
            | Command::Ground { cluster, .. }
            | Command::Scheduled { cluster, .. }
            | Command::Common { cluster, .. }
            | Command::Unheard { cluster, .. } => Some(cluster),
        }
    }
}

/// What happened, for people and for the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Event {
    pub cluster: Option<ClusterId>,
    pub epoch: Epoch,
    pub kind: EventKind,
    /// One sentence.
    pub what: String,
}

/// What sort of thing happened; for machines that read the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Registered,
    Unregistered,
    PolicyChanged,
    InquestOpened,
    InquestClosed,
    Voted,
    Verdict,
    Deposed,
    Frozen,
    Fenced,
    Fetching,
    Chosen,
    Applied,
    Opened,
    Followed,
    Refused,
    Acknowledged,
    Reopened,
    Ground,
    Scheduled,
    Common,
    Approved,
    Unheard,
    Withdrawn,
    Freed,
    Aborted,
    AbortLifted,
    IncidentOpened,
    IncidentJoined,
    IncidentEnded,
    LevelRaised,
}

/// Why a command had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("cluster {0} is not registered")]
    NoSuchCluster(ClusterId),
    #[error("cluster {cluster} has no instance {instance}")]
    NoSuchInstance {
        cluster: ClusterId,
        instance: InstanceId,
    },
    #[error("{what}: expected epoch {expected}, the log is at {found}")]
    OtherEpoch {
        what: String,
        expected: Epoch,
        found: Epoch,
    },
    #[error("{what}: the cluster is not at that stage ({stage})")]
    OtherStage { what: String, stage: String },
    #[error("the vote belongs to inquest {vote}, open is {open:?}; or is not the node's newest")]
    StaleVote {
        vote: InquestId,
        open: Option<InquestId>,
    },
    #[error("node {0} is no voter")]
    NotAVoter(NodeId),
    #[error("{field} = {value}: {remedy}")]
    Invalid {
        field: String,
        value: String,
        remedy: String,
    },
    #[error("the choice is unsound: {0}")]
    Unsound(String),
    #[error(
        "abort: epoch {epoch} of {cluster} has its successor already, {to} is chosen for epoch \
         {next}, and a choice is not withdrawn; `primacy describe {cluster}` shows how far it is. \
         To hold back further failovers: `primacy policy set {cluster} automation=off`"
    )]
    AlreadyChosen {
        cluster: ClusterId,
        epoch: Epoch,
        to: InstanceId,
        next: Epoch,
    },
    #[error(
        "abort: nothing is under way: epoch {epoch} of {cluster} is not deposed, and no inquest is \
         open. To hold back failovers beforehand: `primacy policy set {cluster} automation=off`"
    )]
    NothingToAbort { cluster: ClusterId, epoch: Epoch },
    #[error(
        "feature level {to} is not raised: node {node} {}; upgrade it first",
        .knows.map_or("has not said what it knows".to_owned(), |level| format!("knows {level}"))
    )]
    LevelUnknown {
        to: u32,
        node: NodeId,
        knows: Option<u32>,
    },
    #[error("node {node} knows feature level {knows}, and the plane is at {level}; upgrade it")]
    LevelInForce {
        node: NodeId,
        knows: u32,
        level: u32,
    },
    #[error(
        "{what} came with feature level {since}, and the plane is at {level}: upgrade every node, \
         then the leader raises it"
    )]
    LaterLevel {
        what: String,
        since: u32,
        level: u32,
    },
    #[error(
        "unregister: {cluster} has been founded, it is at epoch {epoch}; only one that never opened \
         is taken back"
    )]
    Founded { cluster: ClusterId, epoch: Epoch },
    #[error(
        "policy: {}; you asked on revision {expected}. `primacy policy get {cluster}` shows it as it \
         is; then set it again",
        .moved.join(", ")
    )]
    PolicyMoved {
        cluster: ClusterId,
        expected: u64,
        /// Each field that was changed since: to what, by whom, where in the log.
        moved: Vec<String>,
    },
    #[error("a failover needs the verdict Dead, the votes say otherwise: {0}")]
    NotDead(String),
}

impl Refusal {
    /// Refuses what came with a later level than the plane's.
    pub(super) fn below(since: u32, level: u32, what: &str) -> Result<(), Refusal> {
        if level >= since {
            return Ok(());
        }
        Err(Refusal::LaterLevel {
            what: what.into(),
            since,
            level,
        })
    }
}

impl From<Contradiction> for Refusal {
    fn from(found: Contradiction) -> Self {
        Refusal::Invalid {
            field: found.field,
            value: found.value,
            remedy: found.rule,
        }
    }
}

/// What the apply of one proposal did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub at: Position,
    /// One per command; none if the proposal was a repetition.
    pub results: Vec<Result<Vec<Event>, Refusal>>,
    /// The proposal's key was not above the proposer's last: it has taken effect before, or was
    /// overtaken.
    pub repeated: bool,
}
