//! A choice is taken back: who was chosen stalls before it opens, and says so.
//!
//! Its epoch is deposed like any other, by that word in place of an inquest. The word proves nothing:
//! it may have opened unheard, so proof and need are those of every epoch. Only the answer to its
//! fence may say that it never began to open: then nothing was acknowledged in the epoch, need is
//! what it was, and it is no former primary.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::cluster::{Ackers, Cluster, Deposition, Stage};
use super::command::{Event, EventKind};
use super::limits::SLOT_MS;
use crate::agree::{Inquest, Judgement, Verdict};
use crate::decide::LossBound;
use crate::ids::{Epoch, InstanceId, Position};

/// Why the choice of an epoch was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// What its agent said held it.
    pub why: String,
    /// What could be missing on it already: whoever is chosen instead can lack no less.
    pub loss: LossBound,
}

impl Cluster {
    /// Takes back the choice of an epoch that has not opened, as far as the log knows.
    pub(super) fn withdraw(
        &mut self,
        at: Position,
        epoch: Epoch,
        instance: &InstanceId,
        why: &str,
    ) -> Applied {
        if *instance != self.primary {
            return Err(self.other_stage("withdrawal of another than the chosen one"));
        }
        let stage = self.other_stage("withdrawal");
        let promotion = self.promotion_mut("withdrawal", epoch)?.clone();
        let Some(after) = promotion.after.filter(|_| !promotion.opened) else {
            return Err(stage); // a founding has nobody else; what is open serves
        };
        let event = self.event(
            EventKind::Withdrawn,
            format!("{instance} is withdrawn before it opened for epoch {epoch}: {why}"),
        );
        let mut approval = after.approval.clone();
        // Whoever named it named one that does not open.
        approval.to.take_if(|to| to == instance);
        self.reopen = None;
        self.aborted = None;
        self.inquest = None;
        self.judgement = None;
        self.slot_ms = SLOT_MS;
        self.stage = Stage::Deposed(Box::new(Deposition {
            approved_by: after.approved_by.clone(),
            region_fails: after.region_fails,
            ground_age_ms: after.ground_age_ms,
            approval,
            former: Some(promotion.former),
            opener: promotion.opener,
            withdrawn: Some(Withdrawn {
                why: why.to_owned(),
                loss: promotion.choice.loss,
            }),
            ..Deposition::new(at, stuck(), Inquest::new(self.inquests, epoch, at))
        }));
        Ok(vec![event])
    }

    /// V and k that those of the next epoch follow from: of the newest one, or, where that never
    /// began to open, with its primary back among them, and as many missing as before it.
    pub fn inherited(&self) -> Ackers {
        self.inherited_from(self.deposition())
    }

    /// The same, were its epoch deposed like this.
    pub(crate) fn inherited_from(&self, deposition: Option<&Deposition>) -> Ackers {
        let unopened = deposition.filter(|of| of.unopened);
        let Some(former) = unopened.and_then(|of| of.former.as_ref()) else {
            return self.ackers.clone();
        };
        let mut members = self.ackers.members.clone();
        if former.members.contains(&self.primary) {
            members.insert(self.primary.clone());
        }
        former.of(members)
    }

    /// Records whose sessions were ended on the chosen one, for they held what it had to apply.
    pub(super) fn freed(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        ended: &BTreeSet<String>,
    ) -> Applied {
        if *instance != self.primary {
            return Err(self.other_stage("word of another than the chosen one"));
        }
        let promotion = self.promotion_mut("freed", epoch)?;
        let new: Vec<String> = ended.difference(&promotion.freed).cloned().collect();
        promotion.freed.extend(new.iter().cloned());
        let said = |what: &String| self.event(EventKind::Freed, format!("{instance}: {what}"));
        let events: Vec<Event> = new.iter().map(said).collect();
        Ok(events)
    }
}

fn stuck() -> Judgement {
    Judgement {
        verdict: Verdict::Stuck,
        threshold_ms: 0,
        findings: Vec::new(),
    }
}
