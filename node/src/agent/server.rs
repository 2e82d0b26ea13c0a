//! Starts, adopts, watches and kills the agent's `mysqld`.
//!
//! **Invariant:** the server is the process that holds the data directory, whoever started it.
//! Before each input while none is held, so before each word that it has exited, it is looked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Context;
use primacy_core::act::{AgentInput, ProcessId, ServerSeen};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::owner::Owner;
use crate::config::AgentConfig;
use crate::mysqld::bringup::{self, Instance, StartError};
use crate::mysqld::fetch;
use crate::mysqld::process::Watched;
use crate::mysqld::progress::Eyes;

/// Between two starts of a server that will not.
const START_AGAIN: Duration = Duration::from_secs(2);
/// How often one that starts is asked whether it is ready, and a former one's files whether they
/// are free.
const READY_EVERY: Duration = Duration::from_millis(20);
const GREETING_LIMIT: Duration = Duration::from_secs(2);
/// How often it is looked at from outside: whether it works, hangs or shuts down.
const SEEN_EVERY: Duration = Duration::from_millis(500);
/// A start that takes longer is told: it recovers.
const RECOVERS_AFTER: Duration = Duration::from_secs(5);

pub(super) struct Server {
    program: fetch::Server,
    watch: Watch,
    _owner: Owner,
}

