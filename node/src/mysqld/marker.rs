//! Rows that prove: a marker acknowledged by k replicas says that all before it is there too.
//!
//! From opening until the first acknowledged write an agent writes one every 20 ms, each on a
//! fresh connection: MySQL's acknowledgement receiver polls for up to a second, and does not see
//! a replica that connected meanwhile until some other acknowledgement wakes it.

use primacy_core::gtid::GtidSet;
use tokio::time::Instant;

use super::{
    ops::{OpsError, at, executed},
    session::{Session, quote},
};

/// Makes `primacy.marker` on an open primary; replicas get it by replication. Looks first, since
/// CREATE … IF NOT EXISTS would be logged, and wait for acknowledgements, each time.
pub async fn ensure_marker_table(session: &mut Session, deadline: Instant) -> Result<(), OpsError> {
    let step = "make the marker table";
    let sql = "SELECT TABLE_NAME AS name FROM information_schema.TABLES \
               WHERE TABLE_SCHEMA='primacy' AND TABLE_NAME='marker'";
    let sets = session.ask(sql, deadline).await.map_err(at(step))?;
    if sets.first().is_some_and(|rows| !rows.is_empty()) {
        return Ok(());
    }
    let sql = "CREATE DATABASE IF NOT EXISTS primacy; CREATE TABLE IF NOT EXISTS primacy.marker (\
               epoch BIGINT UNSIGNED NOT NULL, n BIGINT UNSIGNED NOT NULL, \
               written_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
               PRIMARY KEY (epoch, n))";
    session.execute(sql, deadline).await.map_err(at(step))
}

/// Writes one row and returns once it is answered: with what was executed *before* it began, and
/// when it was answered. Where semi-sync waited, k replicas have both; their own agents say so.
///
/// A session of its own each, and a row of its own: a commit that waits for its acknowledgement
/// holds its row's lock, and takes its session with it at the deadline.
pub async fn marker(
    session: &mut Session,
    epoch: u64,
    n: u64,
    deadline: Instant,
) -> Result<(String, String), OpsError> {
    let (_, before) = executed(session, deadline)
        .await
        .map_err(at("read what is executed"))?;
    let sql = format!(
        "INSERT INTO primacy.marker (epoch, n) VALUES ({epoch}, {n}) \
         ON DUPLICATE KEY UPDATE written_at=CURRENT_TIMESTAMP(6)"
    );
    session
        .execute(&sql, deadline)
        .await
        .map_err(at("write a marker"))?;
    let (_, after) = executed(session, deadline)
        .await
        .map_err(at("read what is executed"))?;
    Ok((before, after))
}

/// GTIDs that are written at once at most: the rest follows.
const EMPTY_MAX: usize = 100;

/// Writes these transactions, empty, and returns once they are answered. One that is there already
/// does nothing. A session that fails in between is of no use for anything else.
pub async fn write_empty(
    session: &mut Session,
    set: &GtidSet,
    deadline: Instant,
) -> Result<(), OpsError> {
    let step = "write an empty transaction";
    for gtid in set.each().take(EMPTY_MAX) {
        let gtid = quote(&gtid.to_string()).map_err(at(step))?;
        let sql = format!(
            "SET SESSION gtid_next={gtid}; BEGIN; COMMIT; SET SESSION gtid_next='AUTOMATIC'"
        );
        session.execute(&sql, deadline).await.map_err(at(step))?;
    }
    Ok(())
}

/// Forgets the markers of epochs that are over.
pub async fn forget_markers(
    session: &mut Session,
    below_epoch: u64,
    deadline: Instant,
) -> Result<(), OpsError> {
    let sql = format!("DELETE FROM primacy.marker WHERE epoch < {below_epoch}");
    session
        .execute(&sql, deadline)
        .await
        .map_err(at("forget old markers"))
}
