//! How a server carries out what its agent asks: each op takes its time, may hang while the server
//! is stopped, may fail, and may take effect though nobody hears of it.
//!
//! The shell's duty, which the core relies on: the session of an op that was cancelled or given up
//! is killed before the statement of a later order runs, also after the agent restarted. An op
//! killed late has taken effect before the next begins, never after it.

use primacy_core::act::{
    Applier, ChannelSeen, Ground, Op, OpDone, OpError, OpId, Opened, SemiSyncDump, Survey,
};
use primacy_core::gtid::GtidSet;
use primacy_core::ids::Epoch;
use primacy_core::observe::IoThread;

use super::mysql::{Hold, MARKER_KEY, Mysqld, Writer};
use super::planted::Planted;
use super::world::{Target, What, World, host_number};

/// A `SET super_read_only` that waits for a commit gives up after this (`lock_wait_timeout=1`).
const LOCK_WAIT_US: u64 = 1_200_000;
/// `wait_timeout` of the session that was opened for `Open`.
const SESSION_US: u64 = 1_000_000;

/// How long one that fetches waits for what it asked for, and how often it looks.
const FETCH_US: u64 = 2_500_000;
const FETCH_LOOK_US: u64 = 10_000;

/// An op in the server.
#[derive(Debug)]
pub struct RunningOp {
    number: u64,
    agent_run: u64,
    id: OpId,
    op: Op,
    epoch: Option<Epoch>,
    begun: u64,
    /// Of a fence: the lock was waited for in vain once.
    waited: bool,
    /// Its session is dead; it only looks for its effect where the shell forgot to kill it.
    abandoned: bool,
}

impl Mysqld {
    /// `SET super_read_only` is under way: no commit begins.
    pub fn fencing(&self) -> bool {
        self.ops.iter().any(|op| op.op == Op::Fence)
    }
}

/// The session on which `Open` is to run.
#[derive(Clone, Copy, Debug)]
pub struct Prepared {
    agent_run: u64,
    at: u64,
}

/// Whether an op belongs to an order: at most one of these runs.
fn of_order(op: &Op) -> bool {
    !matches!(
        op,
        Op::Survey
            | Op::LookAtApplier { .. }
            | Op::StartApplier
            | Op::Marker { .. }
            | Op::Cut { .. }
            | Op::CleanUp
            | Op::EndChannel { .. }
            | Op::Repair { .. }
            | Op::TakeOverScheduled { .. }
            | Op::LookAtScheduled
            | Op::LookInto { .. }
            | Op::WriteEmpty { .. }
            | Op::LogIn { .. }
    )
}

impl World {
    pub fn survey(&mut self, host: usize) -> Survey {
        self.prune_dumps(host);
        let server = &self.servers[host];
        Survey {
            server_uuid: server.uuid,
            version: (9, 7, 4),
            read_only: server.super_read_only,
            super_read_only: server.super_read_only,
            offline_mode: server.offline,
            executed: server.executed.clone(),
            received: server.received.clone(),
            purged: Default::default(),
            source: server
                .source
                .map(|source| (format!("i{}", source + 1), 3306)),
            io: server.io.state,
            receiver_waits: server.io.state != IoThread::Off,
            receiver_bytes: (server.io.state == IoThread::On).then_some(server.io.read),
            applier_runs: server.applier && server.broken.is_empty(),
            acking: server.acking,
            heartbeats: server.io.heartbeats,
            read_position: ("binlog".into(), server.io.read),
            receiver_error: String::new(),
            applier_error: server.broken.clone(),
            semi_sync_source: server.semi_source,
            semi_sync_replicas: server
                .dumps
                .iter()
                .filter(|(_, dump)| dump.semi)
                .map(|(replica, dump)| (self.servers[*replica].uuid, dump.session))
                .collect(),
            waiting: server.waiting.len() as u64,
            semi_sync_dumps: server
                .dumps
                .iter()
                .filter(|(_, dump)| dump.semi)
                .map(|(replica, dump)| SemiSyncDump {
                    session: dump.session,
                    uuid: Some(self.servers[*replica].uuid),
                })
                .collect(),
            ground: self.ground(host),
            ack_waits: server.waiting.len() as u64,
            ack_wait_ms: None,
            probes: server.probes(self.agents[host].gate.run),
            login_error: None,
        }
    }

    /// Nobody changes a setting: those that a managed instance boots with.
    fn ground(&self, host: usize) -> Ground {
        let server = &self.servers[host];
        Ground {
            source: server.ground(),
            sync_relay_log: 1,
            relay_log_recovery: false,
            channels: server.source.map_or_else(Vec::new, |source| {
                vec![ChannelSeen {
                    name: String::new(),
                    host: format!("i{}", source + 1),
                    port: 3306,
                    source_uuid: Some(self.servers[source].uuid),
                    io: server.io.state,
                    applier_runs: server.applier && server.broken.is_empty(),
                    delay_s: 0,
                    receiver_error: None,
                    applier_error: None,
                }]
            }),
            filters: Vec::new(),
            binlog: Some(("binlog.000001".into(), 1)),
            event_scheduler: if server.scheduler { "ON" } else { "OFF" }.into(),
            branches: None,
        }
    }

