//! What must be true of every deposing, each law one function, and what must happen in some run.

use stateright::Property;

use super::super::set::Set;
use super::{ACKERS, Config, Inquest, NODES, Node, Sight, State, WAIT_FOR};

pub const I: &str = "I: everyone counted as silent was so within the inquest that deposed";
pub const M: &str = "M: a majority of all voters was silent, not of those that answered";
pub const R: &str = "R: nobody counted as silent had taken it back in a vote that is in the log";
pub const B: &str = "B: everyone counted as silent had seen the primary alive in this epoch";
pub const G: &str = "G: silence was seen from two regions, where the control plane spans two";
pub const K: &str = "K: within the inquest too many ackers were deaf for the primary to gather k";

/// The laws, each with the words above as its name, and what must be reached so that they speak.
pub fn all(config: &Config) -> Vec<Property<Config>> {
    let mut properties = vec![
        Property::<Config>::always(I, |_, state| {
            holds_of_each(state, |node| state.watcher(node).silent_in_inquest)
        }),
        Property::<Config>::always(M, |_, state| {
            !state.deposed || state.silent().len() > NODES / 2
        }),
        Property::<Config>::always(R, |_, state| {
            holds_of_each(state, |node| {
                state
                    .watcher(node)
                    .committed
                    .is_some_and(|vote| vote.sight == Sight::Silent)
            })
        }),
        Property::<Config>::always(B, |_, state| {
            holds_of_each(state, |node| state.watcher(node).saw_alive)
        }),
        Property::<Config>::always(G, |config, state| {
            let silent = state.silent();
            let within = |region| silent.iter().all(|node| node.region() == region);
            !state.deposed || config.regions == 1 || !(within(0) || within(1))
        }),
        Property::<Config>::always(K, |_, state| {
            !state.deposed || state.deaf_in_inquest.len() > ACKERS - WAIT_FOR
        }),
        Property::<Config>::sometimes("an epoch is deposed", |_, state| state.deposed),
        Property::<Config>::sometimes(
            "undecided: a majority of the answers is silent",
            |_, state| {
                let answered = state
                    .watchers
                    .iter()
                    .filter(|watcher| watcher.counted.is_some());
                !state.deposed && answered.count() == 1 && state.silent().len() == 1
            },
        ),
    ];
    if config.restarts_max > 0 {
        properties.push(Property::<Config>::sometimes(
            "a restarted node's vote deposes",
            |_, state| {
                let restarted = |node| {
                    state
                        .watcher(node)
                        .counted
                        .is_some_and(|vote| vote.sequence.incarnation > 0)
                };
                state.deposed && state.silent().iter().any(restarted)
            },
        ));
    }
    if config.inquests_max > 1 {
        properties.push(Property::<Config>::sometimes(
            "the second inquest deposes",
            |_, state| state.deposed && state.opened == Inquest(2),
        ));
    }
    if config.evidence.contains(&Set::EMPTY) {
        properties.push(Property::<Config>::sometimes(
            "isolated: a majority is silent, k ackers hear it",
            |_, state| {
                !state.deposed && state.silent() == Node::all() && state.found_deaf().is_empty()
            },
        ));
    }
    if config.votes_max > 1 {
        properties.push(Property::<Config>::sometimes(
            "silence is taken back, and the epoch stands",
            |_, state| state.withdrawn && !state.deposed,
        ));
    }
    properties
}

fn holds_of_each(state: &State, holds: impl Fn(Node) -> bool) -> bool {
    !state.deposed || state.silent().iter().all(holds)
}
