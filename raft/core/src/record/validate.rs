//! What must hold after every apply. A violation is a bug of ours: the process stops rather than
//! act on it.

use std::collections::BTreeMap;

use super::cluster::{Cluster, PromotionRule, Stage};
use super::limits::SLOT_MS;
use super::state::State;

impl State {
    /// Every law of the state that does not hold, in words.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (id, cluster) in &self.clusters {
            for law in cluster.violations() {
                found.push(format!("cluster {id}: {law}"));
            }
        }
        found.extend(self.level_violations());
        found.extend(self.incident_violations());
        let (mut owners, mut servers) = (BTreeMap::new(), BTreeMap::new());
        for (id, cluster) in &self.clusters {
            for (instance, spec) in &cluster.instances {
                if let Some(other) = owners.insert(instance, id) {
                    found.push(format!(
                        "instance {instance} belongs to {other} and to {id}"
                    ));
                }
                let Some(uuid) = spec.server_uuid else {
                    continue;
                };
                if let Some((owner, twin)) = servers.insert(uuid, (id, instance)) {
                    found.push(format!(
                        "{uuid} is {instance} of {id} and {twin} of {owner}"
                    ));
                }
            }
        }
        found
    }

    /// Panics if a law does not hold: acting on such a state could lose data.
    pub fn validate(&self) {
        let found = self.violations();
        assert!(
            found.is_empty(),
            "the replicated state broke its own laws: {found:?}"
        );
    }
}

impl Cluster {
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut law = |holds: bool, words: &str| {
            if !holds {
                found.push(words.to_owned());
            }
        };
        law(
            self.instances.contains_key(&self.primary),
            "the primary is a registered instance",
        );
        law(
            !self.ackers.members.contains(&self.primary),
            "a primary is no acker of itself",
        );
        law(!self.ackers.members.is_empty(), "V is never empty");
        law(
            self.ackers.k >= 1,
            "a commit waits for at least one acknowledgement",
        );
        law(
            self.ackers.k as usize <= self.ackers.members.len(),
            "k is not above |V|",
        );
        law(
            self.ackers
                .members
                .iter()
                .all(|id| self.instances.contains_key(id)),
            "every acker is a registered instance",
        );
        law(
            self.ackers.members.is_disjoint(&self.left_behind),
            "a former primary is not in V before it rejoined",
        );
        law(
            self.inquest
                .as_ref()
                .is_none_or(|inquest| inquest.epoch == self.epoch && inquest.id <= self.inquests),
            "an open inquest is the newest, and of the newest epoch",
        );
        law(
            self.aborted.is_none() || (self.inquest.is_none() && self.promotion().is_some()),
            "an inquest that was aborted is closed, and its epoch stands",
        );
        law(
            self.slot_ms == 0 || (self.failing_in().is_some() && self.slot_ms <= SLOT_MS),
            "a slot is held by a failover, for a bounded time",
        );
        law(
            self.slot_ms == 0 || self.promotion().is_none_or(|p| !p.opened),
            "who has opened holds no slot",
        );
        match &self.stage {
            Stage::Founding { .. } => law(self.epoch.0 == 0, "epoch 0 is the one being founded"),
            Stage::Named(promotion) => {
                law(self.epoch.0 > 0, "a named primary has an epoch");
                law(
                    promotion.choice.to == self.primary,
                    "the named primary is the chosen one",
                );
                law(
                    promotion.choice.epoch == self.epoch,
                    "the choice is for the newest epoch",
                );
                law(
                    self.floor.is_superset_of(&promotion.choice.need),
                    "the floor contains what the choice needed",
                );
                law(
                    promotion.opened || !promotion.acknowledged,
                    "nothing is acknowledged unopened",
                );
                law(
                    self.instances[&self.primary].promotion != PromotionRule::Never
                        || self.epoch.0 == 1,
                    "an instance that must never be primary is not",
                );
            }
            Stage::Deposed(_) => {
                law(self.epoch.0 > 0, "only a named epoch is deposed");
                law(
                    self.inquest.is_none(),
                    "a deposed epoch has no open inquest",
                );
            }
        }
        found
    }
}
