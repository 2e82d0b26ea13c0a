//! The volumes of the history: each a sled in a folder of its own, named by its first entry.
//!
//! ```text
//! history/<first index>-<its wall clock, ms>/   the last one is written, the oldest goes first
//! history/gone                                  what went (gone.rs)
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use primacy_core::ids::LogIndex;

use super::gone::{Gone, Ledger};
use super::volume::{
    Volume, adopt, bytes, decode, delete, key, list, name, open_or_move_aside, sled_error, told,
};
use super::{Bounds, HistoryEntry, HistoryError};
use crate::disk::{self, DiskError};

/// As many volumes as the bounds hold: what goes at once is so much of the whole.
const VOLUMES: u64 = 32;
const MB: u64 = 1 << 20;
const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// Entries between two looks at the size of the volume that is written.
const LOOK_EVERY: u32 = 64;
/// Open at once: the one that is written, and one that is read.
const OPEN_MAX: usize = 2;

struct Open {
    first: LogIndex,
    db: sled::Db,
    /// Something was put since it was last made durable.
    dirty: bool,
}

pub struct Volumes {
    dir: PathBuf,
    bounds: Bounds,
    /// Oldest first.
    volumes: Vec<Volume>,
    open: Vec<Open>,
    /// The highest entry.
    last: LogIndex,
    /// The newest wall clock of an entry.
    newest_ms: u64,
    since_look: u32,
    ledger: Ledger,
}

impl Volumes {
    pub fn open(dir: &Path, bounds: Bounds) -> Result<Self, HistoryError> {
        adopt(dir)?;
        let ledger = Ledger::open(dir, &bounds)?;
        let mut this = Self {
            dir: dir.to_owned(),
            bounds,
            volumes: list(dir)?,
            open: Vec::new(),
            last: LogIndex::INITIAL,
            newest_ms: 0,
            since_look: 0,
            ledger,
        };
        this.finish_deleting()?;
        if let Some(newest) = this.volumes.len().checked_sub(1) {
            let last = this.db(newest)?.iter().next_back().transpose();
            let last = last.map_err(|source| sled_error(&this.volumes[newest].dir, source))?;
            if let Some((_, value)) = last {
                let entry = decode(&value)?;
                this.last = entry.at.index;
                this.newest_ms = told(&entry);
            }
        }
        Ok(this)
    }

    /// A crash may have come between the word that a volume goes and its end.
    fn finish_deleting(&mut self) -> Result<(), HistoryError> {
        let through = self.ledger.gone().through;
        let whole = |pair: &[Volume]| pair[1].first <= through;
        let gone = self
            .volumes
            .windows(2)
            .take_while(|pair| whole(pair))
            .count();
        for volume in self.volumes.drain(..gone) {
            delete(&volume.dir)?;
        }
        Ok(())
    }

    pub fn gone(&self) -> Gone {
        self.ledger.gone()
    }

    pub fn put(&mut self, entries: &[HistoryEntry]) -> Result<(), HistoryError> {
        for entry in entries {
            let index = entry.at.index;
            // Applied once more after a restart, and gone already.
            if index <= self.gone().through {
                continue;
            }
            if index > self.last {
                self.roll(entry)?;
                self.last = index;
                self.newest_ms = self.newest_ms.max(told(entry));
            }
            let value = rmp_serde::to_vec_named(entry)
                .map_err(|error| HistoryError::Codec(error.to_string()))?;
            let at = self.of(index);
            let db = self.db(at)?;
            db.insert(key(index), value)
                .map_err(|source| sled_error(&self.volumes[at].dir, source))?;
            self.soil(at);
        }
        Ok(())
    }

    /// Begins a new volume where the last is full or old, and lets the oldest go.
    fn roll(&mut self, entry: &HistoryEntry) -> Result<(), HistoryError> {
        self.since_look += 1;
        let wall_ms = told(entry);
        let age_max_ms = self.bounds.max_days.saturating_mul(DAY_MS);
        let fresh = match self.volumes.last_mut() {
            None => true,
            Some(volume) => {
                if self.since_look >= LOOK_EVERY {
                    self.since_look = 0;
                    volume.bytes = bytes(&volume.dir)?;
                }
                volume.bytes >= self.bounds.max_mb.saturating_mul(MB) / VOLUMES
                    || wall_ms.saturating_sub(volume.wall_ms) > age_max_ms / VOLUMES
            }
        };
        if fresh {
            self.close_newest()?;
            let dir = self.dir.join(name(entry.at.index, wall_ms));
            disk::create_dir(&dir)?;
            self.volumes.push(Volume {
                first: entry.at.index,
                wall_ms,
                dir,
                bytes: 0,
            });
        }
        if fresh || self.since_look == 0 {
            self.trim(age_max_ms)?;
        }
        Ok(())
    }

    fn close_newest(&mut self) -> Result<(), HistoryError> {
        let Some(at) = self.volumes.len().checked_sub(1) else {
            return Ok(());
        };
        self.make_durable()?;
        let volume = &mut self.volumes[at];
        self.open.retain(|open| open.first != volume.first);
        volume.bytes = bytes(&volume.dir)?;
        Ok(())
    }

