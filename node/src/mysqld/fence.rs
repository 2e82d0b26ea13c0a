//! Closes an instance, with the proof that it is closed.

use std::time::Duration;

use primacy_core::observe::SourceGround;
use tokio::time::{Instant, timeout};

use super::ops::{OpsError, at, waiting_commits};
use super::probe;
use super::session::{Session, SessionError, flag, gtid_set, text, within};

/// How long `super_read_only` may take before `offline_mode` clears the way beside it. A healthy
/// primary with 50 writers takes 42–112 ms; `lock_wait_timeout` ends a blocked one at 1 s
/// (measured on 9.7.4).
const FENCE_STEP: Duration = Duration::from_millis(500);
/// A busy primary always has some commits in the air; a healthy acker answers in milliseconds.
const ACKS_ON_THEIR_WAY: Duration = Duration::from_millis(500);
const WAITING_EVERY: Duration = Duration::from_millis(5);
/// ER_LOCK_WAIT_TIMEOUT.
const LOCK_WAIT_TIMEOUT: u16 = 1205;

/// Proof that an instance takes no more writes: MySQL answered OK to both switches, and the set
/// was read after them.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    pub server_uuid: String,
    pub final_executed: String,
    /// What its acknowledgements rested on, read when the last of them was out; `None` without
    /// semi-sync.
    pub ground: Option<SourceGround>,
    /// Whether clients had to be cut before the first switch would go through.
    pub forced: bool,
}

/// Closes an instance: `super_read_only` and `offline_mode`, both answered OK, and both read again
/// with the final set.
///
/// Two sessions, logged in beforehand, because a stuck switch takes its session with it and a
/// stuck server may let nobody in. The variable reads 1 while its SET still waits, so only the OK
/// counts. Both are needed: XA COMMIT passes `super_read_only`. `offline_mode` shuts every
/// application's socket before it answers, so a transaction that commits after the set was read
/// was acknowledged to nobody. Sessions that might open it again are ended by the caller, before.
///
/// 12–19 ms with ten writers, half a second with stuck clients. An error says which step failed;
/// the caller's next resort is SIGKILL (`Watched::kill_and_prove`).
pub async fn fence(
    session: &mut Session,
    spare: &mut Session,
    deadline: Instant,
) -> Result<Fenced, OpsError> {
    const READ_ONLY: &str = "SET SESSION lock_wait_timeout=1; SET GLOBAL super_read_only=ON";
    const OFFLINE: &str = "SET GLOBAL offline_mode=ON";

    let gently = session.execute(READ_ONLY, deadline);
    tokio::pin!(gently);
    let mut answer = timeout(FENCE_STEP, &mut gently).await.ok();
    let forced = match &answer {
        Some(Ok(())) => false,
        Some(Err(error)) if error.code() == Some(LOCK_WAIT_TIMEOUT) => true,
        // MySQL's own refusal is an answer; a session that broke is not.
        Some(Err(SessionError::Server { code, message })) => {
            let (code, message) = (*code, message.clone());
            return Err(at("set super_read_only")(SessionError::Server {
                code,
                message,
            }));
        }
        Some(Err(_)) | None => true,
    };
    spare
        .execute(OFFLINE, deadline)
        .await
        .map_err(at("set offline_mode"))?;
    if forced {
        // Commits that wait for an acknowledgement keep the lock though their clients are gone, and
        // no later try gets it: with every acker stopped it was 1205 each time.
        match still_waiting(spare, deadline).await? {
            0 => {}
            waiting => return Err(OpsError::OnlyKillingHelps { waiting }),
        }
        let mut last = match answer.take() {
            Some(answer) => answer,
            None => gently.await,
        };
        // What blocked it otherwise is gone or going; each try ends after a second.
        while let Err(error) = last {
            let refused = error.code().is_some_and(|code| code != LOCK_WAIT_TIMEOUT);
            if refused || Instant::now() >= deadline || !spare.is_usable() {
                return Err(at("set super_read_only after offline_mode")(error));
            }
            last = spare.execute(READ_ONLY, deadline).await;
        }
    }
    let closed = closed(spare, deadline)
        .await
        .map_err(at("read the final set"))?;
    let (server_uuid, final_executed) = closed.ok_or(OpsError::OpenedMeanwhile)?;
    // It is closed, whatever this says.
    let ground = probe::ground_of(spare, deadline).await.ok().flatten();
    Ok(Fenced {
        server_uuid,
        final_executed,
        ground,
        forced,
    })
}

/// Who it is and what it has executed, read together with both switches: `None` unless both are on.
async fn closed(
    session: &mut Session,
    deadline: Instant,
) -> Result<Option<(String, String)>, SessionError> {
    let sql = "SELECT @@server_uuid AS uuid, @@global.gtid_executed AS executed, \
               CAST(@@global.super_read_only AS CHAR) AS sro, \
               CAST(@@global.offline_mode AS CHAR) AS offline";
    let sets = session.ask(sql, deadline).await?;
    let row = sets.first().and_then(|rows| rows.first());
    let row = row.ok_or(SessionError::Unexpected("executed"))?;
    let uuid = text(row, "uuid").ok_or(SessionError::Unexpected("uuid"))?;
    let both = flag(row, "sro")? && flag(row, "offline")?;
    Ok(both.then_some((uuid, gtid_set(row, "executed")?)))
}

/// Commits that wait for acknowledgements when those on their way have had time to arrive. Every
/// client is cut: none is added.
async fn still_waiting(session: &mut Session, deadline: Instant) -> Result<u64, OpsError> {
    let patience = deadline.min(within(ACKS_ON_THEIR_WAY));
    loop {
        let waiting = waiting_commits(session, deadline)
            .await
            .map_err(at("count waiting commits"))?;
        if waiting == 0 || Instant::now() >= patience {
            return Ok(waiting);
        }
        tokio::time::sleep(WAITING_EVERY).await;
    }
}
