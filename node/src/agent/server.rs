//! Starts, adopts, watches and kills the agent's `mysqld`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use primacy_core::act::AgentInput;
use tokio::sync::mpsc;

use crate::config::AgentConfig;
use crate::mysqld::bringup::{self, Instance};
use crate::mysqld::fetch;
use crate::mysqld::process::Watched;

/// Crash recovery may take long; the control plane goes on without it meanwhile.
const START_LIMIT: Duration = Duration::from_secs(600);
/// Between two tries to start a server that will not.
const START_AGAIN: Duration = Duration::from_secs(2);

pub(super) struct Server {
    program: fetch::Server,
    instance: Instance,
    inputs: mpsc::Sender<AgentInput>,
    process: Arc<Mutex<Option<Arc<Watched>>>>,
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
    pub fn new(config: &AgentConfig, inputs: mpsc::Sender<AgentInput>) -> anyhow::Result<Self> {
        let program = fetch::find_here()
            .context("no MySQL server on the PATH nor in the cache; install mysql-server")?;
        Ok(Self {
            program,
            instance: instance(config),
            inputs,
            process: Arc::default(),
        })
    }

    /// Takes over a server that an earlier run of this agent started.
    pub async fn adopt(&self) -> bool {
        let Some(process) = Watched::find(&self.instance) else {
            return false;
        };
        tracing::info!(pid = process.pid(), "adopted the running mysqld");
        watch(Arc::new(process), self.process.clone(), self.inputs.clone()).await;
        true
    }

    /// Starts it in the background.
    pub fn start(&self) {
        let (program, instance) = (self.program.clone(), self.instance.clone());
        let (held, inputs) = (self.process.clone(), self.inputs.clone());
        tokio::spawn(async move {
            loop {
                match bringup::spawn(&program, &instance, START_LIMIT).await {
                    Ok(process) => return watch(Arc::new(process), held, inputs).await,
                    Err(error) => {
                        let error = anyhow::Error::new(error);
                        tracing::error!("mysqld does not start: {error:#}");
                        tokio::time::sleep(START_AGAIN).await;
                    }
                }
            }
        });
    }

    /// SIGKILL. Its end is reported as any other.
    pub fn kill(&self) {
        let held = self
            .process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(process) = held.as_ref()
            && let Err(error) = process.kill9()
        {
            tracing::error!("mysqld cannot be killed: {:#}", anyhow::Error::new(error));
        }
    }
}

/// Reports that it is up, and then its end.
async fn watch(
    process: Arc<Watched>,
    held: Arc<Mutex<Option<Arc<Watched>>>>,
    inputs: mpsc::Sender<AgentInput>,
) {
    *held.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(process.clone());
    let _ = inputs.send(AgentInput::ServerUp).await;
    tokio::spawn(async move {
        process.exited().await;
        let _ = inputs.send(AgentInput::ServerExited).await;
    });
}
