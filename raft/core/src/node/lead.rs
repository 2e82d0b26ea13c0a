//! What a node does while it leads: it sends the orders that stand, turns answers into commands,
//! plans, and closes what is settled. A new leader starts from the state alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alarms::Watched;
use super::explain::{Standing, founding_waits};
use super::plan::Plan;
use super::{Node, NodeOutput, SETTLED_REVOTE_MS};
use crate::act::{Order, OrderKind, Reply, orders};
use crate::agree::{Inquest, Verdict};
use crate::gtid::GtidSet;
use crate::ids::{ClusterId, Epoch, Incarnation, InquestId, InstanceId, NodeId, Seq, Tick, Token};
use crate::observe::{IoThread, MysqldWord, Role};
use crate::record::{Cluster, Command, Follower, Stage};

/// Votes that settle nothing for this long are dropped, and the question is asked anew: silences
/// seen at different times must not add up.
const INQUEST_EXPIRES_MS: u64 = 30_000;

/// A voter whose newest vote is older than this has fallen silent itself: a living one votes again
/// every second at the latest. What it saw last must not hold a verdict up.
const VOTE_STALE_MS: u64 = 3 * SETTLED_REVOTE_MS;

/// A named primary that is closed for this long is not about to open by an order in hand.
pub(super) const CLOSED_MS: u64 = 500;

/// Who has reported for a founding is asked again after this: somebody who mends the server is
/// about as patient, and each question makes the agent write to its disk.
const REPORT_AGAIN_MS: u64 = 2_000;

/// How much of the anti-flap rest, and of a slot's time, is logged at once.
const REST_PORTION_MS: u64 = 5_000;

/// An order that keeps a server at what it should be doing is sent again at longer and longer
/// intervals, up to this many times the first: each repetition may cost it something.
const BACK_OFF_MAX: u32 = 6;

/// A primary's word that its first marker was answered; a fact once k of V hold it.
#[derive(Debug)]
pub(super) struct Claim {
    pub epoch: Epoch,
    pub who: InstanceId,
    pub floor: GtidSet,
}

/// The newest order that was sent to one agent.
#[derive(Debug)]
struct Sent {
    token: Token,
    name: &'static str,
    at: Tick,
    /// How often it was repeated, to these runs of the agent and of its server.
    times: u32,
    runs: Option<(Incarnation, Incarnation)>,
}

#[derive(Debug, Default)]
pub(super) struct Lead {
    sent: BTreeMap<InstanceId, Sent>,
    replies: Vec<Reply>,
    pub(super) claims: BTreeMap<ClusterId, Claim>,
    pub(super) plans: BTreeMap<ClusterId, Plan>,
    /// Since when a named primary's agent has said that it is closed.
    closed: BTreeMap<ClusterId, Tick>,
    pub(super) standing: BTreeMap<ClusterId, Standing>,
    /// Whose report for a founding is refused, and why.
    pub(super) unfit: BTreeMap<(ClusterId, InstanceId), String>,
    /// When each voter's newest vote in the open inquest was first seen in the log.
    voted: BTreeMap<(ClusterId, NodeId), (VoteKey, Tick)>,
    rest_logged: Option<Tick>,
    pub(super) watched: Watched,
}

/// Which vote: its inquest, and where it stands among its node's.
type VoteKey = (InquestId, Incarnation, Seq);

impl Lead {
    pub fn reply(&mut self, reply: Reply) {
        self.replies.push(reply);
    }

    pub fn standing(&self, cluster: &ClusterId) -> Option<Standing> {
        self.standing.get(cluster).cloned()
    }

    /// Whether this instance's report for the founding is known, taken or refused.
    fn has_reported(&self, cluster: &Cluster, instance: &InstanceId) -> bool {
        let taken = match &cluster.stage {
            Stage::Founding { reports, .. } => reports.contains_key(instance),
            Stage::Named(_) | Stage::Deposed(_) => false,
        };
        taken
            || self
                .unfit
                .contains_key(&(cluster.id.clone(), instance.clone()))
    }