    /// A source finds the connections whose other end is gone.
    fn prune_dumps(&mut self, host: usize) {
        let here = self.place_of_host(host);
        let gone: Vec<usize> = self.servers[host]
            .dumps
            .iter()
            .filter(|(replica, dump)| {
                self.servers[**replica].io.connection != dump.connection
                    && self.net.both_ways(here, self.place_of_host(**replica))
            })
            .map(|(replica, _)| *replica)
            .collect();
        for replica in gone {
            // What it sent before it closed is read first.
            self.acks_arrive(host, replica);
            self.servers[host].dumps.remove(&replica);
        }
    }

    pub(super) fn op_arrives(
        &mut self,
        host: usize,
        agent_run: u64,
        id: OpId,
        op: Op,
        epoch: Option<Epoch>,
        arrived: u64,
    ) {
        let late = self.options.planted == Some(Planted::LateSession);
        if !late && !self.agents[host].awaits(agent_run, id) {
            return; // given up before it was sent
        }
        if of_order(&op) {
            self.kill_sessions(host);
            if !matches!(op, Op::Open { .. }) {
                self.servers[host].prepared = None;
            }
        }
        let us = match &op {
            Op::Marker { epoch, create } => {
                let before = Box::new(self.servers[host].executed.clone());
                let writer = Writer::Marker {
                    agent_run,
                    id,
                    before,
                };
                let _ = (epoch, create);
                return self.write(host, writer, MARKER_KEY);
            }
            Op::WriteEmpty { set } => {
                // The rest is asked for again.
                let gtid = set.each().next().expect("some");
                let writer = Writer::Empty {
                    agent_run,
                    id,
                    gtid,
                };
                return self.write(host, writer, MARKER_KEY);
            }
            Op::PrepareOpen { .. } => {
                self.servers[host].prepared = Some(Prepared {
                    agent_run,
                    at: self.now,
                });
                self.rng.between(200, 2_000)
            }
            Op::Open { .. } => {
                let in_time = self.servers[host]
                    .prepared
                    .take()
                    .is_some_and(|s| s.agent_run == agent_run && arrived - s.at < SESSION_US);
                if !in_time {
                    let gone = OpError::Refused("the session is gone".into());
                    return self.op_ended(host, agent_run, id, Err(gone));
                }
                // Now and then it hangs for as long as an opening may stall.
                if self.rng.chance(160) {
                    self.rng.between(1_000_000, 1_200_000)
                } else {
                    self.rng.between(300, 8_000)
                }
            }
            Op::Fence => self.rng.between(1_000, 60_000),
            Op::Freeze => {
                let connecting = self.servers[host].io.state == IoThread::Connecting;
                if connecting && self.rng.chance(200) {
                    self.rng.between(100_000, 2_000_000)
                } else {
                    self.rng.between(3_000, 70_000)
                }
            }
            Op::WaitApplied { .. } => {
                self.start_applier(host);
                200
            }
            // Now and then a thread is slow to start.
            Op::Follow { .. } if self.rng.chance(150) => self.rng.between(100_000, 3_500_000),
            Op::Follow { .. } => self.rng.between(2_000, 40_000),
            // Only its thread is started; what it receives takes the time it takes.
            Op::Fetch { host: donor, .. } => {
                let donor = host_number(donor);
                self.fetch(host, donor);
                FETCH_LOOK_US
            }
            Op::Adopt { .. }
            | Op::CleanUp
            | Op::EndChannel { .. }
            | Op::Cut { .. }
            | Op::Repair { .. } => self.rng.between(1_000, 50_000),
            Op::TakeOverScheduled { .. } | Op::LookAtScheduled | Op::LookInto { .. } => 5_000,
            Op::Survey | Op::LookAtApplier { .. } | Op::StartApplier | Op::LogIn { .. } => 100,
        };
        if self.options.planted == Some(Planted::ReportBeforeFreeze) && op == Op::Freeze {
            let early = OpDone::Frozen(Box::new(self.survey(host)));
            self.op_ended(host, agent_run, id, Ok(early));
        }
        let number = self.number();
        self.servers[host].ops.push(RunningOp {
            number,
            agent_run,
            id,
            op,
            epoch,
            begun: self.now,
            waited: false,
            abandoned: false,
        });
        let run = self.servers[host].gate.run;
        self.after(us, Target::Mysqld(host), run, What::OpEffect { number });
    }

