//! The applied history: what a person reads after an incident. In sled, off the async threads.
//!
//! It is no part of the agreement: the state is rebuilt from snapshot and log without it. But the
//! log is purged only after the history below the purge is durable, so nothing leaves both.
//!
//! It is bounded, by size and by age ([`Bounds`]). sled 0.34 gives nothing back to the disk, so the
//! history is cut into *volumes*, each a sled of its own, and the oldest goes as a whole
//! (`volumes.rs`); what goes is counted, and exported first where that is asked for (`gone.rs`).
//!
//! sled 0.34's `flush` only starts the writing (`sync_file_range`). Durable means: `flush`, then
//! fdatasync of its `db` file, then fsync of its directory. A sled that does not open is moved
//! aside and filled again from what the log still has.

mod gone;
#[cfg(test)]
mod tests;
mod volume;
mod volumes;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use primacy_core::ids::{LogIndex, Position};
use primacy_core::record::{Outcome, Proposal};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

pub use gone::Gone;

use crate::disk::DiskError;
use volumes::Volumes;

/// How much of it a node keeps. Whatever is over goes, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// On the disk, in MB of 2^20 bytes.
    pub max_mb: u64,
    /// Older than the newest entry.
    pub max_days: u64,
    /// Where what goes is written first, as JSON, an entry a line.
    pub export_dir: Option<PathBuf>,
}

impl Bounds {
    /// Below this a volume is mostly sled's own overhead.
    pub const LEAST_MB: u64 = 32;
}

impl Default for Bounds {
    /// Years of a quiet plane; of one whose cluster is in trouble without end, half a day.
    fn default() -> Self {
        Self {
            max_mb: 160,
            max_days: 365,
            export_dir: None,
        }
    }
}

/// One applied entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub at: Position,
    pub proposal: Proposal,
    /// Unknown if the history was lost and this entry came back from the log alone.
    pub outcome: Option<Outcome>,
}

#[derive(Debug, Error)]
pub enum HistoryError {
    #[error("the history in {} fails", path.display())]
    Sled { path: PathBuf, source: sled::Error },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("an entry of the history cannot be encoded or decoded: {0}")]
    Codec(String),
    #[error("the history has been closed")]
    Closed,
}

impl HistoryError {
    pub(crate) fn into_io(self) -> std::io::Error {
        match self {
            Self::Disk(error) => error.into_io(),
            Self::Sled { source, .. } => std::io::Error::other(format!(
                "the applied history cannot be written ({source}); check the disk. The history \
                 directory may be moved away: it is filled again from the log"
            )),
            other => std::io::Error::other(other.to_string()),
        }
    }
}

enum Job {
    Put(Vec<HistoryEntry>),
    MakeDurable(oneshot::Sender<Result<(), HistoryError>>),
    Read {
        from: LogIndex,
        limit: usize,
        answer: oneshot::Sender<Result<Vec<HistoryEntry>, HistoryError>>,
    },
    ReadNewest {
        before: Option<LogIndex>,
        limit: usize,
        answer: oneshot::Sender<Result<Vec<HistoryEntry>, HistoryError>>,
    },
    Gone(oneshot::Sender<Result<Gone, HistoryError>>),
    /// The indexes of `0..` that are there, of those asked for.
    Missing(
        Vec<LogIndex>,
        oneshot::Sender<Result<Vec<LogIndex>, HistoryError>>,
    ),
    Close,
}

/// The way to the history's thread. Jobs are served in order: a read sees every earlier put.
#[derive(Clone, Debug)]
pub struct History {
    jobs: mpsc::Sender<Job>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl History {
    /// Opens the history in `dir`. What of it does not open is moved aside.
    pub fn open(dir: &Path, bounds: Bounds) -> Result<Self, HistoryError> {
        let volumes = Volumes::open(dir, bounds)?;
        let (jobs, queue) = mpsc::channel();
        let mut store = Store {
            volumes,
            failed: None,
        };
        let thread = thread::Builder::new()
            .name("raft-history".to_owned())
            .spawn(move || store.serve(&queue))
            .map_err(DiskError::at("start the writer of", dir))?;
        Ok(Self {
            jobs,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Hands over applied entries. A failure shows at the next `make_durable`.
    pub fn put(&self, entries: Vec<HistoryEntry>) {
        // A closed history belongs to a node that stops: it replays its log when it returns.
        let _ = self.jobs.send(Job::Put(entries));
    }

    /// Returns when every entry put before is durable.
    pub async fn make_durable(&self) -> Result<(), HistoryError> {
        let (done, answer) = oneshot::channel();
        self.ask(Job::MakeDurable(done), answer).await
    }

    /// Oldest first.
    pub async fn read(
        &self,
        from: LogIndex,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, HistoryError> {
        let (done, answer) = oneshot::channel();
        self.ask(
            Job::Read {
                from,
                limit,
                answer: done,
            },
            answer,
        )
        .await
    }

    /// Newest first: those below `before`, or all.
    pub async fn read_newest(
        &self,
        before: Option<LogIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, HistoryError> {
        let (done, answer) = oneshot::channel();
        self.ask(
            Job::ReadNewest {
                before,
                limit,
                answer: done,
            },
            answer,
        )
        .await
    }

    /// What went, to keep the history within its bounds.
    pub async fn gone(&self) -> Result<Gone, HistoryError> {
        let (done, answer) = oneshot::channel();
        self.ask(Job::Gone(done), answer).await
    }

    /// Which of `indexes` are not there, and did not go to keep it within its bounds.
    pub async fn missing(&self, indexes: Vec<LogIndex>) -> Result<Vec<LogIndex>, HistoryError> {
        let (done, answer) = oneshot::channel();
        self.ask(Job::Missing(indexes, done), answer).await
    }

    async fn ask<T>(
        &self,
        job: Job,
        answer: oneshot::Receiver<Result<T, HistoryError>>,
    ) -> Result<T, HistoryError> {
        self.jobs.send(job).map_err(|_| HistoryError::Closed)?;
        answer.await.map_err(|_| HistoryError::Closed)?
    }

    /// Makes everything durable and ends the thread. Blocks.
    pub fn close(&self) {
        // A thread that has ended already took no more jobs.
        let _ = self.jobs.send(Job::Close);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the history's writer panicked");
        }
    }
}

struct Store {
    volumes: Volumes,
    failed: Option<HistoryError>,
}

impl Store {
    fn serve(&mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            // An asker that is gone does not want its answer.
            match job {
                Job::Put(entries) => {
                    if let Err(error) = self.volumes.put(&entries) {
                        self.failed.get_or_insert(error);
                    }
                }
                Job::MakeDurable(done) => {
                    let _ = done.send(self.make_durable());
                }
                Job::Read {
                    from,
                    limit,
                    answer,
                } => {
                    let _ = answer.send(self.volumes.read(from, limit));
                }
                Job::ReadNewest {
                    before,
                    limit,
                    answer,
                } => {
                    let _ = answer.send(self.volumes.read_newest(before, limit));
                }
                Job::Gone(answer) => {
                    let _ = answer.send(Ok(self.volumes.gone()));
                }
                Job::Missing(indexes, answer) => {
                    let _ = answer.send(self.volumes.missing(indexes));
                }
                Job::Close => break,
            }
        }
        if let Err(error) = self.make_durable() {
            tracing::warn!("closing the history: {}", error.into_io());
        }
        self.volumes.close();
    }

    fn make_durable(&mut self) -> Result<(), HistoryError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.volumes.make_durable(),
        }
    }
}
