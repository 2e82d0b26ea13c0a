//! Decide, while leading: who is next, or who fetches what before anybody can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Node;
use crate::agree::Verdict;
use crate::decide::{
    Choice, Circumstances, Fetch, Reason, check, check_fetch, choose_with, fetches,
};
use crate::ids::{InstanceId, Tick};
use crate::record::{Cluster, Command, Deposition, FreezeReport};

/// A fetch that has not ended after this is tried between two others, if there are any.
const FETCH_PATIENCE_MS: u64 = 10_000;

/// How long the others are waited for before an old primary opens again that would serve no better
/// than before.
pub(super) const LAST_RESORT_MS: u64 = 5_000;

/// An agent that was not heard for so long may be gone, whatever it reported before.
const UNHEARD_MS: u64 = 1_000;

/// How long the fence of one whose choice was taken back is waited for: where it hangs, its server is
/// ended with SIGKILL before.
const FENCE_GRACE_MS: u64 = 2_000;

/// Where the old primary's confirmed final set is all that tells the content, how long the leader
/// waits for enough ackers to tell it: nothing that nobody acknowledged is needed then.
const CONTENT_GRACE_MS: u64 = 500;

/// What the leader makes of one deposed epoch; nothing that a new leader could not find anew.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Since when it could go on: the grace for the freezes still missing.
    ready: Option<Tick>,
    /// The fetches ordered, and since when the newest stands.
    fetched: Vec<Fetch>,
    since: Option<Tick>,
    /// When this leader first saw the epoch deposed.
    seen: Option<Tick>,
    /// What was found in that state of the cluster: nothing is planned anew before it changes.
    made: Option<Made>,
    foreseen: Option<Foreseen>,
}

/// What will be found once these reports are in the log.
#[derive(Debug)]
struct Foreseen {
    of: Arc<Cluster>,
    with: Circumstances,
    reports: BTreeMap<InstanceId, FreezeReport>,
    after: Arc<Cluster>,
    choice: Option<Choice>,
}

impl Foreseen {
    fn new(
        cluster: &Arc<Cluster>,
        with: &Circumstances,
        reports: &BTreeMap<&InstanceId, &FreezeReport>,
    ) -> Self {
        let mut after = Cluster::clone(cluster);
        for (instance, report) in reports {
            // One that is refused changes nothing.
            let _ = after.frozen(cluster.epoch, instance, report);
        }
        Self {
            of: cluster.clone(),
            with: with.clone(),
            choice: choose_with(&after, with).ok(),
            reports: reports
                .iter()
                .map(|(id, report)| (InstanceId::clone(id), FreezeReport::clone(report)))
                .collect(),
            after: Arc::new(after),
        }
    }
}

#[derive(Debug)]
struct Made {
    of: Arc<Cluster>,
    with: Circumstances,
    choice: Result<Choice, Vec<Reason>>,
    fetches: Vec<Fetch>,
}

impl Node {
    pub(super) fn plan(&mut self, now: Tick, cluster: &Arc<Cluster>, deposition: &Deposition) {
        let plan = self.lead.plans.entry(cluster.id.clone()).or_default();
        let since = *plan.seen.get_or_insert(now);
        let patient = now.since_ms(since) < cluster.policy.sustain_ms;
        if !patient {
            self.give_up_fence(now, cluster, deposition);
        }
        let unheard = self.unheard(now, cluster);
        let with = Circumstances {
            last_resort: now.since_ms(since) >= LAST_RESORT_MS,
            forsaken: self.forsaken(now, cluster, &unheard),
            unheard,
        };
        self.foresee(cluster, deposition, &with);
        let plan = self.lead.plans.get(&cluster.id);
        if let Some(foreseen) = plan.and_then(|plan| plan.foreseen.as_ref())
            && let Some(choice) = foreseen.choice.clone()
        {
            let after = foreseen.after.clone();
            if let Some(deposition) = after.deposition() {
                return self.propose(now, &after, deposition, choice);
            }
        }
        match self.make(cluster, with) {
            (Ok(choice), _) => self.propose(now, cluster, deposition, choice),
            (Err(reasons), options) => self.fetch(now, cluster, deposition, &reasons, options),
        }
    }

    /// The choice that the reports allow which the next proposal brings, where they are the last ones: it
    /// goes along with them, and is judged after them. If anything comes between, it is refused and made
    /// anew.
    fn foresee(&mut self, cluster: &Arc<Cluster>, record: &Deposition, with: &Circumstances) {
        let waiting = self.outbox.waiting();
        let reports: BTreeMap<&InstanceId, &FreezeReport> = waiting
            .filter_map(|command| match command {
                Command::Freeze {
                    cluster: of,
                    epoch,
                    instance,
                    report,
                } if *of == cluster.id && *epoch == cluster.epoch => Some((instance, report)),
                _ => None,
            })
            .collect();
        let heard = |id| record.frozen.contains_key(id) || reports.contains_key(id);
        let last = !reports.is_empty() && cluster.ackers.members.iter().all(heard);
        let plan = self.lead.plans.entry(cluster.id.clone()).or_default();
        let stands = |of: &Foreseen| {
            let same = of
                .reports
                .iter()
                .eq(reports.iter().map(|(id, of)| (*id, *of)));
            Arc::ptr_eq(&of.of, cluster) && of.with == *with && same
        };
        if !plan.foreseen.as_ref().is_some_and(stands) {
            plan.foreseen = last.then(|| Foreseen::new(cluster, with, &reports));
        }
    }

