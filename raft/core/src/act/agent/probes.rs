//! The agent's own writes: what each of them proved, and for how long none has been acknowledged.
//!
//! Only a write that was sent to the ackers and not acknowledged speaks against this primary: that
//! is what a deposed one sees. A write that was never sent (the login was refused, somebody holds a
//! lock, the table is gone) says nothing of the ackers; a disk that takes no write is told as such.

use std::collections::BTreeMap;

use super::super::look::ProbeAt;
use super::super::op::{OpDone, OpError, OpId, Survey};
use super::Agent;
use crate::ids::Tick;
use crate::observe::NotSent;

/// A moment, and how long this process had slept by then: what it slept since counts for nothing.
#[derive(Clone, Copy, Debug)]
struct Since {
    at: Tick,
    slept_ms: u64,
}

#[derive(Clone, Debug)]
struct Probe {
    begun: Since,
    /// What the newest survey showed that began after the newest gap.
    at: Option<ProbeAt>,
}

/// Write probes of one opening of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    under_way: BTreeMap<OpId, Probe>,
    /// The oldest one that was given up while it may have waited for an acknowledgement.
    lost: Option<Since>,
    /// Every survey since then showed some commit that waited for an acknowledgement.
    others: Option<Since>,
    /// For how long the oldest of them had waited at the newest survey, at most.
    others_ms: Option<u64>,
    /// Sessions wait for acknowledgements, by the newest survey that began after the newest gap.
    awaited: bool,
    /// Why the newest probe that ended was not sent; `None` if it was.
    hindered: Option<NotSent>,
    slept_ms: u64,
    /// When the newest gap in this process's own time ended.
    gap_ended: Option<Tick>,
}

impl Probes {
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    pub fn insert(&mut self, id: OpId, now: Tick) {
        let begun = self.since(now);
        self.under_way.insert(id, Probe { begun, at: None });
    }

    pub fn clear(&mut self) {
        *self = Self {
            gap_ended: self.gap_ended,
            ..Self::default()
        };
    }

    fn since(&self, at: Tick) -> Since {
        Since {
            at,
            slept_ms: self.slept_ms,
        }
    }

    fn awake_ms(&self, now: Tick, since: Since) -> u64 {
        let slept_ms = self.slept_ms.saturating_sub(since.slept_ms);
        now.since_ms(since.at).saturating_sub(slept_ms)
    }

    /// This process slept. What was seen before is looked at again before anything follows from it.
    pub fn slept(&mut self, now: Tick, ms: u64) {
        self.gap_ended = Some(now);
        self.slept_ms = self.slept_ms.saturating_add(ms);
        self.awaited = false;
        self.others = None;
        for probe in self.under_way.values_mut() {
            probe.at = None;
        }
    }

    /// Takes one out that ended: when it began.
    pub fn ended(&mut self, id: OpId, result: &Result<OpDone, OpError>) -> Option<Tick> {
        let probe = self.under_way.remove(&id)?;
        match result {
            Ok(OpDone::Marked(_)) => {
                // Acknowledgements come in order: whatever waited before it has its own.
                self.lost = self.lost.filter(|lost| lost.at > probe.begun.at);
                self.hindered = None;
            }
            Ok(OpDone::NotSent(why)) => self.hindered = Some(why.clone()),
            // Whether it was sent is not known: it was if somebody waits for acknowledgements now.
            Ok(_) | Err(_) => {
                let lost = self.lost.get_or_insert(probe.begun);
                if probe.begun.at < lost.at {
                    *lost = probe.begun;
                }
            }
        }
        Some(probe.begun.at)
    }

    /// A survey that began at `begun`.
    pub fn look(&mut self, begun: Tick, survey: &Survey) {
        if self.gap_ended.is_some_and(|ended| begun < ended) {
            return; // what it shows is as old as the sleep
        }
        for (id, probe) in &mut self.under_way {
            if let Some(at) = survey.probes.get(id) {
                probe.at = Some(at.clone());
            }
        }
        self.awaited = survey.ack_waits > 0;
        if !self.awaited {
            self.lost = None;
            self.others = None;
            self.others_ms = None;
            return;
        }
        self.others_ms = survey.ack_wait_ms;
        let first = self.since(begun);
        self.others.get_or_insert(first);
    }

    /// Whether this one was sent and waits for its acknowledgement.
    fn unacknowledged(&self, probe: &Probe) -> bool {
        match probe.at {
            Some(ProbeAt::Acknowledgement) => true,
            // Behind one that waits a commit shows no more than behind a disk that hangs.
            Some(ProbeAt::Commit) => self.awaited,
            Some(ProbeAt::Lock(_) | ProbeAt::Work) | None => false,
        }
    }

    /// For how long the oldest write that was sent has waited for its acknowledgement.
    pub fn unacknowledged_ms(&self, now: Tick) -> u64 {
        let sent = self.under_way.values();
        let sent = sent.filter(|probe| self.unacknowledged(probe));
        let lost = self.lost.filter(|_| self.awaited);
        let own = sent.map(|probe| probe.begun).chain(lost);
        let own_ms = own.map(|since| self.awake_ms(now, since)).max();
        // Where no probe of ours can be sent, a commit of somebody else's stands for it.
        let others_ms = self.others.map(|since| {
            let seen_ms = self.awake_ms(now, since);
            self.others_ms
                .map_or(seen_ms, |said_ms| said_ms.min(seen_ms))
        });
        own_ms
            .or(others_ms.filter(|_| self.cannot_send()))
            .unwrap_or(0)
    }

    fn cannot_send(&self) -> bool {
        let locked = |probe: &Probe| matches!(probe.at, Some(ProbeAt::Lock(_)));
        self.hindered.is_some() || self.under_way.values().any(locked)
    }

    /// Hung in its write or commit for longer than `period_ms`, with no lock in its way, while
    /// nobody on this server waits for an acknowledgement: its disk is full or stuck.
    pub fn stuck_ms(&self, now: Tick, period_ms: u64, answered: Option<Tick>) -> Option<u64> {
        let probe = self.under_way.values().next()?;
        let hangs = matches!(probe.at, Some(ProbeAt::Commit | ProbeAt::Work));
        let stuck_ms = self.awake_ms(now, probe.begun);
        (hangs && !self.awaited && stuck_ms > period_ms && answered > Some(probe.begun.at))
            .then_some(stuck_ms)
    }

    /// Why writes of ours do not reach the ackers, if so.
    pub fn hindered(&self) -> Option<NotSent> {
        let locked = self.under_way.values().find_map(|probe| match &probe.at {
            Some(ProbeAt::Lock(by)) => Some(NotSent::Locked(by.clone())),
            _ => None,
        });
        locked.or_else(|| self.hindered.clone())
    }
}

impl Agent {
    /// Why the agent's own writes do not reach the ackers; `None` while they do, and on an instance
    /// that is not open.
    pub fn hindered(&self) -> Option<NotSent> {
        self.markers.hindered()
    }
}
