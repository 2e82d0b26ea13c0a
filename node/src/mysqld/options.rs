//! What a server's next start will read: its option file and its command line, as `mysqld` itself
//! would put them together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// `!include` within `!include`, and so on.
const DEPTH_MAX: usize = 10;

/// Variables whose own name begins like a negation.
const SKIP_NAMES: &[&str] = &[
    "skip_replica_start",
    "skip_name_resolve",
    "skip_networking",
    "skip_external_locking",
    "skip_show_database",
];

/// The options in this file, overridden by those of the command line.
pub fn read(file: &Path, command_line: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut options = BTreeMap::new();
    read_file(file, 0, &mut options)?;
    for argument in command_line {
        if let Some(option) = argument.strip_prefix("--") {
            put(option, &mut options);
        }
    }
    Ok(options)
}

fn read_file(
    file: &Path,
    depth: usize,
    options: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("{}: files include each other", file.display()));
    }
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut ours = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(path) = line.strip_prefix("!includedir ") {
            for path in folder(Path::new(path.trim()))? {
                read_file(&path, depth + 1, options)?;
            }
        } else if let Some(path) = line.strip_prefix("!include ") {
            read_file(Path::new(path.trim()), depth + 1, options)?;
        } else if let Some(group) = line.strip_prefix('[').and_then(|l| l.split(']').next()) {
            // As `mysqld-9.7`: a version's own group.
            let versioned = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
            ours = matches!(group, "mysqld" | "server")
                || group.strip_prefix("mysqld-").is_some_and(versioned);
        } else if ours {
            put(line, options);
        }
    }
    Ok(())
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "cnf"))
        .collect();
    files.sort();
    Ok(files)
}

/// One `name=value`, or a name alone; later ones override earlier ones.
fn put(option: &str, options: &mut BTreeMap<String, String>) {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, unquoted(value)),
        None => (option.split_whitespace().next().unwrap_or(""), "ON".into()),
    };
    let name = name.trim().to_ascii_lowercase().replace('-', "_");
    let name = name.strip_prefix("loose_").unwrap_or(&name);
    let known = |name: &str| match name {
        "log_slave_updates" => "log_replica_updates".to_owned(),
        "skip_slave_start" => "skip_replica_start".to_owned(),
        other => match other.strip_prefix("slave_") {
            Some(rest) => format!("replica_{rest}"),
            None => other.to_owned(),
        },
    };
    let name = known(name);
    if SKIP_NAMES.contains(&name.as_str()) {
        options.insert(name, value);
        return;
    }
    for (prefix, meaning) in [("skip_", "OFF"), ("disable_", "OFF"), ("enable_", "ON")] {
        if let Some(rest) = name.strip_prefix(prefix) {
            options.insert(known(rest), meaning.into());
            return;
        }
    }
    options.insert(name, value);
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote) {
            return inner.split(quote).next().unwrap_or("").to_owned();
        }
    }
    value.split(" #").next().unwrap_or("").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_mysqld_reads_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let (main, more) = (dir.path().join("my.cnf"), dir.path().join("more.cnf"));
        let text = format!(
            "[client]\nsync-binlog=7\n[mysqld]\n# no=1\nsync-binlog = 0\nSYNC_BINLOG=1 # yes\n\
             skip-log-bin\nskip-slave-start\nloose-Relay-Log-Recovery=\"OFF\"\nread-only\n\
             slave_net_timeout=30\n[mysqld-9.7]\ngtid_mode=ON\n[mysqldump]\nread-only=0\n\
             !include {}\n",
            more.display()
        );
        fs::write(&main, text).expect("a file");
        fs::write(&more, "[server]\nadmin-address='127.0.0.1'\n").expect("a file");
        let line = ["--gtid-mode=OFF".to_owned(), "mysqld".to_owned()];
        let options = read(&main, &line).expect("it is readable");
        let expected = [
            ("admin_address", "127.0.0.1"),
            ("gtid_mode", "OFF"),
            ("log_bin", "OFF"),
            ("read_only", "ON"),
            ("relay_log_recovery", "OFF"),
            ("replica_net_timeout", "30"),
            ("skip_replica_start", "ON"),
            ("sync_binlog", "1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(options, BTreeMap::from(expected));

        fs::write(&more, format!("!include {}\n", main.display())).expect("a file");
        let error = read(&main, &[]).expect_err("a circle");
        assert!(error.contains("include each other"), "{error}");
        let error = read(&dir.path().join("none"), &[]).expect_err("there is none");
        assert!(error.contains("none"), "{error}");
    }
}
