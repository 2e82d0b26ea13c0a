//! What the kernel tells of one process: whether any thread of it will run its own code again.
//!
//! An exit is certain long before it is over. SIGKILL marks every thread within a millisecond; the
//! memory goes back, and the parent may reap, 75 ms later with a small buffer pool, half a second
//! later with 8 GB, and only after a core file is written (measured on 9.7.4).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, open, openat};
use nix::libc;
use nix::sys::stat::Mode;

use super::process::StartedAt;

/// Flags of a thread that never returns to user mode (`include/linux/sched.h`): it exits, it has
/// waited for a core dump and exits, it writes one.
const PF_EXITING: u64 = 0x4;
const PF_POSTCOREDUMP: u64 = 0x8;
const PF_DUMPCORE: u64 = 0x200;
const SIGKILL_BIT: u64 = 1 << (libc::SIGKILL - 1);
/// One line of `/proc/<pid>/stat` is some 350 bytes, 20 digits to a number at the very most.
const STAT_BYTES_MAX: usize = 2_048;
const STATUS_BYTES_MAX: usize = 8_192;

/// One process in `/proc`, held open: what it says is of that process, or of none.
#[derive(Debug)]
pub(super) struct Proc {
    dir: OwnedFd,
    /// Of the leader thread alone: it sums nothing up over the others.
    leader: File,
}

/// A thread as its `stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    pub state: char,
    pub flags: u64,
    pub started_at: StartedAt,
}

/// What a process has consumed, to tell one that works from one that hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumed {
    /// Of all threads, ended ones too.
    pub cpu_ticks: u64,
    /// Read and written, to files, sockets or the disk itself; 0 where it may not be read.
    pub bytes: u64,
}

impl Proc {
    pub fn open(pid: u32) -> io::Result<Proc> {
        let path = format!("/proc/{pid}");
        let folder = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = open(path.as_str(), folder, Mode::empty())?;
        let leader = format!("task/{pid}/stat");
        let leader = openat(&dir, leader.as_str(), OFlag::O_CLOEXEC, Mode::empty())?;
        let leader = File::from(leader);
        Ok(Proc { dir, leader })
    }

    /// `None` once it is reaped.
    pub fn leader(&self) -> Option<Thread> {
        let mut text = [0; STAT_BYTES_MAX];
        let length = self.leader.read_at(&mut text, 0).ok()?;
        Thread::parse(std::str::from_utf8(&text[..length]).ok()?)
    }

    /// Whether the leader gives cause to look at all threads. One small read.
    pub fn leader_shows(&self) -> bool {
        match self.leader() {
            None => true,
            Some(thread) => thread.ended(|| self.sigkill_pending(None)),
        }
    }

    /// Whether no thread will run its own code again, looked at twice: the list is not read in one
    /// piece. One that cannot be read, or is empty, says nothing.
    pub fn all_ended(&self) -> bool {
        self.each_ended() && self.each_ended()
    }

    fn each_ended(&self) -> bool {
        let Some(threads) = self.threads() else {
            return false;
        };
        let mut seen = 0;
        for id in threads {
            match self.read::<STAT_BYTES_MAX>(&format!("task/{id}/stat")) {
                Ok(text) => {
                    let pending = || self.sigkill_pending(Some(id));
                    if !Thread::parse(&text).is_some_and(|thread| thread.ended(pending)) {
                        return false;
                    }
                    seen += 1;
                }
                // It went away since it was listed.
                Err(error) if is_gone(&error) => {}
                Err(_) => return false,
            }
        }
        seen > 0
    }

    fn threads(&self) -> Option<Vec<u32>> {
        // By the descriptor: the pid may be another process's by now.
        let list = format!("/proc/self/fd/{}/task", self.dir.as_raw_fd());
        let mut threads = Vec::new();
        for entry in std::fs::read_dir(list).ok()? {
            threads.push(entry.ok()?.file_name().to_str()?.parse().ok()?);
        }
        Some(threads)
    }

    /// Of one thread; of the leader where none is named.
    fn sigkill_pending(&self, thread: Option<u32>) -> bool {
        let path = thread.map_or("status".to_owned(), |id| format!("task/{id}/status"));
        self.read::<STATUS_BYTES_MAX>(&path)
            .is_ok_and(|text| sigkill_in(&text))
    }

    /// CPU and I/O so far; `None` once it is reaped.
    pub fn consumed(&self) -> Option<Consumed> {
        let stat = self.read::<STAT_BYTES_MAX>("stat").ok()?;
        let io = self.read::<STAT_BYTES_MAX>("io").unwrap_or_default();
        Consumed::parse(&stat, &io)
    }

