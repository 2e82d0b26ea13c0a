//! Watches one `mysqld` through a pidfd and its open `/proc`, so that a reused process id is never
//! mistaken for it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
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
use super::kernel::{Consumed, Holder, Proc, holder};

/// How often a killed server's threads are looked at.
const PROOF_EVERY: Duration = Duration::from_millis(2);
/// How often the leader thread of a running server is looked at: one read of a file kept open.
const LOOK_EVERY_MS: u16 = 5;
/// How often all threads are, once the leader shows an end or SIGKILL was sent; for so many times.
const CLOSE_LOOK_EVERY_MS: u16 = 1;
const CLOSE_LOOKS: u32 = 500;
/// The lock of a data directory may pass from one process to another while it is looked up.
const FINDS_MAX: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("there is no process {0}")]
    NoSuchProcess(u32),
    #[error("process {pid} does not hold the data directory of {instance}")]
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

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Running,
    /// No thread of it will run its own code again. Some may hang in the kernel, on a dead disk,
    /// say, or give memory back.
    Ended,
    /// Each thread is gone; at most a zombie is left of it, for its parent to reap.
    Gone,
}

/// Proof that no thread of the process will run its own code again.
///
/// Each was seen ended in the kernel, or SIGKILL pending on one that is stuck there: it cannot
/// return to user space. One may hold its sockets open, and the listener accept, but nobody is
/// answered.
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
    proc: Proc,
    ours: bool,
    /// SIGKILL was sent: a leader stuck on a dead disk shows nothing by itself.
    killed: AtomicBool,
    reaped: AtomicBool,
}

impl Watched {
    /// Takes over a child that was just spawned. Needs a tokio runtime, as `adopt` does.
    pub(super) fn child(pid: u32) -> Result<Watched, ProcessError> {
        Watched::open(pid, true)
    }

    /// Takes over a server that somebody else started: the process that holds the data directory
    /// of this instance, whatever a pid file or its command line says.
    pub fn adopt(pid: u32, instance: &Instance) -> Result<Watched, ProcessError> {
        let process = Watched::open(pid, false)?;
        // Asked with the pidfd held: the lock's owner is that process, or the pid is another's.
        let holds = matches!(holder(&instance.tablespace()), Ok(Holder::Process(of)) if of == pid);
        if !holds || process.has_ended() {
            return Err(ProcessError::Foreign {
                pid,
                instance: instance.dir.display().to_string(),
            });
        }
        Ok(process)
    }

    /// The server that runs on this instance's data, or starts on it; `None` if there is none.
    pub fn find(instance: &Instance) -> Option<Watched> {
        let mut ended = None;
        for _ in 0..FINDS_MAX {
            let Ok(Holder::Process(pid)) = holder(&instance.tablespace()) else {
                return None;
            };
            if ended == Some(pid) {
                return None;
            }
            match Watched::adopt(pid, instance) {
                Ok(process) => return Some(process),
                // It has ended and holds its files still, or it gave them to another meanwhile.
                Err(_) => ended = Some(pid),
            }
        }
        None
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
        let proc = Proc::open(pid).map_err(|_| ProcessError::NoSuchProcess(pid))?;
        let leader = proc.leader().ok_or(ProcessError::NoSuchProcess(pid))?;
        let process = Watched {
            pid,
            started_at: leader.started_at,
            pidfd,
            proc,
            ours,
            killed: AtomicBool::new(false),
            reaped: AtomicBool::new(false),
        };
        // Reaped in between, the pid might be another's by the time its /proc was opened.
        match process.send(0) {
            Ok(()) => Ok(process),
            Err(_) => Err(ProcessError::NoSuchProcess(pid)),
        }
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
        let sent = self.send(signal);
        if signal == libc::SIGKILL {
            self.killed.store(true, Ordering::Release);
        }
        match sent {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(ProcessError::System {
                pid: self.pid,
                what: "signalled",
                source: errno.into(),
            }),
        }
    }

    fn send(&self, signal: i32) -> Result<(), Errno> {
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
        Errno::result(sent).map(drop)
    }

    /// Kills, then waits for the proof. `None` at the deadline: it may still be running.
    pub async fn kill_and_prove(&self, deadline: Instant) -> Result<Option<Killed>, ProcessError> {
        self.kill9()?;
        loop {
            if self.has_ended() {
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

    /// What the kernel says of it now.
    pub fn life(&self) -> Life {
        if self.is_gone(PollTimeout::ZERO) {
            return Life::Gone;
        }
        let shows = self.killed.load(Ordering::Acquire) || self.proc.leader_shows();
        if shows && self.proc.all_ended() {
            Life::Ended
        } else {
            Life::Running
        }
    }

    pub fn has_ended(&self) -> bool {
        self.life() != Life::Running
    }

    /// What it has consumed so far: whether it works, or hangs.
    pub fn consumed(&self) -> Consumed {
        self.proc.consumed().unwrap_or_default()
    }

    /// Watches it on a thread of its own: `ended` is called as soon as its end is certain, `gone`
    /// once nothing of it is left. On no runtime's thread: reading `/proc` of a process that exits
    /// may have to give its memory back.
    pub fn watch(
        self: Arc<Self>,
        ended: impl FnOnce() + Send + 'static,
        gone: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let watching = move || {
            let mut close_looks = 0;
            loop {
                let look_every_ms = match close_looks {
                    1..CLOSE_LOOKS => CLOSE_LOOK_EVERY_MS,
                    _ => LOOK_EVERY_MS,
                };
                if self.is_gone(PollTimeout::from(look_every_ms)) {
                    break;
                }
                if self.killed.load(Ordering::Acquire) || self.proc.leader_shows() {
                    if self.proc.all_ended() {
                        break;
                    }
                    close_looks += 1;
                }
            }
            ended();
            while !self.is_gone(PollTimeout::NONE) {}
            self.reap();
            gone();
        };
        std::thread::Builder::new()
            .name("mysqld-watch".into())
            .spawn(watching)
            .map(drop)
    }

    /// Whether each thread of it is gone, waiting at most so long for that.
    fn is_gone(&self, wait: PollTimeout) -> bool {
        let mut watched = [PollFd::new(self.pidfd.get_ref().as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut watched, wait), Ok(1..))
    }

    fn reap(&self) -> Exit {
        if !self.ours || self.reaped.load(Ordering::Acquire) {
            return Exit::Unknown;
        }
        let pidfd = self.pidfd.get_ref().as_fd();
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
