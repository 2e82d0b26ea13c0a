//! What people, their tools and other hosts do to a server: settings changed, a transaction manager
//! that recovers, another server at its address; and a host that never comes back.

use primacy_core::observe::{Pulse, Seen, SourceGround};

use super::fault::Fault;
use super::mysql::Writer;
use super::network::both_ways;
use super::planted::Planted;
use super::world::{ANY_RUN, Target, What, World, instance_name};

impl World {
    /// Whatever was on it is gone with it.
    pub(super) fn die_for_good(&mut self, host: usize) {
        if !self.faults.dead.is_empty() || self.faults.held.is_some() {
            return; // more than one is more than V and k are made for
        }
        self.faults.dead.insert(host);
        self.kill_agent(host);
        self.kill_server(host, true);
        self.servers[host].powered = false;
        if self.rng.chance(300) {
            // Its address is given to another one.
            self.faults.imposters.insert(host);
        }
    }

    /// The primary is cut off from its replicas, its agent stands still, and somebody who sees writes
    /// hang switches semi-sync off: what is answered then is nowhere else when its host is lost. The
    /// nodes have the time to see it.
    pub(super) fn weaken_and_lose(&mut self, primary: usize) {
        let here = self.place_of_host(primary);
        let others = (0..self.members).filter(|host| *host != primary);
        let ways = both_ways(here, others.map(|host| self.place_of_host(host)));
        self.strike(Fault::Cut(ways), 0, 6_000_000);
        self.strike(Fault::Pause(vec![Target::Agent(primary)]), 0, 2_400_000);
        self.strike(Fault::SemiSyncOff, 50_000, 1);
        let lost = Fault::power(primary);
        let lasts = self.rng.between(6_000_000, 12_000_000);
        // Now and then so soon that the last good look is not old.
        let lost_us = if self.rng.chance(500) {
            self.rng.between(400_000, 900_000)
        } else {
            2_500_000
        };
        self.strike(lost, lost_us, lasts);
    }

    /// Every node stands still while the primary's agent still speaks, and longer; it is lost just
    /// before they go on. What lies in their sockets is not of now: nobody looked at what the primary
    /// answered since.
    pub(super) fn stand_still_and_lose(&mut self, primary: usize) {
        let nodes = (0..self.nodes.len()).map(Target::Node).collect();
        let us = self.rng.between(2_500_000, 4_000_000);
        self.strike(Fault::Pause(nodes), 0, us);
        let agent = Fault::Pause(vec![Target::Agent(primary)]);
        let speaks_us = self.rng.between(150_000, 600_000);
        self.strike(agent, speaks_us, us);
        let lost = Fault::power(primary);
        let lasts = self.rng.between(6_000_000, 12_000_000);
        self.strike(lost, us - 50_000, lasts);
    }

    /// No node sees the primary, and every agent sleeps meanwhile: what the ackers' agents tell first
    /// when they go on is of before that, and the primary was there all the while.
    pub(super) fn sleep_unseen(&mut self, primary: usize) {
        let ways = self.ways_to_nodes(&[self.place_of_host(primary)]);
        let us = self.rng.between(2_500_000, 4_000_000);
        self.strike(Fault::AgentsAsleep, 0, us);
        self.strike(Fault::Cut(ways), 0, us + 1_000_000);
    }

    /// The host that takes writes, if one does.
    fn open_host(&self) -> Option<usize> {
        (0..self.members).find(|host| {
            let server = &self.servers[*host];
            server.gate.runs() && server.opened.is_some() && !server.fenced()
        })
    }

    pub(super) fn switch_scheduler_on(&mut self) {
        if let Some(host) = self.open_host() {
            self.servers[host].scheduler = true;
        }
    }

    /// Off; on again after so long, if whoever does it thinks better of it.
    pub(super) fn switch_semi_sync(&mut self, back_us: Option<u64>) {
        let serving = self.shop().and_then(|shop| Some(shop.serving()?.1.clone()));
        let host = self.open_host();
        let Some(host) = host.filter(|host| serving == Some(instance_name(*host))) else {
            return;
        };
        self.switch_off(host, back_us);
        if back_us.is_some() {
            // Whoever does it once does it again.
            for _ in 0..self.rng.below(5) {
                let us = self.rng.between(80_000, 900_000);
                let back_us = self.rng.between(5_000, 80_000);
                let run = self.servers[host].gate.run;
                self.after(us, Target::Mysqld(host), run, What::SemiSyncOff { back_us });
            }
        }
    }

    pub(super) fn switch_off(&mut self, host: usize, back_us: Option<u64>) {
        let now = self.now;
        let server = &mut self.servers[host];
        if !server.semi_source || server.fenced() {
            return;
        }
        server.semi_source = false;
        server.no_times += 1;
        server.off_at = Some(now);
        let run = server.gate.run;
        self.answer_all_alone(host);
        if let Some(us) = back_us {
            self.after(us, Target::Mysqld(host), run, What::SemiSyncOn);
        }
    }

    /// A transaction manager has prepared a branch on the open primary; it commits it there, when it
    /// comes round to it, whatever has become of that server.
    pub(super) fn recover_xa(&mut self) {
        let Some(host) = self.open_host() else { return };
        let key = self.number();
        for _ in 0..8 {
            let us = self.rng.between(200_000, 8_000_000);
            self.after(us, Target::Mysqld(host), ANY_RUN, What::XaCommit { key });
        }
        // What makes it recover is mostly the loss of that server: it comes back when its agent starts
        // it, deposed by then.
        if self.rng.chance(500) {
            let us = self.rng.between(50_000, 400_000);
            self.strike(Fault::KillServer(host), us, 1);
            for _ in 0..8 {
                let us = self.rng.between(8_000_000, 16_000_000);
                self.after(us, Target::Mysqld(host), ANY_RUN, What::XaCommit { key });
            }
        }
    }

    /// `XA COMMIT` passes super_read_only, and nothing passes offline_mode.
    pub(super) fn xa_commit(&mut self, host: usize, key: u64) {
        let server = &self.servers[host];
        if server.offline || server.conflicts(key) || server.fencing() {
            return;
        }
        let writer = Writer::Xa;
        let us = self.rng.between(100, 1_000);
        let run = self.servers[host].gate.run;
        self.after(us, Target::Mysqld(host), run, What::Commit { writer, key });
    }

    /// What stands at the address of a server that is gone answers like one that serves.
    pub(super) fn imposter_answers(&mut self, host: usize, node: usize, probe: u64) -> bool {
        if !self.faults.imposters.contains(&host) {
            return false;
        }
        let own = self.servers[host].uuid;
        let believed = self.options.planted == Some(Planted::AnyServerCounts);
        let seen = Seen {
            server_uuid: if believed {
                own
            } else {
                self.servers[self.members].uuid
            },
            executed: Default::default(),
            ground: Some(SourceGround::ordered(self.servers[host].k)),
        };
        let pulse = Pulse::Answered { fenced: false };
        self.answer_probe(host, node, probe, pulse, Some(seen));
        true
    }
}
