//! Watches one `mysqld` through a pidfd, so that a reused process id is never mistaken for it.

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::Signal,
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

use super::bringup::Instance;

/// How often a killed server's main thread is looked at.
const PROOF_EVERY: Duration = Duration::from_millis(2);

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("there is no process {0}")]
    NoSuchProcess(u32),
    #[error("process {pid} is not the mysqld of {instance}")]
    Foreign { pid: u32, instance: String },
    #[error("process {pid} cannot be {what}")]
    System {
        pid: u32,
        what: &'static str,
        source: io::Error,
    },
}

/// When a process started, in clock ticks since boot. With the pid it names one process for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartedAt(pub u64);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(Signal),
    /// Not our child, so its status went to somebody else; or it was reaped before.
    Unknown,
}

/// What the process table says of the main thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Running,
    /// The main thread ended. Other threads may still hang in the kernel, on a dead disk, say.
    Zombie,
    Gone,
}

/// Proof that no thread of the process will run its own code again.
///
/// SIGKILL was sent, and the main thread was then seen ended: the signal is pending on every
/// thread, and a thread under SIGKILL cannot return to user space. One stuck in the kernel may hold
/// its sockets open, and the listener accept, but nobody is answered.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed {
    pub pid: u32,
    pub started_at: StartedAt,
}

/// One `mysqld`, from its start or from its adoption to its end.
#[derive(Debug)]
pub struct Watched {
    pid: u32,
    started_at: StartedAt,
    pidfd: AsyncFd<OwnedFd>,
    ours: bool,
    reaped: AtomicBool,
}

impl Watched {
    /// Takes over a child that was just spawned. Needs a tokio runtime, as `adopt` does.
    pub(super) fn child(pid: u32) -> Result<Watched, ProcessError> {
        Watched::open(pid, true)
    }

    /// Finds a server again that an earlier process started.
    ///
    /// Refuses another program under that pid: with the pidfd held, what `/proc` says is about the
    /// process that it names, or about none.
    pub fn adopt(pid: u32, instance: &Instance) -> Result<Watched, ProcessError> {
        let process = Watched::open(pid, false)?;
        let foreign = || ProcessError::Foreign {
            pid,
            instance: instance.dir.display().to_string(),
        };
        if !runs_mysqld(pid, &instance.config()) || process.has_ended() {
            return Err(foreign());
        }
        Ok(process)
    }

    /// The running server of this instance, by its pid file; `None` if there is none.
    pub fn find(instance: &Instance) -> Option<Watched> {
        let text = fs::read_to_string(instance.pid_file()).ok()?;
        Watched::adopt(text.trim().parse().ok()?, instance).ok()
    }

