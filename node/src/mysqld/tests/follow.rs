//! Orders to follow that meet a replica in trouble.

use super::rig::{Rig, soon, until};
use crate::mysqld::{
    follow::{Followed, Source, SourceTransport, Terms, follow},
    inspect::{Replica, ThreadState, pulse},
    session::{Address, Login, Session, Target, Transport},
};

async fn root(rig: &Rig, index: usize) -> Session {
    let target = Target {
        address: Address::Socket(rig.instances[index].socket()),
        login: rig.template.accounts.root.clone(),
        transport: Transport::Plain,
    };
    Session::connect(&target, soon()).await.unwrap()
}

async fn does(session: &mut Session, sql: &str) {
    session.execute(sql, soon()).await.expect(sql);
}

async fn replica(session: &mut Session) -> Replica {
    let seen = pulse(session, soon()).await.unwrap();
    seen.replica.expect("it replicates")
}

fn relay_logs(rig: &Rig, index: usize) -> usize {
    let files = std::fs::read_dir(rig.instances[index].data()).unwrap();
    files
        .filter(|file| {
            let name = file.as_ref().unwrap().file_name();
            name.to_string_lossy().contains("relay-bin.0")
        })
        .count()
}

/// However often it is told to follow, a replica whose applier stands still goes on receiving and
/// acknowledging; its receiver is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_applier_costs_no_acknowledgement() {
    let Some(rig) = Rig::start(2).await else {
        return;
    };
    let mut session = rig.replicating().await;
    let mut app = rig.app(0).await;
    does(&mut app, "CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    until("the table to be there", || async {
        let mut root = root(&rig, 1).await;
        root.execute("SELECT 1 FROM app.t", soon()).await.is_ok()
    })
    .await;
    let by_hand = "SET sql_log_bin=0; SET GLOBAL super_read_only=OFF; \
                   INSERT INTO app.t VALUES (1); SET GLOBAL super_read_only=ON";
    does(&mut root(&rig, 1).await, by_hand).await;
    does(&mut app, "INSERT INTO app.t VALUES (1)").await;
    while replica(&mut session).await.sql_error.is_none() {}

    let source = rig.source(0, SourceTransport::PublicKey);
    let logs = relay_logs(&rig, 1);
    for row in 2..40 {
        let followed = follow(&mut session, &source, Terms::acking(), soon())
            .await
            .unwrap();
        assert!(matches!(followed, Followed::Applying | Followed::Already));
        does(&mut app, &format!("INSERT INTO app.t VALUES ({row})")).await;
        assert_ne!(replica(&mut session).await.io, ThreadState::No);
    }
    assert_eq!(relay_logs(&rig, 1), logs, "no relay log is begun");
    rig.end().await;
}

/// The replication account's password was changed: whichever of those that are known is right is
/// found, whatever characters it has.
#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_of_several_is_found() {
    let Some(rig) = Rig::start(2).await else {
        return;
    };
    let mut session = rig.replicating().await;
    let old = rig.template.accounts.repl.clone();
    let odd = r#"it's \a "new" one"#;
    let change = r#"SET sql_mode=''; ALTER USER repl IDENTIFIED BY 'it''s \\a "new" one'"#;
    does(&mut root(&rig, 0).await, change).await;
    let source = Source {
        logins: vec![old, Login::new("repl", odd)],
        ..rig.source(0, SourceTransport::PublicKey)
    };
    let ends = "SELECT CAST(PROCESSLIST_ID AS CHAR) AS id FROM performance_schema.threads \
                WHERE PROCESSLIST_COMMAND LIKE 'Binlog Dump%'";
    let mut on_source = root(&rig, 0).await;
    for rows in on_source.ask(ends, soon()).await.unwrap() {
        for row in rows {
            let id: String = row.get(0).unwrap();
            does(&mut on_source, &format!("KILL {id}")).await;
        }
    }
    while !matches!(&replica(&mut session).await.io_error, Some(fault) if fault.code == 1045) {}
    let followed = follow(&mut session, &source, Terms::acking(), soon())
        .await
        .unwrap();
    assert_eq!(followed, Followed::AnotherLogin);
    while replica(&mut session).await.io != ThreadState::Yes {}
    // A mode that somebody set for the server changes nothing.
    does(&mut on_source, "SET GLOBAL sql_mode='ANSI_QUOTES'").await;
    does(&mut root(&rig, 1).await, "SET GLOBAL sql_mode=''").await;
    does(&mut session, "STOP REPLICA IO_THREAD").await;
    let source = Source {
        logins: vec![Login::new("repl", odd)],
        ..source
    };
    let mut anew = rig.session(1).await;
    let followed = follow(&mut anew, &source, Terms::acking(), soon())
        .await
        .unwrap();
    assert_eq!(followed, Followed::Repointed);
    while replica(&mut session).await.io != ThreadState::Yes {}
    rig.end().await;
}

/// What it was compared with goes along with the order: what came since, applied or only received,
/// keeps it where it is.
#[tokio::test(flavor = "multi_thread")]
async fn who_holds_more_than_it_was_compared_with_turns_nowhere() {
    let Some(rig) = Rig::start(2).await else {
        return;
    };
    let mut session = rig.replicating().await;
    let mut app = rig.app(0).await;
    does(&mut app, "CREATE TABLE app.t (id INT PRIMARY KEY)").await;
    let here = rig.source(0, SourceTransport::PublicKey);
    let named = |host: &str| Source {
        host: host.into(),
        ..here.clone()
    };
    let holds = async |session: &mut Session| {
        let seen = pulse(session, soon()).await.unwrap();
        [seen.received(), &seen.gtid_executed].join(",")
    };
    let all = holds(&mut session).await;
    let mut tries = async |host: &str, compared: &str| {
        let terms = Terms {
            compared: Some(compared),
            ..Terms::acking()
        };
        let followed = follow(&mut session, &named(host), terms, soon()).await;
        let followed = followed.unwrap();
        if followed == Followed::Repointed {
            until("it replicates", async || {
                replica(&mut rig.session(1).await).await.io == ThreadState::Yes
            })
            .await;
        }
        let now = replica(&mut session).await;
        (followed, now.source_host, now.io)
    };
    let turned = tries("localhost", &all).await;
    let expected = (
        Followed::Repointed,
        "localhost".to_owned(),
        ThreadState::Yes,
    );
    assert_eq!(turned, expected);

    does(&mut root(&rig, 1).await, "STOP REPLICA SQL_THREAD").await;
    does(&mut app, "INSERT INTO app.t VALUES (1)").await;
    let kept = (Followed::HoldsMore, "localhost".to_owned(), ThreadState::No);
    assert_eq!(tries(&here.host, &all).await, kept, "received");
    does(&mut root(&rig, 1).await, "START REPLICA SQL_THREAD").await;
    until("it is applied", || async {
        let sql = "SELECT 1 FROM app.t WHERE id=1";
        let sets = root(&rig, 1).await.ask(sql, soon()).await.unwrap();
        !sets[0].is_empty()
    })
    .await;
    assert_eq!(tries(&here.host, &all).await, kept, "and applied");
    // Where it replicates from already there is nothing to compare.
    let same = tries("localhost", &all).await;
    assert_eq!(same.0, Followed::Repointed);
    rig.end().await;
}
