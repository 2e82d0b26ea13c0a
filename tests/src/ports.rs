//! Ports for servers that a test starts itself.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that outgoing connections take: one of those would be lost to another test's client
/// between this look and the server's start.
const FROM: u32 = 10_000;
const TO: u32 = 32_000;

/// Free ports on the loopback address, all different, and others with each call.
///
/// # Panics
/// Where there are not so many.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(89);
    let steps = (FROM..TO).map(|_| NEXT.fetch_add(1, Ordering::Relaxed));
    let free = steps
        .map(|step| FROM + begin.wrapping_add(step) % (TO - FROM))
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    assert_eq!(ports.len(), count, "free ports between {FROM} and {TO}");
    ports
}
