//! What a node asks for on behalf of the readiness lint: the server, its configuration, what can
//! stop it, and how far the others are.

use std::collections::BTreeMap;
use std::time::Duration;

use primacy_core::ids::InstanceId;
use primacy_core::lint::{Boot, Facts};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::door::Door;
use crate::config::AgentConfig;
use crate::mysqld::process::Watched;
use crate::mysqld::session::{OWN_VARIABLES, within};
use crate::mysqld::{facts, manager, options};

/// A node waits a little longer for the answer.
const LIMIT: Duration = Duration::from_millis(1_500);
/// One try to reach another instance's host; of several the shortest counts.
const CONNECT_LIMIT: Duration = Duration::from_millis(400);
const CONNECTS: usize = 3;

/// Everything that this agent can find out about its instance; an error says why its server cannot
/// be asked. On a session of its own: neither an order nor a survey waits for it.
pub(super) async fn gather(
    config: &AgentConfig,
    door: &Door,
    peers: &BTreeMap<InstanceId, String>,
) -> Result<Facts, String> {
    let deadline = within(LIMIT);
    let asked = async {
        let mut session = door.enter(deadline).await?;
        session.execute(OWN_VARIABLES, deadline).await?;
        let found = facts::facts(&mut session, deadline).await;
        session.close(deadline).await;
        found
    };
    let (found, round_trips_us) = tokio::join!(asked, round_trips(peers));
    let mut found = found.map_err(|error| error.to_string())?;
    found.round_trips_us = round_trips_us;
    found
        .replication_user
        .clone_from(&config.mysql.replication_user);
    let seal = super::seal::read(&config.dir);
    found.enrolled_uuid = seal.ok().flatten().and_then(|seal| seal.server_uuid);
    let instance = super::server::instance(config);
    match Watched::find(&instance).map(|process| process.pid()) {
        Some(pid) => {
            found.boot = Some(boot(pid, &instance.config()));
            found.manager = manager::of(pid).await;
        }
        None => {
            found.boot = Some(Err(format!(
                "no running mysqld holds {}",
                instance.tablespace().display()
            )));
        }
    }
    Ok(found)
}

fn boot(pid: u32, file: &std::path::Path) -> Result<Boot, String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline"))
        .map_err(|error| format!("the command line of process {pid}: {error}"))?;
    let arguments: Vec<String> = line
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    let wanted = format!("--defaults-file={}", file.display());
    if !arguments.contains(&wanted) {
        return Err(format!("process {pid} was not started with {wanted}"));
    }
    Ok(Boot {
        file: file.display().to_string(),
        options: options::read(file, &arguments)?,
    })
}

/// One connect is one round trip. To the agents, not the servers: a server counts a connection that
/// says nothing as a failed login.
async fn round_trips(peers: &BTreeMap<InstanceId, String>) -> BTreeMap<InstanceId, u64> {
    let each = peers.iter().map(|(instance, address)| async move {
        let mut shortest = None;
        for _ in 0..CONNECTS {
            let begun = tokio::time::Instant::now();
            if let Ok(Ok(_)) = timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                shortest = Some(shortest.map_or(took, |least: u64| least.min(took)));
            }
        }
        Some((instance.clone(), shortest?))
    });
    let found = futures::future::join_all(each).await;
    found.into_iter().flatten().collect()
}
