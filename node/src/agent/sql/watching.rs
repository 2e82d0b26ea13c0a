//! What the executor asks of the server all the while, beside every order: its own writes, whether it
//! answers, which binary log it writes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use primacy_core::act::{Marker, OpDone, OpError, OpId};

use super::super::door::Door;
use super::super::local;
use super::super::probes::{self, no_session};
use super::super::sessions::{Errand, Sessions};
use super::super::words::set;
use super::{STEP_LIMIT, Shared, lock};
use crate::mysqld::inspect::newest_binlog;
use crate::mysqld::marker;
use crate::mysqld::session::{Session, SessionError, within};

/// The primary hangs without acknowledgements; its markers with it.
const MARKER_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at the newest binary log.
const BINLOG_EVERY: Duration = Duration::from_secs(1);
/// One that waits for a disk is not repeated beside itself.
const BINLOG_LIMIT: Duration = Duration::from_secs(600);
/// Between two logins that only try the agent's account.
const LOGIN_EVERY: Duration = Duration::from_secs(2);
/// Each time twice as long, up to this, where the server does not answer (the try leaves a thread
/// behind there) or refuses it (an account may be locked after so many).
const LOGIN_EVERY_MAX: Duration = Duration::from_secs(32);
/// Between two logins of the replication account from here.
const KNOWN_FOR: Duration = Duration::from_secs(30);

impl Shared {
    /// On a session of its own: its commit waits for the acknowledgement. What fails before the row
    /// is on its way proves nothing of the ackers, and says why.
    pub(super) async fn marker(
        &self,
        sessions: &Arc<Sessions>,
        id: OpId,
        epoch: u64,
        create: bool,
    ) -> Result<OpDone, OpError> {
        let deadline = within(MARKER_LIMIT);
        let session = sessions.take(Errand::Marker, within(STEP_LIMIT)).await;
        let mut session = match session {
            Ok(session) => session,
            Err(error) => return Ok(OpDone::NotSent(no_session(&error))),
        };
        self.probes.begins(id, u64::from(session.id()));
        let n = self.markers.fetch_add(1, Ordering::Relaxed) % 64;
        let written = async {
            if create {
                marker::ensure_marker_table(&mut session, deadline).await?;
            }
            marker::marker(&mut session, epoch, n, deadline).await
        };
        let written = written.await;
        let lock = self.probes.ended(id);
        session.done();
        match written {
            Ok((before, after)) => Ok(OpDone::Marked(Marker {
                before: set(&before)?,
                after: set(&after)?,
            })),
            Err(error) => probes::ended(&error, lock),
        }
    }

    /// The replication account logs in from here, before a replica has to.
    ///
    /// `caching_sha2_password` asks an account that it does not remember for the password itself:
    /// two round trips more, one with TLS, between a re-point and its first acknowledgement. A new
    /// password and FLUSH PRIVILEGES make it forget, hence again now and then.
    pub(super) fn know_replicas(&self) {
        let now = tokio::time::Instant::now();
        {
            let mut known = lock(&self.replicas_known);
            if known.is_some_and(|at| now.duration_since(at) < KNOWN_FOR) {
                return;
            }
            *known = Some(now);
        }
        let Some(login) = self.door.replication.all().into_iter().next() else {
            return;
        };
        let target = self.door.target_as(login);
        // Beside the surveys: a login may hang where they do not.
        tokio::spawn(async move {
            let deadline = within(STEP_LIMIT);
            match Session::connect(&target, deadline).await {
                Ok(session) => session.close(deadline).await,
                // Replicas take longer, then, or fail with a message of their own.
                Err(error) => {
                    tracing::debug!("the replication account does not log in here: {error}");
                }
            }
        });
    }
}

/// A session, and the server's run that it is of.
type Kept = (Arc<Sessions>, Session);

/// Asks the server all the while whether it answers, also while an earlier question waits: an answer
/// that takes a third of a second on a busy machine is as good as any.
pub(super) async fn probe_locally(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(local::EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let kept: Arc<Mutex<Vec<Kept>>> = Arc::default();
    let at_once = Arc::new(tokio::sync::Semaphore::new(local::AT_ONCE));
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let Ok(turn) = at_once.clone().try_acquire_owned() else {
            continue;
        };
        let kept = kept.clone();
        tokio::spawn(async move {
            let sessions = lock(&shared.sessions).clone();
            let same = |of: &Arc<Sessions>| Arc::ptr_eq(of, &sessions);
            let mut session = {
                let mut kept = lock(&kept);
                kept.retain(|(of, _)| same(of));
                kept.pop().map(|(_, session)| session)
            };
            let answered = local::probe(&sessions, &mut session).await;
            if let Ok(begun) = answered
                && same(&lock(&shared.sessions))
            {
                shared.answered.note(begun);
            }
            if let Some(session) = session {
                lock(&kept).push((sessions, session));
            }
            drop(turn);
        });
    }
}

/// Logs in now and then. Its sessions outlive a password that is changed, and the next login may be
/// the one that a failover needs: the door notes why it fails.
pub(super) async fn try_the_door(door: Arc<Door>, shared: Weak<Shared>) {
    let mut pause = LOGIN_EVERY;
    loop {
        let changed = tokio::time::timeout(pause, door.changed()).await.is_ok();
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let sessions = lock(&shared.sessions).clone();
        let entered = sessions.log_in(within(STEP_LIMIT)).await;
        pause = match &entered {
            Err(SessionError::TimedOut | SessionError::Server { .. }) if !changed => {
                (pause * 2).min(LOGIN_EVERY_MAX)
            }
            _ => LOGIN_EVERY,
        };
        if let Ok(session) = entered {
            session.close(within(STEP_LIMIT)).await;
        }
    }
}

/// Asks for the newest binary log now and then, on a session of its own: that waits for a lock which
/// a commit holds while the disk hangs, and nothing else may wait for it.
pub(super) async fn look_at_binlog(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(BINLOG_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut kept: Option<Kept> = None;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let sessions = lock(&shared.sessions).clone();
        let same = kept.take().filter(|(of, _)| Arc::ptr_eq(of, &sessions));
        let mut session = match same {
            Some((_, session)) => session,
            None => match sessions.log_in(within(STEP_LIMIT)).await {
                Ok(session) => session,
                Err(_) => continue,
            },
        };
        if let Ok(found) = newest_binlog(&mut session, within(BINLOG_LIMIT)).await
            && Arc::ptr_eq(&sessions, &lock(&shared.sessions))
        {
            *lock(&shared.binlog) = found;
        }
        kept = session.is_usable().then_some((sessions, session));
    }
}
