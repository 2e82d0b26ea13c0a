//! What must be reached, so that the laws say something, as far as a configuration lets it happen.

use stateright::Property;

use super::choice::Proof;
use super::laws::acknowledged;
use super::server::{Acknowledged, Server, Write};
use super::{Config, Epoch, Instance, State};

type Condition = fn(&Config, &State) -> bool;

/// Everything that `config` must reach, by name.
pub fn sometimes(config: &Config) -> Vec<Property<Config>> {
    let mut wanted: Vec<(&'static str, Condition)> = Vec::new();
    failing_over(config, &mut wanted);
    coming_back(config, &mut wanted);
    telling(config, &mut wanted);
    standing(config, &mut wanted);
    wanted
        .into_iter()
        .map(|(name, condition)| Property::<Config>::sometimes(name, condition))
        .collect()
}

fn failing_over(config: &Config, wanted: &mut Vec<(&'static str, Condition)>) {
    wanted.push(("a failover by frozen ackers alone opens", |_, state| {
        opened_with(state, Proof::AckersFrozen)
    }));
    wanted.push(("a failover by a confirmed fence opens", |_, state| {
        opened_with(state, Proof::Confirmed)
    }));
    wanted.push((
        "the old primary is reinstated as a new epoch",
        |_, state| state.openings.windows(2).any(|pair| pair[0].1 == pair[1].1),
    ));
    wanted.push((
        "a write is acknowledged after a higher epoch opened",
        |_, state| {
            let second = Some(Epoch(2));
            let late = |write: &Write| {
                matches!(write.acknowledged, Acknowledged::Yes { after, .. } if after == second)
            };
            state.writes.iter().any(late)
        },
    ));
    wanted.push(("every epoch opens", |config, state| {
        state.openings.len() == usize::from(config.epochs_max)
    }));
    if config.writes_max > 1 {
        wanted.push((
            "acknowledged, failed over, acknowledged again",
            |config, state| {
                let in_epoch = |number| {
                    let of = |write: &&Write| write.epoch == Epoch(number);
                    state.writes.iter().filter(of).any(is_acknowledged)
                };
                let first = u8::from(!config.founding);
                in_epoch(first) && in_epoch(first + 1)
            },
        ));
        wanted.push(("comparison refuses a phantom", |_, state| {
            let Some((epoch, primary)) = state.newest_opened() else {
                return false;
            };
            let holds = state.server(primary).has;
            let refused = |token: Epoch| token == epoch && epoch > Epoch(1);
            let mut servers = state.servers.iter();
            servers.any(|of| refused(of.token.epoch) && !of.has.within(holds))
        }));
    }
    if config.crashes_max > 0 && !config.founding {
        wanted.push(("an exit is reported", |_, state| state.log.exited));
    }
}

/// Members and primaries that leave, and come back.
fn coming_back(config: &Config, wanted: &mut Vec<(&'static str, Condition)>) {
    if config.joins {
        wanted.push(("the old primary joins V again", |_, state| {
            let former = |(_, who): &(Epoch, _)| state.log.ackers.contains(*who);
            state.log.epoch > Epoch(1) && state.openings.iter().any(former)
        }));
    }
    if config.reopens {
        wanted.push(("a primary reopens in its epoch", |_, state| {
            state.writes.iter().any(|write| {
                write.acknowledged == Acknowledged::Never
                    && state.server(write.origin).open == Some(write.epoch)
            })
        }));
    }
    if config.stalls {
        wanted.push((
            "one that never began to open is in V again, and another opens",
            |_, state| {
                let withdrawn = state.log.terms.iter().rev().nth(1);
                let kept = withdrawn.is_some_and(|term| state.log.ackers.contains(term.primary));
                state.opened(Epoch(3)) && kept
            },
        ));
    }
    if config.epochs_max > 3 {
        wanted.push((
            "one that was withdrawn unopened opens later, after another was chosen",
            |_, state| {
                let primaries: Vec<_> = state.log.terms.iter().map(|term| term.primary).collect();
                let again = |of: &[Instance]| of[0] == of[2] && of[0] != of[1];
                let fourth = state.opened(Epoch(4)) && primaries.len() == 4;
                fourth && again(&primaries[1..]) && !state.opened(Epoch(2))
            },
        ));
    }
}

/// What members tell, and what is not counted.
fn telling(config: &Config, wanted: &mut Vec<(&'static str, Condition)>) {
    if config.relay_losses_max > 0 {
        wanted.push(("a relay log is lost, a failover opens", |_, state| {
            state.used.relay_losses > 0 && state.opened(Epoch(2))
        }));
    }
    if config.relay_losses_max > 0 && config.instances > 3 {
        wanted.push((
            "need is told without a member whose memory is broken",
            |config, state| {
                let log = &state.log;
                let members = log.remembering_members(config);
                let told = state.need_of_part(config, members).is_some();
                log.deposed && told && log.frozen_members(config) != members
            },
        ));
    }
    if config.fetches {
        wanted.push((
            "one that fetched what another acknowledged opens with it",
            |_, state| {
                let newest = state.newest_opened();
                newest.is_some_and(|(_, on)| !state.server(on).fetched.is_empty())
            },
        ));
    }
    if config.errants_max > 0 {
        wanted.push(("an errant one is left behind", |_, state| {
            state.used.errants > 0 && opened_with(state, Proof::AckersFrozen)
        }));
    }
    if config.commons {
        wanted.push((
            "one that wrote what is common is chosen, and others follow it",
            |_, state| {
                let newest = state.newest_opened();
                newest.is_some_and(|(epoch, on)| {
                    let own = state.server(on).has.both(state.log.common);
                    let follows = |server: &Server| server.source == Some(on) && server.acks;
                    epoch > Epoch(1) && !own.is_empty() && state.servers.iter().any(follows)
                })
            },
        ));
    }
    if config.disk_failures_max > 0 {
        wanted.push((
            "a freeze that was not written down is forgotten, and a failover opens",
            |_, state| {
                let forgot = |server: &Server| server.bound.is_none() && !server.up;
                let forgotten = state.servers.iter().any(forgot);
                state.used.disk_failures > 0 && state.opened(Epoch(2)) && forgotten
            },
        ));
    }
    if config.looks {
        wanted.push(("a primary that was looked at is deposed", |_, state| {
            state.log.deposed && !state.log.known.is_empty()
        }));
    }
}

/// What befalls a primary that stands.
fn standing(config: &Config, wanted: &mut Vec<(&'static str, Condition)>) {
    if config.strangers > 0 {
        wanted.push((
            "a stranger was counted, and a failover opens by frozen ackers",
            |config, state| {
                state.used.attachments > 0
                    && state.log.epoch.0 == config.epochs_max
                    && opened_with(state, Proof::AckersFrozen)
            },
        ));
        wanted.push((
            "a stranger is settled: V caught up after the cut",
            |_, state| {
                let counted = state.log.strangers_counted();
                state.used.attachments > 0 && !state.log.deposed && counted == 0
            },
        ));
    }
    if config.switches_max > 0 {
        wanted.push((
            "a write that was answered alone is lost, and the choice said so",
            |_, state| {
                let newest = state.newest_opened();
                newest.is_some_and(|(_, on)| !acknowledged(state).within(state.server(on).has))
            },
        ));
        wanted.push((
            "ground that was broken is good again, and a failover opens",
            |_, state| {
                let zero = state.log.terms.iter().all(|term| term.claims_zero);
                state.used.switches > 0 && zero && opened_with(state, Proof::AckersFrozen)
            },
        ));
    }
    if config.branches {
        wanted.push((
            "a branch is committed and answered while its server is being fenced",
            |_, state| {
                let server = |write: &Write| state.server(write.origin);
                let fenced = |write: &Write| server(write).open.is_none() && !server(write).offline;
                let last = state.writes.last();
                state.used.branch && last.is_some_and(|last| is_acknowledged(last) && fenced(last))
            },
        ));
    }
}

fn is_acknowledged(write: &Write) -> bool {
    matches!(write.acknowledged, Acknowledged::Yes { .. })
}

fn opened_with(state: &State, proof: Proof) -> bool {
    state.openings.iter().any(|(epoch, _)| {
        state
            .log
            .term(*epoch)
            .is_some_and(|term| term.proof == proof)
    })
}
