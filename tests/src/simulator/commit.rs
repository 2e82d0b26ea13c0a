//! A write's way through a server: checked, named and flushed, synced, acknowledged, committed.

use primacy_core::act::{Marker, OpDone, OpError};
use primacy_core::gtid::Tag;

use super::mysql::{MARKER_KEY, TxId, Txn, Waiting, Writer};
use super::world::{Target, What, World};

impl World {
    pub fn write(&mut self, host: usize, writer: Writer, key: u64) {
        let server = &self.servers[host];
        let by_hand = matches!(writer, Writer::Nobody);
        if (server.fenced() || server.fencing()) && !by_hand {
            return self.answer_writer(host, &writer, false);
        }
        let us = self.rng.between(100, 1_000);
        let run = server.gate.run;
        self.after(us, Target::Mysqld(host), run, What::Commit { writer, key });
    }

    pub(super) fn flush(&mut self, host: usize, writer: Writer, key: u64) {
        let server = &mut self.servers[host];
        let passes = match writer {
            Writer::Nobody => true,
            Writer::Xa => !server.offline && !server.fencing(),
            Writer::Client { .. } | Writer::Marker { .. } | Writer::Empty { .. } => {
                !server.fenced() && !server.fencing()
            }
        };
        if !passes || server.conflicts(key) {
            return self.answer_writer(host, &writer, false);
        }
        if server.stuck {
            server.stuck_commits.push((writer, key));
            return;
        }
        let taken = server.executed.union(&server.owned);
        let gtid = match &writer {
            // A second time it does nothing.
            Writer::Empty { gtid, .. } if taken.contains(gtid) => {
                return self.answer_writer(host, &writer, true);
            }
            Writer::Empty { gtid, .. } => *gtid,
            _ => taken
                .next_free(server.uuid, Tag::NONE)
                .expect("numbers do not run out"),
        };
        server.owned.insert(gtid);
        if key != MARKER_KEY {
            server.locked.insert(key);
        }
        let tx = self.txns.len();
        self.txns.push(Txn { gtid, key });
        let position = server.binlog.len();
        server.binlog.push(tx);
        server.unsynced.insert(position, writer);
        let run = server.gate.run;
        let us = self.rng.between(100, 1_500);
        self.after(us, Target::Mysqld(host), run, What::Synced { position });
    }

    pub(super) fn synced(&mut self, host: usize, position: usize) {
        loop {
            let server = &mut self.servers[host];
            if server.synced > position {
                break;
            }
            let at = server.synced;
            server.synced += 1;
            let writer = server.unsynced.remove(&at).unwrap_or(Writer::Nobody);
            let tx = server.binlog[at];
            if server.has(tx) {
                continue; // applied as a replica, or written by recovery
            }
            if server.semi_source {
                server.waiting.push_back(Waiting {
                    tx,
                    position: at,
                    writer,
                });
            } else {
                self.engine_commit(host, tx, at, &writer, true);
            }
        }
        self.pump(host);
        self.release(host);
    }

    /// Commits what has its acknowledgements, in order.
    pub fn release(&mut self, host: usize) {
        loop {
            let server = &mut self.servers[host];
            let Some(first) = server.waiting.front() else {
                return;
            };
            if server.acks(first.position) < server.k as usize {
                return;
            }
            let first = server.waiting.pop_front().expect("there is one");
            self.engine_commit(host, first.tx, first.position, &first.writer, true);
        }
    }

    /// Ends all waits without an acknowledgement: the sessions are killed, or (a graceful stop)
    /// told that all is well.
    pub fn release_waiting(&mut self, host: usize, answer_ok: bool) {
        let synced = self.servers[host].binlog.len();
        if synced > self.servers[host].synced {
            self.synced(host, synced - 1);
        }
        while let Some(first) = self.servers[host].waiting.pop_front() {
            self.engine_commit(host, first.tx, first.position, &first.writer, answer_ok);
        }
        let stuck = std::mem::take(&mut self.servers[host].stuck_commits);
        for (writer, _) in stuck {
            self.answer_writer(host, &writer, false);
        }
    }

    fn engine_commit(&mut self, host: usize, id: TxId, position: usize, writer: &Writer, ok: bool) {
        let tx = self.txns[id];
        // Somebody had switched semi-sync off: fewer have it than the log says must.
        let short = self.servers[host].acks(position) < self.servers[host].k as usize;
        let off_at = self.servers[host].off_at.filter(|_| short);
        let server = &mut self.servers[host];
        server.execute(id, &tx);
        if ok && !server.semi_source {
            server.no_tx += 1;
        }
        // Of an empty one nobody is told.
        if ok && !matches!(writer, Writer::Nobody | Writer::Empty { .. }) {
            self.acknowledged(host, id, matches!(writer, Writer::Client { .. }), off_at);
        }
        self.answer_writer(host, writer, ok);
    }

    pub(super) fn answer_writer(&mut self, host: usize, writer: &Writer, ok: bool) {
        match writer {
            Writer::Client { client, write } => {
                if !self.servers[host].powered {
                    return;
                }
                let (from, to) = (self.place_of_host(host), self.place_of_client(*client));
                let what = What::Answered { write: *write, ok };
                self.send(from, to, Target::Client(*client), what);
            }
            Writer::Marker {
                agent_run,
                id,
                before,
            } => {
                let result = if ok {
                    Ok(OpDone::Marked(Marker {
                        before: (**before).clone(),
                        after: self.servers[host].executed.clone(),
                    }))
                } else {
                    Err(OpError::Unknown("the connection was lost".into()))
                };
                self.op_ended(host, *agent_run, *id, result);
            }
            Writer::Empty { agent_run, id, .. } => {
                let result = match ok {
                    true => Ok(OpDone::WroteEmpty),
                    false => Err(OpError::Unknown("the connection was lost".into())),
                };
                self.op_ended(host, *agent_run, *id, result);
            }
            Writer::Xa | Writer::Nobody => {}
        }
    }

    /// Semi-sync was switched off: who waited is answered, with the acknowledgements that there are.
    pub(super) fn answer_all_alone(&mut self, host: usize) {
        while let Some(first) = self.servers[host].waiting.pop_front() {
            self.engine_commit(host, first.tx, first.position, &first.writer, true);
        }
    }

    /// The disk writes again.
    pub fn unstick(&mut self, host: usize) {
        let server = &mut self.servers[host];
        server.stuck = false;
        for (writer, key) in std::mem::take(&mut server.stuck_commits) {
            self.flush(host, writer, key);
        }
    }
}
