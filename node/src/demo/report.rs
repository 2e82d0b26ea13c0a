//! What a run measured, in the form of `-o json`. Times are milliseconds from the fault.

use primacy_core::ids::NodeId;
use primacy_core::observe::SightKind;
use serde::Serialize;

/// One node's vote in the inquest that ended the old epoch.
#[derive(Clone, Debug, Serialize)]
pub(super) struct VoteReport {
    pub node: NodeId,
    pub region: String,
    pub sight: SightKind,
    pub for_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RunReport {
    pub fault: &'static str,
    pub profile: &'static str,
    /// Between regions.
    pub rtt_ms: u32,
    /// What of the primary's mysqld was in memory when it was broken.
    pub resident_mb: Option<u64>,
    /// The sustained silence that the policy demanded.
    pub threshold_ms: u64,
    pub verdict_ms: i64,
    pub chosen_ms: i64,
    pub open_ms: i64,
    pub first_ack_ms: i64,
    /// When the last of the clients could write again; absent if one could not while the run lasted.
    pub slowest_ack_ms: Option<i64>,
    /// `direct`, or what is between: how often it asks whom it sends to.
    pub clients: String,
    /// Two instances that answered 200 to `/primary` at once; absent if that never was.
    pub second_200: Option<String>,
    /// How often a healthy primary answered `/primary` with anything but 200, or not at all.
    pub healthy_503: u64,
    /// `first_ack_ms` − `threshold_ms`.
    pub overhead_ms: i64,
    pub acked: usize,
    /// Acknowledged writes missing on the new primary.
    pub lost: usize,
    pub attempted_on_old: u64,
    /// Acknowledged by the old primary after the new one opened, and present there.
    pub late_acked: usize,
    /// The same and not present there.
    pub double_acked: usize,
    pub proof: String,
    pub loss_bound: String,
    pub from: String,
    pub to: String,
    pub old_epoch: u64,
    pub new_epoch: u64,
    pub votes: Vec<VoteReport>,
    /// Steps as the log recorded them: what, and when.
    pub timeline: Vec<(i64, String)>,
    /// What nodes and agents warned of: each is for a person.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Spread {
    pub min: i64,
    pub median: i64,
    pub max: i64,
}

impl Spread {
    fn of(values: impl Iterator<Item = i64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_unstable();
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        // Of an even number the mean of the middle two.
        let median = (at(last / 2) + at(values.len() / 2)) / 2;
        Self {
            min: at(0),
            median,
            max: at(last),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    pub runs: usize,
    pub first_ack_ms: Spread,
    /// Of the runs in which every client could write again.
    pub slowest_ack_ms: Spread,
    pub clients: String,
    /// Runs in which two instances answered 200 at once.
    pub second_200: usize,
    pub healthy_503: u64,
    pub overhead_ms: Spread,
    pub acked: usize,
    pub attempted_on_old: u64,
    pub lost: usize,
    pub late_acked: usize,
    pub double_acked: usize,
}

impl Summary {
    pub fn of(runs: &[RunReport]) -> Self {
        Self {
            runs: runs.len(),
            first_ack_ms: Spread::of(runs.iter().map(|run| run.first_ack_ms)),
            slowest_ack_ms: Spread::of(runs.iter().filter_map(|run| run.slowest_ack_ms)),
            clients: runs
                .first()
                .map_or_else(String::new, |run| run.clients.clone()),
            second_200: runs.iter().filter(|run| run.second_200.is_some()).count(),
            healthy_503: runs.iter().map(|run| run.healthy_503).sum(),
            overhead_ms: Spread::of(runs.iter().map(|run| run.overhead_ms)),
            acked: runs.iter().map(|run| run.acked).sum(),
            attempted_on_old: runs.iter().map(|run| run.attempted_on_old).sum(),
            lost: runs.iter().map(|run| run.lost).sum(),
            late_acked: runs.iter().map(|run| run.late_acked).sum(),
            double_acked: runs.iter().map(|run| run.double_acked).sum(),
        }
    }

    pub fn text(&self) -> String {
        format!(
            "{} run(s): first acknowledged write after {} ms (min {}, max {}),\n\
             of which {} ms were not patience; the last client wrote again after {} ms (max {})\n\
             clients: {}\n\
             second 200: {}; 503 from a healthy primary: {}\n\
             {} acknowledged writes read back: {} lost\n\
             {} attempted on the old primary after the fault:\n\
             {} acknowledged late and present, {} twice",
            self.runs,
            self.first_ack_ms.median,
            self.first_ack_ms.min,
            self.first_ack_ms.max,
            self.overhead_ms.median,
            self.slowest_ack_ms.median,
            self.slowest_ack_ms.max,
            self.clients,
            match self.second_200 {
                0 => "never".to_owned(),
                runs => format!("in {runs} run(s)"),
            },
            self.healthy_503,
            self.acked,
            self.lost,
            self.attempted_on_old,
            self.late_acked,
            self.double_acked
        )
    }
}
