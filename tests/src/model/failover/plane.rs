//! The replicated log: what was reported, who is in V, which orders go out.

use super::agent::{Deed, Order, Stage, Token};
use super::answer::{Answer, FreezeReport, Reply};
use super::choice::Proof;
use super::ground::Ground;
use super::{Action, Config, Epoch, Instance, Mistake, Set, State, WriteId};

/// No configuration has more instances: what the reports are kept in is this long.
pub const INSTANCES_MAX: usize = 4;

/// What the log says of one epoch for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    pub primary: Instance,
    /// What its primary, and every later one, must hold.
    pub need: Set<WriteId>,
    /// What the former primary held when this one was chosen. For law N; nobody could know it.
    pub inherited: Set<WriteId>,
    pub proof: Proof,
    /// The choice said that no acknowledged write is missing.
    pub claims_zero: bool,
}

/// The applied log of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    pub epoch: Epoch,
    pub deposed: bool,
    /// One term per epoch, the first at index 0.
    pub terms: Vec<Term>,
    /// V of this epoch.
    pub ackers: Set<Instance>,
    /// k of this epoch.
    pub wait_for: u8,
    /// Former primaries without a `Rejoined` entry.
    pub retired: Set<Instance>,
    /// Freeze reports for the end of this epoch, united; before the founding, fence reports.
    pub frozen: [Option<FreezeReport>; INSTANCES_MAX],
    pub confirmed: Option<Set<WriteId>>,
    /// What votes told that the primary of this epoch had executed.
    pub known: Set<WriteId>,
    pub exited: bool,
    /// The primary said that it cannot open.
    pub stuck: bool,
    /// Its fence's answer said that it never began to.
    pub unopened: bool,
    /// Seen to acknowledge without being in V: members of V that nobody can freeze.
    pub strangers: Set<Instance>,
    /// Connections of such that withhold their names, each one more.
    pub nameless: u8,
    /// How many writes there were when the last of them was cut off.
    pub cut_after: Option<u8>,
    /// The agent's word that V has caught up since is on its way, and nothing newer overtakes it.
    pub forgetting: bool,
    pub ground: Ground,
    /// What replicas wrote themselves, and bars nobody.
    pub common: Set<WriteId>,
}

impl Log {
    /// Before any cluster was registered.
    pub fn unfounded() -> Self {
        Self {
            epoch: Epoch::UNFOUNDED,
            deposed: false,
            terms: Vec::new(),
            ackers: Set::EMPTY,
            wait_for: 0,
            retired: Set::EMPTY,
            frozen: [None; INSTANCES_MAX],
            confirmed: None,
            known: Set::EMPTY,
            exited: false,
            stuck: false,
            unopened: false,
            strangers: Set::EMPTY,
            nameless: 0,
            cut_after: None,
            forgetting: false,
            ground: Ground::Good,
            common: Set::EMPTY,
        }
    }

    /// In its first epoch, with `db0` as primary of an empty cluster.
    pub fn founded(config: &Config) -> Self {
        let mut log = Self::unfounded();
        log.enter_first_epoch(config, Instance(0), Set::EMPTY);
        log
    }

    fn enter_first_epoch(&mut self, config: &Config, primary: Instance, need: Set<WriteId>) {
        *self = Self {
            epoch: Epoch::UNFOUNDED.next(),
            terms: vec![Term {
                primary,
                need,
                inherited: need,
                proof: Proof::Founding,
                claims_zero: true,
            }],
            ackers: config.all().without(primary).minus(config.outside),
            wait_for: config.wait_for,
            ..Self::unfounded()
        };
    }

    /// The primary of the present epoch.
    pub fn primary(&self) -> Instance {
        self.term(self.epoch)
            .expect("asked only once an epoch was founded")
            .primary
    }

    pub fn term(&self, epoch: Epoch) -> Option<&Term> {
        self.terms.get(usize::from(epoch.0.checked_sub(1)?))
    }

    pub fn report(&self, of: Instance) -> Option<&FreezeReport> {
        self.frozen[usize::from(of.0)].as_ref()
    }

    /// Answers count for the founding, and from an epoch's end to the next choice.
    pub fn listens(&self, epoch: Epoch) -> bool {
        epoch == self.epoch && (self.deposed || epoch == Epoch::UNFOUNDED)
    }

    /// Applies a reply. What was reported once stays reported: a replica that lost its relay log
    /// must not hide what it held.
    pub fn hear(&mut self, config: &Config, reply: Reply) {
        if !self.listens(reply.epoch) {
            return;
        }
        match reply.answer {
            Answer::Frozen { written: false, .. }
                if !config.makes(Mistake::UnwrittenFreezeCounts) => {}
            Answer::Frozen { has, held, .. } => {
                let slot = &mut self.frozen[usize::from(reply.from.0)];
                let first = FreezeReport {
                    has,
                    held: held.map(|held| held.has),
                    unbroken: held.is_none_or(|held| held.unbroken),
                };
                let overwrites = config.makes(Mistake::ReportsOverwritten);
                *slot = match *slot {
                    Some(before) if !overwrites => Some(before.united_with(first)),
                    _ => Some(first),
                };
            }
            Answer::Confirmed { has, never_began } => {
                self.confirmed = Some(has);
                self.unopened |= never_began;
            }
            Answer::Exited => self.exited = true,
        }
    }

    /// The replicas that reported their freeze, in V or not.
    pub fn frozen_replicas(&self, config: &Config) -> Set<Instance> {
        config
            .all()
            .iter()
            .filter(|replica| self.report(*replica).is_some())
            .collect()
    }

