//! What the agent's own writes prove, on a real primary with one acker.

use std::collections::BTreeSet;

use nix::libc;
use primacy_core::act::{NotSent, Op, OpDone, OpError, OpId, ProbeAt, Survey};
use primacy_core::ids::Epoch;

use super::foreign::Foreign;
use super::{Desk, ENOUGH_SESSIONS, value};
use crate::mysqld::facts::facts;
use crate::mysqld::session::Session;
use crate::mysqld::tests::rig::soon;

impl Desk {
    fn write(&mut self) -> OpId {
        self.run(Op::Marker {
            epoch: Epoch(1),
            create: false,
        })
    }

    async fn survey(&mut self) -> Survey {
        match self.does(Op::Survey).await {
            OpDone::Surveyed(survey) => *survey,
            other => panic!("no survey: {other:?}"),
        }
    }

    /// Surveys until a write is seen at something that is wanted.
    async fn seen_at(&mut self, id: OpId, wanted: impl Fn(&ProbeAt) -> bool) -> ProbeAt {
        loop {
            let survey = self.survey().await;
            if let Some(at) = survey.probes.get(&id).filter(|at| wanted(at)) {
                return at.clone();
            }
        }
    }

    async fn not_sent(&mut self) -> NotSent {
        let id = self.write();
        match self.end(id).await {
            Ok(OpDone::NotSent(why)) => why,
            other => panic!("it says: {other:?}"),
        }
    }
}

