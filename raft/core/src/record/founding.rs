//! How a cluster comes into its first epoch: every instance reports, and the named one is chosen.

use super::apply::Applied;
use super::cluster::{Cluster, Founding, FreezeReport, Stage};
use super::command::Refusal;
use crate::decide::{Choice, LossBound, Proof};
use crate::ids::{Epoch, InstanceId, Position};

impl Cluster {
    /// Of an instance that is enrolled: whose report it is has been asked by then.
    pub(super) fn founding_report(
        &mut self,
        at: Position,
        instance: &InstanceId,
        report: &FreezeReport,
        fenced: bool,
    ) -> Applied {
        let stage = self.other_stage("founding report");
        let all: Vec<_> = self.instances.keys().cloned().collect();
        let Stage::Founding {
            registration,
            reports,
            ..
        } = &mut self.stage
        else {
            return Err(stage);
        };
        let must_be_fenced =
            registration.founding == Founding::New || *instance != registration.primary;
        if must_be_fenced && !fenced {
            return Err(Refusal::Invalid {
                field: format!("super_read_only and offline_mode of {instance}"),
                value: "OFF".into(),
                remedy: "an instance boots closed, with both of them ON; set them".into(),
            });
        }
        reports.insert(instance.clone(), report.clone());
        if !all.iter().all(|id| reports.contains_key(id)) {
            return Ok(Vec::new());
        }
        let reports = reports.clone();
        let adopted = registration.founding == Founding::Adopted;
        let primary = &reports[&self.primary];
        let holds = primary.holds();
        // A running primary's set grows while the others are asked: what they hold under its own
        // UUID is its own.
        let beyond: Vec<_> = reports
            .iter()
            .filter(|(id, _)| **id != self.primary)
            .map(|(id, report)| (id, report.holds().subtract(&holds)))
            .filter(|(_, extra)| {
                extra
                    .uuids()
                    .any(|uuid| !adopted || uuid != primary.server_uuid)
            })
            .collect();
        if let Some((id, extra)) = beyond.first() {
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
        let choice = Choice {
            cluster: self.id.clone(),
            from: self.primary.clone(),
            to: self.primary.clone(),
            epoch: Epoch(1),
            proof: Proof::Founding { adopted },
            need: holds.clone(),
            within: holds.clone(),
            ackers: self.ackers.clone(),
            loss: if adopted {
                LossBound::Unknown
            } else {
                LossBound::Zero
            },
            why: vec!["named at registration".into()],
        };
        self.primaries.insert(primary.server_uuid);
        self.floor_stands = !adopted;
        Ok(vec![self.name(at, &choice)])
    }
}