/// What the tasks and threads that watch it share.
#[derive(Clone)]
struct Watch {
    instance: Arc<Instance>,
    slot: Arc<Mutex<Slot>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Slot {
    /// From its start, or from when it was found, until the agent was told of its end.
    process: Option<Arc<Watched>>,
    /// That it is up, and its end, are among the news.
    up: bool,
    ended: bool,
    /// A task is about to start one.
    starting: bool,
    started_at: Option<Instant>,
    /// What the agent is to be told, in its order.
    news: VecDeque<AgentInput>,
}

/// The instance that an agent's configuration describes.
pub(crate) fn instance(config: &AgentConfig) -> Instance {
    let server = &config.server;
    Instance {
        dir: server.dir.clone(),
        bind: server.bind,
        port: server.port,
        admin_port: server.admin_port,
        server_id: server.server_id,
        acks_required: 1,
        buffer_pool_mib: server.buffer_pool_mib,
        core_file: server.core_file,
    }
}

impl Server {
    pub fn new(config: &AgentConfig) -> anyhow::Result<Self> {
        let program = fetch::find_here()
            .context("no MySQL server on the PATH nor in the cache; install mysql-server")?;
        let owner = Owner::take(&config.server.dir, config)?;
        let watch = Watch {
            instance: Arc::new(instance(config)),
            slot: Arc::default(),
            changed: Arc::default(),
        };
        // A server that cannot be seen could not be told from one that has exited.
        match bringup::unheld(&watch.instance) {
            Ok(()) | Err(StartError::Ending(_) | StartError::Running(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // Whether it may be started now depends on what it was: the state machine knows.
        watch.lock().news.push_back(AgentInput::ServerExited);
        watch.look(&mut watch.lock(), |news| news.clear());
        Ok(Self {
            program,
            watch,
            _owner: owner,
        })
    }

    /// Waits until there is news.
    pub async fn changed(&self) {
        self.watch.changed.notified().await;
    }

    /// What the agent must be told before anything else: also a server that nobody told of.
    pub fn news(&self) -> Vec<AgentInput> {
        let mut slot = self.watch.lock();
        if slot.ended {
            slot.process = None;
            slot.ended = false;
        }
        self.watch.look(&mut slot, |_| {});
        slot.news.drain(..).collect()
    }

    /// Starts it in the background, once the former one's files are free.
    pub fn start(&self) {
        let (program, watch) = (self.program.clone(), self.watch.clone());
        {
            let mut slot = watch.lock();
            if slot.process.is_some() || slot.starting {
                return;
            }
            slot.starting = true;
        }
        tokio::spawn(async move { watch.start(&program).await });
    }

    /// SIGKILL. Its end is told as any other; at once where there is nothing to kill.
    pub fn kill(&self) {
        let mut slot = self.watch.lock();
        let killed = match &slot.process {
            Some(process) => {
                tracing::info!(pid = process.pid(), "mysqld is ended with SIGKILL");
                process.kill9()
            }
            None => {
                slot.news.push_back(AgentInput::ServerExited);
                self.watch.changed.notify_one();
                Ok(())
            }
        };
        if let Err(error) = killed {
            tracing::error!("mysqld cannot be killed: {:#}", anyhow::Error::new(error));
        }
    }
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes over whoever holds the data, if nobody is watched.
    fn look(&self, slot: &mut Slot, before: impl FnOnce(&mut VecDeque<AgentInput>)) {
        if slot.process.is_some() {
            return;
        }
        if let Some(found) = Watched::find(&self.instance) {
            tracing::info!(pid = found.pid(), "adopted the running mysqld");
            before(&mut slot.news);
            self.hold(slot, found, false, None);
        }
    }

    async fn start(&self, program: &fetch::Server) {
        let mut said = false;
        loop {
            let last = self.lock().started_at;
            if let Some(last) = last {
                tokio::time::sleep_until(last + START_AGAIN).await;
            }
            match self.start_once(program) {
                Ok(()) => return,
                // Whoever runs is found with the next input; if it is gone by then, it is started.
                Err(StartError::Running(_)) => tokio::time::sleep(READY_EVERY).await,
                Err(error @ StartError::Ending(_)) => {
                    if !said {
                        tracing::info!("mysqld is started once its files are free: {error}");
                        said = true;
                    }
                    tokio::time::sleep(READY_EVERY).await;
                }
                Err(error) => {
                    self.does_not_start(error);
                    tokio::time::sleep(START_AGAIN).await;
                }
            }
        }
    }

    /// Nobody is looked for between its start and its being held.
    fn start_once(&self, program: &fetch::Server) -> Result<(), StartError> {
        let mut slot = self.lock();
        if slot.process.is_none() {
            let launched = bringup::launch(program, &self.instance)?;
            slot.started_at = Some(Instant::now());
            let (process, fenced) = (launched.process, launched.fenced);
            self.hold(&mut slot, process, fenced, Some(launched.log_from));
        }
        slot.starting = false;
        Ok(())
    }

    /// From here on this one is the server: tells that it runs, that it is up, that it has ended.
    fn hold(&self, slot: &mut Slot, process: Watched, started: bool, log_from: Option<u64>) {
        let process = Arc::new(process);
        slot.process = Some(process.clone());
        (slot.up, slot.ended) = (false, false);
        slot.news.push_back(AgentInput::ServerRuns {
            process: id(&process),
            started,
        });
        self.changed.notify_one();
        tokio::spawn(self.clone().readied(process.clone(), log_from));
        tokio::spawn(self.clone().seen(process.clone()));
        let ended = {
            let (watch, process) = (self.clone(), process.clone());
            move || watch.tell_end(&process)
        };
        if let Err(error) = process.clone().watch(ended, || {}) {
            tracing::error!("mysqld is watched by its reaping alone: {error}");
            let watch = self.clone();
            tokio::spawn(async move {
                process.exited().await;
                watch.tell_end(&process);
            });
        }
    }

    /// Asks it until it answers, or is no more.
    async fn readied(self, process: Arc<Watched>, log_from: Option<u64>) {
        let begun = Instant::now();
        let mut said = false;
        loop {
            let limit = Instant::now() + GREETING_LIMIT;
            if bringup::is_ready(&process, &self.instance, limit).await {
                return self.tell(&process, AgentInput::ServerUp);
            }
            if process.has_ended() {
                if let Some(from) = log_from {
                    self.does_not_start(bringup::failed_start(&self.instance, from));
                }
                return;
            }
            // Started in a race that another won: it waits for the other's lock.
            if log_from.is_some()
                && let Some(other) = Watched::find(&self.instance)
                && other.pid() != process.pid()
            {
                tracing::info!(pid = other.pid(), "another mysqld was quicker");
                let _ = process.kill9();
            }
            if !said && begun.elapsed() > RECOVERS_AFTER {
                tracing::info!(
                    pid = process.pid(),
                    "mysqld is recovering, or is slow to start"
                );
                said = true;
            }
            tokio::time::sleep(READY_EVERY).await;
        }
    }

    fn does_not_start(&self, error: StartError) {
        let why = format!("{:#}", anyhow::Error::new(error));
        tracing::error!("mysqld does not start: {why}");
        let news = AgentInput::ServerFails(format!("it does not start: {why}"));
        self.lock().news.push_back(news);
        self.changed.notify_one();
    }

    /// Looks at it from outside until it is no more.
    async fn seen(self, process: Arc<Watched>) {
        let mut eyes = Eyes::open(&self.instance, &process);
        let mut said = false;
        while !process.has_ended() {
            tokio::time::sleep(SEEN_EVERY).await;
            let found = eyes.look(&process);
            let ending = self.lock().up && (found.shutdown || !found.listens);
            if ending && !said {
                tracing::info!(
                    pid = process.pid(),
                    "mysqld shuts down, and no order asked for it"
                );
                said = true;
            }
            let seen = ServerSeen {
                moved: found.moved,
                ending,
            };
            self.tell(&process, AgentInput::ServerSeen(seen));
        }
    }

    fn tell_end(&self, process: &Arc<Watched>) {
        self.tell(process, AgentInput::ServerExited);
    }

    /// News of the one that is held, and of no other; nothing follows upon its end.
    fn tell(&self, process: &Arc<Watched>, news: AgentInput) {
        let mut slot = self.lock();
        let held = slot
            .process
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, process));
        if held && !slot.ended {
            slot.up |= matches!(news, AgentInput::ServerUp);
            slot.ended = matches!(news, AgentInput::ServerExited);
            slot.news.push_back(news);
            self.changed.notify_one();
        }
    }
}

fn boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// This very process: no other ever has all three.
pub(super) fn this_process() -> ProcessId {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name before may hold anything; the start time is the twentieth after it.
    let started = stat.rsplit_once(')').and_then(|(_, rest)| {
        let mut fields = rest.split_whitespace();
        fields.nth(19)?.parse().ok()
    });
    ProcessId {
        boot: boot(),
        pid: std::process::id(),
        started: started.unwrap_or_default(),
    }
}

fn id(process: &Watched) -> ProcessId {
    ProcessId {
        boot: boot(),
        pid: process.pid(),
        started: process.started_at().0,
    }
}
