//! A replica that nobody registered: it has the replication account, switches semi-sync on itself,
//! and no agent stops it. The primary counts its acknowledgements like any other.
//!
//! Where it names itself, it is known again; where it does not, each of its connections is one more.
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
        if config.nameless {
            self.log.nameless += u8::from(!config.makes(Mistake::NamelessNotCounted));
            self.log.forgetting = false;
        } else {
            let counted = self.log.strangers.contains(on);
            if !(counted && config.makes(Mistake::ReturnNotLogged)) {
                self.log.strangers = self.log.strangers.with(on);
                self.log.forgetting = false;
            }
        }
        self.log.cut_after = None;
        let server = self.server_mut(on);
        server.source = Some(primary);
        server.acks = true;
    }

    /// Who attached under an epoch before is counted in none after it: an order to open cuts first.
    pub fn cut_strangers(&mut self, config: &Config, on: Instance) {
        for stranger in config.every_server().minus(config.all()).iter() {
            if self.server(stranger).source == Some(on) {
                self.detach(stranger);
            }
        }
    }

    /// Its session is killed, and with it what lay in the socket.
    fn detach(&mut self, on: Instance) {
        let server = self.server_mut(on);
        server.source = None;
        server.acks = false;
        for write in &mut self.writes {
            if let Acknowledged::Waiting { sent, .. } = &mut write.acknowledged {
                *sent = sent.without(on);
            }
        }
    }

    pub fn cut_off(&mut self, on: Instance) {
        self.detach(on);
        self.log.cut_after = Some(self.writes.len() as u8);
    }

    /// k of V hold a write begun after the cut, and so all before it.
    fn may_settle(&self, config: &Config) -> bool {
        let Some(cut_after) = self.log.cut_after else {
            return false;
        };
        config.makes(Mistake::StrangerForgottenWhenCut)
            || self.marker_is_held(cut_after)
            || config.makes(Mistake::StrangerForgottenByAnswer)
                && self.marker_is_answered(cut_after)
    }
}

impl Log {
    /// How many strangers count as members of V that nobody froze.
    pub fn strangers_counted(&self) -> u8 {
        self.strangers.len() + self.nameless
    }

    /// The agent counts it no longer, and says so.
    pub fn forget_strangers(&mut self) {
        self.cut_after = None;
        self.forgetting = true;
    }

    pub fn settle_strangers(&mut self) {
        self.strangers = Set::EMPTY;
        self.nameless = 0;
        self.forgetting = false;
    }
}
