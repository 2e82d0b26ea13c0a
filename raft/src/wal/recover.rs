//! Reads the segments at start: what was promised is there, or the node does not start.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use primacy_core::ids::NodeId;

use super::frame::{self, Tag};
use super::record::{Encoded, Meta, Record};
use super::segment::{self, HEADER_BYTES};
use super::writer::{Active, Closed, Writer};
use super::{SEGMENT_BYTES, WalError};
use crate::disk::{self, DiskError};
use crate::identity::DirLock;
use crate::types::RaftEntry;

/// What the log held.
#[derive(Debug, Default)]
pub struct Recovered {
    pub meta: Meta,
    /// Without a gap; the first follows on what was purged.
    pub entries: VecDeque<RaftEntry>,
}

impl Recovered {
    /// Neither a vote nor an entry was ever written.
    pub fn is_empty(&self) -> bool {
        self.meta.vote.is_none() && self.meta.purged.is_none() && self.entries.is_empty()
    }
}

/// Opens the log in `dir`, or begins one there. `lock` is held for as long as it may be written.
pub fn open(
    dir: &Path,
    node: NodeId,
    lock: Option<DirLock>,
) -> Result<(Recovered, Writer), WalError> {
    open_with(dir, node, lock, SEGMENT_BYTES)
}

pub(super) fn open_with(
    dir: &Path,
    node: NodeId,
    lock: Option<DirLock>,
    segment_bytes: u64,
) -> Result<(Recovered, Writer), WalError> {
    disk::create_dir(dir)?;
    let mut segments = segment::list(dir)?;
    if segments.is_empty() {
        let mut first = Vec::new();
        let tag = Tag {
            segment: 1,
            batch: 1,
            place: 0,
            of: 1,
        };
        frame::put(
            &mut first,
            tag,
            &Encoded::checkpoint(&Meta::default())?.body,
        );
        segment::create(dir, node, 1, &first, segment_bytes)?;
        segments = segment::list(dir)?;
    }

    let mut replay = Replay::default();
    let last = segments.len() - 1;
    let mut closed = VecDeque::new();
    let mut end = HEADER_BYTES;
    for (at, (number, path)) in segments.iter().enumerate() {
        let bytes = segment::read(path, node, *number)?;
        replay.index_max = 0;
        end = replay.segment(path, *number, &bytes, at == last)?;
        if at < last {
            replay.end_before = Some((path.clone(), end as u64));
            closed.push_back(Closed {
                path: path.clone(),
                index_max: replay.index_max,
            });
        }
    }
    let (number, path) = segments.swap_remove(last);
    replay.check_whole(&path, end)?;

    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(DiskError::at("open", &path))?;
    let active = Active {
        bytes: file
            .metadata()
            .map_err(DiskError::at("inspect", &path))?
            .len(),
        file,
        path,
        number,
        end: end as u64,
        index_max: replay.index_max,
    };
    let meta = replay.recovered.meta.clone();
    let batch = replay.batch_next.unwrap_or(1);
    let writer = Writer::spawn(dir, node, lock, segment_bytes, meta, closed, active, batch)?;
    Ok((replay.recovered, writer))
}

#[derive(Default)]
struct Replay {
    recovered: Recovered,
    /// Unknown before the first frame of the oldest segment.
    batch_next: Option<u64>,
    /// The highest index appended in the segment being read.
    index_max: u64,
    /// Where the records of the segment before end.
    end_before: Option<(PathBuf, u64)>,
}

/// Why a batch could not be read where it was expected.
struct Unreadable {
    offset: usize,
}

impl Replay {
    /// Reads one segment; returns where its records end.
    fn segment(
        &mut self,
        path: &Path,
        number: u64,
        bytes: &[u8],
        is_last: bool,
    ) -> Result<usize, WalError> {
        let mut offset = HEADER_BYTES;
        loop {
            match self.batch(path, number, bytes, offset)? {
                Ok(end) => offset = end,
                Err(unreadable) => {
                    return self.tail(path, number, bytes, offset, &unreadable, is_last);
                }
            }
        }
    }

    /// Reads one whole batch and applies it; returns where it ends.
    fn batch(
        &mut self,
        path: &Path,
        number: u64,
        bytes: &[u8],
        start: usize,
    ) -> Result<Result<usize, Unreadable>, WalError> {
        let mut offset = start;
        let mut records = Vec::new();
        loop {
            let place = records.len() as u32;
            let Some((tag, body)) = frame::get(&bytes[offset.min(bytes.len())..], number) else {
                return Ok(Err(Unreadable { offset }));
            };
            let batch = *self.batch_next.get_or_insert(tag.batch);
            if (tag.batch, tag.place) != (batch, place) {
                return Ok(Err(Unreadable { offset }));
            }
            let record: Record = rmp_serde::from_slice(body).map_err(|error| {
                let what = format!("its checksum holds, but it cannot be read: {error}");
                WalError::Damaged {
                    path: path.to_owned(),
                    offset: offset as u64,
                    what,
                }
            })?;
            records.push((offset, record));
            offset += frame::room(body.len());
            if tag.place + 1 == tag.of {
                break;
            }
        }
        for (at, record) in records {
            self.apply(record).map_err(|what| WalError::Damaged {
                path: path.to_owned(),
                offset: at as u64,
                what,
            })?;
        }
        self.batch_next = self.batch_next.map(|batch| batch + 1);
        Ok(Ok(offset))
    }

