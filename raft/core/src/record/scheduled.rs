//! A cluster's scheduled events, carried from one primary to the next.
//!
//! A server boots, and is closed, with `event_scheduler=OFF`, and holds the events of its source
//! REPLICA_SIDE_DISABLED, whether they were enabled there or not. So the log keeps what the primary
//! had: whether its scheduler ran, and which events were not enabled. Whoever opens next is told to
//! take that over, once, after its first acknowledged write.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::cluster::{Cluster, Stage};
use super::command::{EventKind, Refusal};
use super::level::THIRD;
use crate::decide::Proof;
use crate::ids::{Epoch, InstanceId};

/// Names of events that are remembered at most; with more, a promotion enables none.
pub const IDLE_MAX: usize = 64;

/// Events of an open primary that are not enabled, as `schema.name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idle {
    Named(BTreeSet<String>),
    /// More than are remembered.
    TooMany(u64),
}

impl Default for Idle {
    fn default() -> Self {
        Idle::Named(BTreeSet::new())
    }
}

/// What a primary that has opened has still to take over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    #[default]
    Nothing,
    /// Its scheduler alone: its events are its own.
    Scheduler,
    /// Its events as well: it was a replica until now.
    Events,
}

/// What the log knows of a cluster's scheduled events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scheduled {
    /// Whether the scheduler of an open primary ran when that was last seen; `None`: never seen.
    pub runs: Option<bool>,
    pub idle: Idle,
    pub due: Due,
}

/// What the newest primary is to take over, as its agent is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOver {
    /// Whether its scheduler is to run.
    pub runs: bool,
    /// Enables what was left disabled on it as a replica, but these; `None` enables nothing.
    pub all_but: Option<BTreeSet<String>>,
}

/// What the agent of the newest primary is told of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owed {
    Nothing,
    This(TakeOver),
}

/// What became of the events that a promotion left disabled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TakenOver {
    pub enabled: BTreeSet<String>,
    /// Which could not be enabled, and what the server said.
    pub failed: BTreeMap<String, String>,
}

/// A word of the open primary's agent on its scheduled events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduledSaid {
    pub runs: Option<bool>,
    pub idle: Option<Idle>,
    pub taken_over: Option<TakenOver>,
}

impl Scheduled {
    fn owed(&self) -> Owed {
        let all_but = match (self.due, &self.idle) {
            (Due::Nothing, _) => return Owed::Nothing,
            (Due::Scheduler, _) | (Due::Events, Idle::TooMany(_)) => None,
            (Due::Events, Idle::Named(names)) => Some(names.clone()),
        };
        Owed::This(TakeOver {
            runs: self.runs.unwrap_or(true),
            all_but,
        })
    }

    /// Whether a word says anything that the log does not have.
    fn lacks(&self, said: &ScheduledSaid) -> bool {
        match self.due {
            Due::Nothing => {
                (said.runs.is_some() && said.runs != self.runs)
                    || said.idle.as_ref().is_some_and(|idle| *idle != self.idle)
            }
            Due::Scheduler | Due::Events => said.taken_over.is_some(),
        }
    }
}

impl Cluster {
    /// What the newest primary has to take over, from its first acknowledged write on; `None`
    /// before that, and under a feature level that knows nothing of it.
    pub fn owed_scheduled(&self, level: u32) -> Option<Owed> {
        (level >= THIRD && self.has_acknowledged()).then(|| self.scheduled.owed())
    }

    /// Whether a word of the open primary's agent belongs into the log.
    pub fn lacks_scheduled(&self, said: &ScheduledSaid) -> bool {
        self.promotion().is_some() && self.scheduled.lacks(said)
    }