    /// A cluster of the same name may be registered later.
    fn forget_unregistered(&mut self, known: &BTreeMap<ClusterId, Arc<Cluster>>) {
        self.standing.retain(|id, _| known.contains_key(id));
        let founding = |id: &ClusterId| {
            known
                .get(id)
                .is_some_and(|cluster| matches!(cluster.stage, Stage::Founding { .. }))
        };
        self.unfit.retain(|(id, _), _| founding(id));
    }
}

impl Node {
    pub(super) fn lead(&mut self, now: Tick, out: &mut Vec<NodeOutput>) {
        for reply in std::mem::take(&mut self.lead.replies) {
            self.answer(now, reply);
        }
        let state = self.state.clone();
        let view = state.as_ref().follows(state.get().as_ref());
        let mut resting = false;
        for cluster in state.get().clusters.values() {
            resting |= cluster.counts_time();
            self.enrol(now, cluster);
            for order in orders(&view, cluster) {
                if self.order_due(now, cluster, order.get()) {
                    out.push(NodeOutput::Order(order));
                }
            }
            self.lead
                .standing
                .entry(cluster.id.clone())
                .or_default()
                .waits
                .clear();
            match &cluster.stage {
                Stage::Founding { .. } => {
                    let waits = founding_waits(cluster, &self.lead.unfit);
                    self.wait(cluster, waits);
                }
                Stage::Deposed(deposition) => self.plan(now, cluster, deposition),
                Stage::Named(_) => self.keep(now, cluster),
            }
        }
        self.watch_all(now, out);
        self.log_rest(now, resting);
        self.raise_level(now);
        self.lead.forget_unregistered(&state.get().clusters);
    }

    fn log_rest(&mut self, now: Tick, resting: bool) {
        let since = *self.lead.rest_logged.get_or_insert(now);
        let passed_ms = now.since_ms(since);
        if !resting {
            self.lead.rest_logged = Some(now);
        } else if passed_ms >= REST_PORTION_MS {
            self.lead.rest_logged = Some(now);
            self.outbox
                .push(now, "rest".into(), Command::TimePassed { ms: passed_ms });
        }
    }

    fn enrol(&mut self, now: Tick, cluster: &Cluster) {
        for (id, spec) in &cluster.instances {
            let said = self
                .watches
                .get(id)
                .and_then(|watch| watch.fresh_beat(now)?.server_uuid);
            if spec.server_uuid.is_none()
                && let Some(server_uuid) = said
            {
                let (cluster, instance) = (cluster.id.clone(), id.clone());
                let command = Command::Enrolled {
                    cluster,
                    instance,
                    server_uuid,
                };
                self.outbox.push(now, format!("enrol/{id}"), command);
            }
        }
    }

    // ---- act

    /// Whether an order is to be sent now: it is new, or its effect is overdue.
    fn order_due(&mut self, now: Tick, cluster: &Cluster, order: &Order) -> bool {
        if self.carried_out(now, cluster, order) {
            return false;
        }
        let name = order.kind.name();
        let watch = self.watches.get(&order.instance);
        let runs = watch.and_then(|watch| watch.runs());
        let last = self.lead.sent.get(&order.instance);
        let same =
            last.filter(|last| last.token == order.token && last.name == name && last.runs == runs);
        let times = same.map_or(0, |last| last.times);
        let again_ms = match order.kind {
            // What stands in the way of these is said, and a person may have to mend it.
            OrderKind::Follow { .. } => self.settings.order_again_ms << times.min(BACK_OFF_MAX),
            OrderKind::Report { .. } if self.lead.has_reported(cluster, &order.instance) => {
                REPORT_AGAIN_MS
            }
            _ => self.settings.order_again_ms,
        };
        if same.is_some_and(|last| now.since_ms(last.at) < again_ms) {
            return false;
        }
        let sent = Sent {
            token: order.token.clone(),
            name,
            at: now,
            times: same.map_or(0, |last| last.times.saturating_add(1)),
            runs,
        };
        self.lead.sent.insert(order.instance.clone(), sent);
        true
    }

