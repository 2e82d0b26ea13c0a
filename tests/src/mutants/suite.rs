//! One program of tests. The quick ones go first and the first failure ends it: most changes are
//! noticed in a tenth of the time that all of it takes.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::results::Outcome;
use super::tree::at;

/// A change may gather without end: so much memory, in KiB, is for the tests.
const MEMORY_KIB: u32 = 8 << 20;
/// What takes longer unchanged is no quick test.
const QUICK: Duration = Duration::from_millis(100);

pub struct Suite {
    /// As it stands unchanged.
    pub program: PathBuf,
    slow: Vec<String>,
    /// A change that makes the tests take so much longer makes them hang.
    timeout: Duration,
}

impl Suite {
    /// These tests, if they hold as they are.
    pub fn of(name: &str, program: PathBuf, timeout: Duration) -> Result<Self, String> {
        match run(&program, &[], None, timeout)? {
            End::Held => {}
            End::Failed(said) => return Err(format!("the {name} fail unchanged:\n{said}")),
            End::Hung => return Err(format!("the {name} hang unchanged")),
        }
        let mut slow = Vec::new();
        for test in listed(&program)? {
            let begun = Instant::now();
            run(&program, &["--exact", &test], None, timeout)?;
            if begun.elapsed() > QUICK {
                slow.push(test);
            }
        }
        Ok(Self {
            program,
            slow,
            timeout,
        })
    }

    /// What becomes of a change that is in this build of the tests: the one that is switched on, if
    /// there are many.
    pub fn verdict(&self, program: &Path, number: Option<usize>) -> Result<Outcome, String> {
        let mut quick = vec!["--exact"];
        let mut rest = quick.clone();
        for test in &self.slow {
            quick.extend(["--skip", test]);
            rest.push(test);
        }
        let parts = if self.slow.is_empty() {
            vec![quick]
        } else {
            vec![quick, rest]
        };
        for part in parts {
            match run(program, &part, number, self.timeout)? {
                End::Held => {}
                End::Failed(_) => return Ok(Outcome::Caught),
                End::Hung => return Ok(Outcome::TimedOut),
            }
        }
        Ok(Outcome::Survived)
    }
}

/// The names of all tests in it.
fn listed(program: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(program)
        .args(["--list", "--format", "terse"])
        .output()
        .map_err(|error| at(program, &error))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let names = said.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// How tests end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Held,
    /// With what they said until the first one failed.
    Failed(String),
    /// Within the time, or out of memory: it would have hung until something else ended it.
    Hung,
}

fn run(
    tests: &Path,
    which: &[&str],
    number: Option<usize>,
    timeout: Duration,
) -> Result<End, String> {
    let failed = |error| at(tests, &error);
    let mut child = Command::new("sh")
        .envs(number.map(|number| ("PRIMACY_MUTANT", number.to_string())))
        .arg("-c")
        .arg(format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\" 2>&1"))
        .arg(tests)
        .args(which)
        // What a property finds in a changed core is no case of the repository's.
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
        .env("RUST_BACKTRACE", "0")
        .current_dir(tests.parent().unwrap_or(Path::new("/")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let output = child.stdout.take().ok_or("the output is piped")?;
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        let mut one_failed = false;
        for line in BufReader::new(output).split(b'\n') {
            // What was read before an error is said all the same.
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            said.push_str(&line);
            said.push('\n');
            one_failed = line.ends_with("... FAILED");
            if one_failed {
                break;
            }
        }
        let _ = tell.send(one_failed);
        said
    });
    let told = told.recv_timeout(timeout);
    // Where one has failed nobody asks for the others.
    if told != Ok(false) {
        child.kill().map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    let said = reader.join().map_err(|_| "the reader of the output died")?;
    Ok(match told {
        Ok(true) => End::Failed(said),
        Ok(false) if status.success() => End::Held,
        Ok(false) if !gathers(status, &said) => End::Failed(said),
        _ => End::Hung,
    })
}

/// Whether it was out of memory.
fn gathers(status: ExitStatus, said: &str) -> bool {
    status.signal().is_some() && said.contains("memory allocation of ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn script(text: &str) -> (tempfile::TempDir, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("tests");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        (dir, path)
    }

    fn ends(text: &str, timeout: Duration) -> End {
        let (_dir, program) = script(text);
        run(&program, &[], None, timeout).expect("it runs")
    }

    #[test]
    fn tests_hold_fail_or_hang() {
        assert_eq!(ends("echo one", LONG), End::Held);
        let both = End::Failed("one\ntwo\n".into());
        assert_eq!(ends("echo one; echo two >&2; exit 7", LONG), both);
        let hangs = "exec tail -f /dev/null";
        assert_eq!(ends(hangs, Duration::from_millis(50)), End::Hung);
        let of_memory = "echo memory allocation of 7 bytes failed";
        let gathers_all = format!("{of_memory}; kill -ABRT $$");
        assert_eq!(ends(&gathers_all, LONG), End::Hung);
        let said = End::Failed(format!("{}\n", &of_memory[5..]));
        assert_eq!(ends(&format!("{of_memory}; exit 1"), LONG), said);
    }

    #[test]
    fn the_first_that_fails_ends_it() {
        let text = "echo 'test a::b ... FAILED'; exec tail -f /dev/null";
        let said = End::Failed("test a::b ... FAILED\n".into());
        assert_eq!(ends(text, LONG), said);
    }

    /// Writes down how it was called; `slow` takes its time, and fails with change 7 switched on.
    const RECORDS: &str = "
        case \"$*\" in
          *--list*) echo 'quick: test'; echo 'slow: test'; echo; echo '2 tests'; exit ;;
          '--exact quick'|'') exit ;;
        esac
        echo \"$*\" >> calls
        case \"$*\" in
          *--skip*) ;;
          *) sleep 0.3; [ \"$PRIMACY_MUTANT\" != 7 ] || { echo 'test slow ... FAILED'; exit 1; } ;;
        esac";

    #[test]
    fn the_quick_ones_go_first() {
        let (dir, program) = script(RECORDS);
        let suite = Suite::of("tests", program.clone(), LONG).expect("they hold");
        assert_eq!(suite.slow, ["slow"]);
        let calls = dir.path().join("calls");
        fs::remove_file(&calls).expect("it was called");
        assert_eq!(suite.verdict(&program, Some(7)), Ok(Outcome::Caught));
        assert_eq!(suite.verdict(&program, Some(8)), Ok(Outcome::Survived));
        let called = fs::read_to_string(&calls).expect("it was called");
        let twice = "--exact --skip slow\n--exact slow\n".repeat(2);
        assert_eq!(called, twice);
    }

    #[test]
    fn what_fails_unchanged_says_nothing_of_a_change() {
        let (_dir, program) = script("echo 'test a ... FAILED'; exit 1");
        let refused = Suite::of("tests", program, LONG).err();
        assert!(refused.is_some_and(|why| why.contains("the tests fail unchanged")));
    }
}
