//! What an instance holds, watched from one look to the next: whether its GTIDs still say what is in
//! it.
//!
//! A filter leaves rows out under GTIDs that it executes; a reset takes GTIDs away. Neither can be
//! undone, and neither shows once its cause is gone: what was seen is kept in the seal.

use super::super::op::Survey;
use super::{Agent, AgentOutput};
use crate::gtid::GtidSet;
use crate::ids::Tick;
use crate::observe::Role;

/// The newest look, and when it was answered.
#[derive(Clone, Debug)]
pub(super) struct Held {
    at: Tick,
    executed: GtidSet,
    holds: GtidSet,
}

impl Agent {
    /// Compares a look, begun at `begun`, with the one before; of the same data, by nobody's order.
    pub(super) fn watch_content(
        &mut self,
        now: Tick,
        begun: Tick,
        survey: &Survey,
        out: &mut Vec<AgentOutput>,
    ) {
        let own = self.seal.server_uuid == Some(survey.server_uuid);
        let before = self.held.replace(Held {
            at: now,
            executed: survey.executed.clone(),
            holds: survey.holds(),
        });
        if !own {
            return;
        }
        let open = matches!(self.role, Role::Open(_));
        if !survey.ground.filters.is_empty() && !open {
            let filters = survey.ground.filters.join(", ");
            self.mark(
                now,
                format!("it replicates under a filter ({filters})"),
                out,
            );
        }
        let Some(before) = before.filter(|before| begun > before.at && self.job.is_none()) else {
            return;
        };
        let reset = before.executed.subtract(&survey.executed);
        let lost = before.holds.subtract(&survey.holds()).subtract(&reset);
        if !reset.is_empty() && open {
            self.ground.was_reset(self.beat + 1);
            self.beat_due = now;
        } else if !reset.is_empty() {
            let what = format!("its GTIDs were reset: {} are gone", reset.compact());
            self.mark(now, what, out);
        }
        if !lost.is_empty() && !open {
            // It can be told again what it lost, and is whole then.
            self.seal.lost.union_with(&lost);
            self.persist(out);
        } else if !self.seal.lost.is_empty() && survey.holds().is_superset_of(&self.seal.lost) {
            self.seal.lost = GtidSet::default();
            self.persist(out);
        }
    }

    fn mark(&mut self, now: Tick, what: String, out: &mut Vec<AgentOutput>) {
        if self.seal.marked.is_none() {
            self.seal.marked = Some(what);
            self.persist(out);
            self.beat_due = now;
        }
    }

    /// Why it may hold less than it once acknowledged.
    pub(super) fn forgot(&self, survey: &Survey) -> Option<String> {
        // In each beat: sets are united only where something was lost.
        if self.seal.lost.is_empty() {
            return None;
        }
        let lost = self.seal.lost.subtract(&survey.holds());
        (!lost.is_empty()).then(|| format!("it lost {} with its relay log", lost.compact()))
    }
}
