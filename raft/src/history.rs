//! The applied history: what a person reads after an incident. In sled, off the async threads.
//!
//! It is no part of the agreement: the state is rebuilt from snapshot and log without it. But the
//! log is purged only after the history below the purge is durable, so nothing leaves both.
//!
//! sled 0.34's `flush` only starts the writing (`sync_file_range`). Durable means: `flush`, then
//! fdatasync of its `db` file, then fsync of its directory. A sled that does not open is moved
//! aside and filled again from what the log still has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use primacy_core::ids::{LogIndex, Position};
use primacy_core::record::{Outcome, Proposal};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::disk::{self, DiskError};

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
    /// Opens the history in `dir`, moving one aside that does not open.
    pub fn open(dir: &Path) -> Result<Self, HistoryError> {
        let db = match open_sled(dir) {
            Ok(db) => db,
            Err(sled::Error::Io(error)) if disk::is_full(&error) => {
                return Err(sled_error(dir, sled::Error::Io(error)));
            }
            Err(error) => {
                let aside = aside(dir);
                tracing::warn!(
                    kept_in = %aside.display(),
                    "the history of applied entries does not open ({error}); it is moved aside \
                     and filled again from the log. Nothing agreed is lost, but incidents older \
                     than the log are only in the directory moved aside"
                );
                fs::rename(dir, &aside).map_err(DiskError::at("move aside", dir))?;
                disk::sync_dir(dir.parent().unwrap_or(Path::new(".")))?;
                open_sled(dir).map_err(|source| sled_error(dir, source))?
            }
        };
        let (jobs, queue) = mpsc::channel();
        let mut store = Store {
            dir: dir.to_owned(),
            db: Some(db),
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
        let job = Job::ReadNewest {
            before,
            limit,
            answer: done,
        };
        self.ask(job, answer).await
    }

    /// Which of `indexes` are not there.
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

fn open_sled(dir: &Path) -> sled::Result<sled::Db> {
    sled::Config::new()
        .path(dir)
        .flush_every_ms(None)
        .cache_capacity(16 << 20)
        .open()
}

fn sled_error(dir: &Path, source: sled::Error) -> HistoryError {
    match source {
        // Not its fault: nothing is to be moved away.
        sled::Error::Io(source) if disk::is_full(&source) => {
            DiskError::at("write the history in", dir)(source).into()
        }
        source => HistoryError::Sled {
            path: dir.to_owned(),
            source,
        },
    }
}

/// A free name beside `dir`.
fn aside(dir: &Path) -> PathBuf {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    dir.with_extension(format!("damaged-{now}"))
}

struct Store {
    dir: PathBuf,
    db: Option<sled::Db>,
    failed: Option<HistoryError>,
}

impl Store {
    fn serve(&mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            // An asker that is gone does not want its answer.
            match job {
                Job::Put(entries) => {
                    if let Err(error) = self.put(&entries) {
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
                    let _ = answer.send(self.read(from, limit));
                }
                Job::ReadNewest {
                    before,
                    limit,
                    answer,
                } => {
                    let _ = answer.send(self.read_newest(before, limit));
                }
                Job::Missing(indexes, answer) => {
                    let _ = answer.send(self.missing(indexes));
                }
                Job::Close => break,
            }
        }
        if let Err(error) = self.make_durable() {
            tracing::warn!("closing the history: {}", error.into_io());
        }
        self.db = None;
    }

    fn db(&self) -> Result<&sled::Db, HistoryError> {
        self.db.as_ref().ok_or(HistoryError::Closed)
    }

    fn put(&self, entries: &[HistoryEntry]) -> Result<(), HistoryError> {
        let db = self.db()?;
        for entry in entries {
            let value = rmp_serde::to_vec_named(entry)
                .map_err(|error| HistoryError::Codec(error.to_string()))?;
            db.insert(entry.at.index.0.to_be_bytes(), value)
                .map_err(|source| sled_error(&self.dir, source))?;
        }
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), HistoryError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.db()?
            .flush()
            .map_err(|source| sled_error(&self.dir, source))?;
        let file = self.dir.join("db");
        File::open(&file)
            .and_then(|db| db.sync_data())
            .map_err(DiskError::at("sync", &file))?;
        let blobs = self.dir.join("blobs");
        if blobs.is_dir() {
            disk::sync_dir(&blobs)?;
        }
        disk::sync_dir(&self.dir)?;
        Ok(())
    }

    fn read(&self, from: LogIndex, limit: usize) -> Result<Vec<HistoryEntry>, HistoryError> {
        let entries = self.db()?.range(from.0.to_be_bytes()..).take(limit);
        entries.map(|pair| self.entry(pair)).collect()
    }

    fn read_newest(
        &self,
        before: Option<LogIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, HistoryError> {
        let before = before.unwrap_or(LogIndex(u64::MAX));
        let entries = self.db()?.range(..before.0.to_be_bytes()).rev().take(limit);
        entries.map(|pair| self.entry(pair)).collect()
    }

    fn entry(
        &self,
        pair: sled::Result<(sled::IVec, sled::IVec)>,
    ) -> Result<HistoryEntry, HistoryError> {
        let (_, value) = pair.map_err(|source| sled_error(&self.dir, source))?;
        rmp_serde::from_slice(&value).map_err(|error| HistoryError::Codec(error.to_string()))
    }

    fn missing(&self, mut indexes: Vec<LogIndex>) -> Result<Vec<LogIndex>, HistoryError> {
        let db = self.db()?;
        let mut failed = None;
        indexes.retain(|index| match db.contains_key(index.0.to_be_bytes()) {
            Ok(there) => !there,
            Err(source) => {
                failed = Some(sled_error(&self.dir, source));
                false
            }
        });
        failed.map_or(Ok(indexes), Err)
    }
}
