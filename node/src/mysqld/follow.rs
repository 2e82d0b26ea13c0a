//! Points a replica at a source, without losing what it received and has not applied.
//!
//! `CHANGE REPLICATION SOURCE` with both threads stopped purges the relay log, and with it
//! transactions that this replica has acknowledged (measured on 9.7.4). With the applier running,
//! a change of host and port keeps it. So the applier runs through the change, or there is
//! nothing to lose.
//!
//! **Invariant:** comparing this replica with its source is the caller's, and comes first: a
//! diverged replica stops at its first conflict and yet goes on acknowledging.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    inspect::{Replica, ThreadState, pulse},
    ops::{OpsError, at, refuse_unless_fenced, unapplied},
    session::{Login, Session, quote, text},
};

/// How often a starting applier is looked at.
const APPLIER_EVERY: Duration = Duration::from_millis(5);
/// How long it may take to come up.
const APPLIER_LIMIT: Duration = Duration::from_secs(2);

/// How often one that fetches is asked what it has received: no statement of MySQL waits for that.
const RECEIVED_EVERY: Duration = Duration::from_millis(10);

/// How a replica proves itself to its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceTransport {
    /// `SOURCE_SSL=1`.
    Tls,
    /// `SOURCE_SSL=0, GET_SOURCE_PUBLIC_KEY=1`: plain, with the password alone encrypted. Without
    /// the first it uses TLS wherever the source has it (9.7.4). One round trip fewer to connect,
    /// two where TLS asks for another key share; for loopback and for links that are private.
    PublicKey,
}

/// Where to replicate from, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub host: String,
    pub port: u16,
    pub login: Login,
    pub transport: SourceTransport,
    /// The silence after which an idle source sends a heartbeat.
    pub heartbeat: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It did so already.
    Already,
    /// It was told to for the first time, or since its last reset.
    First,
    Repointed,
}

/// Replicates from `source`, acknowledging or not.
///
/// Only on a fenced instance: one that is open would diverge. `acking` takes effect at once,
/// because the receiver is always connected anew when it changes.
pub async fn follow(
    session: &mut Session,
    source: &Source,
    acking: bool,
    deadline: Instant,
) -> Result<Followed, OpsError> {
    refuse_unless_fenced(session, deadline).await?;
    let now = pulse(session, deadline)
        .await
        .map_err(at("look at the replica"))?;
    let same_source = |replica: &Replica| {
        replica.source_host == source.host && replica.source_port == source.port
    };

    let outcome = match &now.replica {
        None => {
            let first = first_source(source).map_err(at("name the source"))?;
            session
                .execute(&first, deadline)
                .await
                .map_err(at("name the source"))?;
            Followed::First
        }
        Some(replica) if same_source(replica) => {
            let semi = now.semi_sync;
            let as_wished = semi.replica_enabled == acking
                && !semi.source_enabled
                && (semi.replica_status == acking || replica.io == ThreadState::Connecting);
            if as_wished && replica.io != ThreadState::No && replica.sql == ThreadState::Yes {
                return Ok(Followed::Already);
            }
            stop_receiver(session, deadline).await?;
            Followed::Repointed
        }
        Some(_) => {
            keep_applier(session, deadline).await?;
            stop_receiver(session, deadline).await?;
            let host = quote(&source.host).map_err(at("name the source"))?;
            // Unless named again, the period falls back to half of replica_net_timeout.
            let sql = format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST={host}, SOURCE_PORT={}, \
                 SOURCE_HEARTBEAT_PERIOD={:.3}",
                source.port,
                source.heartbeat.as_secs_f64(),
            );
            session
                .execute(&sql, deadline)
                .await
                .map_err(at("change the source"))?;
            Followed::Repointed
        }
    };
    // The source side blocks an applier whose commits nobody acknowledges: off on every replica.
    let acking = if acking { "ON" } else { "OFF" };
    let sql = format!(
        "SET GLOBAL rpl_semi_sync_source_enabled=OFF; \
         SET GLOBAL rpl_semi_sync_replica_enabled={acking}; START REPLICA"
    );
    session
        .execute(&sql, deadline)
        .await
        .map_err(at("start the replica"))?;
    Ok(outcome)
}

/// Receives from `source`, acknowledging nothing, until `set` is held or the time is up. The caller
/// stops it again.
pub async fn receive(
    session: &mut Session,
    source: &Source,
    set: &str,
    deadline: Instant,
) -> Result<(), OpsError> {
    follow(session, source, false, deadline).await?;
    let set = quote(set).map_err(at("name what is fetched"))?;
    let sql = format!(
        "SELECT CAST(IFNULL(MAX(GTID_SUBSET({set}, CONCAT_WS(',', RECEIVED_TRANSACTION_SET, \
         @@global.gtid_executed))), 0) AS CHAR) AS here \
         FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME=''"
    );
    loop {
        let step = "look at what was received";
        let sets = session.ask(&sql, deadline).await.map_err(at(step))?;
        let row = sets.first().and_then(|rows| rows.first());
        let here = row.and_then(|row| text(row, "here"));
        if here.as_deref() == Some("1") || Instant::now() + RECEIVED_EVERY >= deadline {
            return Ok(());
        }
        tokio::time::sleep(RECEIVED_EVERY).await;
    }
}

async fn stop_receiver(session: &mut Session, deadline: Instant) -> Result<(), OpsError> {
    session
        .execute("STOP REPLICA IO_THREAD", deadline)
        .await
        .map_err(at("stop the receiver"))
}

/// Makes sure that the change to come purges nothing: the applier runs, or has nothing left.
async fn keep_applier(session: &mut Session, deadline: Instant) -> Result<(), OpsError> {
    session
        .execute("START REPLICA SQL_THREAD", deadline)
        .await
        .map_err(at("start the applier"))?;
    let limit = deadline.min(Instant::now() + APPLIER_LIMIT);
    loop {
        let now = pulse(session, deadline)
            .await
            .map_err(at("look at the applier"))?;
        if now
            .replica
            .is_some_and(|replica| replica.sql == ThreadState::Yes)
        {
            return Ok(());
        }
        let unapplied = unapplied(session, deadline).await?;
        if unapplied.is_empty() {
            return Ok(());
        }
        if Instant::now() >= limit {
            return Err(OpsError::WouldDiscard { unapplied });
        }
        tokio::time::sleep(APPLIER_EVERY).await;
    }
}

fn first_source(source: &Source) -> Result<String, super::session::SessionError> {
    let transport = match source.transport {
        SourceTransport::Tls => "SOURCE_SSL=1",
        SourceTransport::PublicKey => "SOURCE_SSL=0, GET_SOURCE_PUBLIC_KEY=1",
    };
    // A retry count of 0 is no limit.
    Ok(format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST={}, SOURCE_PORT={}, SOURCE_USER={}, \
         SOURCE_PASSWORD={}, SOURCE_AUTO_POSITION=1, {transport}, SOURCE_HEARTBEAT_PERIOD={:.3}, \
         SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=0",
        quote(&source.host)?,
        source.port,
        quote(&source.login.user)?,
        quote(source.login.password())?,
        source.heartbeat.as_secs_f64(),
    ))
}
