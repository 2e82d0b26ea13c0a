//! What may befall a run, each kind under a name of its own.

use super::mysql::Hold;
use super::world::Target;

#[derive(Clone, Debug)]
pub enum Fault {
    KillServer(usize),
    Pause(Vec<Target>),
    KillAgent(usize),
    KillNode(usize),
    /// Power of the hosts and nodes: what is not synced is lost.
    Power {
        hosts: Vec<usize>,
        nodes: Vec<usize>,
    },
    /// Ways cut, one direction each.
    Cut(Vec<(usize, usize)>),
    Slow(u64),
    Lossy(u64),
    ClockRate(Target, i64),
    StuckDisk(usize),
    SlowApplier(usize),
    /// Its applier applies nothing: behind a client's lock, or behind something that lasts.
    HeldApplier(usize, Hold),
    /// The same, for good.
    HeldForGood(usize),
    Errant(usize),
    Stranger,
    Election,
    /// A frozen replica loses its relay log and its agent's memory, after its report is in the log.
    RelayLost(usize),
    /// Somebody starts the receiver of a frozen replica again; it acknowledges nothing.
    Thawed(usize),
    /// An operator aborts what has been started; its end lifts that.
    Abort,
    /// A host is lost for good, with its disk.
    Death(usize),
    /// Somebody switches semi-sync off on the open primary.
    SemiSyncOff,
    /// Somebody switches on the scheduler of the open primary.
    SchedulerOn,
    /// Somebody switches it off and on again, so that a look later nothing of it is to be seen but a
    /// counter.
    Flip,
    /// A transaction manager recovers: it commits a branch where it prepared it, at its own time.
    Xa,
    /// Another server answers at the address of this host while its own is gone.
    Imposter(usize),
    /// Every agent stands still, and nothing else.
    AgentsAsleep,
    /// Replication from the primary alone is cut: these ways, or, without any, by its account.
    ReplicationCut {
        ways: Vec<(usize, usize)>,
        /// Otherwise it outlasts the healing.
        ends: bool,
    },
    /// The account that replicas use is locked on every instance.
    AccountLocked,
    /// Replication is stopped on every replica, and no order reaches them.
    ReceiversStopped,
}

impl Fault {
    /// This host alone loses power.
    pub fn power(host: usize) -> Fault {
        Fault::Power {
            hosts: vec![host],
            nodes: vec![],
        }
    }

    /// One word a kind, for the counts.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::KillServer(_) => "server killed",
            Fault::Pause(_) => "paused",
            Fault::KillAgent(_) => "agent killed",
            Fault::KillNode(_) => "node killed",
            Fault::Power { .. } => "power lost",
            Fault::Cut(_) => "network cut",
            Fault::Slow(_) => "network slow",
            Fault::Lossy(_) => "network lossy",
            Fault::ClockRate(..) => "clock off",
            Fault::StuckDisk(_) => "disk stuck",
            Fault::SlowApplier(_) => "applier slow",
            Fault::HeldApplier(..) => "applier held",
            Fault::HeldForGood(_) => "applier held for good",
            Fault::Errant(_) => "errant write",
            Fault::Stranger => "stranger",
            Fault::Election => "election",
            Fault::RelayLost(_) => "relay log lost",
            Fault::Thawed(_) => "frozen receiver started",
            Fault::Abort => "abort",
            Fault::Death(_) => "host dead for good",
            Fault::SemiSyncOff => "semi-sync off",
            Fault::SchedulerOn => "scheduler on",
            Fault::Flip => "semi-sync flipped",
            Fault::Xa => "XA recovery",
            Fault::Imposter(_) => "another server at its address",
            Fault::AgentsAsleep => "agents asleep",
            Fault::ReplicationCut { .. } => "replication cut",
            Fault::AccountLocked => "account locked",
            Fault::ReceiversStopped => "receivers stopped",
        }
    }

    /// Every kind that a run without operators is to show.
    pub const KINDS: [&str; 28] = [
        "server killed",
        "paused",
        "agent killed",
        "node killed",
        "power lost",
        "network cut",
        "network slow",
        "network lossy",
        "clock off",
        "disk stuck",
        "applier slow",
        "applier held",
        "applier held for good",
        "errant write",
        "stranger",
        "election",
        "relay log lost",
        "frozen receiver started",
        "host dead for good",
        "scheduler on",
        "semi-sync off",
        "semi-sync flipped",
        "XA recovery",
        "another server at its address",
        "agents asleep",
        "replication cut",
        "account locked",
        "receivers stopped",
    ];
}
