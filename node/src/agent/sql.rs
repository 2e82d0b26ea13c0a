//! Carries the core's ops out as SQL on the agent's own `mysqld`.
//!
//! Sessions are kept warm per purpose: a stuck fence must not find every session taken, and a login
//! costs a millisecond that a failover does not have. One that missed a deadline is discarded.

mod common;
mod deeds;
mod paths;
mod receiver;
mod scheduled;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use primacy_core::act::{AgentInput, Op, OpDone, OpError, OpId, Opened, Survey};
use primacy_core::gtid::Uuid;
use primacy_core::ids::Tick;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::door::Door;
use super::lag::Lag;
use super::local::Answered;
use super::probes::UnderWay;
use super::sessions::{Busy, Errand, Sessions};
use super::words::{acks, op_error, session_error, set, to_survey, uuid};
use crate::clock;
use crate::config::{AgentConfig, reload};
use crate::mysqld::applier;
use crate::mysqld::fence::fence;
use crate::mysqld::follow::{Followed, Source, SourceTransport, Terms, follow, receive};
use crate::mysqld::inspect::{inspect, inspect_branches};
use crate::mysqld::ops;
use crate::mysqld::session::{Session, within};
use crate::mysqld::unfollow;
use watching::{look_at_binlog, probe_locally, try_the_door};

/// A look that takes longer is no look: the local probe has failed.
const SURVEY_LIMIT: Duration = Duration::from_millis(500);
/// STOP REPLICA IO_THREAD takes two seconds toward a black hole.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
/// From the order on, the end of earlier sessions included; then SIGKILL. A healthy primary takes a
/// tenth of it.
const FENCE_LIMIT: Duration = Duration::from_millis(1_200);
const APPLY_LIMIT: Duration = Duration::from_secs(600);
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// Between two tries to see prepared branches, where the account may not.
const BLIND_FOR: Duration = Duration::from_secs(10);

pub(super) struct Executor {
    shared: Arc<Shared>,
    inputs: mpsc::Sender<AgentInput>,
    running: Arc<Mutex<BTreeMap<OpId, JoinHandle<()>>>>,
}

struct Shared {
    door: Arc<Door>,
    transport: SourceTransport,
    /// Those on the server that runs now.
    sessions: Mutex<Arc<Sessions>>,
    /// On which surveys are made.
    looks: Mutex<Option<Session>>,
    /// Armed, its token checked or being checked.
    opener: Mutex<Option<Busy>>,
    /// Ops that were cancelled, and whose futures may not be gone yet.
    ending: Mutex<Vec<JoinHandle<()>>>,
    markers: AtomicU64,
    probes: UnderWay,
    deeds: deeds::Deeds,
    /// The newest binary log, as it was when that was last asked for.
    binlog: Mutex<Option<(String, u64)>>,
    answered: Arc<Answered>,
    /// When the replication account last tried to log in from here.
    replicas_known: Mutex<Option<tokio::time::Instant>>,
    lag: Arc<Mutex<Lag>>,
    /// Until then prepared branches are not asked for.
    blind_until: Mutex<Option<tokio::time::Instant>>,
    /// Since when the receiver shows no progress.
    quiet: Mutex<receiver::Quiet>,
    /// Whoever holds a lock on it is the server.
    tablespace: std::path::PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Executor {
    pub fn new(config: &AgentConfig, inputs: mpsc::Sender<AgentInput>) -> Self {
        let transport = if config.mysql.replication_tls {
            SourceTransport::Tls
        } else {
            SourceTransport::PublicKey
        };
        let door = Door::new(config);
        if let Some(path) = config.source.clone() {
            let told = door.clone();
            let (load, files) = (AgentConfig::load, AgentConfig::password_files);
            tokio::spawn(reload::follow(path, load, files, move |config| {
                told.read(config);
            }));
        }
        let shared = Shared {
            sessions: Mutex::new(Sessions::new(door.clone())),
            door,
            transport,
            looks: Mutex::default(),
            opener: Mutex::default(),
            ending: Mutex::default(),
            // Marker rows of two runs of an agent differ.
            markers: AtomicU64::new(clock::first_count()),
            probes: UnderWay::default(),
            deeds: deeds::Deeds::default(),
            binlog: Mutex::default(),
            answered: Arc::default(),
            replicas_known: Mutex::default(),
            lag: Arc::default(),
            blind_until: Mutex::default(),
            quiet: Mutex::default(),
            tablespace: super::server::instance(config).tablespace(),
        };
        let shared = Arc::new(shared);
        tokio::spawn(probe_locally(Arc::downgrade(&shared)));
        tokio::spawn(look_at_binlog(Arc::downgrade(&shared)));
        tokio::spawn(try_the_door(shared.door.clone(), Arc::downgrade(&shared)));
        Self {
            shared,
            inputs,
            running: Arc::default(),
        }
    }

    /// The server that the sessions belong to is gone, or another has come up: their numbers mean
    /// nothing to it.
    pub fn reset(&self) {
        *lock(&self.shared.sessions) = Sessions::new(self.shared.door.clone());
        lock(&self.shared.looks).take();
        lock(&self.shared.opener).take();
        lock(&self.shared.replicas_known).take();
        lock(&self.shared.blind_until).take();
        *lock(&self.shared.lag) = Lag::default();
        self.shared.answered.forget();
        self.shared.door.anew();
        lock(&self.shared.binlog).take();
    }

    /// How the agent gets into its server.
    pub fn door(&self) -> Arc<Door> {
        self.shared.door.clone()
    }

    /// When the server last answered a local probe.
    pub fn local(&self) -> Arc<Answered> {
        self.shared.answered.clone()
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
            let (begun, what) = (tokio::time::Instant::now(), op.name());
            let deed = deeds::deed(&op);
            let result = shared.carry_out(id, op).await;
            let took = begun.elapsed();
            tracing::debug!(op = what, ?took, done = result.is_ok(), "an op ended");
            if let Some(deed) = deed {
                shared.deeds.tell(deed, took, &result);
            }
            lock(&running).remove(&id);
            let _ = inputs.send(AgentInput::OpEnded { id, result }).await;
        });
        let mut running = lock(&self.running);
        if !task.is_finished() {
            running.insert(id, task);
        }
    }

    /// Ends an op that a newer order supersedes. Its session is ended, and its end awaited, by the
    /// next order, before that does anything else.
    pub fn cancel(&self, id: OpId) {
        if let Some(task) = lock(&self.running).remove(&id) {
            task.abort();
            lock(&self.shared.ending).push(task);
        }
    }
}

