//! Points a replica at a source, without losing what it received and has not applied.
//!
//! `CHANGE REPLICATION SOURCE` with both threads stopped purges the relay log, and with it
//! transactions that this replica has acknowledged (measured on 9.7.4). With the applier running,
//! a change of host and port keeps it. So the applier runs through the change, or there is
//! nothing to lose.
//!
//! **Invariant:** comparing this replica with its source is the caller's, and comes first: a
//! diverged replica stops at its first conflict and yet goes on acknowledging. What it was compared with
//! goes along, where that was a while ago.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    inspect::{Pulse, Replica, ThreadState, pulse, pulse_after},
    ops::{OpsError, START_APPLIER, at, fenced_pulse, start_applier, unapplied},
    session::{Login, Session, SessionError, quote, text},
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
    /// The account's passwords, the most promising first: an older one may be right as well.
    pub logins: Vec<Login>,
    pub transport: SourceTransport,
    /// The silence after which an idle source sends a heartbeat.
    pub heartbeat: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It did so already, or its receiver is on its way to do so.
    Already,
    /// Its applier alone was started.
    Applying,
    /// The source refused the account; it was given the next password.
    AnotherLogin,
    /// It was told to for the first time, or since its last reset.
    First,
    Repointed,
    /// It holds more than it was compared with. Its receiver was stopped, and nothing else done.
    HoldsMore,
}

/// What goes along with an order to follow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    pub acking: bool,
    /// Whether clients are let in; `None` leaves that as it is.
    pub clients: Option<bool>,
    /// All that it may hold when it turns from another source to this one.
    pub compared: Option<&'a str>,
}

impl Terms<'_> {
    /// Its acknowledgements count; all else stays as it is.
    pub fn acking() -> Self {
        Self {
            acking: true,
            ..Self::default()
        }
    }
}

/// ER_ACCESS_DENIED_ERROR, as the receiver reports it.
const ACCESS_DENIED: u32 = 1045;
/// ER_DATA_OUT_OF_RANGE.
const OUT_OF_RANGE: u16 = 1690;

/// Replicates from `source`, acknowledging or not.
///
/// Only on a fenced instance: one that is open would diverge. `acking` takes effect at once,
/// because the receiver is always connected anew when it changes.
///
/// A receiver that runs toward this source, and acknowledges as it should, is never touched,
/// whatever the applier does: each start opens a new relay log, and an acker whose receiver is
/// restarted over and over acknowledges nothing (0 commits, against 1,000 a second; measured).
pub async fn follow(
    session: &mut Session,
    source: &Source,
    terms: Terms<'_>,
    deadline: Instant,
) -> Result<Followed, OpsError> {
    let clients = match terms.clients {
        Some(true) => "SET GLOBAL offline_mode=OFF; ",
        Some(false) => "SET GLOBAL offline_mode=ON; ",
        None => "",
    };
    let now = fenced_pulse(session, clients, deadline).await?;
    let outcome = outcome(&now, source, terms.acking);
    let replica = now.replica.as_ref();
    if let (Followed::Already, Some(replica)) = (outcome, replica) {
        return keep_applying(session, replica, deadline).await;
    }
    let here = replica.is_some_and(|of| source.is(of));
    let mut names = true;
    if replica.is_some_and(|of| of.sql != ThreadState::Yes) {
        match keep_applier(session, deadline).await {
            // It stays where it is: what it was told of the source is all that it needs.
            Err(OpsError::WouldDiscard { .. }) if here => names = false,
            kept => kept?,
        }
    }
    let stop = match outcome {
        Followed::First => "",
        _ => "STOP REPLICA IO_THREAD; ",
    };
    let check = match terms.compared.filter(|_| !here) {
        Some(set) => holds_no_more(set).map_err(at("compare it once more"))?,
        None => String::new(),
    };
    let name = match names {
        true => name_source(source, outcome).map_err(at("name the source"))?,
        false => String::new(),
    };
    // The source side blocks an applier whose commits nobody acknowledges: off on every replica.
    let acking = if terms.acking { "ON" } else { "OFF" };
    let sql = format!(
        "{stop}{check}{name}SET GLOBAL rpl_semi_sync_source_enabled=OFF; \
         SET GLOBAL rpl_semi_sync_replica_enabled={acking}; START REPLICA"
    );
    match session.execute(&sql, deadline).await {
        Err(error) if error.code() == Some(OUT_OF_RANGE) && !check.is_empty() => {
            Ok(Followed::HoldsMore)
        }
        answer => answer
            .map(|()| outcome)
            .map_err(at("point the replica at its source")),
    }
}

