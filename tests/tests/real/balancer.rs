//! What a load balancer is told at the moment when it asks.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{LIMIT, World, signal, throughout, until};
use crate::writer::Writer;

/// Requests that wait in the socket of a stopped host.
const WAITING: usize = 8;
/// As long as a hung server would have been vouched for.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// A server that hangs beside a living agent: 503 before anybody else is primary, and never 200 again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_primary_is_vouched_for_no_longer() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    assert_eq!(world.serves("mysql-1").await, Some(1));
    let hung = world.mysqld("mysql-1");
    signal(hung, Signal::SIGSTOP);
    until(LIMIT, "503 for a hung server", async || {
        world.serves("mysql-1").await.is_none().then_some(())
    })
    .await;
    let cluster = world.cluster().await.expect("the nodes answer");
    assert_eq!(cluster.epoch.0, 1, "before anybody else is primary");
    world.opened(2).await;
    throughout(AFTERWARDS, "it stays 503", async || {
        world.serves("mysql-1").await.is_none()
    })
    .await;
    signal(hung, Signal::SIGCONT);
    world.settle(writer, &[]).await;
}

/// A host is frozen, and requests wait in its agent's socket. When it goes on, another one is
/// primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thawed_host_answers_what_waited_with_503() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let agent = world.instance("mysql-1").agent_http;
    // Connections that stand, as a balancer's do, and new ones.
    let mut asked = Vec::new();
    for _ in 0..WAITING {
        asked.push(TcpStream::connect(agent).await.expect("it listens"));
    }
    world.stop_host("mysql-1");
    for _ in 0..WAITING {
        asked.push(TcpStream::connect(agent).await.expect("the kernel accepts"));
    }
    let request = b"GET /primary HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n";
    for stream in &mut asked {
        stream.write_all(request).await.expect("it is sent");
    }
    world.opened(2).await;
    world.continue_host("mysql-1");
    for mut stream in asked {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let head = String::from_utf8_lossy(&answer);
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    }
    world.settle(writer, &[]).await;
}
