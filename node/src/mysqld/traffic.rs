//! How much a server's receiver has received: the kernel counts the bytes of its connection.
//!
//! One event of 200 MB moves neither the heartbeats nor the position that MySQL shows until it is
//! whole; on a slow link that takes minutes, in which the source is heard all the while. The kernel
//! tells it for each connection (`sock_diag`, `tcp_info`), to anybody in its network namespace.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::kernel::{Holder, holder};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH.
const DUMP: u16 = 0x301;
const TCP: u8 = 6;
/// `INET_DIAG_INFO`: the attribute that holds a `tcp_info`, and the bit that asks for it.
const INFO: u16 = 2;
const WANTS_INFO: u8 = 1 << (INFO - 1);
/// TCP_ESTABLISHED alone.
const ESTABLISHED: u32 = 1 << 1;
const HEADER: usize = 16;
/// Of `inet_diag_msg`, in which the inode comes last.
const ANSWER: usize = 72;
const INODE_AT: usize = 68;
const DPORT_AT: usize = 6;
/// `tcpi_bytes_received` in `tcp_info`.
const BYTES_AT: usize = 128;
const BUFFER: usize = 32 << 10;

/// The bytes that the server which holds this tablespace has received on its connections to this port
/// of whatever host; `None` if it has none.
pub fn received_by(tablespace: &Path, port: u16) -> io::Result<Option<u64>> {
    match holder(tablespace)? {
        Holder::Process(pid) => received(pid, port),
        Holder::Nobody | Holder::Unnamed => Ok(None),
    }
}

/// The bytes received on a process's connections to this port of whatever host; `None` if it has none.
fn received(pid: u32, port: u16) -> io::Result<Option<u64>> {
    let own = sockets_of(pid)?;
    let mut sum = None;
    for family in [AF_INET, AF_INET6] {
        for (inode, bytes) in connections(family, port)? {
            if own.contains(&inode) {
                *sum.get_or_insert(0) += bytes;
            }
        }
    }
    Ok(sum)
}

/// The inodes of a process's sockets.
fn sockets_of(pid: u32) -> io::Result<BTreeSet<u32>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    // One that is closed meanwhile is none.
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |target: std::path::PathBuf| {
        let text = target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?;
        text.parse().ok()
    };
    Ok(targets.filter_map(inode).collect())
}

/// Established connections to that port: inode, and bytes received.
fn connections(family: u8, port: u16) -> io::Result<Vec<(u32, u64)>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(
        socket.as_raw_fd(),
        &question(family, port),
        &kernel,
        MsgFlags::empty(),
    )?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if !read(&buffer[..length], port, &mut found)? {
            return Ok(found);
        }
    }
}

fn question(family: u8, port: u16) -> Vec<u8> {
    let mut request = vec![family, TCP, WANTS_INFO, 0];
    request.extend(ESTABLISHED.to_ne_bytes());
    // inet_diag_sockid: source port, destination port, addresses, interface, no cookie.
    request.extend([0; 2]);
    request.extend(port.to_be_bytes());
    request.extend([0; 36]);
    request.extend([0xff; 8]);
    let mut message = Vec::new();
    message.extend(((HEADER + request.len()) as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(DUMP.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(request);
    message
}

/// Reads one datagram; whether more follow.
fn read(mut rest: &[u8], port: u16, found: &mut Vec<(u32, u64)>) -> io::Result<bool> {
    while rest.len() >= HEADER {
        let length = number::<4>(rest, 0).map_or(0, u32::from_ne_bytes) as usize;
        let kind = number::<2>(rest, 4).map_or(0, u16::from_ne_bytes);
        if kind == NLMSG_DONE {
            return Ok(false);
        }
        if kind == NLMSG_ERROR || length < HEADER || length > rest.len() {
            return Err(io::Error::other("sock_diag does not answer"));
        }
        found.extend(connection(&rest[HEADER..length], port));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn connection(answer: &[u8], port: u16) -> Option<(u32, u64)> {
    if u16::from_be_bytes(number(answer, DPORT_AT)?) != port {
        return None;
    }
    let inode = u32::from_ne_bytes(number(answer, INODE_AT)?);
    let mut attributes = answer.get(ANSWER..)?;
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes(number(attributes, 0)?));
        let kind = u16::from_ne_bytes(number(attributes, 2)?);
        let value = attributes.get(4..length)?;
        if kind == INFO {
            return Some((inode, u64::from_ne_bytes(number(value, BYTES_AT)?)));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_counts_what_a_connection_received() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let own = std::process::id();
        assert_eq!(received(own, port).expect("an answer"), None, "not yet");
        let mut here = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let (mut there, _) = listener.accept().expect("accepted");
        assert_eq!(received(own, port).expect("an answer"), Some(0));
        for total in [1_000, 2_000] {
            there.write_all(&[7; 1_000]).expect("sent");
            here.read_exact(&mut [0; 1_000]).expect("received");
            assert_eq!(received(own, port).expect("an answer"), Some(total));
        }
        // Nobody else's connection counts.
        let parent = std::os::unix::process::parent_id();
        assert_ne!(received(parent, port).ok().flatten(), Some(2_000));
        drop(here);
    }

    #[test]
    fn an_answer_that_is_cut_short_tells_nothing() {
        let mut found = Vec::new();
        assert!(read(&[], 1, &mut found).expect("more follow"));
        let mut cut = vec![0; HEADER];
        cut[..4].copy_from_slice(&100_u32.to_ne_bytes());
        assert!(read(&cut, 1, &mut found).is_err());
        assert!(connection(&[0; ANSWER], 0).is_none());
        assert!(found.is_empty());
    }
}
