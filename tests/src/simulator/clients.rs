//! Writers. Most ask the agents who serves (`/primary`); some stay with the server that they know,
//! as a pooled connection does.

use super::mysql::Writer;
use super::world::{ANY_RUN, Target, What, World};

/// A client gives a write up after this; whether it happened is then unknown to it.
const TIMEOUT_US: u64 = 1_000_000;

#[derive(Debug)]
pub struct Client {
    /// Whose primary it looks for.
    cluster: usize,
    /// Stays with the server it knows until it is refused many times.
    pub stays: bool,
    pub target: Option<usize>,
    pending: Option<(u64, u64)>,
    refused: u32,
    /// A key whose write ended unknown is tried again now and then.
    again: Option<u64>,
    pub think_us: u64,
}

impl Client {
    pub fn new(cluster: usize, stays: bool, think_us: u64) -> Self {
        Self {
            cluster,
            stays,
            target: None,
            pending: None,
            refused: 0,
            again: None,
            think_us,
        }
    }
}

impl World {
    pub(super) fn client_event(&mut self, client: usize, what: What) {
        match what {
            What::ClientWake => {
                let think = self.clients[client].think_us;
                let us = self.rng.between(think / 2, think);
                self.after(us, Target::Client(client), ANY_RUN, What::ClientWake);
                if self.clients[client].pending.is_none() {
                    self.client_acts(client);
                }
            }
            What::Serves { host } => {
                let known = &mut self.clients[client];
                if known.target.is_none() && host.is_some() {
                    known.target = host;
                    known.refused = 0;
                }
            }
            What::Answered { write, ok } => self.client_answered(client, write, ok),
            What::ClientTimeout { write } => {
                let known = &mut self.clients[client];
                if let Some((_, key)) = known.pending.filter(|(pending, _)| *pending == write) {
                    known.pending = None;
                    known.again = Some(key);
                    if !known.stays {
                        known.target = None;
                    }
                }
            }
            other => unreachable!("not a client's: {other:?}"),
        }
    }

    fn client_acts(&mut self, client: usize) {
        let here = self.place_of_client(client);
        let Some(host) = self.clients[client].target else {
            let hosts = self.hosts_of(self.clients[client].cluster);
            let host = hosts.start + self.rng.index(hosts.len());
            let to = self.place_of_host(host);
            return self.send(here, to, Target::Agent(host), What::WhoServes { client });
        };
        let write = self.number();
        let again = self.clients[client].again.take();
        let key = match again {
            Some(key) if self.rng.chance(500) => key,
            _ => write,
        };
        self.clients[client].pending = Some((write, key));
        let timeout = What::ClientTimeout { write };
        self.after(TIMEOUT_US, Target::Client(client), ANY_RUN, timeout);
        if !self.servers[host].powered {
            return;
        }
        let to = self.place_of_host(host);
        // One statement on one connection: never delivered twice.
        if let Some(us) = self.net.message_us(here, to, &mut self.rng) {
            let writer = Writer::Client { client, write };
            self.after(
                us,
                Target::Mysqld(host),
                ANY_RUN,
                What::Write { writer, key },
            );
        }
    }

    fn client_answered(&mut self, client: usize, write: u64, ok: bool) {
        let known = &mut self.clients[client];
        let Some((_, key)) = known.pending.filter(|(pending, _)| *pending == write) else {
            return;
        };
        known.pending = None;
        if ok {
            known.refused = 0;
            return;
        }
        known.again = Some(key);
        known.refused += 1;
        if !known.stays || known.refused > 30 {
            known.target = None;
        }
    }
}
