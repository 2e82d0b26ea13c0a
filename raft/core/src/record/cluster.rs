//! What the log knows of one cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::change::PolicyChanges;
use super::ground::Ground;
use super::scheduled::Scheduled;
use super::withdraw::Withdrawn;
use crate::act::ProcessId;
use crate::agree::{Inquest, Judgement};
use crate::decide::{Choice, Doubt, Fetching};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Epoch, Incarnation, InquestId, InstanceId, Position, Region};
use crate::observe::{Fault, fault_list};
use crate::policy::{MaxLoss, Policy};

/// Whether an instance may become primary, and how gladly.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PromotionRule {
    Prefer,
    #[default]
    Neutral,
    PreferNot,
    Never,
}

/// One instance as registered: a stable id, an address, its failure domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceSpec {
    pub host: String,
    pub port: u16,
    pub region: Region,
    #[serde(default)]
    pub zone: String,
    /// The machine it stands on; instances of one machine fail together.
    #[serde(default)]
    pub machine: String,
    #[serde(default)]
    pub promotion: PromotionRule,
    /// Higher is preferred, after everything else is equal.
    #[serde(default)]
    pub priority: u32,
    /// Learned at enrolment; an address that answers with another one is refused.
    #[serde(default)]
    pub server_uuid: Option<Uuid>,
    /// Its agent's HTTP address (`/primary`), for those who ask who is primary.
    #[serde(default)]
    pub agent: String,
}

/// How a cluster comes under this plane's care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Founding {
    /// Every instance is fenced; the named one is opened as epoch 1.
    New,
    /// The named one is open already, and stays so.
    Adopted,
}

/// A cluster as an operator registers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    pub cluster: ClusterId,
    pub instances: BTreeMap<InstanceId, InstanceSpec>,
    pub primary: InstanceId,
    /// Ackers; empty means every instance but the primary.
    #[serde(default)]
    pub ackers: BTreeSet<InstanceId>,
    /// Acknowledgements that a commit waits for.
    pub k: u32,
    #[serde(default)]
    pub policy: Policy,
    pub founding: Founding,
}

/// The replicas that may acknowledge, and how many of them a commit waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ackers {
    pub members: BTreeSet<InstanceId>,
    pub k: u32,
}

impl Ackers {
    /// Frozen members that leave the primary unable to gather k acknowledgements: |V| − k + 1.
    pub fn blocking(&self) -> usize {
        crate::agree::blocking(self.members.len(), self.k as usize)
    }

    /// V of the next epoch: the former V without the candidate, frozen or not. As many may be
    /// missing as before.
    #[must_use]
    pub fn without(&self, candidate: &InstanceId) -> Ackers {
        let mut members = self.members.clone();
        members.remove(candidate);
        self.of(members)
    }

    /// These members, of whom as many may be missing as of these.
    #[must_use]
    pub fn of(&self, members: BTreeSet<InstanceId>) -> Ackers {
        let spare = self.members.len().saturating_sub(self.k as usize);
        let k = members.len().saturating_sub(spare).max(1);
        Ackers {
            members,
            k: k as u32,
        }
    }
}

/// What a frozen replica holds, read after its IO thread stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeReport {
    pub server_uuid: Uuid,
    pub version: (u32, u32, u32),
    pub executed: GtidSet,
    pub received: GtidSet,
    pub purged: GtidSet,
    /// The instance it last replicated from, made durable before its thread started.
    pub replicated_from: Option<InstanceId>,
    /// Why it may hold less than it once acknowledged to that one: a relay log that was reset, or
    /// lost with its host's power. It is silenced all the same; what it tells proves no content.
    #[serde(default)]
    pub forgot: Option<String>,
    /// Why its GTIDs do not say what is in it: it proves no content and is no candidate.
    #[serde(default)]
    pub marked: Option<String>,
    /// The run of its server, by its agent's count.
    #[serde(default)]
    pub mysqld: Option<Incarnation>,
    /// What it held when it last left each other one, durable before it turned away.
    #[serde(default)]
    pub left: BTreeMap<InstanceId, GtidSet>,
    /// It left these too, holding more than its agent has room to remember.
    #[serde(default)]
    pub left_unknown: BTreeSet<InstanceId>,
    /// Its agent's disk takes no writes: it may forget this freeze with its next start.
    #[serde(default)]
    pub undurable: bool,
    /// Which run of its agent speaks.
    #[serde(default)]
    pub agent: Option<ProcessId>,
    /// How far it was from having applied what it received.
    #[serde(default)]
    pub backlog: Backlog,
}

