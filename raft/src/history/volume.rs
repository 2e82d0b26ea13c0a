//! One volume on the disk: its name, its size, its sled.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use primacy_core::ids::LogIndex;

use super::{HistoryEntry, HistoryError};
use crate::disk::{self, DiskError};

#[derive(Debug)]
pub struct Volume {
    pub first: LogIndex,
    /// When its first entry was proposed; nothing in an older volume is newer.
    pub wall_ms: u64,
    pub dir: PathBuf,
    pub bytes: u64,
}

pub fn key(index: LogIndex) -> [u8; 8] {
    index.0.to_be_bytes()
}

pub fn decode(value: &[u8]) -> Result<HistoryEntry, HistoryError> {
    rmp_serde::from_slice(value).map_err(|error| HistoryError::Codec(error.to_string()))
}

pub fn name(first: LogIndex, wall_ms: u64) -> String {
    format!("{:020}-{wall_ms:013}", first.0)
}

/// A history of one sled, as versions before this one wrote it, becomes the first volume.
pub fn adopt(dir: &Path) -> Result<(), DiskError> {
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

pub fn list(dir: &Path) -> Result<Vec<Volume>, HistoryError> {
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
pub fn bytes(dir: &Path) -> Result<u64, DiskError> {
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

pub fn delete(dir: &Path) -> Result<(), DiskError> {
    fs::remove_dir_all(dir).map_err(DiskError::at("delete", dir))?;
    disk::sync_dir(dir.parent().unwrap_or(Path::new(".")))
}

pub fn open_or_move_aside(dir: &Path, history: &Path) -> Result<sled::Db, HistoryError> {
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

pub fn sled_error(dir: &Path, source: sled::Error) -> HistoryError {
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
pub fn told(entry: &HistoryEntry) -> u64 {
    entry.proposal.wall_ms.min(wall_ms())
}

/// For people, and for the age of what is kept.
fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
