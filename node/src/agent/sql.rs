//! Carries the core's ops out as SQL on the agent's own `mysqld`.
//!
//! Sessions are kept warm per purpose: a stuck fence must not find every session taken, and a login
//! costs a millisecond that a failover does not have. One that missed a deadline is discarded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use primacy_core::act::{AgentInput, Marker, Op, OpDone, OpError, OpId, Opened, Survey};
use primacy_core::ids::Tick;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::lag::Lag;
use super::words::{acks, op_error, session_error, set, survey, to_survey, uuid};
use crate::clock;
use crate::config::AgentConfig;
use crate::mysqld::follow::{Source, SourceTransport, follow, receive};
use crate::mysqld::inspect::inspect;
use crate::mysqld::marker;
use crate::mysqld::ops::{self, Opener};
use crate::mysqld::session::{Address, Login, Session, Target, Transport, text, within};

/// A look that takes longer is no look: the local probe has failed.
const SURVEY_LIMIT: Duration = Duration::from_millis(500);
/// STOP REPLICA IO_THREAD takes two seconds toward a black hole.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
/// Super_read_only, offline_mode, and two lock waits of a second; then SIGKILL.
const FENCE_LIMIT: Duration = Duration::from_millis(3_500);
const APPLY_LIMIT: Duration = Duration::from_secs(600);
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// The primary hangs without acknowledgements; its markers with it.
const MARKER_LIMIT: Duration = Duration::from_secs(60);
/// Between two logins of the replication account from here.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// What a kept session is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Look,
    Order,
    Spare,
}

pub(super) struct Executor {
    shared: Arc<Shared>,
    inputs: mpsc::Sender<AgentInput>,
    running: Arc<Mutex<BTreeMap<OpId, AbortHandle>>>,
}

struct Shared {
    target: Target,
    replication: (Login, SourceTransport),
    kept: Mutex<BTreeMap<Purpose, Session>>,
    /// The server's number of each op's session, so that a superseded order's can be killed.
    sessions: Mutex<BTreeMap<OpId, u64>>,
    /// Sessions that were given up while their statement may still run.
    leftovers: Mutex<Vec<u64>>,
    /// Sessions of an earlier run of this agent are gone.
    alone: AtomicBool,
    opener: Mutex<Option<Opener>>,
    markers: AtomicU64,
    /// When the replication account last tried to log in from here.
    replicas_known: Mutex<Option<tokio::time::Instant>>,
    lag: Arc<Mutex<Lag>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Executor {
    pub fn new(config: &AgentConfig, inputs: mpsc::Sender<AgentInput>) -> Self {
        let mysql = &config.mysql;
        let transport = if mysql.replication_tls {
            SourceTransport::Tls
        } else {
            SourceTransport::PublicKey
        };
        let shared = Shared {
            target: target(config),
            replication: (
                Login::new(&mysql.replication_user, &mysql.replication_password),
                transport,
            ),
            kept: Mutex::default(),
            sessions: Mutex::default(),
            leftovers: Mutex::default(),
            alone: AtomicBool::new(false),
            opener: Mutex::default(),
            // Marker rows of two runs of an agent differ.
            markers: AtomicU64::new(clock::first_count()),
            replicas_known: Mutex::default(),
            lag: Arc::default(),
        };
        Self {
            shared: Arc::new(shared),
            inputs,
            running: Arc::default(),
        }
    }

    /// The server that the kept sessions belong to is gone, or another has come up: their numbers
    /// mean nothing to it.
    pub fn reset(&self) {
        lock(&self.shared.kept).clear();
        lock(&self.shared.sessions).clear();
        lock(&self.shared.leftovers).clear();
        lock(&self.shared.opener).take();
        lock(&self.shared.replicas_known).take();
        *lock(&self.shared.lag) = Lag::default();
    }

    /// How far this replica is behind, as its surveys tell.
    pub fn lag(&self) -> Arc<Mutex<Lag>> {
        self.shared.lag.clone()
    }

    /// Begins an op; its result comes back as an input.
    pub fn run(&self, id: OpId, op: Op) {
        let (shared, inputs, running) = (
            self.shared.clone(),
            self.inputs.clone(),
            self.running.clone(),
        );
        let task = tokio::spawn(async move {
            let result = shared.carry_out(id, op).await;
            lock(&shared.sessions).remove(&id);
            lock(&running).remove(&id);
            let _ = inputs.send(AgentInput::OpEnded { id, result }).await;
        });
        lock(&self.running).insert(id, task.abort_handle());
        if task.is_finished() {
            lock(&self.running).remove(&id);
        }
    }

    /// Ends an op that a newer order supersedes, and kills its session.
    pub fn cancel(&self, id: OpId) {
        if let Some(task) = lock(&self.running).remove(&id) {
            task.abort();
        }
        let Some(session) = lock(&self.shared.sessions).remove(&id) else {
            return;
        };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let deadline = within(STEP_LIMIT);
            if let Ok(mut spare) = shared.session(Purpose::Spare, deadline).await {
                let _ = ops::kill_sessions(&mut spare, &[session], deadline).await;
                shared.keep(Purpose::Spare, spare);
            }
        });
    }
}

