//! The volumes of the history: each a sled in a folder of its own, named by its first entry.
//!
//! ```text
//! history/<first index>-<its wall clock, ms>/   the last one is written, the oldest goes first
//! history/gone                                  what went (gone.rs)
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use primacy_core::ids::LogIndex;

use super::gone::{Gone, Ledger};
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

#[derive(Debug)]
struct Volume {
    first: LogIndex,
    /// When its first entry was proposed; nothing in an older volume is newer.
    wall_ms: u64,
    dir: PathBuf,
    bytes: u64,
}

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

fn key(index: LogIndex) -> [u8; 8] {
    index.0.to_be_bytes()
}

fn decode(value: &[u8]) -> Result<HistoryEntry, HistoryError> {
    rmp_serde::from_slice(value).map_err(|error| HistoryError::Codec(error.to_string()))
}

fn name(first: LogIndex, wall_ms: u64) -> String {
    format!("{:020}-{wall_ms:013}", first.0)
}

/// A history of one sled, as versions before this one wrote it, becomes the first volume.
fn adopt(dir: &Path) -> Result<(), DiskError> {
    let moved = dir.with_extension("adopted");
    if dir.join("conf").is_file() || dir.join("db").is_file() {
        disk::create_dir(&moved)?;
        let first = moved.join(name(LogIndex::INITIAL, 0));
        fs::rename(dir, &first).map_err(DiskError::at("move", dir))?;
    }
    if moved.is_dir() {
        fs::rename(&moved, dir).map_err(DiskError::at("move", &moved))?;
        disk::sync_dir(dir.parent().unwrap_or(Path::new(".")))?;
    }
    disk::create_dir(dir)
}

fn list(dir: &Path) -> Result<Vec<Volume>, HistoryError> {
    let mut volumes = Vec::new();
    for path in disk::list(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((first, wall_ms)) = name.and_then(|name| name.split_once('-')) else {
            continue;
        };
        if let (Ok(first), Ok(wall_ms)) = (first.parse(), wall_ms.parse()) {
            volumes.push(Volume {
                first: LogIndex(first),
                wall_ms,
                bytes: bytes(&path)?,
                dir: path,
            });
        }
    }
    Ok(volumes)
}

/// What a folder takes on the disk.
fn bytes(dir: &Path) -> Result<u64, DiskError> {
    let mut sum = 0;
    for entry in fs::read_dir(dir).map_err(DiskError::at("list", dir))? {
        let entry = entry.map_err(DiskError::at("list", dir))?;
        let Ok(found) = entry.metadata() else {
            // sled has just replaced one of its files.
            continue;
        };
        sum += match found.is_dir() {
            true => bytes(&entry.path())?,
            false => found.len(),
        };
    }
    Ok(sum)
}

fn delete(dir: &Path) -> Result<(), DiskError> {
    fs::remove_dir_all(dir).map_err(DiskError::at("delete", dir))?;
    disk::sync_dir(dir.parent().unwrap_or(Path::new(".")))
}

fn open_or_move_aside(dir: &Path, history: &Path) -> Result<sled::Db, HistoryError> {
    let error = match open_sled(dir) {
        Ok(db) => return Ok(db),
        Err(sled::Error::Io(error)) if disk::is_full(&error) => {
            return Err(sled_error(dir, sled::Error::Io(error)));
        }
        Err(error) => error,
    };
    let aside = history.with_extension(format!("damaged-{}", wall_ms()));
    tracing::warn!(
        kept_in = %aside.display(),
        "a part of the history of applied entries does not open ({error}); it is moved aside and \
         filled again from the log. Nothing agreed is lost, but what of it is older than the log \
         is only in the directory moved aside"
    );
    fs::rename(dir, &aside).map_err(DiskError::at("move aside", dir))?;
    disk::sync_dir(history.parent().unwrap_or(Path::new(".")))?;
    open_sled(dir).map_err(|source| sled_error(dir, source))
}

fn open_sled(dir: &Path) -> sled::Result<sled::Db> {
    sled::Config::new()
        .path(dir)
        .flush_every_ms(None)
        .cache_capacity(8 << 20)
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

/// When an entry was proposed. A clock that is wrong, here or at its proposer, makes nobody old: the
/// earlier of the two is believed.
fn told(entry: &HistoryEntry) -> u64 {
    entry.proposal.wall_ms.min(wall_ms())
}

/// For people, and for the age of what is kept.
fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
