//! What a replica wrote itself and the log names common: it bars nobody, and stands in no need. The
//! primary comes to hold it too.
//!
//! The model does not tell harmless transactions from others: an errant one is no client's write.

use super::{Action, Config, Instance, Mistake, State, WriteId};

impl State {
    pub fn actions_of_commons(&self, config: &Config, actions: &mut Vec<Action>) {
        if !config.commons {
            return;
        }
        let (log, primary) = (&self.log, self.log.primary());
        let lawful = |write: &WriteId| {
            let origin = self.writes[usize::from(write.0)].origin;
            !log.ever_primary(origin) || config.makes(Mistake::CommonOfAPrimary)
        };
        for on in config.all().without(primary).iter() {
            let new = self.server(on).has.minus(log.common);
            let named = new.iter().filter(lawful);
            actions.extend(named.map(|write| Action::NameCommon { on, write }));
        }
        let server = self.server(primary);
        if server.up && server.open == Some(log.epoch) {
            let lacks = log.common.minus(server.has);
            let written = lacks
                .iter()
                .map(|write| Action::WriteCommon { on: primary, write });
            actions.extend(written);
        }
    }

    pub fn write_common(&mut self, on: Instance, write: WriteId) {
        let server = self.server_mut(on);
        server.has = server.has.with(write);
    }
}
