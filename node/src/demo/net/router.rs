//! The line between the regions: each packet is held for the same time, then handed to the region
//! that owns its destination. Order is kept, nothing is lost but what a full line drops.
//!
//! **Invariant:** no packet is early.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// Larger than any packet: the lines' MTU is 1,500.
const PACKET_BYTES_MAX: usize = 2_048;
/// About 100 MB: more than the windows of all connections together, and an end to it.
const HELD_MAX: usize = 65_536;
/// So many are taken from one region before those that are due are looked at again.
const BURST: usize = 64;
/// A packet that is late because others compute would be charged to the failover.
const NICE: libc::c_int = -15;

/// Runs until it is dropped. It closes the lines, and with that removes their devices.
pub(super) struct Router {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

/// A region's address, and the outer end of its line.
type End = (Ipv4Addr, File);

impl Router {
    pub fn start(ends: Vec<End>, delay: Duration) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let thread = std::thread::Builder::new()
            .name("router".into())
            .spawn(move || {
                // SAFETY: takes three integers; 0 is the calling thread.
                let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
                route(&ends, delay, &stopped);
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Held {
    due: Instant,
    to: usize,
    packet: Box<[u8]>,
}

fn route(ends: &[End], delay: Duration, stopped: &PipeReader) {
    // All wait equally long: who came first is due first.
    let mut held: VecDeque<Held> = VecDeque::new();
    loop {
        while let Some(first) = held.pop_front_if(|first| first.due <= Instant::now()) {
            // What a region does not take is lost, as on any network.
            let _ = (&ends[first.to].1).write(&first.packet);
        }
        let left = held
            .front()
            .map(|first| first.due.saturating_duration_since(Instant::now()));
        let mut polled: Vec<_> = ends
            .iter()
            .map(|(_, line)| PollFd::new(line.as_fd(), PollFlags::POLLIN))
            .collect();
        polled.push(PollFd::new(stopped.as_fd(), PollFlags::POLLIN));
        match ppoll(&mut polled, left.map(TimeSpec::from), None) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => {
                tracing::error!(%errno, "the line between the regions has failed");
                return;
            }
        }
        let ready: Vec<bool> = polled
            .iter()
            .map(|one| one.any().unwrap_or_default())
            .collect();
        if ready[ends.len()] {
            return;
        }
        for (_, line) in ends
            .iter()
            .zip(&ready)
            .filter_map(|(end, ready)| ready.then_some(end))
        {
            take(line, ends, delay, &mut held);
        }
    }
}

/// Takes what waits in one line, up to a burst.
fn take(mut line: &File, ends: &[End], delay: Duration, held: &mut VecDeque<Held>) {
    let mut buffer = [0; PACKET_BYTES_MAX];
    for _ in 0..BURST {
        let Ok(length) = line.read(&mut buffer) else {
            return; // nothing more for now
        };
        let packet = &buffer[..length];
        let to = destination(packet)
            .and_then(|address| ends.iter().position(|(region, _)| *region == address));
        if let Some(to) = to
            && held.len() < HELD_MAX
        {
            held.push_back(Held {
                due: Instant::now() + delay,
                to,
                packet: packet.into(),
            });
        }
    }
}

/// Of an IPv4 packet (RFC 791, 3.1); the kernel's own IPv6 multicasts go nowhere.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let version = packet.first()? >> 4;
    let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (version == 4).then(|| address.into())
}
