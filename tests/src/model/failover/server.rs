//! `mysqld`: what an instance holds, whom it follows, and what its clients were told.

use super::disk::OnDisk;
use super::ground::SemiSync;
use super::memory::Memory;
use super::{Action, Config, Epoch, Instance, Log, Mistake, Set, State, Token, WriteId};

/// What the client of one write knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acknowledged {
    /// It waits. `sent` are acknowledgements on their way, `counted` those that arrived.
    Waiting {
        sent: Set<Instance>,
        counted: Set<Instance>,
    },
    /// It was told OK; `after` is the lowest higher epoch that was open by then.
    /// `alone`: semi-sync was off, nobody but the primary answered.
    Yes { after: Option<Epoch>, alone: bool },
    /// Its session was cut: nobody will be told OK, and nobody was told that it failed.
    Never,
    /// No client waits: someone wrote it on a replica, past the plane.
    Errant,
}

/// One transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// The instance whose `server_uuid` it bears.
    pub origin: Instance,
    pub epoch: Epoch,
    pub acknowledged: Acknowledged,
}

/// One instance. The lower half is the agent's file, fsynced before the agent acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Executed and received together: its applier catches up before it ever opens.
    pub has: Set<WriteId>,
    pub up: bool,
    /// The epoch for which it takes writes.
    pub open: Option<Epoch>,
    /// k: how many acknowledgements a commit waits for.
    pub wait_for: u8,
    /// What another received from it, and so what it has applied; kept where relay logs are lost.
    pub passed_on: Set<WriteId>,
    /// What it received from a donor while it was frozen, and so never acknowledged. For law U.
    pub fetched: Set<WriteId>,
    /// The agent has read the log since it started.
    pub has_read: bool,
    /// As a source; OFF after every boot.
    pub semi_sync: SemiSync,
    /// `offline_mode`; ON after every boot. The other switch is set wherever it is not open.
    pub offline: bool,
    /// Whom its IO thread reads from, while it runs.
    pub source: Option<Instance>,
    /// `rpl_semi_sync_replica_enabled`; OFF after every boot.
    pub acks: bool,
    /// The undeposed epoch that a linearizable read confirmed, not yet acted upon.
    pub permit: Option<Epoch>,

    /// What its file says instead of the next two, where it could not be written since.
    pub on_disk: Option<OnDisk>,
    pub token: Token,
    /// Frozen or fenced: opens, and follows a primary, only for an epoch above this one.
    pub bound: Option<Epoch>,
    /// All that it reported since it last followed anyone: what others were compared with.
    pub reported: Set<WriteId>,
    /// The epoch that it last began to open for; durable before the statement.
    pub began: Option<Epoch>,
    /// The epoch of the log when the agent started.
    pub started_in: Epoch,
    pub memory: Memory,
}

impl Server {
    /// A server that was brought up before the model's first step.
    pub fn at_start(instance: Instance, log: &Log, config: &Config) -> Self {
        let closed = Self {
            has: Set::EMPTY,
            up: true,
            open: None,
            wait_for: 0,
            passed_on: Set::EMPTY,
            fetched: Set::EMPTY,
            has_read: true,
            semi_sync: SemiSync::Off,
            offline: true,
            source: None,
            acks: false,
            permit: None,
            on_disk: None,
            token: Token::default(),
            bound: None,
            reported: Set::EMPTY,
            began: None,
            started_in: Epoch::UNFOUNDED,
            memory: Memory::NONE,
        };
        if config.founding {
            // Two servers were left writable, as happens; the others are fenced already.
            let open = (instance.0 < 2).then_some(Epoch::UNFOUNDED);
            let offline = open.is_none();
            Self {
                open,
                offline,
                ..closed
            }
        } else if instance.0 >= config.instances {
            closed
        } else if instance == log.primary() {
            let token = Token::of_opening(log.epoch);
            Self {
                open: Some(log.epoch),
                semi_sync: SemiSync::On,
                offline: false,
                began: Some(log.epoch),
                wait_for: log.wait_for,
                token,
                ..closed
            }
        } else {
            let primary = log.primary();
            let acks = log.ackers.contains(instance);
            let token = Token::of_opening(log.epoch);
            Self {
                source: Some(primary),
                acks,
                offline: !config.makes(Mistake::FollowersOnline),
                memory: Memory::of(primary, log.epoch),
                token,
                ..closed
            }
        }
    }
}