/// The agent's own `mysqld`, through its socket.
pub(super) fn target(config: &AgentConfig) -> Target {
    Target {
        address: Address::Socket(super::server::instance(config).socket()),
        login: Login::new(&config.mysql.user, &config.mysql.password),
        transport: Transport::Plain,
    }
}

impl Shared {
    async fn session(
        &self,
        purpose: Purpose,
        deadline: tokio::time::Instant,
    ) -> Result<Session, OpError> {
        if let Some(kept) = lock(&self.kept).remove(&purpose) {
            return Ok(kept);
        }
        Session::connect(&self.target, deadline)
            .await
            .map_err(|error| session_error(&error))
    }

    fn keep(&self, purpose: Purpose, session: Session) {
        if session.is_usable() {
            lock(&self.kept).insert(purpose, session);
        }
    }

    async fn carry_out(&self, id: OpId, op: Op) -> Result<OpDone, OpError> {
        match op {
            Op::Survey => {
                let (begun, deadline) = (clock::now(), within(SURVEY_LIMIT));
                let mut session = self.session(Purpose::Look, deadline).await?;
                let result = self.look(&mut session, begun, deadline).await;
                self.keep(Purpose::Look, session);
                // The sessions that a fence and a freeze will want stand before they do.
                for purpose in [Purpose::Order, Purpose::Spare] {
                    if result.is_ok() && !lock(&self.kept).contains_key(&purpose) {
                        let busy = !lock(&self.sessions).is_empty();
                        if !busy && let Ok(session) = self.session(purpose, deadline).await {
                            self.keep(purpose, session);
                        }
                    }
                }
                if result.is_ok() {
                    self.know_replicas(deadline).await;
                }
                Ok(OpDone::Surveyed(Box::new(result?)))
            }
            Op::PrepareOpen => {
                let deadline = within(STEP_LIMIT);
                let opener = ops::prepare_open(&self.target, deadline)
                    .await
                    .map_err(|error| op_error(&error))?;
                let mut session = self.session(Purpose::Order, deadline).await?;
                let seen = survey(&mut session, deadline).await;
                self.keep(Purpose::Order, session);
                let seen = seen?;
                *lock(&self.opener) = Some(opener);
                Ok(OpDone::Prepared {
                    executed: seen.executed,
                    server_uuid: seen.server_uuid,
                })
            }
            Op::Open { k } => {
                let opener = lock(&self.opener).take();
                let opener = opener.ok_or(OpError::Unknown("the session is gone".into()))?;
                ops::open(opener, acks(k)?, within(STEP_LIMIT))
                    .await
                    .map_err(|error| op_error(&error))?;
                Ok(OpDone::Opened(Opened))
            }
            Op::Marker { epoch, create } => self.marker(epoch.0, create).await,
            Op::Freeze
            | Op::Fence
            | Op::WaitApplied { .. }
            | Op::Follow { .. }
            | Op::Fetch { .. }
            | Op::Adopt { .. }
            | Op::CleanUp
            | Op::Cut { .. }
            | Op::Repair { .. } => {
                let deadline = within(STEP_LIMIT);
                let mut session = self.session(Purpose::Order, deadline).await?;
                self.kill_leftovers(&mut session, deadline).await?;
                let number = u64::from(session.id());
                lock(&self.sessions).insert(id, number);
                let result = self.order(&mut session, op).await;
                if !session.is_usable() {
                    // Given up, but perhaps still at work in the server.
                    lock(&self.leftovers).push(number);
                }
                self.keep(Purpose::Order, session);
                result
            }
        }
    }