/// What there is to do.
fn outcome(now: &Pulse, source: &Source, acking: bool) -> Followed {
    let Some(replica) = &now.replica else {
        return Followed::First;
    };
    let semi = &now.semi_sync;
    let as_wished = source.is(replica)
        && semi.replica_enabled == acking
        && !semi.source_enabled
        && (semi.replica_status == acking || replica.io == ThreadState::Connecting);
    let refused = replica.io == ThreadState::Connecting
        && matches!(&replica.io_error, Some(fault) if fault.code == ACCESS_DENIED);
    if as_wished && refused {
        Followed::AnotherLogin
    } else if as_wished && replica.io != ThreadState::No {
        Followed::Already
    } else {
        Followed::Repointed
    }
}

/// A statement that fails with `OUT_OF_RANGE`, and ends those after it, where more is here than this.
/// In the same text as they are: nobody adds anything between the look and what follows from it.
fn holds_no_more(set: &str) -> Result<String, SessionError> {
    let set = quote(set)?;
    Ok(format!(
        "SELECT 9223372036854775807 + IF(GTID_SUBSET(CONCAT_WS(',', @@global.gtid_executed, \
         (SELECT MAX(RECEIVED_TRANSACTION_SET) FROM performance_schema.replication_connection_status \
         WHERE CHANNEL_NAME='')), {set}), 0, 1); "
    ))
}

/// The receiver does what it should; the applier may need to be started.
async fn keep_applying(
    session: &mut Session,
    replica: &Replica,
    deadline: Instant,
) -> Result<Followed, OpsError> {
    if replica.sql == ThreadState::Yes {
        return Ok(Followed::Already);
    }
    start_applier(session, deadline).await?;
    Ok(Followed::Applying)
}

/// Receives from `source`, acknowledging nothing, until `set` is held or the time is up. The caller
/// stops it again.
pub async fn receive(
    session: &mut Session,
    source: &Source,
    set: &str,
    deadline: Instant,
) -> Result<(), OpsError> {
    follow(session, source, Terms::default(), deadline).await?;
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

/// Makes sure that the change to come purges nothing: the applier runs, or has nothing left.
async fn keep_applier(session: &mut Session, deadline: Instant) -> Result<(), OpsError> {
    let start = format!("{START_APPLIER}; ");
    let mut now = pulse_after(session, &start, deadline)
        .await
        .map_err(at("start the applier"))?;
    let limit = deadline.min(Instant::now() + APPLIER_LIMIT);
    loop {
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
        now = pulse(session, deadline)
            .await
            .map_err(at("look at the applier"))?;
    }
}

/// Everything about the source each time: a password may have been changed since, and unless it is
/// named again the heartbeat's period falls back to half of `replica_net_timeout`.
fn name_source(source: &Source, why: Followed) -> Result<String, SessionError> {
    let transport = match source.transport {
        SourceTransport::Tls => "SOURCE_SSL=1",
        SourceTransport::PublicKey => "SOURCE_SSL=0, GET_SOURCE_PUBLIC_KEY=1",
    };
    let other = why == Followed::AnotherLogin && source.logins.len() > 1;
    let login = source
        .logins
        .get(usize::from(other))
        .ok_or(SessionError::Unexpected("a replication account"))?;
    // Not taken while the applier runs; it stays as it was.
    let first = if why == Followed::First {
        " SOURCE_AUTO_POSITION=1,"
    } else {
        ""
    };
    // A retry count of 0 is no limit. The mode is the one under which the values are quoted.
    Ok(format!(
        "SET SESSION sql_mode='NO_BACKSLASH_ESCAPES'; \
         CHANGE REPLICATION SOURCE TO SOURCE_HOST={}, SOURCE_PORT={}, SOURCE_USER={}, \
         SOURCE_PASSWORD={},{first} {transport}, SOURCE_HEARTBEAT_PERIOD={:.3}, \
         SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=0; ",
        quote(&source.host)?,
        source.port,
        quote(&login.user)?,
        quote(login.password())?,
        source.heartbeat.as_secs_f64(),
    ))
}

impl Source {
    fn is(&self, of: &Replica) -> bool {
        of.source_host == self.host && of.source_port == self.port
    }
}
