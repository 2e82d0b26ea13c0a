//! What must be true in every state, each law one function, and what must happen in some.

use stateright::Property;

use super::choice::Proof;
use super::server::{Acknowledged, Server, Write};
use super::{Config, Epoch, Instance, Set, State, WriteId};

pub const A: &str = "A: no acknowledged write is missing on the newest opened primary, unless a \
                     choice said so";
pub const W: &str = "W: a write acknowledged under epoch e after a higher epoch opened is in that \
                     epoch's need, unless a choice said so";
pub const P: &str = "P: one primary per epoch, and it opens only with its choice committed";
pub const D: &str = "D: whoever replicates from an open primary holds nothing that it lacks";
pub const N: &str = "N: need holds nothing that the former primary or need before it did not hold";
pub const S: &str = "S: a former primary that has not rejoined keeps no proof waiting";
pub const U: &str = "U: need asks for nothing that fewer than k of V and strangers can have \
                     acknowledged";
pub const L: &str = "L: no part of M needs less than the whole of M";
pub const H: &str = "H: what was answered by acknowledgements is held by k of V and of the strangers \
                     that count";

/// The laws, each with the words above as its name.
pub fn always() -> Vec<Property<Config>> {
    vec![
        Property::always(A, |_, state| acknowledged_writes_are_kept(state)),
        Property::always(W, |_, state| late_acknowledgements_are_needed(state)),
        Property::always(P, |_, state| openings_were_chosen(state)),
        Property::always(D, followers_have_not_diverged),
        Property::always(N, |_, state| need_is_lawful(state)),
        Property::always(S, the_departed_block_nobody),
        Property::always(U, nobody_is_barred_for_nothing),
        Property::always(L, the_whole_needs_least),
        Property::always(H, what_was_acknowledged_is_held),
    ]
}

fn acknowledged(state: &State) -> Set<WriteId> {
    let told = |write: &WriteId| {
        matches!(
            state.writes[usize::from(write.0)].acknowledged,
            Acknowledged::Yes { .. }
        )
    };
    Set::first(state.writes.len() as u8)
        .iter()
        .filter(told)
        .collect()
}

fn errant(state: &State) -> Set<WriteId> {
    let stray =
        |write: &WriteId| state.writes[usize::from(write.0)].acknowledged == Acknowledged::Errant;
    Set::first(state.writes.len() as u8)
        .iter()
        .filter(stray)
        .collect()
}

/// A. Whatever a client was told is durable, the newest primary has; or a choice since did not claim
/// that nothing is lost.
fn acknowledged_writes_are_kept(state: &State) -> bool {
    state.newest_opened().is_none_or(|(epoch, primary)| {
        let missing = acknowledged(state).minus(state.server(primary).has);
        let mut missing = missing.iter();
        missing.all(|write| {
            let written = state.writes[usize::from(write.0)].epoch;
            !state.log.claimed_zero(written, epoch)
        })
    })
}

/// W. The old primary's last words, spoken after the next one opened, tell nothing new. The lowest
/// higher epoch is the one to look at: what it needs, all later ones need.
fn late_acknowledgements_are_needed(state: &State) -> bool {
    state
        .writes
        .iter()
        .enumerate()
        .all(|(number, write)| match write.acknowledged {
            Acknowledged::Yes {
                after: Some(epoch), ..
            } => {
                let need = state.log.term(epoch).map(|term| term.need);
                need.is_some_and(|need| need.contains(WriteId(number as u8)))
                    || !state.log.claimed_zero(write.epoch, epoch)
            }
            _ => true,
        })
}

/// P. The log names one primary per epoch, and nobody else opens, nor any before it is named.
fn openings_were_chosen(state: &State) -> bool {
    state.openings.iter().all(|(epoch, opened)| {
        state
            .log
            .term(*epoch)
            .is_some_and(|term| term.primary == *opened)
    })
}

/// D. A diverged replica still acknowledges, so none may be attached. (Errant transactions, written
/// past the plane while it replicates, are that replica's own affair: they bar it from promotion. A
/// stranger is compared by nobody; it counts for nothing either.)
fn followers_have_not_diverged(config: &Config, state: &State) -> bool {
    let governed = &state.servers[..usize::from(config.instances)];
    governed.iter().all(|server| {
        let Some(source) = server.source else {
            return true;
        };
        let source = state.server(source);
        source.open.is_none() || server.has.minus(errant(state)).within(source.has)
    })
}