/// What an op may do to the server while another order is carried out.
fn errand(op: &Op) -> Errand {
    match op {
        Op::PrepareOpen { .. }
        | Op::Open { .. }
        | Op::Adopt { .. }
        | Op::Repair { .. }
        | Op::Follow { .. }
        | Op::Fetch { .. } => Errand::Opens,
        Op::Survey
        | Op::LookAtApplier { .. }
        | Op::StartApplier
        | Op::Freeze
        | Op::Fence
        | Op::WaitApplied { .. }
        | Op::Marker { .. }
        | Op::CleanUp
        | Op::EndChannel { .. }
        | Op::Cut { .. }
        | Op::TakeOverScheduled { .. }
        | Op::LookAtScheduled
        | Op::LookInto { .. }
        | Op::WriteEmpty { .. }
        | Op::LogIn { .. } => Errand::Other,
    }
}

/// Whether it belongs to no order: none is over because this begins.
fn beside_orders(op: &Op) -> bool {
    matches!(
        op,
        Op::LookAtApplier { .. }
            | Op::StartApplier
            | Op::CleanUp
            | Op::EndChannel { .. }
            | Op::Cut { .. }
            | Op::Repair { .. }
    )
}

impl Shared {
    async fn carry_out(&self, id: OpId, op: Op) -> Result<OpDone, OpError> {
        let sessions = lock(&self.sessions).clone();
        match op {
            Op::Survey => self.survey(&sessions).await,
            Op::PrepareOpen { members } => self.prepare_open(&sessions, &members).await,
            Op::Open { k } => {
                let opener = lock(&self.opener).take();
                let mut opener = opener.ok_or(OpError::Unknown("the session is gone".into()))?;
                let begun = clock::now();
                ops::open(&mut opener, acks(k)?, within(STEP_LIMIT))
                    .await
                    .map_err(|error| op_error(&error))?;
                opener.done();
                self.answered.note(begun);
                Ok(OpDone::Opened(Opened))
            }
            Op::Marker { epoch, create } => self.marker(&sessions, id, epoch.0, create).await,
            Op::Fence => self.fence(&sessions).await,
            Op::TakeOverScheduled { take_over } => self.take_over(&sessions, take_over).await,
            Op::LookAtScheduled => self.look_at_scheduled(&sessions).await,
            Op::LogIn { host, port } => self.log_in(host, port).await,
            Op::LookInto { set } => self.look_into(&sessions, set).await,
            Op::WriteEmpty { set } => self.write_empty(&sessions, &set).await,
            Op::Freeze
            | Op::LookAtApplier { .. }
            | Op::StartApplier
            | Op::WaitApplied { .. }
            | Op::Follow { .. }
            | Op::Fetch { .. }
            | Op::Adopt { .. }
            | Op::CleanUp
            | Op::EndChannel { .. }
            | Op::Cut { .. }
            | Op::Repair { .. } => {
                if !beside_orders(&op) {
                    self.superseded().await;
                }
                // What does not end for a freeze is ended with its server.
                let limit = match op {
                    Op::Freeze => FENCE_LIMIT,
                    _ => STEP_LIMIT,
                };
                let mut session = self.begin(&sessions, errand(&op), within(limit)).await?;
                let result = self.order(&mut session, op).await;
                session.done();
                result
            }
        }
    }

