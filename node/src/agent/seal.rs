//! The seal on disk: what an agent has promised, in one file that is written in place.
//!
//! ```text
//! slot 0: head (64 KiB) | records (960 KiB)      slot 1: the same
//! head:   "primacy1" | sequence | lengths | checksums | JSON: token, frozen, shut, opened, …
//! ```
//!
//! The two slots are written in turn, so that a write that is torn leaves the other one whole. All
//! of the file is written once, when it is made: a full disk takes no promise from anybody. A set
//! that an instance held when it left a source may be long; those stand apart from the head, which
//! always fits.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use primacy_core::act::{AgentInput, LEFT_BYTES_MAX, Seal};
use primacy_core::ids::{ClusterId, Incarnation, InstanceId};

use crate::{clock, durable};

const MAGIC: &[u8; 8] = b"primacy1";
const SLOT_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 64 << 10;
/// Of a head: the magic, a sequence number, two lengths and two checksums.
const FIXED_BYTES: usize = 32;
/// The longest sets are forgotten before this is full: what is around them is short.
const RECORDS_BYTES: usize = SLOT_BYTES - HEAD_BYTES;
const _: () = assert!(LEFT_BYTES_MAX < RECORDS_BYTES);
/// From here on somebody should know.
const ALARM_BYTES: usize = LEFT_BYTES_MAX / 2;

const FILE: &str = "seal";
/// What versions before kept.
const FORMER: &str = "seal.json";

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("{path}: cannot be {what}")]
    Io {
        path: PathBuf,
        what: &'static str,
        source: io::Error,
    },
    #[error(
        "{path}: neither copy of the seal in it is whole; move it away and start again, the \
         control plane then treats the instance as one that has forgotten what it promised"
    )]
    Damaged { path: PathBuf },
    #[error("{path}: what was promised does not fit ({bytes} bytes)")]
    TooLong { path: PathBuf, bytes: usize },
    #[error(
        "{path}: this folder belongs to {found}, the configuration says {wanted}; give each agent \
         a folder of its own"
    )]
    Foreign {
        path: PathBuf,
        found: String,
        wanted: String,
    },
    #[error("what an earlier version kept")]
    Former(#[source] durable::DurableError),
}

/// The seal in an agent's folder; `None` where it has none. Also while its agent writes it.
pub fn read(folder: &Path) -> Result<Option<Seal>, SealError> {
    let path = folder.join(FILE);
    match File::open(&path) {
        Ok(file) => newest(&path, &file).map(|(_, seal)| Some(seal)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            durable::load(&folder.join(FORMER)).map_err(SealError::Former)
        }
        Err(error) => Err(io_error(&path, "read")(error)),
    }
}

/// One agent's file, kept open.
#[derive(Debug)]
pub(super) struct SealFile {
    path: PathBuf,
    file: File,
    sequence: u64,
    /// What each slot's records are known to be: they seldom change, and may be long.
    records: [Option<Vec<u8>>; 2],
    alarmed: bool,
}

impl SealFile {
    /// Loads the seal and counts this run up; whether that is durable, or the disk takes no writes.
    pub fn begin(
        folder: &Path,
        cluster: &ClusterId,
        instance: &InstanceId,
    ) -> Result<(Self, Seal, bool), SealError> {
        // One that lost its file must not count from one again: nodes take its beats for overtaken,
        // and a reopening that was granted to an earlier run of its server for its own.
        let first = Incarnation(clock::first_count());
        let path = folder.join(FILE);
        let found = read(folder)?;
        let known = found.is_some();
        let mut seal = found.unwrap_or_else(|| Seal {
            agent: first,
            mysqld: first,
            ..Seal::blank(cluster.clone(), instance.clone())
        });
        if (&seal.cluster, &seal.instance) != (cluster, instance) {
            return Err(SealError::Foreign {
                path,
                found: format!("{} of cluster {}", seal.instance, seal.cluster),
                wanted: format!("{instance} of {cluster}"),
            });
        }
        let (file, sequence, made) = open_or_make(&path)?;
        let mut file = SealFile {
            path: path.clone(),
            file,
            sequence,
            records: [None, None],
            alarmed: false,
        };
        seal.agent = seal.agent.next();
        let durable = match file.write(&seal) {
            Ok(()) => {
                if made {
                    settle(&path)?;
                }
                // Taken over: it must never pass for the newest again.
                let _ = fs::remove_file(folder.join(FORMER));
                true
            }
            Err(error) if known => {
                tracing::error!("{:#}", anyhow::Error::new(error));
                // The run that this disk will see next must count above this one all the same.
                seal.agent = seal.agent.max(first);
                false
            }
            Err(error) => return Err(error),
        };
        Ok((file, seal, durable))
    }