/// What a replica had received and not applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backlog {
    /// How long that takes, by its pace of the ten seconds before; 0 where nothing tells.
    pub expected_ms: u64,
    /// Nothing of it was applied for longer than an opening may stall: why, as far as is known.
    pub held: Option<String>,
}

impl FreezeReport {
    pub fn holds(&self) -> GtidSet {
        self.executed.union(&self.received)
    }

    /// United with an earlier report of the same instance: a replica that lost its relay log
    /// later must not hide what it once reported.
    fn unite(&mut self, earlier: &FreezeReport) {
        self.received.union_with(&earlier.holds());
        // While frozen it replicates from nobody else: what it first said of its source stands.
        if earlier.replicated_from.is_some() {
            self.replicated_from.clone_from(&earlier.replicated_from);
        }
        // What it loses after its first report changes nothing: that was told.
        self.forgot.clone_from(&earlier.forgot);
        if self.marked.is_none() {
            self.marked.clone_from(&earlier.marked);
        }
        for (source, holds) in &earlier.left {
            self.left
                .entry(source.clone())
                .or_default()
                .union_with(holds);
        }
        self.left_unknown
            .extend(earlier.left_unknown.iter().cloned());
        // What was durable once is so still.
        self.undurable &= earlier.undurable;
    }
}

/// The old primary's answer to the fence order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceReport {
    /// Both super_read_only and offline_mode are set, and this was executed after them.
    Confirmed {
        final_set: GtidSet,
        /// What it has received besides, if it was a replica that never opened: it can still
        /// apply it.
        #[serde(default)]
        received: GtidSet,
        server_uuid: Uuid,
        /// It had shut itself in this epoch, since nobody acknowledged its writes.
        #[serde(default)]
        unacknowledged: bool,
        /// The run of its server, by its agent's count.
        #[serde(default)]
        mysqld: Option<Incarnation>,
        /// What its agent saw of its ground, up to its closing, that the log may not hold yet.
        #[serde(default)]
        broken: BTreeSet<Fault>,
    },
    /// Its `mysqld` is reaped. Proves silence, not content.
    Exited,
}

/// An operator withdrew what had been started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// The entry that withdrew it.
    pub at: Position,
    pub who: String,
    pub why: String,
}

/// What an operator allowed when he approved a failover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Nobody else may be chosen.
    #[serde(default)]
    pub to: Option<InstanceId>,
    /// These do not bar their holder.
    #[serde(default)]
    pub errant: GtidSet,
    /// More may be lost than the policy says.
    #[serde(default)]
    pub max_loss: Option<MaxLoss>,
}

/// Why an epoch was deposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposition {
    /// The entry that deposed the epoch; orders to fence and freeze carry it.
    pub at: Position,
    pub judgement: Judgement,
    pub inquest: Inquest,
    /// Who approved it, where the policy asks for approval.
    pub approved_by: Option<String>,
    pub frozen: BTreeMap<InstanceId, FreezeReport>,
    /// What each holds by its newest report alone: what it could still apply, as a candidate.
    #[serde(default)]
    pub newest: BTreeMap<InstanceId, GtidSet>,
    pub fence: Option<FenceReport>,
    /// The newest fetch that was ordered; carried out once `newest` contains it.
    #[serde(default)]
    pub fetching: Option<Fetching>,
    /// While this stands, the old primary alone may be chosen.
    #[serde(default)]
    pub aborted: Option<Abort>,
    /// A regional incident was open for its region: candidates elsewhere go first.
    #[serde(default)]
    pub region_fails: bool,
    /// A write of the deposed epoch was acknowledged.
    #[serde(default)]
    pub acknowledged: bool,
    /// How long before its end the deposed primary's ground was last seen to be as ordered, in
    /// milliseconds; `None` if nobody had looked.
    #[serde(default)]
    pub ground_age_ms: Option<u64>,
    /// Its agent left the order to fence unanswered for too long: what the ackers prove must do.
    #[serde(default)]
    pub unheard: bool,
    #[serde(default)]
    pub approval: Approval,
    /// Why its choice was taken back, if that ended it.
    #[serde(default)]
    pub withdrawn: Option<Withdrawn>,
    /// V and k of the epoch before it, from which it was chosen.
    #[serde(default)]
    pub former: Option<Ackers>,
    /// The run of its primary's agent whose report it was chosen by.
    #[serde(default)]
    pub opener: Option<ProcessId>,
    /// That very run says that it never began to open: nothing was acknowledged.
    #[serde(default)]
    pub unopened: bool,
}

