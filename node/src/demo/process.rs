//! The demo's child processes: each in a group of its own, killed when dropped.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::net::Net;

pub(super) struct Process {
    pub name: String,
    child: Child,
}

impl Process {
    /// Starts this very program with other arguments in a region, its log in a file.
    pub fn start(
        name: &str,
        log: &Path,
        args: &[&str],
        net: &Net,
        region: &str,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        let log_file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("{}: cannot be written", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env_remove("PRIMACY_ENDPOINTS")
            .env_remove("PRIMACY_TLS_CA")
            .env_remove("PRIMACY_TLS_CERT")
            .env_remove("PRIMACY_TLS_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .process_group(0);
        let child = net
            .spawn(region, &mut command)
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a demo's folder is called; nothing else is ever swept.
pub(super) const FOLDER: &str = "primacy-";

/// One that hangs in the kernel, on a dead disk say, is beyond help.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A process that outlives this one by a moment. The pipe to it closes when the demo ends, however
/// it ends: then it sweeps the demo's folder.
pub(super) struct Sweeper(Child);

impl Sweeper {
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program cannot be found")?;
        let child = Command::new(program)
            .args(["demo", "--sweep"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Not reached by a Ctrl-C at the demo's terminal.
            .process_group(0)
            .spawn()
            .context("the sweeper cannot be started")?;
        Ok(Self(child))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// `--sweep`: waits for the end of the demo that started this process, then ends what it started
/// and removes its folder.
pub(super) fn sweep_after_the_demo(dir: &Path) -> anyhow::Result<ExitCode> {
    let name = dir.file_name().and_then(|name| name.to_str());
    anyhow::ensure!(
        name.is_some_and(|name| name.starts_with(FOLDER)),
        "--sweep {}: not the folder of a demo; the demo alone uses this",
        dir.display()
    );
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("no pipe to the demo")?;
    end_all_in(dir);
    // The demo itself has removed it, unless it was killed.
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", dir.display()))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Kills every node, agent and server whose configuration lies in this folder, until there is none:
/// an agent in its last moment may have started a server.
pub(super) fn end_all_in(dir: &Path) {
    let deadline = Instant::now() + END_LIMIT;
    while Instant::now() < deadline {
        let found = configured_in(dir);
        if found.is_empty() {
            return;
        }
        for pid in found {
            send(pid, Signal::SIGKILL);
        }
        // A killed server takes a moment to give its memory back.
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn configured_in(dir: &Path) -> Vec<u32> {
    let folder = format!("{}/", dir.display());
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            // Of one that has ended and is not waited for yet, this is empty.
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            let mut words = line.split('\0').skip_while(|word| *word != "--config");
            let ours = words.nth(1).is_some_and(|path| path.starts_with(&folder));
            ours || line.contains(&format!("\0--defaults-file={folder}"))
                || line.contains(&format!("\0-f\0{folder}"))
        })
        .collect()
}

/// Sends a signal to a process that this demo started.
pub(super) fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