    /// The batch at `start` is not there whole. Either the log ends here, or it is damaged.
    fn tail(
        &self,
        path: &Path,
        number: u64,
        bytes: &[u8],
        start: usize,
        unreadable: &Unreadable,
        is_last: bool,
    ) -> Result<usize, WalError> {
        let damaged = |what: String| WalError::Damaged {
            path: path.to_owned(),
            offset: unreadable.offset as u64,
            what,
        };
        let Some(expected) = self.batch_next else {
            return Err(damaged("its first record is unreadable".to_owned()));
        };
        // A segment appears with its first record, whole. If that is not the next one, then the
        // end of the segment before is what is missing.
        if start == HEADER_BYTES {
            let intact = frame::get(&bytes[start.min(bytes.len())..], number).is_some();
            return Err(match &self.end_before {
                Some((path, offset)) if intact => WalError::Damaged {
                    path: path.clone(),
                    offset: *offset,
                    what: format!("batch {expected} is unreadable, but a newer segment follows"),
                },
                _ => damaged("its first record is unreadable".to_owned()),
            });
        }
        let rest = &bytes[start.min(bytes.len())..];
        let younger = frame::search(rest, number).find(|(_, tag)| tag.batch > expected);
        if let Some((at, tag)) = younger {
            return Err(damaged(format!(
                "batch {expected} is unreadable, but batch {} follows at byte {}",
                tag.batch,
                start + at
            )));
        }
        if is_last && rest.iter().any(|byte| *byte != 0) {
            tracing::warn!(
                file = %path.display(),
                offset = start,
                "the log's last write was torn by a crash; it was promised to nobody and is cut"
            );
            cut(path, start as u64, rest.len())?;
        }
        Ok(start)
    }

    fn apply(&mut self, record: Record) -> Result<(), String> {
        let Recovered { meta, entries } = &mut self.recovered;
        match record {
            Record::Checkpoint(checkpoint) => *meta = checkpoint,
            Record::Vote(vote) => meta.vote = Some(vote),
            Record::Committed(committed) => meta.committed = committed,
            Record::Append(entry) => {
                let index = entry.log_id.index;
                if let Some(last) = entries.back()
                    && last.log_id.index + 1 != index
                {
                    return Err(format!("entry {index} follows on {}", last.log_id.index));
                }
                self.index_max = self.index_max.max(index);
                entries.push_back(entry);
            }
            Record::TruncateAfter(after) => {
                while entries
                    .back()
                    .is_some_and(|e| after.is_none_or(|a| e.log_id.index > a))
                {
                    entries.pop_back();
                }
            }
            Record::Purge(upto) => {
                meta.purged = Some(upto);
                while entries
                    .front()
                    .is_some_and(|e| e.log_id.index <= upto.index)
                {
                    entries.pop_front();
                }
            }
        }
        Ok(())
    }

    /// What was read holds together: no gap above the purge, nothing committed is missing.
    fn check_whole(&mut self, path: &Path, end: usize) -> Result<(), WalError> {
        let damaged = |what: String| WalError::Damaged {
            path: path.to_owned(),
            offset: end as u64,
            what,
        };
        let Recovered { meta, entries } = &mut self.recovered;
        while entries
            .front()
            .is_some_and(|e| meta.purged.is_some_and(|p| e.log_id.index <= p.index))
        {
            entries.pop_front();
        }
        let first_possible = meta.purged.map_or(0, |purged| purged.index + 1);
        if let Some(first) = entries.front()
            && first.log_id.index != first_possible
        {
            let first = first.log_id.index;
            return Err(damaged(format!(
                "entries {first_possible} to {} are missing",
                first - 1
            )));
        }
        let last = entries.back().map(|e| e.log_id).or(meta.purged);
        if meta.committed > last {
            let index = meta.committed.map_or(0, |committed| committed.index);
            return Err(damaged(format!(
                "entry {index} was committed, and is missing"
            )));
        }
        Ok(())
    }
}

/// Zeros the torn end, so that no frame of it can be taken for a later one.
fn cut(path: &Path, from: u64, bytes: usize) -> Result<(), WalError> {
    let at = |act| DiskError::at(act, path);
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(at("open"))?;
    file.write_all_at(&vec![0; bytes], from)
        .map_err(at("write"))?;
    file.sync_data().map_err(at("sync"))?;
    Ok(())
}

/// For the writer: the path of the segment that follows.
pub(super) fn next_path(dir: &Path, number: u64) -> PathBuf {
    segment::path(dir, number)
}