    /// Durable when it returns.
    pub fn write(&mut self, seal: &Seal) -> Result<(), SealError> {
        let sequence = self.sequence + 1;
        let slot = usize::from(sequence % 2 == 1);
        let (head, records) = self.encode(seal, sequence)?;
        let written = self.write_slot(slot, &head, records);
        if written.is_err() {
            // What stands there now is not known.
            self.records[slot] = None;
        }
        written.map_err(io_error(&self.path, "written"))?;
        self.sequence = sequence;
        Ok(())
    }

    fn write_slot(&mut self, slot: usize, head: &[u8], records: Vec<u8>) -> io::Result<()> {
        let at = slot * SLOT_BYTES;
        if self.records[slot].as_ref() != Some(&records) {
            self.file.write_all_at(&records, offset(at + HEAD_BYTES))?;
        }
        self.file.write_all_at(head, offset(at))?;
        self.file.sync_data()?;
        self.records[slot] = Some(records);
        Ok(())
    }

    fn encode(&mut self, seal: &Seal, sequence: u64) -> Result<(Vec<u8>, Vec<u8>), SealError> {
        let records = json(&self.path, &seal.left)?;
        let text = json(
            &self.path,
            &Seal {
                left: Default::default(),
                ..seal.clone()
            },
        )?;
        for (bytes, most) in [
            (text.len(), HEAD_BYTES - FIXED_BYTES),
            (records.len(), RECORDS_BYTES),
        ] {
            if bytes > most {
                return Err(SealError::TooLong {
                    path: self.path.clone(),
                    bytes,
                });
            }
        }
        let long = records.len() > ALARM_BYTES;
        if long && !self.alarmed {
            tracing::warn!(
                bytes = records.len(),
                "what this instance held when it left its sources soon takes more than the seal \
                 has room for; it will then count for nothing in a choice"
            );
        }
        self.alarmed = long;
        Ok((framed(sequence, &text, &records), records))
    }
}

fn framed(sequence: u64, text: &[u8], records: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut head = Vec::with_capacity(FIXED_BYTES + text.len());
    head.extend(MAGIC);
    head.extend(sequence.to_le_bytes());
    head.extend(length(text));
    head.extend(length(records));
    head.extend(crc32fast::hash(records).to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head);
    sum.update(text);
    head.extend(sum.finalize().to_le_bytes());
    head.extend(text);
    head
}

/// One slot; `None` if it is not whole, as after a write that was cut short.
fn whole(slot: &[u8]) -> Option<(u64, Seal)> {
    let number = |at: usize| Some(u32::from_le_bytes(slot.get(at..at + 4)?.try_into().ok()?));
    let length = |at: usize| usize::try_from(number(at)?).ok();
    if slot.get(..8)? != MAGIC {
        return None;
    }
    let sequence = u64::from_le_bytes(slot.get(8..16)?.try_into().ok()?);
    let text = slot.get(FIXED_BYTES..HEAD_BYTES)?.get(..length(16)?)?;
    let records = slot.get(HEAD_BYTES..)?.get(..length(20)?)?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&slot[..28]);
    sum.update(text);
    if number(24)? != crc32fast::hash(records) || number(28)? != sum.finalize() {
        return None;
    }
    let mut seal: Seal = serde_json::from_slice(text).ok()?;
    seal.left = serde_json::from_slice(records).ok()?;
    Some((sequence, seal))
}

