//! The readiness lint: every setting, grant, plugin, topology and version that would make a
//! guarantee untrue, with what was found and the statement that mends it.
//!
//! Facts are gathered by agents and nodes, as plain data; this only judges them, so that each rule
//! is a row of a table in the tests. A fact that could not be read is a finding too: unknown is
//! never taken for good.

mod accounts;
mod carried;
mod change;
mod facts;
mod rule;
mod server;
mod settings;
mod survival;
mod table;
mod topology;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, InstanceId};
use crate::policy::Policy;
use crate::record::{Cluster, Founding, InstanceSpec, PromotionRule, Registration};

pub use change::refuse_policy;
pub use facts::{
    Account, AddressWord, AgentWord, Boot, Channel, Evidence, Facts, Manager, REPORTED_PLUGINS,
    REPORTED_VARIABLES, ScheduledEvent,
};
pub use rule::{Guarantee, Rule, Severity};

/// One rule that an instance, or the cluster as a whole, breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its stable name, as `policy.gives_up` wants it.
    pub rule: String,
    /// `None`: the cluster as a whole.
    pub instance: Option<InstanceId>,
    pub severity: Severity,
    pub found: String,
    /// The guarantee that does not hold with it.
    pub breaks: String,
    /// The statement or the configuration line that mends it.
    pub mend: String,
    /// The policy gives it up by name.
    pub given_up: bool,
}

impl Finding {
    /// Whether it stands in the way of a registration.
    pub fn blocks(&self) -> bool {
        self.severity == Severity::Broken && !self.given_up
    }

    /// Whether it may be gone by itself in a moment: something is not up yet.
    pub fn may_pass(&self) -> bool {
        Rule::named(&self.rule).is_some_and(Rule::may_pass)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        if let Some(instance) = &self.instance {
            write!(f, " on {instance}")?;
        }
        write!(
            f,
            ": {}; breaks: {}; mend: {}",
            self.found, self.breaks, self.mend
        )
    }
}

/// What a cluster lacks, and what its survival costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub cluster: ClusterId,
    pub findings: Vec<Finding>,
    /// What `survive` and `k` cost each commit, in sentences.
    pub costs: Vec<String>,
}

impl Report {
    /// Nothing stands in the way of the guarantees, or it is given up by name.
    pub fn ready(&self) -> bool {
        !self.findings.iter().any(Finding::blocks)
    }

    /// Why a registration or a policy is refused: every rule that stands in its way, with its
    /// remedy.
    pub fn refusal(&self) -> String {
        let blocking: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| finding.blocks())
            .map(ToString::to_string)
            .collect();
        format!(
            "cluster {} is not ready, {} rules are broken; mend them, or give them up by name in \
             policy.gives_up:\n{}",
            self.cluster,
            blocking.len(),
            blocking.join("\n")
        )
    }
}

/// Where the cluster stands that is judged: what may be open already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// About to be registered; nothing may be open.
    New,
    /// About to be adopted; the primary may be open.
    Adopted,
    /// Registered; `open` while the log names its primary as open.
    Registered { open: bool },
}

/// The cluster that is judged.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    pub(crate) cluster: &'a ClusterId,
    pub(crate) instances: &'a BTreeMap<InstanceId, InstanceSpec>,
    pub(crate) primary: &'a InstanceId,
    pub(crate) ackers: BTreeSet<InstanceId>,
    pub(crate) k: usize,
    pub(crate) policy: &'a Policy,
    pub(crate) life: Life,
}

impl<'a> Subject<'a> {
    /// A cluster that is to be registered so.
    pub fn registration(registration: &'a Registration) -> Self {
        let mut ackers = registration.ackers.clone();
        if ackers.is_empty() {
            ackers = registration.instances.keys().cloned().collect();
            ackers.remove(&registration.primary);
        }
        Self {
            cluster: &registration.cluster,
            instances: &registration.instances,
            primary: &registration.primary,
            ackers,
            k: registration.k as usize,
            policy: &registration.policy,
            life: match registration.founding {
                Founding::New => Life::New,
                Founding::Adopted => Life::Adopted,
            },
        }
    }

    /// A cluster that is registered.
    pub fn registered(cluster: &'a Cluster) -> Self {
        Self {
            cluster: &cluster.id,
            instances: &cluster.instances,
            primary: &cluster.primary,
            ackers: cluster.ackers.members.clone(),
            k: cluster.ackers.k as usize,
            policy: &cluster.policy,
            life: Life::Registered {
                open: cluster.serving().is_some(),
            },
        }
    }

    pub fn cluster(&self) -> &ClusterId {
        self.cluster
    }

    pub fn instances(&self) -> &BTreeMap<InstanceId, InstanceSpec> {
        self.instances
    }

    /// Whether this instance may take writes now.
    pub(crate) fn may_be_open(&self, instance: &InstanceId) -> bool {
        instance == self.primary && self.life != Life::New
    }

    /// Whether it may ever be primary: it is, or its rule allows it.
    pub(crate) fn may_be_primary(&self, instance: &InstanceId) -> bool {
        instance == self.primary
            || self
                .instances
                .get(instance)
                .is_some_and(|spec| spec.promotion != PromotionRule::Never)
    }
}

/// What the rules write down as they go.
pub(crate) struct Pad<'a> {
    gives_up: &'a BTreeSet<String>,
    findings: Vec<Finding>,
}

impl Pad<'_> {
    pub(crate) fn add(
        &mut self,
        rule: Rule,
        instance: Option<&InstanceId>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.findings.push(Finding {
            rule: rule.name().to_owned(),
            instance: instance.cloned(),
            severity: rule.severity(),
            found: found.into(),
            breaks: rule.guarantee().to_string(),
            mend: mend.into(),
            given_up: rule.may_be_given_up() && self.gives_up.contains(rule.name()),
        });
    }
}

/// Judges a cluster by what was found out about each of its instances.
pub fn lint(subject: &Subject<'_>, evidence: &BTreeMap<InstanceId, Evidence>) -> Report {
    let mut pad = Pad {
        gives_up: &subject.policy.gives_up,
        findings: Vec::new(),
    };
    let mut known: BTreeMap<&InstanceId, &Facts> = BTreeMap::new();
    for instance in subject.instances.keys() {
        let Some(of) = evidence.get(instance) else {
            pad.add(
                Rule::Agent,
                Some(instance),
                "nothing is known of it",
                facts::start_agent(instance),
            );
            continue;
        };
        if let Some(facts) = of.told(instance, &mut pad) {
            known.insert(instance, facts);
            server::address(subject, instance, of, facts, &mut pad);
        }
    }
    for (instance, facts) in &known {
        if server::is_mariadb(facts) {
            server::refuse_mariadb(instance, facts, &mut pad);
            continue;
        }
        server::judge(subject, instance, facts, &mut pad);
        settings::judge(subject, instance, facts, &mut pad);
        accounts::judge(instance, facts, &mut pad);
        carried::judge(subject, instance, facts, &mut pad);
        topology::judge(subject, instance, facts, &known, &mut pad);
    }
    server::compare(subject, &known, &mut pad);
    let costs = survival::judge(subject, &known, &mut pad);
    Report {
        cluster: subject.cluster.clone(),
        findings: pad.findings,
        costs,
    }
}
