//! The agent's sessions on its own `mysqld`.
//!
//! They are logged in before they are needed: a login may be refused (the password was changed, all
//! connections are taken) or hang (a GRANT that waits for its acknowledgement shuts every login
//! out) at the very moment when the server has to be closed. All have the same variables, whatever
//! the server's defaults are.
//!
//! They go through the administrative port, which does not count against `max_connections`; the
//! socket, which has one connection to spare, is the way where that port does not answer.
//!
//! **Invariant:** a session whose statement may still run is at work or left over, until the server
//! says that it has no such session any more.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::door::Door;
use crate::mysqld::ops::{self, OpsError};
use crate::mysqld::session::{OWN_VARIABLES, Session, SessionError, text};

/// For an order, its spare, an opening, and eight markers.
const READY: usize = 11;
/// One that is kept waits for a year; one in use is armed (`ops::arm`).
const KEEP: &str = "SET SESSION wait_timeout=31536000";
const DISARM_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// What a session is at work for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// It may open the instance, let clients in, or change what acknowledgements rest on: nothing of
    /// this kind outlives a fence.
    Opens,
    /// A write of the agent's own: it opens nothing, and may be in the way of a fence.
    Marker,
    /// It opens nothing.
    Other,
}

/// All sessions on one run of one `mysqld`: to the next one their numbers mean nothing.
pub(super) struct Sessions {
    door: Arc<Door>,
    ready: Mutex<Vec<Session>>,
    filling: AtomicBool,
    at_work: Mutex<BTreeMap<u64, Errand>>,
    /// Given up while their statements may still run.
    left_over: Mutex<BTreeSet<u64>>,
    /// The lowest number that this run of the agent was given; what an earlier run left is below.
    first: Mutex<Option<u64>>,
    /// Sessions of an earlier run are gone.
    alone: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub fn new(door: Arc<Door>) -> Arc<Self> {
        Arc::new(Self {
            door,
            ready: Mutex::default(),
            filling: AtomicBool::new(false),
            at_work: Mutex::default(),
            left_over: Mutex::default(),
            first: Mutex::default(),
            alone: AtomicBool::new(false),
        })
    }

    /// A session with our own variables. For what never changes the server; all else is `taken`.
    pub async fn log_in(&self, deadline: Instant) -> Result<Session, SessionError> {
        let mut session = self.door.enter(deadline).await?;
        {
            let id = u64::from(session.id());
            let mut first = lock(&self.first);
            *first = Some(first.map_or(id, |lowest| lowest.min(id)));
        }
        session.execute(OWN_VARIABLES, deadline).await?;
        Ok(session)
    }

