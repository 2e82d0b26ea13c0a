//! One stage: a mutant is built in the small workspace, and one package's tests are run on it.
//!
//! `cargo-mutants` lists the changes and does not make them: it would run the unchanged core's
//! tests only, whichever package is to notice, and try every field left out of a struct beside
//! those that were chosen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::listing::Mutant;
use super::results::Outcome;
use super::suite::Suite;
use super::tree::{ALONE, CORE, SIM, Tree, WOVEN, at};

/// How the mutants are tried.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    pub name: &'static str,
    /// Whose tests are run.
    package: &'static str,
    /// Which of them.
    tests: &'static [&'static str],
    /// How they are built.
    profile: &'static str,
    /// A change that makes the tests take so much longer makes them hang.
    timeout: Duration,
}

/// They take two seconds.
pub const UNIT_TESTS: Stage = Stage {
    name: "unit tests",
    package: CORE,
    tests: &["--lib"],
    profile: WOVEN,
    timeout: Duration::from_secs(60),
};

/// The same where one change is built alone: half a minute, unless it is noticed.
pub const UNIT_TESTS_ALONE: Stage = Stage {
    profile: ALONE,
    timeout: Duration::from_secs(300),
    ..UNIT_TESTS
};

/// They take less than a minute.
pub const SIMULATOR: Stage = Stage {
    name: "500 seeds",
    package: SIM,
    tests: &["--test", "seeds"],
    profile: WOVEN,
    timeout: Duration::from_secs(300),
};

impl Stage {
    /// The tests, once they hold without any change; else every mutant would seem to be noticed.
    pub fn suite(self, tree: &Tree) -> Result<Suite, String> {
        match self.build(tree)? {
            Built::Program(tests) => Suite::of(self.name, tests, self.timeout),
            Built::Refused(messages) => Err(refused("what is unchanged", &messages)),
        }
    }

    /// What becomes of one mutant that is built alone.
    pub fn examine(self, tree: &Tree, mutant: &Mutant, suite: &Suite) -> Result<Outcome, String> {
        let _changed = Changed::make(&tree.root, mutant)?;
        match self.build(tree)? {
            Built::Program(tests) => suite.verdict(&tests, None),
            Built::Refused(_) => Ok(Outcome::Unviable),
        }
    }

    /// Builds the tests.
    pub fn build(self, tree: &Tree) -> Result<Built, String> {
        let output = Command::new("cargo")
            .args(["test", "--no-run", "--quiet", "--profile", self.profile])
            .args(["--message-format", "json"])
            .args(["--package", self.package])
            .args(self.tests)
            .current_dir(&tree.root)
            .env("CARGO_TARGET_DIR", &tree.target)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cargo test: {error}"))?;
        let messages = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return match executable(&messages) {
                Some(tests) => Ok(Built::Program(tests)),
                None => Err(format!("cargo built no tests of {}", self.package)),
            };
        }
        // Only what the compiler refuses is a verdict on the change: no full disk, no lost network.
        let said = String::from_utf8_lossy(&output.stderr);
        match said.contains("error: could not compile") {
            true => Ok(Built::Refused(messages)),
            false => Err(format!("cargo test --no-run: {said}")),
        }
    }
}

/// What a build comes to.
pub enum Built {
    Program(PathBuf),
    /// What the compiler says, a message a line.
    Refused(String),
}

/// What the compiler says, as people read it.
pub fn refused(what: &str, messages: &str) -> String {
    let said = messages.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let message = line.get("message")?;
        let error = message.get("level")? == "error";
        let rendered = message.get("rendered")?.as_str()?.to_owned();
        error.then_some(rendered)
    });
    format!("{what} does not compile:\n{}", said.collect::<String>())
}

/// The last program that cargo names.
fn executable(messages: &str) -> Option<PathBuf> {
    let mut lines = messages.lines().rev();
    lines.find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    })
}

/// A changed file, which is put back whatever happens.
struct Changed {
    path: PathBuf,
    before: String,
}

impl Changed {
    fn make(root: &Path, mutant: &Mutant) -> Result<Self, String> {
        let path = root.join(&mutant.file);
        let before = fs::read_to_string(&path).map_err(|error| at(&path, &error))?;
        let after = mutant.applied(&before).ok_or_else(|| {
            let name = &mutant.name;
            format!("{name} is not of this file")
        })?;
        let changed = Self { path, before };
        fs::write(&changed.path, after).map_err(|error| at(&changed.path, &error))?;
        Ok(changed)
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            // The next run puts it back.
            eprintln!("{}", at(&self.path, &error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_compiler_says_is_said_as_people_read_it() {
        let messages = concat!(
            r#"{"message": {"level": "warning", "rendered": "warning: no\n"}}"#,
            "\n",
            r#"{"message": {"level": "error", "rendered": "error: yes\n"}}"#,
            "\n",
            r#"{"reason": "build-finished", "success": false}"#,
        );
        assert_eq!(
            refused("it", messages),
            "it does not compile:\nerror: yes\n"
        );
    }

    #[test]
    fn the_tests_are_the_last_program_that_is_named() {
        let messages = concat!(
            r#"{"reason": "compiler-artifact", "executable": null}"#,
            "\n",
            r#"{"reason": "compiler-artifact", "executable": "/a/tests-1"}"#,
            "\n",
            r#"{"reason": "build-finished", "success": true}"#,
            "\n"
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/a/tests-1")));
        assert_eq!(executable("{}\n"), None);
    }
}
