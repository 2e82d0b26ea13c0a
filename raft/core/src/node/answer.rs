//! Act → record: an agent's answer becomes a command.

use super::Node;
use super::lead::Claim;
use crate::act::{Reply, Said};
use crate::ids::Tick;
use crate::record::{Command, Follower, FoundingWord, THIRD};

impl Node {
    /// Turns an agent's answer into a command, unless the log has it.
    pub(super) fn answer(&mut self, now: Tick, reply: Reply) {
        let Reply {
            token,
            cluster: id,
            instance,
            said,
        } = reply;
        let state = self.state.clone();
        let Some(cluster) = state.get().clusters.get(&id) else {
            return;
        };
        let (epoch, key) = (token.epoch, |what: &str| format!("{what}/{instance}"));
        let (cluster_id, who) = (id.clone(), instance.clone());
        let (what, command) = match said {
            Said::Refused { why } => {
                let standing = self.lead.standing.entry(id).or_default();
                standing.refused.insert(instance, why);
                return;
            }
            Said::Reported { report, fenced } => {
                let word = FoundingWord {
                    instance: &who,
                    report: &report,
                    fenced,
                    registered: Some(token.at),
                };
                match state.get().judge_founding(&id, word) {
                    Err(why) => {
                        self.lead.unfit.insert((id, who), why.to_string());
                        return;
                    }
                    Ok(None) if cluster.has_founding_report(&who, &report) => return,
                    Ok(_) => {}
                }
                self.lead.unfit.remove(&(id.clone(), who.clone()));
                let command = Command::FoundingReport {
                    cluster: cluster_id,
                    instance: who,
                    report,
                    fenced,
                    registered: Some(token.at),
                };
                ("reported", command)
            }
            Said::Frozen { report } if report.undurable => {
                // It may forget this with its next start: it counts once it is said anew.
                let why = "it is frozen, but its agent's disk takes no writes".to_owned();
                let standing = self.lead.standing.entry(id).or_default();
                standing.refused.insert(instance, why);
                return;
            }
            Said::Frozen { report } => (
                "frozen",
                Command::Freeze {
                    cluster: cluster_id,
                    epoch,
                    instance: who,
                    report,
                },
            ),
            Said::Fenced {
                report, unopened, ..
            } => {
                let known = cluster
                    .deposition()
                    .and_then(|record| record.fence.as_ref());
                // After the choice it is only shut again; nothing rests on what it says then.
                if known == Some(&report) || cluster.deposition().is_none() {
                    return;
                }
                (
                    "fenced",
                    Command::Fence {
                        cluster: cluster_id,
                        epoch,
                        instance: who,
                        report,
                        unopened: unopened.filter(|_| state.get().level >= THIRD),
                    },
                )
            }
            Said::Following => {
                let known = cluster.promotion().and_then(|p| p.followers.get(&who));
                if known == Some(&Follower::Joined) {
                    return;
                }
                (
                    "following",
                    Command::Followed {
                        cluster: cluster_id,
                        epoch,
                        instance: who,
                    },
                )
            }
            Said::WillNotFollow { extra } => (
                "refuses",
                Command::FollowRefused {
                    cluster: cluster_id,
                    epoch,
                    instance: who,
                    extra,
                },
            ),
            Said::Applied => (
                "applied",
                Command::Applied {
                    cluster: cluster_id,
                    epoch,
                    instance: who,
                },
            ),
            Said::Opened { mysqld } => {
                let recorded = cluster
                    .promotion()
                    .is_some_and(|p| p.opened && (cluster.reopen.is_none() || !p.acknowledged));
                if recorded {
                    return;
                }
                (
                    "opened",
                    Command::Opened {
                        cluster: cluster_id,
                        epoch,
                        instance: who,
                        mysqld,
                    },
                )
            }
            Said::Acknowledged { floor } => {
                // That a write was answered does not prove that k of V have it: their own beats do.
                let claim = Claim { epoch, who, floor };
                self.lead.claims.insert(id, claim);
                return;
            }
        };
        if let Some(standing) = self.lead.standing.get_mut(&id) {
            standing.refused.remove(&instance);
        }
        self.outbox.push(now, key(what), command);
    }
}
