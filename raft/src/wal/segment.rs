//! Segment files: their names, headers and making.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use primacy_core::ids::NodeId;

use super::frame::{crc32, u32_at, u64_at};
use super::{FORMAT_VERSION, WalError};
use crate::disk::{self, DiskError};

/// magic 8 │ version u32 │ crc u32 │ node u64 │ segment u64 │ zeros
pub const HEADER_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"PRIMACYW";
const ZEROS: &[u8] = &[0; 256 << 10];

pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016}.wal"))
}

/// The segments in `dir`, oldest first. Their numbers leave no gap.
pub fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, WalError> {
    let mut found = Vec::new();
    for path in disk::list(dir)? {
        let number = path
            .extension()
            .filter(|extension| *extension == "wal")
            .and_then(|_| path.file_stem()?.to_str()?.parse().ok());
        if let Some(number) = number {
            found.push((number, path));
        }
    }
    for pair in found.windows(2) {
        let [(before, _), (after, after_path)] = pair else {
            continue;
        };
        if before + 1 != *after {
            let what = format!("the segment before it is missing, number {}", after - 1);
            return Err(WalError::Damaged {
                path: after_path.clone(),
                offset: 0,
                what,
            });
        }
    }
    Ok(found)
}

/// Makes segment `number` with `first_frame`, filled with zeros up to `bytes`, durably.
pub fn create(
    dir: &Path,
    node: NodeId,
    number: u64,
    first_frame: &[u8],
    bytes: u64,
) -> Result<File, WalError> {
    let path = path(dir, number);
    let temporary = disk::temporary(&path);
    let at = |act| DiskError::at(act, &temporary);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .map_err(at("create"))?;
    file.write_all(&header(node, number)).map_err(at("write"))?;
    file.write_all(first_frame).map_err(at("write"))?;
    let mut left = bytes.saturating_sub((HEADER_BYTES + first_frame.len()) as u64);
    while left > 0 {
        let now = left.min(ZEROS.len() as u64);
        file.write_all(&ZEROS[..now as usize]).map_err(at("fill"))?;
        left -= now;
    }
    file.sync_all().map_err(at("sync"))?;
    disk::put_in_place(&temporary, &path)?;
    Ok(file)
}

fn header(node: NodeId, number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&node.0.to_le_bytes());
    header[24..32].copy_from_slice(&number.to_le_bytes());
    let crc = crc32(&[&header[..12], &header[16..]]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The whole file of a segment, its header checked.
pub fn read(path: &Path, node: NodeId, number: u64) -> Result<Vec<u8>, WalError> {
    let bytes = fs::read(path).map_err(DiskError::at("read", path))?;
    let damaged = |what: &str| WalError::Damaged {
        path: path.to_owned(),
        offset: 0,
        what: what.to_owned(),
    };
    let head = bytes
        .get(..HEADER_BYTES)
        .ok_or_else(|| damaged("its header is cut off"))?;
    if &head[..8] != MAGIC {
        return Err(damaged("its header is not that of a log segment"));
    }
    let version = u32_at(head, 8).unwrap_or_default();
    if version != FORMAT_VERSION {
        return Err(WalError::Version {
            path: path.to_owned(),
            found: version,
        });
    }
    if u32_at(head, 12) != Some(crc32(&[&head[..12], &head[16..]])) {
        return Err(damaged("its header fails its checksum"));
    }
    let found = NodeId(u64_at(head, 16).unwrap_or_default());
    if found != node {
        return Err(WalError::Foreign {
            path: path.to_owned(),
            found,
            expected: node,
        });
    }
    if u64_at(head, 24) != Some(number) {
        return Err(damaged("its header names another segment"));
    }
    Ok(bytes)
}
