//! For how long what an agent said counts as said now.

use super::*;
use crate::node::watch::Watch;
use crate::policy::REPORT_FRESH_MS;

/// The way that its word took is allowed for, and not a millisecond more.
#[test]
fn a_word_from_afar_is_fresh_for_as_long_as_one_from_nearby() {
    let world = world();
    let cluster = world.cluster();
    let primary = Watch::new(Tick(0), None);
    for rtt_ms in [0, 1, 2, 200] {
        let mut acker = Watch::new(Tick(0), None);
        acker.beat(Tick(1_000), beat("a", 1), rtt_ms, None, Epoch(1));
        let last = 1_000 + REPORT_FRESH_MS + rtt_ms;
        let heard = |at| {
            let reached = acker.reached(Tick(at), cluster, &primary);
            (reached.is_some(), acker.fresh_beat(Tick(at)).is_some())
        };
        assert_eq!(heard(last), (true, true), "{rtt_ms}");
        assert_eq!(heard(last + 1), (false, false), "{rtt_ms}");
    }
}