async fn does(session: &mut Session, sql: &str) {
    session.execute(sql, soon()).await.expect(sql);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_says_what_it_proved() {
    let Some(mut desk) = Desk::of(2).await else {
        return;
    };
    let _replica = desk.rig.replicating().await;
    let first = desk.does(Op::Marker {
        epoch: Epoch(1),
        create: true,
    });
    assert!(matches!(first.await, OpDone::Marked(_)));
    let mut root = desk.root(0).await;

    // A backup's lock: named, and with it who holds it.
    does(&mut root, "FLUSH TABLES WITH READ LOCK").await;
    let behind = desk.write();
    let lock = |at: &ProbeAt| matches!(at, ProbeAt::Lock(_));
    let ProbeAt::Lock(held) = desk.seen_at(behind, lock).await else {
        unreachable!("a lock")
    };
    assert!(held.contains("global lock, held by session"), "{held}");
    assert!(held.contains("root@localhost"), "{held}");
    let ended = desk.end(behind).await;
    assert_eq!(ended, Ok(OpDone::NotSent(NotSent::Locked(held))));
    does(&mut root, "UNLOCK TABLES").await;
    does(&mut root, "LOCK TABLES primacy.marker READ").await;
    let behind = desk.write();
    let ProbeAt::Lock(held) = desk.seen_at(behind, lock).await else {
        unreachable!("a lock")
    };
    assert!(held.contains("primacy.marker, held by session"), "{held}");
    let ended = desk.end(behind).await;
    assert_eq!(ended, Ok(OpDone::NotSent(NotSent::Locked(held))));
    does(&mut root, "UNLOCK TABLES").await;

    // Its table is gone, or is another one.
    does(&mut root, "SET sql_log_bin=0").await;
    does(&mut root, "RENAME TABLE primacy.marker TO primacy.kept").await;
    assert!(matches!(desk.not_sent().await, NotSent::Table(_)));
    does(&mut root, "CREATE TABLE primacy.marker (n INT PRIMARY KEY)").await;
    assert!(matches!(desk.not_sent().await, NotSent::Table(_)));
    does(&mut root, "DROP TABLE primacy.marker").await;
    does(&mut root, "RENAME TABLE primacy.kept TO primacy.marker").await;
    does(&mut root, "SET GLOBAL super_read_only=ON").await;
    assert_eq!(desk.not_sent().await, NotSent::ReadOnly);
    does(&mut root, "SET GLOBAL super_read_only=OFF").await;

    // Sent, and nobody acknowledges; the second one waits for its turn behind the first.
    desk.rig.processes[1].signal(libc::SIGSTOP).unwrap();
    let waits = desk.write();
    let at = desk.seen_at(waits, |at| *at == ProbeAt::Acknowledgement);
    at.await;
    let second = desk.write();
    let at = |at: &ProbeAt| matches!(at, ProbeAt::Acknowledgement | ProbeAt::Commit);
    desk.seen_at(second, at).await;
    let survey = desk.survey().await;
    assert!(survey.ack_waits > 0, "{survey:?}");
    assert!(survey.ack_wait_ms.is_some(), "{survey:?}");
    desk.rig.processes[1].signal(libc::SIGCONT).unwrap();
    for (_, ended) in desk.ends(&[waits, second]).await {
        assert!(matches!(ended, Ok(OpDone::Marked(_))), "{ended:?}");
    }
    let survey = loop {
        let survey = desk.survey().await;
        if survey.ack_waits == 0 {
            break survey;
        }
    };
    assert_eq!(survey.login_error, None);
    desk.rig.end().await;
}

/// Ends every session of the agent's until its survey is refused; why.
async fn refused(desk: &mut Desk, root: &mut Session) -> String {
    let all = "SELECT GROUP_CONCAT(PROCESSLIST_ID) AS v FROM performance_schema.threads \
               WHERE PROCESSLIST_USER='primacy_agent'";
    loop {
        for id in value(root, all)
            .await
            .split(',')
            .filter(|id| !id.is_empty())
        {
            // It may have ended by itself.
            let _ = root.execute(&format!("KILL {id}"), soon()).await;
        }
        let id = desk.run(Op::Survey);
        // Else it came through before, or its session was ended under it.
        if let Err(OpError::Denied(why)) = desk.end(id).await {
            return why;
        }
    }
}

/// One that may not look any more tells so, as one that cannot log in does.
#[tokio::test(flavor = "multi_thread")]
async fn a_privilege_that_is_revoked_is_told() {
    let Some(mut desk) = Desk::of(1).await else {
        return;
    };
    let mut root = desk.root(0).await;
    let accounts = "primacy_agent@localhost, primacy_agent@'127.0.0.0/255.0.0.0'";
    let revoke = format!("REVOKE REPLICATION CLIENT ON *.* FROM {accounts}");
    does(
        &mut root,
        "SET GLOBAL super_read_only=OFF; SET sql_log_bin=0",
    )
    .await;
    does(&mut root, &revoke).await;
    let told = refused(&mut desk, &mut root).await;
    assert!(
        told.contains("error 1227") && told.contains("REPLICATION CLIENT"),
        "{told}"
    );
    let grant = format!("GRANT REPLICATION CLIENT ON *.* TO {accounts}");
    does(&mut root, &grant).await;
    assert_eq!(desk.survey().await.login_error, None);
    desk.rig.end().await;
}

/// A count or a time that takes its account away is read from the server's own words.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_shut_the_agent_out_is_read() {
    let Some(desk) = Desk::of(1).await else {
        return;
    };
    let mut root = desk.root(0).await;
    let mut own = desk.rig.session(0).await;
    let mut limits = async || facts(&mut own, soon()).await.expect("facts").agent_limits;
    assert_eq!(limits().await, Vec::<String>::new(), "as it is made here");
    let writable = "SET GLOBAL super_read_only=OFF; SET sql_log_bin=0";
    does(&mut root, writable).await;
    let odd = "ALTER USER primacy_agent@localhost WITH MAX_QUERIES_PER_HOUR 1000000 \
               PASSWORD EXPIRE INTERVAL 90 DAY FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME 1 \
               COMMENT 'it''s not FAILED_LOGIN_ATTEMPTS 9'";
    does(&mut root, odd).await;
    let all = [
        "MAX_QUERIES_PER_HOUR 1000000",
        "PASSWORD EXPIRE INTERVAL 90 DAY",
        "FAILED_LOGIN_ATTEMPTS 3",
    ];
    assert_eq!(limits().await, all);
    desk.rig.end().await;
}

