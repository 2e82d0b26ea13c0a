//! Scheduled events, on a real server.

use primacy_core::act::{Op, OpDone};
use primacy_core::record::{Idle, TakeOver};

use super::{Desk, value};

const SCHEDULER: &str = "SELECT @@global.event_scheduler AS v";
const EVENTS: &str = "\
CREATE DEFINER='app'@'%' EVENT app.runs ON SCHEDULE EVERY 1 HOUR DO DO 1;
CREATE DEFINER='app'@'%' EVENT app.off ON SCHEDULE EVERY 1 HOUR DISABLE DO DO 1;
CREATE DEFINER='app'@'%' EVENT app.left_over ON SCHEDULE EVERY 1 HOUR DISABLE ON REPLICA DO DO 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_runs_as_told_and_is_off_where_it_is_closed() {
    let Some(mut desk) = Desk::of(1).await else {
        return;
    };
    let mut root = desk.root(0).await;
    let open = "SET GLOBAL offline_mode=OFF; SET GLOBAL super_read_only=OFF; \
                SET GLOBAL read_only=OFF";
    root.execute(open, crate::mysqld::tests::rig::soon())
        .await
        .unwrap();
    root.execute(EVENTS, crate::mysqld::tests::rig::soon())
        .await
        .unwrap();
    assert_eq!(value(&mut root, SCHEDULER).await, "OFF", "as it boots");

    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
    let seen = desk.does(Op::LookAtScheduled).await;
    let idle = Idle::Named(names(&["app.off", "app.left_over"]));
    assert_eq!(seen, OpDone::ScheduledSeen(idle));
    let take_over = |runs, all_but: Option<&[&str]>| Op::TakeOverScheduled {
        take_over: TakeOver {
            runs,
            all_but: all_but.map(names),
        },
    };
    let done = desk.does(take_over(true, Some(&["app.left_over"]))).await;
    assert_eq!(done, OpDone::ScheduledTakenOver(Default::default()));
    assert_eq!(value(&mut root, SCHEDULER).await, "ON");
    let OpDone::ScheduledTakenOver(done) = desk.does(take_over(true, Some(&[]))).await else {
        panic!("another answer");
    };
    assert_eq!(done.enabled, names(&["app.left_over"]));
    assert!(done.failed.is_empty(), "{done:?}");
    let definer = "SELECT CONCAT(STATUS, ' ', DEFINER) AS v FROM information_schema.EVENTS \
                   WHERE EVENT_NAME='left_over'";
    assert_eq!(value(&mut root, definer).await, "ENABLED app@%");

    let fenced = desk.does(Op::Fence).await;
    assert!(matches!(fenced, OpDone::Fenced { .. }), "{fenced:?}");
    assert_eq!(value(&mut root, SCHEDULER).await, "OFF");
    desk.rig.end().await;
}
