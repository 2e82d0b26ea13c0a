//! The one thread that writes the log. It orders votes, entries and truncations.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use primacy_core::ids::NodeId;
use tokio::sync::oneshot;

use super::WalError;
use super::frame::{self, Tag};
use super::record::{Effect, Encoded, Meta};
use super::recover::next_path;
use super::segment::{self, HEADER_BYTES};
use crate::disk::{self, DiskError};
use crate::identity::DirLock;

/// A record that may wait (the committed position) is written at the latest after this.
const LAZY_WRITE_AFTER: Duration = Duration::from_millis(100);

/// A segment that is no longer written.
#[derive(Debug)]
pub struct Closed {
    pub path: PathBuf,
    pub index_max: u64,
}

/// The segment being written.
#[derive(Debug)]
pub struct Active {
    pub file: File,
    pub path: PathBuf,
    pub number: u64,
    /// Its size; zeros from `end` on.
    pub bytes: u64,
    pub end: u64,
    pub index_max: u64,
}

enum Job {
    /// Answered when durable.
    Durable(Vec<Encoded>, oneshot::Sender<Result<(), WalError>>),
    /// Durable with whatever comes next.
    Lazy(Encoded),
    Close,
}

/// The way to the writing thread.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by recovery, with what it found"
    )]
    pub(super) fn spawn(
        dir: &Path,
        node: NodeId,
        lock: Option<DirLock>,
        segment_bytes: u64,
        meta: Meta,
        closed: VecDeque<Closed>,
        active: Active,
        batch: u64,
    ) -> Result<Self, WalError> {
        let dir = dir.to_owned();
        let (jobs, queue) = mpsc::channel();
        let mut files = Files {
            dir: dir.clone(),
            node,
            segment_bytes,
            meta,
            closed,
            active,
            batch,
            buffer: Vec::new(),
        };
        let thread = thread::Builder::new()
            .name("raft-wal".to_owned())
            .spawn(move || {
                files.serve(&queue);
                drop(lock);
            })
            .map_err(DiskError::at("start the writer of", &dir))?;
        Ok(Self {
            jobs,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Writes `records` in this order; returns when they are durable.
    pub async fn write(&self, records: Vec<Encoded>) -> Result<(), WalError> {
        let (done, answer) = oneshot::channel();
        self.jobs
            .send(Job::Durable(records, done))
            .map_err(|_| WalError::Closed)?;
        answer.await.map_err(|_| WalError::Closed)?
    }

    /// Writes `record` with whatever comes next, soon.
    pub fn write_soon(&self, record: Encoded) -> Result<(), WalError> {
        self.jobs
            .send(Job::Lazy(record))
            .map_err(|_| WalError::Closed)
    }

    /// Ends the thread, which releases the directory. Blocks for at most one write.
    pub fn close(&self) {
        // A thread that has already ended took no more jobs: there is nothing to tell it.
        let _ = self.jobs.send(Job::Close);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the log's writer panicked");
        }
    }
}

struct Files {
    dir: PathBuf,
    node: NodeId,
    segment_bytes: u64,
    meta: Meta,
    closed: VecDeque<Closed>,
    active: Active,
    /// The number of the next batch.
    batch: u64,
    buffer: Vec<u8>,
}

impl Files {
    /// Until told to close, or until the disk fails: then every job is answered with that error,
    /// and none is tried again.
    fn serve(&mut self, queue: &mpsc::Receiver<Job>) {
        let mut lazy: Vec<Encoded> = Vec::new();
        let mut failed: Option<WalError> = None;
        loop {
            let first = if lazy.is_empty() {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(LAZY_WRITE_AFTER)
            };
            let mut records = std::mem::take(&mut lazy);
            let mut waiting = Vec::new();
            let mut close = matches!(first, Err(RecvTimeoutError::Disconnected));
            let write_now = first.is_err();
            for job in first.into_iter().chain(queue.try_iter()) {
                match job {
                    Job::Durable(more, done) => {
                        records.extend(more);
                        waiting.push(done);
                    }
                    Job::Lazy(record) => records.push(record),
                    Job::Close => close = true,
                }
            }
            if waiting.is_empty() && !close && !write_now {
                lazy = records;
                continue;
            }

            let result = match &failed {
                Some(error) => Err(error.clone()),
                None => self.write(&records),
            };
            if let Err(error) = &result {
                failed.get_or_insert_with(|| error.clone());
            }
            for done in waiting {
                // The asker may be gone with its runtime; the write stands.
                let _ = done.send(result.clone());
            }
            if close {
                return;
            }
        }
    }

    /// One batch: one write, one sync.
    fn write(&mut self, records: &[Encoded]) -> Result<(), WalError> {
        if records.is_empty() {
            return Ok(());
        }
        let room: u64 = records
            .iter()
            .map(|record| frame::room(record.body.len()) as u64)
            .sum();
        if self.active.end + room > self.active.bytes {
            self.roll(room)?;
        }

        self.buffer.clear();
        let of = u32::try_from(records.len()).expect("a batch is bounded by the queue");
        for (place, record) in (0..of).zip(records) {
            let tag = Tag {
                segment: self.active.number,
                batch: self.batch,
                place,
                of,
            };
            frame::put(&mut self.buffer, tag, &record.body);
        }
        let at = |act| DiskError::at(act, &self.active.path);
        self.active
            .file
            .write_all_at(&self.buffer, self.active.end)
            .map_err(at("write"))?;
        self.active.file.sync_data().map_err(at("sync"))?;
        self.active.end += room;
        self.batch += 1;

        let mut purged = false;
        for record in records {
            match &record.effect {
                Effect::None => {}
                Effect::Vote(vote) => self.meta.vote = Some(*vote),
                Effect::Committed(committed) => self.meta.committed = *committed,
                Effect::Append(index) => {
                    self.active.index_max = self.active.index_max.max(*index);
                }
                Effect::Purge(upto) => {
                    self.meta.purged = Some(*upto);
                    purged = true;
                }
            }
        }
        if purged { self.delete_purged() } else { Ok(()) }
    }

    /// Begins the next segment, with room for `room` bytes at least.
    fn roll(&mut self, room: u64) -> Result<(), WalError> {
        let number = self.active.number + 1;
        let mut first = Vec::new();
        let tag = Tag {
            segment: number,
            batch: self.batch,
            place: 0,
            of: 1,
        };
        frame::put(&mut first, tag, &Encoded::checkpoint(&self.meta)?.body);
        let end = (HEADER_BYTES + first.len()) as u64;
        let bytes = self.segment_bytes.max(end + room);
        let file = segment::create(&self.dir, self.node, number, &first, bytes)?;
        let path = next_path(&self.dir, number);
        let next = Active {
            file,
            path,
            number,
            bytes,
            end,
            index_max: 0,
        };
        let last = std::mem::replace(&mut self.active, next);
        self.closed.push_back(Closed {
            path: last.path,
            index_max: last.index_max,
        });
        self.batch += 1;
        Ok(())
    }

    /// Deletes the oldest segments that hold nothing above the purge, which is durable by now.
    fn delete_purged(&mut self) -> Result<(), WalError> {
        let Some(purged) = self.meta.purged else {
            return Ok(());
        };
        let mut deleted = false;
        while let Some(oldest) = self.closed.front()
            && oldest.index_max <= purged.index
        {
            fs::remove_file(&oldest.path).map_err(DiskError::at("delete", &oldest.path))?;
            self.closed.pop_front();
            deleted = true;
        }
        if deleted {
            disk::sync_dir(&self.dir)?;
        }
        Ok(())
    }
}
