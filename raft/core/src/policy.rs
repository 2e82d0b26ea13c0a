//! What an operator decides beforehand, per cluster. Part of the log: an apply depends on it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::lint::Rule;
use crate::record::THIRD;

/// Who may start a failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Automation {
    /// Nothing is started, nothing is advised.
    Off,
    /// Everything is shown, an operator approves. The default when a cluster is registered.
    #[default]
    Advise,
    /// The apply that yields Dead deposes the epoch.
    Auto,
}

/// How the primary waits for its replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    #[default]
    SemiSync,
    /// Needs leases; refused until they exist.
    Async,
}

/// The largest failure domain whose loss must cost no acknowledged write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Survive {
    #[default]
    Host,
    Zone,
    Region,
}

/// Which acknowledged writes a promotion may lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxLoss {
    /// Proved zero, or nobody is promoted.
    #[default]
    None,
    /// What could be missing must be known as a set.
    Stated,
    /// Also where nobody knows what could be missing.
    Any,
}

impl std::fmt::Display for MaxLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MaxLoss::None => "none",
            MaxLoss::Stated => "a stated loss alone",
            MaxLoss::Any => "any",
        })
    }
}

/// Thresholds and rights of one cluster. Times in milliseconds unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    pub automation: Automation,
    pub replication: Replication,
    pub survive: Survive,
    /// Silence that a majority must have seen before a primary counts as dead.
    pub sustain_ms: u64,
    /// The same where the primary's agent attests that its `mysqld` exited.
    pub crash_sustain_ms: u64,
    /// The same where no candidate is in the primary's own region.
    pub cross_region_sustain_ms: u64,
    /// How long writes must have been stuck, reads answering, before the primary is fenced.
    pub wedged_sustain_ms: u64,
    /// How long a living primary must have gathered no acknowledgement, its ackers waiting for it in
    /// vain, before it is replaced. Known since feature level 3: a value that nobody changed is not
    /// written.
    #[serde(skip_serializing_if = "is_starved_default")]
    pub starved_sustain_ms: u64,
    /// `SOURCE_HEARTBEAT_PERIOD` of the replicas.
    pub source_heartbeat_ms: u64,
    /// An acker that made no progress for longer no longer hears the primary.
    pub replica_stale_ms: u64,
    /// An exited `mysqld` is started again by its agent after this, if nothing was decided.
    pub restart_hold_ms: u64,
    /// A primary whose write probe no acker acknowledged for this long fences itself.
    pub unacked_fence_ms: u64,
    /// A member of V that has not joined an opened primary by then is reported.
    pub join_wait_ms: u64,
    /// One that was chosen and makes no progress for so long before it opens is withdrawn, where
    /// another qualifies that is expected to do better.
    pub open_stall_ms: u64,
    /// Sessions of clients that hold what a chosen one has to apply (locks, a backup's, blocked DDL)
    /// are ended, and recorded.
    pub ends_holders: bool,
    /// What a promotion may lose.
    pub max_loss: MaxLoss,
    /// Zero is claimed only if the primary's settings were seen to be as ordered within so long
    /// before its end.
    pub ground_age_ms: u64,
    /// A node can tell of a primary if it answered this node, in whatever role, since so long before
    /// it was chosen.
    pub reach_ms: u64,
    /// Settings of an open primary that its proof rests on are put back when somebody changes them.
    pub repair_ground: bool,
    /// No second automatic failover within this many seconds.
    pub min_interval_s: u64,
    /// No automatic failover of this cluster while so many others are under way in its primary's
    /// region.
    pub promotions_max: u32,
    /// Who goes first where a region has fewer slots than clusters that wait: the higher one.
    pub priority: u32,
    /// When more than this part of a region's primaries is suspected at once, it is one regional
    /// incident. In whole percent, since an apply must come out alike everywhere.
    pub region_suspect_percent: u32,
    /// What a replica wrote itself and changes nothing (empty transactions, `FLUSH`, `ANALYZE`) is
    /// written on the primary too, so that it bars nobody.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub make_common: bool,
    /// Branches of distributed transactions (XA) are in use: no replica lets clients in, since an
    /// online one would commit a replicated branch by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub xa: bool,
    /// Guarantees given up by name (the lint's rule names), so that a cluster that breaks them
    /// may be registered all the same.
    pub gives_up: BTreeSet<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            automation: Automation::Advise,
            replication: Replication::SemiSync,
            survive: Survive::Host,
            sustain_ms: 3_000,
            crash_sustain_ms: 0,
            cross_region_sustain_ms: 5_000,
            wedged_sustain_ms: 5_000,
            starved_sustain_ms: STARVED_SUSTAIN_MS,
            source_heartbeat_ms: 500,
            replica_stale_ms: 1_500,
            restart_hold_ms: 10_000,
            unacked_fence_ms: 30_000,
            join_wait_ms: 5_000,
            open_stall_ms: 3_000,
            ends_holders: true,
            max_loss: MaxLoss::None,
            ground_age_ms: 1_000,
            reach_ms: 5_000,
            repair_ground: true,
            min_interval_s: 600,
            promotions_max: 10,
            priority: 0,
            region_suspect_percent: 50,
            make_common: true,
            xa: false,
            gives_up: BTreeSet::new(),
        }
    }
}

