//! Documents as a person reads them, in plain words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use primacy_core::alarm::Shown;
use primacy_core::decide::Readiness;
use primacy_core::ids::{ClusterId, InstanceId, Region};
use primacy_core::lint::{Finding, Report, Severity};
use primacy_core::node::{Standing, WatchView};
use primacy_core::observe::{Branches, Sight, SightKind};
use primacy_core::record::{Cluster, Follower, Incident};
use serde::Serialize;

use super::wrap::{columns, wrapped};
use super::{changes, eyes};
use crate::api::{ClusterStatus, NodeSight, StatusDocument};

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(header.iter());
    let columns = columns();
    if let Ok(columns) = u16::try_from(columns) {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(columns);
    }
    table
}

/// As text, without margins.
pub(super) fn drawn(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn sight_words(kind: SightKind) -> &'static str {
    match kind {
        SightKind::Alive => "alive",
        SightKind::Overloaded => "alive, out of connections",
        SightKind::Silent => "silent",
        SightKind::Closed => "answers, refuses writes",
        SightKind::Wedged => "reads answer, writes are stuck",
        SightKind::Starved => "answers, nobody acknowledges its writes",
        SightKind::Blind => "cannot tell",
    }
}

/// A sight, and how long it has lasted where that says something.
pub(crate) fn sight_text(sight: Sight) -> String {
    let words = sight_words(sight.kind);
    match sight.kind {
        SightKind::Alive | SightKind::Overloaded | SightKind::Blind => words.to_owned(),
        SightKind::Silent | SightKind::Closed | SightKind::Wedged | SightKind::Starved => {
            format!("{words} {}", duration(sight.for_ms))
        }
    }
}

/// Milliseconds while they are few, then seconds.
pub(crate) fn duration(ms: u64) -> String {
    if ms < 10_000 {
        format!("{ms} ms")
    } else {
        format!("{} s", ms / 1_000)
    }
}

