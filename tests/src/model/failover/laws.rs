//! What must be true in every state, each law one function.

use stateright::Property;

use super::server::Acknowledged;
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

/// What some client was told is durable.
pub fn acknowledged(state: &State) -> Set<WriteId> {
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
            let told = report.has.union(report.held.unwrap_or(Set::EMPTY));
            told.union(server.has).minus(server.fetched).contains(write)
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
