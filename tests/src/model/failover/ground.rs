//! The ground that the proofs stand on, and what is claimed of it.
//!
//! Someone switches semi-sync off on an open primary: whatever waits is answered, and so is each
//! write from there on, by nobody but the primary. Its agent puts the variable back; the *status*
//! follows later, and until it does writes are answered alone as before. A choice claims that
//! nothing is lost only if the ground was good: from the look that sees it broken until k of V hold
//! a marker begun after the status read ON again, it claims nothing. Then they hold all that was
//! written before the marker, whoever answered it.
//!
//! The look and the breaking are one step here: how long a look may be overdue is not modelled.

use super::plane::Log;
use super::server::Acknowledged;
use super::{Action, Config, Epoch, Instance, Mistake, State, WriteId};

/// `rpl_semi_sync_source_enabled` and its status, on a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SemiSync {
    On,
    Off,
    /// The variable is back, the status is not: writes are answered alone.
    Enabled,
}

/// What the log knows of the ground of its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ground {
    Good,
    Broken,
    /// The variable is back, since so many writes.
    PutBack(u8),
    /// The status reads ON, since so many writes: what V holds of later ones will tell.
    Restored(u8),
}

impl State {
    pub fn actions_of_ground(&self, config: &Config, actions: &mut Vec<Action>) {
        let (log, primary) = (&self.log, self.log.primary());
        let server = self.server(primary);
        if server.open != Some(log.epoch) {
            return;
        }
        match server.semi_sync {
            SemiSync::On if self.used.switches < config.switches_max => {
                actions.push(Action::SwitchOff(primary));
            }
            SemiSync::On => {}
            SemiSync::Off => actions.push(Action::PutBack(primary)),
            SemiSync::Enabled => actions.push(Action::StatusOn(primary)),
        }
        if self.may_claim_again(config) {
            actions.push(Action::ClaimAgain);
        }
    }

    /// Switched off, and seen: who waits is answered.
    pub fn switch_off(&mut self, on: Instance) {
        self.used.switches += 1;
        self.server_mut(on).semi_sync = SemiSync::Off;
        for number in 0..self.writes.len() as u8 {
            let write = self.writes[usize::from(number)];
            if write.origin == on && matches!(write.acknowledged, Acknowledged::Waiting { .. }) {
                self.tell_client(WriteId(number), true);
            }
        }
        self.log.ground = Ground::Broken;
    }

    pub fn put_back(&mut self, config: &Config, on: Instance) {
        self.server_mut(on).semi_sync = SemiSync::Enabled;
        self.log.ground = if config.makes(Mistake::ZeroOncePutBack) {
            Ground::Good
        } else {
            Ground::PutBack(self.writes.len() as u8)
        };
    }

    pub fn status_on(&mut self, on: Instance) {
        self.server_mut(on).semi_sync = SemiSync::On;
        if self.log.ground != Ground::Good {
            self.log.ground = Ground::Restored(self.writes.len() as u8);
        }
    }

    fn may_claim_again(&self, config: &Config) -> bool {
        match self.log.ground {
            Ground::Good | Ground::Broken => false,
            Ground::PutBack(since) => {
                config.makes(Mistake::ZeroOnceAnswered) && self.marker_is_answered(since)
            }
            Ground::Restored(since) => self.marker_is_held(since),
        }
    }

    fn markers(&self, since: u8) -> impl Iterator<Item = WriteId> {
        let (primary, epoch) = (self.log.primary(), self.log.epoch);
        (since..self.writes.len() as u8)
            .map(WriteId)
            .filter(move |write| {
                let write = self.writes[usize::from(write.0)];
                write.origin == primary && write.epoch == epoch
            })
    }

    /// k of V hold a write that this primary began after so many, by the word of their agents; and
    /// with it all that came before it.
    pub fn marker_is_held(&self, since: u8) -> bool {
        self.markers(since).any(|marker| {
            let holds = |member: &Instance| self.server(*member).has.contains(marker);
            self.log.ackers.iter().filter(holds).count() as u8 >= self.log.wait_for
        })
    }

    /// A mistake: whoever answered it proves nothing.
    pub fn marker_is_answered(&self, since: u8) -> bool {
        self.markers(since).any(|marker| {
            let answered = self.writes[usize::from(marker.0)].acknowledged;
            matches!(answered, Acknowledged::Yes { .. })
        })
    }
}

impl Log {
    /// Every choice after epoch `from`, up to the one for `to`, claimed that nothing is lost.
    pub fn claimed_zero(&self, from: Epoch, to: Epoch) -> bool {
        let terms = &self.terms[usize::from(from.0)..usize::from(to.0)];
        terms.iter().all(|term| term.claims_zero)
    }

    /// What a choice claims: that nothing acknowledged is missing. Whoever is reinstated holds all
    /// that it answered, also what it answered alone.
    pub fn claims_zero(&self, chosen: Instance) -> bool {
        self.ground == Ground::Good || chosen == self.primary()
    }

    /// The ground on which a chosen primary opens. One that is reinstated brings along what nobody
    /// else may hold.
    pub fn ground_after(&self, config: &Config, chosen: Instance, writes: u8) -> Ground {
        let clean = self.ground == Ground::Good || config.makes(Mistake::ReinstatedOnGoodGround);
        if chosen == self.primary() && !clean {
            Ground::Restored(writes)
        } else {
            Ground::Good
        }
    }
}