    /// A session for an order, when what earlier ones left at work is gone.
    async fn begin(
        &self,
        sessions: &Arc<Sessions>,
        errand: Errand,
        deadline: tokio::time::Instant,
    ) -> Result<Busy, OpError> {
        let session = sessions.take(errand, deadline).await;
        let mut session = session.map_err(|error| session_error(&error))?;
        let ended = sessions.end_earlier(&mut session, false, deadline).await;
        ended.map_err(|error| op_error(&error))?;
        Ok(session)
    }

    /// Waits for the futures of cancelled ops to be dropped, which takes no time of the server's:
    /// only then is it certain that they send no statement, and that their sessions are known.
    async fn superseded(&self) {
        lock(&self.opener).take();
        let ending = std::mem::take(&mut *lock(&self.ending));
        for task in ending {
            let _ = task.await;
        }
    }

    async fn survey(&self, sessions: &Arc<Sessions>) -> Result<OpDone, OpError> {
        let (begun, deadline) = (clock::now(), within(SURVEY_LIMIT));
        let kept = lock(&self.looks).take();
        let mut session = match kept {
            Some(session) => session,
            None => sessions.log_in(deadline).await.map_err(|error| {
                let refused = error.code().and_then(|_| self.door.trouble());
                refused.map_or_else(|| session_error(&error), OpError::Denied)
            })?,
        };
        let result = self.look(&mut session, begun, deadline).await;
        if session.is_usable() {
            *lock(&self.looks) = Some(session);
        }
        if result.is_ok() {
            // What a fence, a freeze and an opening will want stands before they do.
            sessions.fill(within(STEP_LIMIT));
            self.know_replicas();
        }
        Ok(OpDone::Surveyed(Box::new(result?)))
    }

    /// The session dies of an idle second from here on: whoever sleeps between the check of the
    /// token and the statement opens nothing late.
    async fn prepare_open(
        &self,
        sessions: &Arc<Sessions>,
        members: &BTreeSet<Uuid>,
    ) -> Result<OpDone, OpError> {
        let deadline = within(STEP_LIMIT);
        self.superseded().await;
        let mut opener = self.begin(sessions, Errand::Opens, deadline).await?;
        let found = ops::prepare(&mut opener, members, deadline).await;
        let (server_uuid, executed) = found.map_err(|error| op_error(&error))?;
        let prepared = OpDone::Prepared {
            executed: set(&executed)?,
            server_uuid: uuid(&server_uuid)?,
        };
        *lock(&self.opener) = Some(opener);
        Ok(prepared)
    }

    /// Nothing that might open it again is left when its own switches are thrown. An error says
    /// that only SIGKILL closes it.
    async fn fence(&self, sessions: &Arc<Sessions>) -> Result<OpDone, OpError> {
        let failed = |error: ops::OpsError| op_error(&error);
        let deadline = within(FENCE_LIMIT);
        self.superseded().await;
        let taken = tokio::try_join!(
            sessions.take(Errand::Other, deadline),
            sessions.take(Errand::Other, deadline),
        );
        let (mut session, mut spare) = taken.map_err(|error| session_error(&error))?;
        sessions
            .end_earlier(&mut session, true, deadline)
            .await
            .map_err(failed)?;
        sessions.end_markers(&mut session, deadline).await;
        let fenced = fence(&mut session, &mut spare, deadline)
            .await
            .map_err(failed);
        if fenced.is_ok() {
            scheduled::quiet(&mut spare).await;
        }
        session.done();
        spare.done();
        let fenced = fenced?;
        Ok(OpDone::Fenced {
            final_set: set(&fenced.final_executed)?,
            server_uuid: uuid(&fenced.server_uuid)?,
            ground: fenced.ground,
        })
    }

