//! On real namespaces and devices: as root, with /dev/net/tun; skipped where there are none.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::stat::fstat;

use super::Net;

const REGIONS: [&str; 3] = ["one", "two", "three"];
/// For what takes a moment on a quiet machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The networks, or the news that this machine has none.
fn net(rtt_ms: u32) -> Option<Net> {
    match Net::new(&REGIONS, rtt_ms) {
        Ok(net) => Some(net),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// Runs in a region.
fn within<T: Send>(net: &Net, region: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = &net.0.namespaces[region].1;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            namespace.enter().expect("it was made by us");
            work()
        });
        inside.join().expect("no panic")
    })
}

/// A socket in a region. What it does later goes on there: a socket keeps its network.
fn udp(net: &Net, region: &str) -> (UdpSocket, SocketAddr) {
    let socket = within(net, region, || UdpSocket::bind((net.address(region), 0)));
    let socket = socket.expect("a free port");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

/// Answers each datagram until one is empty.
fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 16];
    while let Ok((length, from)) = socket.recv_from(&mut buffer)
        && length > 0
    {
        socket.send_to(&buffer[..length], from).expect("it is sent");
    }
}

fn round_trip(socket: &UdpSocket, to: SocketAddr) -> Duration {
    let begun = Instant::now();
    socket.send_to(b"ping", to).expect("it is sent");
    let (length, from) = socket.recv_from(&mut [0; 16]).expect("an answer");
    let took = begun.elapsed();
    assert_eq!((length, from), (4, to));
    took
}

#[test]
fn a_round_trip_takes_its_time_between_regions_and_not_within_one() {
    const RTT_MS: u32 = 200;
    let Some(net) = net(RTT_MS) else { return };
    let servers = REGIONS.map(|region| udp(&net, region));
    std::thread::scope(|scope| {
        for (socket, _) in &servers {
            scope.spawn(|| echo(socket));
        }
        for (at, from) in REGIONS.iter().enumerate() {
            let (client, _) = udp(&net, from);
            for (_, to) in servers
                .iter()
                .enumerate()
                .filter(|(to, _)| *to != at)
                .map(|(_, s)| s)
            {
                let took = round_trip(&client, *to);
                assert!(took >= net.rtt(), "{from} to {to}: {took:?}");
            }
            // While a packet travels to another region and back, one within this region arrives
            // twice. Again, in case this machine did nothing at all for that long.
            let (far, _) = udp(&net, from);
            let (home, away) = (servers[at].1, servers[(at + 1) % 3].1);
            let overtaken = (0..10).any(|_| {
                far.send_to(b"ping", away).expect("it is sent");
                round_trip(&client, home);
                round_trip(&client, home);
                far.set_nonblocking(true).expect("a socket option");
                let early = far.recv_from(&mut [0; 16]);
                far.set_nonblocking(false).expect("a socket option");
                match early {
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        far.recv_from(&mut [0; 16]).expect("an answer, in its time");
                        true
                    }
                    Ok(_) => false,
                }
            });
            assert!(overtaken, "{from}: within the region it takes as long");
        }
        for (socket, address) in &servers {
            socket.send_to(b"", address).expect("it is sent");
        }
    });
}

#[test]
fn a_stream_arrives_whole() {
    const BYTES: usize = 8 << 20;
    let Some(net) = net(20) else { return };
    let to = net.address("two");
    let listener = within(&net, "two", || TcpListener::bind((to, 0))).expect("a free port");
    let to = listener.local_addr().expect("it is bound");
    let sent: Vec<u8> = (0..BYTES).map(|at| (at / 7 % 251) as u8).collect();
    let received = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| -> io::Result<Vec<u8>> {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(LIMIT))?;
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            Ok(all)
        });
        let stream = within(&net, "one", || TcpStream::connect(to));
        let mut stream = stream.expect("it listens");
        stream.write_all(&sent).expect("it is read");
        drop(stream);
        receiving.join().expect("no panic").expect("all of it")
    });
    assert!(received == sent, "{} of {BYTES} bytes", received.len());
}

/// Network devices of the calling thread's namespace.
fn devices() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("/proc");
    let names = text.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// Where in /proc this namespace is still to be seen: threads in it, descriptors and mounts of it.
fn seen(namespace: u64) -> Vec<String> {
    let mark = format!("net:[{namespace}]");
    let mut found = Vec::new();
    let entries = |dir: String| {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path()))
    };
    let links = |path: &std::path::Path| {
        std::fs::read_link(path).is_ok_and(|to| to.as_os_str().to_string_lossy() == mark)
    };
    for process in entries("/proc".into()) {
        let process = process.display().to_string();
        if !process["/proc/".len()..]
            .bytes()
            .all(|byte| byte.is_ascii_digit())
        {
            continue;
        }
        let threads = entries(format!("{process}/task")).map(|task| task.join("ns/net"));
        let held = threads.chain(entries(format!("{process}/fd")));
        found.extend(
            held.filter(|path| links(path))
                .map(|path| path.display().to_string()),
        );
        let mounts = std::fs::read_to_string(format!("{process}/mountinfo")).unwrap_or_default();
        found.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&mark))
                .map(str::to_owned),
        );
    }
    found
}

#[tokio::test]
async fn nothing_is_left_behind_however_it_ends() {
    let Some(net) = net(20) else { return };
    let watched = net.0.namespaces["two"].0;
    let inside = net.0.namespaces["two"].1.clone();
    let inode = fstat(inside.0.as_fd()).expect("it is open").st_ino;

    let mut command = std::process::Command::new("sleep");
    let mut child = net.spawn("two", command.arg("600")).expect("it starts");
    assert!(
        seen(inode)
            .iter()
            .any(|at| at.starts_with(&format!("/proc/{}/", child.id()))),
        "the child is in its region"
    );
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");

    // A life in the region that is given up in its middle.
    static LIVES: AtomicU32 = AtomicU32::new(0);
    struct Alive;
    impl Drop for Alive {
        fn drop(&mut self) {
            LIVES.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (born, birth) = tokio::sync::oneshot::channel();
    let life = net.live_in("two", move || async move {
        LIVES.fetch_add(1, Ordering::SeqCst);
        let _alive = Alive;
        // A task of the runtime's other threads is in the region too.
        let bound = tokio::spawn(tokio::net::TcpListener::bind((watched, 0))).await;
        let _ = born.send(bound.expect("no panic").is_ok());
        std::future::pending::<anyhow::Result<()>>().await
    });
    tokio::select! {
        _ = life => panic!("it has no end of its own"),
        bound = birth => assert!(bound.expect("it was sent"), "only region two has that address"),
    }
    assert_eq!(
        LIVES.load(Ordering::SeqCst),
        0,
        "dropped before the drop returned"
    );

    drop(net);
    let devices = std::thread::spawn(move || {
        inside.enter().expect("it is held by this test");
        drop(inside);
        devices()
    });
    assert_eq!(
        devices.join().expect("no panic"),
        ["lo"],
        "the line is gone"
    );
    // A thread that has been joined may take a moment to vanish from /proc.
    let begun = Instant::now();
    while !seen(inode).is_empty() {
        assert!(begun.elapsed() < LIMIT, "still there: {:?}", seen(inode));
        std::thread::yield_now();
    }
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let error = super::NetError {
        rtt_ms: 40,
        what: "make a network namespace",
        remedy: "run as root",
        source: io::Error::from_raw_os_error(1),
    };
    assert_eq!(
        error.to_string(),
        "--rtt-ms 40: cannot make a network namespace; run as root, or leave --rtt-ms out"
    );
}
