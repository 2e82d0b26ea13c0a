//! **Law (U):** what a choice adds to the floor somebody may have been told of: the deposed primary had
//! committed it, or k of those who could acknowledge to it have received it, or wrote it themselves;
//! those that tell nothing are counted with them.
//!
//! Source: `raft/core/PROTOCOL.md`. A floor that holds more bars whoever holds all that was answered.
//! Planted: `union-needed`.

use primacy_core::decide::Proof;
use primacy_core::ids::InstanceId;
use primacy_core::record::State;

use crate::simulator::{World, instance_name};

pub fn check(world: &World, before: &State, state: &State) -> Option<String> {
    state.clusters.iter().find_map(|(id, cluster)| {
        let was = before.clusters.get(id)?;
        let record = was.deposition()?;
        if cluster.epoch <= was.epoch {
            return None;
        }
        let primary = world.host_of(&was.primary);
        let added = cluster
            .floor
            .subtract(&was.floor)
            .subtract(&record.inquest.last_known)
            .subtract(&world.servers[primary].executed);
        if added.is_empty() {
            return None;
        }
        // By whom it was chosen: more may have reported since.
        let (Proof::Exited { frozen } | Proof::AckersFrozen { frozen, .. }) =
            &cluster.promotion()?.choice.proof
        else {
            return None;
        };
        let remembers = |id: &&InstanceId| {
            record.frozen.get(*id).is_some_and(|report| {
                report.forgot.is_none()
                    && report.marked.is_none()
                    && !report.left_unknown.contains(&was.primary)
            })
        };
        let members = &was.ackers.members;
        let told: Vec<usize> = frozen
            .iter()
            .filter(remembers)
            .map(|id| world.host_of(id))
            .collect();
        let silent = members.len() + was.ground.strangers.len() - told.len();
        let k = was.ackers.k as usize;
        let nobody = world.txns.iter().find(|txn| {
            let had = |host: &&usize| {
                let received = world.truth(**host).received.get(host);
                received.is_some_and(|of| of.contains(&txn.gtid))
                    || world.servers[**host].executed.contains(&txn.gtid)
            };
            added.contains(&txn.gtid) && told.iter().filter(had).count() + silent < k
        })?;
        Some(format!(
            "epoch {} needs {}, which {} never committed, and which fewer than {k} of {members:?} \
             ever held",
            cluster.epoch,
            nobody.gtid,
            instance_name(primary),
        ))
    })
}
