//! What could have let the newest primary answer a write that fewer than k of V hold: strangers that
//! acknowledge, and settings that somebody changed. Each counts from the look that saw it until k of V
//! hold all that was answered meanwhile.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::cluster::{Cluster, Stage};
use super::command::{Event, EventKind};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{Epoch, Incarnation, InstanceId};
use crate::observe::{Fault, fault_list};

/// In the order of an agent's words.
pub type Told = (Incarnation, u64);

/// What is not settled of the newest primary's ground.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ground {
    /// Replicas that are not in V, and whose acknowledgements it counted all the same: semi-sync has
    /// no list of who may. Each counts as a member of V that nobody can freeze.
    pub strangers: BTreeSet<Uuid>,
    /// While any of these stands, nobody knows what could be missing on another.
    pub broken: BTreeSet<Fault>,
    /// The newest word of the primary's agent that was taken.
    pub told: Told,
}

impl Ground {
    pub fn is_settled(&self) -> bool {
        self.strangers.is_empty() && self.broken.is_empty()
    }
}

/// How a stranger is called.
fn stranger_name(uuid: &Uuid) -> String {
    match uuid.connection() {
        Some(number) => format!("a client that names no server (connection {number})"),
        None => uuid.to_string(),
    }
}

/// How these are called, in a sentence.
pub fn stranger_names<'a>(uuids: impl IntoIterator<Item = &'a Uuid>) -> String {
    let names: Vec<String> = uuids.into_iter().map(stranger_name).collect();
    names.join(", ")
}

/// A word on the ground: what was seen, or (with `held`) that all of it is settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroundSaid {
    pub told: Told,
    pub strangers: BTreeSet<Uuid>,
    pub broken: BTreeSet<Fault>,
    /// k of V hold this, which was executed when a marker was answered that had begun after the last
    /// of it was seen.
    pub held: Option<GtidSet>,
}

impl Cluster {
    /// Takes a word on the ground. Of a deposed epoch nothing is settled any more.
    pub(super) fn hear_ground(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        said: &GroundSaid,
    ) -> Applied {
        self.expect_epoch("ground", epoch)?;
        if *instance != self.primary {
            return Err(self.other_stage("ground of another than the primary"));
        }
        if said.held.is_some() && said.told <= self.ground.told {
            return Ok(Vec::new()); // overtaken
        }
        let before = self.ground.clone();
        self.ground.told = said.told.max(before.told);
        if let Some(held) = &said.held {
            if !matches!(self.stage, Stage::Named(_)) {
                return Ok(Vec::new());
            }
            self.ground.strangers.clear();
            // What was reset is gone, whoever holds what was written since.
            self.ground.broken.retain(|fault| *fault == Fault::Reset);
            self.floor.union_with(held);
            let what = "k of V hold all that was answered while its ground was broken: zero can be \
                        proved again";
            let settled = self.ground.is_settled() && !before.is_settled();
            return Ok(settled
                .then(|| self.event(EventKind::Ground, what.into()))
                .into_iter()
                .collect());
        }
        self.ground.strangers.extend(&said.strangers);
        let mut events = Vec::new();
        let new = self.ground.strangers.difference(&before.strangers);
        let names = stranger_names(new);
        if !names.is_empty() {
            let what = format!(
                "{names} acknowledges to {instance} without being in V, and counts as an acker that \
                 nobody can freeze: switch its rpl_semi_sync_replica_enabled off, or take the \
                 replication account from it",
            );
            events.push(self.event(EventKind::Ground, what));
        }
        events.extend(self.hear_broken(instance, &said.broken));
        Ok(events)
    }

    /// Takes it that this was seen of the primary's ground; says what is new of it.
    pub(super) fn hear_broken(
        &mut self,
        instance: &InstanceId,
        broken: &BTreeSet<Fault>,
    ) -> Option<Event> {
        let new: BTreeSet<Fault> = broken.difference(&self.ground.broken).copied().collect();
        self.ground.broken.extend(broken);
        (!new.is_empty()).then(|| {
            let what = format!(
                "the ground of {instance} is broken: {}; what it answers meanwhile may be on no acker",
                fault_list(&new)
            );
            self.event(EventKind::Ground, what)
        })
    }
}
