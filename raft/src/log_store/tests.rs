//! Nothing is written that does not follow what is there.

use std::collections::BTreeMap;
use std::path::Path;

use openraft::EntryPayload;
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogStorage};
use primacy_core::ids::NodeId;

use super::LogStore;
use crate::config::Config;
use crate::fatal::FatalCell;
use crate::opening;
use crate::types::{LogId, RaftEntry};

fn id(index: u64) -> LogId {
    LogId::new(1.into(), index)
}

async fn opened(dir: &Path) -> (LogStore, FatalCell) {
    let fatal = FatalCell::new();
    let config = Config::new(NodeId(1), dir, BTreeMap::new());
    let opened = opening::open(&config, fatal.clone()).await.unwrap();
    (opened.log, fatal)
}

/// Appends these; the reason if that is refused.
async fn append(log: &mut LogStore, indexes: &[u64]) -> Result<(), String> {
    let entry = |index: &u64| RaftEntry::new(id(*index), EntryPayload::Blank);
    let entries: Vec<RaftEntry> = indexes.iter().map(entry).collect();
    let appended = log.append(entries, IOFlushed::noop()).await;
    appended.map_err(|error| error.to_string())
}

fn held(log: &LogStore) -> Vec<u64> {
    let entries = log.entries(0, 100);
    entries.iter().map(|entry| entry.log_id.index).collect()
}

#[tokio::test]
async fn a_gap_is_refused_stops_the_node_and_leaves_nothing_behind() {
    for (gap, why) in [
        (&[5][..], "entry 5 is not the next one, 4"),
        (&[4, 6], "entry 6 is not the next one, 5"),
        (&[3], "entry 3 is not the next one, 4"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, fatal) = opened(dir.path()).await;
        append(&mut log, &[0, 1]).await.unwrap();
        append(&mut log, &[2, 3]).await.unwrap();
        assert_eq!(append(&mut log, gap).await, Err(why.to_owned()));
        let fatal = fatal.get().map(|error| error.to_string());
        assert_eq!(fatal.as_deref(), Some(why));
        assert_eq!(held(&log), [0, 1, 2, 3]);
        log.close();
        drop(log);
        let (log, _) = opened(dir.path()).await;
        assert_eq!(held(&log), [0, 1, 2, 3]);
    }
}

/// What a snapshot covers is purged beyond the end of the log: entries go on behind that.
#[tokio::test]
async fn behind_a_snapshot_entries_follow_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = opened(dir.path()).await;
    append(&mut log, &[0, 1]).await.unwrap();
    log.purge(id(9)).await.unwrap();
    let why = "entry 9 is not the next one, 10".to_owned();
    assert_eq!(append(&mut log, &[9]).await, Err(why));
    append(&mut log, &[10, 11]).await.unwrap();
    assert_eq!(held(&log), [10, 11]);
}
