//! What a node keeps beside its log: of which founding it is, and what the others have told it.
//!
//! ```text
//! founding   its id; begun or not: written whole, before the first vote or entry
//! peers      of each member the highest that it ever told
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use primacy_core::ids::NodeId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::word::Marks;
use crate::disk::{self, DiskError};

/// Tells one founding of a plane from every other, also of a plane of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FoundingId(String);

impl FoundingId {
    /// Of 128 random bits.
    pub fn draw() -> Result<Self, DiskError> {
        let source = Path::new("/dev/urandom");
        let mut bytes = [0; 16];
        File::open(source)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(DiskError::at("read", source))?;
        Ok(Self(format!("{:032x}", u128::from_le_bytes(bytes))))
    }

    #[cfg(test)]
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for FoundingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Debug, Error)]
pub enum RemainsError {
    #[error(
        "{} says that this node has taken part, and {} holds no log: a node that has lost its log \
         must not vote, it could undo what a majority agreed. Put back the disk that it ran on \
         (no older copy), or replace it: `primacy control replace` admits it under a new id",
        file.display(), dir.display()
    )]
    LogLost { file: PathBuf, dir: PathBuf },
    #[error(
        "{} is damaged ({what}), and nothing else says whether this node has taken part; put back \
         the disk that it ran on, or replace it: `primacy control replace` admits it under a new \
         id",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The file `founding`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// None as well for a node that took part before foundings had ids.
    #[serde(default)]
    pub id: Option<FoundingId>,
    /// It may have voted, or confirmed an entry.
    pub begun: bool,
}

/// The file `peers`.
type Kept = BTreeMap<NodeId, Marks>;

/// Both files of one node's folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remains(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    founding: Mutex<Founding>,
    kept: Mutex<Kept>,
}

impl Remains {
    /// Reads them. `log_is_empty`: no vote and no entry was ever written beside them.
    pub fn open(dir: &Path, log_is_empty: bool) -> Result<Self, RemainsError> {
        let path = dir.join("founding");
        let damaged = |what: String| RemainsError::Damaged {
            path: path.clone(),
            what,
        };
        let found = load::<Founding>(&path)?.transpose().map_err(damaged)?;
        let founding = found.clone().unwrap_or_default();
        if log_is_empty && founding.begun {
            return Err(RemainsError::LogLost {
                file: path,
                dir: dir.to_owned(),
            });
        }
        let peers = dir.join("peers");
        let kept = load::<Kept>(&peers)?.transpose().unwrap_or_else(|what| {
            tracing::warn!(
                "{} is damaged ({what}): what the other nodes told this one is forgotten, and is \
                 learned anew",
                peers.display()
            );
            None
        });
        let this = Self(Arc::new(Inner {
            dir: dir.to_owned(),
            founding: Mutex::new(founding),
            kept: Mutex::new(kept.unwrap_or_default()),
        }));
        if !log_is_empty {
            // A log of a version before there was this file.
            this.begin()?;
        }
        Ok(this)
    }

    pub fn founding(&self) -> Founding {
        lock(&self.0.founding).clone()
    }

    /// Keeps the founding's id; durable when it returns. Blocks.
    pub fn keep(&self, id: FoundingId) -> Result<(), DiskError> {
        let mut founding = lock(&self.0.founding);
        assert!(
            !founding.begun && founding.id.as_ref().is_none_or(|kept| *kept == id),
            "a node is of one founding for ever"
        );
        self.write(&mut founding, |founding| founding.id = Some(id))
    }

    pub fn begun(&self) -> bool {
        lock(&self.0.founding).begun
    }

    /// From now on this node may have voted; durable when it returns. Blocks, the first time.
    pub fn begin(&self) -> Result<(), DiskError> {
        let mut founding = lock(&self.0.founding);
        if founding.begun {
            return Ok(());
        }
        self.write(&mut founding, |founding| founding.begun = true)
    }

