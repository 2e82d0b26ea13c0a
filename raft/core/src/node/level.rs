//! A node says which feature levels it knows; the leader raises the plane's when all know more.

use super::Node;
use crate::ids::Tick;
use crate::record::Command;

impl Node {
    pub(super) fn announce(&mut self, now: Tick) {
        let state = self.state.get();
        let (node, knows) = (self.id, self.settings.knows);
        let may = state.plane.is_some() && state.voters.contains_key(&node);
        if may && knows >= state.level && state.knows.get(&node) != Some(&knows) {
            let command = Command::Announce { node, knows };
            self.outbox.push(now, "announce".into(), command);
        }
    }

    pub(super) fn raise_level(&mut self, now: Tick) {
        let state = self.state.get();
        if let Some(to) = state.known_by_all()
            && to > state.level
            && state.plane.is_some()
        {
            self.outbox
                .push(now, "level".into(), Command::RaiseLevel { to });
        }
    }
}