    /// The replication account logs in from here, before a replica has to.
    ///
    /// `caching_sha2_password` asks an account that it does not remember for the password itself:
    /// two round trips more, one with TLS, between a re-point and its first acknowledgement. A new
    /// password and FLUSH PRIVILEGES make it forget, hence again now and then.
    async fn know_replicas(&self, deadline: tokio::time::Instant) {
        let now = tokio::time::Instant::now();
        {
            let mut known = lock(&self.replicas_known);
            if known.is_some_and(|at| now.duration_since(at) < KNOWN_FOR) {
                return;
            }
            *known = Some(now);
        }
        let target = Target {
            login: self.replication.0.clone(),
            ..self.target.clone()
        };
        match Session::connect(&target, deadline).await {
            Ok(session) => session.close(deadline).await,
            // Replicas take longer, then, or fail with a message of their own.
            Err(error) => tracing::debug!("the replication account does not log in here: {error}"),
        }
    }

    /// A survey that also tells how far this replica is behind.
    async fn look(
        &self,
        session: &mut Session,
        begun: Tick,
        deadline: tokio::time::Instant,
    ) -> Result<Survey, OpError> {
        let seen = inspect(session, deadline)
            .await
            .map_err(|error| session_error(&error))?;
        let survey = to_survey(&seen)?;
        lock(&self.lag).look(begun, &survey, seen.applied_commit_ms);
        Ok(survey)
    }

