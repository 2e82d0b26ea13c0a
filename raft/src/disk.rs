//! The few disk operations whose order matters, each with an error that a person can act on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::task::JoinError;

/// The disk refused. Names the file and what to do; the cause is the source.
#[derive(Debug, Error)]
#[error("cannot {act} {}; {}", path.display(), remedy(source))]
pub struct DiskError {
    pub act: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl DiskError {
    /// For `map_err`.
    pub(crate) fn at<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self {
            act,
            path: path.to_owned(),
            source,
        }
    }

    /// One line with its cause, for a consumer that knows only `io::Error`.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::new(self.source.kind(), format!("{self} ({})", self.source))
    }
}

/// Whether more space would have helped.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        _ if is_full(source) => {
            "the disk is full: free space on it (the file `ballast` in the node's folder may be \
             deleted), then start this node again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give this process the right to write there, then start this node again"
        }
        _ => {
            "check the disk and the kernel's log; if its data is lost, remove this node and let \
             it rejoin under a new id"
        }
    }
}

/// Makes a created, renamed or deleted name in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(DiskError::at("sync the directory", dir))
}

/// Creates `dir` with its parents, and makes its name durable.
pub fn create_dir(dir: &Path) -> Result<(), DiskError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(DiskError::at("create", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Puts `parts` at `path`: whole and durable, or not at all.
///
/// temporary file → fsync → rename → fsync of the directory
pub fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<(), DiskError> {
    let temporary = temporary(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .map_err(DiskError::at("create", &temporary))?;
    for part in parts {
        file.write_all(part)
            .map_err(DiskError::at("write", &temporary))?;
    }
    file.sync_all().map_err(DiskError::at("sync", &temporary))?;
    drop(file);
    put_in_place(&temporary, path)
}

/// Renames the durable `temporary` to `path`, durably.
pub fn put_in_place(temporary: &Path, path: &Path) -> Result<(), DiskError> {
    fs::rename(temporary, path).map_err(DiskError::at("rename into place", path))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Where the unfinished form of `path` is kept.
pub fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Deletes what a crash left unfinished in `dir`, and returns the other names, sorted.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(DiskError::at("list", dir))? {
        let path = entry.map_err(DiskError::at("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(DiskError::at("delete", &path))?;
        } else {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Work that waits for the disk; an error where it panicked. Once the process ends, and its runtime
/// carries nothing out any more, this never answers: nothing has failed.
pub async fn off_the_async_threads<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    match tokio::task::spawn_blocking(work).await {
        Err(error) if error.is_cancelled() => std::future::pending().await,
        ended => ended,
    }
}
