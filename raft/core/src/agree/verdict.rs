use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::starved;
use super::vote::{Inquest, Vote};
use crate::ids::{Incarnation, InstanceId, NodeId, Region};
use crate::observe::{MysqldWord, SightKind};
use crate::policy::Policy;

/// What the votes of one inquest amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A majority of all voters saw silence, and the primary can gather no acknowledgements.
    /// The only verdict that may depose an epoch without a fence first.
    Dead,
    /// It answers reads and cannot write.
    Wedged,
    /// No vote's: the agent of one that was chosen says that it stalls before it opens.
    Stuck,
    /// The same majority, but enough ackers still hear the primary: the control plane is cut off.
    Isolated,
    /// Votes still missing, or not yet lasting, could tip it. Never treat this as `Dead`.
    Undecided,
    /// No missing vote can complete a majority.
    Standing,
    /// It lives, and can gather no acknowledgement: enough of its ackers wait for it in vain. Fenced
    /// side by side with the freezes, and not waited for. (Known since feature level 3.)
    Starved,
}

impl Verdict {
    /// Whether it is ground enough to replace the primary.
    pub fn deposes(self) -> bool {
        match self {
            Verdict::Dead | Verdict::Wedged | Verdict::Starved => true,
            Verdict::Stuck | Verdict::Isolated | Verdict::Undecided | Verdict::Standing => false,
        }
    }
}

/// Why the verdict is what it is; shown to people, and the ground of "why not".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// So many of the voters saw it silent for long enough; the majority is `of`/2+1.
    Silent {
        voters: usize,
        of: usize,
        threshold_ms: u64,
    },
    /// Silent, but not yet for `threshold_ms`.
    TooShort {
        node: NodeId,
        for_ms: u64,
        threshold_ms: u64,
    },
    NotHeard {
        node: NodeId,
    },
    Blind {
        node: NodeId,
    },
    OneRegionOnly {
        region: Region,
    },
    /// Of the ackers so many are reached and do not hear the primary; `needed` must.
    AckersDeaf {
        deaf: usize,
        needed: usize,
    },
    /// So many ackers still hear the primary, which needs `k` of them.
    AckersHear {
        hear: usize,
        k: usize,
    },
    AckerUnreached {
        instance: InstanceId,
    },
    /// So many replicas outside V acknowledged to it; each counts as one more that is not deaf.
    Strangers {
        count: usize,
    },
    /// So many of the voters saw it gather no acknowledgement for long enough.
    Starved {
        voters: usize,
        of: usize,
        threshold_ms: u64,
    },
    /// It gathers none, but not yet for `threshold_ms`.
    StarvedTooShort {
        node: NodeId,
        for_ms: u64,
        threshold_ms: u64,
    },
    /// Of the ackers so many have waited for it in vain for long enough; `needed` must.
    AckersWait {
        waiting: usize,
        needed: usize,
    },
    /// Nobody knows whether it ever could gather acknowledgements in this epoch.
    NeverAcknowledged,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Silent {
                voters,
                of,
                threshold_ms,
            } => write!(
                f,
                "{voters} of {of} nodes saw it silent for {threshold_ms} ms; {} must",
                of / 2 + 1
            ),
            Finding::TooShort {
                node,
                for_ms,
                threshold_ms,
            } => {
                write!(
                    f,
                    "node {node}: silent for {for_ms} ms, {threshold_ms} are demanded"
                )
            }
            Finding::NotHeard { node } => write!(f, "node {node} has not voted"),
            Finding::Blind { node } => write!(f, "node {node} cannot tell"),
            Finding::OneRegionOnly { region } => {
                write!(
                    f,
                    "all who saw it are in {region}; another region must see it too"
                )
            }
            Finding::AckersDeaf { deaf, needed } => {
                write!(
                    f,
                    "{deaf} ackers are reached and do not hear it; {needed} must"
                )
            }
            Finding::AckersHear { hear, k } => {
                write!(f, "{hear} ackers still hear it, and a write needs {k}")
            }
            Finding::AckerUnreached { instance } => write!(f, "{instance} is not reached"),
            Finding::Starved {
                voters,
                of,
                threshold_ms,
            } => write!(
                f,
                "{voters} of {of} nodes saw it gather no acknowledgement for {threshold_ms} ms; {} must",
                of / 2 + 1
            ),
            Finding::StarvedTooShort {
                node,
                for_ms,
                threshold_ms,
            } => write!(
                f,
                "node {node}: it gathers no acknowledgement for {for_ms} ms, {threshold_ms} are demanded"
            ),
            Finding::AckersWait { waiting, needed } => write!(
                f,
                "{waiting} ackers have waited for it in vain for long enough; {needed} must"
            ),
            Finding::NeverAcknowledged => f.write_str(
                "no write of its epoch was acknowledged yet, so that it starves of nothing",
            ),
            Finding::Strangers { count } => write!(
                f,
                "{count} replicas outside V acknowledged to it, and nobody can freeze them"
            ),
        }
    }
}