/// N. What a stranger to the deposed primary holds is phantom: nobody acknowledged it, and fetching
/// it would overwrite what was.
fn need_is_lawful(state: &State) -> bool {
    let Some(now) = state.log.term(state.log.epoch) else {
        return true;
    };
    let before = Epoch(state.log.epoch.0 - 1);
    let Some(former) = state.log.term(before) else {
        return true;
    };
    now.need.within(former.need.union(now.inherited))
}

/// S. With everybody else frozen, the deposed epoch has its proof: a dead old primary does not turn
/// the next failure into an outage.
fn the_departed_block_nobody(config: &Config, state: &State) -> bool {
    let log = &state.log;
    if !log.deposed {
        return true;
    }
    let others = config.all().without(log.primary()).minus(log.retired);
    !others.within(log.frozen_replicas(config)) || log.members_are_frozen(config)
}

/// U. A survivor that holds all that was ever acknowledged must not be barred for what was not. Who
/// was not heard, or has lost something, may have acknowledged anything.
fn nobody_is_barred_for_nothing(config: &Config, state: &State) -> bool {
    let log = &state.log;
    if !log.deposed {
        return true;
    }
    let Some(need) = state.need(config) else {
        return true;
    };
    let new = need.minus(state.carried_need());
    new.iter().all(|write| {
        let may_have = |member: &Instance| {
            let Some(report) = log.report(*member).filter(|report| report.unbroken) else {
                return true;
            };
            let server = state.server(*member);
            let received = report.has.union(server.has).minus(server.fetched);
            received.contains(write)
        };
        let members = log.ackers.iter().filter(may_have).count() as u8;
        members + log.strangers_counted() >= log.wait_for
    })
}

/// L. So one need is taken, and no other part of M needs to be tried.
fn the_whole_needs_least(config: &Config, state: &State) -> bool {
    let log = &state.log;
    let whole = log.remembering_members(config);
    let Some(least) = state.need_of_part(config, whole).filter(|_| log.deposed) else {
        return true;
    };
    let mut parts = whole.subsets();
    parts.all(|part| {
        let need = state.need_of_part(config, part);
        need.is_none_or(|need| least.within(need))
    })
}

/// H. A stranger is forgotten only when V holds what it acknowledged. (Until its end: then the log
/// asks what was lost, too.)
fn what_was_acknowledged_is_held(config: &Config, state: &State) -> bool {
    let log = &state.log;
    if log.deposed || config.relay_losses_max > 0 {
        return true;
    }
    state.writes.iter().enumerate().all(|(number, write)| {
        let answered = matches!(write.acknowledged, Acknowledged::Yes { alone: false, .. });
        let write_id = WriteId(number as u8);
        let holds = |member: &Instance| state.server(*member).has.contains(write_id);
        let holders = log.ackers.iter().filter(holds).count() as u8;
        write.epoch != log.epoch || !answered || holders + log.strangers_counted() >= log.wait_for
    })
}

