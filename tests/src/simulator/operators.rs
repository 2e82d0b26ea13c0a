//! Operators: they abort what has been started, at the moment when it starts or a little later, and
//! lift that again. Their commands enter the log by a door of their own, apart from any node's.

use primacy_core::ids::{Epoch, Incarnation, NodeId, Seq};
use primacy_core::record::{Cluster, Command, Proposal};

use super::fault::Fault;
use super::world::{ANY_RUN, Target, What, World};

/// From the door to the log.
const COMMIT_US: u64 = 5_000;
/// Of the moments at which something has just been started, so many in a thousand are aborted.
const ABORT_PERMILLE: u64 = 400;

impl World {
    /// Called when an entry changed the cluster.
    pub(super) fn meddle(&mut self, old: Option<&Cluster>, new: &Cluster) {
        let asked = |cluster: &Cluster| cluster.inquest.is_some();
        let over = |cluster: &Cluster| cluster.deposition().is_some();
        let starts = asked(new) && !old.is_some_and(asked);
        let deposed = over(new) && !old.is_some_and(over);
        let chance = if deposed {
            ABORT_PERMILLE
        } else {
            ABORT_PERMILLE / 4
        };
        if (starts || deposed) && self.rng.chance(chance) {
            let after = self.rng.below(300_000);
            let lasts = self.rng.between(200_000, 12_000_000);
            self.strike(Fault::Abort, after, lasts);
        }
    }

    pub(super) fn abort(&mut self) {
        self.operate(|cluster, epoch| Command::Abort {
            cluster: cluster.id.clone(),
            epoch,
            who: "an operator".into(),
            why: "to see what follows".into(),
        });
    }

    pub(super) fn lift_abort(&mut self) {
        self.operate(|cluster, epoch| Command::Approve {
            cluster: cluster.id.clone(),
            epoch,
            who: "an operator".into(),
            allows: Default::default(),
        });
    }

    fn operate(&mut self, command: impl FnOnce(&Cluster, Epoch) -> Command) {
        let Some(cluster) = self.shop() else { return };
        let command = command(cluster, cluster.epoch);
        let proposal = Proposal {
            proposer: NodeId(1).operators_door(),
            incarnation: Incarnation(1),
            seq: Seq(self.now),
            wall_ms: 0,
            commands: vec![command],
        };
        let what = What::LogCommit(Box::new(proposal));
        self.after(COMMIT_US, Target::World, ANY_RUN, what);
    }
}