/// A value that contradicts another, or is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{field} = {value}: {rule}")]
pub struct Contradiction {
    pub field: String,
    pub value: String,
    /// What must hold, hence the remedy.
    pub rule: String,
}

/// A report of an agent travels up to this long before it counts as no report. Three beats of
/// 100 ms; the round trip is added by the node that measured it.
pub const REPORT_FRESH_MS: u64 = 300;

/// `starved_sustain_ms` by default.
const STARVED_SUSTAIN_MS: u64 = 5_000;

fn is_starved_default(ms: &u64) -> bool {
    *ms == STARVED_SUSTAIN_MS
}

/// Two looks of a node at a primary's ground, 200 ms apart, and a late answer.
pub const GROUND_AGE_MIN_MS: u64 = 500;

/// A few looks of an agent, and a healthy opening.
pub const OPEN_STALL_MIN_MS: u64 = 500;

impl Policy {
    /// The measuring profile: aggressive thresholds for a quiet network.
    pub fn fast() -> Self {
        Self {
            sustain_ms: 1_000,
            cross_region_sustain_ms: 1_500,
            wedged_sustain_ms: 2_000,
            starved_sustain_ms: 2_000,
            source_heartbeat_ms: 250,
            replica_stale_ms: 650,
            open_stall_ms: 1_000,
            min_interval_s: 0,
            ..Self::default()
        }
    }