impl Deposition {
    /// Nothing is known of its instances yet.
    pub(crate) fn new(at: Position, judgement: Judgement, inquest: Inquest) -> Self {
        Self {
            at,
            judgement,
            inquest,
            approved_by: None,
            frozen: BTreeMap::new(),
            newest: BTreeMap::new(),
            fence: None,
            fetching: None,
            aborted: None,
            region_fails: false,
            acknowledged: false,
            ground_age_ms: None,
            unheard: false,
            approval: Approval::default(),
            withdrawn: None,
            former: None,
            opener: None,
            unopened: false,
        }
    }

    /// Records what a frozen instance holds; earlier reports are united, never overwritten.
    pub fn record_freeze(&mut self, instance: &InstanceId, mut report: FreezeReport) {
        self.newest.insert(instance.clone(), report.holds());
        if let Some(earlier) = self.frozen.get(instance) {
            report.unite(earlier);
        }
        self.frozen.insert(instance.clone(), report);
    }

    /// The fetch that is ordered and not yet carried out.
    pub fn unfetched(&self) -> Option<&Fetching> {
        let fetching = self.fetching.as_ref()?;
        let fetch = &fetching.fetch;
        let has = self.newest.get(&fetch.to)?;
        (self.aborted.is_none() && !has.is_superset_of(&fetch.set)).then_some(fetching)
    }
}

/// How far the opening of a chosen primary has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// The entry that chose; orders to open and follow carry it.
    pub at: Position,
    pub choice: Choice,
    pub applied: bool,
    pub opened: bool,
    /// One write was acknowledged by k′ of V′.
    pub acknowledged: bool,
    /// Where the instances stand that were told to follow.
    pub followers: BTreeMap<InstanceId, Follower>,
    /// Whose sessions were ended, for they held what it had to apply.
    #[serde(default)]
    pub freed: BTreeSet<String>,
    /// V and k of the epoch before, from which it was chosen.
    #[serde(default)]
    pub former: Ackers,
    /// The run of its agent whose report it was chosen by.
    #[serde(default)]
    pub opener: Option<ProcessId>,
    /// What it rests on: the verdict, the votes, the reports of the epoch before. `None` at the
    /// founding.
    #[serde(default)]
    pub after: Option<Box<Deposition>>,
}

/// The answer of one instance that was told to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follower {
    Joined,
    /// It holds what the new primary does not: it must not replicate, and does not.
    Refused {
        extra: GtidSet,
    },
}

/// The life of the newest epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Epoch 0: waits until every instance has reported itself fenced (or ready to be adopted).
    Founding {
        at: Position,
        registration: Box<Registration>,
        reports: BTreeMap<InstanceId, FreezeReport>,
    },
    /// The named primary is, or is to be, open.
    Named(Box<Promotion>),
    /// The epoch is over; who comes next is not chosen yet.
    Deposed(Box<Deposition>),
}

