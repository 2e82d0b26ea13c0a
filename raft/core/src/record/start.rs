//! What starts a failover: a vote that completes the verdict, or an operator's approval.

use super::apply::Applied;
use super::cluster::{Approval, Cluster, Stage};
use super::command::{Event, EventKind, Refusal};
use super::state::State;
use crate::agree::{Bench, Vote, judge};
use crate::decide;
use crate::ids::{ClusterId, Epoch, Position};
use crate::policy::Automation;

impl Cluster {
    /// Adds to a deposed epoch what an approval allows; an abort is lifted with it.
    fn allow(&mut self, who: &str, allows: &Approval) -> Option<Event> {
        let Stage::Deposed(record) = &mut self.stage else {
            return None;
        };
        record.aborted = None;
        record.approval = allows.clone();
        let mut said = Vec::new();
        if let Some(to) = &allows.to {
            said.push(format!("{to} alone may be chosen"));
        }
        if !allows.errant.is_empty() {
            said.push(format!("{} bar nobody", allows.errant.compact()));
        }
        if let Some(loss) = allows.max_loss {
            said.push(format!("the loss may be {loss}"));
        }
        let what = format!("{who} approves: {}", said.join(", "));
        Some(self.event(EventKind::Approved, what))
    }
}

impl State {
    fn bench_and<T>(
        &self,
        id: &ClusterId,
        use_it: impl FnOnce(&Bench<'_>, &Cluster) -> T,
    ) -> Result<T, Refusal> {
        let cluster = self
            .clusters
            .get(id)
            .ok_or_else(|| Refusal::NoSuchCluster(id.clone()))?;
        let voters = self.regions();
        let bench = Bench {
            voters: &voters,
            policy: &cluster.policy,
            ackers: &cluster.ackers.members,
            k: cluster.ackers.k as usize,
            strangers: cluster.ground.strangers.len(),
            mysqld: cluster.mysqld,
            at_home: cluster.at_home(),
            acknowledged: cluster.has_acknowledged(),
        };
        Ok(use_it(&bench, cluster))
    }

    pub(super) fn vote(&mut self, at: Position, vote: &Vote) -> Applied {
        if !self.voters.contains_key(&vote.node) {
            return Err(Refusal::NotAVoter(vote.node));
        }
        let cluster = self.cluster_mut(&vote.cluster)?;
        let open = cluster.inquest.as_ref().map(|inquest| inquest.id);
        let stale = Refusal::StaleVote {
            vote: vote.inquest,
            open,
        };
        let Some(inquest) = cluster.inquest.as_mut() else {
            return Err(stale);
        };
        if !inquest.take(vote) {
            return Err(stale);
        }
        let before = cluster
            .judgement
            .as_ref()
            .map(|judgement| judgement.verdict);
        let primary = cluster.primary.clone();
        let broken = cluster.hear_broken(&primary, &vote.broken);
        let judgement = self.bench_and(&vote.cluster, |bench, cluster| {
            let inquest = cluster
                .inquest
                .as_ref()
                .expect("the inquest that took the vote is open");
            judge(bench, inquest)
        })?;
        let verdict = judgement.verdict;
        let cluster = self.cluster_mut(&vote.cluster)?;
        cluster.judgement = Some(judgement);
        let mut events = vec![cluster.event(
            EventKind::Voted,
            format!(
                "node {} sees {} {} for {} ms",
                vote.node,
                cluster.primary,
                sight_word(vote),
                vote.sight.for_ms
            ),
        )];
        events.extend(broken);
        if before != Some(verdict) {
            events.push(cluster.event(
                EventKind::Verdict,
                format!("verdict on {}: {verdict:?}", cluster.primary),
            ));
        }
        events.extend(self.suspect(at, &vote.cluster));
        let cluster = &self.clusters[&vote.cluster];
        if cluster.waits_for_slot() && self.admits(cluster) {
            events.extend(self.depose(at, &vote.cluster, None)?);
        }
        Ok(events)
    }

    /// A failover that begins is itself a reason to suspect its region.
    fn depose(&mut self, at: Position, id: &ClusterId, approved_by: Option<String>) -> Applied {
        let region_fails = self.region_fails(id);
        let deposed = self.cluster_mut(id)?.depose(at, approved_by, region_fails);
        let mut events = vec![deposed];
        events.extend(self.suspect(at, id));
        Ok(events)
    }

    pub(super) fn approve(
        &mut self,
        at: Position,
        id: &ClusterId,
        epoch: Epoch,
        who: &str,
        allows: &Approval,
    ) -> Applied {
        let cluster = self.cluster_mut(id)?;
        cluster.expect_epoch("approve", epoch)?;
        if let Some(to) = &allows.to {
            cluster.expect_instance(to)?;
        }
        if *allows != Approval::default()
            && let Some(allowed) = cluster.allow(who, allows)
        {
            return Ok(vec![allowed]);
        }
        if let Some(lifted) = cluster.lift_abort(who) {
            return Ok(vec![lifted]);
        }
        let dead = cluster
            .judgement
            .as_ref()
            .is_some_and(|judgement| judgement.verdict.deposes());
        if cluster.inquest.is_none() || !dead {
            return Err(Refusal::NotDead(match &cluster.judgement {
                Some(judgement) => format!("{:?}", judgement.verdict),
                None => "no inquest is open: nobody sees it silent".into(),
            }));
        }
        if cluster.policy.automation == Automation::Off {
            return Err(Refusal::Invalid {
                field: "policy.automation".into(),
                value: "off".into(),
                remedy: "set it to advise or auto".into(),
            });
        }
        decide::feasible_with(cluster, allows)
            .map_err(|reasons| Refusal::Unsound(reasons.join("; ")))?;
        let mut events = self.depose(at, id, Some(who.to_owned()))?;
        if *allows != Approval::default() {
            events.extend(self.cluster_mut(id)?.allow(who, allows));
        }
        Ok(events)
    }
}

fn sight_word(vote: &Vote) -> String {
    format!("{:?}", vote.sight.kind).to_lowercase()
}
