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
