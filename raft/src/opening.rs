//! What a node's directory holds, read at its start.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use primacy_core::ids::LogIndex;

use crate::admission::{Remains, RemainsError};
use crate::config::{Config, StartError};
use crate::disk::{DiskError, off_the_async_threads};
use crate::fatal::FatalCell;
use crate::history::{History, HistoryEntry, HistoryError};
use crate::log_store::LogStore;
use crate::snapshot::{SnapshotError, Snapshots};
use crate::state_machine::StateMachine;
use crate::types::position;
use crate::{identity, wal};

pub struct Opened {
    pub log: LogStore,
    pub remains: Remains,
    pub history: History,
    pub state_machine: StateMachine,
}

/// Reads the directory, off the async threads.
pub async fn open(config: &Config, fatal: FatalCell) -> Result<Opened, StartError> {
    let (dir, node, knows) = (config.dir.clone(), config.node_id, config.knows);
    let bounds = config.history.clone();
    let opening = off_the_async_threads(move || {
        let lock = identity::claim(&dir, node)?;
        let (recovered, writer) = wal::open(&dir.join("wal"), node, Some(lock))?;
        let (snapshots, newest) = Snapshots::open(&dir.join("snapshots"))?;
        if let Some((_, state)) = &newest {
            state.known_to(knows).map_err(SnapshotError::from)?;
        }
        let snapshot_index = newest
            .as_ref()
            .and_then(|(stored, _)| stored.meta.last_log_id);
        let snapshot_index = snapshot_index.map(|last| last.index);
        let purged_index = recovered.meta.purged.map(|purged| purged.index);
        if purged_index > snapshot_index {
            return Err(StartError::SnapshotLost {
                dir: dir.join("snapshots"),
                purged: LogIndex(purged_index.unwrap_or_default()),
            });
        }
        let log_is_empty = recovered.is_empty();
        if log_is_empty && newest.is_some() {
            return Err(RemainsError::LogLost {
                file: dir.join("snapshots"),
                dir,
            }
            .into());
        }
        let remains = Remains::open(&dir, log_is_empty)?;
        let history = History::open(&dir.join("history"), bounds)?;
        let (kept, beside) = (history.clone(), remains.clone());
        let log = LogStore::new(recovered, writer, kept, beside, fatal.clone());
        let state_machine = StateMachine::new(snapshots, newest, history.clone(), fatal, knows);
        Ok((
            Opened {
                log,
                remains,
                history,
                state_machine,
            },
            snapshot_index,
        ))
    });
    let opened = match opening.await {
        Ok(opened) => opened,
        Err(error) => {
            let path = config.dir.clone();
            return Err(DiskError {
                act: "open",
                path,
                source: error.into(),
            }
            .into());
        }
    };
    let (opened, snapshot_index) = opened?;
    if let Some(index) = snapshot_index {
        refill_history(&opened, index).await?;
    }
    Ok(opened)
}

/// What the snapshot covers is not applied again: where the history lacks it, the log may help.
async fn refill_history(opened: &Opened, snapshot_index: u64) -> Result<(), HistoryError> {
    let mut known = BTreeMap::new();
    for entry in opened.log.entries(0, snapshot_index) {
        let at = position(&entry.log_id);
        if let EntryPayload::Normal(logged) = entry.payload {
            known.insert(
                at.index,
                HistoryEntry {
                    at,
                    proposal: logged.0,
                    outcome: None,
                },
            );
        }
    }
    let missing = opened
        .history
        .missing(known.keys().copied().collect())
        .await?;
    let entries: Vec<_> = missing
        .iter()
        .filter_map(|index| known.remove(index))
        .collect();
    if !entries.is_empty() {
        tracing::warn!(
            "{} entries of the history come back from the log alone",
            entries.len()
        );
        opened.history.put(entries);
    }
    Ok(())
}
