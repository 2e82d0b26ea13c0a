//! Whether anything arrives at this replica, where MySQL shows no progress.

use std::time::Duration;

use primacy_core::act::Survey;
use primacy_core::observe::IoThread;
use tokio::time::Instant;

use super::{Shared, lock};
use crate::mysqld::traffic;

/// An idle source sends a heartbeat within this, by default.
const QUIET: Duration = Duration::from_millis(600);

/// Since when heartbeats and position have stood still.
#[derive(Debug, Default)]
pub(super) struct Quiet(Option<(Mark, Instant)>);

type Mark = (u64, (String, u64));

impl Quiet {
    /// A look; whether nothing has moved for long.
    fn look(&mut self, survey: &Survey) -> bool {
        let mark = (survey.heartbeats, survey.read_position.clone());
        match &self.0 {
            Some((last, since)) if *last == mark => since.elapsed() > QUIET,
            _ => {
                self.0 = Some((mark, Instant::now()));
                false
            }
        }
    }
}

impl Shared {
    /// The bytes on the connection of a receiver that waits and seems to hear nothing. Asked only then:
    /// the kernel walks all its connections for it.
    pub(super) async fn receiver_bytes(&self, survey: &Survey) -> Option<u64> {
        let quiet = lock(&self.quiet).look(survey);
        let waits = survey.io == IoThread::On && survey.receiver_waits;
        let (_, port) = survey.source.clone().filter(|_| quiet && waits)?;
        let tablespace = self.tablespace.clone();
        // Who may not see another user's descriptors does not know; then only a receiver that tries to
        // connect is one that waits in vain.
        let asked = tokio::task::spawn_blocking(move || traffic::received_by(&tablespace, port));
        asked.await.ok()?.ok().flatten()
    }
}
