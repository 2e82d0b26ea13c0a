//! What nodes and agents wrote: a warning is for a person, so one that nobody expected is a fault.

use std::fs;
use std::path::{Path, PathBuf};

fn logs(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut logs: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    logs.sort();
    logs
}

fn name(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// An alarm tells of the servers, which a scenario breaks on purpose: its own scenarios look at it.
const ALARM: &str = "primacy::alarm:";

/// A line on an alarm in a node's log: `raised`, `cleared` or `left`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmLine {
    pub what: String,
    pub code: String,
    /// Empty: the cluster as a whole.
    pub instance: String,
}

/// What a process under this name has logged so far.
pub fn of(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default()
}

/// Every alarm that the nodes told of, in the order of each node's log.
pub fn alarms(dir: &Path) -> Vec<AlarmLine> {
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let texts: Vec<String> = logs(dir).into_iter().map(text).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter_map(alarm).collect()
}

fn alarm(line: &str) -> Option<AlarmLine> {
    let (_, said) = line.split_once(ALARM)?;
    let field = |name: &str| {
        let (_, rest) = said.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let what = said.trim_start().split([' ', ':']).next()?;
    Some(AlarmLine {
        what: what.to_owned(),
        code: field("code")?,
        instance: field("instance")?,
    })
}

/// Warnings and errors of our own crates, and panics, that contain none of the listed texts.
/// What openraft says in its own name is not ours.
pub fn unlisted(dir: &Path, listed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in logs(dir) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace().skip(1);
            let level = words.next().unwrap_or_default();
            let target = words.next().unwrap_or_default();
            let ours = ["primacy:", "primacy::", "primacy_"];
            let loud = matches!(level, "WARN" | "ERROR")
                && target != ALARM
                && ours.iter().any(|start| target.starts_with(start));
            let panicked = line.contains("panicked at");
            if (loud || panicked) && !listed.iter().any(|text| line.contains(text)) {
                found.push(format!("{}: {line}", name(&path)));
            }
        }
    }
    found
}

/// The last lines of every log.
pub fn ends(dir: &Path, count: usize) -> String {
    let mut text = String::new();
    for path in logs(dir) {
        let log = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(count)..] {
            text.push_str(&format!("{}: {line}\n", name(&path)));
        }
    }
    text
}

#[test]
fn only_our_own_warnings_count_and_only_unlisted_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = "2026-01-01T00:00:00.000000Z  INFO primacy::agent: stopping\n\
               2026-01-01T00:00:00.000000Z  WARN openraft::core::raft_core: no vote\n\
               2026-01-01T00:00:00.000000Z  WARN primacy_raft::history: one\n\
               2026-01-01T00:00:00.000000Z ERROR primacy::agent::server: two\n\
               thread 'main' panicked at three\n";
    fs::write(dir.path().join("node-1.log"), log).expect("a log");
    assert_eq!(unlisted(dir.path(), &[]).len(), 3);
    let left = unlisted(dir.path(), &["history: one", "panicked at three"]);
    assert_eq!(left.len(), 1);
    assert!(left[0].starts_with("node-1: ") && left[0].ends_with("two"));
}

#[test]
fn an_alarm_is_told_by_code_and_instance() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = "2026-01-01T00:00:00.000000Z  WARN primacy::alarm: raised: mysql-2: it is so \
               code=\"errant\" cluster=orders instance=\"mysql-2\" data=\"{}\"\n\
               2026-01-01T00:00:00.000000Z  INFO primacy::alarm: cleared code=\"not_ready\" \
               cluster=orders instance=\"\" for_ms=9\n";
    fs::write(dir.path().join("node-1.log"), log).expect("a log");
    let line = |what: &str, code: &str, instance: &str| AlarmLine {
        what: what.into(),
        code: code.into(),
        instance: instance.into(),
    };
    assert_eq!(
        alarms(dir.path()),
        [
            line("raised", "errant", "mysql-2"),
            line("cleared", "not_ready", "")
        ]
    );
    assert!(unlisted(dir.path(), &[]).is_empty());
}