    /// A session for an order or a marker. It dies by itself if this process sleeps for a second
    /// before its next statement.
    pub async fn take(
        self: &Arc<Self>,
        errand: Errand,
        deadline: Instant,
    ) -> Result<Busy, SessionError> {
        loop {
            let kept = lock(&self.ready).pop();
            let was_kept = kept.is_some();
            let session = match kept {
                Some(session) => session,
                None => self.log_in(deadline).await?,
            };
            let mut busy = self.at_work(session, errand);
            match ops::arm(&mut busy, deadline).await {
                Ok(()) => return Ok(busy),
                // It was ended while it waited for its turn.
                Err(SessionError::Broken | SessionError::Other(_)) if was_kept => {}
                Err(SessionError::Server { .. }) if was_kept => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn at_work(self: &Arc<Self>, session: Session, errand: Errand) -> Busy {
        let id = u64::from(session.id());
        lock(&self.at_work).insert(id, errand);
        Busy {
            sessions: self.clone(),
            session: Some(session),
            id,
        }
    }

    /// Logs in until enough are ready, in the background and one at a time.
    pub fn fill(self: &Arc<Self>, deadline: Instant) {
        if lock(&self.ready).len() >= READY || self.filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let sessions = self.clone();
        tokio::spawn(async move {
            while lock(&sessions.ready).len() < READY {
                let Ok(mut session) = sessions.log_in(deadline).await else {
                    break; // the door has noted why
                };
                if session.execute(KEEP, deadline).await.is_err() {
                    break;
                }
                lock(&sessions.ready).push(session);
            }
            sessions.filling.store(false, Ordering::Release);
        });
    }

    /// Ends what an earlier order, or an earlier run of this agent, left at work in the server, and
    /// waits until it is gone: a statement that lies in the socket of a stopped server is carried
    /// out when that goes on. With `openings`, also what is at work now and might open it.
    pub async fn end_earlier(
        &self,
        session: &mut Session,
        openings: bool,
        deadline: Instant,
    ) -> Result<(), OpsError> {
        if !self.alone.load(Ordering::Acquire) {
            let earlier = self.of_earlier_runs(session, deadline).await?;
            lock(&self.left_over).extend(earlier);
            self.alone.store(true, Ordering::Release);
        }
        let own = u64::from(session.id());
        let mut ids = lock(&self.left_over).clone();
        if openings {
            let at_work = lock(&self.at_work);
            let opening = at_work.iter().filter(|(_, kind)| **kind == Errand::Opens);
            ids.extend(opening.map(|(id, _)| *id));
        }
        ids.remove(&own);
        let ended: Vec<u64> = ids.into_iter().collect();
        ops::end_sessions(session, &ended, deadline).await?;
        lock(&self.left_over).retain(|id| !ended.contains(id));
        Ok(())
    }

    /// Ends the agent's own writes, as far as they can be ended. Nobody waits for them.
    pub async fn end_markers(&self, session: &mut Session, deadline: Instant) {
        let ids: Vec<u64> = {
            let at_work = lock(&self.at_work);
            let markers = at_work.iter().filter(|(_, kind)| **kind == Errand::Marker);
            markers.map(|(id, _)| *id).collect()
        };
        // One that does not end shows in the fence itself.
        let _ = ops::kill_sessions(session, &ids, deadline).await;
    }

    async fn of_earlier_runs(
        &self,
        session: &mut Session,
        deadline: Instant,
    ) -> Result<Vec<u64>, OpsError> {
        let first = lock(&self.first).unwrap_or_default();
        // A replication thread bears the name of the session that started it.
        let sql = format!(
            "SELECT CAST(PROCESSLIST_ID AS CHAR) AS id FROM performance_schema.threads \
             WHERE PROCESSLIST_USER=SUBSTRING_INDEX(CURRENT_USER(),'@',1) \
             AND PROCESSLIST_ID < {first} AND NAME NOT LIKE 'thread/sql/replica%' \
             AND PROCESSLIST_COMMAND NOT LIKE 'Binlog Dump%'"
        );
        let step = "look for sessions of an earlier run";
        let sets = session.ask(&sql, deadline).await.map_err(ops::at(step))?;
        let ids = sets.into_iter().flatten();
        Ok(ids
            .filter_map(|row| text(&row, "id")?.parse().ok())
            .collect())
    }
}

/// A session at work. Dropped without `done`, as where its op is cancelled, it is left over.
pub(super) struct Busy {
    sessions: Arc<Sessions>,
    session: Option<Session>,
    id: u64,
}

impl Busy {
    /// Its statements have ended, each with an answer, or the session is left over.
    pub fn done(mut self) {
        let Some(mut session) = self.session.take_if(|session| session.is_usable()) else {
            return; // left over
        };
        lock(&self.sessions.at_work).remove(&self.id);
        let sessions = self.sessions.clone();
        tokio::spawn(async move {
            let deadline = Instant::now() + DISARM_LIMIT;
            if session.execute(KEEP, deadline).await.is_ok() && lock(&sessions.ready).len() < READY
            {
                lock(&sessions.ready).push(session);
            }
        });
    }
}

impl Deref for Busy {
    type Target = Session;

    fn deref(&self) -> &Session {
        match &self.session {
            Some(session) => session,
            None => unreachable!("a session is taken out only where it is done"),
        }
    }
}

impl DerefMut for Busy {
    fn deref_mut(&mut self) -> &mut Session {
        match &mut self.session {
            Some(session) => session,
            None => unreachable!("a session is taken out only where it is done"),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut at_work = lock(&self.sessions.at_work);
        if at_work.remove(&self.id).is_some() {
            lock(&self.sessions.left_over).insert(self.id);
        }
    }
}
