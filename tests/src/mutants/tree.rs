//! A small workspace of the core and the simulator alone, in the build folder: a change of the core
//! is built there in seconds, and nothing of the repository is touched.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// The name of the simulator's package there.
pub const SIM: &str = "primacy-sim";
pub const CORE: &str = "primacy-core";

/// Optimised: what is woven is built once, and run as often as there are changes.
pub const WOVEN: &str = "mutants";
/// Each change is built again: in seconds, where only what changed is.
pub const ALONE: &str = "mutants-alone";

const PROFILE_TEXT: &str = "
[profile.mutants]
inherits = \"dev\"
opt-level = 2
debug = 0
incremental = false

[profile.mutants-alone]
inherits = \"dev\"
debug = 0
incremental = true
";

const SIM_MANIFEST: &str = "\
[package]
name = \"primacy-sim\"
version.workspace = true
edition.workspace = true
license.workspace = true
publish.workspace = true

[dependencies]
primacy-core.workspace = true
";

const SIM_LIB: &str = "pub mod invariants;\npub mod simulator;\n";

/// 500 seeds, a part of them with operators.
const SIM_TEST: &str = "\
use primacy_sim::simulator::Options;
use primacy_sim::simulator::sweep::sweep;

#[test]
fn no_seed_breaks_a_law() {
    let calls = [
        (0..400, Options::default()),
        (400..500, Options { operators: true, ..Options::default() }),
    ];
    for (seeds, options) in calls {
        let sum = sweep(seeds, options, 1);
        let found = sum.violated.first().and_then(|report| report.violation.as_ref());
        assert!(found.is_none(), \"{found:?}\");
        assert!(sum.idle().is_empty(), \"{:?}\", sum.idle());
    }
}
";

pub struct Tree {
    pub root: PathBuf,
    /// What cargo builds there.
    pub target: PathBuf,
    /// Of everything that decides an outcome.
    pub digest: u64,
}

impl Tree {
    /// Brings the small workspace up to date; files that are the same keep their time, so that
    /// little is built anew. A mutant that an interrupted run left behind is undone by that.
    ///
    /// `changed` stand there instead of the repository's own.
    pub fn prepare(
        repository: &Path,
        work: &Path,
        name: &str,
        changed: &BTreeMap<PathBuf, String>,
    ) -> Result<Self, String> {
        let root = work.join(name);
        let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        gather(
            &repository.join("raft/core"),
            Path::new("raft/core"),
            &mut files,
        )?;
        for part in ["invariants", "simulator"] {
            let from = repository.join("tests/src").join(part);
            gather(&from, &Path::new("sim/src").join(part), &mut files)?;
        }
        let text = |path: &str, text: &str| (PathBuf::from(path), text.as_bytes().to_vec());
        files.push(text("sim/Cargo.toml", SIM_MANIFEST));
        files.push(text("sim/src/lib.rs", SIM_LIB));
        files.push(text("sim/tests/seeds.rs", SIM_TEST));
        files.push(text("Cargo.toml", &manifest(repository)?));
        for (path, content) in &mut files {
            if let Some(text) = changed.get(path) {
                *content = text.clone().into_bytes();
            }
        }
        let lock = read(&repository.join("Cargo.lock"))?;
        let mut hasher = DefaultHasher::new();
        files.sort();
        files.hash(&mut hasher);
        lock.hash(&mut hasher);

        remove_others(&root.join("raft"), &root, &files)?;
        remove_others(&root.join("sim"), &root, &files)?;
        for (path, content) in &files {
            write(&root.join(path), content)?;
        }
        // Cargo takes out of it what this workspace does not need.
        let own = root.join("Cargo.lock");
        if !own.is_file() {
            write(&own, &lock)?;
        }
        Ok(Self {
            target: work.join("target"),
            digest: hasher.finish(),
            root,
        })
    }
}

/// The repository's own manifest with other members, and the profile.
fn manifest(repository: &Path) -> Result<String, String> {
    let whole = read(&repository.join("Cargo.toml"))?;
    let whole = String::from_utf8_lossy(&whole).into_owned();
    let members = whole
        .lines()
        .find(|line| line.starts_with("members = "))
        .ok_or("Cargo.toml names its members")?;
    Ok(whole.replace(members, "members = [\"raft/core\", \"sim\"]") + PROFILE_TEXT)
}

fn gather(from: &Path, to: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<(), String> {
    for path in entries(from)? {
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            gather(&path, &to, files)?;
        } else {
            files.push((to, read(&path)?));
        }
    }
    Ok(())
}

/// Removes what is not to be there.
fn remove_others(folder: &Path, root: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<(), String> {
    if !folder.is_dir() {
        return Ok(());
    }
    for path in entries(folder)? {
        if path.is_dir() {
            remove_others(&path, root, files)?;
        } else if !files.iter().any(|(file, _)| root.join(file) == path) {
            fs::remove_file(&path).map_err(|error| at(&path, &error))?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let listing = fs::read_dir(folder).map_err(|error| at(folder, &error))?;
    let mut paths: Vec<_> = listing
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| at(path, &error))
}

fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
    }
    fs::write(path, content).map_err(|error| at(path, &error))
}

pub fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
