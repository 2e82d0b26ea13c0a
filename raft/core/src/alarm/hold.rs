//! From what is found at one moment to what is raised and cleared: each once, however it flickers.

use std::collections::BTreeMap;

use super::{Alarm, Key, Shown};
use crate::ids::Tick;
use crate::policy::Policy;

/// Gone for so long, it is over: longer than a plan stands, and than an applier that fails again at once
/// looks well when it is started.
const CLEAR_MS: u64 = 1_500;

/// An alarm was raised, or cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Raised(Shown),
    /// It is over, after so long.
    Cleared(Shown),
    /// This node leads no more: the next leader watches it, and raises it anew.
    Left(Shown),
}

impl Change {
    pub fn shown(&self) -> &Shown {
        match self {
            Change::Raised(shown) | Change::Cleared(shown) | Change::Left(shown) => shown,
        }
    }
}

#[derive(Clone, Debug)]
struct Held {
    alarm: Alarm,
    since: Tick,
    /// When it was last found.
    found: Tick,
    raised: bool,
}

impl Held {
    fn shown(&self, now: Tick, key: &Key) -> Shown {
        Shown {
            instance: key.instance.clone(),
            severity: self.alarm.severity(),
            for_ms: now.since_ms(self.since),
            text: self.alarm.to_string(),
            alarm: self.alarm.clone(),
        }
    }
}

/// What stands of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    held: BTreeMap<Key, Held>,
}

impl Standing {
    /// Takes what is found now; `judged`: whether an alarm of this code that was not found is gone.
    pub fn take(
        &mut self,
        now: Tick,
        policy: &Policy,
        found: BTreeMap<Key, Alarm>,
        judged: impl Fn(&str) -> bool,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, alarm) in found {
            let held = self.held.entry(key.clone()).or_insert_with(|| Held {
                alarm: alarm.clone(),
                since: now,
                found: now,
                raised: false,
            });
            (held.alarm, held.found) = (alarm, now);
            if !held.raised && now.since_ms(held.since) >= held.alarm.hold_ms(policy) {
                held.raised = true;
                changes.push(Change::Raised(held.shown(now, &key)));
            }
        }
        self.held.retain(|key, held| {
            if held.found == now {
                return true;
            }
            if !held.raised {
                return false; // it never was one
            }
            if !judged(&key.code) {
                held.found = now;
                return true;
            }
            let stands = now.since_ms(held.found) < CLEAR_MS;
            if !stands {
                changes.push(Change::Cleared(held.shown(now, key)));
            }
            stands
        });
        changes
    }

    /// What is raised, the gravest first.
    pub fn shown(&self, now: Tick) -> Vec<Shown> {
        let raised = self.held.iter().filter(|(_, held)| held.raised);
        let mut shown: Vec<Shown> = raised.map(|(key, held)| held.shown(now, key)).collect();
        shown.sort_by_key(|shown| shown.severity);
        shown
    }

    /// Nobody here watches it any more.
    pub fn leave(self, now: Tick) -> Vec<Change> {
        self.shown(now).into_iter().map(Change::Left).collect()
    }
}
