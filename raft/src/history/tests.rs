//! Real volumes on a real disk.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use primacy_core::ids::{Incarnation, LogIndex, NodeId, PlaneId, Position, Seq, Term};
use primacy_core::record::{Command, Proposal};

use super::volumes::Volumes;
use super::{Bounds, HistoryEntry};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// A hundred days ago.
fn first_day() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() / (24 * 3_600) - 100
}

fn entry(index: u64, wall_ms: u64) -> HistoryEntry {
    HistoryEntry {
        at: Position {
            term: Term(1),
            index: LogIndex(index),
        },
        proposal: Proposal {
            proposer: NodeId(1),
            incarnation: Incarnation(1),
            seq: Seq(index),
            wall_ms,
            commands: vec![Command::FoundPlane {
                plane: PlaneId(format!("{index:x>2000}")),
                level: 1,
            }],
        },
        outcome: None,
    }
}

fn bounds(max_mb: u64, max_days: u64) -> Bounds {
    Bounds {
        max_mb,
        max_days,
        export_dir: None,
    }
}

fn indexes(entries: Vec<HistoryEntry>) -> Vec<u64> {
    entries.iter().map(|entry| entry.at.index.0).collect()
}

fn megabytes(dir: &Path) -> u64 {
    let sizes = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => megabytes(&entry.path()),
            false => entry.metadata().unwrap().len(),
        }
    });
    sizes.sum()
}

fn fill(volumes: &mut Volumes, entries: std::ops::RangeInclusive<u64>) {
    for index in entries {
        volumes.put(&[entry(index, index)]).unwrap();
    }
    volumes.make_durable().unwrap();
}

#[test]
fn the_oldest_goes_by_size_counted_and_pages_go_on_across_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let history = dir.path().join("history");
    let mut volumes = Volumes::open(&history, bounds(32, 365)).unwrap();
    fill(&mut volumes, 1..=20_000);
    let size = megabytes(&history);
    assert!(size <= 33 << 20, "{size}");
    let gone = volumes.gone();
    assert_eq!(
        (gone.entries, gone.unexported),
        (gone.through.0, gone.through.0)
    );
    assert!(gone.entries > 0);

    let first = gone.through.0 + 1;
    let all: Vec<_> = (first..=20_000).collect();
    assert_eq!(indexes(volumes.read(LogIndex(0), 30_000).unwrap()), all);
    assert_eq!(
        indexes(volumes.read(LogIndex(19_000), 2).unwrap()),
        [19_000, 19_001]
    );
    let mut newest = Vec::new();
    let mut before = None;
    loop {
        let page = indexes(volumes.read_newest(before, 999).unwrap());
        let Some(oldest) = page.last() else { break };
        before = Some(LogIndex(*oldest));
        newest.extend(page);
    }
    newest.reverse();
    assert_eq!(newest, all);

    // A restart applies some entries once more, also some that are gone.
    volumes.close();
    drop(volumes);
    let mut volumes = Volumes::open(&history, bounds(32, 365)).unwrap();
    let (last_gone, first_kept) = (entry(first - 1, 1), entry(first, 1));
    volumes.put(&[last_gone, first_kept]).unwrap();
    assert_eq!(indexes(volumes.read(LogIndex(0), 30_000).unwrap()), all);
    let asked = [1, first - 1, first, 20_001].map(LogIndex).to_vec();
    assert_eq!(volumes.missing(asked).unwrap(), [LogIndex(20_001)]);
    assert_eq!(volumes.gone(), gone);
    fill(&mut volumes, 20_001..=20_010);
    assert_eq!(indexes(volumes.read_newest(None, 1).unwrap()), [20_010]);
}

#[test]
fn what_is_too_old_goes_and_a_wrong_clock_lets_nothing_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut volumes = Volumes::open(&dir.path().join("history"), bounds(32, 32)).unwrap();
    for day in 0..100 {
        volumes
            .put(&[entry(day + 1, (first_day() + day) * DAY_MS)])
            .unwrap();
    }
    let kept = indexes(volumes.read(LogIndex(0), 1_000).unwrap());
    assert!((30..=36).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept.last(), Some(&100));
    // Far beyond what this machine's clock says.
    volumes.put(&[entry(101, 1_000_000 * DAY_MS)]).unwrap();
    volumes
        .put(&[entry(102, (first_day() + 100) * DAY_MS)])
        .unwrap();
    let after = indexes(volumes.read(LogIndex(0), 1_000).unwrap());
    assert_eq!(after.last(), Some(&102));
    assert!(after.len() >= 30, "{after:?}");
}

#[test]
fn what_goes_is_exported_and_where_it_cannot_be_the_bound_wins() {
    let dir = tempfile::tempdir().unwrap();
    let exported = dir.path().join("exported");
    let with_export = |export_dir: &Path| Bounds {
        export_dir: Some(export_dir.to_owned()),
        ..bounds(32, 365)
    };
    let history = dir.path().join("history");
    let mut volumes = Volumes::open(&history, with_export(&exported)).unwrap();
    fill(&mut volumes, 1..=12_000);
    let gone = volumes.gone();
    assert!(gone.entries > 0 && gone.unexported == 0, "{gone:?}");
    let mut files: Vec<_> = fs::read_dir(&exported)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let lines: Vec<HistoryEntry> = texts
        .collect::<String>()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(indexes(lines).into_iter().eq(1..=gone.through.0));

    // Nothing can be written where a file stands.
    drop(volumes);
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut volumes = Volumes::open(&history, with_export(&file)).unwrap();
    fill(&mut volumes, 12_001..=16_000);
    assert!(volumes.gone().unexported > 0);
    assert!(megabytes(&history) <= 33 << 20);
}

/// As a version before there were volumes left it.
#[test]
fn a_history_of_one_sled_becomes_the_first_volume() {
    let dir = tempfile::tempdir().unwrap();
    let history = dir.path().join("history");
    let old = sled::open(&history).unwrap();
    for index in 1..=10_u64 {
        let value = rmp_serde::to_vec_named(&entry(index, index)).unwrap();
        old.insert(index.to_be_bytes(), value).unwrap();
    }
    old.flush().unwrap();
    drop(old);
    for _ in 0..2 {
        let mut volumes = Volumes::open(&history, Bounds::default()).unwrap();
        fill(&mut volumes, 8..=12);
        let all = indexes(volumes.read(LogIndex(0), 100).unwrap());
        assert_eq!(all, (1..=12).collect::<Vec<_>>());
    }
}