/// The newest whole copy.
fn newest(path: &Path, file: &File) -> Result<(u64, Seal), SealError> {
    let mut copies = Vec::new();
    for slot in 0..2 {
        let mut bytes = vec![0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, offset(slot * SLOT_BYTES)) {
            Ok(()) => copies.extend(whole(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(io_error(path, "read")(error)),
        }
    }
    let newest = copies.into_iter().max_by_key(|(sequence, _)| *sequence);
    newest.ok_or_else(|| SealError::Damaged {
        path: path.to_owned(),
    })
}

/// The file, the sequence number of its newest copy, and whether it was made: written all over, and
/// aside, so that one that was begun and not finished is never taken for a damaged one.
fn open_or_make(path: &Path) -> Result<(File, u64, bool), SealError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.open(path) {
        Ok(file) => {
            let (sequence, _) = newest(path, &file)?;
            return Ok((file, sequence, false));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(path, "opened")(error)),
    }
    let aside = path.with_extension("new");
    let made = || -> io::Result<File> {
        let file = options.clone().create(true).truncate(true).open(&aside)?;
        file.write_all_at(&vec![0; 2 * SLOT_BYTES], 0)?;
        file.sync_all()?;
        Ok(file)
    };
    Ok((made().map_err(io_error(&aside, "made"))?, 0, true))
}

/// The file that was made aside, and holds its first copy, gets its name.
fn settle(path: &Path) -> Result<(), SealError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::rename(path.with_extension("new"), path)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(io_error(path, "made"))
}

/// A seal, by the number under which its write is answered.
type Numbered = (u64, Seal);

/// Writes seals on a thread of its own: a disk that hangs holds up nothing else.
pub(super) struct Writer(Arc<(Mutex<Option<Numbered>>, Condvar)>);

impl Writer {
    pub fn start(
        mut file: SealFile,
        inputs: tokio::sync::mpsc::Sender<AgentInput>,
    ) -> io::Result<Writer> {
        let next = Arc::<(Mutex<Option<(u64, Seal)>>, Condvar)>::default();
        let waiting = next.clone();
        let write = move || {
            let mut takes_writes = true;
            loop {
                let (number, seal) = take(&waiting);
                let written = file.write(&seal);
                let ok = written.is_ok();
                match written {
                    Ok(()) if !takes_writes => tracing::info!("the seal can be written again"),
                    Err(error) if takes_writes => {
                        tracing::error!("{:#}", anyhow::Error::new(error));
                    }
                    Ok(()) | Err(_) => {}
                }
                takes_writes = ok;
                let ended = AgentInput::Persisted { number, ok };
                if inputs.blocking_send(ended).is_err() {
                    return; // the agent stops
                }
            }
        };
        let thread = std::thread::Builder::new().name("seal".into());
        thread.spawn(write)?;
        Ok(Writer(next))
    }

