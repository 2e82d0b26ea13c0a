//! **Law (W):** a write acknowledged under epoch e after a higher epoch opened is in that epoch's
//! need. (An acknowledgement may lie in a stopped server's socket while the next primary opens with
//! that very write; its late delivery loses nothing.)
//!
//! Source: `raft/core/PROTOCOL.md`. Planted: `repair-thaws`, `late-session`, `confirmed-does-not-bind`.

use super::Acked;
use crate::simulator::{World, instance_name};

pub fn check(world: &World, write: &Acked) -> Option<String> {
    let truth = world.truth(write.host);
    for (epoch, host) in &truth.opened {
        if *epoch <= write.epoch {
            continue;
        }
        let named = truth.named.get(epoch)?;
        if !named.need.contains(&write.gtid) && !truth.excuses(write) {
            return Some(format!(
                "{} acknowledges {} under epoch {}, after {} opened for epoch {epoch}, whose need \
                 does not contain it",
                instance_name(write.host),
                write.gtid,
                write.epoch,
                instance_name(*host)
            ));
        }
    }
    None
}