    /// Somebody is chosen, or is to open again: what it has to take over once it writes.
    pub(super) fn owes_scheduled(&mut self, level: u32, again: bool) {
        let Some(promotion) = self.promotion() else {
            return;
        };
        let choice = &promotion.choice;
        let own = again || choice.from == choice.to || choice.epoch == Epoch(1);
        let due = match &choice.proof {
            _ if level < THIRD => Due::Nothing,
            // It stays open, as whoever ran it before left it.
            Proof::Founding { adopted: true } if !again => Due::Nothing,
            // What it had not taken over yet it owes still.
            _ if own && self.scheduled.due != Due::Events => Due::Scheduler,
            _ => Due::Events,
        };
        self.scheduled.due = due;
    }

    pub(super) fn hear_scheduled(
        &mut self,
        level: u32,
        epoch: Epoch,
        instance: &InstanceId,
        said: &ScheduledSaid,
    ) -> Applied {
        Refusal::below(THIRD, level, "a word on scheduled events")?;
        self.expect_epoch("scheduled events", epoch)?;
        if *instance != self.primary || !matches!(self.stage, Stage::Named(_)) {
            return Err(self.other_stage("scheduled events of another than the open primary"));
        }
        if !self.scheduled.lacks(said) {
            return Ok(Vec::new());
        }
        let before = self.scheduled.clone();
        let words = match (before.due, &said.taken_over) {
            (Due::Nothing, _) => {
                self.scheduled.runs = said.runs.or(before.runs);
                if let Some(idle) = &said.idle {
                    self.scheduled.idle = idle.clone();
                }
                seen(instance, &before, &self.scheduled)
            }
            (_, Some(taken_over)) => {
                self.scheduled.due = Due::Nothing;
                done(instance, &before, taken_over)
            }
            (_, None) => Vec::new(),
        };
        let event = |what| self.event(EventKind::Scheduled, what);
        Ok(words.into_iter().map(event).collect())
    }
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.cloned().collect::<Vec<_>>().join(", ")
}

/// What is new to the log, in words.
fn seen(instance: &InstanceId, before: &Scheduled, now: &Scheduled) -> Vec<String> {
    let mut words = Vec::new();
    if now.runs != before.runs {
        let is = if now.runs == Some(true) { "ON" } else { "OFF" };
        words.push(format!(
            "event_scheduler is {is} on {instance}; the next primary takes that over"
        ));
    }
    match &now.idle {
        idle if *idle == before.idle => {}
        Idle::Named(names) if names.is_empty() => words.push(format!(
            "every scheduled event of {instance} is enabled; the next primary takes that over"
        )),
        Idle::Named(names) => words.push(format!(
            "{} on {instance} not enabled, and stay so on the next primary: {}",
            if names.len() == 1 {
                "a scheduled event is"
            } else {
                "scheduled events are"
            },
            list(names.iter())
        )),
        Idle::TooMany(count) => words.push(format!(
            "{count} scheduled events of {instance} are not enabled, more than are remembered: the \
             next primary enables none by itself. Drop those that are not needed"
        )),
    }
    words
}

/// What came of a promotion's events, in words.
fn done(instance: &InstanceId, before: &Scheduled, of: &TakenOver) -> Vec<String> {
    let mut words = Vec::new();
    if !of.enabled.is_empty() {
        words.push(format!(
            "scheduled events enabled on {instance}, as they were on the primary before: {}",
            list(of.enabled.iter())
        ));
    }
    if !of.failed.is_empty() {
        let each = of.failed.iter();
        let each: Vec<String> = each.map(|(name, why)| format!("{name} ({why})")).collect();
        words.push(format!(
            "scheduled events that could not be enabled on {instance}: {}; enable them by hand: \
             ALTER DEFINER=… EVENT … ENABLE",
            each.join(", ")
        ));
    }
    if let (Due::Events, Idle::TooMany(count)) = (before.due, &before.idle) {
        words.push(format!(
            "no scheduled event is enabled on {instance}: {count} were not enabled on the primary \
             before, more than are remembered; enable the others by hand: ALTER DEFINER=… EVENT … \
             ENABLE"
        ));
    }
    words
}
