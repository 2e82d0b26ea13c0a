//! The choice: which proof, what the next primary needs, who it is, and who its ackers are.

use std::fmt::{self, Display};

use super::agent::{Deed, Order, Token};
use super::plane::{Log, Term};
use super::{Config, Epoch, Instance, Mistake, Set, State, WriteId};

/// Why the former primary can acknowledge nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// There was no former primary: every instance was fenced.
    Founding,
    Confirmed,
    AckersFrozen,
    /// Proves silence only, so by itself it carries no choice: see
    /// [`Mistake::ExitedProvesContent`].
    Exited,
    /// Proves nothing: see [`Mistake::StuckIsProof`].
    Stuck,
}

/// A primary for the next epoch, as `PrimaryChosen` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Choice {
    pub primary: Instance,
    pub epoch: Epoch,
    pub need: Set<WriteId>,
    pub proof: Proof,
}

impl Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            primary,
            epoch,
            need,
            proof,
        } = self;
        write!(
            f,
            "{primary} is chosen for epoch {}, needs {need}, proof {proof:?}",
            epoch.0
        )
    }
}

impl Log {
    /// Why the old primary acknowledges nothing any more, where that is proven.
    fn proof(&self, config: &Config) -> Option<Proof> {
        if self.confirmed.is_some() {
            Some(Proof::Confirmed)
        } else if self.stuck && config.makes(Mistake::StuckIsProof) {
            Some(Proof::Stuck)
        } else {
            self.ackers_are_frozen(config)
                .then_some(Proof::AckersFrozen)
        }
    }
}

impl State {
    /// Every choice that the log allows, whichever candidate the planner would prefer.
    pub fn choices(&self, config: &Config) -> Vec<Choice> {
        let mut grounds = Vec::new();
        if let (Some(proof), Some(need)) = (self.log.proof(config), self.need(config)) {
            grounds.push((proof, need));
        }
        if self.log.exited && config.makes(Mistake::ExitedProvesContent) {
            grounds.push((Proof::Exited, self.carried_need()));
        }

        let mut choices = Vec::new();
        for (proof, need) in grounds {
            for primary in config.all().iter() {
                let choice = Choice {
                    primary,
                    epoch: self.log.epoch.next(),
                    need,
                    proof,
                };
                let leaves_ackers = !self.next_ackers(config, primary).is_empty();
                if leaves_ackers && self.eligible(&choice) {
                    choices.push(choice);
                }
            }
        }
        choices
    }

    /// Frozen and without errant transactions, or the old primary itself, fenced; with all of need.
    fn eligible(&self, choice: &Choice) -> bool {
        let log = &self.log;
        if choice.primary == log.primary() {
            return log.confirmed.is_some_and(|last| choice.need.within(last));
        }
        let lawful = |write: WriteId| {
            log.ever_primary(self.writes[usize::from(write.0)].origin)
                || choice.need.contains(write)
                || log.common.contains(write)
        };
        log.report(choice.primary)
            .is_some_and(|of| choice.need.within(of.has) && of.has.iter().all(lawful))
    }

    /// V′: the former V without the candidate, whether frozen or not; with one that was withdrawn
    /// and never began to open.
    fn next_ackers(&self, config: &Config, candidate: Instance) -> Set<Instance> {
        let log = &self.log;
        let mut ackers = log.ackers;
        if log.unopened {
            ackers = ackers.with(log.primary());
        }
        ackers = ackers.without(candidate);
        if config.makes(Mistake::VPrimeOfFrozenOnly) {
            ackers = ackers.both(log.frozen_replicas(config));
        }
        if config.makes(Mistake::OldPrimaryInVPrime) {
            ackers = ackers.with(log.primary()).without(candidate);
        }
        ackers
    }

    /// Commits the choice; V′ and k′ follow from it. As many ackers may be missing as before.
    pub fn choose(&mut self, config: &Config, choice: Choice) {
        let old = self.log.primary();
        let former = self.server(old);
        let inherited = former.has.union(former.reported);
        let ackers = self.next_ackers(config, choice.primary);
        let claims_zero = self.log.claims_zero(choice.primary);
        let writes = self.writes.len() as u8;
        let ground = self.log.ground_after(config, choice.primary, writes);
        let log = &mut self.log;
        let retired = if log.unopened {
            log.retired
        } else {
            log.retired.with(old)
        };
        let spare = log.ackers.len() - log.wait_for;
        let Choice {
            primary,
            epoch,
            need,
            proof,
        } = choice;
        log.terms.push(Term {
            primary,
            need,
            inherited,
            proof,
            claims_zero,
        });
        *log = Log {
            epoch,
            terms: std::mem::take(&mut log.terms),
            wait_for: ackers.len().saturating_sub(spare).max(1),
            ackers,
            ground,
            retired: retired.without(primary),
            ..Log::unfounded()
        };
        self.order_opening(config);
    }

    /// The mistake: the order leaves on the strength of what a leader is about to propose.
    pub fn order_before_commit(&mut self, config: &Config, choice: Choice) {
        let Choice {
            primary,
            epoch,
            need,
            ..
        } = choice;
        let wait_for = self
            .next_ackers(config, primary)
            .len()
            .min(self.log.wait_for);
        let deed = Deed::Open { need, wait_for };
        self.orders.push(Order {
            to: primary,
            token: Token::of_opening(epoch),
            deed,
        });
    }
}
