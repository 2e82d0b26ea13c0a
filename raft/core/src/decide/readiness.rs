//! Whether a failover would succeed now: the planner's own choice, as if the primary were gone and
//! every replica that is heard had been frozen with what its newest beat told.
//!
//! Beats of two agents are up to a beat apart: an acker whose word is older would seem to lack what the
//! others have told since. So the need is taken of what each held some beats ago, and the candidates are
//! asked for it now; and what a node last saw executed is left out. What k of V hold is needed all the
//! same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Choice, Reason, choose, fetches};
use crate::agree::{Inquest, Judgement, Verdict};
use crate::gtid::GtidSet;
use crate::ids::{InstanceId, Position};
use crate::observe::Heartbeat;
use crate::policy::Automation;
use crate::record::{Cluster, Deposition, FreezeReport, Stage};

/// What would become of a failover now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// It would promote somebody, and lose nothing that the policy does not allow.
    pub ready: bool,
    /// Who would be next.
    pub next: Option<InstanceId>,
    /// Why not; each says what would satisfy it.
    pub why: Vec<String>,
    /// What it would wait for besides: an approval, or the end of a rest.
    pub waits: Vec<String>,
}

impl Readiness {
    fn not(why: Vec<String>) -> Self {
        Self {
            ready: false,
            next: None,
            why,
            waits: Vec::new(),
        }
    }
}

/// What is known of a cluster's replicas and of its primary's ground, without freezing anybody.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What each would have reported some beats ago.
    pub frozen: BTreeMap<InstanceId, FreezeReport>,
    /// What each holds now; who is not in it: what it reported.
    pub newest: BTreeMap<InstanceId, GtidSet>,
    pub ground_age_ms: Option<u64>,
    /// Who could not open, whatever it holds, and why.
    pub held: BTreeMap<InstanceId, String>,
}

/// What this instance would report, frozen as its newest beat shows it, holding no more than this;
/// `None` before its first look at its server.
pub fn as_if_frozen(beat: &Heartbeat, held: GtidSet) -> Option<FreezeReport> {
    let besides = beat.besides.as_ref();
    Some(FreezeReport {
        server_uuid: beat.server_uuid?,
        version: beat.version,
        executed: beat.executed.intersect(&held),
        received: held,
        purged: beat.purged.clone(),
        replicated_from: beat.replica.as_ref().and_then(|of| of.source.clone()),
        forgot: besides.and_then(|of| of.forgot.clone()),
        marked: beat.marked.clone(),
        mysqld: Some(beat.word.mysqld),
        left: BTreeMap::new(),
        left_unknown: Default::default(),
        undurable: false,
        agent: None,
        backlog: Default::default(),
    })
}

/// Whether a failover of this cluster would succeed now.
pub fn readiness(cluster: &Cluster, known: Known) -> Readiness {
    let Some(promotion) = cluster.promotion() else {
        return Readiness::not(vec![format!(
            "{}: nobody serves that could be replaced",
            cluster.stage_name()
        )]);
    };
    if !promotion.opened || !promotion.acknowledged {
        return Readiness::not(vec![format!(
            "{} is to open, and has no acknowledged write yet",
            cluster.primary
        )]);
    }
    let held = known.held.clone();
    let deposed = as_if_deposed(cluster, known);
    match choose(&deposed) {
        Ok(choice) => chosen(cluster, &choice, &held),
        Err(reasons) => missing(cluster, &deposed, &reasons),
    }
}

/// The same cluster, its epoch deposed by silence.
fn as_if_deposed(cluster: &Cluster, known: Known) -> Cluster {
    let judgement = Judgement {
        verdict: Verdict::Dead,
        threshold_ms: 0,
        findings: Vec::new(),
    };
    let at = Position::default();
    let inquest = Inquest::new(cluster.inquests, cluster.epoch, at);
    let mut deposition = Deposition {
        acknowledged: true,
        ground_age_ms: known.ground_age_ms,
        ..Deposition::new(at, judgement, inquest)
    };
    for (instance, mut report) in known.frozen {
        // Ranked last, as its own agent would have it.
        report.backlog.held = known.held.get(&instance).cloned();
        deposition.record_freeze(&instance, report);
    }
    deposition.newest.extend(known.newest);
    Cluster {
        stage: Stage::Deposed(Box::new(deposition)),
        ..cluster.clone()
    }
}

fn chosen(cluster: &Cluster, choice: &Choice, held: &BTreeMap<InstanceId, String>) -> Readiness {
    if let Some(why) = held.get(&choice.to) {
        let why = format!("{} would be next, and could not open: {why}", choice.to);
        return Readiness::not(vec![why]);
    }
    Readiness {
        ready: true,
        next: Some(choice.to.clone()),
        why: Vec::new(),
        waits: permission(cluster),
    }
}

/// Nobody qualifies, unless somebody fetches what is missing first.
fn missing(cluster: &Cluster, deposed: &Cluster, reasons: &[Reason]) -> Readiness {
    if let Some(fetch) = fetches(deposed).first() {
        return Readiness {
            ready: true,
            next: Some(fetch.to.clone()),
            why: Vec::new(),
            waits: permission(cluster),
        };
    }
    Readiness {
        waits: permission(cluster),
        ..Readiness::not(reasons.iter().map(ToString::to_string).collect())
    }
}

/// What stands between a verdict and its failover, whatever the servers hold.
fn permission(cluster: &Cluster) -> Vec<String> {
    match cluster.policy.automation {
        Automation::Off => vec!["automation is off: nothing is started".into()],
        Automation::Advise => vec!["an operator's approval".into()],
        Automation::Auto if cluster.rest_ms > 0 => vec![format!(
            "the end of min_interval_s, {} s from now, or an approval",
            cluster.rest_ms.div_ceil(1_000)
        )],
        Automation::Auto => Vec::new(),
    }
}
