//! A receiver that waits for its primary in vain, as its reports tell.

use super::*;

/// After these reports (time, waits, heartbeats, bytes): for how long it has waited in vain.
#[track_caller]
fn deaf(reports: &[(u64, Option<u64>, u64, Option<u64>)], at: u64, expected: Option<u64>) {
    let mut progress = Progress::default();
    for &(now, waits_ms, heartbeats, bytes) in reports {
        let mut beat = beat(IoThread::On, heartbeats, 100);
        let replica = beat.replica.as_mut().expect("it replicates");
        (replica.waits_ms, replica.bytes) = (waits_ms, bytes);
        progress.report(Tick(now), &beat);
    }
    let found = progress.deaf_ms(Tick(at), &asked(&instance("p"), 310));
    assert_eq!(found, expected, "{reports:?} at {at}");
}

#[test]
fn it_waits_in_vain_while_nothing_arrives() {
    deaf(&[], 0, None);
    deaf(&[(0, None, 1, None), (5_000, None, 1, None)], 5_000, None);
    let waits = |ms| Some(ms);
    deaf(
        &[(0, waits(0), 1, None), (5_000, waits(5_000), 1, None)],
        5_100,
        Some(5_000),
    );
    // An old report is none.
    deaf(&[(0, waits(0), 1, None)], 310, Some(0));
    deaf(&[(0, waits(0), 1, None)], 311, None);
    // A heartbeat arrived.
    deaf(
        &[(0, waits(0), 1, None), (5_000, waits(5_000), 2, None)],
        5_100,
        Some(100),
    );
    // Part of a large event arrived; its first count is no arrival.
    let part = |bytes| [(0, waits(0), 1, Some(7)), (5_000, waits(5_000), 1, bytes)];
    deaf(&part(Some(7)), 5_000, Some(5_000));
    deaf(&part(Some(8)), 5_000, Some(0));
    deaf(
        &[(0, waits(0), 1, None), (5_000, waits(5_000), 1, Some(8))],
        5_000,
        Some(5_000),
    );
    // Its agent began the count anew.
    deaf(
        &[(0, waits(0), 1, None), (5_000, waits(200), 1, None)],
        5_000,
        Some(200),
    );
}

#[test]
fn only_toward_this_primary_and_with_its_server_answering() {
    let mut beat = beat(IoThread::Connecting, 1, 100);
    beat.replica.as_mut().expect("it replicates").waits_ms = Some(5_000);
    let after = |beat: &Heartbeat, primary: &str, named: u64| {
        let mut progress = Progress::default();
        progress.report(Tick(1_000), beat);
        let primary = instance(primary);
        let asked = Asked {
            named: Tick(named),
            ..asked(&primary, 300)
        };
        // Nothing was ever heard before the first report, as far as this node knows.
        progress.report(Tick(9_000), beat);
        progress.deaf_ms(Tick(9_000), &asked)
    };
    assert_eq!(after(&beat, "p", 0), Some(5_000));
    assert_eq!(after(&beat, "z", 0), None);
    assert_eq!(after(&beat, "p", 8_000), Some(1_000), "since it was named");
    let hangs = Heartbeat {
        word: word(
            1,
            1,
            MysqldWord::Running {
                answered_ms_ago: 301,
            },
        ),
        ..beat
    };
    assert_eq!(after(&hangs, "p", 0), None);
}
