//! A real HAProxy between the demo's clients and its servers, as people run it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use anyhow::Context;

use super::net::Net;
use super::start::free_ports;
use super::world::{REGIONS, World};
use crate::mysqld::fetch::Program;

/// Connections that the clients keep open through it.
pub(super) const POOL: u32 = 10;

/// How often it asks each agent; and while in doubt, or while the answer is no.
const CHECK_MS: u32 = 100;
const CHECK_FAST_MS: u32 = 20;
/// Answers in a row that change its mind.
const FALL: u32 = 2;

/// In words, for the report.
pub(super) fn check() -> String {
    format!(
        "every {CHECK_MS} ms, {CHECK_FAST_MS} ms in doubt and while down; down after {FALL}, up \
         after 1; a refused connection counts"
    )
}

/// Killed when dropped.
pub(super) struct Haproxy {
    child: Child,
    pub address: SocketAddr,
}

impl Haproxy {
    /// Starts it where the clients live.
    pub fn start(program: &Program, world: &World, net: &Net) -> anyhow::Result<Self> {
        let port = free_ports(1)?[0];
        let address = SocketAddr::new(net.address(REGIONS[0]), port);
        let config = world.dir.path().join("haproxy.cfg");
        std::fs::write(&config, text(world, address))
            .with_context(|| format!("{}: cannot be written", config.display()))?;
        let log = world.dir.path().join("haproxy.out");
        let log = std::fs::File::create(&log)
            .with_context(|| format!("{}: cannot be written", log.display()))?;
        let mut command = program.command();
        command
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = net
            .spawn(REGIONS[0], &mut command)
            .context("HAProxy cannot be started")?;
        Ok(Self { child, address })
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(world: &World, bind: SocketAddr) -> String {
    let mut text = format!(
        "global\n  maxconn 1000\n\
         defaults\n  mode tcp\n  timeout connect {CHECK_MS}ms\n  timeout client 1h\n  \
         timeout server 1h\n  timeout check 200ms\n  retries 1\n  option redispatch\n\
         listen orders\n  bind {bind}\n  option httpchk GET /primary\n  \
         http-check expect status 200\n  \
         default-server check inter {CHECK_MS}ms fastinter {CHECK_FAST_MS}ms \
         downinter {CHECK_FAST_MS}ms fall {FALL} rise 1 observe layer4 error-limit 1 \
         on-error mark-down on-marked-down shutdown-sessions\n"
    );
    for place in world.places.values() {
        let (mysql, agent) = (place.address(), place.http);
        let _ = writeln!(
            text,
            "  server {} {mysql} addr {} port {}",
            place.id,
            agent.ip(),
            agent.port()
        );
    }
    text
}
