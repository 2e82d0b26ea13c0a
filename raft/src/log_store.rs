//! openraft's log storage over the write-ahead log.
//!
//! ```text
//!  first:  founding begun (durable), then as below
//!  append: encode ─▶ WAL (durable) ─▶ visible to readers ─▶ IOFlushed ─▶ return
//!  vote:   encode ─▶ WAL (durable) ─▶ visible to readers ─▶ return
//!  purge:  history durable ─▶ WAL (durable) ─▶ segments deleted ─▶ gone for readers
//! ```
//!
//! openraft would allow `append` to return before the entry is durable. It must not: a leader
//! that replicates an entry, crashes without it and goes on in the same term would write another
//! at the same position.
//!
//! The whole unpurged log is kept in memory as well: the snapshot policy bounds it to some
//! thousand entries, and replication and apply then never read the disk.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use primacy_core::ids::{Position, Term};

use crate::admission::{Remains, aside};
use crate::fatal::{FatalCell, FatalError};
use crate::history::History;
use crate::types::{LogId, RaftEntry, RaftVote, TypeConfig, position};
use crate::wal::{Encoded, Meta, Recovered, WalError, Writer};

#[derive(Clone, Debug)]
pub struct LogStore {
    memory: Arc<RwLock<Memory>>,
    writer: Writer,
    history: History,
    remains: Remains,
    fatal: FatalCell,
}

#[derive(Debug)]
struct Memory {
    meta: Meta,
    entries: VecDeque<RaftEntry>,
}

impl LogStore {
    pub fn new(
        recovered: Recovered,
        writer: Writer,
        history: History,
        remains: Remains,
        fatal: FatalCell,
    ) -> Self {
        let Recovered { meta, entries } = recovered;
        let memory = Arc::new(RwLock::new(Memory { meta, entries }));
        Self {
            memory,
            writer,
            history,
            remains,
            fatal,
        }
    }

    /// The term of the vote, the end of the log, and how much of it is known to be committed: all
    /// that is shown here is durable.
    pub fn extent(&self) -> (Term, Position, Position) {
        let memory = self.read();
        let term = memory.meta.vote.map_or(0, |vote| vote.leader_id.term);
        let at = |id: Option<LogId>| id.as_ref().map(position).unwrap_or_default();
        let end = at(memory.last());
        (Term(term), end, at(memory.meta.committed).min(end))
    }

    /// Entries from `from` up to and including `upto`.
    pub fn entries(&self, from: u64, upto: u64) -> Vec<RaftEntry> {
        self.read().range(&(from..=upto))
    }

    pub fn close(&self) {
        self.writer.close();
    }

    fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Durable writing. An error is fatal for the node, and known at once, with its remedy.
    async fn durable(&self, records: Result<Vec<Encoded>, WalError>) -> Result<(), WalError> {
        let result = match records {
            Ok(records) => self.writer.write(records).await,
            Err(error) => Err(error),
        };
        self.noted(result)
    }

    /// Nothing is written that does not follow what is there: behind a snapshot that was refused, entries
    /// may still come.
    fn gap_before(&self, entries: &[RaftEntry]) -> Option<String> {
        let end = self.read().last().map_or(0, |last| last.index + 1);
        let indices = entries.iter().map(|entry| entry.log_id.index);
        let (index, next) = indices.zip(end..).find(|(index, next)| index != next)?;
        Some(format!("entry {index} is not the next one, {next}"))
    }

    /// Marks the founding as begun, before the first vote or entry.
    async fn begin(&self) -> Result<(), io::Error> {
        if self.remains.begun() {
            return Ok(());
        }
        let remains = self.remains.clone();
        aside(move || remains.begin()).await.map_err(|error| {
            let error = error.into_io();
            self.fatal.set(FatalError::new(&error));
            error
        })
    }

    fn noted<T>(&self, result: Result<T, WalError>) -> Result<T, WalError> {
        match &result {
            Ok(_) | Err(WalError::Closed) => {}
            Err(error) => self.fatal.set(FatalError::new(error.clone().into_io())),
        }
        result
    }
}

impl Memory {
    fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    fn last(&self) -> Option<LogId> {
        self.entries
            .back()
            .map(|entry| entry.log_id)
            .or(self.meta.purged)
    }

    fn range(&self, range: &impl RangeBounds<u64>) -> Vec<RaftEntry> {
        let Some(first) = self.first_index() else {
            return Vec::new();
        };
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        // Positions in the queue; what lies outside it is not in the log.
        let len = self.entries.len() as u64;
        let from = from.saturating_sub(first).min(len);
        let end = end.saturating_sub(first).min(len).max(from);
        self.entries
            .range(from as usize..end as usize)
            .cloned()
            .collect()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        Ok(self.read().range(&range))
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.read().meta.vote)
    }

    /// Replication asks for all that a follower lacks; one message carries a bounded part.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<RaftEntry>, io::Error> {
        let end = end.min(start.saturating_add(ENTRIES_PER_READ_MAX));
        Ok(self.read().range(&(start..end)))
    }
}

/// Keeps a replication message well below gRPC's limit with entries of some kilobytes.
const ENTRIES_PER_READ_MAX: u64 = 256;

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let memory = self.read();
        Ok(LogState {
            last_purged_log_id: memory.meta.purged,
            last_log_id: memory.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        self.begin().await?;
        let record = Encoded::vote(vote).map(|record| vec![record]);
        self.durable(record).await.map_err(WalError::into_io)?;
        self.write().meta.vote = Some(*vote);
        Ok(())
    }

    /// Not durable when it returns: it rides along with the next write. After a power cut the
    /// node may know less than it once did, which is why nothing is published before the node has
    /// recovered; see `Handle::watch`.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let result =
            Encoded::committed(committed).and_then(|record| self.writer.write_soon(record));
        self.noted(result).map_err(WalError::into_io)?;
        self.write().meta.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.read().meta.committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        if let Some(gap) = self.gap_before(&entries) {
            let error = io::Error::other(gap.clone());
            self.fatal.set(FatalError::new(&error));
            callback.io_completed(Err(io::Error::other(gap)));
            return Err(error);
        }
        let records = entries.iter().map(Encoded::append).collect();
        if let Err(error) = self.begin().await {
            callback.io_completed(Err(io::Error::new(error.kind(), error.to_string())));
            return Err(error);
        }
        if let Err(error) = self.durable(records).await {
            callback.io_completed(Err(error.clone().into_io()));
            return Err(error.into_io());
        }
        {
            let mut memory = self.write();
            memory.entries.extend(entries);
        }
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let after = last.map(|last| last.index);
        // Out of sight first: a reader must not be given what is about to be replaced.
        {
            let mut memory = self.write();
            while memory
                .entries
                .back()
                .is_some_and(|e| after.is_none_or(|a| e.log_id.index > a))
            {
                memory.entries.pop_back();
            }
        }
        let record = Encoded::truncate_after(after).map(|record| vec![record]);
        self.durable(record).await.map_err(WalError::into_io)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.history.make_durable().await.map_err(|error| {
            let error = error.into_io();
            self.fatal.set(FatalError::new(&error));
            error
        })?;
        let record = Encoded::purge(&upto).map(|record| vec![record]);
        self.durable(record).await.map_err(WalError::into_io)?;
        let mut memory = self.write();
        memory.meta.purged = Some(upto);
        while memory
            .entries
            .front()
            .is_some_and(|e| e.log_id.index <= upto.index)
        {
            memory.entries.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