    /// Kills the sessions of earlier orders; one may have come too late to stop its statement.
    fn kill_sessions(&mut self, host: usize) {
        if self.options.planted == Some(Planted::LateSession) {
            return self.forget_sessions(host);
        }
        let (killed, kept) = std::mem::take(&mut self.servers[host].ops)
            .into_iter()
            .partition(|op| of_order(&op.op));
        self.servers[host].ops = kept;
        let killed: Vec<RunningOp> = killed;
        for op in killed {
            if matches!(op.op, Op::Follow { .. } | Op::Open { .. }) && self.rng.chance(300) {
                let _ = self.effect(host, &op);
            }
        }
    }

    /// Planted: sessions given up live on, and their statements take effect whenever they can.
    fn forget_sessions(&mut self, host: usize) {
        let run = self.servers[host].gate.run;
        for index in 0..self.servers[host].ops.len() {
            let op = &self.servers[host].ops[index];
            if op.abandoned || !of_order(&op.op) {
                continue;
            }
            let number = self.number();
            let op = &mut self.servers[host].ops[index];
            op.abandoned = true;
            op.number = number;
            let us = self.rng.between(1_000, 3_000_000);
            self.after(us, Target::Mysqld(host), run, What::OpEffect { number });
        }
    }

    pub(super) fn cancel_op(&mut self, host: usize, agent_run: u64, id: OpId) {
        if self.options.planted == Some(Planted::LateSession) {
            return self.forget_sessions(host);
        }
        let ops = &mut self.servers[host].ops;
        if let Some(index) = ops
            .iter()
            .position(|op| op.agent_run == agent_run && op.id == id)
        {
            let op = ops.remove(index);
            if matches!(op.op, Op::Follow { .. } | Op::Open { .. }) && self.rng.chance(300) {
                let _ = self.effect(host, &op);
            }
        }
    }

    pub(super) fn op_effect(&mut self, host: usize, number: u64) {
        let ops = &mut self.servers[host].ops;
        let Some(index) = ops.iter().position(|op| op.number == number) else {
            return;
        };
        let mut op = ops.remove(index);
        if let Some(us) = self.not_yet(host, &mut op) {
            let run = self.servers[host].gate.run;
            self.servers[host].ops.push(op);
            return self.after(us, Target::Mysqld(host), run, What::OpEffect { number });
        }
        let done = self.effect(host, &op);
        if op.abandoned
            || self.options.planted == Some(Planted::ReportBeforeFreeze) && op.op == Op::Freeze
        {
            return;
        }
        self.op_ended(host, op.agent_run, op.id, done);
    }

    fn look_at_applier(&mut self, host: usize, ends: bool) -> Applier {
        let held = self.servers[host].hold == Hold::Client;
        let who = || held.then(|| "a client's lock".to_owned());
        let mut seen = Applier {
            at: self.servers[host].executed.to_string(),
            holders: who().into_iter().collect(),
            ended: Vec::new(),
        };
        if held && ends {
            seen.ended.extend(who());
            self.hold_applier(host, Hold::None);
        }
        seen
    }

    /// Whether an op has to wait on, and how long.
    fn not_yet(&mut self, host: usize, op: &mut RunningOp) -> Option<u64> {
        let server = &self.servers[host];
        match &op.op {
            Op::Fence => {
                let busy = !server.waiting.is_empty() || server.synced < server.binlog.len();
                if busy && !op.waited {
                    op.waited = true;
                    return Some(LOCK_WAIT_US);
                }
                // A commit that waits for an acknowledgement is ended by one, or by SIGKILL.
                if !server.waiting.is_empty() {
                    return None;
                }
                // Killed sessions may hang on in a stuck disk: then only SIGKILL ends it.
                if server.stuck && self.rng.chance(400) {
                    return Some(10_000_000);
                }
                None
            }
            Op::WaitApplied { set } => {
                let unapplied = self.options.planted == Some(Planted::OpensUnapplied);
                (!server.executed.is_superset_of(set) && !unapplied).then_some(2_000)
            }
            Op::Fetch { set, .. } => {
                let patient = self.now < op.begun + FETCH_US;
                (patient && !server.holds().is_superset_of(set)).then_some(FETCH_LOOK_US)
            }
            _ => None,
        }
    }

