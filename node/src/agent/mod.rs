//! The agent beside one `mysqld`: the shell around the core's state machine.
//!
//! **Invariant:** outputs are carried out in their order, and a seal is on disk before the next
//! output is looked at.

mod door;
mod facts;
mod http;
mod lag;
mod link;
mod listener;
mod local;
mod probes;
mod server;
mod sessions;
mod sql;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use primacy_core::act::{Agent, AgentInput, AgentOutput, Seal, Settings};
use primacy_core::ids::{ClusterId, Incarnation, InstanceId};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::config::AgentConfig;
use crate::{clock, durable};

pub use http::Serving;

/// Inputs waiting for the state machine; each is a few microseconds of work.
const BACKLOG: usize = 256;
/// The core's own clock: fine enough for markers every 20 ms.
const TICK: Duration = Duration::from_millis(10);

/// Runs until told to stop. Leaves `mysqld` running: an agent's restart takes no database offline.
pub async fn run(config: AgentConfig) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.dir).context("the agent's folder cannot be made")?;
    let file = SealFile {
        path: config.dir.join("seal.json"),
    };
    let seal = file.begin(&config.cluster, &config.instance)?;
    let settings = Settings::default();
    let mut agent = Agent::new(clock::now(), seal, settings);

    let (inputs, mut waiting) = mpsc::channel(BACKLOG);
    let (serving, served) = watch::channel(Serving::default());
    let transport = config.transport()?;
    crate::keep_fresh(&transport);
    let sql = sql::Executor::new(&config, inputs.clone());
    let links = link::Links::open(&config, &transport, sql.door(), inputs.clone());
    http::serve(config.http, served, sql.lag(), sql.local()).await?;
    let server = Arc::new(server::Server::new(&config, inputs.clone())?);
    if !server.adopt().await {
        // Whether it may be started now depends on what it was: the state machine knows.
        inputs
            .send(AgentInput::ServerExited)
            .await
            .context("the agent is ending")?;
    }

    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut stop = crate::stop::signal()?;
    loop {
        let input = tokio::select! {
            biased;
            () = stop.received() => break,
            input = waiting.recv() => match input {
                Some(input) => input,
                None => break,
            },
            _ = ticks.tick() => AgentInput::Tick,
        };
        if matches!(input, AgentInput::ServerUp | AgentInput::ServerExited) {
            sql.reset();
        }
        for output in agent.handle(clock::now(), input) {
            match output {
                AgentOutput::Persist(seal) => file.save(&seal)?,
                AgentOutput::Run { id, op } => sql.run(id, op),
                AgentOutput::Cancel { id } => sql.cancel(id),
                AgentOutput::Reply(reply) => links.reply(&reply),
                AgentOutput::Beat(beat) => links.beat(&beat),
                AgentOutput::StartServer => server.start(),
                AgentOutput::KillServer => server.kill(),
            }
        }
        let now = Serving::of(&agent);
        serving.send_if_modified(|last| {
            let changed = *last != now;
            if changed {
                *last = now;
            }
            changed
        });
    }
    tracing::info!("stopping; mysqld runs on");
    Ok(())
}

/// The seal on disk.
struct SealFile {
    path: PathBuf,
}

impl SealFile {
    /// Loads the seal and counts this run up.
    fn begin(&self, cluster: &ClusterId, instance: &InstanceId) -> anyhow::Result<Seal> {
        // One that lost its file must not count from one again: nodes take its beats for overtaken,
        // and a reopening that was granted to an earlier run of its server for its own.
        let first = Incarnation(clock::first_count());
        let blank = || Seal {
            agent: first,
            mysqld: first,
            ..Seal::blank(cluster.clone(), instance.clone())
        };
        let mut seal = durable::load::<Seal>(&self.path)?.unwrap_or_else(blank);
        if (&seal.cluster, &seal.instance) != (cluster, instance) {
            anyhow::bail!(
                "{}: this folder belongs to {} of cluster {}, the configuration says {} of {}; \
                 give each agent a folder of its own",
                self.path.display(),
                seal.instance,
                seal.cluster,
                instance,
                cluster
            );
        }
        seal.agent = seal.agent.next();
        self.save(&seal)?;
        Ok(seal)
    }

    fn save(&self, seal: &Seal) -> anyhow::Result<()> {
        durable::save(&self.path, seal).context("the seal must be durable before anything is done")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_counts_above_all_before_also_without_its_seal() {
        let dir = tempfile::tempdir().unwrap();
        let file = SealFile {
            path: dir.path().join("seal.json"),
        };
        let (shop, db1) = (ClusterId::from("shop"), InstanceId::from("db1"));
        let run = || file.begin(&shop, &db1).unwrap();
        let (first, second) = (run(), run());
        assert_eq!(second.agent, first.agent.next());
        std::fs::remove_file(&file.path).unwrap();
        let third = run();
        assert!(third.agent >= first.agent, "a clock that goes on");
        assert!(third.mysqld >= first.mysqld);
        let why = file.begin(&shop, &InstanceId::from("db2")).unwrap_err();
        assert!(
            why.to_string().contains("belongs to db1 of cluster shop"),
            "{why}"
        );
    }
}
