//! What an agent did to its server, in its own log: also what nobody ordered, and what is over before
//! anybody looks.

use std::sync::Mutex;
use std::time::Duration;

use primacy_core::act::{Op, OpDone, OpError};

/// The newest, and what came of it: what is tried again and ends alike is told once.
#[derive(Default)]
pub(super) struct Deeds(Mutex<Option<String>>);

impl Deeds {
    pub fn tell(&self, deed: String, took: Duration, result: &Result<OpDone, OpError>) {
        let told = match result {
            Ok(_) => deed,
            Err(why) => format!("{deed} failed: {why}"),
        };
        let newest = super::lock(&self.0).replace(told.clone());
        if newest.as_ref() != Some(&told) {
            tracing::info!(?took, "{told}");
        }
    }
}

/// In words; `None` for what only looks, and for the agent's own writes.
pub(super) fn deed(op: &Op) -> Option<String> {
    let name = op.name();
    match op {
        Op::Follow { host, port, .. } | Op::Fetch { host, port, .. } => {
            Some(format!("{name}: {host}:{port}"))
        }
        Op::EndChannel { name: channel } => Some(format!("{name}: {channel:?}")),
        Op::Cut { sessions } => Some(format!("{name}: sessions {sessions:?}")),
        Op::Freeze
        | Op::Fence
        | Op::StartApplier
        | Op::WaitApplied { .. }
        | Op::PrepareOpen { .. }
        | Op::Open { .. }
        | Op::Adopt { .. }
        | Op::CleanUp
        | Op::Repair { .. }
        | Op::TakeOverScheduled { .. }
        | Op::WriteEmpty { .. } => Some(name.to_owned()),
        Op::Survey
        | Op::LookAtApplier { .. }
        | Op::Marker { .. }
        | Op::LookAtScheduled
        | Op::LookInto { .. }
        | Op::LogIn { .. } => None,
    }
}