    fn write(
        &self,
        founding: &mut Founding,
        change: impl FnOnce(&mut Founding),
    ) -> Result<(), DiskError> {
        let mut next = founding.clone();
        change(&mut next);
        store(&self.0.dir.join("founding"), &next)?;
        *founding = next;
        Ok(())
    }

    pub fn kept(&self, of: NodeId) -> Option<Marks> {
        lock(&self.0.kept).get(&of).copied()
    }

    /// Keeps what `of` told, where it is higher. Blocks.
    pub fn hear(&self, of: NodeId, told: Marks) -> Result<(), DiskError> {
        let mut kept = lock(&self.0.kept);
        let before = kept.get(&of).copied();
        let highest = before.map_or(told, |before| before.highest(told));
        if before == Some(highest) {
            return Ok(());
        }
        kept.insert(of, highest);
        store(&self.0.dir.join("peers"), &*kept)
    }
}

/// None if there is no such file; within, why it cannot be understood.
fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<Result<T, String>>, DiskError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(
            serde_json::from_slice(&text).map_err(|error| error.to_string()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiskError::at("read", path)(source)),
    }
}

fn store<T: Serialize>(path: &Path, value: &T) -> Result<(), DiskError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| DiskError::at("encode", path)(io::Error::other(error)))?;
    disk::write_whole(path, &[&text, b"\n"])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use primacy_core::ids::{Generation, LogIndex, Position, Term};

    use super::*;

    fn marks(generation: u64, term: u64, index: u64) -> Marks {
        Marks {
            generation: Generation(generation),
            term: Term(term),
            committed: Position {
                term: Term(term),
                index: LogIndex(index),
            },
        }
    }

    #[test]
    fn what_has_begun_is_known_before_anything_else_and_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let remains = Remains::open(dir.path(), true).unwrap();
        assert_eq!(remains.founding(), Founding::default());
        let id = FoundingId::draw().unwrap();
        assert_ne!(id, FoundingId::draw().unwrap());
        remains.keep(id.clone()).unwrap();
        assert!(!Remains::open(dir.path(), true).unwrap().begun());
        remains.begin().unwrap();
        let error = Remains::open(dir.path(), true).unwrap_err().to_string();
        assert!(error.contains("control replace"), "{error}");
        let founding = Remains::open(dir.path(), false).unwrap().founding();
        assert!(founding.begun && founding.id == Some(id));
    }

    #[test]
    fn a_log_from_before_there_was_such_a_file_has_begun() {
        let dir = tempfile::tempdir().unwrap();
        let founding = Remains::open(dir.path(), false).unwrap().founding();
        assert!(founding.begun && founding.id.is_none());
        assert!(Remains::open(dir.path(), true).is_err());
    }

    #[test]
    fn the_highest_of_each_member_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let remains = Remains::open(dir.path(), true).unwrap();
        let kept = |told: &[Marks]| {
            for told in told {
                remains.hear(NodeId(2), *told).unwrap();
            }
            let again = Remains::open(dir.path(), true).unwrap();
            assert_eq!(again.kept(NodeId(2)), remains.kept(NodeId(2)));
            remains.kept(NodeId(2)).unwrap()
        };
        assert_eq!(kept(&[marks(0, 3, 40), marks(0, 2, 9)]), marks(0, 3, 40));
        // What was recovered by hand begins anew, lower if need be.
        assert_eq!(kept(&[marks(1, 1, 5), marks(0, 9, 90)]), marks(1, 1, 5));
        assert_eq!(remains.kept(NodeId(3)), None);

        fs::write(dir.path().join("peers"), "{").unwrap();
        let again = Remains::open(dir.path(), true).unwrap();
        assert_eq!(again.kept(NodeId(2)), None);
        fs::write(dir.path().join("founding"), "{").unwrap();
        assert!(Remains::open(dir.path(), true).is_err());
    }
}