    pub fn ever_primary(&self, instance: Instance) -> bool {
        self.terms.iter().any(|term| term.primary == instance)
    }
}

impl State {
    pub fn actions_of_plane(&self, config: &Config, actions: &mut Vec<Action>) {
        let log = &self.log;
        if log.epoch == Epoch::UNFOUNDED {
            actions.extend(self.foundable(config).map(Action::Found));
        } else if log.deposed {
            self.actions_of_stalled(config, actions);
            let choices = self.choices(config);
            if config.makes(Mistake::OpenWithoutChoice) {
                actions.extend(choices.iter().copied().map(Action::OrderBeforeCommit));
            }
            actions.extend(choices.into_iter().map(Action::Choose));
            actions.extend(self.fetches(config));
        } else {
            if log.epoch.0 < config.epochs_max {
                actions.push(Action::Depose(log.epoch));
            }
            if config.joins {
                actions.extend(self.joinable(config).map(Action::Join));
            }
            self.actions_of_stalled(config, actions);
            self.actions_of_strangers(config, actions);
            self.actions_of_ground(config, actions);
            self.actions_of_looking(config, actions);
            self.actions_of_commons(config, actions);
        }
    }

    /// Whoever holds what every instance holds, all of them fenced.
    fn foundable(&self, config: &Config) -> impl Iterator<Item = Instance> {
        let (log, all) = (&self.log, config.all());
        let fenced = log.frozen_replicas(config);
        let ready = fenced == all || config.makes(Mistake::FoundedUnfenced);
        all.iter().filter(move |primary| {
            ready
                && log.report(*primary).is_some_and(|of| {
                    fenced.iter().all(|other| {
                        log.report(other)
                            .is_some_and(|report| report.has.within(of.has))
                    })
                })
        })
    }

    pub fn found(&mut self, config: &Config, primary: Instance) {
        let need = self
            .log
            .report(primary)
            .map_or(Set::EMPTY, |report| report.has);
        self.log.enter_first_epoch(config, primary, need);
        self.order_opening(config);
    }

    /// The replicas outside V that follow the primary of an epoch that opened and stands.
    fn joinable(&self, config: &Config) -> impl Iterator<Item = Instance> {
        let primary = self.log.primary();
        let epoch = self.log.epoch;
        config
            .all()
            .minus(self.log.ackers)
            .without(primary)
            .iter()
            .filter(move |member| {
                let server = self.server(*member);
                self.opened(epoch)
                    && server.source == Some(primary)
                    && server.memory.follows == Some((primary, epoch))
            })
    }

    /// V contains the member before it is told to acknowledge.
    pub fn join(&mut self, config: &Config, member: Instance) {
        if !config.makes(Mistake::AcksBeforeLogged) {
            self.log.ackers = self.log.ackers.with(member);
            self.log.retired = self.log.retired.without(member);
        }
        let token = Token {
            epoch: self.log.epoch,
            stage: Stage::Standing,
        };
        self.orders.push(Order {
            to: member,
            token,
            deed: Deed::SwitchOnAcks,
        });
    }

    pub fn depose(&mut self, config: &Config) {
        self.log.deposed = true;
        self.log.forgetting = false; // of a deposed epoch nobody is forgotten
        let (epoch, primary) = (self.log.epoch, self.log.primary());
        let token = Token {
            epoch,
            stage: Stage::Deposed,
        };
        for to in config.all().iter() {
            let deed = if to == primary {
                Deed::Fence
            } else {
                Deed::Freeze { of: primary }
            };
            self.orders.push(Order { to, token, deed });
        }
    }

    /// Who may fetch from whom: both frozen, the donor a follower of the deposed primary without
    /// errant transactions. (In earnest only where nobody holds all that is needed; safe always.)
    fn fetches(&self, config: &Config) -> Vec<Action> {
        let log = &self.log;
        let frozen = if config.fetches {
            log.frozen_replicas(config).without(log.primary())
        } else {
            Set::EMPTY
        };
        let lawful = |donor: &Instance| {
            let joined = log
                .report(*donor)
                .is_some_and(|report| report.held.is_some());
            let joined = joined || config.makes(Mistake::FetchFromAnyone);
            joined && self.errant(config, *donor).is_empty()
        };
        let pairs = frozen.iter().filter(lawful).flat_map(|donor| {
            let others = frozen.without(donor);
            others.iter().map(move |to| (to, donor)).collect::<Vec<_>>()
        });
        pairs
            .map(|(to, donor)| Action::OrderFetch { to, donor })
            .collect()
    }

    pub fn order_fetch(&mut self, to: Instance, donor: Instance) {
        let token = Token {
            epoch: self.log.epoch,
            stage: Stage::Deposed,
        };
        let deed = Deed::Fetch { donor };
        self.orders.push(Order { to, token, deed });
    }

    /// The orders that go with a committed choice: one opens, the others follow.
    pub fn order_opening(&mut self, config: &Config) {
        let Log {
            epoch,
            ackers,
            wait_for,
            ..
        } = self.log;
        let (primary, need) = (self.log.primary(), self.carried_need());
        let token = Token::of_opening(epoch);
        for to in config.all().iter() {
            let acks = ackers.contains(to);
            let deed = if to == primary {
                Deed::Open { need, wait_for }
            } else {
                Deed::Repoint {
                    source: primary,
                    acks,
                }
            };
            self.orders.push(Order { to, token, deed });
        }
    }

    pub fn order_fence_of_all(&mut self, config: &Config) {
        for to in config.all().iter() {
            let token = Token::of_opening(Epoch::UNFOUNDED);
            self.orders.push(Order {
                to,
                token,
                deed: Deed::Fence,
            });
        }
    }
}