    fn effect(&mut self, host: usize, op: &RunningOp) -> Result<OpDone, OpError> {
        Ok(match &op.op {
            // Its receiver, or an earlier statement, may wait for the disk: then only SIGKILL helps.
            Op::Freeze if self.servers[host].stuck && self.rng.chance(500) => {
                return Err(OpError::Hangs("a statement waits for the disk".into()));
            }
            Op::Freeze | Op::Fetch { .. } => {
                self.stop_io(host);
                self.servers[host].acking = false;
                self.maybe_repair(host);
                OpDone::Frozen(Box::new(self.survey(host)))
            }
            Op::Fence => {
                if !self.servers[host].waiting.is_empty() {
                    self.servers[host].offline = true;
                    let why = "commits wait for acknowledgements: only killing helps";
                    return Err(OpError::Refused(why.into()));
                }
                if self.options.planted != Some(Planted::ConfirmedDoesNotBind) {
                    self.servers[host].super_read_only = true;
                    self.servers[host].offline = true;
                    self.servers[host].scheduler = false;
                    self.release_waiting(host, false);
                    self.servers[host].opened = None;
                }
                let server = &self.servers[host];
                OpDone::Fenced {
                    final_set: server.executed.clone(),
                    server_uuid: server.uuid,
                    ground: Some(server.ground()),
                }
            }
            Op::StartApplier => {
                self.start_applier(host);
                OpDone::ApplierStarted
            }
            Op::WaitApplied { .. } => OpDone::Applied,
            Op::LookAtApplier { ends } => OpDone::ApplierSeen(self.look_at_applier(host, *ends)),
            Op::Follow {
                host: source,
                acking,
                online,
                compared,
                ..
            } => {
                let source = host_number(source);
                let looks = self.options.planted != Some(Planted::FollowUnlooked);
                let compared = compared.as_ref().filter(|_| looks);
                if let Some(compared) = compared
                    && self.servers[host].source != Some(source)
                {
                    self.stop_io(host);
                    if !self.servers[host].holds().is_subset_of(compared) {
                        return Ok(OpDone::HoldsMore);
                    }
                }
                self.follow(host, source, *acking);
                self.servers[host].offline = !online;
                OpDone::Followed
            }
            Op::PrepareOpen { members } => {
                self.cut_strangers(host, members);
                OpDone::Prepared {
                    executed: self.servers[host].executed.clone(),
                    server_uuid: self.servers[host].uuid,
                }
            }
            Op::Open { k } | Op::Adopt { k } => {
                let server = &mut self.servers[host];
                server.k = *k;
                server.semi_source = true;
                server.super_read_only = false;
                server.offline = false;
                server.opened = op.epoch;
                if let Some(epoch) = op.epoch {
                    self.opens(host, epoch);
                }
                OpDone::Opened(Opened)
            }
            // Nobody starts one here.
            Op::EndChannel { .. } => OpDone::Cleaned,
            Op::CleanUp => {
                self.stop_io(host);
                let server = &mut self.servers[host];
                server.source = None;
                server.applier = false;
                server.relay.clear();
                server.received = Default::default();
                OpDone::Cleaned
            }
            Op::Cut { sessions } => {
                self.cut(host, sessions);
                OpDone::Cut
            }
            Op::Repair { k } => {
                let server = &mut self.servers[host];
                server.semi_source = true;
                server.k = server.k.max(*k);
                self.release(host);
                OpDone::Repaired
            }
            // Its servers have a scheduler, and no events.
            Op::TakeOverScheduled { take_over } => {
                self.servers[host].scheduler = take_over.runs;
                OpDone::ScheduledTakenOver(Default::default())
            }
            Op::LookAtScheduled => OpDone::ScheduledSeen(Default::default()),
            Op::LookInto { set } => {
                let server = &self.servers[host];
                let written = server.binlog.iter().map(|tx| &self.txns[*tx]);
                let mut harmless = GtidSet::default();
                for txn in written.filter(|of| of.key == MARKER_KEY && set.contains(&of.gtid)) {
                    harmless.insert(txn.gtid);
                }
                OpDone::LookedInto {
                    known: set.clone(),
                    harmless,
                    first: None,
                }
            }
            Op::Survey | Op::Marker { .. } | Op::WriteEmpty { .. } | Op::LogIn { .. } => {
                unreachable!("never under way as an op")
            }
        })
    }

    /// `CHANGE REPLICATION SOURCE … ; START REPLICA`. The applier is started first: with both
    /// threads stopped, the change would purge the relay log and what was acknowledged in it.
    fn follow(&mut self, host: usize, source: usize, acking: bool) {
        let server = &mut self.servers[host];
        let before = server.holds();
        if self.options.planted == Some(Planted::PurgedRelay) && !server.applier {
            server.relay.clear();
            server.received = Default::default();
        }
        server.source = Some(source);
        server.acking = acking;
        server.super_read_only = true;
        server.offline = false;
        server.semi_source = false;
        self.follows(host, source, &before);
        self.start_applier(host);
        self.start_io(host);
    }

    /// The same, acknowledging nothing: what it receives is needed, and lies on the other.
    fn fetch(&mut self, host: usize, donor: usize) {
        let server = &mut self.servers[host];
        server.source = Some(donor);
        server.acking = false;
        self.start_applier(host);
        self.start_io(host);
    }
}