/// What must be reached, so that the laws above say something, as far as `config` lets it happen.
pub fn sometimes(config: &Config) -> Vec<Property<Config>> {
    let mut properties: Vec<Property<Config>> = vec![
        Property::<Config>::sometimes("a failover by frozen ackers alone opens", |_, state| {
            opened_with(state, Proof::AckersFrozen)
        }),
        Property::<Config>::sometimes("a failover by a confirmed fence opens", |_, state| {
            opened_with(state, Proof::Confirmed)
        }),
        Property::<Config>::sometimes(
            "the old primary is reinstated as a new epoch",
            |_, state| state.openings.windows(2).any(|pair| pair[0].1 == pair[1].1),
        ),
        Property::<Config>::sometimes(
            "a write is acknowledged after a higher epoch opened",
            |_, state| {
                let late = |after| {
                    let second = Some(Epoch(2));
                    matches!(after, Acknowledged::Yes { after, .. } if after == second)
                };
                state.writes.iter().any(|write| late(write.acknowledged))
            },
        ),
        Property::<Config>::sometimes("every epoch opens", |config, state| {
            state.openings.len() == usize::from(config.epochs_max)
        }),
    ];
    if config.writes_max > 1 {
        properties.push(Property::<Config>::sometimes(
            "acknowledged, failed over, acknowledged again",
            |config, state| {
                let in_epoch = |number| {
                    state.writes.iter().any(|write| {
                        write.epoch == Epoch(number)
                            && matches!(write.acknowledged, Acknowledged::Yes { .. })
                    })
                };
                let first = u8::from(!config.founding);
                in_epoch(first) && in_epoch(first + 1)
            },
        ));
        properties.push(Property::<Config>::sometimes(
            "comparison refuses a phantom",
            |_, state| {
                let Some((epoch, primary)) = state.newest_opened() else {
                    return false;
                };
                let holds = state.server(primary).has;
                let refused = |token: Epoch| token == epoch && epoch > Epoch(1);
                let mut servers = state.servers.iter();
                servers.any(|of| refused(of.token.epoch) && !of.has.within(holds))
            },
        ));
    }
    if config.crashes_max > 0 && !config.founding {
        properties.push(Property::<Config>::sometimes(
            "an exit is reported",
            |_, state| state.log.exited,
        ));
    }
    if config.stalls {
        properties.push(Property::<Config>::sometimes(
            "one that never began to open is in V again, and another opens",
            |_, state| {
                let withdrawn = state.log.terms.iter().rev().nth(1).map(|term| term.primary);
                let kept = |who| state.log.ackers.contains(who);
                state.opened(Epoch(3)) && withdrawn.is_some_and(kept)
            },
        ));
    }
    if config.joins {
        properties.push(Property::<Config>::sometimes(
            "the old primary joins V again",
            |_, state| {
                let former = |(_, who): &(Epoch, _)| state.log.ackers.contains(*who);
                state.log.epoch > Epoch(1) && state.openings.iter().any(former)
            },
        ));
    }
    if config.reopens {
        properties.push(Property::<Config>::sometimes(
            "a primary reopens in its epoch",
            |_, state| {
                state.writes.iter().any(|write| {
                    write.acknowledged == Acknowledged::Never
                        && state.server(write.origin).open == Some(write.epoch)
                })
            },
        ));
    }
    if config.relay_losses_max > 0 {
        properties.push(Property::<Config>::sometimes(
            "a relay log is lost, a failover opens",
            |_, state| state.used.relay_losses > 0 && state.opened(Epoch(2)),
        ));
    }
    if config.strangers > 0 {
        properties.push(Property::<Config>::sometimes(
            "a stranger was counted, and a failover opens by frozen ackers",
            |config, state| {
                state.used.attachments > 0
                    && state.log.epoch.0 == config.epochs_max
                    && opened_with(state, Proof::AckersFrozen)
            },
        ));
        properties.push(Property::<Config>::sometimes(
            "a stranger is settled: V caught up after the cut",
            |_, state| {
                state.used.attachments > 0
                    && !state.log.deposed
                    && state.log.strangers_counted() == 0
            },
        ));
    }
    if config.branches {
        properties.push(Property::<Config>::sometimes(
            "a branch is committed and answered while its server is being fenced",
            |_, state| {
                let fenced = |write: &Write| {
                    matches!(write.acknowledged, Acknowledged::Yes { .. })
                        && state.server(write.origin).open.is_none()
                        && !state.server(write.origin).offline
                };
                state.used.branch && state.writes.last().is_some_and(fenced)
            },
        ));
    }
    if config.disk_failures_max > 0 {
        properties.push(Property::<Config>::sometimes(
            "a freeze that was not written down is forgotten, and a failover opens",
            |_, state| {
                let forgot = |server: &Server| server.bound.is_none() && !server.up;
                state.used.disk_failures > 0
                    && state.opened(Epoch(2))
                    && state.servers.iter().any(forgot)
            },
        ));
    }
    if config.looks {
        properties.push(Property::<Config>::sometimes(
            "a primary that was looked at is deposed",
            |_, state| state.log.deposed && !state.log.known.is_empty(),
        ));
    }
    if config.switches_max > 0 {
        properties.push(Property::<Config>::sometimes(
            "a write that was answered alone is lost, and the choice said so",
            |_, state| {
                state.newest_opened().is_some_and(|(_, primary)| {
                    !acknowledged(state).within(state.server(primary).has)
                })
            },
        ));
        properties.push(Property::<Config>::sometimes(
            "ground that was broken is good again, and a failover opens",
            |_, state| {
                state.used.switches > 0
                    && opened_with(state, Proof::AckersFrozen)
                    && state.log.terms.iter().all(|term| term.claims_zero)
            },
        ));
    }
    if config.fetches {
        properties.push(Property::<Config>::sometimes(
            "one that fetched what another acknowledged opens with it",
            |_, state| {
                state
                    .newest_opened()
                    .is_some_and(|(_, on)| !state.server(on).fetched.is_empty())
            },
        ));
    }
    if config.errants_max > 0 {
        properties.push(Property::<Config>::sometimes(
            "an errant one is left behind",
            |_, state| state.used.errants > 0 && opened_with(state, Proof::AckersFrozen),
        ));
    }
    properties
}

fn opened_with(state: &State, proof: Proof) -> bool {
    state.openings.iter().any(|(epoch, _)| {
        state
            .log
            .term(*epoch)
            .is_some_and(|term| term.proof == proof)
    })
}
