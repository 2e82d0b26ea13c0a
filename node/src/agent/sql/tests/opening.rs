//! An order to open that a later order overtakes.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use primacy_core::act::{Op, OpDone};

use super::{Desk, value};
use crate::mysqld::session::Session;
use crate::mysqld::tests::rig::{soon, until};

const ROUNDS: usize = 20;
/// The server's other work, so that a session's turn is not the next one by itself.
const AT_WORK: usize = 10;

/// Whether bytes wait in the server's end of a connection to this port of loopback.
fn unread(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{port:04X}");
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let queues = fields.get(4).and_then(|queues| queues.split_once(':'));
        fields.get(1) == Some(&local.as_str())
            && fields.get(3) == Some(&"01")
            && queues.is_some_and(|(_, received)| received != "00000000")
    })
}

async fn works(target: crate::mysqld::session::Target) {
    loop {
        if let Ok(mut app) = Session::connect(&target, soon()).await {
            let sql = "SELECT COUNT(*) FROM information_schema.COLUMNS";
            while app.execute(sql, soon()).await.is_ok() {}
        }
        // It is shut, and opens again.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The statement lies unread in the socket of a stopped server. Then the order is superseded, the
/// instance fenced, and the server goes on: what was confirmed shut stays shut.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_open_that_was_overtaken_opens_nothing() {
    let Some(mut desk) = Desk::of(1).await else {
        return;
    };
    let app = desk.rig.tcp(0, &desk.rig.template.accounts.app);
    let at_work: Vec<_> = (0..AT_WORK)
        .map(|_| tokio::spawn(works(app.clone())))
        .collect();
    let mut root = desk.root(0).await;
    let (server, port) = (&desk.rig.processes[0], desk.rig.instances[0].admin_port);
    let pid = nix::unistd::Pid::from_raw(server.pid().cast_signed());
    for round in 0..ROUNDS {
        desk.does(Op::Survey).await;
        let members = BTreeSet::new();
        desk.does(Op::PrepareOpen { members }).await;
        kill(pid, Signal::SIGSTOP).unwrap();
        let open = desk.run(Op::Open { k: 1 });
        until("the statement lies in the socket", || async {
            unread(port)
        })
        .await;
        desk.executor.cancel(open);
        let fence = desk.run(Op::Fence);
        kill(pid, Signal::SIGCONT).unwrap();
        let fenced = desk.end(fence).await;
        assert!(matches!(fenced, Ok(OpDone::Fenced { .. })), "{fenced:?}");

        let at_work = "SELECT CAST(COUNT(*) AS CHAR) AS v FROM performance_schema.threads \
                       WHERE PROCESSLIST_USER='primacy_agent' AND PROCESSLIST_COMMAND<>'Sleep'";
        while value(&mut root, at_work).await != "0" {}
        let both = "SELECT CONCAT(@@global.super_read_only, @@global.offline_mode) AS v";
        assert_eq!(value(&mut root, both).await, "11", "round {round}");
    }
    at_work.iter().for_each(tokio::task::JoinHandle::abort);
    desk.rig.end().await;
}