    /// Takes the place of one that was not begun yet: it holds all that the other did.
    pub fn write(&self, number: u64, seal: Seal) {
        *lock(&self.0.0) = Some((number, seal));
        self.0.1.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn take(next: &(Mutex<Option<(u64, Seal)>>, Condvar)) -> (u64, Seal) {
    let mut waiting = lock(&next.0);
    loop {
        match waiting.take() {
            Some(found) => return found,
            None => {
                waiting = next
                    .1
                    .wait(waiting)
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
    }
}

fn json<T: serde::Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, SealError> {
    serde_json::to_vec(value).map_err(|error| io_error(path, "put into words")(error.into()))
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}

fn io_error(path: &Path, what: &'static str) -> impl Fn(io::Error) -> SealError {
    let path = path.to_owned();
    move |source| SealError::Io {
        path: path.clone(),
        what,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use primacy_core::act::Left;
    use primacy_core::ids::Epoch;

    fn ids() -> (ClusterId, InstanceId) {
        (ClusterId::from("shop"), InstanceId::from("db1"))
    }

    fn begin(folder: &Path) -> (SealFile, Seal) {
        let (shop, db1) = ids();
        let (file, seal, durable) = SealFile::begin(folder, &shop, &db1).unwrap();
        assert!(durable);
        (file, seal)
    }

    #[test]
    fn each_run_counts_above_all_before_also_without_its_seal() {
        let dir = tempfile::tempdir().unwrap();
        let run = || begin(dir.path()).1;
        let (first, second) = (run(), run());
        assert_eq!(second.agent, first.agent.next());
        fs::remove_file(dir.path().join(FILE)).unwrap();
        let third = run();
        assert!(third.agent >= first.agent, "a clock that goes on");
        assert!(third.mysqld >= first.mysqld);
        let why = SealFile::begin(dir.path(), &ids().0, &"db2".into()).unwrap_err();
        assert!(
            why.to_string().contains("belongs to db1 of cluster shop"),
            "{why}"
        );
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, mut seal) = begin(dir.path());
        let path = dir.path().join(FILE);
        let size = fs::metadata(&path).unwrap().len();
        for epoch in 1..6 {
            let before = seal.clone();
            seal.frozen = Some(Epoch(epoch));
            let left = Left::Held {
                server_uuid: None,
                holds: format!("00000000-0000-0000-0000-000000000001:1-{epoch}")
                    .parse()
                    .unwrap(),
            };
            seal.left.insert("p".into(), left);
            file.write(&seal).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Some(seal.clone()));
            // Any byte of the newest copy that is not what was written.
            let whole = fs::read(&path).unwrap();
            let slot = usize::from(file.sequence % 2 == 1) * SLOT_BYTES;
            for at in [0, 9, 17, 21, 25, 29, FIXED_BYTES + 5, HEAD_BYTES + 5] {
                let mut torn = whole.clone();
                torn[slot + at] ^= 0x20;
                fs::write(&path, torn).unwrap();
                let found = read(dir.path()).unwrap();
                assert_eq!(found, Some(before.clone()), "byte {at}");
            }
            fs::write(&path, whole).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), size, "in place");
        fs::write(&path, vec![0; 2 * SLOT_BYTES]).unwrap();
        assert!(matches!(read(dir.path()), Err(SealError::Damaged { .. })));
    }

    #[test]
    fn what_an_earlier_version_kept_is_taken_over_once() {
        let dir = tempfile::tempdir().unwrap();
        let (shop, db1) = ids();
        let former = dir.path().join(FORMER);
        let text = "{\"cluster\":\"shop\",\"instance\":\"db1\",\"plane\":\"p\",\"server_uuid\":null,\
                    \"agent\":7,\"mysqld\":3,\"token\":null,\"frozen\":4,\"shut\":null,\"opened\":2,\
                    \"source\":[\"db2\",4]}";
        fs::write(&former, text).unwrap();
        let (_, seal) = begin(dir.path());
        let expected = Seal {
            plane: Some("p".into()),
            agent: Incarnation(8),
            mysqld: Incarnation(3),
            frozen: Some(Epoch(4)),
            opened: Some(Epoch(2)),
            source: Some(("db2".into(), Epoch(4))),
            ..Seal::blank(shop, db1)
        };
        assert_eq!(seal, expected);
        assert!(!former.exists());
        assert_eq!(read(dir.path()).unwrap(), Some(expected));
    }

    #[test]
    fn one_that_was_begun_and_not_finished_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("seal.new"), [0; 99]).unwrap();
        let (_, seal) = begin(dir.path());
        assert_eq!(read(dir.path()).unwrap(), Some(seal));
    }
}
