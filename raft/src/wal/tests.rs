//! What survives a crash, and what refuses to start.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use openraft::EntryPayload;
use openraft::entry::RaftEntry as _;
use primacy_core::ids::NodeId;

use super::record::Encoded;
use super::recover::open_with;
use super::segment::{self, HEADER_BYTES};
use super::*;
use crate::types::{LogId, RaftEntry, RaftVote};

const NODE: NodeId = NodeId(3);
const SMALL: u64 = 1024;

fn id(index: u64) -> LogId {
    LogId::new(1.into(), index)
}

fn entry(index: u64) -> RaftEntry {
    RaftEntry::new(id(index), EntryPayload::Blank)
}

fn vote(term: u64) -> RaftVote {
    RaftVote::new(term, NODE)
}

fn reopen(dir: &Path) -> Result<(Recovered, Writer), WalError> {
    open_with(dir, NODE, None, SMALL)
}

#[tokio::main(flavor = "current_thread")]
async fn write(writer: &Writer, records: Vec<Encoded>) {
    writer.write(records).await.unwrap();
}

/// One batch for each entry.
fn append(writer: &Writer, indexes: impl IntoIterator<Item = u64>) {
    for index in indexes {
        write(writer, vec![Encoded::append(&entry(index)).unwrap()]);
    }
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered
        .entries
        .iter()
        .map(|entry| entry.log_id.index)
        .collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    segment::list(dir)
        .unwrap()
        .into_iter()
        .map(|(_, path)| path)
        .collect()
}

/// Where each frame of a segment begins.
fn frames(path: &Path) -> Vec<usize> {
    let number = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let bytes = fs::read(path).unwrap();
    frame::search(&bytes[HEADER_BYTES..], number)
        .map(|(at, _)| at + HEADER_BYTES)
        .collect()
}

fn flip(path: &Path, at: usize) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at as u64).unwrap();
}

/// The error's text; it names the file, the offset and the remedy.
fn refused(dir: &Path, file: &Path, offset: usize) -> String {
    let Err(error) = reopen(dir) else {
        panic!("a damaged log started")
    };
    let text = error.to_string();
    assert!(text.contains(&file.display().to_string()), "{text}");
    assert!(text.contains(&format!("at byte {offset}:")), "{text}");
    assert!(text.contains("rejoin under a new id"), "{text}");
    text
}

#[test]
fn everything_comes_back_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (recovered, writer) = reopen(dir.path()).unwrap();
    assert_eq!(recovered.meta, Meta::default());
    write(&writer, vec![Encoded::vote(&vote(4)).unwrap()]);
    append(&writer, 0..40);
    write(&writer, vec![Encoded::truncate_after(Some(29)).unwrap()]);
    append(&writer, 30..35);
    writer
        .write_soon(Encoded::committed(Some(id(33))).unwrap())
        .unwrap();
    writer.close();

    assert!(segments(dir.path()).len() > 3);
    let (recovered, writer) = reopen(dir.path()).unwrap();
    assert_eq!(indexes(&recovered), (0..35).collect::<Vec<_>>());
    assert_eq!(recovered.meta.vote, Some(vote(4)));
    assert_eq!(recovered.meta.committed, Some(id(33)));

    // The vote lies in a segment that the purge deletes.
    write(&writer, vec![Encoded::purge(&id(30)).unwrap()]);
    assert!(
        segments(dir.path()).len() < 5,
        "purged segments are deleted"
    );
    append(&writer, 35..50);
    writer.close();
    let (recovered, writer) = reopen(dir.path()).unwrap();
    assert_eq!(indexes(&recovered), (31..50).collect::<Vec<_>>());
    assert_eq!(recovered.meta.vote, Some(vote(4)));
    assert_eq!(recovered.meta.purged, Some(id(30)));

    // A snapshot from the leader skips entries that this node never had.
    write(&writer, vec![Encoded::purge(&id(100)).unwrap()]);
    append(&writer, 101..103);
    writer.close();
    assert_eq!(indexes(&reopen(dir.path()).unwrap().0), [101, 102]);
}