    /// Whose agents this node does not hear now.
    pub(super) fn unheard(&self, now: Tick, cluster: &Cluster) -> BTreeSet<InstanceId> {
        let heard = |id: &InstanceId| {
            let watch = self.watches.get(id);
            watch.is_some_and(|watch| watch.heard_within(now, UNHEARD_MS))
        };
        let ids = cluster.instances.keys();
        ids.filter(|id| !heard(id)).cloned().collect()
    }

    /// What answers and cannot write was ordered to fence, and has not answered for as long as a
    /// silence must last.
    fn give_up_fence(&mut self, now: Tick, cluster: &Cluster, deposition: &Deposition) {
        let verdict = deposition.judgement.verdict;
        if verdict == Verdict::Wedged && deposition.fence.is_none() && !deposition.unheard {
            let command = Command::Unheard {
                cluster: cluster.id.clone(),
                epoch: cluster.epoch,
            };
            self.outbox
                .push(now, format!("unheard/{}", cluster.id), command);
        }
    }

    /// Plans once for each state of the cluster.
    fn make(
        &mut self,
        cluster: &Arc<Cluster>,
        with: Circumstances,
    ) -> (Result<Choice, Vec<Reason>>, Vec<Fetch>) {
        let plan = self.lead.plans.entry(cluster.id.clone()).or_default();
        let stands = plan
            .made
            .take()
            .filter(|made| Arc::ptr_eq(&made.of, cluster) && made.with == with);
        let made = stands.unwrap_or_else(|| {
            let choice = choose_with(cluster, &with);
            let fetches = match &choice {
                Ok(_) => Vec::new(),
                Err(_) => fetches(cluster),
            };
            Made {
                of: cluster.clone(),
                with,
                choice,
                fetches,
            }
        });
        let found = (made.choice.clone(), made.fetches.clone());
        plan.made = Some(made);
        found
    }

    /// Whether everybody has reported, or has had the time to.
    fn all_heard(&mut self, now: Tick, cluster: &Cluster, deposition: &Deposition) -> bool {
        let plan = self.lead.plans.entry(cluster.id.clone()).or_default();
        let since = *plan.ready.get_or_insert(now);
        let members = cluster.ackers.members.iter();
        let heard = members
            .filter(|id| deposition.frozen.contains_key(*id))
            .count();
        // What its own final set holds beyond what the ackers tell nobody may ever have been told.
        let grace_ms = if heard < cluster.blocking() {
            CONTENT_GRACE_MS
        } else {
            self.settings.freeze_grace_ms
        };
        heard == cluster.ackers.members.len() || now.since_ms(since) >= grace_ms
    }

    /// Whether the fence of one that was withdrawn is waited for: its answer alone can say that it never
    /// began to open, and so is no former primary.
    fn awaits_fence(&self, now: Tick, cluster: &Cluster, deposition: &Deposition) -> bool {
        let seen = self.lead.plans.get(&cluster.id).and_then(|plan| plan.seen);
        deposition.withdrawn.is_some()
            && deposition.fence.is_none()
            && seen.is_none_or(|since| now.since_ms(since) < FENCE_GRACE_MS)
    }

    fn propose(&mut self, now: Tick, cluster: &Cluster, deposition: &Deposition, choice: Choice) {
        if !self.all_heard(now, cluster, deposition) || self.awaits_fence(now, cluster, deposition)
        {
            return;
        }
        if self.unheard(now, cluster).contains(&choice.to) {
            let what = format!(
                "{} is next, and its agent is not heard; waiting for it, or for another that qualifies",
                choice.to
            );
            return self.wait(cluster, vec![what]);
        }
        let broken = check(cluster, &choice);
        if broken.is_empty() {
            // Later than `frozen/…`.
            let key = format!("next/{}", cluster.id);
            self.outbox
                .push(now, key, Command::Choose(Box::new(choice)));
        } else {
            self.disagree(cluster, &broken);
        }
    }

    /// Nobody can be chosen: has what is missing fetched, if anybody holds it, and says what else
    /// would help.
    fn fetch(
        &mut self,
        now: Tick,
        cluster: &Cluster,
        deposition: &Deposition,
        reasons: &[Reason],
        options: Vec<Fetch>,
    ) {
        if options.is_empty() {
            let plan = self.lead.plans.entry(cluster.id.clone()).or_default();
            (plan.ready, plan.since) = (None, None);
            plan.fetched.clear();
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