    /// Every contradiction, named; empty if the policy can be used.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut must = |holds: bool, field: &str, value: u64, rule: String| {
            if !holds {
                found.push(Contradiction {
                    field: field.into(),
                    value: value.to_string(),
                    rule,
                });
            }
        };
        must(
            self.replica_stale_ms > self.source_heartbeat_ms.saturating_add(REPORT_FRESH_MS),
            "replica_stale_ms",
            self.replica_stale_ms,
            format!(
                "must be above source_heartbeat_ms ({}) plus a report's age ({REPORT_FRESH_MS} ms)",
                self.source_heartbeat_ms
            ),
        );
        must(
            self.replica_stale_ms.saturating_add(REPORT_FRESH_MS) < self.sustain_ms,
            "replica_stale_ms",
            self.replica_stale_ms,
            format!(
                "must be below sustain_ms ({}) minus a report's age ({REPORT_FRESH_MS} ms)",
                self.sustain_ms
            ),
        );
        must(
            self.crash_sustain_ms <= self.sustain_ms,
            "crash_sustain_ms",
            self.crash_sustain_ms,
            format!("must not be above sustain_ms ({})", self.sustain_ms),
        );
        must(
            self.cross_region_sustain_ms >= self.sustain_ms,
            "cross_region_sustain_ms",
            self.cross_region_sustain_ms,
            format!("must not be below sustain_ms ({})", self.sustain_ms),
        );
        must(
            (50..=60_000).contains(&self.source_heartbeat_ms),
            "source_heartbeat_ms",
            self.source_heartbeat_ms,
            "must lie between 50 and 60000".into(),
        );
        must(
            self.restart_hold_ms > self.sustain_ms,
            "restart_hold_ms",
            self.restart_hold_ms,
            format!("must be above sustain_ms ({})", self.sustain_ms),
        );
        must(
            self.unacked_fence_ms > self.cross_region_sustain_ms,
            "unacked_fence_ms",
            self.unacked_fence_ms,
            format!(
                "must be above cross_region_sustain_ms ({}), else a fence precedes every verdict",
                self.cross_region_sustain_ms
            ),
        );
        must(
            self.open_stall_ms >= OPEN_STALL_MIN_MS,
            "open_stall_ms",
            self.open_stall_ms,
            format!("must not be below {OPEN_STALL_MIN_MS}: an agent looks every 100 ms"),
        );
        must(
            self.ground_age_ms >= GROUND_AGE_MIN_MS,
            "ground_age_ms",
            self.ground_age_ms,
            format!("must not be below {GROUND_AGE_MIN_MS}: a node looks every 200 ms"),
        );
        must(
            self.promotions_max >= 1,
            "promotions_max",
            self.promotions_max.into(),
            "must be at least 1; to hold back failovers: automation=off".into(),
        );
        must(
            self.region_suspect_percent <= 100,
            "region_suspect_percent",
            self.region_suspect_percent.into(),
            "is a part of all, at most 100 (no incident is ever opened then)".into(),
        );
        for name in &self.gives_up {
            let rule = match Rule::named(name) {
                Some(rule) if rule.may_be_given_up() => continue,
                Some(_) => "cannot be given up: nothing works without it".into(),
                None => format!("is no rule; those are: {}", Rule::givable().join(", ")),
            };
            found.push(Contradiction {
                field: "gives_up".into(),
                value: name.clone(),
                rule,
            });
        }
        if self.replication == Replication::Async {
            found.push(Contradiction {
                field: "replication".into(),
                value: "async".into(),
                rule: "needs leases, which this version does not have; use semi_sync".into(),
            });
        }
        found
    }

    /// Nothing that a person set or closed is put back, and nothing is written in his place.
    pub fn hands_off(&self) -> bool {
        self.automation == Automation::Off
    }

    /// What the plane's feature level does not have yet, or refuses and the levels before do not.
    /// Versions that know a rule and versions that do not refuse it alike, each in its own words.
    pub fn beyond(&self, level: u32) -> Option<Contradiction> {
        self.unknown_rule(level)
            .or_else(|| self.unknown_switch(level))
            .or_else(|| self.unfit_starved(level))
    }

    fn unknown_switch(&self, level: u32) -> Option<Contradiction> {
        let switched = [
            ("xa", self.xa, false),
            ("make_common", self.make_common, true),
        ];
        let mut unknown = switched.iter().filter(|(_, is, was)| is != was);
        let (field, is, _) = unknown.next().filter(|_| level < THIRD)?;
        Some(Contradiction {
            field: (*field).into(),
            value: is.to_string(),
            rule: later(THIRD, level),
        })
    }

    fn unfit_starved(&self, level: u32) -> Option<Contradiction> {
        let ms = self.starved_sustain_ms;
        let least_ms = self.replica_stale_ms.saturating_add(REPORT_FRESH_MS);
        let rule = if level < THIRD {
            if is_starved_default(&ms) {
                return None;
            }
            later(THIRD, level)
        } else if ms <= least_ms {
            format!(
                "must be above replica_stale_ms ({}) plus a report's age ({REPORT_FRESH_MS} ms)",
                self.replica_stale_ms
            )
        } else if ms >= self.unacked_fence_ms {
            format!(
                "must be below unacked_fence_ms ({}), else a fence precedes every verdict",
                self.unacked_fence_ms
            )
        } else {
            return None;
        };
        Some(Contradiction {
            field: "starved_sustain_ms".into(),
            value: ms.to_string(),
            rule,
        })
    }

    fn unknown_rule(&self, level: u32) -> Option<Contradiction> {
        let rules = self.gives_up.iter().filter_map(|name| Rule::named(name));
        let newer = rules.into_iter().find(|rule| rule.since() > level)?;
        Some(Contradiction {
            field: "gives_up".into(),
            value: newer.name().into(),
            rule: later(newer.since(), level),
        })
    }
}

fn later(since: u32, level: u32) -> String {
    format!(
        "came with feature level {since}, and the plane is at {level}: upgrade every node, then the \
         leader raises it"
    )
}
