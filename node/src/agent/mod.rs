//! The agent beside one `mysqld`: the shell around the core's state machine.
//!
//! **Invariant:** outputs are carried out in their order. Nothing here waits for a disk: the core
//! holds back what must not leave before a seal is written.

mod door;
mod facts;
mod http;
mod lag;
mod link;
mod listener;
mod local;
mod owner;
mod probes;
pub mod seal;
mod server;
mod sessions;
mod sql;
mod words;

use std::time::Duration;

use anyhow::Context;
use primacy_core::act::{Agent, AgentInput, AgentOutput, Settings};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::clock;
use crate::config::AgentConfig;

pub use http::Serving;

/// Inputs waiting for the state machine; each is a few microseconds of work.
const BACKLOG: usize = 256;
/// The core's own clock: fine enough for markers every 20 ms.
const TICK: Duration = Duration::from_millis(10);

/// Runs until told to stop. Leaves `mysqld` running: an agent's restart takes no database offline.
pub async fn run(config: AgentConfig) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.dir).context("the agent's folder cannot be made")?;
    let _owner = owner::Owner::take(&config.dir, &config)?;
    let (file, seal, durable) =
        seal::SealFile::begin(&config.dir, &config.cluster, &config.instance)?;
    let settings = Settings::default();
    let mut agent = Agent::new(clock::now(), seal, server::this_process(), settings);

    let (inputs, mut waiting) = mpsc::channel(BACKLOG);
    let writer = seal::Writer::start(file, inputs.clone())?;
    if !durable {
        let unwritten = AgentInput::Persisted {
            number: 0,
            ok: false,
        };
        inputs.send(unwritten).await?;
    }
    let (serving, served) = watch::channel(Serving::default());
    let transport = config.transport()?;
    crate::keep_fresh(&transport);
    let sql = sql::Executor::new(&config, inputs.clone());
    let links = link::Links::open(&config, &transport, sql.door(), inputs.clone());
    http::serve(config.http, served, sql.lag(), sql.local()).await?;
    let server = server::Server::new(&config)?;

    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut stop = crate::stop::signal()?;
    loop {
        let input = tokio::select! {
            biased;
            () = stop.received() => break,
            () = server.changed() => None,
            input = waiting.recv() => match input {
                Some(input) => Some(input),
                None => break,
            },
            _ = ticks.tick() => Some(AgentInput::Tick),
        };
        for input in server.news().into_iter().chain(input) {
            if matches!(input, AgentInput::ServerUp | AgentInput::ServerExited) {
                sql.reset();
            }
            for output in agent.handle(clock::now(), input) {
                match output {
                    AgentOutput::Persist { number, seal } => writer.write(number, seal),
                    AgentOutput::Run { id, op } => sql.run(id, op),
                    AgentOutput::Cancel { id } => sql.cancel(id),
                    AgentOutput::Reply(reply) => links.reply(&reply),
                    AgentOutput::Beat(beat) => links.beat(&beat),
                    AgentOutput::StartServer => server.start(),
                    AgentOutput::KillServer => server.kill(),
                }
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