/// One cluster in the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub policy: Policy,
    pub instances: BTreeMap<InstanceId, InstanceSpec>,
    /// The newest epoch that was named; 0 before the founding.
    pub epoch: Epoch,
    /// Its primary; the registered one before the founding.
    pub primary: InstanceId,
    pub ackers: Ackers,
    pub stage: Stage,
    /// Every later primary must contain this: what acknowledged markers and earlier needs fixed.
    pub floor: GtidSet,
    /// The floor comes from a marker acknowledged by k of V, so that Zero can be claimed.
    pub floor_stands: bool,
    /// Every server that was ever primary here; errant is only what none of them wrote.
    pub primaries: BTreeSet<Uuid>,
    /// Former primaries that have not rejoined; never in V.
    pub left_behind: BTreeSet<InstanceId>,
    #[serde(default)]
    pub ground: Ground,
    #[serde(default)]
    pub scheduled: Scheduled,
    /// What replicas wrote themselves and nobody misses: errant on nobody, and in no need before the
    /// floor contains it.
    #[serde(default)]
    pub common: GtidSet,
    pub inquest: Option<Inquest>,
    pub judgement: Option<Judgement>,
    /// The number of the newest inquest.
    pub inquests: InquestId,
    /// What is left of `min_interval_s` before another automatic failover; leaders log what has
    /// passed, since an apply knows no clock.
    pub rest_ms: u64,
    /// For how long the failover under way still counts against its region's `promotions_max`; 0 if
    /// none is under way. Passes as `rest_ms` does.
    #[serde(default)]
    pub slot_ms: u64,
    /// The run of the newest primary's server, by its agent's count: a word on any other is none.
    /// `None` where no answer has told it.
    #[serde(default)]
    pub mysqld: Option<Incarnation>,
    /// An entry that allows the primary of this very epoch to open again after its restart.
    pub reopen: Option<Reopen>,
    /// An inquest of this epoch was closed by an operator; nodes ask for another only where their
    /// primary's trouble began after that.
    #[serde(default)]
    pub aborted: Option<Abort>,
    /// Who changed which field of the policy last.
    #[serde(default)]
    pub changes: PolicyChanges,
}

/// The right to open again within an epoch, for one incarnation of its `mysqld`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopen {
    pub at: Position,
    pub mysqld: Incarnation,
}

impl Cluster {
    /// Frozen members of V that leave the primary unable to gather k acknowledgements, strangers
    /// counted: |V| + |strangers| − k + 1. More than |V| if freezing alone proves nothing.
    pub fn blocking(&self) -> usize {
        self.ackers.blocking() + self.ground.strangers.len()
    }

    /// How many could acknowledge to the primary: V, and the strangers that were seen to.
    pub fn acknowledging(&self) -> usize {
        self.ackers.members.len() + self.ground.strangers.len()
    }

    /// Why an acknowledged write of the newest epoch could be missing on whoever holds all that the
    /// ackers tell, if its ground was last seen so long before its end.
    pub fn doubt(&self, ground_age_ms: Option<u64>) -> Option<Doubt> {
        let allowed_ms = self.policy.ground_age_ms;
        if !self.floor_stands {
            return Some(Doubt::NoFloor);
        }
        if !self.ground.broken.is_empty() {
            return Some(Doubt::Broken(fault_list(&self.ground.broken)));
        }
        match ground_age_ms {
            None => Some(Doubt::Unseen),
            Some(age_ms) => (age_ms > allowed_ms).then_some(Doubt::Old { age_ms, allowed_ms }),
        }
    }

    /// The primary that the log names as serving now, and its epoch.
    pub fn serving(&self) -> Option<(Epoch, &InstanceId)> {
        match &self.stage {
            Stage::Named(promotion) if promotion.opened => Some((self.epoch, &self.primary)),
            _ => None,
        }
    }

    pub fn promotion(&self) -> Option<&Promotion> {
        match &self.stage {
            Stage::Named(promotion) => Some(promotion),
            _ => None,
        }
    }

    /// Its newest primary is named, and a write of that epoch was acknowledged by k of V.
    pub fn has_acknowledged(&self) -> bool {
        self.promotion().is_some_and(|of| of.acknowledged)
    }

    pub fn deposition(&self) -> Option<&Deposition> {
        match &self.stage {
            Stage::Deposed(deposition) => Some(deposition),
            _ => None,
        }
    }

    /// Replicas in the primary's own region that may be promoted.
    pub fn at_home(&self) -> BTreeSet<InstanceId> {
        let home = self.instances.get(&self.primary).map(|spec| &spec.region);
        self.instances
            .iter()
            .filter(|(id, spec)| {
                **id != self.primary
                    && Some(&spec.region) == home
                    && spec.promotion != PromotionRule::Never
                    && !self.left_behind.contains(*id)
            })
            .map(|(id, _)| id.clone())
            .collect()
    }
}
