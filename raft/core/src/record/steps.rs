//! What each command does to one cluster, guarded by the epoch and the stage it expects.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Deposition, FenceReport, Follower, FreezeReport, Promotion, Stage};
use super::command::{Event, EventKind, Refusal};
use super::ground::{Ground, Told};
use super::limits::SLOT_MS;
use crate::agree::Inquest;
use crate::decide::{self, Choice, Fetch, Fetching};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{Epoch, Incarnation, InquestId, InstanceId, Position};

use super::apply::Applied;
use crate::act::ProcessId;

impl Cluster {
    pub(super) fn event(&self, kind: EventKind, what: String) -> Event {
        Event {
            cluster: Some(self.id.clone()),
            epoch: self.epoch,
            kind,
            what,
        }
    }

    pub fn stage_name(&self) -> &'static str {
        match &self.stage {
            Stage::Founding { .. } => "being founded",
            Stage::Deposed(_) => "primary deposed",
            Stage::Named(promotion) if !promotion.opened => "opening the new primary",
            Stage::Named(promotion) if !promotion.acknowledged => "open, first write pending",
            Stage::Named(_) => "serving",
        }
    }

    pub(super) fn other_stage(&self, what: &str) -> Refusal {
        Refusal::OtherStage {
            what: what.into(),
            stage: self.stage_name().into(),
        }
    }

    pub(super) fn expect_epoch(&self, what: &str, expected: Epoch) -> Result<(), Refusal> {
        if self.epoch == expected {
            return Ok(());
        }
        Err(Refusal::OtherEpoch {
            what: what.into(),
            expected,
            found: self.epoch,
        })
    }

    pub(super) fn expect_instance(&self, instance: &InstanceId) -> Result<(), Refusal> {
        if self.instances.contains_key(instance) {
            return Ok(());
        }
        Err(Refusal::NoSuchInstance {
            cluster: self.id.clone(),
            instance: instance.clone(),
        })
    }

    /// Where the data is not what it was, a report of it counts for nothing.
    pub(super) fn expect_data(&self, instance: &InstanceId, found: Uuid) -> Result<(), Refusal> {
        let known = self
            .instances
            .get(instance)
            .and_then(|spec| spec.server_uuid);
        if known.is_none_or(|uuid| uuid == found) {
            return Ok(());
        }
        Err(Refusal::Invalid {
            field: format!("server_uuid of {instance}"),
            value: found.to_string(),
            remedy: "its data directory was replaced; it has to be confirmed first".into(),
        })
    }

    /// `after`: the abort that the asking node knows. One that it does not know was not lifted by its
    /// question, however long that was on its way.
    pub(super) fn open_inquest(
        &mut self,
        at: Position,
        epoch: Epoch,
        after: Option<Position>,
    ) -> Applied {
        self.expect_epoch("open inquest", epoch)?;
        if self.serving().is_none() && self.promotion().is_none() {
            return Err(self.other_stage("open inquest"));
        }
        if self.inquest.is_some() || self.aborted.as_ref().map(|abort| abort.at) != after {
            return Ok(Vec::new());
        }
        self.aborted = None;
        self.inquests = self.inquests.next();
        self.inquest = Some(Inquest::new(self.inquests, epoch, at));
        self.judgement = None;
        Ok(vec![self.event(
            EventKind::InquestOpened,
            format!("inquest {} into {} opened", self.inquests, self.primary),
        )])
    }

    pub(super) fn close_inquest(&mut self, inquest: InquestId, why: &str) -> Vec<Event> {
        if self.inquest.as_ref().is_none_or(|open| open.id != inquest) {
            return Vec::new();
        }
        self.inquest = None;
        self.judgement = None;
        vec![self.event(
            EventKind::InquestClosed,
            format!("inquest {inquest} closed: {why}"),
        )]
    }

    /// `region_fails`: a regional incident is open for the primary's region.
    pub(super) fn depose(
        &mut self,
        at: Position,
        approved_by: Option<String>,
        region_fails: bool,
    ) -> Event {
        let inquest = self
            .inquest
            .take()
            .expect("a verdict stems from an open inquest");
        let judgement = self
            .judgement
            .take()
            .expect("an epoch is deposed by a verdict");
        let event = self.event(
            EventKind::Deposed,
            format!("epoch {} of {} deposed", self.epoch, self.primary),
        );
        let promotion = self.promotion();
        let acknowledged = promotion.is_some_and(|of| of.acknowledged);
        let former = promotion.map(|of| of.former.clone());
        let opener = promotion.and_then(|of| of.opener.clone());
        let ground_age_ms = inquest.ground_age_ms();
        self.reopen = None;
        self.slot_ms = SLOT_MS;
        self.stage = Stage::Deposed(Box::new(Deposition {
            approved_by,
            region_fails,
            acknowledged,
            ground_age_ms,
            former,
            opener,
            ..Deposition::new(at, judgement, inquest)
        }));
        event
    }

    pub(super) fn deposition_mut(
        &mut self,
        what: &str,
        epoch: Epoch,
        instance: &InstanceId,
    ) -> Result<&mut Deposition, Refusal> {
        self.expect_epoch(what, epoch)?;
        self.expect_instance(instance)?;
        let stage = self.other_stage(what);
        match &mut self.stage {
            Stage::Deposed(deposition) => Ok(deposition),
            _ => Err(stage),
        }
    }

    pub(crate) fn frozen(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        report: &FreezeReport,
    ) -> Applied {
        self.expect_data(instance, report.server_uuid)?;
        if report.undurable {
            return Err(Refusal::Unsound(format!(
                "{instance} may forget that it is frozen: its agent's disk takes no writes"
            )));
        }
        let text = format!("{instance} frozen, holds {}", report.holds().compact());
        self.deposition_mut("freeze report", epoch, instance)?
            .record_freeze(instance, report.clone());
        Ok(vec![self.event(EventKind::Frozen, text)])
    }

    pub(super) fn fenced(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        report: &FenceReport,
        unopened: Option<&ProcessId>,
    ) -> Applied {
        if *instance != self.primary {
            return Err(self.other_stage("fence report of another than the primary"));
        }
        let text = match report {
            FenceReport::Confirmed { .. } => format!("{instance} confirms that it is fenced"),
            FenceReport::Exited => format!("{instance} has exited"),
        };
        if let FenceReport::Confirmed { server_uuid, .. } = report {
            self.expect_data(instance, *server_uuid)?;
        }
        let deposition = self.deposition_mut("fence report", epoch, instance)?;
        // It ran when it was chosen, and has run since: what it remembers is all there is.
        deposition.unopened |= unopened.is_some() && deposition.opener.as_ref() == unopened;
        match (&deposition.fence, report) {
            // Content, once known, is never forgotten.
            (Some(FenceReport::Confirmed { .. }), _) => return Ok(Vec::new()),
            _ => deposition.fence = Some(report.clone()),
        }
        let mut events = vec![self.event(EventKind::Fenced, text)];
        if let FenceReport::Confirmed { broken, .. } = report {
            events.extend(self.hear_broken(instance, broken));
        }
        Ok(events)
    }

    /// The fence of one that cannot write spares stale reads, and nothing else: where no answer comes,
    /// what the ackers prove is enough.
    pub(super) fn unheard(&mut self, epoch: Epoch) -> Applied {
        let primary = self.primary.clone();
        let deposition = self.deposition_mut("unheard", epoch, &primary)?;
        if deposition.fence.is_some() || std::mem::replace(&mut deposition.unheard, true) {
            return Ok(Vec::new());
        }
        let what =
            format!("{primary} leaves the order to fence unanswered; its ackers' proof must do");
        Ok(vec![self.event(EventKind::Unheard, what)])
    }

    pub(super) fn fetch(&mut self, at: Position, epoch: Epoch, fetch: &Fetch) -> Applied {
        self.deposition_mut("fetch", epoch, &fetch.to)?;
        let found = decide::check_fetch(self, fetch);
        if !found.is_empty() {
            return Err(Refusal::Unsound(found.join("; ")));
        }
        let text = format!(
            "{} is to fetch {} from {}: nobody who may be promoted holds it",
            fetch.to,
            fetch.set.compact(),
            fetch.donor
        );
        self.deposition_mut("fetch", epoch, &fetch.to)?.fetching = Some(Fetching {
            at,
            fetch: fetch.clone(),
        });
        Ok(vec![self.event(EventKind::Fetching, text)])
    }

    pub(super) fn choose(&mut self, at: Position, choice: &Choice) -> Applied {
        let found = decide::check(self, choice);
        if !found.is_empty() {
            return Err(Refusal::Unsound(found.join("; ")));
        }
        let unopened = self.deposition().is_some_and(|of| of.unopened);
        if choice.to != self.primary && !unopened {
            self.left_behind.insert(self.primary.clone());
        }
        self.left_behind.remove(&choice.to);
        self.mysqld = self.run_of(&choice.to);
        // What it writes from now on is never errant, so its name must not be missed: its report
        // tells it where no enrolment has.
        let reported = self
            .deposition()
            .and_then(|record| record.frozen.get(&choice.to))
            .map(|report| report.server_uuid);
        let enrolled = self
            .instances
            .get(&choice.to)
            .and_then(|spec| spec.server_uuid);
        self.primaries.extend(enrolled.or(reported));
        Ok(vec![self.name(at, choice)])
    }

    /// The run of a server that its agent's report for the deposed epoch spoke of.
    fn run_of(&self, instance: &InstanceId) -> Option<Incarnation> {
        let record = self.deposition()?;
        match &record.fence {
            Some(FenceReport::Confirmed { mysqld, .. }) if *instance == self.primary => *mysqld,
            _ => record.frozen.get(instance)?.mysqld,
        }
    }

    /// The chosen one becomes the named primary of the next epoch.
    pub(super) fn name(&mut self, at: Position, choice: &Choice) -> Event {
        let former = self.inherited();
        let opener = self
            .deposition()
            .and_then(|record| record.frozen.get(&choice.to)?.agent.clone());
        self.epoch = choice.epoch;
        self.primary = choice.to.clone();
        self.ackers = choice.ackers.clone();
        self.floor.union_with(&choice.need);
        self.forget_common();
        self.inquest = None;
        self.judgement = None;
        self.reopen = None;
        // It was the former one's; the agent of the new one tells of its own, and counts its beats
        // itself. What a reinstated one answered alone nobody else may hold: its new epoch starts
        // as the old one ended.
        self.ground = match choice.to == choice.from {
            true => Ground {
                told: Told::default(),
                ..std::mem::take(&mut self.ground)
            },
            false => Ground::default(),
        };
        self.aborted = None;
        let after = match &self.stage {
            Stage::Deposed(deposition) => Some(deposition.clone()),
            Stage::Founding { .. } | Stage::Named(_) => None,
        };
        self.stage = Stage::Named(Box::new(Promotion {
            at,
            after,
            choice: choice.clone(),
            applied: false,
            opened: false,
            acknowledged: false,
            followers: BTreeMap::new(),
            freed: Default::default(),
            former,
            opener,
        }));
        self.event(
            EventKind::Chosen,
            format!(
                "{} chosen for epoch {}, proof: {}",
                choice.to, choice.epoch, choice.proof
            ),
        )
    }

    pub(super) fn promotion_mut(
        &mut self,
        what: &str,
        epoch: Epoch,
    ) -> Result<&mut Promotion, Refusal> {
        self.expect_epoch(what, epoch)?;
        let stage = self.other_stage(what);
        match &mut self.stage {
            Stage::Named(promotion) => Ok(promotion),
            _ => Err(stage),
        }
    }

    pub(super) fn progress(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        kind: EventKind,
        step: impl FnOnce(&mut Promotion) -> Option<&'static str>,
    ) -> Applied {
        if *instance != self.primary {
            return Err(self.other_stage("progress of another than the primary"));
        }
        let said = step(self.promotion_mut("progress", epoch)?);
        Ok(said
            .map(|what| self.event(kind, format!("{instance} {what}")))
            .into_iter()
            .collect())
    }

    pub(super) fn opened(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        mysqld: Option<Incarnation>,
    ) -> Applied {
        let mut moved = false;
        let mut proved = false;
        let events = self.progress(epoch, instance, EventKind::Opened, |promotion| {
            proved = promotion.acknowledged;
            (!promotion.opened).then(|| {
                moved = promotion.choice.from != promotion.choice.to;
                (promotion.applied, promotion.opened) = (true, true);
                "is open"
            })
        })?;
        if mysqld.is_some() {
            self.mysqld = mysqld;
        }
        if proved {
            // The right to open again is used up: another closing is compared anew.
            self.reopen = None;
        }
        self.slot_ms = 0;
        // Reinstatements, and epochs that never opened, do not count.
        if moved {
            self.rest();
        }
        Ok(events)
    }

    pub(super) fn rest(&mut self) {
        self.rest_ms = self.policy.min_interval_s.saturating_mul(1_000);
    }

    pub(super) fn follower(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        follower: Follower,
    ) -> Applied {
        self.expect_instance(instance)?;
        let promotion = self.promotion_mut("follow report", epoch)?;
        if promotion.followers.get(instance) == Some(&follower) {
            return Ok(Vec::new());
        }
        let joined = follower == Follower::Joined;
        let text = match &follower {
            Follower::Joined => format!("{instance} follows {}", promotion.choice.to),
            Follower::Refused { extra } => format!(
                "{instance} must not follow: it holds {}, which {} does not",
                extra.compact(),
                promotion.choice.to
            ),
        };
        promotion.followers.insert(instance.clone(), follower);
        Ok(vec![self.event(
            if joined {
                EventKind::Followed
            } else {
                EventKind::Refused
            },
            text,
        )])
    }

    pub(super) fn acknowledged(
        &mut self,
        epoch: Epoch,
        instance: &InstanceId,
        floor: &GtidSet,
    ) -> Applied {
        if *instance != self.primary {
            return Err(self.other_stage("acknowledgement of another than the primary"));
        }
        let promotion = self.promotion_mut("acknowledged", epoch)?;
        let first = !promotion.acknowledged;
        // Its opening need not have been reported: the answers overtake each other.
        let opened = !promotion.opened;
        let moved = opened && promotion.choice.from != promotion.choice.to;
        (promotion.applied, promotion.opened, promotion.acknowledged) = (true, true, true);
        self.reopen = None;
        self.floor.union_with(floor);
        self.floor_stands = true;
        self.slot_ms = 0;
        if moved {
            self.rest();
        }
        let mut events = Vec::new();
        if opened {
            events.push(self.event(EventKind::Opened, format!("{instance} is open")));
        }
        if first {
            events.push(self.event(
                EventKind::Acknowledged,
                format!(
                    "{instance} writes, acknowledged by {} ackers",
                    self.ackers.k
                ),
            ));
        }
        Ok(events)
    }
}
