//! Last known: what a node read executed on the primary, and voted.
//!
//! It only adds to need, so it can lose nothing; but what is in need and held by nobody who survives
//! bars them all. So it counts only while what is executed there is on k of V too: from the moment
//! that they hold a marker of the epoch (before, it may hold what it brought along unacknowledged),
//! on good ground, and not on one that restarted (recovery commits what still waited) or was fenced.

use super::ground::Ground;
use super::server::Acknowledged;
use super::{Action, Config, Instance, Mistake, Set, State, WriteId};

impl State {
    pub fn actions_of_looking(&self, config: &Config, actions: &mut Vec<Action>) {
        let primary = self.log.primary();
        let news = !self.executed(primary).within(self.log.known);
        if config.looks && news && self.may_look(config, primary) {
            actions.push(Action::Look(primary));
        }
    }

    fn may_look(&self, config: &Config, primary: Instance) -> bool {
        let (log, server) = (&self.log, self.server(primary));
        let restarted = server.started_in >= log.epoch || server.open != Some(log.epoch);
        let marked = self.marker_is_held(0);
        server.up
            && log.ground == Ground::Good
            && (marked || config.makes(Mistake::KnownBeforeMarker))
            && (!restarted || config.makes(Mistake::KnownFromRestarted))
    }

    pub fn look(&mut self, primary: Instance) {
        self.log.known = self.log.known.union(self.executed(primary));
    }

    /// `gtid_executed`: a commit that still waits for its acknowledgements is not in it.
    fn executed(&self, on: Instance) -> Set<WriteId> {
        let waits = |write: &WriteId| {
            let write = self.writes[usize::from(write.0)];
            write.origin == on && matches!(write.acknowledged, Acknowledged::Waiting { .. })
        };
        let has = self.server(on).has;
        has.minus(has.iter().filter(waits).collect())
    }
}
