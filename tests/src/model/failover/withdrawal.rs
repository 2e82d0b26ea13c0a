//! A choice that is taken back: its primary stalls before it opens, and another one is chosen.
//!
//! The epoch is deposed like any other, on the agent's word Stuck in place of an inquest (here an
//! epoch may be deposed at any moment, so the word has no part in that). That word proves nothing:
//! the order to open may still be obeyed, and heard of by nobody. But a *fence's* answer may say that
//! this agent never began that order. Then nothing was acknowledged in the epoch, need is what it
//! was, and its primary is no former primary: it stays in V, frozen, and may be chosen again.

use super::{Action, Config, Epoch, Instance, Mistake, Set, State, WriteId};

impl State {
    /// It stalls, as far as it knows: it has not opened, and says so.
    pub fn actions_of_stalled(&self, config: &Config, actions: &mut Vec<Action>) {
        let primary = self.log.primary();
        let opened = self.openings.contains(&(self.log.epoch, primary));
        if config.stalls && !opened && !self.log.stuck && self.server(primary).up {
            actions.push(Action::SayStuck(primary));
        }
    }

    /// What a fence's answer says of the order to open. `began` is durable before the statement is
    /// sent; but the file of an agent that started since the choice may be an older one.
    pub fn never_began(&self, config: &Config, on: Instance, epoch: Epoch) -> bool {
        let server = self.server(on);
        let sure = server.started_in < epoch || config.makes(Mistake::RestartedSaysNeverBegan);
        sure && server.began != Some(epoch)
    }

    /// What the next primary must hold if this epoch is known never to have opened.
    pub fn need_if_unopened(&self, config: &Config) -> Option<Set<WriteId>> {
        let log = &self.log;
        let assumed = log.stuck
            && (config.makes(Mistake::StuckIsProof)
                || log.confirmed.is_some() && config.makes(Mistake::WithdrawnTakenForUnopened));
        (log.unopened || assumed).then(|| self.floor(config))
    }
}
