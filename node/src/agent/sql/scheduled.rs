//! What the executor does with a primary's scheduled events, beside every order.

use std::sync::Arc;
use std::time::Duration;

use primacy_core::act::{OpDone, OpError};
use primacy_core::record::{IDLE_MAX, Idle, TakeOver, TakenOver};

use super::super::sessions::{Errand, Sessions};
use super::super::words::{op_error, session_error};
use super::{STEP_LIMIT, Shared};
use crate::mysqld::scheduled;
use crate::mysqld::session::{Session, within};

/// Each of them is a commit that waits for its acknowledgement.
const ENABLE_LIMIT: Duration = Duration::from_secs(60);
/// A running scheduler stops within a millisecond.
const QUIET_LIMIT: Duration = Duration::from_millis(200);

impl Shared {
    /// The scheduler first: an event that is enabled while it is off is not missed for long.
    pub(super) async fn take_over(
        &self,
        sessions: &Sessions,
        take_over: TakeOver,
    ) -> Result<OpDone, OpError> {
        // Not one of those that are kept: it takes the variables of each event.
        let session = sessions.log_in(within(STEP_LIMIT)).await;
        let mut session = session.map_err(|error| session_error(&error))?;
        scheduled::set_scheduler(&mut session, take_over.runs, within(STEP_LIMIT))
            .await
            .map_err(|error| op_error(&error))?;
        let mut done = TakenOver::default();
        if let Some(but) = take_over.all_but {
            let enabled = scheduled::enable(
                &mut session,
                |name| but.contains(name),
                within(ENABLE_LIMIT),
            );
            let enabled = enabled.await.map_err(|error| op_error(&error))?;
            done.enabled = enabled.enabled.into_iter().collect();
            done.failed = enabled.failed;
        }
        session.close(within(STEP_LIMIT)).await;
        Ok(OpDone::ScheduledTakenOver(done))
    }

    pub(super) async fn look_at_scheduled(
        &self,
        sessions: &Arc<Sessions>,
    ) -> Result<OpDone, OpError> {
        let session = sessions.take(Errand::Other, within(STEP_LIMIT)).await;
        let mut session = session.map_err(|error| session_error(&error))?;
        let idle = scheduled::idle(&mut session, within(STEP_LIMIT)).await;
        session.done();
        let idle = idle.map_err(|error| session_error(&error))?;
        Ok(OpDone::ScheduledSeen(match idle.len() {
            0..=IDLE_MAX => Idle::Named(idle.into_iter().collect()),
            more => Idle::TooMany(u64::try_from(more).unwrap_or(u64::MAX)),
        }))
    }
}

/// A closed server's own events would be refused (1290), each time they are due. Only once it is
/// closed: a look must not take this for the cluster's wish. It is no part of the fence, and holds it
/// up for a moment at most; where it hangs, its session is ended by the next order.
pub(super) async fn quiet(session: &mut Session) {
    let off = scheduled::set_scheduler(session, false, within(QUIET_LIMIT)).await;
    if let Err(error) = off {
        tracing::info!("the event scheduler of a closed server is not off: {error}");
    }
}
