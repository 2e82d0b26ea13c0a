//! Decide, while leading: who is next, or who fetches what before anybody can be.

use super::Node;
use crate::decide::{Choice, Fetch, Reason, check, check_fetch, choose, fetches};
use crate::ids::Tick;
use crate::record::{Cluster, Command, Deposition};

/// A fetch that has not ended after this is tried between two others, if there are any.
const FETCH_PATIENCE_MS: u64 = 10_000;

/// What the leader makes of one deposed epoch; nothing that a new leader could not find anew.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Since when it could go on: the grace for the freezes still missing.
    ready: Option<Tick>,
    /// The fetches ordered, and since when the newest stands.
    fetched: Vec<Fetch>,
    since: Option<Tick>,
}

impl Node {
    pub(super) fn plan(&mut self, now: Tick, cluster: &Cluster, deposition: &Deposition) {
        match choose(cluster) {
            Ok(choice) => self.propose(now, cluster, deposition, choice),
            Err(reasons) => self.fetch(now, cluster, deposition, &reasons),
        }
    }

    /// Whether everybody has reported, or has had the time to.
    fn all_heard(&mut self, now: Tick, cluster: &Cluster, deposition: &Deposition) -> bool {
        let plan = self.lead.plans.entry(cluster.id.clone()).or_default();
        let since = *plan.ready.get_or_insert(now);
        let mut members = cluster.ackers.members.iter();
        members.all(|id| deposition.frozen.contains_key(id))
            || now.since_ms(since) >= self.settings.freeze_grace_ms
    }

    fn propose(&mut self, now: Tick, cluster: &Cluster, deposition: &Deposition, choice: Choice) {
        let back = choice.to == cluster.primary;
        if !self.all_heard(now, cluster, deposition) && !back {
            return;
        }
        let broken = check(cluster, &choice);
        if broken.is_empty() {
            let key = format!("choose/{}", cluster.id);
            self.outbox
                .push(now, key, Command::Choose(Box::new(choice)));
        } else {
            self.disagree(cluster, &broken);
        }
    }

    /// Nobody can be chosen: has what is missing fetched, if anybody holds it, and says what else
    /// would help.
    fn fetch(&mut self, now: Tick, cluster: &Cluster, deposition: &Deposition, reasons: &[Reason]) {
        let options = fetches(cluster);
        if options.is_empty() {
            self.lead.plans.remove(&cluster.id);
        } else if self.all_heard(now, cluster, deposition) {
            self.fetch_one(now, cluster, deposition, options);
        }
        self.wait(cluster, reasons.iter().map(ToString::to_string).collect());
    }

    fn fetch_one(
        &mut self,
        now: Tick,
        cluster: &Cluster,
        deposition: &Deposition,
        options: Vec<Fetch>,
    ) {
        let plan = self.lead.plans.entry(cluster.id.clone()).or_default();
        if let Some(ordered) = deposition.unfetched() {
            let fetch = &ordered.fetch;
            if plan.fetched.last() != Some(fetch) {
                plan.fetched.push(fetch.clone());
                plan.since = Some(now);
            }
            let waited_ms = plan.since.map_or(0, |since| now.since_ms(since));
            if options.contains(fetch) && waited_ms < FETCH_PATIENCE_MS {
                let what = format!(
                    "{} fetches {} from {}",
                    fetch.to,
                    fetch.set.compact(),
                    fetch.donor
                );
                return self.wait(cluster, vec![what]);
            }
        }
        let untried = options.iter().find(|fetch| !plan.fetched.contains(fetch));
        let next = untried.unwrap_or(&options[0]).clone();
        if untried.is_none() {
            plan.fetched.clear();
        }
        let broken = check_fetch(cluster, &next);
        if !broken.is_empty() {
            return self.disagree(cluster, &broken);
        }
        let command = Command::Fetch {
            cluster: cluster.id.clone(),
            epoch: cluster.epoch,
            fetch: Box::new(next),
        };
        self.outbox
            .push(now, format!("fetch/{}", cluster.id), command);
    }

    fn disagree(&mut self, cluster: &Cluster, broken: &[String]) {
        let what = format!(
            "halted: the plan and its checker disagree ({}); a person must look",
            broken.join("; ")
        );
        self.wait(cluster, vec![what]);
    }
}