    /// A survey that also tells how far this replica is behind.
    async fn look(
        &self,
        session: &mut Session,
        begun: Tick,
        deadline: tokio::time::Instant,
    ) -> Result<Survey, OpError> {
        // One that may not see them is refused them; not in each survey.
        let sees = lock(&self.blind_until).is_none_or(|until| tokio::time::Instant::now() >= until);
        let looked = match sees {
            true => inspect_branches(session, deadline).await,
            false => inspect(session, deadline).await.map(|seen| (seen, None)),
        };
        let (seen, branches) = looked.map_err(|error| match error.is_denied() {
            true => OpError::Denied(format!("the agent's account may not look: {error}")),
            false => session_error(&error),
        })?;
        if sees && branches.is_none() {
            *lock(&self.blind_until) = Some(within(BLIND_FOR));
        }
        let mut survey = to_survey(&seen)?;
        survey.ground.branches = branches;
        // What the server does not show of them takes nothing from the rest.
        let probes = self.probes.look(session, deadline).await;
        survey.probes = probes.unwrap_or_default();
        survey.receiver_bytes = self.receiver_bytes(&survey).await;
        survey.login_error = self.door.trouble();
        survey.ground.binlog = lock(&self.binlog).clone();
        lock(&self.lag).look(begun, &survey, seen.applied_commit_ms);
        Ok(survey)
    }

    async fn order(&self, session: &mut Session, op: Op) -> Result<OpDone, OpError> {
        let failed = |error: ops::OpsError| op_error(&error);
        let deadline = within(STEP_LIMIT);
        match op {
            Op::Freeze => {
                let frozen = ops::freeze(session, within(FREEZE_LIMIT)).await;
                let frozen = frozen.map_err(failed)?;
                Ok(OpDone::Frozen(Box::new(to_survey(&frozen)?)))
            }
            Op::LookAtApplier { ends } => {
                let deadline = within(SURVEY_LIMIT);
                let seen = applier::look_and_end(session, ends, deadline).await;
                Ok(OpDone::ApplierSeen(seen.map_err(failed)?))
            }
            Op::StartApplier => {
                let started = ops::start_applier(session, deadline).await;
                started.map_err(failed)?;
                Ok(OpDone::ApplierStarted)
            }
            Op::WaitApplied { set } => {
                let text = set.compact().to_string();
                ops::apply(session, &text, APPLY_LIMIT, deadline)
                    .await
                    .map_err(failed)?;
                Ok(OpDone::Applied)
            }
            Op::Follow {
                host,
                port,
                acking,
                heartbeat_ms,
                online,
                compared,
            } => {
                let source = self.source(host, port, heartbeat_ms);
                let compared = compared.map(|set| set.compact().to_string());
                let terms = Terms {
                    acking,
                    // A fenced instance that serves reads lets its readers in.
                    clients: Some(online),
                    compared: compared.as_deref(),
                };
                let followed = follow(session, &source, terms, deadline).await;
                let followed = followed.map_err(|error| {
                    OpError::Unknown(format!("{:#}", anyhow::Error::new(error)))
                })?;
                match followed {
                    Followed::HoldsMore => return Ok(OpDone::HoldsMore),
                    Followed::AnotherLogin => self.door.replication.turn(),
                    _ => {}
                }
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
                let frozen = ops::freeze(session, within(FREEZE_LIMIT)).await;
                let frozen = frozen.map_err(failed)?;
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
                unfollow::clean_up(session, within(APPLY_LIMIT))
                    .await
                    .map_err(failed)?;
                Ok(OpDone::Cleaned)
            }
            Op::EndChannel { name } => {
                unfollow::end_channel(session, &name, within(APPLY_LIMIT))
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
            Op::Survey
            | Op::PrepareOpen { .. }
            | Op::Open { .. }
            | Op::Marker { .. }
            | Op::Fence
            | Op::TakeOverScheduled { .. }
            | Op::LookAtScheduled
            | Op::LookInto { .. }
            | Op::WriteEmpty { .. }
            | Op::LogIn { .. } => Err(OpError::Refused("not an op of the order session".into())),
        }
    }

    fn source(&self, host: String, port: u16, heartbeat_ms: u64) -> Source {
        Source {
            host,
            port,
            logins: self.door.replication.all(),
            transport: self.transport,
            heartbeat: Duration::from_millis(heartbeat_ms),
        }
    }
}

#[cfg(test)]
mod tests;
