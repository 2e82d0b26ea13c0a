//! The local probe: whether the agent's own `mysqld` answers at this moment. A statement of its own
//! on a session of its own, never behind a survey.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use primacy_core::ids::Tick;

use super::sessions::Sessions;
use crate::clock;
use crate::mysqld::ops::local_probe;
use crate::mysqld::session::{Session, SessionError, within};

/// Between the beginnings of two probes.
pub(super) const EVERY: Duration = Duration::from_millis(100);
/// Probes that may wait for their answers beside each other.
pub(super) const AT_ONCE: usize = 5;
/// One that takes longer is no answer of now.
const LIMIT: Duration = Duration::from_millis(500);

/// When the newest answered probe began.
#[derive(Debug, Default)]
pub(super) struct Answered(AtomicU64);

impl Answered {
    /// A statement that was begun at `begun` was answered.
    pub fn note(&self, begun: Tick) {
        self.0.fetch_max(begun.0, Ordering::AcqRel);
    }

    /// The server is another one.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// None has been answered in this run of the server.
    pub fn at(&self) -> Option<Tick> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            begun => Some(Tick(begun)),
        }
    }
}

/// One probe; the session is kept where it can be asked again.
pub(super) async fn probe(
    sessions: &Sessions,
    kept: &mut Option<Session>,
) -> Result<Tick, SessionError> {
    let deadline = within(LIMIT);
    let mut session = match kept.take() {
        Some(session) => session,
        None => sessions.log_in(deadline).await?,
    };
    // Not before: a login is no probe of what already stood.
    let begun = clock::now();
    let answer = local_probe(&mut session, deadline).await;
    if session.is_usable() {
        *kept = Some(session);
    }
    answer.map(|()| begun)
}
