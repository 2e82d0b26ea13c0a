//! Snapshots: the whole state at one position, in one file.
//!
//! ```text
//! snapshots/<index>.snapshot: magic 8 │ version u32 │ crc u32 │ body length u64 │ body
//! ```
//!
//! A snapshot stands in for the entries below it, so it is durable before they are purged, and a
//! damaged one refuses to start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use primacy_core::record::{State, UnknownLevel};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::disk::{self, DiskError};
use crate::types::SnapshotMeta;
use crate::wal::frame_checksum;

const MAGIC: &[u8; 8] = b"PRIMACYS";
const FORMAT_VERSION: u32 = 1;
const HEAD_BYTES: usize = 24;

#[derive(Debug, Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "the snapshot {} is damaged: {what}; remove this node and let it rejoin under a new id, \
         since the entries that the snapshot stands for are purged",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "the snapshot {} has format {found}, and this version reads {FORMAT_VERSION}; start the \
         version that wrote it",
        path.display()
    )]
    Version { path: PathBuf, found: u32 },
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    #[error("cannot encode the state: {0}")]
    Encode(String),
    #[error("cannot read a snapshot that the leader sent: {0}")]
    Decode(String),
}

impl SnapshotError {
    pub(crate) fn into_io(self) -> std::io::Error {
        match self {
            Self::Disk(error) => error.into_io(),
            other => std::io::Error::other(other.to_string()),
        }
    }
}

/// A snapshot as it lies on the disk and as it crosses the network: cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotBytes(pub Arc<[u8]>);

#[derive(Serialize)]
struct BodyRef<'a> {
    meta: &'a SnapshotMeta,
    state: &'a State,
}

#[derive(Deserialize)]
struct Body {
    meta: SnapshotMeta,
    state: State,
}

pub fn encode(meta: &SnapshotMeta, state: &State) -> Result<SnapshotBytes, SnapshotError> {
    rmp_serde::to_vec_named(&BodyRef { meta, state })
        .map(|bytes| SnapshotBytes(bytes.into()))
        .map_err(|error| SnapshotError::Encode(error.to_string()))
}

pub fn decode(bytes: &SnapshotBytes) -> Result<(SnapshotMeta, State), SnapshotError> {
    let Body { meta, state } = rmp_serde::from_slice(&bytes.0)
        .map_err(|error| SnapshotError::Decode(error.to_string()))?;
    Ok((meta, state))
}

/// The newest snapshot in a directory, and the making of the next.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
}

/// A snapshot that is durable.
#[derive(Clone, Debug)]
pub struct Stored {
    pub meta: SnapshotMeta,
    pub bytes: SnapshotBytes,
}

impl Snapshots {
    /// Opens `dir`, with the newest snapshot in it.
    pub fn open(dir: &Path) -> Result<(Self, Option<(Stored, State)>), SnapshotError> {
        disk::create_dir(dir)?;
        let this = Self {
            dir: dir.to_owned(),
        };
        let newest = this.files()?.pop().map(|path| read(&path)).transpose()?;
        Ok((this, newest))
    }

    /// Makes a snapshot durable, then deletes the older ones.
    pub fn save(&self, stored: &Stored) -> Result<(), SnapshotError> {
        let index = stored.meta.last_log_id.map_or(0, |last| last.index);
        let path = self.dir.join(format!("{index:020}.snapshot"));
        let body = &stored.bytes.0;
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        head[12..16].copy_from_slice(&frame_checksum(&[body]).to_le_bytes());
        head[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
        disk::write_whole(&path, &[&head, body])?;

        let mut deleted = false;
        for older in self.files()?.into_iter().filter(|file| *file < path) {
            fs::remove_file(&older).map_err(DiskError::at("delete", &older))?;
            deleted = true;
        }
        if deleted {
            disk::sync_dir(&self.dir)?;
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<PathBuf>, DiskError> {
        let mut files = disk::list(&self.dir)?;
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "snapshot")
        });
        Ok(files)
    }
}

fn read(path: &Path) -> Result<(Stored, State), SnapshotError> {
    let file = fs::read(path).map_err(DiskError::at("read", path))?;
    let damaged = |what: &str| SnapshotError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let (head, body) = file
        .split_at_checked(HEAD_BYTES)
        .ok_or_else(|| damaged("its header is cut off"))?;
    if &head[..8] != MAGIC {
        return Err(damaged("its header is not that of a snapshot"));
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if version != FORMAT_VERSION {
        return Err(SnapshotError::Version {
            path: path.to_owned(),
            found: version,
        });
    }
    if head[16..24] != (body.len() as u64).to_le_bytes() {
        return Err(damaged("it is cut off"));
    }
    if head[12..16] != frame_checksum(&[body]).to_le_bytes() {
        return Err(damaged("it fails its checksum"));
    }
    let bytes = SnapshotBytes(body.into());
    let (meta, state) = decode(&bytes).map_err(|error| damaged(&error.to_string()))?;
    Ok((Stored { meta, bytes }, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_read_back_and_a_flipped_byte_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let (snapshots, none) = Snapshots::open(dir.path()).unwrap();
        assert!(none.is_none());
        for index in [5, 9] {
            let meta = SnapshotMeta {
                last_log_id: Some(openraft::LogId::new(1.into(), index)),
                ..SnapshotMeta::default()
            };
            let bytes = encode(&meta, &State::default()).unwrap();
            snapshots.save(&Stored { meta, bytes }).unwrap();
        }
        let files = snapshots.files().unwrap();
        assert_eq!(files.len(), 1, "older ones are deleted");
        let (_, newest) = Snapshots::open(dir.path()).unwrap();
        assert_eq!(newest.unwrap().0.meta.last_log_id.unwrap().index, 9);

        let mut bytes = fs::read(&files[0]).unwrap();
        bytes[HEAD_BYTES + 3] ^= 1;
        fs::write(&files[0], bytes).unwrap();
        let error = Snapshots::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("fails its checksum") && error.contains("new id"),
            "{error}"
        );
    }
}
