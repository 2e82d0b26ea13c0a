//! What the live screen shows at one moment, as rows of text: pure, from the nodes' answers and the
//! clients' counts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use console::style;
use primacy_core::agree::{Inquest, Judgement};
use primacy_core::decide::Choice;
use primacy_core::ids::NodeId;
use primacy_core::observe::SightKind;
use primacy_core::record::{Cluster, Deposition};

use super::world::CLUSTER;
use crate::api::StatusDocument;
use crate::cli::{duration, sight_text, wrap};

/// A node that has not answered for longer is shown as silent itself.
const UNANSWERED: Duration = Duration::from_millis(1_000);
const LABEL_WIDTH: usize = 11;

/// What the clients do.
pub(super) struct Writes {
    pub clients: u32,
    pub acked: usize,
    pub per_second: usize,
    /// Whom they hold to be primary.
    pub to: Option<String>,
}

impl fmt::Display for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged, {}/s; {} clients, {}",
            self.acked,
            self.per_second,
            self.clients,
            match &self.to {
                Some(to) => format!("writing to {to}"),
                None => "no instance answers as primary".into(),
            }
        )
    }
}

/// The newest answer of each node.
#[derive(Default)]
pub(super) struct Picture {
    pub regions: BTreeMap<NodeId, String>,
    answers: BTreeMap<NodeId, (Instant, StatusDocument)>,
    /// What was last said of each node's sight.
    said: BTreeMap<NodeId, String>,
}

impl Picture {
    pub fn answered(&mut self, node: NodeId, document: StatusDocument) {
        self.answers.insert(node, (Instant::now(), document));
    }

    /// The cluster as the node knows it that has applied most.
    fn cluster(&self) -> Option<&Cluster> {
        let answers = self.answers.values().map(|(_, document)| document);
        let newest = answers.max_by_key(|document| document.applied_index)?;
        let clusters = newest.clusters.values();
        let mut found = clusters.map(|status| &status.cluster);
        found.find(|cluster| cluster.id.as_str() == CLUSTER)
    }

    /// The choice that ended the outage, once it is made.
    pub fn choice(&self) -> Option<&Choice> {
        let promotion = self.cluster()?.promotion()?;
        promotion.after.as_ref()?;
        Some(&promotion.choice)
    }

    /// What a node sees of the primary, and the part of it whose change is worth a line.
    fn sight(&self, node: NodeId, now: Instant) -> (String, String) {
        let Some((at, document)) = self.answers.get(&node) else {
            return ("has not answered yet".into(), "mute".into());
        };
        let age = now.saturating_duration_since(*at);
        if age > UNANSWERED {
            let ms = age.as_millis() as u64;
            return (
                format!("does not answer for {}", duration(ms)),
                "mute".into(),
            );
        }
        let Some(cluster) = self.cluster() else {
            return ("knows no cluster yet".into(), String::new());
        };
        let Some(view) = document.view.instances.get(&cluster.primary) else {
            return ("sees nothing yet".into(), String::new());
        };
        let text = match view.sight.kind {
            SightKind::Blind => format!("cannot tell how {} is", cluster.primary),
            _ => format!("sees {} {}", cluster.primary, sight_text(view.sight)),
        };
        (text, format!("{} {:?}", cluster.primary, view.sight.kind))
    }

    /// A line for each node whose sight is another than when this was last asked.
    pub fn changes(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        for (node, region) in &self.regions {
            let (text, key) = self.sight(*node, now);
            if self.said.get(node) != Some(&key) {
                lines.push(format!("{region} (node {node}) {text}"));
                self.said.insert(*node, key);
            }
        }
        lines
    }

    /// All rows; `since_ms` the fault, if there was one.
    pub fn panel(
        &self,
        now: Instant,
        since_ms: Option<u64>,
        writes: &Writes,
        width: usize,
    ) -> Vec<String> {
        let mut rows = Rows {
            width,
            lines: vec!["─".repeat(width.min(80))],
        };
        let cluster = self.cluster();
        if let Some(cluster) = cluster {
            let since = match since_ms {
                Some(ms) => format!(", {} after the fault", duration(ms)),
                None => String::new(),
            };
            rows.add(
                CLUSTER,
                &format!("epoch {}: {}{since}", cluster.epoch, cluster.stage_name()),
            );
        }
        rows.add("writes", &writes.to_string());
        let inquest = cluster.and_then(inquest);
        for (node, region) in &self.regions {
            let (sight, _) = self.sight(*node, now);
            let leads = self
                .answers
                .get(node)
                .is_some_and(|(_, document)| document.view.leads);
            let vote = inquest.and_then(|inquest| inquest.votes.get(node));
            let vote = vote.map_or(String::new(), |vote| {
                let on = inquest.map_or(String::new(), |inquest| inquest.id.to_string());
                format!("; voted in inquest {on}: {}", sight_text(vote.sight))
            });
            let leads = if leads { ", leads" } else { "" };
            rows.add(region, &format!("node {node}{leads}: {sight}{vote}"));
        }
        let Some(cluster) = cluster else {
            return rows.lines;
        };
        match judgement(cluster) {
            None => rows.add("verdict", "no inquest"),
            Some(judgement) => {
                let verdict = format!("{:?}", judgement.verdict);
                let verdict = match judgement.verdict {
                    of if of.deposes() => style(verdict).red().bold(),
                    _ => style(verdict).yellow(),
                };
                let findings: Vec<_> = judgement.findings.iter().map(|f| f.to_string()).collect();
                rows.add("verdict", &format!("{verdict}: {}", findings.join(" · ")));
            }
        }
        if let Some(choice) = self.choice() {
            rows.add("proof", &choice.proof.to_string());
            let mut head = "candidate";
            for why in &choice.why {
                rows.add(head, why);
                head = "";
            }
            let loss = choice.loss.to_string();
            rows.add("loss bound", &style(loss).green().to_string());
        }
        rows.lines
    }
}

fn record(cluster: &Cluster) -> Option<&Deposition> {
    let after = cluster.promotion().and_then(|p| p.after.as_deref());
    cluster.deposition().or(after)
}

/// The open inquest, or the one that ended the epoch before.
fn inquest(cluster: &Cluster) -> Option<&Inquest> {
    let last = record(cluster).map(|record| &record.inquest);
    cluster.inquest.as_ref().or(last)
}

fn judgement(cluster: &Cluster) -> Option<&Judgement> {
    let last = record(cluster).map(|record| &record.judgement);
    cluster.judgement.as_ref().or(last)
}

struct Rows {
    width: usize,
    lines: Vec<String>,
}

impl Rows {
    /// A label, and text as wide as the screen allows, wrapped beside it.
    fn add(&mut self, label: &str, text: &str) {
        let mut label = style(format!("{label:<LABEL_WIDTH$}")).bold().to_string();
        for line in wrap(text, self.width.saturating_sub(LABEL_WIDTH)) {
            self.lines.push(format!("{label}{line}"));
            label = " ".repeat(LABEL_WIDTH);
        }
    }
}