    fn read<const MAX: usize>(&self, path: &str) -> io::Result<String> {
        let file = openat(&self.dir, path, OFlag::O_CLOEXEC, Mode::empty())?;
        let mut text = vec![0; MAX];
        let length = nix::unistd::read(&file, &mut text)?;
        text.truncate(length);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

impl Thread {
    /// From a line of `stat`. The name in it may hold anything, so fields count from the last
    /// parenthesis (proc(5)).
    fn parse(text: &str) -> Option<Thread> {
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        // Field 9 of the line, and field 22; field 3 was the state.
        let flags = fields.nth(5)?.parse().ok()?;
        let started_at = StartedAt(fields.nth(12)?.parse().ok()?);
        Some(Thread {
            state,
            flags,
            started_at,
        })
    }

    /// Whether it never returns to user mode. A dead disk keeps one in state D for ever, with
    /// SIGKILL pending: it would end before it returned.
    fn ended(self, sigkill_pending: impl FnOnce() -> bool) -> bool {
        let exits = self.flags & (PF_EXITING | PF_POSTCOREDUMP | PF_DUMPCORE) != 0;
        exits || matches!(self.state, 'Z' | 'X') || (self.state == 'D' && sigkill_pending())
    }
}

fn sigkill_in(status: &str) -> bool {
    let pending = status
        .lines()
        .find_map(|line| line.strip_prefix("SigPnd:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    pending.is_some_and(|mask| mask & SIGKILL_BIT != 0)
}

impl Consumed {
    fn parse(stat: &str, io: &str) -> Option<Consumed> {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        // Fields 14 and 15: user and system time.
        let user: u64 = fields.nth(11)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let bytes = io
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| ["rchar", "wchar", "read_bytes", "write_bytes"].contains(name))
            .filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok())
            .fold(0, u64::saturating_add);
        Some(Consumed {
            cpu_ticks: user.saturating_add(system),
            bytes,
        })
    }
}

/// Who holds the write lock that a server takes on its system tablespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    Process(u32),
    /// Somebody in another PID namespace, or beyond a network file system.
    Unnamed,
}

/// Asks for the lock without taking it. No server opens the file without holding that lock.
pub(super) fn holder(tablespace: &std::path::Path) -> io::Result<Holder> {
    let file = match File::open(tablespace) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(error) => return Err(error),
    };
    // SAFETY: `flock` is made of integers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open, and the kernel writes into `lock` alone.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) };
    if asked < 0 {
        return Err(io::Error::last_os_error());
    }
    if lock.l_type == libc::F_UNLCK as libc::c_short {
        return Ok(Holder::Nobody);
    }
    Ok(match u32::try_from(lock.l_pid) {
        Ok(pid) if pid > 0 => Holder::Process(pid),
        _ => Holder::Unnamed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(state: char, flags: u64) -> Thread {
        let rest = "1 2 3 0 -1";
        let zeros = "0 ".repeat(12);
        let text = format!("7 (a ) b) {state} {rest} {flags} {zeros}4711 0\n");
        let thread = Thread::parse(&text).expect("a line of stat");
        assert_eq!(thread.started_at, StartedAt(4711));
        thread
    }

    #[test]
    fn a_thread_has_ended_once_it_cannot_return_to_user_mode() {
        // state, flags, SIGKILL pending, ended
        for (state, flags, pending, ended) in [
            ('S', 0x40_0040, false, false),
            ('R', 0x40_0040, true, false),
            ('S', 0x40_0040, true, false),
            ('T', 0x40_0040, true, false),
            ('D', 0x40_0040, false, false),
            ('D', 0x40_0040, true, true),
            ('Z', 0, false, true),
            ('X', 0, false, true),
            ('R', 0x40_0044, false, true),
            ('D', 0x40_0048, false, true),
            ('R', 0x40_0240, false, true),
            ('R', 0x40_0100, false, false),
        ] {
            assert_eq!(
                thread(state, flags).ended(|| pending),
                ended,
                "{state} {flags:x} {pending}"
            );
        }
    }

    #[test]
    fn pending_is_what_that_thread_alone_has_pending() {
        let status = |own: &str, shared: &str| {
            format!("Name:\tmysqld\nSigQ:\t1/2\nSigPnd:\t{own}\nShdPnd:\t{shared}\n")
        };
        assert!(sigkill_in(&status("0000000000000100", "0000000000000000")));
        assert!(!sigkill_in(&status("0000000000000000", "0000000000000100")));
        assert!(!sigkill_in(&status("0000000000004000", "0000000000000000")));
        assert!(!sigkill_in("Name:\tmysqld\n"));
    }

    #[test]
    fn this_very_process_lives_and_consumes() {
        let own = Proc::open(std::process::id()).expect("its own /proc");
        assert!(!own.leader_shows() && !own.all_ended());
        let before = own.consumed().expect("it is not reaped");
        let _ = std::fs::read("/proc/self/maps").expect("some bytes");
        let after = own.consumed().expect("it is not reaped");
        assert!(after.bytes > before.bytes, "{before:?} {after:?}");
    }
}
