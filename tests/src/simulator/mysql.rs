//! A fake MySQL server, true to what a failover depends on: GTIDs and the numbers that are given
//! out again, the binlog and what of it a crash leaves, semi-sync's waits, and rows.
//!
//! A write goes: checked → executed → named and flushed to the binlog → synced → sent to replicas,
//! waiting for k acknowledgements (AFTER_SYNC) → committed, visible, answered. What is in the
//! binlog at a crash is committed by recovery, acknowledged or not: a phantom. What was not flushed
//! is gone, and its number is given out again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use primacy_core::act::{OpDone, OpId, ProbeAt};
use primacy_core::gtid::{Gtid, GtidSet, Uuid};
use primacy_core::ids::Epoch;
use primacy_core::observe::{IoThread, Pulse, Seen, SourceGround};

use super::motions::{Prepared, RunningOp};
use super::planted::Planted;
use super::replication::{Dump, Io};
use super::world::{Gate, Target, What, World};

/// The row that every marker overwrites: it is no conflict. What is no marker and writes it changes
/// nothing.
pub const MARKER_KEY: u64 = 0;

/// Index of a transaction in the world's list: its true identity, whatever its GTID.
pub type TxId = usize;

#[derive(Clone, Copy, Debug)]
pub struct Txn {
    pub gtid: Gtid,
    pub key: u64,
}

/// Who waits for a commit.
#[derive(Clone, Debug)]
pub enum Writer {
    Client {
        client: usize,
        write: u64,
    },
    Marker {
        agent_run: u64,
        id: OpId,
        before: Box<GtidSet>,
    },
    /// An empty transaction of a given name, asked for by an agent.
    Empty {
        agent_run: u64,
        id: OpId,
        gtid: Gtid,
    },
    /// A branch that a transaction manager commits, and takes for committed when it is answered.
    Xa,
    /// Written by hand, nobody waits.
    Nobody,
}

/// A synced transaction that waits for acknowledgements.
#[derive(Debug)]
pub struct Waiting {
    pub tx: TxId,
    pub position: usize,
    pub writer: Writer,
}

#[derive(Debug)]
pub struct Mysqld {
    pub gate: Gate,
    pub booting: bool,
    /// Its process id: another with each start.
    pub pid: u32,
    /// The machine has power.
    pub powered: bool,
    pub uuid: Uuid,
    pub super_read_only: bool,
    pub offline: bool,
    /// `event_scheduler`.
    pub scheduler: bool,
    pub semi_source: bool,
    pub k: u32,
    /// How often semi-sync was switched off, and how many writes were answered alone.
    pub no_times: u64,
    pub no_tx: u64,
    /// When somebody switched it off last.
    pub off_at: Option<u64>,
    /// For which epoch it was opened; the truth, which no process sees.
    pub opened: Option<Epoch>,
    /// Writes hang before the binlog: a full or stuck disk.
    pub stuck: bool,
    pub(super) stuck_commits: Vec<(Writer, u64)>,
    /// A fault took its relay log: it holds less than it reported.
    pub lost_relay: bool,

    // Durable.
    pub binlog: Vec<TxId>,
    pub synced: usize,
    pub executed: GtidSet,
    /// What it truly executed, by identity: equal GTIDs may hide different rows.
    content: Vec<u64>,
    pub rows: BTreeMap<u64, TxId>,

    // The source's side.
    pub(super) owned: GtidSet,
    /// Flushed, not yet synced, with who waits; by position.
    pub(super) unsynced: BTreeMap<usize, Writer>,
    /// Keys of commits under way: their rows are locked.
    pub(super) locked: BTreeSet<u64>,
    pub waiting: VecDeque<Waiting>,
    /// The newest position that each replica acknowledged.
    pub acked_by: BTreeMap<usize, usize>,
    pub dumps: BTreeMap<usize, Dump>,

    // The replica's side.
    pub io: Io,
    pub source: Option<usize>,
    pub acking: bool,
    pub applier: bool,
    pub applying: bool,
    pub broken: String,
    pub relay: VecDeque<TxId>,
    pub received: GtidSet,
    pub apply_us: u64,
    pub hold: Hold,

    pub ops: Vec<RunningOp>,
    pub prepared: Option<Prepared>,
}

/// What keeps an applier from applying anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    #[default]
    None,
    /// A client's lock: its session can be ended.
    Client,
    /// Nothing that ends with a session.
    Lasting,
}

