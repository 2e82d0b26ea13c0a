//! Ends replication for good: a promoted instance's former life, and what somebody else configured.

use tokio::time::Instant;

use super::ops::{KILL_DENIED, OpsError, at, is_unconfigured, kill_sessions, unapplied};
use super::session::{Session, number, quote};

/// Ends a promoted instance's former life as a replica.
///
/// Its applier is killed first: STOP REPLICA waits up to 60 s for one that holds half a
/// transaction, and returned at once in 6 of 6 cases after the kill. Refuses while anything
/// received is unapplied, because RESET discards it.
pub async fn clean_up(session: &mut Session, deadline: Instant) -> Result<(), OpsError> {
    let unapplied = unapplied(session, deadline).await?;
    if !unapplied.is_empty() {
        return Err(OpsError::WouldDiscard { unapplied });
    }
    let appliers = "SELECT CAST(PROCESSLIST_ID AS CHAR) AS id FROM performance_schema.threads \
                    WHERE NAME IN ('thread/sql/replica_sql','thread/sql/replica_worker') \
                    AND PROCESSLIST_ID IS NOT NULL";
    end_replication(session, appliers, "", deadline).await
}

/// Ends one replication channel, whatever it has received and not applied, and no other.
pub async fn end_channel(
    session: &mut Session,
    name: &str,
    deadline: Instant,
) -> Result<(), OpsError> {
    let name = quote(name).map_err(at("name the channel"))?;
    let of = |kind| {
        format!(
            "SELECT CAST(t.PROCESSLIST_ID AS CHAR) AS id \
             FROM performance_schema.replication_applier_status_by_{kind} s \
             JOIN performance_schema.threads t USING (THREAD_ID) \
             WHERE s.CHANNEL_NAME={name} AND t.PROCESSLIST_ID IS NOT NULL"
        )
    };
    let appliers = format!("{} UNION {}", of("coordinator"), of("worker"));
    let channel = format!(" FOR CHANNEL {name}");
    end_replication(session, &appliers, &channel, deadline).await
}

/// `appliers` selects their processlist ids; `channel` is empty for all channels.
async fn end_replication(
    session: &mut Session,
    appliers: &str,
    channel: &str,
    deadline: Instant,
) -> Result<(), OpsError> {
    let step = "find the applier";
    let sets = session.ask(appliers, deadline).await.map_err(at(step))?;
    let ids: Result<Vec<u64>, _> = sets
        .first()
        .into_iter()
        .flatten()
        .map(|row| number(row, "id"))
        .collect();
    match kill_sessions(session, &ids.map_err(at(step))?, deadline).await {
        // Without the grant STOP REPLICA may take its 60 s; nobody waits for it.
        Err(error) if error.code() == Some(KILL_DENIED) => {}
        answer => {
            answer?;
        }
    }
    for statement in ["STOP REPLICA", "RESET REPLICA ALL"] {
        let sql = format!("{statement}{channel}");
        match session.execute(&sql, deadline).await {
            Err(error) if !is_unconfigured(&error) => {
                return Err(at("reset replication")(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
