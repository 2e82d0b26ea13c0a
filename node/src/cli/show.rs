//! Documents as a person reads them, in plain words.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use primacy_core::ids::ClusterId;
use primacy_core::lint::{Finding, Report, Severity};
use primacy_core::observe::SightKind;
use primacy_core::policy::Policy;
use primacy_core::record::Follower;
use serde::Serialize;

use crate::api::{HistoryEvent, StatusDocument};

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(header.iter());
    table
}

pub(crate) fn sight_words(kind: SightKind) -> &'static str {
    match kind {
        SightKind::Alive => "alive",
        SightKind::Overloaded => "alive, out of connections",
        SightKind::Silent => "silent",
        SightKind::Closed => "answers, refuses writes",
        SightKind::Wedged => "reads answer, writes are stuck",
        SightKind::Blind => "cannot tell",
    }
}

pub(super) fn status(document: &StatusDocument) -> String {
    let leader = document
        .leader
        .map_or("none".to_owned(), |id| format!("node {id}"));
    let mut text = format!(
        "control plane {}: leader {leader}, term {}, applied {}\n",
        document.plane.as_deref().unwrap_or("not founded yet"),
        document.term,
        document.applied_index
    );
    let mut nodes = table(&["NODE", "REGION", "ADDRESS"]);
    for (id, member) in &document.nodes {
        nodes.add_row([
            id.to_string(),
            member.region.clone(),
            member.address.clone(),
        ]);
    }
    let _ = writeln!(text, "{nodes}\n");
    for (id, status) in &document.clusters {
        let cluster = &status.cluster;
        let _ = writeln!(
            text,
            "cluster {id}: {}, epoch {}",
            status.stage, cluster.epoch
        );
        let mut rows = table(&[
            "INSTANCE",
            "REGION",
            "ADDRESS",
            "ROLE",
            "SEEN BY THIS NODE",
            "ACKS",
        ]);
        for (instance, spec) in &cluster.instances {
            let view = document.view.instances.get(instance);
            let role = if *instance == cluster.primary {
                "primary"
            } else {
                "replica"
            };
            let role = if cluster.left_behind.contains(instance) {
                "left behind"
            } else {
                role
            };
            rows.add_row([
                instance.to_string(),
                spec.region.to_string(),
                format!("{}:{}", spec.host, spec.port),
                role.to_owned(),
                view.map_or("nothing yet".into(), |view| {
                    sight_words(view.sight.kind).into()
                }),
                if cluster.ackers.members.contains(instance) {
                    "yes".into()
                } else {
                    String::new()
                },
            ]);
        }
        let _ = writeln!(text, "{rows}");
        if let Some(standing) = document.view.standing.get(id) {
            for wait in &standing.waits {
                let _ = writeln!(text, "  waits for: {wait}");
            }
        }
    }
    text
}

pub(super) fn describe(document: &StatusDocument, id: &ClusterId) -> String {
    let mut text = status(document);
    let cluster = &document.clusters[id].cluster;
    let _ = writeln!(
        text,
        "a commit waits for {} of: {}",
        cluster.ackers.k,
        cluster
            .ackers
            .members
            .iter()
            .map(|id| id.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    let _ = writeln!(text, "floor: {}", cluster.floor.compact());
    if let Some(promotion) = cluster.promotion() {
        let choice = &promotion.choice;
        let _ = writeln!(text, "epoch {} rests on: {}", choice.epoch, choice.proof);
        let _ = writeln!(
            text,
            "acknowledged writes that could be missing: {}",
            choice.loss
        );
        for why in &choice.why {
            let _ = writeln!(text, "  {why}");
        }
        for (instance, follower) in &promotion.followers {
            if let Follower::Refused { extra } = follower {
                let _ = writeln!(
                    text,
                    "{instance} must not follow: it holds {}",
                    extra.compact()
                );
            }
        }
    }
    let _ = writeln!(text, "{}", policy(&cluster.policy));
    text
}

/// What would be done now, and why not.
#[derive(Serialize)]
pub(super) struct Explanation {
    cluster: String,
    stage: String,
    epoch: u64,
    primary: String,
    verdict: Option<String>,
    findings: Vec<String>,
    waits: Vec<String>,
    refused: Vec<String>,
}

pub(super) fn explain(document: &StatusDocument, id: &ClusterId) -> Explanation {
    let status = &document.clusters[id];
    let cluster = &status.cluster;
    let standing = document.view.standing.get(id).cloned().unwrap_or_default();
    Explanation {
        cluster: id.to_string(),
        stage: status.stage.clone(),
        epoch: cluster.epoch.0,
        primary: cluster.primary.to_string(),
        verdict: cluster
            .judgement
            .as_ref()
            .map(|judgement| format!("{:?}", judgement.verdict)),
        findings: cluster
            .judgement
            .iter()
            .flat_map(|judgement| &judgement.findings)
            .map(ToString::to_string)
            .collect(),
        waits: standing.waits,
        refused: standing
            .refused
            .iter()
            .map(|(who, why)| format!("{who}: {why}"))
            .collect(),
    }
}

impl Explanation {
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{}: {}, primary {}, epoch {}\n",
            self.cluster, self.stage, self.primary, self.epoch
        );
        match &self.verdict {
            None => text.push_str("no inquest is open: nobody sees the primary silent\n"),
            Some(verdict) => {
                let _ = writeln!(text, "verdict of the open inquest: {verdict}");
            }
        }
        for finding in &self.findings {
            let _ = writeln!(text, "  {finding}");
        }
        for wait in &self.waits {
            let _ = writeln!(text, "waits for: {wait}");
        }
        for refusal in &self.refused {
            let _ = writeln!(text, "refused by {refusal}");
        }
        if self.waits.is_empty() && self.verdict.is_none() {
            text.push_str("it would do nothing now\n");
        }
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

pub(super) fn policy(policy: &Policy) -> String {
    let mut rows = table(&["POLICY", "VALUE"]);
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(policy) {
        for (name, value) in fields {
            rows.add_row([name, value.to_string().trim_matches('"').to_owned()]);
        }
    }
    rows.to_string()
}

pub(super) fn history(events: &[HistoryEvent]) -> String {
    let mut rows = table(&["LOG", "TIME (UTC)", "CLUSTER", "EPOCH", "WHAT"]);
    for event in events {
        rows.add_row([
            event.log_index.to_string(),
            clock_of_day(event.wall_ms),
            event
                .event
                .cluster
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            event.event.epoch.to_string(),
            event.event.what.clone(),
        ]);
    }
    rows.to_string()
}

/// HH:MM:SS.mmm of Unix milliseconds.
fn clock_of_day(wall_ms: u64) -> String {
    let of_day = wall_ms / 1_000 % 86_400;
    let (hours, minutes, seconds) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!(
        "{hours:02}:{minutes:02}:{seconds:02}.{:03}",
        wall_ms % 1_000
    )
}
