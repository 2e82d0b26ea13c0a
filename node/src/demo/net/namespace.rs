//! One region's network: a namespace without a name, with one address and one way out of it.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};

/// All regions together: what is in it and not here goes out through the line.
const ALL_REGIONS: Ipv4Addr = Ipv4Addr::new(255, 255, 0, 0);
/// Packets that wait to be read. The default of 500 is less than one window of TCP, and what does
/// not fit is lost.
const QUEUE_PACKETS: libc::c_int = 20_000;
const LINE: &str = "region";

/// What could not be done on the way to a region's network, and what would make it possible.
#[derive(Debug)]
pub(super) struct Obstacle {
    pub what: &'static str,
    pub remedy: &'static str,
    pub source: io::Error,
}

/// Held by its descriptor; it ends with the last descriptor, process and device in it.
pub(super) struct Namespace(pub(super) OwnedFd);

impl Namespace {
    /// A new one with this address, and the outer end of its line: a file of which each read is a
    /// packet that leaves the region, and each write one that reaches it. Neither blocks.
    pub fn create(address: Ipv4Addr) -> Result<(Self, File), Obstacle> {
        // A thread of its own: it moves into the namespace that it makes.
        let made = std::thread::spawn(move || make(address)).join();
        made.unwrap_or_else(|_| {
            Err(Obstacle {
                what: "make a network namespace",
                remedy: "look at the panic above",
                source: io::Error::other("the thread that makes it panicked"),
            })
        })
    }

    /// Moves the calling thread into it, and with it all that the thread starts from then on.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }
}

fn make(address: Ipv4Addr) -> Result<(Namespace, File), Obstacle> {
    let step = |what, remedy| {
        move |source| Obstacle {
            what,
            remedy,
            source,
        }
    };
    let rights = step(
        "make a network namespace",
        "run as root (a container needs --cap-add SYS_ADMIN --cap-add NET_ADMIN)",
    );
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| rights(errno.into()))?;
    let namespace = File::open("/proc/thread-self/ns/net");
    let namespace = namespace.map_err(step("open a network namespace", "mount /proc"))?;
    let tun = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(step(
            "open /dev/net/tun",
            "run as root, load the kernel's module (modprobe tun), or give the container that \
             device (--device /dev/net/tun)",
        ))?;
    configure(&tun, address).map_err(step(
        "set up a region's network",
        "run as root (a container needs --cap-add NET_ADMIN)",
    ))?;
    Ok((Namespace(namespace.into()), tun))
}

fn configure(tun: &File, address: Ipv4Addr) -> io::Result<()> {
    // Any socket of this namespace will do to name its devices.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let up = |name: &str| {
        let mut device = named(name);
        device.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        control(&socket, libc::SIOCSIFFLAGS, &mut device)
    };
    up("lo")?;

    let mut device = named(LINE);
    device.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    control(tun, libc::TUNSETIFF, &mut device)?;
    let mut device = named(LINE);
    device.ifr_ifru.ifru_addr = sockaddr(address);
    control(&socket, libc::SIOCSIFADDR, &mut device)?;
    let mut device = named(LINE);
    device.ifr_ifru.ifru_netmask = sockaddr(ALL_REGIONS);
    control(&socket, libc::SIOCSIFNETMASK, &mut device)?;
    let mut device = named(LINE);
    device.ifr_ifru.ifru_metric = QUEUE_PACKETS;
    control(&socket, libc::SIOCSIFTXQLEN, &mut device)?;
    up(LINE)
}

fn named(name: &str) -> libc::ifreq {
    // SAFETY: a C struct of integers and a union of such; all zeroes is a value of it.
    let mut device: libc::ifreq = unsafe { zeroed() };
    for (to, from) in device.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    device
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    // The port comes first.
    for (to, from) in data[2..].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}

/// netdevice(7), and `TUNSETIFF` of the kernel's tun driver: both take an `ifreq`.
fn control(fd: &impl AsRawFd, request: libc::Ioctl, device: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the descriptor is open, and every request used here reads and writes one `ifreq`.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_mut(device)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
