//! What an observer sees of an instance from outside.
//!
//! Two looks, because they fail apart: a warm session goes on working when no new client gets in
//! (`max_connections`), and a fresh one tells a reset from a refusal. A stopped process accepts TCP
//! and never greets: only a deadline sees that.

use std::time::Duration;

use tokio::time::Instant;

use super::session::{Session, SessionError, Target, flag, gtid_set, text};

/// What one look saw. Everything but `Answered`, `Failed` and `Unable` is silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    Answered(Seen),
    /// MySQL answered, with an error: 1040 full, 1045 wrong password, 1129 blocked, 3032 offline.
    /// It is alive.
    Failed {
        code: u16,
        message: String,
    },
    /// Nobody listens: the process is gone, and its host is there.
    Refused,
    /// The connection broke: as a rule the process ended just now.
    Reset,
    /// Neither greeting nor answer in time: stopped, stuck, or cut off.
    Silent,
    /// This process could not even ask: that says nothing of the server.
    Unable(String),
    /// Neither of these, a failed TLS handshake, say.
    Other(String),
}

impl Sight {
    /// Whether a MySQL server answered at all, whatever it said.
    pub fn is_alive(&self) -> bool {
        matches!(self, Sight::Answered(_) | Sight::Failed { .. })
    }
}

/// What every account may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub server_uuid: String,
    pub super_read_only: bool,
    pub gtid_executed: String,
    /// From the question to the answer, or from the connect on.
    pub took: Duration,
}

const LOOK: &str = "SELECT 1; SELECT @@server_uuid AS uuid, \
    CAST(@@global.super_read_only AS CHAR) AS sro, @@global.gtid_executed AS executed";

/// Asks on a session that is logged in. Unless it answers, the session is spent.
pub async fn warm(session: &mut Session, deadline: Instant) -> Sight {
    let began = Instant::now();
    sight(look(session, deadline).await, began)
}

/// Connects, logs in, asks, and leaves.
pub async fn fresh(target: &Target, deadline: Instant) -> Sight {
    let began = Instant::now();
    let mut session = match Session::connect(target, deadline).await {
        Ok(session) => session,
        Err(error) => return sight(Err(error), began),
    };
    let seen = sight(look(&mut session, deadline).await, began);
    session.close(deadline).await;
    seen
}

async fn look(session: &mut Session, deadline: Instant) -> Result<Seen, SessionError> {
    let sets = session.ask(LOOK, deadline).await?;
    let row = sets.get(1).and_then(|rows| rows.first());
    let row = row.ok_or(SessionError::Unexpected("uuid"))?;
    Ok(Seen {
        server_uuid: text(row, "uuid").ok_or(SessionError::Unexpected("uuid"))?,
        super_read_only: flag(row, "sro")?,
        gtid_executed: gtid_set(row, "executed")?,
        took: Duration::ZERO,
    })
}

fn sight(answer: Result<Seen, SessionError>, began: Instant) -> Sight {
    match answer {
        Ok(seen) => Sight::Answered(Seen {
            took: began.elapsed(),
            ..seen
        }),
        Err(SessionError::Server { code, message }) => Sight::Failed { code, message },
        Err(SessionError::Refused) => Sight::Refused,
        Err(SessionError::Broken | SessionError::Discarded) => Sight::Reset,
        Err(SessionError::TimedOut) => Sight::Silent,
        Err(error @ SessionError::Unable(_)) => Sight::Unable(error.to_string()),
        Err(error @ (SessionError::Other(_) | SessionError::Unexpected(_))) => {
            Sight::Other(error.to_string())
        }
    }
}
