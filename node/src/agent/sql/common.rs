//! What the executor does about transactions that a replica wrote itself: looks into them there, and
//! writes those that are named common on the primary.

use std::sync::Arc;
use std::time::Duration;

use primacy_core::act::{OpDone, OpError};
use primacy_core::gtid::GtidSet;

use super::super::sessions::{Errand, Sessions};
use super::super::words::{op_error, session_error};
use super::{STEP_LIMIT, Shared};
use crate::mysqld::session::within;
use crate::mysqld::{marker, written};

/// A log of a gigabyte is read in some seconds.
const READ_LIMIT: Duration = Duration::from_secs(120);
/// Each waits for its acknowledgement, as a marker does.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

impl Shared {
    /// Beside everything else, on a session that is not kept: it may take its time.
    pub(super) async fn look_into(
        &self,
        sessions: &Sessions,
        set: GtidSet,
    ) -> Result<OpDone, OpError> {
        let session = sessions.log_in(within(STEP_LIMIT)).await;
        let mut session = session.map_err(|error| session_error(&error))?;
        let found = written::look_into(&mut session, &set, within(READ_LIMIT)).await;
        let found = found.map_err(|error| op_error(&error))?;
        session.close(within(STEP_LIMIT)).await;
        Ok(OpDone::LookedInto {
            known: set.subtract(&found.unfinished),
            harmless: found.harmless,
            first: found.first,
        })
    }

    /// As a marker is written: where it hangs it is in nobody's way, and a fence ends it.
    pub(super) async fn write_empty(
        &self,
        sessions: &Arc<Sessions>,
        set: &GtidSet,
    ) -> Result<OpDone, OpError> {
        let session = sessions.take(Errand::Marker, within(STEP_LIMIT)).await;
        let mut session = session.map_err(|error| session_error(&error))?;
        marker::write_empty(&mut session, set, within(WRITE_LIMIT))
            .await
            .map_err(|error| op_error(&error))?;
        session.done();
        Ok(OpDone::WroteEmpty)
    }
}