/// Everything an inquest is judged by.
pub struct Bench<'a> {
    /// The voters of the control plane at this log position.
    pub voters: &'a BTreeMap<NodeId, Region>,
    pub policy: &'a Policy,
    pub ackers: &'a BTreeSet<InstanceId>,
    /// Acknowledgements that the primary waits for.
    pub k: usize,
    /// Replicas outside V that acknowledged to it: each one more to be outweighed.
    pub strangers: usize,
    /// The run of its server that the log names, if it does.
    pub mysqld: Option<Incarnation>,
    /// Instances in the primary's own region that could take over. If none of them is reached, the
    /// failover crosses regions.
    pub at_home: BTreeSet<InstanceId>,
    /// The log says that a write of this epoch was acknowledged.
    pub acknowledged: bool,
}

impl Bench<'_> {
    /// A word on another run of the server than the one that the log names is none.
    fn speaks_of(&self, mysqld: Incarnation) -> bool {
        self.mysqld.is_none_or(|named| named == mysqld)
    }
}

/// A verdict with its grounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// The sustained silence that was demanded, in milliseconds.
    pub threshold_ms: u64,
    pub findings: Vec<Finding>,
}

/// How many ackers must be out of the primary's reach so that it can gather no k
/// acknowledgements: |V| − k + 1.
pub fn blocking(ackers: usize, k: usize) -> usize {
    assert!(
        k >= 1,
        "a semi-sync primary waits for at least one acknowledgement"
    );
    (ackers + 1).saturating_sub(k).max(1)
}

/// Judges one inquest by each voter's latest vote in it.
pub fn judge(bench: &Bench<'_>, inquest: &Inquest) -> Judgement {
    let voters = bench.voters.len();
    assert!(voters > 0, "a control plane without voters cannot judge");
    let quorum = voters / 2 + 1;
    let exited = inquest
        .word()
        .is_some_and(|word| word.says == MysqldWord::Exited && bench.speaks_of(word.mysqld));
    let threshold_ms = silence_demanded(bench, inquest, exited);
    let mut findings = Vec::new();

    let count = count_votes(bench, inquest, exited, threshold_ms, &mut findings);
    findings.push(Finding::Silent {
        voters: count.silent.len(),
        of: voters,
        threshold_ms,
    });
    let one_region_alone = match count.open {
        0 => Verdict::Standing,
        _ => Verdict::Undecided,
    };
    let most = count.silent.len().max(count.wedged);
    let verdict = if count.silent.len() >= quorum {
        if spans_regions(bench, &count.silent, &mut findings) {
            weigh_ackers(bench, inquest, exited || count.closed, &mut findings)
        } else {
            one_region_alone
        }
    } else if count.wedged >= quorum {
        Verdict::Wedged
    } else if count.starved.len() >= quorum {
        starved::note(bench, &count.starved, &mut findings);
        if spans_regions(bench, &count.starved, &mut findings) {
            starved::weigh(bench, inquest, &mut findings)
        } else {
            one_region_alone
        }
    } else if most.max(count.starved.len()) + count.open >= quorum {
        Verdict::Undecided
    } else {
        Verdict::Standing
    };
    let threshold_ms = match verdict {
        Verdict::Starved => bench.policy.starved_sustain_ms,
        _ => threshold_ms,
    };
    Judgement {
        verdict,
        threshold_ms,
        findings,
    }
}

/// An exit attested by the agent is certain: it needs no patience, only agreement.
fn silence_demanded(bench: &Bench<'_>, inquest: &Inquest, exited: bool) -> u64 {
    let leaves_region = !inquest
        .votes
        .values()
        .any(|vote| vote.reached.keys().any(|id| bench.at_home.contains(id)));
    if exited {
        bench.policy.crash_sustain_ms
    } else if leaves_region {
        bench.policy.cross_region_sustain_ms
    } else {
        bench.policy.sustain_ms
    }
}

struct Count {
    silent: Vec<NodeId>,
    /// One of those that count as silent saw it answer, fenced: it feeds its ackers, and serves nobody.
    closed: bool,
    wedged: usize,
    starved: Vec<NodeId>,
    /// Missing, or not yet lasting: they could still tip it.
    open: usize,
}

