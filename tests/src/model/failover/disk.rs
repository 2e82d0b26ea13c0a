//! An agent whose file cannot be written: it can still move toward closed.
//!
//! It stops the thread, says so, and says that nothing was written. While it runs it keeps to that;
//! once it has started again it knows nothing of it. Such a freeze counts in no F.
//!
//! With a linearizable read after each start (`reads_at_start`), before which it obeys nothing that
//! opens and starts no thread, it learns at least which epochs are deposed, and no freeze was ever
//! ordered for another. Then even a freeze that nobody wrote down could count: `runs` tries it.

use super::agent::{Deed, Order, Token};
use super::{Action, Config, Epoch, Instance, Mistake, State};

/// What is on disk of an agent that could not write since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OnDisk {
    pub token: Token,
    bound: Option<Epoch>,
}

impl State {
    pub fn actions_of_disks(&self, config: &Config, actions: &mut Vec<Action>) {
        if self.used.disk_failures < config.disk_failures_max {
            let freezes = |order: &&Order| {
                matches!(order.deed, Deed::Freeze { .. }) && self.server(order.to).up
            };
            let orders = self.orders.iter().filter(freezes);
            actions.extend(orders.copied().map(Action::ObeyUnwritten));
        }
        if config.reads_at_start {
            let unread = |on: &Instance| self.server(*on).up && !self.server(*on).has_read;
            actions.extend(config.all().iter().filter(unread).map(Action::ReadLog));
        }
    }

    /// Obeys, but for its file.
    pub fn obey_unwritten(&mut self, config: &Config, order: Order) {
        self.used.disk_failures += 1;
        let server = self.server_mut(order.to);
        let (token, bound) = (server.token, server.bound);
        let before = OnDisk { token, bound };
        server.on_disk = server.on_disk.or(Some(before));
        self.obey(config, order);
    }

    /// What the agent knows is on its disk by now.
    pub fn write_file(&mut self, on: Instance) {
        self.server_mut(on).on_disk = None;
    }

    /// The agent starts from its file, which may be behind.
    pub fn read_file(&mut self, config: &Config, on: Instance) {
        let server = self.server_mut(on);
        if let Some(OnDisk { token, bound }) = server.on_disk.take() {
            server.token = token;
            server.bound = bound;
        }
        if config.makes(Mistake::TokenNotPersisted) {
            server.token = Token::default();
            server.bound = None;
        }
        server.has_read = !config.reads_at_start;
    }

    /// The linearizable read: it starts nothing toward an epoch that is over.
    pub fn read_log(&mut self, on: Instance) {
        let over = if self.log.deposed {
            self.log.epoch
        } else {
            Epoch(self.log.epoch.0.saturating_sub(1))
        };
        let server = self.server_mut(on);
        server.bound = server.bound.max(Some(over));
        server.has_read = true;
    }
}
