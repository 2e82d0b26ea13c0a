//! Small files that must survive a crash: written aside, synced, renamed, the directory synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    #[error("{path}: cannot be written")]
    Write { path: String, source: io::Error },
    #[error("{path}: cannot be read")]
    Read { path: String, source: io::Error },
    #[error(
        "{path}: is damaged; move it away and start again, the control plane rebuilds what it held"
    )]
    Damaged {
        path: String,
        source: serde_json::Error,
    },
}

/// Replaces the file's content; durable when it returns.
pub fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), DurableError> {
    let name = path.display().to_string();
    let wrong = |source| DurableError::Write {
        path: name.clone(),
        source,
    };
    let text = serde_json::to_vec_pretty(value).map_err(|source| DurableError::Damaged {
        path: name.clone(),
        source,
    })?;
    let aside = path.with_extension("new");
    let mut file = File::create(&aside).map_err(wrong)?;
    file.write_all(&text).map_err(wrong)?;
    file.sync_data().map_err(wrong)?;
    fs::rename(&aside, path).map_err(wrong)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(wrong)
}

/// Reads the file; `None` if there is none.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DurableError> {
    let name = path.display().to_string();
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| DurableError::Damaged { path: name, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DurableError::Read { path: name, source }),
    }
}
