//! One stage: `cargo-mutants` builds each mutant in the small workspace, and runs one package's
//! tests on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use super::listing::Mutant;
use super::results::Outcome;
use super::tree::{CORE, PROFILE, SIM, Tree, at};

/// How the mutants are tried.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    pub name: &'static str,
    /// Whose tests are run.
    package: &'static str,
    /// What follows `cargo test --`.
    tests: &'static [&'static str],
    /// A change that makes the tests take so much longer makes them hang.
    timeout_s: u32,
}

/// They take three seconds.
pub const UNIT_TESTS: Stage = Stage {
    name: "unit tests",
    package: CORE,
    tests: &["--lib"],
    timeout_s: 90,
};

/// They take less than a minute.
pub const SIMULATOR: Stage = Stage {
    name: "500 seeds",
    package: SIM,
    tests: &["--test", "seeds"],
    timeout_s: 300,
};

const BUILD_TIMEOUT_S: u32 = 900;

#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    scenario: Value,
    summary: String,
}

/// What became of each of these mutants, by name; and of some others.
pub fn run(
    tree: &Tree,
    stage: Stage,
    mutants: &[&Mutant],
) -> Result<BTreeMap<String, Outcome>, String> {
    if mutants.is_empty() {
        return Ok(BTreeMap::new());
    }
    println!("{}: {} mutants", stage.name, mutants.len());
    let mut command = Command::new("cargo");
    command
        .args(["mutants", "--in-place", "--no-config", "--no-times"])
        .args(["--colors", "never", "--profile", PROFILE])
        .args(["-p", CORE, "--test-package", stage.package])
        .arg("--timeout")
        .arg(stage.timeout_s.to_string())
        .arg("--build-timeout")
        .arg(BUILD_TIMEOUT_S.to_string())
        .arg("--dir")
        .arg(&tree.root)
        .arg("--output")
        .arg(&tree.output);
    // Fields left out of a struct are tried whatever the names say; of these files alone.
    let files: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    for file in files {
        command.arg("--file").arg(file);
    }
    for mutant in mutants {
        command.arg("--re").arg(exactly(&mutant.name));
    }
    command
        .arg("--")
        .args(stage.tests)
        .env("CARGO_TARGET_DIR", &tree.target)
        .stdin(Stdio::null());
    let status = command
        .status()
        .map_err(|error| format!("cargo mutants: {error}"))?;
    match status.code() {
        // All caught; some missed; some timed out.
        Some(0 | 2 | 3) => read(&tree.output.join("mutants.out/outcomes.json")),
        Some(4) => Err(format!(
            "the {} fail without any change; see {}",
            stage.name,
            tree.output.join("mutants.out/log").display()
        )),
        _ => Err(format!("cargo mutants ended with {status}")),
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Outcome>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| at(path, &error))?;
    outcomes(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn outcomes(text: &str) -> Result<BTreeMap<String, Outcome>, String> {
    let all: Outcomes = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let each = all.outcomes.iter().filter_map(|one| {
        // The run without a change is a word, a mutant is an object.
        let name = one.scenario.get("Mutant")?.get("name")?.as_str()?;
        let outcome = match one.summary.as_str() {
            "CaughtMutant" => Outcome::Caught,
            "MissedMutant" => Outcome::Survived,
            "Unviable" => Outcome::Unviable,
            "Timeout" => Outcome::TimedOut,
            other => return Some(Err(format!("{name}: {other}"))),
        };
        Some(Ok((name.to_owned(), outcome)))
    });
    each.collect()
}

/// A regular expression that fits this text alone. `\<` would be the start of a word.
fn exactly(text: &str) -> String {
    let mut pattern = String::from("^");
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "$"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_by_name() {
        let text = r#"{"outcomes": [
            {"scenario": "Baseline", "summary": "Success"},
            {"scenario": {"Mutant": {"name": "a"}}, "summary": "CaughtMutant"},
            {"scenario": {"Mutant": {"name": "b"}}, "summary": "MissedMutant"},
            {"scenario": {"Mutant": {"name": "c"}}, "summary": "Timeout"},
            {"scenario": {"Mutant": {"name": "d"}}, "summary": "Unviable"}
        ], "total_mutants": 4}"#;
        let read = outcomes(text).expect("outcomes");
        let expected = [
            ("a", Outcome::Caught),
            ("b", Outcome::Survived),
            ("c", Outcome::TimedOut),
            ("d", Outcome::Unviable),
        ];
        assert_eq!(
            read,
            expected.map(|(name, it)| (name.to_owned(), it)).into()
        );
        assert!(outcomes(&text.replace("Timeout", "Failure")).is_err());
    }

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(exactly("a.rs:1: x -> (y)"), r"^a\.rs:1: x \-> \(y\)$");
    }
}