    fn trim(&mut self, age_max_ms: u64) -> Result<(), HistoryError> {
        loop {
            let [oldest, next, ..] = &self.volumes[..] else {
                return Ok(());
            };
            let bytes: u64 = self.volumes.iter().map(|volume| volume.bytes).sum();
            let old = self.newest_ms.saturating_sub(next.wall_ms) > age_max_ms;
            if bytes <= self.bounds.max_mb.saturating_mul(MB) && !old {
                return Ok(());
            }
            let (first, dir) = (oldest.first, oldest.dir.clone());
            let through = LogIndex(next.first.0.saturating_sub(1));
            let db = self.db(0)?;
            let entries = db.iter().map(|pair| {
                let (_, value) = pair.map_err(|source| sled_error(&dir, source))?;
                decode(&value)
            });
            self.ledger.goes(first, through, entries)?;
            drop(db);
            self.open.retain(|open| open.first != first);
            self.volumes.remove(0);
            delete(&dir)?;
        }
    }

    /// Which volume an entry belongs to. There is one.
    fn of(&self, index: LogIndex) -> usize {
        let after = self.volumes.partition_point(|volume| volume.first <= index);
        after.saturating_sub(1)
    }

    /// Opens a volume, closing another one; one that does not open is moved aside.
    fn db(&mut self, at: usize) -> Result<sled::Db, HistoryError> {
        let Volume { first, dir, .. } = &self.volumes[at];
        if let Some(open) = self.open.iter().find(|open| open.first == *first) {
            return Ok(open.db.clone());
        }
        let (first, dir) = (*first, dir.clone());
        let db = open_or_move_aside(&dir, &self.dir)?;
        let newest = self.volumes.last().map(|volume| volume.first);
        if self.open.len() >= OPEN_MAX
            && let Some(other) = self.open.iter().position(|open| Some(open.first) != newest)
        {
            self.make_durable()?;
            self.open.remove(other);
        }
        self.open.push(Open {
            first,
            db: db.clone(),
            dirty: false,
        });
        Ok(db)
    }

    fn soil(&mut self, at: usize) {
        let first = self.volumes[at].first;
        if let Some(open) = self.open.iter_mut().find(|open| open.first == first) {
            open.dirty = true;
        }
    }

    pub fn make_durable(&mut self) -> Result<(), HistoryError> {
        for open in self.open.iter_mut().filter(|open| open.dirty) {
            let volume = self
                .volumes
                .iter()
                .find(|volume| volume.first == open.first);
            let Some(Volume { dir, .. }) = volume else {
                continue;
            };
            open.db.flush().map_err(|source| sled_error(dir, source))?;
            let file = dir.join("db");
            File::open(&file)
                .and_then(|db| db.sync_data())
                .map_err(DiskError::at("sync", &file))?;
            let blobs = dir.join("blobs");
            if blobs.is_dir() {
                disk::sync_dir(&blobs)?;
            }
            disk::sync_dir(dir)?;
            open.dirty = false;
        }
        Ok(())
    }

    pub fn close(&mut self) {
        self.open.clear();
    }

    pub fn read(
        &mut self,
        from: LogIndex,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, HistoryError> {
        let mut found = Vec::new();
        if self.volumes.is_empty() {
            return Ok(found);
        }
        for at in self.of(from)..self.volumes.len() {
            if found.len() >= limit {
                break;
            }
            let db = self.db(at)?;
            let pairs = db.range(key(from)..).take(limit - found.len());
            self.take(at, pairs, &mut found)?;
        }
        Ok(found)
    }

    pub fn read_newest(
        &mut self,
        before: Option<LogIndex>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, HistoryError> {
        let before = before.unwrap_or(LogIndex(u64::MAX));
        let mut found = Vec::new();
        if self.volumes.is_empty() {
            return Ok(found);
        }
        for at in (0..=self.of(before)).rev() {
            if found.len() >= limit {
                break;
            }
            let db = self.db(at)?;
            let pairs = db.range(..key(before)).rev().take(limit - found.len());
            self.take(at, pairs, &mut found)?;
        }
        Ok(found)
    }

    fn take(
        &self,
        at: usize,
        pairs: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
        found: &mut Vec<HistoryEntry>,
    ) -> Result<(), HistoryError> {
        for pair in pairs {
            let (_, value) = pair.map_err(|source| sled_error(&self.volumes[at].dir, source))?;
            found.push(decode(&value)?);
        }
        Ok(())
    }

    pub fn missing(&mut self, indexes: Vec<LogIndex>) -> Result<Vec<LogIndex>, HistoryError> {
        let through = self.gone().through;
        let mut missing = Vec::new();
        for index in indexes.into_iter().filter(|index| *index > through) {
            if self.volumes.is_empty() {
                missing.push(index);
                continue;
            }
            let at = self.of(index);
            let there = self.db(at)?.contains_key(key(index));
            if !there.map_err(|source| sled_error(&self.volumes[at].dir, source))? {
                missing.push(index);
            }
        }
        Ok(missing)
    }
}
