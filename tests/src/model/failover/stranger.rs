//! A replica that nobody registered: it has the replication account, switches semi-sync on itself,
//! and no agent stops it. The primary counts its acknowledgements like any other.
//!
//! It acknowledges only once it was seen: what nobody sees, nobody can count.

use super::plane::Log;
use super::server::Acknowledged;
use super::{Action, Config, Instance, Mistake, Set, State};

/// How often a stranger may attach: once to acknowledge, once more after it was cut.
const ATTACHMENTS_MAX: u8 = 2;

impl State {
    pub fn actions_of_strangers(&self, config: &Config, actions: &mut Vec<Action>) {
        let primary = self.log.primary();
        let serves = self.server(primary).open == Some(self.log.epoch);
        for on in config.every_server().minus(config.all()).iter() {
            match self.server(on).source {
                None if serves && self.used.attachments < ATTACHMENTS_MAX => {
                    actions.push(Action::Attach(on));
                }
                Some(source) if source == primary && serves => actions.push(Action::CutOff(on)),
                _ => {}
            }
        }
        if self.may_settle(config) {
            actions.push(Action::Forget);
        }
        if self.log.forgetting {
            actions.push(Action::Settle);
        }
    }

    /// Seen, and logged as of now: what was said earlier, and is not in the log yet, is overtaken.
    pub fn attach(&mut self, config: &Config, on: Instance) {
        self.used.attachments += 1;
        let primary = self.log.primary();
        let counted = self.log.strangers.contains(on);
        if !(counted && config.makes(Mistake::ReturnNotLogged)) {
            self.log.strangers = self.log.strangers.with(on);
            self.log.forgetting = false;
        }
        self.log.cut_after = None;
        let server = self.server_mut(on);
        server.source = Some(primary);
        server.acks = true;
    }

    /// Its session is killed, and with it what lay in the socket.
    pub fn cut_off(&mut self, on: Instance) {
        let server = self.server_mut(on);
        server.source = None;
        server.acks = false;
        for write in &mut self.writes {
            if let Acknowledged::Waiting { sent, .. } = &mut write.acknowledged {
                *sent = sent.without(on);
            }
        }
        self.log.cut_after = Some(self.writes.len() as u8);
    }

    /// A write begun after the cut is acknowledged: by V alone, which so holds all before it.
    fn may_settle(&self, config: &Config) -> bool {
        let (log, primary) = (&self.log, self.log.primary());
        let Some(cut_after) = log.cut_after else {
            return false;
        };
        let since = self.writes.get(usize::from(cut_after)..).unwrap_or(&[]);
        config.makes(Mistake::StrangerForgottenWhenCut)
            || since.iter().any(|write| {
                write.origin == primary
                    && write.epoch == log.epoch
                    && matches!(write.acknowledged, Acknowledged::Yes { .. })
            })
    }
}

impl Log {
    /// The agent counts it no longer, and says so.
    pub fn forget_strangers(&mut self) {
        self.cut_after = None;
        self.forgetting = true;
    }

    pub fn settle_strangers(&mut self) {
        self.strangers = Set::EMPTY;
        self.forgetting = false;
    }
}