    /// One order at a time: what an earlier one, or an earlier run of this agent, left at work in
    /// the server is killed first. A START REPLICA queued in a stopped server would undo a freeze.
    async fn kill_leftovers(
        &self,
        session: &mut Session,
        deadline: tokio::time::Instant,
    ) -> Result<(), OpError> {
        let failed = |error: ops::OpsError| op_error(&error);
        if !self.alone.load(Ordering::Acquire) {
            let mine: Vec<u64> = [Purpose::Look, Purpose::Spare]
                .iter()
                .filter_map(|purpose| lock(&self.kept).get(purpose).map(|s| u64::from(s.id())))
                .chain([u64::from(session.id())])
                .collect();
            // A replication thread bears the name of the session that started it.
            let sql = "SELECT CAST(PROCESSLIST_ID AS CHAR) AS id FROM performance_schema.threads \
                       WHERE PROCESSLIST_USER=SUBSTRING_INDEX(CURRENT_USER(),'@',1) \
                       AND PROCESSLIST_ID IS NOT NULL AND NAME NOT LIKE 'thread/sql/replica%'";
            let sets = session
                .ask(sql, deadline)
                .await
                .map_err(|error| session_error(&error))?;
            let found = sets
                .into_iter()
                .flatten()
                .filter_map(|row| text(&row, "id"));
            let others = found
                .filter_map(|id| id.parse().ok())
                .filter(|id| !mine.contains(id));
            lock(&self.leftovers).extend(others);
            self.alone.store(true, Ordering::Release);
        }
        let leftovers = std::mem::take(&mut *lock(&self.leftovers));
        ops::kill_sessions(session, &leftovers, deadline)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn order(&self, session: &mut Session, op: Op) -> Result<OpDone, OpError> {
        let failed = |error: ops::OpsError| op_error(&error);
        let deadline = within(STEP_LIMIT);
        match op {
            Op::Freeze => {
                let deadline = within(FREEZE_LIMIT);
                let frozen = ops::freeze(session, deadline).await.map_err(failed)?;
                Ok(OpDone::Frozen(Box::new(to_survey(&frozen)?)))
            }
            Op::Fence => {
                let deadline = within(FENCE_LIMIT);
                let mut spare = self.session(Purpose::Spare, deadline).await?;
                let fenced = ops::fence(session, &mut spare, deadline)
                    .await
                    .map_err(failed);
                self.keep(Purpose::Spare, spare);
                let fenced = fenced?;
                Ok(OpDone::Fenced {
                    final_set: set(&fenced.final_executed)?,
                    server_uuid: uuid(&fenced.server_uuid)?,
                })
            }
            Op::WaitApplied { set } => {
                // A candidate that restarted boots with its applier stopped.
                if survey(session, deadline).await?.source.is_some() {
                    session
                        .execute("START REPLICA SQL_THREAD", deadline)
                        .await
                        .map_err(|error| session_error(&error))?;
                }
                let text = set.compact().to_string();
                ops::wait_applied(session, &text, APPLY_LIMIT)
                    .await
                    .map_err(failed)?;
                Ok(OpDone::Applied)
            }
            Op::Follow {
                host,
                port,
                acking,
                heartbeat_ms,
            } => {
                let source = self.source(host, port, heartbeat_ms);
                // A fenced instance that serves reads lets its readers in.
                ops::go_online(session, deadline).await.map_err(failed)?;
                follow(session, &source, acking, deadline)
                    .await
                    .map_err(|error| {
                        OpError::Unknown(format!("{:#}", anyhow::Error::new(error)))
                    })?;
                Ok(OpDone::Followed)
            }
            Op::Fetch {
                host,
                port,
                set,
                heartbeat_ms,
            } => {
                let source = self.source(host, port, heartbeat_ms);
                let set = set.compact().to_string();
                receive(session, &source, &set, deadline)
                    .await
                    .map_err(failed)?;
                let deadline = within(FREEZE_LIMIT);
                let frozen = ops::freeze(session, deadline).await.map_err(failed)?;
                Ok(OpDone::Frozen(Box::new(to_survey(&frozen)?)))
            }
            Op::Adopt { k } => {
                ops::set_acks(session, acks(k)?, deadline)
                    .await
                    .map_err(failed)?;
                session
                    .execute("SET GLOBAL rpl_semi_sync_source_enabled=ON", deadline)
                    .await
                    .map_err(|error| session_error(&error))?;
                Ok(OpDone::Opened(Opened))
            }
            Op::CleanUp => {
                ops::clean_up(session, within(APPLY_LIMIT))
                    .await
                    .map_err(failed)?;
                Ok(OpDone::Cleaned)
            }
            Op::Cut { sessions } => {
                ops::kill_sessions(session, &sessions, deadline)
                    .await
                    .map_err(failed)?;
                Ok(OpDone::Cut)
            }
            Op::Repair { k } => {
                ops::repair_ground(session, acks(k)?, deadline)
                    .await
                    .map_err(failed)?;
                Ok(OpDone::Repaired)
            }
            Op::Survey | Op::PrepareOpen | Op::Open { .. } | Op::Marker { .. } => {
                Err(OpError::Refused("not an op of the order session".into()))
            }
        }
    }

    fn source(&self, host: String, port: u16, heartbeat_ms: u64) -> Source {
        let (login, transport) = self.replication.clone();
        Source {
            host,
            port,
            login,
            transport,
            heartbeat: Duration::from_millis(heartbeat_ms),
        }
    }

    /// On a connection of its own: its commit waits for the acknowledgement.
    async fn marker(&self, epoch: u64, create: bool) -> Result<OpDone, OpError> {
        let failed = |error: ops::OpsError| op_error(&error);
        let deadline = within(MARKER_LIMIT);
        let connect = || Session::connect(&self.target, deadline);
        let mut session = connect().await.map_err(|error| session_error(&error))?;
        if create {
            marker::ensure_marker_table(&mut session, deadline)
                .await
                .map_err(failed)?;
        }
        let n = self.markers.fetch_add(1, Ordering::Relaxed) % 64;
        let (before, after) = marker::marker(session, epoch, n, deadline)
            .await
            .map_err(failed)?;
        Ok(OpDone::Marked(Marker {
            before: set(&before)?,
            after: set(&after)?,
        }))
    }
}
