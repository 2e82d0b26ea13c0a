//! Scheduled events of the old primary go on on the new one, once, and nowhere else.

use primacy_core::record::{Due, EventKind, Idle};

use crate::world::{LIMIT, World, until};
use crate::writer::Writer;

const EVENTS: &str = "\
CREATE TABLE app.ticks (id BIGINT AUTO_INCREMENT PRIMARY KEY, server INT UNSIGNED);
SET SESSION sql_mode='ANSI_QUOTES,STRICT_TRANS_TABLES';
CREATE DEFINER='app'@'%' EVENT app.tick ON SCHEDULE EVERY 1 SECOND
 DO INSERT INTO app.ticks (server) VALUES (@@server_id);
CREATE DEFINER='app'@'%' EVENT app.idle ON SCHEDULE EVERY 1 SECOND DISABLE
 DO INSERT INTO app.ticks (server) VALUES (0)";
const TICKS: &str = "SELECT CAST(COUNT(*) AS CHAR) FROM app.ticks WHERE server=@@server_id";
const TICK: &str = "SELECT CONCAT_WS(' ', STATUS, DEFINER, SQL_MODE) \
                    FROM information_schema.EVENTS WHERE EVENT_NAME='tick'";

async fn ticks(world: &World, id: &str) {
    until(LIMIT, &format!("events to fire on {id}"), async || {
        let mut session = world.try_root(id).await?;
        let answer = session
            .ask(TICKS, primacy::mysqld::session::within(LIMIT))
            .await;
        let fired: String = answer.ok()?.first()?.first()?.get(0)?;
        (fired.parse::<u32>().ok()? >= 2).then_some(())
    })
    .await;
}

/// An event every second, its host lost: it fires on the new primary, one that was disabled does
/// not, and the old one's scheduler is quiet once that is shut.
#[tokio::test(flavor = "multi_thread")]
async fn scheduled_events_go_on_on_the_new_primary() {
    let Some(world) = World::build().await else {
        return;
    };
    let writer = Writer::start(&world).await;
    world.sql("mysql-1", EVENTS).await;
    ticks(&world, "mysql-1").await;
    until(LIMIT, "the log to know what the primary has", async || {
        let known = world.cluster().await?.scheduled;
        let idle = Idle::Named(["app.idle".to_owned()].into());
        (known.runs == Some(true) && known.idle == idle).then_some(())
    })
    .await;

    world.stop_host("mysql-1");
    let cluster = world.opened(2).await;
    let primary = cluster.primary.to_string();
    ticks(&world, &primary).await;
    let cluster = until(LIMIT, "it to be recorded", async || {
        let cluster = world.cluster().await?;
        (cluster.scheduled.due == Due::Nothing).then_some(cluster)
    })
    .await;
    assert_eq!(cluster.scheduled.runs, Some(true));
    let history = world.history().await;
    let told = format!(
        "scheduled events enabled on {primary}, as they were on the primary before: app.tick"
    );
    let of = history.iter().map(|entry| &entry.event);
    let of: Vec<_> = of.filter(|e| e.kind == EventKind::Scheduled).collect();
    assert!(of.iter().any(|event| event.what == told), "{of:#?}");
    let tick = world.value(&primary, TICK).await;
    assert_eq!(tick, "ENABLED app@% ANSI_QUOTES,STRICT_TRANS_TABLES");
    let idle = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.EVENTS \
                WHERE EVENT_NAME='idle' AND STATUS<>'ENABLED'";
    assert_eq!(world.value(&primary, idle).await, "1", "left as it was");

    world.continue_host("mysql-1");
    until(
        LIMIT,
        "the old one to be shut, its scheduler off",
        async || {
            let mut session = world.try_root("mysql-1").await?;
            let shut = "SELECT CONCAT(@@super_read_only, @@offline_mode, @@event_scheduler)";
            let answer = session
                .ask(shut, primacy::mysqld::session::within(LIMIT))
                .await;
            let shut: String = answer.ok()?.first()?.first()?.get(0)?;
            (shut == "11OFF").then_some(())
        },
    )
    .await;
    ticks(&world, &primary).await;
    let folder = world
        .instance("mysql-1")
        .socket
        .parent()
        .expect("its folder");
    let log = std::fs::read_to_string(folder.join("error.log")).expect("its log");
    let refused = log.lines().filter(|line| line.contains("super-read-only"));
    assert_eq!(
        refused.count(),
        0,
        "its scheduler ran into its fence: {log}"
    );
    world.settle(writer, &[]).await;
}
