//! A prepared branch: XA COMMIT passes `super_read_only`.
//!
//! An application prepared it on the first primary, and so on every replica; its transaction manager
//! commits it wherever it is let in, after a crash as well. So a server is closed by *both* switches,
//! `super_read_only` and `offline_mode`, at boot too; and where branches are in use a replica stays
//! offline, since there the branch would be committed with a GTID of its own.
//!
//! A fence sets one switch after the other, and between the two the branch may still be committed.
//! It answers when both are set.

use super::ground::SemiSync;
use super::server::{Acknowledged, Write};
use super::{Action, Config, Instance, Mistake, Set, State, WriteId};

impl State {
    /// Where the branch is committed though the server takes no other writes. (On an open primary
    /// it is a write like any other.)
    pub fn actions_of_branches(&self, config: &Config, actions: &mut Vec<Action>) {
        let write = WriteId(self.writes.len() as u8);
        let left = config.branches && !self.used.branch;
        for on in config.all().iter().filter(|_| left) {
            let server = self.server(on);
            if server.up && server.open.is_none() && !server.offline {
                actions.push(Action::CommitBranch { on, write });
            }
        }
    }

    /// Semi-sync is on where the server has been open since it booted; elsewhere nobody is asked.
    pub fn commit_branch(&mut self, on: Instance, write: WriteId) {
        self.used.branch = true;
        let server = self.server_mut(on);
        server.has = server.has.with(write);
        let (epoch, alone) = (server.token.epoch, server.semi_sync != SemiSync::On);
        self.writes.push(Write {
            origin: on,
            epoch,
            acknowledged: Acknowledged::Waiting {
                sent: Set::EMPTY,
                counted: Set::EMPTY,
            },
        });
        if alone {
            self.tell_client(write, true);
        }
    }

    /// The first of a fence's two steps, where it is yet to be taken: what is open takes no more
    /// writes, but for a branch.
    pub fn sets_read_only_first(&mut self, config: &Config, on: Instance) -> bool {
        let server = self.server_mut(on);
        let both = server.open.is_some() && !config.makes(Mistake::FencedByReadOnlyAlone);
        if config.branches && both {
            server.open = None;
        }
        config.branches && both
    }
}
