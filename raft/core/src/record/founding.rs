//! How a cluster comes into its first epoch: every instance reports, and the named one is chosen.
//!
//! A report that would be refused changes nothing: the instance is asked again, and founds the
//! cluster once it has been mended. A cluster that never comes so far can be taken back.

use std::collections::BTreeSet;

use super::apply::Applied;
use super::cluster::{Cluster, Founding, FreezeReport, Stage};
use super::command::{EventKind, Refusal};
use super::level::SECOND;
use super::state::State;
use crate::decide::{Choice, LossBound, Proof};
use crate::gtid::GtidSet;
use crate::ids::{ClusterId, Epoch, InstanceId, Position};

/// What one instance says of itself while its cluster is being founded.
#[derive(Clone, Copy, Debug)]
pub struct FoundingWord<'a> {
    pub instance: &'a InstanceId,
    pub report: &'a FreezeReport,
    pub fenced: bool,
    /// The entry that registered the cluster, if that was said.
    pub registered: Option<Position>,
}

impl State {
    /// What a founding report would do: refuse, found the cluster by this choice, or, while others
    /// have not reported, neither. A leader asks before it proposes, so that a refused report does
    /// not fill the log.
    pub fn judge_founding(
        &self,
        id: &ClusterId,
        word: FoundingWord<'_>,
    ) -> Result<Option<Choice>, Refusal> {
        let cluster = self
            .clusters
            .get(id)
            .ok_or_else(|| Refusal::NoSuchCluster(id.clone()))?;
        self.may_enrol(cluster, word.instance, word.report.server_uuid)?;
        cluster.expect_founding(word)?;
        cluster.judge_founding(word)
    }

    pub(super) fn founding_report(
        &mut self,
        at: Position,
        id: &ClusterId,
        word: FoundingWord<'_>,
    ) -> Applied {
        let level = self.level;
        if level >= SECOND {
            self.judge_founding(id, word)?;
        }
        // Who acknowledges is known by its `server_uuid`: from here on each has one.
        self.enrol(id, word.instance, word.report.server_uuid)?;
        self.cluster_mut(id)?.founding_report(at, word, level)
    }

    pub(super) fn unregister(&mut self, id: &ClusterId, who: &str) -> Applied {
        let level = self.level;
        Refusal::below(SECOND, level, "unregister")?;
        let cluster = self
            .clusters
            .get(id)
            .ok_or_else(|| Refusal::NoSuchCluster(id.clone()))?;
        // From epoch 1 on an order to open is out, and may have been carried out.
        if !matches!(cluster.stage, Stage::Founding { .. }) {
            return Err(Refusal::Founded {
                cluster: id.clone(),
                epoch: cluster.epoch,
            });
        }
        let event = cluster.event(
            EventKind::Unregistered,
            format!("{who} takes the registration back; it was never founded"),
        );
        self.clusters.remove(id);
        Ok(vec![event])
    }
}

impl Cluster {
    /// Of an instance that is enrolled: whose report it is has been asked by then.
    fn founding_report(&mut self, at: Position, word: FoundingWord<'_>, level: u32) -> Applied {
        self.expect_founding(word)?;
        if level < SECOND {
            // The first level stored before it judged, and every node of a plane applies alike.
            self.store(word);
        }
        let choice = self.judge_founding(word)?;
        self.store(word);
        let Some(choice) = choice else {
            return Ok(Vec::new());
        };
        self.primaries
            .extend(self.instances[&choice.to].server_uuid);
        self.floor_stands = choice.proof != Proof::Founding { adopted: true };
        let event = self.name(at, &choice);
        self.owes_scheduled(level, false);
        Ok(vec![event])
    }

    fn store(&mut self, word: FoundingWord<'_>) {
        if let Stage::Founding { reports, .. } = &mut self.stage {
            reports.insert(word.instance.clone(), word.report.clone());
        }
    }

    /// Whether it is being founded, by this registration, and the instance may report so.
    fn expect_founding(&self, word: FoundingWord<'_>) -> Result<(), Refusal> {
        let Stage::Founding {
            at, registration, ..
        } = &self.stage
        else {
            return Err(self.other_stage("founding report"));
        };
        if word.registered.is_some_and(|registered| registered != *at) {
            return Err(self.other_stage("founding report of an earlier registration"));
        }
        let instance = word.instance;
        let must_be_fenced =
            registration.founding == Founding::New || *instance != registration.primary;
        if must_be_fenced && !word.fenced {
            return Err(Refusal::Invalid {
                field: format!("super_read_only and offline_mode of {instance}"),
                value: "OFF".into(),
                remedy: "an instance boots closed, with both of them ON; set them".into(),
            });
        }
        Ok(())
    }

    /// The choice of epoch 1 if this was the last report; refused if somebody holds what the named
    /// primary does not.
    fn judge_founding(&self, word: FoundingWord<'_>) -> Result<Option<Choice>, Refusal> {
        let Stage::Founding {
            registration,
            reports,
            ..
        } = &self.stage
        else {
            return Err(self.other_stage("founding report"));
        };
        let report_of = |id: &InstanceId| match id == word.instance {
            true => Some(word.report),
            false => reports.get(id),
        };
        let all: Option<Vec<_>> = self
            .instances
            .keys()
            .map(|id| Some((id, report_of(id)?)))
            .collect();
        let (Some(all), Some(primary)) = (all, report_of(&self.primary)) else {
            return Ok(None);
        };
        let adopted = registration.founding == Founding::Adopted;
        let holds = primary.holds();
        // A running primary's set grows while the others are asked: what they hold under its own
        // UUID is its own.
        let beyond = all
            .iter()
            .filter(|(id, _)| **id != self.primary)
            .map(|(id, report)| (id, report.holds().subtract(&holds)))
            .find(|(_, extra)| {
                extra
                    .uuids()
                    .any(|uuid| !adopted || uuid != primary.server_uuid)
            });
        if let Some((id, extra)) = beyond {
            return Err(Refusal::Invalid {
                field: format!("gtid_executed of {id}"),
                value: extra.compact().to_string(),
                remedy: format!(
                    "{} does not have these; found the cluster with the instance that has \
                     everything, or rebuild {id}",
                    self.primary
                ),
            });
        }
        Ok(Some(Choice {
            cluster: self.id.clone(),
            from: self.primary.clone(),
            to: self.primary.clone(),
            epoch: Epoch(1),
            proof: Proof::Founding { adopted },
            need: holds.clone(),
            within: holds,
            ackers: self.ackers.clone(),
            loss: if adopted {
                LossBound::Unknown
            } else {
                LossBound::Zero
            },
            why: vec!["named at registration".into()],
        }))
    }

    /// Whether the log has this report, or one that says the same. A running primary's own writes
    /// arrive everywhere all the time, and say nothing.
    pub fn has_founding_report(&self, instance: &InstanceId, report: &FreezeReport) -> bool {
        let Stage::Founding {
            registration,
            reports,
            ..
        } = &self.stage
        else {
            return false;
        };
        let own = match registration.founding {
            Founding::New => None,
            Founding::Adopted => self.instances[&self.primary].server_uuid,
        };
        let says = |report: &FreezeReport| -> GtidSet {
            match own {
                Some(uuid) => report.holds().without(&BTreeSet::from([uuid])),
                None => report.holds(),
            }
        };
        reports.get(instance).is_some_and(|stored| {
            stored.server_uuid == report.server_uuid && says(stored) == says(report)
        })
    }
}
