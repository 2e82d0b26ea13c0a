//! Whose directory this is. A log that answers under another node's id breaks every promise that
//! either node has made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use primacy_core::ids::NodeId;
use thiserror::Error;

use crate::disk::{self, DiskError};

/// The version of the directory's layout.
const LAYOUT: &str = "primacy-raft 1";

#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("{} is already in use: another process of this node is running", .0.display())]
    InUse(PathBuf),
    #[error(
        "{} belongs to node {found}, but this is node {expected}; check the node id and the data \
         directory in the configuration, and never copy a directory from one node to another",
        path.display()
    )]
    Foreign {
        path: PathBuf,
        found: String,
        expected: NodeId,
    },
    #[error(
        "{} is missing or unreadable, but its directory holds a log; restore it, or remove this \
         node and let it rejoin under a new id",
        .0.display()
    )]
    Lost(PathBuf),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Held for as long as this process uses the directory.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "holds the lock")] File);

/// Claims `dir` for `node`: the first time for ever, each time for this process alone.
pub fn claim(dir: &Path, node: NodeId) -> Result<DirLock, IdentityError> {
    disk::create_dir(dir)?;
    let lock_path = dir.join("lock");
    let lock = File::create(&lock_path).map_err(DiskError::at("create", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(IdentityError::InUse(dir.to_owned())),
        Err(fs::TryLockError::Error(source)) => {
            return Err(DiskError {
                act: "lock",
                path: lock_path,
                source,
            }
            .into());
        }
    }

    let path = dir.join("identity");
    let expected = format!("{LAYOUT}\nnode {node}\n");
    match fs::read_to_string(&path) {
        Ok(found) if found == expected => {}
        Ok(found) => {
            let Some(id) = found
                .strip_prefix(LAYOUT)
                .and_then(|rest| rest.trim().strip_prefix("node "))
            else {
                return Err(IdentityError::Lost(path));
            };
            return Err(IdentityError::Foreign {
                path,
                found: id.to_owned(),
                expected: node,
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.join("wal").exists() {
                return Err(IdentityError::Lost(path));
            }
            disk::write_whole(&path, &[expected.as_bytes()])?;
        }
        Err(source) => {
            return Err(DiskError {
                act: "read",
                path,
                source,
            }
            .into());
        }
    }
    Ok(DirLock(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_node_and_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let lock = claim(dir.path(), NodeId(1)).unwrap();
        assert!(matches!(
            claim(dir.path(), NodeId(1)),
            Err(IdentityError::InUse(_))
        ));
        drop(lock);
        let error = claim(dir.path(), NodeId(2)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("belongs to node 1, but this is node 2"),
            "{error}"
        );
        claim(dir.path(), NodeId(1)).unwrap();

        fs::create_dir(dir.path().join("wal")).unwrap();
        fs::remove_file(dir.path().join("identity")).unwrap();
        assert!(matches!(
            claim(dir.path(), NodeId(1)),
            Err(IdentityError::Lost(_))
        ));
    }
}
