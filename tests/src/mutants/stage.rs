//! One stage: a mutant is built in the small workspace, and one package's tests are run on it.
//!
//! `cargo-mutants` lists the changes and does not make them: it would run the unchanged core's
//! tests only, whichever package is to notice, and try every field left out of a struct beside
//! those that were chosen.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

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
    /// Which of them.
    tests: &'static [&'static str],
    /// A change that makes the tests take so much longer makes them hang.
    timeout: Duration,
}

/// They take two seconds.
pub const UNIT_TESTS: Stage = Stage {
    name: "unit tests",
    package: CORE,
    tests: &["--lib"],
    timeout: Duration::from_secs(60),
};

/// They take less than a minute.
pub const SIMULATOR: Stage = Stage {
    name: "500 seeds",
    package: SIM,
    tests: &["--test", "seeds"],
    timeout: Duration::from_secs(300),
};

/// A change may gather without end: so much memory, in KiB, is for the tests.
const MEMORY_KIB: u32 = 8 << 20;

impl Stage {
    /// Whether the tests hold without any change; else every mutant would seem to be noticed.
    pub fn holds(self, tree: &Tree) -> Result<(), String> {
        let tests = self.build(tree)?;
        let tests = tests.map_err(|why| format!("nothing is changed, and {why}"))?;
        let ended = run(&tests, self.timeout)?;
        match ended {
            Some((status, _)) if status.success() => Ok(()),
            Some((_, said)) => Err(format!("the {} fail unchanged:\n{said}", self.name)),
            None => Err(format!("the {} hang unchanged", self.name)),
        }
    }

    /// What becomes of one mutant.
    pub fn examine(self, tree: &Tree, mutant: &Mutant) -> Result<Outcome, String> {
        let _changed = Changed::make(&tree.root, mutant)?;
        let Ok(tests) = self.build(tree)? else {
            return Ok(Outcome::Unviable);
        };
        Ok(match run(&tests, self.timeout)? {
            None => Outcome::TimedOut,
            Some((status, _)) if status.success() => Outcome::Survived,
            Some((status, said)) if gathers(status, &said) => Outcome::TimedOut,
            Some(_) => Outcome::Caught,
        })
    }

    /// The built tests, or why the compiler refuses.
    fn build(self, tree: &Tree) -> Result<Result<PathBuf, String>, String> {
        let output = Command::new("cargo")
            .args(["test", "--no-run", "--quiet", "--profile", PROFILE])
            .args(["--message-format", "json-render-diagnostics"])
            .args(["--package", self.package])
            .args(self.tests)
            .current_dir(&tree.root)
            .env("CARGO_TARGET_DIR", &tree.target)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cargo test: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return match executable(&String::from_utf8_lossy(&output.stdout)) {
                Some(tests) => Ok(Ok(tests)),
                None => Err(format!("cargo built no tests of {}", self.package)),
            };
        }
        // Only what the compiler refuses is a verdict on the change: no full disk, no lost network.
        match said.contains("error: could not compile") {
            true => Ok(Err(said)),
            false => Err(format!("cargo test --no-run: {said}")),
        }
    }
}

/// The last program that cargo names.
fn executable(messages: &str) -> Option<PathBuf> {
    let mut lines = messages.lines().rev();
    lines.find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    })
}

/// How the tests end and what they say; nothing, if they hang.
fn run(tests: &Path, timeout: Duration) -> Result<Option<(ExitStatus, String)>, String> {
    let failed = |error| at(tests, &error);
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -v {MEMORY_KIB}; exec \"$0\" 2>&1"))
        .arg(tests)
        // What a property leaves behind is not the repository's.
        .current_dir(tests.parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut output = child.stdout.take().ok_or("the output is piped")?;
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // What was read before an error is said all the same.
        let _ = output.read_to_end(&mut said);
        let _ = tell.send(());
        String::from_utf8_lossy(&said).into_owned()
    });
    let hangs = told.recv_timeout(timeout).is_err();
    if hangs {
        child.kill().map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    let said = reader.join().map_err(|_| "the reader of the output died")?;
    Ok((!hangs).then_some((status, said)))
}

/// Whether it was out of memory: it would have hung until something else ended it.
fn gathers(status: ExitStatus, said: &str) -> bool {
    status.signal().is_some() && said.contains("memory allocation of ")
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

    fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("tests");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        (dir, path)
    }

    #[test]
    fn tests_end_or_hang() {
        let (_dir, fails) = script("echo one; echo two >&2; exit 7");
        let (status, said) = run(&fails, Duration::from_secs(60))
            .expect("run")
            .expect("it ends");
        assert_eq!(
            (status.code(), said.as_str()),
            (Some(7), "one\ntwo\n"),
            "both kinds of output"
        );
        assert!(!gathers(status, "memory allocation of 7 bytes failed"));
        let (_dir, hangs) = script("exec tail -f /dev/null");
        assert!(
            run(&hangs, Duration::from_millis(50))
                .expect("run")
                .is_none()
        );
        let (_dir, gathers_all) = script("echo memory allocation of 7 bytes failed; kill -ABRT $$");
        let (status, said) = run(&gathers_all, Duration::from_secs(60))
            .expect("run")
            .expect("it ends");
        assert!(gathers(status, &said));
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