fn count_votes(
    bench: &Bench<'_>,
    inquest: &Inquest,
    exited: bool,
    threshold_ms: u64,
    findings: &mut Vec<Finding>,
) -> Count {
    let mut count = Count {
        silent: Vec::new(),
        closed: false,
        wedged: 0,
        starved: Vec::new(),
        open: 0,
    };
    for &node in bench.voters.keys() {
        let Some(vote) = inquest.votes.get(&node) else {
            count.open += 1;
            findings.push(Finding::NotHeard { node });
            continue;
        };
        let demanded = demanded_of(bench, vote, threshold_ms);
        match vote.sight.kind {
            SightKind::Silent | SightKind::Closed if lasted_ms(vote, exited) >= demanded => {
                count.silent.push(node);
                count.closed |= vote.sight.kind == SightKind::Closed;
            }
            SightKind::Silent | SightKind::Closed => {
                count.open += 1;
                let for_ms = vote.sight.for_ms;
                findings.push(Finding::TooShort {
                    node,
                    for_ms,
                    threshold_ms: demanded,
                });
            }
            SightKind::Wedged if vote.sight.for_ms >= bench.policy.wedged_sustain_ms => {
                count.wedged += 1;
            }
            SightKind::Wedged => {
                count.open += 1;
                findings.push(Finding::TooShort {
                    node,
                    for_ms: vote.sight.for_ms,
                    threshold_ms: bench.policy.wedged_sustain_ms,
                });
            }
            SightKind::Starved if !bench.acknowledged => {
                findings.push(Finding::NeverAcknowledged);
            }
            SightKind::Starved if vote.sight.for_ms >= bench.policy.starved_sustain_ms => {
                count.starved.push(node);
            }
            SightKind::Starved => {
                count.open += 1;
                findings.push(Finding::StarvedTooShort {
                    node,
                    for_ms: vote.sight.for_ms,
                    threshold_ms: bench.policy.starved_sustain_ms,
                });
            }
            // A blind voter may come to see: it could still tip it.
            SightKind::Blind => {
                count.open += 1;
                findings.push(Finding::Blind { node });
            }
            SightKind::Alive | SightKind::Overloaded => {}
        }
    }
    count
}

/// How long what a vote says has lasted: where the server has exited, since this node knows it.
fn lasted_ms(vote: &Vote, exited: bool) -> u64 {
    match vote.exit_ms {
        Some(ms) if exited && vote.sight.kind == SightKind::Silent => ms,
        _ => vote.sight.for_ms,
    }
}

/// A fenced primary that answers gets the full patience: its agent may be about to reopen it.
fn demanded_of(bench: &Bench<'_>, vote: &Vote, threshold_ms: u64) -> u64 {
    match vote.sight.kind {
        SightKind::Closed => threshold_ms.max(bench.policy.sustain_ms),
        _ => threshold_ms,
    }
}

/// Where the control plane spans two or more regions, so must those who saw the trouble.
fn spans_regions(bench: &Bench<'_>, nodes: &[NodeId], findings: &mut Vec<Finding>) -> bool {
    let all: BTreeSet<_> = bench.voters.values().collect();
    let seen: BTreeSet<_> = nodes.iter().map(|node| &bench.voters[node]).collect();
    if all.len() >= 2 && seen.len() < 2 {
        if let Some(region) = seen.first() {
            findings.push(Finding::OneRegionOnly {
                region: (*region).clone(),
            });
        }
        return false;
    }
    true
}

/// Dead only if too few ackers hear the primary for it to gather k of them.
fn weigh_ackers(
    bench: &Bench<'_>,
    inquest: &Inquest,
    age_waived: bool,
    findings: &mut Vec<Finding>,
) -> Verdict {
    let needed = blocking(bench.ackers.len(), bench.k) + bench.strangers;
    if bench.strangers > 0 {
        let count = bench.strangers;
        findings.push(Finding::Strangers { count });
    }
    let (mut deaf, mut hear) = (0, 0);
    for acker in bench.ackers {
        let mut reached = inquest
            .votes
            .values()
            .filter(|vote| bench.voters.contains_key(&vote.node))
            .filter_map(|vote| vote.reached.get(acker))
            .peekable();
        if reached.peek().is_none() {
            findings.push(Finding::AckerUnreached {
                instance: acker.clone(),
            });
            continue;
        }
        // One observer that knows of recent progress outweighs any that does not.
        let heard_ms = reached.filter_map(|seen| seen.heard_ms).min();
        if !age_waived && heard_ms.is_some_and(|ms| ms <= bench.policy.replica_stale_ms) {
            hear += 1;
        } else {
            deaf += 1;
        }
    }
    findings.push(Finding::AckersDeaf { deaf, needed });
    if deaf >= needed {
        Verdict::Dead
    } else if hear >= bench.k {
        findings.push(Finding::AckersHear { hear, k: bench.k });
        Verdict::Isolated
    } else {
        Verdict::Undecided
    }
}