    /// Standing orders whose effect the agent's own beat shows.
    fn carried_out(&self, now: Tick, cluster: &Cluster, order: &Order) -> bool {
        if let (OrderKind::Report { .. }, Stage::Founding { reports, .. }) =
            (&order.kind, &cluster.stage)
        {
            // Unless somebody's report is refused: then everybody's newest word counts. With all
            // of them there, it was refused when the last came.
            let all = reports.len() == cluster.instances.len();
            let refused = all || self.lead.unfit.keys().any(|(id, _)| *id == cluster.id);
            return reports.contains_key(&order.instance) && !refused;
        }
        let Some(watch) = self.watches.get(&order.instance) else {
            return false;
        };
        let Some(beat) = watch.fresh_beat(now) else {
            return false;
        };
        match &order.kind {
            OrderKind::Follow {
                epoch,
                source,
                host,
                port,
                acking,
                online,
                ..
            } => {
                // Somebody pointed it elsewhere; under `automation: off` that is left alone.
                let uuid = cluster.instances.get(source).and_then(|of| of.server_uuid);
                let channel = beat.besides.as_ref().and_then(|of| of.channel());
                let astray = !cluster.policy.hands_off()
                    && channel.is_some_and(|of| !of.comes_from(host, *port, uuid));
                let joined = cluster
                    .promotion()
                    .is_some_and(|p| p.followers.get(&order.instance) == Some(&Follower::Joined));
                joined
                    && !astray
                    && beat.role == Role::Following(*epoch)
                    // Closed, clients cannot reach a prepared branch on it.
                    && (*online || beat.fenced)
                    && beat.replica.as_ref().is_some_and(|replica| {
                        replica.io != IoThread::Off
                            && replica.applier_runs
                            && replica.acking == *acking
                    })
            }
            OrderKind::Reopen { mysqld, .. } => beat.word.mysqld != *mysqld,
            OrderKind::Fence { .. } if cluster.deposition().is_none() => {
                beat.fenced && !matches!(beat.role, Role::Open(_))
            }
            _ => false,
        }
    }

    /// Takes a primary's word on its first marker for true once k of V hold what it had executed when
    /// that was answered.
    fn prove(&mut self, now: Tick, cluster: &Cluster) {
        let Some(claim) = self.lead.claims.get(&cluster.id) else {
            return;
        };
        let stands = claim.epoch == cluster.epoch && claim.who == cluster.primary;
        if !stands
            || cluster
                .promotion()
                .is_none_or(|of| of.acknowledged && of.opened)
        {
            self.lead.claims.remove(&cluster.id);
            return;
        }
        let (hold, k) = (
            self.holding(now, cluster, &claim.floor),
            cluster.ackers.k as usize,
        );
        if hold < k {
            let why = format!(
                "{}'s first marker was answered; it counts once {k} ackers hold what was executed \
                 then ({hold} do)",
                cluster.primary
            );
            return self.wait(cluster, vec![why]);
        }
        let command = Command::Acknowledged {
            cluster: cluster.id.clone(),
            epoch: cluster.epoch,
            instance: cluster.primary.clone(),
            floor: claim.floor.clone(),
        };
        self.outbox
            .push(now, format!("acknowledged/{}", cluster.id), command);
    }

    // ---- decide

