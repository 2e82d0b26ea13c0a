//! Replication: a source's dump threads, a replica's IO thread, its relay log and its applier.
//!
//! A connection is a stream each way: in order, retransmitted while the way is cut, given up after
//! `replica_net_timeout`. An acknowledgement that lies in the source's socket still counts when a
//! stopped source goes on, though its sender has stopped its IO thread since.

use std::collections::{BTreeMap, VecDeque};

use primacy_core::gtid::GtidSet;
use primacy_core::observe::IoThread;

use super::mysql::{Hold, TxId};
use super::network::RETRANSMIT_US;
use super::planted::Planted;
use super::world::{ANY_RUN, Target, What, World};

const HEARTBEAT_US: u64 = 250_000;
/// `replica_net_timeout`.
const NET_TIMEOUT_US: u64 = 9_000_000;
const CONNECT_RETRY_US: u64 = 1_000_000;
/// Round trips of a replica's connect, counted on the wire.
const CONNECT_ROUND_TRIPS: u64 = 18;

/// One dump thread of a source.
#[derive(Debug)]
pub struct Dump {
    pub connection: u64,
    pub session: u64,
    /// It takes part in semi-sync.
    pub semi: bool,
    next: usize,
    /// What the replica had when it connected.
    skip: GtidSet,
    /// When the last event sent arrives: a stream does not overtake itself.
    last_arrival: u64,
    /// The ack receiver sees this connection: it polls those it knows for up to a second.
    heard_from: u64,
}

/// What travels back: an acknowledged position, on a connection.
#[derive(Clone, Copy, Debug)]
struct Ack {
    at: u64,
    position: usize,
    connection: u64,
}

/// A replica's IO thread.
#[derive(Debug, Default)]
pub struct Io {
    pub state: IoThread,
    pub connection: u64,
    pub heartbeats: u64,
    pub read: u64,
    last_heard: u64,
    /// When it was last started.
    started: u64,
    /// When it last heard something after it had long heard nothing.
    pub was_deaf: Option<u64>,
    /// Sent by the source, not yet arrived: when, which, and its position there.
    inbox: VecDeque<(u64, TxId, usize)>,
}

/// A receiver that heard nothing for so long starves its source.
const DEAF_US: u64 = 1_700_000;

impl Io {
    /// Since when it has heard nothing, as far as that may be held against its source.
    pub fn deaf_since(&self) -> u64 {
        self.last_heard.max(self.started)
    }

    pub fn heard(&self) -> u64 {
        self.last_heard
    }

    fn hears(&mut self, now: u64) {
        if now - self.deaf_since() >= DEAF_US {
            self.was_deaf = Some(now);
        }
        self.last_heard = now;
    }
}

/// Acknowledgements on their way, by source and replica; they outlive the connection.
#[derive(Debug, Default)]
pub struct Acks(BTreeMap<(usize, usize), VecDeque<Ack>>);

impl World {
    pub fn stop_io(&mut self, host: usize) {
        let io = &mut self.servers[host].io;
        io.state = IoThread::Off;
        io.connection = 0;
        io.inbox.clear();
    }

    pub fn start_io(&mut self, host: usize) {
        let (connection, now) = (self.number(), self.now);
        let io = &mut self.servers[host].io;
        io.state = IoThread::Connecting;
        io.connection = connection;
        io.inbox.clear();
        io.started = now;
        self.connect_after(host, connection, 0);
    }

    fn connect_after(&mut self, host: usize, connection: u64, wait_us: u64) {
        let Some(source) = self.servers[host].source else {
            return;
        };
        let (from, to) = (self.place_of_host(host), self.place_of_host(source));
        let rtt = 2 * self.net.base_us(from, to);
        let us = wait_us + CONNECT_ROUND_TRIPS * rtt + 500 + self.rng.below(2_000);
        let run = self.servers[host].gate.run;
        self.after(us, Target::Mysqld(host), run, What::Connect { connection });
    }

    pub(super) fn connect(&mut self, host: usize, connection: u64) {
        if self.servers[host].io.connection != connection {
            return;
        }
        let Some(source) = self.servers[host].source else {
            return;
        };
        let (from, to) = (self.place_of_host(host), self.place_of_host(source));
        let answers = self.servers[source].gate.runs() && self.net.both_ways(from, to);
        let answers = answers && !self.faults.locked.contains(&source);
        if !answers || source == host {
            return self.connect_after(host, connection, CONNECT_RETRY_US);
        }
        let replica = &self.servers[host];
        let (semi, skip) = (replica.acking, replica.holds());
        let blind_us = if self.rng.chance(300) {
            self.rng.below(1_000_000)
        } else {
            0
        };
        let session = self.number();
        let now = self.now;
        self.servers[source].dumps.insert(
            host,
            Dump {
                connection,
                session,
                semi,
                next: 0,
                skip,
                last_arrival: now,
                heard_from: now + blind_us,
            },
        );
        let io = &mut self.servers[host].io;
        io.state = IoThread::On;
        io.hears(now);
        io.heartbeats += 1;
        let run = self.servers[host].gate.run;
        self.after(
            HEARTBEAT_US,
            Target::Mysqld(host),
            run,
            What::IoTick { connection },
        );
        self.pump(source);
    }