    fn open(pid: u32, ours: bool) -> Result<Watched, ProcessError> {
        let system = |what| move |source| ProcessError::System { pid, what, source };
        // SAFETY: pidfd_open takes two integers and returns a descriptor that nobody else owns.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if raw < 0 {
            return Err(match Errno::last() {
                Errno::ESRCH | Errno::EINVAL => ProcessError::NoSuchProcess(pid),
                errno => system("opened")(errno.into()),
            });
        }
        let raw = i32::try_from(raw).map_err(|_| ProcessError::NoSuchProcess(pid))?;
        // SAFETY: just returned by the kernel, close-on-exec as pidfds are, and owned by us alone.
        let pidfd = unsafe { OwnedFd::from_raw_fd(raw) };
        // SAFETY: the descriptor is owned, so it stays open and the same for as long as its AsyncFd.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }
            .map_err(|error| system("watched")(error.into()))?;
        let (_, started_at) = stat(pid).ok_or(ProcessError::NoSuchProcess(pid))?;
        Ok(Watched {
            pid,
            started_at,
            pidfd,
            ours,
            reaped: AtomicBool::new(false),
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn started_at(&self) -> StartedAt {
        self.started_at
    }

    /// Whether we are its parent, and so must reap it.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// Waits until the whole process, each thread of it, has ended; reaps it when it is ours.
    ///
    /// May be asked again, and by several at once: one of them learns the status.
    pub async fn exited(&self) -> Exit {
        // An error here means that the runtime is going away; nothing is left to wait with.
        let _ = self
            .pidfd
            .readable()
            .await
            .map(|mut guard| guard.retain_ready());
        self.reap()
    }

    /// Sends SIGKILL. Already ended counts as success.
    pub fn kill9(&self) -> Result<(), ProcessError> {
        self.signal(libc::SIGKILL)
    }

    /// Sends any signal: SIGSTOP and SIGCONT are what a demo injects.
    ///
    /// Never SIGTERM to a primary: its graceful stop answers OK to commits that wait for
    /// acknowledgements which never came (50 of 50, measured on 9.7.4).
    pub fn signal(&self, signal: i32) -> Result<(), ProcessError> {
        let fd = self.pidfd.get_ref().as_raw_fd();
        // SAFETY: the descriptor is open for as long as `self` lives; a null siginfo means "as kill(2)".
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd,
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match (sent, Errno::last()) {
            (0, _) | (_, Errno::ESRCH) => Ok(()),
            (_, errno) => Err(ProcessError::System {
                pid: self.pid,
                what: "signalled",
                source: errno.into(),
            }),
        }
    }

    /// Kills, then waits for the proof. `None` at the deadline: it may still be running.
    pub async fn kill_and_prove(&self, deadline: Instant) -> Result<Option<Killed>, ProcessError> {
        self.kill9()?;
        loop {
            if self.life() != Life::Running {
                self.reap();
                return Ok(Some(Killed {
                    pid: self.pid,
                    started_at: self.started_at,
                }));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(PROOF_EVERY).await;
        }
    }

    /// What became of the main thread. A pid that was given to another process reads as `Gone`.
    pub fn life(&self) -> Life {
        match stat(self.pid) {
            Some((_, started_at)) if started_at != self.started_at => Life::Gone,
            Some(('Z' | 'X', _)) => Life::Zombie,
            Some(_) => Life::Running,
            None => Life::Gone,
        }
    }

    pub fn has_ended(&self) -> bool {
        self.life() != Life::Running
    }

    fn reap(&self) -> Exit {
        if !self.ours || self.reaped.load(Ordering::Acquire) {
            return Exit::Unknown;
        }
        let pidfd = std::os::fd::AsFd::as_fd(self.pidfd.get_ref());
        match waitid(
            Id::PIDFd(pidfd),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG,
        ) {
            Ok(WaitStatus::Exited(_, code)) => {
                self.reaped.store(true, Ordering::Release);
                Exit::Code(code)
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                self.reaped.store(true, Ordering::Release);
                Exit::Signal(signal)
            }
            Ok(_) | Err(_) => Exit::Unknown,
        }
    }
}

impl Drop for Watched {
    /// Leaves no zombie of a child that has ended; a running server runs on.
    fn drop(&mut self) {
        self.reap();
    }
}

/// State and start time from `/proc/<pid>/stat`. The name in it may hold anything, so fields count
/// from the last parenthesis (proc(5)).
fn stat(pid: u32) -> Option<(char, StartedAt)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 22 of the line; field 3 was the state.
    let started_at = fields.nth(18)?.parse().ok()?;
    Some((state, StartedAt(started_at)))
}

/// Whether this is `mysqld`, or the loader running it, and with that configuration.
fn runs_mysqld(pid: u32, config: &Path) -> bool {
    let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return false;
    };
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let arguments: Vec<_> = line
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let name = exe
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let program = if name.starts_with("ld-linux") {
        arguments
            .iter()
            .any(|argument| argument.ends_with("/mysqld"))
    } else {
        // An upgrade replaces the file under a running server: "mysqld (deleted)".
        name == "mysqld" || name == "mysqld (deleted)"
    };
    let wanted = format!("--defaults-file={}", config.display());
    program && arguments.iter().any(|argument| *argument == wanted)
}