pub(super) fn status(document: &StatusDocument) -> String {
    let leader = document
        .leader
        .map_or("none".to_owned(), |id| format!("node {id}"));
    let mut text = format!(
        "control plane {}: leader {leader}, term {}, applied {}, feature level {}\n",
        document.plane.as_deref().unwrap_or("not founded yet"),
        document.term,
        document.applied_index,
        document.level
    );
    if !document.hears_majority {
        let _ = writeln!(
            text,
            "node {} hears no majority: what follows may be out of date, and nothing is decided \
             without one",
            document.answered_by
        );
    }
    let _ = writeln!(text, "\n{}\n", drawn(nodes(document)));
    for (region, incident) in &document.incidents {
        let _ = writeln!(
            text,
            "{}\n",
            wrapped(&incident_text(region, incident), columns())
        );
    }
    for (id, status) in &document.clusters {
        let cluster = &status.cluster;
        let standing = document.standing(id);
        let readiness = standing.as_ref().and_then(|of| of.readiness.as_ref());
        let _ = writeln!(
            text,
            "cluster {id}: {}, epoch {}, automation {}: {}",
            status.stage,
            cluster.epoch,
            word(&cluster.policy.automation),
            eyes::ready_word(readiness)
        );
        let _ = writeln!(text, "{}", drawn(instances(document, cluster)));
        match standing {
            None => text.push_str("  no leader answers: what is waited for is not known\n"),
            Some(standing) => {
                if let Some(readiness) = &standing.readiness {
                    eyes::ready_lines(readiness, &mut text);
                }
                eyes::alarm_words(id, &standing.alarms, &mut text);
                for wait in &standing.waits {
                    let wait = wrapped(&format!("  waits for: {wait}"), columns());
                    let _ = writeln!(text, "{wait}");
                }
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn incident_text(region: &Region, incident: &Incident) -> String {
    let clusters: Vec<_> = incident.clusters.iter().map(|id| id.as_str()).collect();
    format!(
        "regional incident in {region} (log {}): many of its primaries fell silent together, of {}; \
         who is deposed meanwhile is replaced from outside it, where somebody there qualifies",
        incident.at.index,
        clusters.join(", ")
    )
}

/// The control plane, as the node sees it that was asked.
fn nodes(document: &StatusDocument) -> Table {
    let mut rows = table(&["NODE", "REGION", "ADDRESS", "KNOWS LEVEL", ""]);
    for (id, member) in &document.nodes {
        let sight = document.sights.get(id);
        let mut said = match sight {
            Some(NodeSight {
                unanswered: Some(why),
                ..
            }) => format!("does not answer: {why}"),
            Some(NodeSight {
                hears_majority: Some(false),
                ..
            }) => "hears no majority".to_owned(),
            _ => String::new(),
        };
        if document.leader == Some(*id) && said.is_empty() {
            said = "leads".into();
        }
        let warnings: &[String] = match sight {
            Some(sight) => &sight.warnings,
            None if *id == document.answered_by => &document.warnings,
            None => &[],
        };
        for warning in warnings {
            let comma = if said.is_empty() { "" } else { "; " };
            let _ = write!(said, "{comma}{warning}");
        }
        rows.add_row([
            id.to_string(),
            member.region.clone(),
            member.address.clone(),
            document
                .knows
                .get(id)
                .map_or("?".to_owned(), ToString::to_string),
            said,
        ]);
    }
    rows
}

/// The instances of a cluster, and how each node sees them.
fn instances(document: &StatusDocument, cluster: &Cluster) -> Table {
    let mut header: Vec<String> = ["INSTANCE", "REGION", "ADDRESS", "ROLE"]
        .map(str::to_owned)
        .to_vec();
    header.extend(document.nodes.keys().map(|id| format!("NODE {id}")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut rows = table(&header);
    // An address is copied from here: only what is seen may be broken.
    for column in rows.column_iter_mut().take(4) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for (instance, spec) in &cluster.instances {
        let acks = cluster.ackers.members.contains(instance);
        let role = if cluster.left_behind.contains(instance) {
            "left behind"
        } else if *instance != cluster.primary {
            if acks { "replica, acks" } else { "replica" }
        } else if cluster.promotion().is_some() {
            "primary"
        } else {
            "was primary"
        };
        let mut row = vec![
            instance.to_string(),
            spec.region.to_string(),
            format!("{}:{}", spec.host, spec.port),
            role.to_owned(),
        ];
        row.extend(
            document
                .nodes
                .keys()
                .map(|node| match document.sight(*node, instance) {
                    Some(view) => sight_text(view.sight),
                    None => "?".to_owned(),
                }),
        );
        rows.add_row(row);
    }
    rows
}

/// A value of the policy as an operator writes it.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn describe(document: &StatusDocument, id: &ClusterId) -> String {
    let mut text = status(document);
    text.push('\n');
    let cluster = &document.clusters[id].cluster;
    let _ = writeln!(text, "\n{}", eyes::in_fact(document, cluster));
    if let Some(standing) = document.standing(id) {
        eyes::alarm_lines(&standing.alarms, &mut text);
    }
    let members: Vec<_> = cluster
        .ackers
        .members
        .iter()
        .map(|id| id.as_str())
        .collect();
    let _ = writeln!(
        text,
        "\na commit waits for {} of: {}\nevery later primary must contain: {}",
        cluster.ackers.k,
        members.join(", "),
        cluster.floor.compact()
    );
    for (instance, branches) in prepared(document, cluster) {
        let said = match branches.alarm(cluster.policy.xa) {
            Some(alarm) => format!("alarm: {instance} has {alarm}"),
            None => format!(
                "{instance} has prepared branches (XA): {}, the first is {}",
                branches.count, branches.first
            ),
        };
        let _ = writeln!(text, "{}", wrapped(&said, columns()));
    }
    if let Some(promotion) = cluster.promotion() {
        let choice = &promotion.choice;
        let _ = writeln!(
            text,
            "\nepoch {} of {} rests on: {}\nacknowledged writes that could be missing: {}",
            choice.epoch, choice.to, choice.proof, choice.loss
        );
        for why in &choice.why {
            let _ = writeln!(text, "  {why}");
        }
        for (instance, follower) in &promotion.followers {
            if let Follower::Refused { extra } = follower {
                let _ = writeln!(
                    text,
                    "  {instance} must not follow: it holds {}",
                    extra.compact()
                );
            }
        }
    }
    let _ = write!(text, "\n{}", changes::policy(cluster));
    text
}

/// Prepared branches by instance, by the word of the node that has any.
fn prepared<'a>(
    document: &'a StatusDocument,
    cluster: &'a Cluster,
) -> impl Iterator<Item = (&'a InstanceId, Branches)> {
    cluster.instances.keys().filter_map(|instance| {
        let mut nodes = document.nodes.keys();
        let branches = nodes.find_map(|node| document.sight(*node, instance)?.branches.clone())?;
        (branches.count > 0).then_some((instance, branches))
    })
}

/// One cluster: what the log says of it, and what is seen.
#[derive(Serialize)]
pub(super) struct Description<'a> {
    #[serde(flatten)]
    status: &'a ClusterStatus,
    /// What its leader waits for, and what people should see to; `None` if no leader answers.
    standing: Option<Standing>,
    /// What each instance is in fact, as the leader sees it, or else the node that was asked.
    seen: BTreeMap<&'a InstanceId, &'a WatchView>,
}

pub(super) fn description<'a>(document: &'a StatusDocument, id: &'a ClusterId) -> Description<'a> {
    let status = &document.clusters[id];
    let instances = status.cluster.instances.keys();
    Description {
        status,
        standing: document.standing(id),
        seen: instances
            .filter_map(|id| Some((id, document.best_sight(id)?)))
            .collect(),
    }
}

/// What would be done now, and why not.
#[derive(Serialize)]
pub(super) struct Explanation {
    cluster: String,
    stage: String,
    epoch: u64,
    primary: String,
    /// Each node's sight of the primary; `?` of one that does not answer.
    sights: BTreeMap<u64, String>,
    /// Of the open inquest, or of the one that ended a deposed epoch.
    verdict: Option<String>,
    findings: Vec<String>,
    aborted_by: Option<String>,
    /// Of the region that its primary stands or stood in.
    incident: Option<String>,
    /// `None` if no leader answers.
    waits: Option<Vec<String>>,
    refused: Vec<String>,
    /// Whether a failover would succeed now; `None` if no leader answers, or before its first look.
    readiness: Option<Readiness>,
    /// What people should see to, the gravest first.
    alarms: Vec<Shown>,
}

pub(super) fn explain(document: &StatusDocument, id: &ClusterId) -> Explanation {
    let status = &document.clusters[id];
    let cluster = &status.cluster;
    let standing = document.standing(id);
    let judgement = cluster
        .judgement
        .as_ref()
        .or(cluster.deposition().map(|record| &record.judgement));
    let aborted = match cluster.deposition() {
        Some(record) => record.aborted.as_ref(),
        None => cluster.aborted.as_ref(),
    };
    let region = cluster.failing_in().or(cluster.home());
    let incident = region.and_then(|region| document.incidents.get_key_value(region));
    let refused = standing
        .as_ref()
        .map(|standing| &standing.refused)
        .into_iter();
    Explanation {
        cluster: id.to_string(),
        stage: status.stage.clone(),
        epoch: cluster.epoch.0,
        primary: cluster.primary.to_string(),
        sights: document
            .nodes
            .keys()
            .map(|node| {
                let seen = document.sight(*node, &cluster.primary);
                let text = seen.map_or("?".into(), |view| sight_text(view.sight));
                (node.0, text)
            })
            .collect(),
        verdict: judgement.map(|judgement| format!("{:?}", judgement.verdict)),
        findings: judgement
            .iter()
            .flat_map(|judgement| &judgement.findings)
            .map(ToString::to_string)
            .collect(),
        incident: incident.map(|(region, incident)| incident_text(region, incident)),
        aborted_by: aborted.map(|abort| format!("{}: {}", abort.who, abort.why)),
        refused: refused
            .flatten()
            .map(|(who, why)| format!("{who}: {why}"))
            .collect(),
        readiness: standing.as_ref().and_then(|of| of.readiness.clone()),
        alarms: standing
            .as_ref()
            .map_or_else(Vec::new, |of| of.alarms.clone()),
        waits: standing.map(|standing| standing.waits),
    }
}

impl Explanation {
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{}: {}, primary {}, epoch {}\n",
            self.cluster, self.stage, self.primary, self.epoch
        );
        for (node, sight) in &self.sights {
            let _ = writeln!(text, "  node {node} sees {}: {sight}", self.primary);
        }
        match &self.verdict {
            None => text.push_str("no inquest is open\n"),
            Some(verdict) => {
                let _ = writeln!(text, "verdict on {}: {verdict}", self.primary);
            }
        }
        for finding in &self.findings {
            let _ = writeln!(text, "  {finding}");
        }
        if let Some(who) = &self.aborted_by {
            let _ = writeln!(text, "aborted by {who}");
        }
        if let Some(incident) = &self.incident {
            let _ = writeln!(text, "{incident}");
        }
        for refusal in &self.refused {
            let _ = writeln!(text, "refused by {refusal}");
        }
        match &self.waits {
            None => text.push_str("no leader answers: nothing is decided without one\n"),
            Some(waits) if waits.is_empty() => text.push_str("nothing is waited for\n"),
            Some(waits) => {
                for wait in waits {
                    let _ = writeln!(text, "waits for: {wait}");
                }
            }
        }
        if let Some(readiness) = &self.readiness {
            let _ = writeln!(
                text,
                "should it fail now: {}",
                eyes::ready_word(Some(readiness))
            );
            eyes::ready_lines(readiness, &mut text);
        }
        eyes::alarm_lines(&self.alarms, &mut text);
        text.truncate(text.trim_end().len());
        text
    }
}

/// `explain`, for an error that must say why.
pub(crate) fn explain_text(document: &StatusDocument, id: &ClusterId) -> String {
    if document.clusters.contains_key(id) {
        explain(document, id).text()
    } else {
        format!("cluster {id} is not registered")
    }
}

/// One block per finding: what is broken first, then what is given up, then warnings.
pub(super) fn readiness(report: &Report) -> String {
    let mut text = String::new();
    let kind = |finding: &Finding| match finding.severity {
        Severity::Broken if finding.given_up => "given up",
        Severity::Broken => "broken",
        Severity::Warning => "warning",
    };
    for wanted in ["broken", "given up", "warning"] {
        let mut left: Vec<&Finding> = report.findings.iter().collect();
        left.retain(|finding| kind(finding) == wanted);
        while let Some(first) = left.first().copied() {
            // Grants are replicated: what several instances share is said once.
            let same = |other: &&Finding| {
                (&other.rule, &other.found, &other.mend) == (&first.rule, &first.found, &first.mend)
            };
            let (alike, rest): (Vec<&Finding>, Vec<&Finding>) = left.into_iter().partition(same);
            left = rest;
            let on: Vec<&str> = alike
                .iter()
                .map(|finding| {
                    finding
                        .instance
                        .as_ref()
                        .map_or("the cluster", |id| id.as_str())
                })
                .collect();
            let _ = writeln!(text, "{wanted}: {} on {}", first.rule, on.join(", "));
            let _ = writeln!(text, "  found:  {}", first.found);
            let _ = writeln!(text, "  breaks: {}", first.breaks);
            let _ = writeln!(text, "  mend:   {}\n", first.mend);
        }
    }
    for cost in &report.costs {
        let _ = writeln!(text, "{cost}");
    }
    let broken = report
        .findings
        .iter()
        .filter(|finding| finding.blocks())
        .count();
    let verdict = match broken {
        0 => "ready".to_owned(),
        1 => "not ready: 1 rule is broken".to_owned(),
        more => format!("not ready: {more} rules are broken"),
    };
    let _ = writeln!(text, "{}: {verdict}", report.cluster);
    text
}