    /// Heartbeats arrive while the source runs and the way is open; else the thread gives up in time.
    pub(super) fn io_tick(&mut self, host: usize, connection: u64) {
        if self.servers[host].io.connection != connection {
            return;
        }
        let Some(source) = self.servers[host].source else {
            return;
        };
        let (here, there) = (self.place_of_host(host), self.place_of_host(source));
        let reachable = self.net.open(there, here);
        let known = self.servers[source]
            .dumps
            .get(&host)
            .is_some_and(|dump| dump.connection == connection);
        let now = self.now;
        let run = self.servers[host].gate.run;
        let reset = !known && self.servers[source].powered && self.net.both_ways(here, there);
        let io = &mut self.servers[host].io;
        if reset || now - io.last_heard > NET_TIMEOUT_US {
            io.state = IoThread::Connecting;
            io.inbox.clear();
            let fresh = self.number();
            self.servers[host].io.connection = fresh;
            return self.connect_after(host, fresh, CONNECT_RETRY_US / 4);
        }
        if known && reachable && self.servers[source].gate.runs() {
            let io = &mut self.servers[host].io;
            io.hears(now);
            io.heartbeats += 1;
        }
        self.after(
            HEARTBEAT_US,
            Target::Mysqld(host),
            run,
            What::IoTick { connection },
        );
    }

    /// Sends what is synced to every connected replica.
    pub fn pump(&mut self, source: usize) {
        let replicas: Vec<usize> = self.servers[source].dumps.keys().copied().collect();
        for replica in replicas {
            loop {
                let server = &mut self.servers[source];
                let dump = server.dumps.get_mut(&replica).expect("it is listed");
                if dump.next >= server.synced {
                    break;
                }
                let position = dump.next;
                dump.next += 1;
                let tx = server.binlog[position];
                if dump.skip.contains(&self.txns[tx].gtid) {
                    continue;
                }
                let connection = dump.connection;
                let last = dump.last_arrival;
                let (from, to) = (self.place_of_host(source), self.place_of_host(replica));
                let us = self.net.segment_us(from, to, &mut self.rng);
                let at = last.max(self.now + us);
                let dump = self.servers[source]
                    .dumps
                    .get_mut(&replica)
                    .expect("listed");
                dump.last_arrival = at;
                let io = &mut self.servers[replica].io;
                if io.connection == connection {
                    io.inbox.push_back((at, tx, position));
                    let what = What::Received { connection };
                    self.after(at - self.now, Target::Mysqld(replica), ANY_RUN, what);
                }
            }
        }
    }

    /// Takes what has arrived into the relay log, and acknowledges it.
    pub(super) fn received(&mut self, host: usize, connection: u64) {
        if self.servers[host].io.connection != connection {
            return;
        }
        let Some(source) = self.servers[host].source else {
            return;
        };
        let (here, there) = (self.place_of_host(host), self.place_of_host(source));
        if !self.net.open(there, here) {
            let what = What::Received { connection };
            return self.after(RETRANSMIT_US, Target::Mysqld(host), ANY_RUN, what);
        }
        while let Some(&(at, tx, position)) = self.servers[host].io.inbox.front() {
            if at > self.now {
                break;
            }
            let gtid = self.txns[tx].gtid;
            let now = self.now;
            self.truth_mut(host)
                .received
                .entry(host)
                .or_default()
                .insert(gtid);
            let server = &mut self.servers[host];
            server.io.inbox.pop_front();
            server.io.hears(now);
            server.io.read += 1;
            if !server.executed.contains(&gtid) && !server.received.contains(&gtid) {
                server.received.insert(gtid);
                server.relay.push_back(tx);
            }
            if server.acking {
                let us =
                    self.net.segment_us(here, there, &mut self.rng) + self.rng.between(50, 500);
                self.faults
                    .acks
                    .push(source, host, now + us, position + 1, connection);
                let what = What::AcksArrive { replica: host };
                self.after(us, Target::Mysqld(source), ANY_RUN, what);
            }
        }
        self.apply_soon(host);
    }

