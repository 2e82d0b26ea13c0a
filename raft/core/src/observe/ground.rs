//! The ground that an open primary's acknowledgements rest on: raw values, and what of them is not
//! as ordered.
//!
//! Whatever holds a primary for alive reads it in the same round trip. A commit that was answered
//! while the ground was broken may be on no acker at all.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::gtid::{GtidSet, Uuid};

/// What the acknowledgements of an open primary rest on. Every account may read it, so that a
/// node's probe sees what an agent does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceGround {
    /// `rpl_semi_sync_source_enabled`.
    pub enabled: bool,
    /// `Rpl_semi_sync_source_status`: off while enabled means that commits are answered alone.
    pub status: bool,
    pub timeout_ms: u64,
    pub wait_point: String,
    pub wait_no_replica: bool,
    pub k: u32,
    /// How often it was switched off, by a timeout or by hand, since it started or was flushed.
    pub no_times: u64,
    /// Commits that were answered without an acknowledgement.
    pub no_tx: u64,
    /// Semi-sync replicas by the server's own count, which lags behind.
    pub clients: u32,
    pub sync_binlog: u64,
    /// `innodb_flush_log_at_trx_commit`.
    pub flush_log: u64,
}

/// A wait for an acknowledgement that may run out sooner is no wait: 49.7 days, the largest there is.
pub const TIMEOUT_MS: u64 = 4_294_967_295;

/// What of an open primary's ground is not as ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Semi-sync is switched off.
    Disabled,
    /// It is switched on, and commits are answered alone.
    NotWaiting,
    /// It was off in between: its counters moved since the look before.
    WasOff,
    /// It waits for fewer acknowledgements than the log says.
    TooFew,
    /// It gives up waiting.
    Timeout,
    /// It waits after the commit is visible.
    WaitPoint,
    /// It does not wait where no replica is connected.
    NoReplica,
    /// A commit need not be on its own disk.
    Durability,
    /// Its GTIDs were reset: what it acknowledged before is not in its set any more.
    Reset,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Disabled => "rpl_semi_sync_source_enabled is OFF",
            Fault::NotWaiting => "Rpl_semi_sync_source_status is OFF",
            Fault::WasOff => "semi-sync was off for a moment, its counters moved",
            Fault::TooFew => "rpl_semi_sync_source_wait_for_replica_count is below k",
            Fault::Timeout => "rpl_semi_sync_source_timeout is finite",
            Fault::WaitPoint => "rpl_semi_sync_source_wait_point is not AFTER_SYNC",
            Fault::NoReplica => "rpl_semi_sync_source_wait_no_replica is OFF",
            Fault::Durability => "sync_binlog or innodb_flush_log_at_trx_commit is not 1",
            Fault::Reset => "its GTIDs were reset",
        })
    }
}

impl SourceGround {
    /// What is broken of it, on a primary that has to wait for `k`. `last`: the look before, at the
    /// same run of the same server.
    pub fn faults(&self, last: Option<&SourceGround>, k: u32) -> BTreeSet<Fault> {
        let moved =
            last.is_some_and(|last| (last.no_times, last.no_tx) != (self.no_times, self.no_tx));
        [
            (!self.enabled, Fault::Disabled),
            (self.enabled && !self.status, Fault::NotWaiting),
            (moved, Fault::WasOff),
            (self.k < k, Fault::TooFew),
            (self.timeout_ms < TIMEOUT_MS, Fault::Timeout),
            (self.wait_point != "AFTER_SYNC", Fault::WaitPoint),
            (!self.wait_no_replica, Fault::NoReplica),
            (
                self.sync_binlog != 1 || self.flush_log != 1,
                Fault::Durability,
            ),
        ]
        .into_iter()
        .filter_map(|(broken, fault)| broken.then_some(fault))
        .collect()
    }

    /// As an opening leaves it, waiting for `k`.
    pub fn ordered(k: u32) -> Self {
        Self {
            enabled: true,
            status: true,
            timeout_ms: TIMEOUT_MS,
            wait_point: "AFTER_SYNC".into(),
            wait_no_replica: true,
            k,
            no_times: 0,
            no_tx: 0,
            clients: k,
            sync_binlog: 1,
            flush_log: 1,
        }
    }
}

/// What these faults are called, in a sentence.
pub fn fault_list(faults: &BTreeSet<Fault>) -> String {
    let names: Vec<String> = faults.iter().map(Fault::to_string).collect();
    names.join(", ")
}

/// What a server said of itself to one that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub server_uuid: Uuid,
    pub executed: GtidSet,
    /// `None` where it could not be read.
    pub ground: Option<SourceGround>,
}

/// A node's newest look at good ground of a primary, told by that node's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroundLook {
    /// How long it came before the newest sign of life.
    pub age_ms: u64,
    /// Gaps in the node's own time that lie after it.
    pub gap_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bend: impl Fn(&mut SourceGround), expected: &str) {
        let good = SourceGround::ordered(2);
        let mut seen = good.clone();
        bend(&mut seen);
        assert_eq!(fault_list(&seen.faults(Some(&good), 2)), expected);
    }

    #[test]
    fn every_value_that_is_not_as_ordered_is_named() {
        check(|_| {}, "");
        check(|of| of.k = 3, "");
        check(|of| of.clients = 0, "");
        check(|of| of.k = 1, &Fault::TooFew.to_string());
        check(|of| of.timeout_ms -= 1, &Fault::Timeout.to_string());
        check(
            |of| of.wait_point = "AFTER_COMMIT".into(),
            &Fault::WaitPoint.to_string(),
        );
        check(
            |of| of.wait_no_replica = false,
            &Fault::NoReplica.to_string(),
        );
        check(|of| of.sync_binlog = 1_000, &Fault::Durability.to_string());
        check(|of| of.flush_log = 2, &Fault::Durability.to_string());
        check(|of| of.status = false, &Fault::NotWaiting.to_string());
        // One that is switched off is not said to wait in vain besides.
        check(
            |of| (of.enabled, of.status) = (false, false),
            &Fault::Disabled.to_string(),
        );
    }

    #[test]
    fn a_counter_that_rises_or_falls_was_moved_in_between() {
        check(|of| of.no_tx = 1, &Fault::WasOff.to_string());
        check(|of| of.no_times = 1, &Fault::WasOff.to_string());
        let flushed = SourceGround::ordered(2);
        let last = SourceGround {
            no_times: 3,
            ..flushed.clone()
        };
        assert_eq!(flushed.faults(Some(&last), 2), [Fault::WasOff].into());
        // Of a look before there is none, or it was at another run: nothing moved.
        assert_eq!(last.faults(None, 2), [].into());
    }
}
