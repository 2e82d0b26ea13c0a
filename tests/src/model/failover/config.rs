//! The size of a run, what may happen in it, and which rules are broken.

use super::{Instance, Mistake, Set};

/// The size of a run, what may happen in it, and which rules are broken.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub instances: u8,
    /// k of the first epoch; its V is every instance but the primary and `outside`.
    pub wait_for: u8,
    /// Instances that replicate from the first primary, but are not in its V.
    pub outside: Set<Instance>,
    /// Servers beyond `instances` that nobody registered, and that no agent governs.
    pub strangers: u8,
    /// They withhold their names.
    pub nameless: bool,
    /// How often someone may switch semi-sync off on an open primary.
    pub switches_max: u8,
    pub epochs_max: u8,
    pub writes_max: u8,
    pub crashes_max: u8,
    /// How many replicas may lose their last unapplied transaction.
    pub relay_losses_max: u8,
    /// How many errant transactions someone may write on a replica.
    pub errants_max: u8,
    /// The log may name them common.
    pub commons: bool,
    /// Members outside V may join it once they follow the primary.
    pub joins: bool,
    /// A primary that crashed may reopen within its epoch.
    pub reopens: bool,
    /// An agent's repair loop restarts replication where it finds it stopped.
    pub repairs: bool,
    /// Replies travel too: late, twice, out of order. Otherwise they arrive at once.
    pub replies_late: bool,
    /// A frozen replica may be told to fetch from another what it lacks.
    pub fetches: bool,
    /// Nodes may read what the primary has executed.
    pub looks: bool,
    /// A branch was prepared on the first primary, and its transaction manager commits it.
    pub branches: bool,
    /// How often an agent may fail to write down that it froze.
    pub disk_failures_max: u8,
    /// After each start an agent reads the log before it starts a thread.
    pub reads_at_start: bool,
    /// A chosen primary may say that it cannot open.
    pub stalls: bool,
    /// Start before the first epoch, with servers that anybody may have left open.
    pub founding: bool,
    pub mistakes: &'static [Mistake],
}

impl Config {
    /// Three instances, two ackers of whom one must acknowledge, one failover, one crash.
    pub const SMALL: Self = Self {
        instances: 3,
        wait_for: 1,
        outside: Set::EMPTY,
        strangers: 0,
        nameless: false,
        switches_max: 0,
        epochs_max: 2,
        writes_max: 2,
        crashes_max: 1,
        relay_losses_max: 0,
        errants_max: 0,
        commons: false,
        joins: false,
        reopens: false,
        repairs: true,
        replies_late: false,
        fetches: false,
        looks: false,
        disk_failures_max: 0,
        reads_at_start: false,
        branches: false,
        stalls: false,
        founding: false,
        mistakes: &[],
    };

    pub fn makes(&self, mistake: Mistake) -> bool {
        self.mistakes.contains(&mistake)
    }

    /// Every registered instance.
    pub fn all(&self) -> Set<Instance> {
        Set::first(self.instances)
    }

    /// Strangers included.
    pub fn every_server(&self) -> Set<Instance> {
        Set::first(self.instances + self.strangers)
    }
}