impl State {
    pub fn actions_of_servers(&self, config: &Config, actions: &mut Vec<Action>) {
        let next = WriteId(self.writes.len() as u8);
        let beyond = self.used.errants + u8::from(self.used.branch);
        let may_write = next.0 < config.writes_max + beyond;
        self.actions_of_branches(config, actions);

        for on in config.every_server().iter() {
            let server = self.server(on);
            if !config.all().contains(on) {
                let next = self.next_to_receive(on);
                actions.extend(next.map(|write| Action::Receive { on, write }));
                continue;
            }
            if !server.up {
                actions.push(Action::Restart(on));
                continue;
            }
            if server.open.is_some() && may_write {
                actions.push(Action::Write { on, write: next });
            }
            if let Some(write) = self.next_to_receive(on) {
                actions.push(Action::Receive { on, write });
            }
            if self.used.crashes < config.crashes_max {
                actions.push(Action::Crash(on));
            }
            if self.used.errants < config.errants_max && server.open.is_none() {
                actions.push(Action::WriteErrant { on, write: next });
            }
            if config.reopens && self.may_ask_to_reopen(on) {
                actions.push(Action::AskToReopen(on));
            }
            if self.may_reopen(on) {
                actions.push(Action::Reopen(on));
            }
            if config.repairs && self.may_repair(config, on) {
                actions.push(Action::Repair(on));
            }
            if self.used.relay_losses < config.relay_losses_max
                && let Some(write) = self.last_relayed(on)
            {
                actions.push(Action::LoseRelayLog { on, write });
            }
        }
        for (number, write) in self.writes.iter().enumerate() {
            if let Acknowledged::Waiting { sent, .. } = write.acknowledged {
                let write = WriteId(number as u8);
                actions.extend(sent.iter().map(|by| Action::Acknowledge { write, by }));
            }
        }
    }

    /// A binlog is read in order, so the lowest write that is missing comes next.
    fn next_to_receive(&self, on: Instance) -> Option<WriteId> {
        let server = self.server(on);
        let source = self.server(server.source?);
        if !source.up {
            return None;
        }
        source.has.minus(server.has).iter().next()
    }

    pub fn write(&mut self, on: Instance, write: WriteId) {
        let server = self.server_mut(on);
        let epoch = server.open.expect("only an open server takes writes");
        let waits = server.wait_for > 0 && server.semi_sync == SemiSync::On;
        server.has = server.has.with(write);
        let acknowledged = Acknowledged::Waiting {
            sent: Set::EMPTY,
            counted: Set::EMPTY,
        };
        self.writes.push(Write {
            origin: on,
            epoch,
            acknowledged,
        });
        if !waits {
            self.tell_client(write, true);
        }
    }

    pub fn write_errant(&mut self, on: Instance, write: WriteId) {
        self.used.errants += 1;
        let server = self.server_mut(on);
        server.has = server.has.with(write);
        let acknowledged = Acknowledged::Errant;
        self.writes.push(Write {
            origin: on,
            epoch: Epoch::UNFOUNDED,
            acknowledged,
        });
    }

    pub fn receive(&mut self, config: &Config, on: Instance, write: WriteId) {
        let server = self.server_mut(on);
        server.has = server.has.with(write);
        let (acks, source) = (server.acks, server.source);
        if let Some(source) = source
            && config.relay_losses_max > 0
        {
            let passed_on = &mut self.server_mut(source).passed_on;
            *passed_on = passed_on.with(write);
        }
        let server = self.server_mut(on);
        if source != server.memory.follows.map(|(of, _)| of) {
            server.fetched = server.fetched.with(write);
        }
        if acks {
            self.send_acknowledgements(on, source, write);
        }
    }

    /// An acknowledgement names a position in the source's binary log, and so stands for all that it
    /// wrote before.
    fn send_acknowledgements(&mut self, by: Instance, source: Option<Instance>, last: WriteId) {
        for written in &mut self.writes[..=usize::from(last.0)] {
            if source == Some(written.origin)
                && let Acknowledged::Waiting { sent, counted } = &mut written.acknowledged
                && !counted.contains(by)
            {
                *sent = sent.with(by);
            }
        }
    }

