//! **Law (A):** no acknowledged write is lost. Every write that any primary answered with OK is on
//! the newest opened primary: the very row, not merely one of the same GTID.
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: `one-too-few-frozen`, `own-errant`, `no-floor`,
//! `last-known-suffices`, `report-before-freeze`, `graceful-stop`, `opens-unapplied`,
//! `ground-not-logged`,
//! `purged-relay`, `reports-overwritten`.

use primacy_core::ids::Epoch;

use super::Acked;
use crate::simulator::{World, instance_name};

/// At the moment of opening, and at the end: everything acknowledged is there.
pub fn check(world: &World, host: usize, epoch: Epoch) -> Option<String> {
    let truth = world.truth(host);
    let newest = truth.opened.keys().next_back().copied();
    if newest.is_some_and(|newest| newest > epoch) {
        return None; // a late opening of an older epoch; its acknowledgements are W's business
    }
    let server = &world.servers[host];
    let lost = truth
        .acked
        .iter()
        .filter(|write| !server.has(write.tx) && !truth.excuses(write))
        .collect::<Vec<_>>();
    let first = lost.first()?;
    Some(format!(
        "{} is open for epoch {epoch} without {} acknowledged writes, the first {} (row {}) \
         acknowledged under epoch {}",
        instance_name(host),
        lost.len(),
        first.gtid,
        first.key,
        first.epoch
    ))
}

/// An acknowledgement under an older epoch is no loss only if the newest primary has the row.
pub fn late(world: &World, write: &Acked) -> Option<String> {
    let truth = world.truth(write.host);
    let (epoch, host) = truth.opened.iter().next_back()?;
    if *epoch <= write.epoch || world.servers[*host].has(write.tx) || truth.excuses(write) {
        return None;
    }
    Some(format!(
        "{} acknowledges {} under epoch {}, and {}, open for epoch {epoch}, does not have it",
        instance_name(write.host),
        write.gtid,
        write.epoch,
        instance_name(*host)
    ))
}
