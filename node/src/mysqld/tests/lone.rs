//! One instance: how it boots, who may log in, what a probe sees, how it is watched.

use std::{num::NonZeroU16, time::Duration};

use nix::{libc, sys::signal::Signal};

use super::rig::{Rig, START_LIMIT, go_online, soon, timed};
use crate::mysqld::{
    bringup::{StartError, Version, spawn},
    inspect::{inspect, pulse},
    ops,
    probe::{self, Sight},
    process::{Exit, Life, Watched},
    session::{Address, Login, Session, Transport, within},
    unfollow,
};

#[test]
fn versions_are_numbers() {
    let version = |text| Version::parse(text).unwrap();
    assert!(version("26.7.0") > version("9.7.4-2"));
    assert!(version("10.0.1") > version("9.10.0"));
    assert_eq!(version("8.4.6-6.1").to_string(), "8.4.6");
    assert_eq!(Version::parse("unknown"), None);
    assert_eq!(Version::parse("9.7"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn boots_fenced_and_empty_and_is_seen() {
    let Some(rig) = Rig::start(1).await else {
        return;
    };
    let mut agent = rig.session(0).await;
    let seen = inspect(&mut agent, soon()).await.unwrap();
    assert!(seen.pulse.super_read_only && seen.pulse.read_only && seen.pulse.offline_mode);
    go_online(&mut agent).await;
    assert_eq!(
        (seen.pulse.gtid_executed.as_str(), seen.pulse.replica),
        ("", None)
    );
    assert!(!seen.pulse.semi_sync.source_enabled && !seen.pulse.semi_sync.replica_enabled);
    assert!(seen.dumps.is_empty());

    for (name, count) in [("first", 1), ("next 200", 200)] {
        timed(&format!("inspect {name}"), async {
            for _ in 0..count {
                inspect(&mut agent, soon()).await.unwrap();
            }
        })
        .await;
        timed(&format!("pulse {name}"), async {
            for _ in 0..count {
                pulse(&mut agent, soon()).await.unwrap();
            }
        })
        .await;
    }

    let frozen = ops::freeze(&mut agent, soon()).await.unwrap();
    assert_eq!(
        (frozen.pulse.gtid_executed.as_str(), frozen.pulse.received()),
        ("", "")
    );
    assert_eq!(frozen.pulse.server_uuid, seen.pulse.server_uuid);
    ops::wait_applied(&mut agent, frozen.pulse.received(), START_LIMIT)
        .await
        .unwrap();
    unfollow::clean_up(&mut agent, soon()).await.unwrap();
    errors_belong_to_their_question(&mut agent).await;
    accounts_log_in(&rig).await;
    probes_see(&rig).await;

    // Adopted by pid, refused under another's configuration, and reaped with its signal.
    let ours = &rig.processes[0];
    let adopted = Watched::find(&rig.instances[0]).unwrap();
    assert_eq!(
        (adopted.pid(), adopted.started_at()),
        (ours.pid(), ours.started_at())
    );
    assert!(Watched::adopt(std::process::id(), &rig.instances[0]).is_err());
    assert_eq!(ours.life(), Life::Running);
    let killed = timed("kill -9 to proof", ours.kill_and_prove(soon()))
        .await
        .unwrap();
    assert_eq!(killed.unwrap().pid, ours.pid());
    assert!(matches!(
        ours.exited().await,
        Exit::Signal(Signal::SIGKILL) | Exit::Unknown
    ));
    adopted.exited().await;
    assert_eq!(adopted.life(), Life::Gone);
    rig.end().await;
}

async fn errors_belong_to_their_question(agent: &mut Session) {
    const BAD: &str = "SET GLOBAL no_such_variable=1";
    for sql in [
        BAD.into(),
        format!("SET @a=1; {BAD}"),
        format!("SET @a=1; SET @b=1; {BAD}"),
        format!("SET @a=1; {BAD}; SET @b=1"),
        format!("SELECT 1; {BAD}"),
        format!("SELECT 1; SET @a=1; {BAD}; SELECT 1"),
        format!("SELECT 1 FROM dual WHERE 0; SELECT 1; {BAD}"),
    ] {
        let refused = agent.execute(&sql, soon()).await;
        assert_eq!(
            refused.as_ref().map_err(|error| error.code()),
            Err(Some(1193)),
            "{sql}"
        );
        let sets = agent
            .ask(
                "SET @a=1; SELECT 7 AS n; SET @a=2; SELECT 1 WHERE 0",
                soon(),
            )
            .await;
        let sets = sets.unwrap();
        assert_eq!(
            sets.iter().map(Vec::len).collect::<Vec<_>>(),
            [1, 0],
            "after {sql}"
        );
    }
}

async fn accounts_log_in(rig: &Rig) {
    let accounts = &rig.template.accounts;
    for login in [
        &accounts.control,
        &accounts.repl,
        &accounts.app,
        &accounts.agent,
    ] {
        for transport in [Transport::Plain, Transport::TlsUnverified] {
            let mut target = rig.tcp(0, login);
            target.transport = transport.clone();
            for attempt in ["full", "cached"] {
                let what = format!("login {} {transport:?} {attempt}", login.user);
                timed(&what, Session::connect(&target, soon()))
                    .await
                    .unwrap();
            }
        }
    }
    let mut admin = rig.tcp(0, &accounts.agent);
    for transport in [Transport::Plain, Transport::TlsUnverified] {
        admin.address = Address::Tcp {
            host: "127.0.0.1".into(),
            port: rig.instances[0].admin_port,
        };
        admin.transport = transport;
        Session::connect(&admin, soon()).await.unwrap();
    }
    // Verified TLS needs a name in the certificate, which MySQL's own has not.
    let mut verified = rig.tcp(0, &accounts.app);
    verified.transport = Transport::Tls {
        ca: rig.instances[0].data().join("ca.pem"),
    };
    println!(
        "verified: {:?}",
        Session::connect(&verified, soon()).await.err()
    );
    let mut app = rig.app(0).await;
    let refused = app
        .execute("CREATE TABLE app.t (id INT)", soon())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some(1290));
    let refused = app
        .execute("SET GLOBAL super_read_only=OFF", soon())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some(1227));
}

async fn probes_see(rig: &Rig) {
    let target = rig.tcp(0, &rig.template.accounts.control);
    let mut warm = Session::connect(&target, soon()).await.unwrap();
    let seen = probe::warm(&mut warm, soon()).await;
    assert!(
        matches!(&seen, Sight::Answered(seen) if seen.read_only),
        "{seen:?}"
    );
    println!("warm {seen:?}");
    println!("fresh {:?}", probe::fresh(&target, soon()).await);

    let wrong = rig.tcp(0, &Login::new("primacy_control", "wrong"));
    let seen = probe::fresh(&wrong, soon()).await;
    assert!(matches!(seen, Sight::Failed { code: 1045, .. }), "{seen:?}");
    let mut agent = rig.session(0).await;
    agent
        .execute("SET GLOBAL max_connections=1", soon())
        .await
        .unwrap();
    let seen = probe::fresh(&target, soon()).await;
    assert!(matches!(seen, Sight::Failed { code: 1040, .. }), "{seen:?}");
    agent
        .execute("SET GLOBAL max_connections=151", soon())
        .await
        .unwrap();

    rig.processes[0].signal(libc::SIGSTOP).unwrap();
    let short = Duration::from_millis(200);
    assert_eq!(probe::fresh(&target, within(short)).await, Sight::Silent);
    assert_eq!(probe::warm(&mut warm, within(short)).await, Sight::Silent);
    assert!(!warm.is_usable());
    rig.processes[0].signal(libc::SIGCONT).unwrap();
    assert!(probe::fresh(&target, soon()).await.is_alive());

    let mut nobody = target.clone();
    nobody.address = Address::Tcp {
        host: "127.0.0.1".into(),
        port: 1,
    };
    assert_eq!(probe::fresh(&nobody, soon()).await, Sight::Refused);
}

/// An opener that waits is dead, so a paused process cannot open late.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_opener_is_refused_and_a_failed_start_says_why() {
    let Some(rig) = Rig::start(1).await else {
        return;
    };
    let mut opener = rig.opener(0).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let late = ops::open(&mut opener, NonZeroU16::MIN, soon()).await;
    assert!(late.is_err(), "{late:?}");
    assert!(
        pulse(&mut rig.session(0).await, soon())
            .await
            .unwrap()
            .super_read_only
    );

    let again = spawn(&rig.server, &rig.instances[0], START_LIMIT).await;
    let Err(StartError::Running(pid)) = again else {
        panic!("started twice: {again:?}")
    };
    assert_eq!(pid, rig.processes[0].pid());

    // Our own listener is in the way, and greets nobody.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut other = rig.instances[0].clone();
    other.dir = other.dir.with_file_name("other");
    other.port = taken.local_addr().unwrap().port();
    std::fs::create_dir(&other.dir).unwrap();
    rig.template.copy_to(&other).await.unwrap();
    let failed = timed(
        "start on a taken port",
        spawn(&rig.server, &other, START_LIMIT),
    )
    .await;
    let Err(StartError::Exited { log }) = failed else {
        panic!("started: {failed:?}")
    };
    println!("failed start: {log}");
    assert!(log.contains("port"), "{log}");
    rig.end().await;
}