    /// The primary counts whoever acknowledges: semi-sync has no list of who may.
    pub fn acknowledge(&mut self, write: WriteId, by: Instance) {
        let written = &mut self.writes[usize::from(write.0)];
        let Acknowledged::Waiting { sent, counted } = &mut written.acknowledged else {
            return;
        };
        *sent = sent.without(by);
        *counted = counted.with(by);
        let (origin, count) = (written.origin, counted.len());
        if count >= self.server(origin).wait_for {
            self.tell_client(write, false);
        }
    }

    pub fn tell_client(&mut self, write: WriteId, alone: bool) {
        let written = &mut self.writes[usize::from(write.0)];
        let above = |(epoch, _): &&(Epoch, Instance)| *epoch > written.epoch;
        let after = self.openings.iter().find(above).map(|(epoch, _)| *epoch);
        written.acknowledged = Acknowledged::Yes { after, alone };
    }

    /// Stops taking writes, and cuts the sessions that still wait for an answer.
    pub fn close(&mut self, on: Instance) {
        self.server_mut(on).open = None;
        for write in &mut self.writes {
            if write.origin == on && matches!(write.acknowledged, Acknowledged::Waiting { .. }) {
                write.acknowledged = Acknowledged::Never;
            }
        }
    }

    pub fn crash(&mut self, config: &Config, on: Instance) {
        self.used.crashes += 1;
        self.close(on);
        let server = self.server_mut(on);
        server.up = false;
        server.source = None;
        server.acks = false;
        server.permit = None;
        server.offline = !config.makes(Mistake::BootedByReadOnlyAlone);
        server.semi_sync = SemiSync::Off;
        server.began = None; // the file that it starts from may be an older one
        self.read_file(config, on);
    }

    pub fn restart(&mut self, on: Instance) {
        let epoch = self.log.epoch;
        let server = self.server_mut(on);
        server.up = true;
        server.started_in = epoch;
    }

    /// A linearizable read: the epoch stands, this is its primary, k of V hold what it has.
    fn may_ask_to_reopen(&self, on: Instance) -> bool {
        let server = self.server(on);
        if self.log.deposed
            || server.open.is_some()
            || server.permit.is_some()
            || !self.openings.contains(&(self.log.epoch, on))
        {
            return false;
        }
        let holds = |acker: &Instance| server.has.within(self.server(*acker).has);
        self.log.ackers.iter().filter(holds).count() as u8 >= self.log.wait_for
    }

    /// The read above may be long past by the time the agent acts: what binds is its own file.
    fn may_reopen(&self, on: Instance) -> bool {
        let server = self.server(on);
        server.permit.is_some_and(|epoch| {
            server.bound.is_none_or(|bound| bound < epoch) && server.token.epoch <= epoch
        })
    }

    pub fn reopen(&mut self, on: Instance) {
        let server = self.server_mut(on);
        server.open = server.permit.take();
        server.offline = false;
        server.semi_sync = SemiSync::On;
        server.source = None;
        server.memory = Memory::NONE;
    }

    fn may_repair(&self, config: &Config, on: Instance) -> bool {
        let server = self.server(on);
        let Some((_, epoch)) = server.memory.follows else {
            return false;
        };
        let frozen = server.bound.is_some_and(|bound| bound >= epoch);
        server.open.is_none()
            && server.source.is_none()
            && server.has_read
            && (!frozen || config.makes(Mistake::FreezeUndoneByRepair))
    }

    pub fn repair(&mut self, on: Instance) {
        let server = self.server_mut(on);
        server.source = server.memory.follows.map(|(source, _)| source);
    }

    /// The last transaction that this replica has, if it may not have applied it. (Who ever opened
    /// had applied what it held.)
    fn last_relayed(&self, on: Instance) -> Option<WriteId> {
        let opened = self.openings.iter().any(|(_, who)| *who == on);
        let server = self.server(on);
        let last = server.has.iter().last()?;
        let relayed = self.writes[usize::from(last.0)].origin != on;
        (relayed && !opened && !server.passed_on.contains(last)).then_some(last)
    }

    /// What a replica loses after its first report, the report has told; what it loses before, its
    /// agent must notice, and not count as remembered.
    pub fn lose_relay_log(&mut self, on: Instance, write: WriteId) {
        self.used.relay_losses += 1;
        let told = self.log.report(on).is_some();
        let server = self.server_mut(on);
        server.has = server.has.without(write);
        if !told {
            server.memory.break_off();
        }
    }
}