impl Mysqld {
    pub fn new(uuid: Uuid, apply_us: u64) -> Self {
        Self {
            gate: Gate::default(),
            booting: false,
            pid: 1,
            powered: true,
            uuid,
            super_read_only: true,
            offline: true,
            scheduler: false,
            semi_source: false,
            k: 1,
            no_times: 0,
            no_tx: 0,
            off_at: None,
            opened: None,
            stuck: false,
            stuck_commits: Vec::new(),
            lost_relay: false,
            binlog: Vec::new(),
            synced: 0,
            executed: GtidSet::default(),
            content: Vec::new(),
            rows: BTreeMap::new(),
            owned: GtidSet::default(),
            unsynced: BTreeMap::new(),
            locked: BTreeSet::new(),
            waiting: VecDeque::new(),
            acked_by: BTreeMap::new(),
            dumps: BTreeMap::new(),
            io: Io::default(),
            source: None,
            acking: false,
            applier: false,
            applying: false,
            broken: String::new(),
            relay: VecDeque::new(),
            received: GtidSet::default(),
            apply_us,
            hold: Hold::None,
            ops: Vec::new(),
            prepared: None,
        }
    }

    pub fn holds(&self) -> GtidSet {
        self.executed.union(&self.received)
    }

    pub fn fenced(&self) -> bool {
        self.super_read_only || self.offline
    }

    pub fn ground(&self) -> SourceGround {
        SourceGround {
            enabled: self.semi_source,
            status: self.semi_source,
            no_times: self.no_times,
            no_tx: self.no_tx,
            ..SourceGround::ordered(self.k)
        }
    }

    /// What the markers of this run of the agent are at that have not come to an end.
    pub fn probes(&self, run: u64) -> BTreeMap<OpId, ProbeAt> {
        let waiting = self.waiting.iter().map(|wait| &wait.writer);
        let waiting = waiting.map(|writer| (writer, ProbeAt::Acknowledgement));
        let stuck = self.stuck_commits.iter().map(|(writer, _)| writer);
        let committing = self.unsynced.values().chain(stuck);
        let committing = committing.map(|writer| (writer, ProbeAt::Commit));
        let markers = waiting.chain(committing);
        markers
            .filter_map(|(writer, at)| match writer {
                Writer::Marker { agent_run, id, .. } if *agent_run == run => Some((*id, at)),
                Writer::Marker { .. }
                | Writer::Client { .. }
                | Writer::Empty { .. }
                | Writer::Xa
                | Writer::Nobody => None,
            })
            .collect()
    }

    /// Whether this very transaction was executed here, not one of the same name.
    pub fn has(&self, tx: TxId) -> bool {
        self.content
            .get(tx / 64)
            .is_some_and(|word| word >> (tx % 64) & 1 == 1)
    }

    /// Executes a transaction in the engine.
    pub fn execute(&mut self, id: TxId, tx: &Txn) {
        if self.content.len() <= id / 64 {
            self.content.resize(id / 64 + 1, 0);
        }
        self.content[id / 64] |= 1 << (id % 64);
        self.executed.insert(tx.gtid);
        self.rows.insert(tx.key, id);
        self.locked.remove(&tx.key);
    }

    pub fn conflicts(&self, key: u64) -> bool {
        key != MARKER_KEY && (self.rows.contains_key(&key) || self.locked.contains(&key))
    }

    /// How many replicas acknowledged everything up to this position.
    pub(super) fn acks(&self, position: usize) -> usize {
        self.acked_by.values().filter(|at| **at > position).count()
    }

    pub fn io_state(&self) -> IoThread {
        self.io.state
    }

    /// What a death leaves: the disk. `power` takes what was flushed and not synced, too.
    fn die(&mut self, power: bool, boots_open: bool, txns: &[Txn]) -> Vec<Writer> {
        let mut cut: Vec<Writer> = self.waiting.drain(..).map(|wait| wait.writer).collect();
        cut.extend(std::mem::take(&mut self.unsynced).into_values());
        cut.extend(self.stuck_commits.drain(..).map(|(writer, _)| writer));
        if power {
            self.binlog.truncate(self.synced);
        }
        self.gate.die();
        self.booting = false;
        self.synced = self.binlog.len();
        for position in 0..self.binlog.len() {
            let tx = self.binlog[position];
            if !self.has(tx) {
                self.execute(tx, &txns[tx]);
            }
        }
        self.owned = GtidSet::default();
        self.locked.clear();
        self.acked_by.clear();
        self.dumps.clear();
        self.io = Io::default();
        self.acking = false;
        self.applier = false;
        self.applying = false;
        self.semi_source = false;
        self.super_read_only = true;
        self.scheduler = false;
        self.offline = !boots_open;
        self.opened = None;
        (self.no_times, self.no_tx) = (0, 0);
        self.ops.clear();
        self.prepared = None;
        cut
    }
}

