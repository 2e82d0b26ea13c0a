//! What went, to keep the history within its bounds: counted for ever, exported where it is asked
//! for, said.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use primacy_core::ids::LogIndex;
use serde::{Deserialize, Serialize};

use super::{Bounds, HistoryEntry, HistoryError};
use crate::disk::{self, DiskError};

/// What is no longer in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub entries: u64,
    /// Of these, how many were not exported.
    pub unexported: u64,
    /// Everything up to here.
    pub through: LogIndex,
}

/// The file `gone` beside the volumes, and where they are exported to.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    bounds: Bounds,
    gone: Gone,
    /// Said once, until an export succeeds again.
    export_failed: bool,
}

impl Ledger {
    pub fn open(dir: &Path, bounds: &Bounds) -> Result<Self, HistoryError> {
        let path = dir.join("gone");
        let gone = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| HistoryError::Codec(format!("{}: {error}", path.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Gone::default(),
            Err(source) => return Err(DiskError::at("read", &path)(source).into()),
        };
        Ok(Self {
            path,
            bounds: bounds.clone(),
            gone,
            export_failed: false,
        })
    }

    pub fn gone(&self) -> Gone {
        self.gone
    }

    /// Before a volume is deleted: its entries, and its last position. Durable when it returns.
    pub fn goes(
        &mut self,
        first: LogIndex,
        through: LogIndex,
        entries: impl Iterator<Item = Result<HistoryEntry, HistoryError>>,
    ) -> Result<(), HistoryError> {
        let (count, exported) = match self.bounds.export_dir.clone() {
            Some(dir) => self.export(&dir, first, entries),
            None => (entries.count() as u64, false),
        };
        if self.gone.entries == 0 && self.bounds.export_dir.is_none() {
            tracing::warn!(
                "the history has reached its bound, and its oldest entries go from now on, \
                 counted and not exported: raise history.max_mb ({}) or history.max_days ({}), or \
                 name a folder in history.export_dir",
                self.bounds.max_mb,
                self.bounds.max_days
            );
        }
        self.gone = Gone {
            entries: self.gone.entries + count,
            unexported: self.gone.unexported + if exported { 0 } else { count },
            through: self.gone.through.max(through),
        };
        let Gone {
            entries,
            unexported,
            ..
        } = self.gone;
        tracing::info!(
            "the history's {count} entries up to {through} go, to keep it within its bounds; \
             {entries} so far, {unexported} of them not exported"
        );
        let text = serde_json::to_vec(&self.gone)
            .map_err(|error| HistoryError::Codec(error.to_string()))?;
        Ok(disk::write_whole(&self.path, &[&text, b"\n"])?)
    }

    /// How many there were, and whether all are in the file. Where they cannot be written the bound
    /// wins: a history that fills the disk would stop the node.
    fn export(
        &mut self,
        dir: &Path,
        first: LogIndex,
        entries: impl Iterator<Item = Result<HistoryEntry, HistoryError>>,
    ) -> (u64, bool) {
        let path = dir.join(format!("history-{:020}.jsonl", first.0));
        let mut count = 0;
        let mut counted = entries.inspect(|_| count += 1);
        let written = write_lines(&path, &mut counted);
        counted.for_each(drop);
        match &written {
            Ok(()) => self.export_failed = false,
            Err(error) if !self.export_failed => {
                tracing::warn!(
                    "the history's oldest entries go without having been exported: {error:#}"
                );
                self.export_failed = true;
            }
            Err(_) => {}
        }
        (count, written.is_ok())
    }
}

fn write_lines(
    path: &Path,
    entries: impl Iterator<Item = Result<HistoryEntry, HistoryError>>,
) -> Result<(), io::Error> {
    let in_name =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    disk::create_dir(path.parent().unwrap_or(Path::new("."))).map_err(DiskError::into_io)?;
    let temporary = disk::temporary(path);
    let file = File::create(&temporary).map_err(in_name)?;
    let mut out = BufWriter::new(file);
    for entry in entries {
        let entry = entry.map_err(HistoryError::into_io)?;
        serde_json::to_writer(&mut out, &entry).map_err(io::Error::other)?;
        out.write_all(b"\n").map_err(in_name)?;
    }
    let file = out
        .into_inner()
        .map_err(|error| in_name(error.into_error()))?;
    file.sync_all().map_err(in_name)?;
    disk::put_in_place(&temporary, path).map_err(DiskError::into_io)
}
