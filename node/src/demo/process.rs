//! The demo's child processes: each in a group of its own, killed when dropped.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
        use std::os::unix::process::CommandExt;
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

    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
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

/// Sends a signal to a process that this demo started.
pub(super) fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