    /// The ack receiver reads a socket.
    pub(super) fn acks_arrive(&mut self, source: usize, replica: usize) {
        let (from, to) = (self.place_of_host(replica), self.place_of_host(source));
        if !self.net.open(from, to) {
            let what = What::AcksArrive { replica };
            return self.after(RETRANSMIT_US, Target::Mysqld(source), ANY_RUN, what);
        }
        let now = self.now;
        let Some(dump) = self.servers[source].dumps.get(&replica) else {
            return; // the socket is gone, with what lay in it
        };
        let (connection, semi) = (dump.connection, dump.semi);
        if dump.heard_from > now {
            // Nobody's poll sees it yet, unless another one's acknowledgement wakes it.
            let us = dump.heard_from - now;
            let what = What::AcksArrive { replica };
            return self.after(us, Target::Mysqld(source), ANY_RUN, what);
        }
        let newest = self.faults.acks.take(source, replica, now, connection);
        if !self.options.unseen_strangers && self.is_unseen(source, replica) {
            return;
        }
        if let Some(position) = newest.filter(|_| semi) {
            let server = &mut self.servers[source];
            let at = server.acked_by.entry(replica).or_default();
            *at = (*at).max(position);
            for dump in server.dumps.values_mut() {
                dump.heard_from = dump.heard_from.min(now);
            }
            self.release(source);
        }
    }

    // ---- the applier

    pub fn start_applier(&mut self, host: usize) {
        self.servers[host].applier = true;
        self.apply_soon(host);
    }

    /// What held its applier is gone, or comes.
    pub fn hold_applier(&mut self, host: usize, hold: Hold) {
        self.servers[host].hold = hold;
        self.apply_soon(host);
    }

    fn apply_soon(&mut self, host: usize) {
        let server = &mut self.servers[host];
        if !server.applier
            || server.applying
            || server.relay.is_empty()
            || server.hold != Hold::None
            || !server.broken.is_empty()
        {
            return;
        }
        server.applying = true;
        let most = server.apply_us;
        let run = server.gate.run;
        let us = self.rng.between(100, most);
        self.after(us, Target::Mysqld(host), run, What::Apply);
    }

    pub(super) fn apply_next(&mut self, host: usize) {
        let server = &mut self.servers[host];
        server.applying = false;
        let Some(&id) = server.relay.front() else {
            return;
        };
        if !server.applier || server.hold != Hold::None {
            return;
        }
        let tx = self.txns[id];
        let server = &mut self.servers[host];
        if server.executed.contains(&tx.gtid) {
            server.relay.pop_front();
        } else if server.conflicts(tx.key) {
            server.broken = format!("duplicate key {} applying {}", tx.key, tx.gtid);
            let words = server.broken.clone();
            self.note(&Target::Mysqld(host).to_string(), || words);
            return;
        } else {
            server.relay.pop_front();
            server.execute(id, &tx);
            server.binlog.push(id);
            // Everything before it must be synced first; nothing else is under way on a replica.
            if server.synced == server.binlog.len() - 1 {
                server.synced += 1;
            }
            self.pump(host);
        }
        self.apply_soon(host);
    }

    /// Somebody starts a stopped IO thread again.
    pub(super) fn start_receiver(&mut self, host: usize, acking: bool) {
        let server = &mut self.servers[host];
        if !server.gate.runs() {
            return;
        }
        if server.io.state == IoThread::Off && server.source.is_some() && server.super_read_only {
            server.acking = acking;
            self.start_io(host);
        }
    }

    /// Planted: a loop does.
    pub(super) fn maybe_repair(&mut self, host: usize) {
        if self.options.planted == Some(Planted::RepairThaws) {
            let us = self.rng.between(10_000, 500_000);
            self.after(us, Target::Mysqld(host), ANY_RUN, What::Repair);
        }
    }
}

impl Acks {
    fn push(&mut self, source: usize, replica: usize, at: u64, position: usize, connection: u64) {
        let ack = Ack {
            at,
            position,
            connection,
        };
        self.0.entry((source, replica)).or_default().push_back(ack);
    }

    /// The newest position acknowledged on this connection by what has arrived.
    fn take(&mut self, source: usize, replica: usize, now: u64, connection: u64) -> Option<usize> {
        let queue = self.0.get_mut(&(source, replica))?;
        let mut newest = None;
        while queue.front().is_some_and(|ack| ack.at <= now) {
            let ack = queue.pop_front().expect("it is there");
            if ack.connection == connection {
                newest = newest.max(Some(ack.position));
            }
        }
        newest
    }
}
