//! One owner of a data directory: whoever starts a server, its one agent sees and keeps it.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use primacy::agent::seal;
use primacy_core::act::Seal;

use crate::world::{LIMIT, World, ended, program, signal, until};
use crate::writer::Writer;

fn seal_of_second(world: &World) -> Seal {
    let seal = seal::read(&world.dir().join("agent-2"));
    seal.expect("its seal can be read").expect("there is one")
}

/// The same command in the same folder, as a service manager starts it.
fn start_again(line: &[u8], folder: &std::path::Path) -> std::process::Child {
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    Command::new(&words[0])
        .args(&words[1..])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mysqld starts")
}

/// Its agent sleeps while the server is killed, and somebody else starts it: it is the agent's
/// again, as another incarnation, and nobody starts a second one. Then a second agent is tried on
/// the same folders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_somebody_else_started_is_its_agents_own() {
    let Some(world) = World::build_with(&["--instances", "3"]).await else {
        return;
    };
    let writer = Writer::start(&world).await;
    let second = world.instance("mysql-2").clone();
    let folder = second.socket.parent().expect("its folder");
    let killed = world.mysqld("mysql-2");
    let line = std::fs::read(format!("/proc/{killed}/cmdline")).expect("its command line");
    let before = seal_of_second(&world);
    let known = before.process.as_ref().expect("it knows its process");
    assert_eq!(known.pid, killed);

    signal(second.agent_pid, Signal::SIGSTOP);
    signal(killed, Signal::SIGKILL);
    ended(killed).await;
    // What the demo does not reap holds its lock of the socket.
    let _ = std::fs::remove_file(second.socket.with_extension("sock.lock"));
    let mut started = start_again(&line, folder);
    until(LIMIT, "it to listen", async || {
        let own = std::fs::read_to_string(folder.join("mysqld.pid")).ok()?;
        (own.trim() == started.id().to_string()).then_some(())
    })
    .await;
    signal(second.agent_pid, Signal::SIGCONT);
    until(LIMIT, "it to follow again", async || {
        let follows = "SELECT CAST(COUNT(*) AS CHAR) FROM \
                       performance_schema.replication_connection_status WHERE SERVICE_STATE='ON'";
        (world.value("mysql-2", follows).await == "1").then_some(())
    })
    .await;
    let after = seal_of_second(&world);
    assert_eq!(after.mysqld, before.mysqld.next(), "one more process");
    assert_eq!(after.process.map(|process| process.pid), Some(started.id()));
    assert_eq!(
        world.mysqld("mysql-2"),
        started.id(),
        "no other was started"
    );

    let twin = Command::new(program())
        .args(["agent", "--config"])
        .arg(world.dir().join("agent-2.toml"))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&twin.stderr).into_owned();
    assert!(!twin.status.success(), "{said}");
    let named = format!(
        "in the hands of the agent of mysql-2 of cluster {}",
        world.cluster_id()
    );
    assert!(said.contains(&named), "{said}");
    world.settle(writer, &[]).await;
    let _ = started.kill();
    let _ = started.wait();
}