/// Somebody else's settings, a full house, a changed password: what stands ready goes on, and a
/// login that fails is told and healed.
#[tokio::test(flavor = "multi_thread")]
async fn no_new_login_is_needed_to_act() {
    let Some(mut desk) = Desk::of(2).await else {
        return;
    };
    let _replica = desk.rig.replicating().await;
    let mut root = desk.root(0).await;
    let odd = "SET GLOBAL max_connections=1, GLOBAL sql_mode='ANSI_QUOTES', \
               GLOBAL autocommit=0, GLOBAL lock_wait_timeout=31536000, \
               GLOBAL transaction_read_only=1, GLOBAL wait_timeout=1, \
               GLOBAL max_execution_time=1, GLOBAL completion_type=2";
    does(&mut root, odd).await;
    desk.survey().await;
    let taken = "SELECT CAST(COUNT(*) AS CHAR) AS v FROM performance_schema.threads \
                 WHERE PROCESSLIST_USER='primacy_agent'";
    while value(&mut root, taken).await.parse::<usize>().unwrap() < ENOUGH_SESSIONS {
        desk.survey().await;
    }
    does(
        &mut root,
        "ALTER USER primacy_agent@localhost IDENTIFIED BY 'new'",
    )
    .await;
    let loopback = "ALTER USER primacy_agent@'127.0.0.0/255.0.0.0' IDENTIFIED BY 'new'";
    does(&mut root, loopback).await;

    let first = desk.does(Op::Marker {
        epoch: Epoch(1),
        create: true,
    });
    assert!(matches!(first.await, OpDone::Marked(_)));
    for _ in 0..3 {
        let id = desk.write();
        let wrote = desk.end(id).await;
        assert!(matches!(wrote, Ok(OpDone::Marked(_))), "{wrote:?}");
    }
    let fenced = desk.does(Op::Fence).await;
    assert!(matches!(fenced, OpDone::Fenced { .. }), "{fenced:?}");
    let attached = desk.survey().await.semi_sync_dumps;
    let members: BTreeSet<_> = attached.iter().filter_map(|dump| dump.uuid).collect();
    assert_eq!(members.len(), 1, "its acker, which is not cut");
    desk.does(Op::PrepareOpen { members }).await;
    desk.does(Op::Open { k: 1 }).await;

    // All its sessions are ended: now the password matters.
    let told = refused(&mut desk, &mut root).await;
    assert!(
        told.starts_with("primacy_agent cannot log in: error 1045"),
        "{told}"
    );
    assert_eq!(desk.executor.door().trouble(), Some(told));
    let refused = desk.not_sent().await;
    assert!(matches!(refused, NotSent::Login(_)), "{refused:?}");

    let mut healed = super::config(&desk.rig, 0);
    healed.mysql.password = "new".into();
    desk.executor.door().read(&healed);
    assert_eq!(desk.survey().await.login_error, None);
    let id = desk.write();
    let wrote = desk.end(id).await;
    assert!(matches!(wrote, Ok(OpDone::Marked(_))), "{wrote:?}");
    desk.rig.end().await;
}

/// Whatever a replication client says of itself, it is seen, and the survey goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_survey_survives_what_others_say_of_themselves() {
    let Some(mut desk) = Desk::of(1).await else {
        return;
    };
    let mut root = desk.root(0).await;
    does(
        &mut root,
        "SET sql_log_bin=0; SET GLOBAL super_read_only=OFF; SET GLOBAL offline_mode=OFF; CREATE USER outsider IDENTIFIED BY ''; \
         GRANT REPLICATION SLAVE ON *.* TO outsider",
    )
    .await;
    // Of two with one name the server itself ends the first.
    let names: [fn(usize) -> String; 3] = [
        |_| "SET @replica_uuid=NULL".into(),
        |n| format!("SET @replica_uuid='nobody {n}'"),
        |_| "SET @replica_uuid=UUID()".into(),
    ];
    let values = ["1", "2", "'yes'", "0"];
    let mut clients = Vec::new();
    for name in names {
        for value in values {
            let n = clients.len();
            let mut client = Foreign::enter(desk.rig.instances[0].port, "outsider").await;
            let says =
                format!("SET @rpl_semi_sync_replica={value}, @source_binlog_checksum='CRC32'");
            client.says(&says).await;
            client.says(&name(n)).await;
            client.dumps(1_000 + u32::try_from(n).unwrap()).await;
            clients.push(client);
        }
    }
    let survey = loop {
        let survey = desk.survey().await;
        if survey.semi_sync_dumps.len() >= names.len() * 3 {
            break survey;
        }
    };
    assert_eq!(
        survey.semi_sync_dumps.len(),
        names.len() * 3,
        "all but the zeros"
    );
    let named = survey
        .semi_sync_dumps
        .iter()
        .filter(|dump| dump.uuid.is_some());
    let named: Vec<_> = named.collect();
    assert_eq!(named.len(), 3);

    // Before it opens, whoever would acknowledge and is no member is gone; the zeros may read on.
    let member = named[0].uuid.expect("it is named");
    desk.does(Op::PrepareOpen {
        members: [member].into(),
    })
    .await;
    let left = desk.survey().await.semi_sync_dumps;
    assert_eq!(left, [*named[0]], "{left:?}");
    let attached = "SELECT COUNT(*) AS v FROM performance_schema.threads \
                    WHERE PROCESSLIST_COMMAND LIKE 'Binlog Dump%'";
    assert_eq!(value(&mut root, attached).await, "4");
    desk.rig.end().await;
}
