//! What a replica wrote itself and nobody misses: transactions that change nothing, and
//! administrative statements. `FLUSH` writes a GTID even under super_read_only: a backup tool leaves
//! one on every replica, and each would bar its holder for good.
//!
//! The log names their GTIDs first: from that entry on they are errant on nobody, and stand in no
//! need. Then the primary's agent writes them too, empty, so that every instance comes to hold them.
//!
//! **Invariant:** nothing that a primary of this cluster wrote is named: it may be acknowledged.

use super::apply::Applied;
use super::cluster::Cluster;
use super::command::{EventKind, Refusal};
use super::level::THIRD;
use crate::gtid::GtidSet;
use crate::ids::{Epoch, InstanceId};

impl Cluster {
    /// What an instance that executed this wrote itself, as far as is known: no primary wrote it, and
    /// the present one, where that was heard, does not have it.
    pub fn own_writes_in(&self, executed: &GtidSet, primary: Option<&GtidSet>) -> GtidSet {
        let own = executed.without(&self.primaries);
        if own.is_empty() {
            return own;
        }
        let own = own.subtract(&self.floor);
        match primary {
            Some(primary) => own.subtract(primary),
            None => own,
        }
    }

    /// What of this the log could name common, and does not yet.
    pub fn lacks_common(&self, level: u32, set: &GtidSet) -> GtidSet {
        if level < THIRD || !self.has_acknowledged() || set.is_empty() {
            return GtidSet::default();
        }
        let known = self.common.union(&self.floor);
        set.without(&self.primaries).subtract(&known)
    }

    /// Names these common, which `holder` wrote itself.
    pub(super) fn make_common(
        &mut self,
        level: u32,
        epoch: Epoch,
        holder: &InstanceId,
        set: &GtidSet,
        who: Option<&str>,
    ) -> Applied {
        let what = "transactions made common";
        Refusal::below(THIRD, level, what)?;
        self.expect_epoch(what, epoch)?;
        self.expect_instance(holder)?;
        if !self.has_acknowledged() || *holder == self.primary {
            return Err(self.other_stage(what));
        }
        let lawful = set.without(&self.primaries);
        if lawful != *set {
            let written = set.subtract(&lawful);
            return Err(Refusal::Invalid {
                field: "set".into(),
                value: set.compact().to_string(),
                remedy: format!(
                    "a primary of this cluster wrote {}, which may be acknowledged: name what the \
                     replica wrote itself",
                    written.compact()
                ),
            });
        }
        let new = self.lacks_common(level, set);
        if new.is_empty() {
            return Ok(Vec::new());
        }
        self.common.union_with(&new);
        let why = match who {
            Some(who) => format!(
                "{who} accepts what {holder} wrote itself, {}",
                new.compact()
            ),
            None => format!(
                "{holder} wrote {} itself, which changes no data (empty, or administrative \
                 statements)",
                new.compact()
            ),
        };
        let what = format!(
            "{why}: common from here on; {} writes them, empty",
            self.primary
        );
        Ok(vec![self.event(EventKind::Common, what)])
    }

    /// What the floor contains everybody has.
    pub(super) fn forget_common(&mut self) {
        if !self.common.is_empty() {
            self.common = self.common.subtract(&self.floor);
        }
    }
}
