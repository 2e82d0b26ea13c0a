//! The first simulator: the pure core of three nodes and the agents of one cluster or two, driven by
//! an event heap, with everything around it faked, slow, lossy and hostile.
//!
//! One seed is one run: all chance comes from it, nothing else is read, so it replays to the byte.
//! What is faked, and how truly:
//!
//! | part | file | stands for |
//! | --- | --- | --- |
//! | `log` | an adversarial oracle | Raft |
//! | `nodes`, `agents` | shells | the binaries around the core |
//! | `mysql`, `commit`, `replication`, `motions` | a fake server | MySQL with GTIDs and semi-sync |
//! | `network`, `faults`, `cruelty` | delay, loss, cuts, crashes, stops | the world |
//! | `clients` | writers | applications |
//! | `neighbour` | a second cluster | every other cluster of the plane |
//! | `operators` | aborts and approvals | people at the command line |
//! | `people` | settings changed, foreign servers, hosts lost for good | everybody else |
//! | `starving` | replication alone cut, accounts locked, receivers stopped | firewalls, DBAs |
//!
//! The laws are in `crate::invariants`; `planted` holds the mistakes that they must find.

mod agents;
mod clients;
mod commit;
mod cruelty;
mod event;
mod fault;
mod faults;
mod log;
mod motions;
mod mysql;
mod neighbour;
mod network;
mod nodes;
mod operators;
mod people;
mod planted;
mod prng;
mod process;
mod replication;
mod setup;
mod starving;
mod stranger;
pub mod sweep;
mod timeline;
mod world;

#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use faults::HEAL_US;
pub use mysql::{Mysqld, TxId};
pub use planted::Planted;
pub use world::{Counts, Target, Violation, World, instance_name};

pub(crate) use neighbour::NAMES;
pub(crate) use world::{ANY_RUN, What};

/// One run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    pub planted: Option<Planted>,
    pub trace: bool,
    /// One fault only: the first primary loses power. For a first look.
    pub calm: bool,
    /// The stranger is heard at once. Otherwise its acknowledgements reach nobody before the log
    /// counts it: what nobody has seen no proof can count, so this breaks the laws.
    pub unseen_strangers: bool,
    /// Operators abort what has been started, and lift that again.
    pub operators: bool,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    pub options: Options,
    pub counts: Counts,
    pub violation: Option<Violation>,
    pub trace: String,
    /// True simulated time at the end, in milliseconds.
    pub ended_ms: u64,
}

/// Runs one seed to its end. A panic of the core (a law that it asserts itself) is a violation.
pub fn run(options: Options) -> Report {
    let mut world = World::new(options);
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    if let Err(panic) = ran {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "panicked".into());
        world.violate("panic", words);
    }
    Report {
        options,
        counts: world.counts.clone(),
        violation: world.violation.clone(),
        trace: world.timeline.text(),
        ended_ms: world.now / 1_000,
    }
}