#[test]
fn a_torn_end_is_cut_whole_batch_by_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (_, writer) = reopen(dir.path()).unwrap();
    append(&writer, 0..2);
    let batch = (2..5)
        .map(|index| Encoded::append(&entry(index)).unwrap())
        .collect();
    write(&writer, batch);
    writer.close();

    // The crash left the first and the last of the batch's three frames.
    let file = &segments(dir.path())[0];
    let frames = frames(file);
    flip(file, frames[frames.len() - 2] + 40);
    let (recovered, writer) = reopen(dir.path()).unwrap();
    assert_eq!(indexes(&recovered), [0, 1]);
    append(&writer, 2..4);
    writer.close();
    assert_eq!(
        indexes(&reopen(dir.path()).unwrap().0),
        [0, 1, 2, 3],
        "no old frame comes back"
    );
}

#[test]
fn a_flipped_byte_in_the_middle_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (_, writer) = reopen(dir.path()).unwrap();
    append(&writer, 0..4);
    writer.close();
    let file = &segments(dir.path())[0];
    let frames = frames(file);
    flip(file, frames[2] + 40);
    let text = refused(dir.path(), file, frames[2]);
    assert!(
        text.contains("batch 3 is unreadable, but batch 4 follows"),
        "{text}"
    );
    // Nothing was changed: the byte flipped back, everything is there.
    flip(file, frames[2] + 40);
    assert_eq!(indexes(&reopen(dir.path()).unwrap().0), [0, 1, 2, 3]);
}

#[test]
fn a_damaged_end_of_an_older_segment_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (_, writer) = reopen(dir.path()).unwrap();
    append(&writer, 0..30);
    writer.close();
    let file = &segments(dir.path())[0];
    let last = *frames(file).last().unwrap();
    flip(file, last);
    refused(dir.path(), file, last);
    flip(file, last);

    let second = &segments(dir.path())[1];
    flip(second, HEADER_BYTES + 40);
    refused(dir.path(), second, HEADER_BYTES);
    flip(second, HEADER_BYTES + 40);
    fs::remove_file(second).unwrap();
    assert!(
        reopen(dir.path())
            .unwrap_err()
            .to_string()
            .contains("the segment before it is missing")
    );
}

#[test]
fn a_lost_write_that_was_committed_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let (_, writer) = reopen(dir.path()).unwrap();
    append(&writer, 0..2);
    let last = vec![
        Encoded::truncate_after(Some(0)).unwrap(),
        Encoded::committed(Some(id(1))).unwrap(),
    ];
    write(&writer, last);
    writer.close();
    assert!(
        reopen(dir.path())
            .unwrap_err()
            .to_string()
            .contains("entry 1 was committed")
    );
}

#[test]
fn another_version_and_another_node_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    reopen(dir.path()).unwrap().1.close();
    let error = open_with(dir.path(), NodeId(4), None, SMALL).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("written by node 3, and this is node 4"),
        "{error}"
    );
    flip(&segments(dir.path())[0], 8);
    let error = reopen(dir.path()).unwrap_err().to_string();
    assert!(error.contains("start the version that wrote it"), "{error}");
}

#[test]
fn the_first_error_of_the_disk_is_the_last_word() {
    let dir = tempfile::tempdir().unwrap();
    let (_, writer) = reopen(dir.path()).unwrap();
    // The next segment cannot be made.
    fs::remove_dir_all(dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut errors = Vec::new();
    for index in 0..60 {
        let record = vec![Encoded::append(&entry(index)).unwrap()];
        errors.extend(runtime.block_on(writer.write(record)).err());
    }
    assert!(errors.len() > 1, "no write succeeds after one has failed");
    let first = errors[0].to_string();
    assert!(first.contains(".wal") || first.contains(".tmp"), "{first}");
    assert!(errors.iter().all(|error| error.to_string() == first));
}