    /// A named primary: closes inquests that are settled, lets a restarted one open again.
    fn keep(&mut self, now: Tick, cluster: &Cluster) {
        self.lead.plans.remove(&cluster.id);
        self.prove(now, cluster);
        self.wait_for_opening(now, cluster);
        if let Some(inquest) = &cluster.inquest {
            let verdict = cluster
                .judgement
                .as_ref()
                .map(|judgement| judgement.verdict);
            let age_ms = match self.inquest_seen.get(&cluster.id) {
                Some((id, at)) if *id == inquest.id => now.since_ms(*at),
                _ => 0,
            };
            // Not Isolated: a voter that fell silent itself may hold it up by what it once heard.
            let settled = verdict.is_some_and(Verdict::deposes);
            let silent = self.silent_voter(now, cluster, inquest);
            let why = if verdict == Some(Verdict::Standing) {
                Some("no missing vote can complete a majority of silence".to_owned())
            } else if let Some(node) = silent {
                // Also where the verdict stands and waits: what it saw last must not depose later.
                Some(format!("node {node} votes no more, and is asked anew"))
            } else if !settled && age_ms > INQUEST_EXPIRES_MS {
                Some("expired without a verdict".to_owned())
            } else {
                None
            };
            if let Some(why) = why {
                let command = Command::CloseInquest {
                    cluster: cluster.id.clone(),
                    inquest: inquest.id,
                    why,
                };
                self.outbox
                    .push(now, format!("close/{}", cluster.id), command);
            }
            self.explain(cluster, verdict);
        }
        if let Some(abort) = &cluster.aborted {
            let why = format!(
                "{} aborted the inquest ({}): another is opened for trouble that begins after \
                 that, or when the abort is lifted: `primacy approve {} --epoch {}`",
                abort.who, abort.why, cluster.id, cluster.epoch
            );
            self.wait(cluster, vec![why]);
        }
        self.reopen(now, cluster);
    }

    /// A voter of this inquest that has fallen silent since it voted.
    fn silent_voter(&mut self, now: Tick, cluster: &Cluster, inquest: &Inquest) -> Option<NodeId> {
        let voted = &mut self.lead.voted;
        for (node, vote) in &inquest.votes {
            let key = (inquest.id, vote.incarnation, vote.seq);
            let entry = voted
                .entry((cluster.id.clone(), *node))
                .or_insert((key, now));
            if entry.0 != key {
                *entry = (key, now);
            }
        }
        let mut voters = inquest.votes.keys();
        voters
            .find(|node| {
                let seen = voted.get(&(cluster.id.clone(), **node));
                seen.is_some_and(|(_, at)| now.since_ms(*at) > VOTE_STALE_MS)
            })
            .copied()
    }

    /// A primary that restarted within its undeposed epoch may open again once k of V hold what
    /// it has.
    fn reopen(&mut self, now: Tick, cluster: &Cluster) {
        let Some(promotion) = cluster.promotion() else {
            return;
        };
        let Some(beat) = self
            .watches
            .get(&cluster.primary)
            .and_then(|watch| watch.fresh_beat(now))
        else {
            return;
        };
        let up = matches!(beat.word.says, MysqldWord::Running { .. });
        let same = cluster.instances[&cluster.primary].server_uuid == beat.server_uuid;
        if beat.opened != Some(promotion.choice.epoch) {
            return; // its order to open still stands
        }
        let closed = up && same && beat.fenced && beat.role != Role::Open(cluster.epoch);
        if !closed {
            self.lead.closed.remove(&cluster.id);
            return;
        }
        if cluster
            .reopen
            .is_some_and(|reopen| reopen.mysqld == beat.word.mysqld)
        {
            return; // its order to open again stands
        }
        // Under `off` what a person closed stays closed; what restarted takes up its role again.
        let restarted = cluster
            .mysqld
            .is_some_and(|named| named != beat.word.mysqld);
        if cluster.policy.hands_off() && !restarted {
            let what = format!(
                "{} is closed, by somebody else than the plane; under automation=off it is left so",
                cluster.primary
            );
            return self.wait(cluster, vec![what]);
        }
        // An opening under way looks like this for some milliseconds.
        let since = *self.lead.closed.entry(cluster.id.clone()).or_insert(now);
        if now.since_ms(since) < CLOSED_MS {
            return;
        }
        let has = beat.holds();
        let hold = self.holding(now, cluster, &has);
        if hold < cluster.ackers.k as usize {
            let k = cluster.ackers.k;
            self.wait(
                cluster,
                vec![format!(
                    "{} is closed; it opens again when {k} ackers hold what it has ({hold} do)",
                    cluster.primary
                )],
            );
            return;
        }
        let command = Command::Reopen {
            cluster: cluster.id.clone(),
            epoch: cluster.epoch,
            instance: cluster.primary.clone(),
            mysqld: beat.word.mysqld,
        };
        self.outbox
            .push(now, format!("reopen/{}", cluster.id), command);
    }
}
