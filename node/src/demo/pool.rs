//! Makes a server's buffer pool resident, as it is after days of work: how long a process takes to
//! end depends on the memory that it has to give back.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::process::send;
use super::world::Place;

/// An InnoDB buffer pool is allocated in larger pieces than this, and nothing else is.
const PIECE_MIN: u64 = 64 << 20;
const AT_ONCE: usize = 1 << 20;
const PAGE: usize = 4 << 10;
const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until this server has allocated its pool, stops it, and writes back to every page what is
/// in it. Only for a server that serves nobody yet.
pub(super) async fn fill(place: &Place, pool_mb: u32) -> anyhow::Result<()> {
    let wanted = u64::from(pool_mb) << 20;
    let deadline = Instant::now() + START_LIMIT;
    let pid = loop {
        if let Some(pid) = place.mysqld_pid() {
            let pieces = pieces(pid)?;
            let allocated: u64 = pieces.iter().map(|(from, to)| to - from).sum();
            if allocated >= wanted {
                break pid;
            }
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "{} does not allocate {pool_mb} MB; is there so much memory?",
            place.id
        );
        tokio::time::sleep(LOOK_EVERY).await;
    };
    tokio::task::spawn_blocking(move || {
        send(pid, Signal::SIGSTOP);
        // Only now does its memory stay as it is.
        let filled = stopped(pid).and_then(|()| touch(pid, &pieces(pid)?));
        send(pid, Signal::SIGCONT);
        filled
    })
    .await?
    .context("--pool-mb: the pool cannot be made resident")?;
    Ok(())
}

/// What of a process is in memory, in MB.
pub(super) fn resident_mb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1_024)
}

fn stopped(pid: u32) -> anyhow::Result<()> {
    let deadline = std::time::Instant::now() + START_LIMIT;
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        if state.is_some_and(|rest| rest.starts_with('T')) {
            return Ok(());
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "it does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Large anonymous memory that may be written: from, to.
fn pieces(pid: u32) -> anyhow::Result<Vec<(u64, u64)>> {
    let maps = match std::fs::read_to_string(format!("/proc/{pid}/maps")) {
        Ok(maps) => maps,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("its memory cannot be looked at"),
    };
    Ok(maps.lines().filter_map(piece).collect())
}

fn piece(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let writable = words.next()?.starts_with("rw-p");
    let inode = words.nth(2)?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let (from, to) = (address(from)?, address(to)?);
    (writable && inode == "0" && words.next().is_none() && to - from >= PIECE_MIN)
        .then_some((from, to))
}

/// How many bytes were written back: a region may have guard pages in it, between the stacks of its
/// threads, and pages that are gone since; these are left out, one by one.
fn touch(pid: u32, pieces: &[(u64, u64)]) -> anyhow::Result<u64> {
    let memory: File = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))?;
    let mut bytes = vec![0; AT_ONCE];
    let mut touched = 0;
    for (from, to) in pieces {
        let mut at = *from;
        while at < *to {
            let some = &mut bytes[..AT_ONCE.min((to - at) as usize)];
            if write_back(&memory, at, some)? {
                touched += some.len() as u64;
            } else {
                for (number, page) in some.chunks_mut(PAGE).enumerate() {
                    if write_back(&memory, at + (number * PAGE) as u64, page)? {
                        touched += page.len() as u64;
                    }
                }
            }
            at += some.len() as u64;
        }
    }
    Ok(touched)
}

/// Whether all of it is there.
fn write_back(memory: &File, at: u64, bytes: &mut [u8]) -> anyhow::Result<bool> {
    let written = memory
        .read_exact_at(bytes, at)
        .and_then(|()| memory.write_all_at(bytes, at));
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => Ok(false),
        // Less than that is there.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error).with_context(|| format!("at {at:x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_anonymous_memory_is_told_from_the_rest() {
        let large = "7f0000000000-7f0008000000 rw-p 00000000 00:00 0 ";
        assert_eq!(piece(large), Some((0x7f00_0000_0000, 0x7f00_0800_0000)));
        for other in [
            "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 ",
            "7f0000000000-7f0008000000 r--p 00000000 00:00 0 ",
            "7f0000000000-7f0008000000 rw-p 00000000 00:00 0 [heap]",
            "7f0000000000-7f0008000000 rw-p 00000000 08:01 77 /tmp/ibdata1",
            "",
        ] {
            assert_eq!(piece(other), None, "{other}");
        }
    }

    /// Whatever of a region is not there, what is there is all written back.
    #[test]
    fn what_is_not_there_is_left_out() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("sleep");
        let pid = child.id();
        send(pid, Signal::SIGSTOP);
        stopped(pid).expect("it stops");
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
        // The program itself is the lowest; there is nothing below.
        let lowest = maps.split('-').next().expect("a region");
        let lowest = u64::from_str_radix(lowest, 16).expect("an address");
        let (page, gap) = (PAGE as u64, 64 * PAGE as u64);
        let touched = touch(
            pid,
            &[(lowest - gap, lowest + page), (lowest - gap, lowest)],
        );
        child.kill().expect("it is ended");
        child.wait().expect("it has ended");
        assert_eq!(touched.expect("that is no failure"), page);
    }
}