impl World {
    pub fn start_server(&mut self, host: usize) {
        let server = &mut self.servers[host];
        if server.gate.up || server.booting || !server.powered {
            return;
        }
        server.booting = true;
        server.pid += 1;
        self.note(&Target::Mysqld(host).to_string(), || "starting".into());
        self.tell_process(host, true);
        let us = self.rng.between(300_000, 1_500_000);
        self.after(
            us,
            Target::World,
            super::world::ANY_RUN,
            What::Booted { host },
        );
    }

    pub(super) fn booted(&mut self, host: usize) {
        let server = &mut self.servers[host];
        if !server.booting {
            return;
        }
        server.booting = false;
        server.gate.start();
        let executed = server.executed.clone();
        self.note(&Target::Mysqld(host).to_string(), || {
            format!("is up, fenced, executed {}", executed.compact())
        });
        self.agent_says(host, primacy_core::act::AgentInput::ServerUp);
    }

    /// SIGKILL, or the end of the machine's power.
    pub fn kill_server(&mut self, host: usize, power: bool) {
        let server = &mut self.servers[host];
        if !server.gate.up && !server.booting {
            return;
        }
        let boots_open = self.options.planted == Some(Planted::BootsReadOnly);
        let cut = server.die(power, boots_open, &self.txns);
        self.note(&Target::Mysqld(host).to_string(), || {
            if power { "lost power" } else { "killed" }.into()
        });
        for writer in cut {
            self.answer_writer(host, &writer, false);
        }
        let us = self.rng.between(600, 5_000);
        if self.agents.get(host).is_some_and(|agent| agent.gate.up) {
            let run = self.agents[host].gate.run;
            let exited = primacy_core::act::AgentInput::ServerExited;
            self.after(us, Target::Agent(host), run, What::Agent(Box::new(exited)));
        }
    }

    pub(super) fn server_event(&mut self, host: usize, what: What) {
        match what {
            What::Ping { agent_run } => {
                let up = primacy_core::act::AgentInput::ServerUp;
                self.after(
                    200,
                    Target::Agent(host),
                    agent_run,
                    What::Agent(Box::new(up)),
                );
            }
            What::Asked { node, probe, .. } => self.asked_by_node(host, node, probe),
            What::Survey { agent_run, id } => {
                let done = OpDone::Surveyed(Box::new(self.survey(host)));
                self.op_ended(host, agent_run, id, Ok(done));
            }
            What::Op {
                agent_run,
                id,
                op,
                epoch,
                arrived,
            } => self.op_arrives(host, agent_run, id, *op, epoch, arrived),
            What::OpEffect { number } => self.op_effect(host, number),
            What::Cancel { agent_run, id } => self.cancel_op(host, agent_run, id),
            What::Write { writer, key } => self.write(host, writer, key),
            What::Commit { writer, key } => self.flush(host, writer, key),
            What::Synced { position } => self.synced(host, position),
            What::Connect { connection } => self.connect(host, connection),
            What::IoTick { connection } => self.io_tick(host, connection),
            What::Received { connection } => self.received(host, connection),
            What::AcksArrive { replica } => self.acks_arrive(host, replica),
            What::Apply => self.apply_next(host),
            What::SemiSyncOff { back_us } => self.switch_off(host, Some(back_us)),
            What::SemiSyncOn => {
                // Of one that was fenced or put back meanwhile nothing is left to do.
                let server = &mut self.servers[host];
                server.semi_source |= server.opened.is_some();
            }
            What::XaCommit { key } => self.xa_commit(host, key),
            What::Repair => self.start_receiver(host, true),
            other => unreachable!("not a server's: {other:?}"),
        }
    }

    fn asked_by_node(&mut self, host: usize, node: usize, probe: u64) {
        let run = self.servers[host].gate.run;
        let kind = self.probes.get(&probe).map(|asked| asked.kind);
        let warm = &mut self.nodes[node].warm[host];
        let stale = *warm != run && *warm != 0;
        if kind == Some(primacy_core::observe::Probe::Warm) {
            *warm = run;
            if stale {
                let pulse = Pulse::Failed { reset: true };
                return self.answer_probe(host, node, probe, pulse, None);
            }
        }
        let server = &self.servers[host];
        if server.offline {
            // ER_SERVER_OFFLINE_MODE: it refuses the session.
            let pulse = Pulse::Refused { code: 3032 };
            return self.answer_probe(host, node, probe, pulse, None);
        }
        let pulse = Pulse::Answered {
            fenced: server.fenced(),
        };
        let seen = Seen {
            server_uuid: server.uuid,
            executed: server.executed.clone(),
            ground: Some(server.ground()),
        };
        self.answer_probe(host, node, probe, pulse, Some(seen));
    }
}
