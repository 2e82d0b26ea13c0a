//! Changes of a policy, field by field, so that two operators do not undo each other.
//!
//! Whoever changes a field names the revision of the policy that he saw. If the field has changed
//! since, he is refused, and told to what, and by whom; what others did to other fields meanwhile
//! stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::apply::Applied;
use super::cluster::Cluster;
use super::command::{EventKind, Refusal};
use super::level::{SECOND, THIRD};
use super::state::State;
use crate::ids::{ClusterId, Position};
use crate::policy::{Contradiction, Policy};

/// Fields that came after the first feature level, with theirs: a plane below it does not know them.
const LATER: [(&str, u32); 5] = [
    ("open_stall_ms", THIRD),
    ("ends_holders", THIRD),
    ("starved_sustain_ms", THIRD),
    ("make_common", THIRD),
    ("xa", THIRD),
];

/// What an operator wants changed in one cluster's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    pub cluster: ClusterId,
    pub who: String,
    /// Wall clock of the node that was asked, Unix milliseconds: for people.
    #[serde(default)]
    pub wall_ms: u64,
    /// The revision that the operator saw. Without one, the last to ask wins.
    #[serde(default)]
    pub expected: Option<u64>,
    /// The wanted values by field, each as JSON.
    pub fields: BTreeMap<String, String>,
}

/// How a policy came to be what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChanges {
    /// Goes up by one with each change; 0 as registered.
    pub revision: u64,
    /// The newest change of each field; a field that is not here is as it was registered.
    pub fields: BTreeMap<String, FieldChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The policy's revision since then.
    pub revision: u64,
    /// The entry that changed it.
    pub at: Position,
    pub who: String,
    #[serde(default)]
    pub wall_ms: u64,
}

/// A field's old and new value, as JSON.
type Change = (String, Value, Value);

/// The policy with these values put in, each given as JSON.
pub fn with_fields(
    policy: &Policy,
    fields: &BTreeMap<String, String>,
) -> Result<Policy, Contradiction> {
    let mut wanted = policy.clone();
    for (name, text) in fields {
        let bad = |rule: String| Contradiction {
            field: name.clone(),
            value: text.clone(),
            rule,
        };
        let mut object = policy_fields(&wanted);
        let slot = object
            .get_mut(name)
            .ok_or_else(|| bad("no such field; `primacy policy get` lists them".into()))?;
        *slot = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        // One at a time, so that it is said which one is malformed.
        wanted = serde_json::from_value(object).map_err(|error| bad(error.to_string()))?;
    }
    Ok(wanted)
}

/// A policy as JSON: every field, those too that are not written while nobody has changed them.
pub fn policy_fields(policy: &Policy) -> Value {
    let mut value = serde_json::to_value(policy).expect("a policy is plain data");
    if let Value::Object(fields) = &mut value {
        let starved_ms = Value::from(policy.starved_sustain_ms);
        fields.entry("starved_sustain_ms").or_insert(starved_ms);
        for (name, is) in [("xa", policy.xa), ("make_common", policy.make_common)] {
            fields.entry(name).or_insert(Value::Bool(is));
        }
    }
    value
}

/// The fields in which two policies differ.
fn differences(from: &Policy, to: &Policy) -> Vec<Change> {
    let (Value::Object(from), Value::Object(mut to)) = (policy_fields(from), policy_fields(to))
    else {
        unreachable!("a policy has fields");
    };
    let pairs = from.into_iter().filter_map(|(name, old)| {
        let new = to.remove(&name)?;
        (old != new).then_some((name, old, new))
    });
    pairs.collect()
}

impl State {
    pub(super) fn change_policy(&mut self, at: Position, change: &PolicyChange) -> Applied {
        let level = self.level;
        let later = change.fields.keys().find_map(|name| {
            let known = LATER.iter().find(|(field, _)| field == name);
            let since = known.map_or(SECOND, |(_, since)| SECOND.max(*since));
            (since > level).then(|| Refusal::LaterLevel {
                what: format!("a change of {name} alone"),
                since,
                level,
            })
        });
        if let Some(later) = later {
            return Err(later);
        }
        let cluster = self
            .clusters
            .get(&change.cluster)
            .ok_or_else(|| Refusal::NoSuchCluster(change.cluster.clone()))?;
        let wanted = with_fields(&cluster.policy, &change.fields)?;
        let changed = differences(&cluster.policy, &wanted);
        if changed.is_empty() {
            return Ok(Vec::new()); // asked again, or by somebody who wants the same
        }
        cluster.expect_unmoved(change.expected, &changed)?;
        may_be(&wanted, level)?;
        let event = format!("{} sets {}", change.who, words(&changed));
        let cluster = self.cluster_mut(&change.cluster)?;
        cluster.policy = wanted;
        cluster.note_change(at, &changed, &change.who, change.wall_ms);
        let event = format!("{event}: policy revision {}", cluster.changes.revision);
        Ok(vec![cluster.event(EventKind::PolicyChanged, event)])
    }

    /// The whole policy at once. Whoever asked so had read it before, and what was changed in
    /// between is undone.
    pub(super) fn set_policy(&mut self, at: Position, id: &ClusterId, policy: &Policy) -> Applied {
        let level = self.level;
        may_be(policy, level)?;
        let cluster = self.cluster_mut(id)?;
        // A node of the first level counts no revisions, and its snapshots name none.
        if level >= SECOND {
            let changed = differences(&cluster.policy, policy);
            cluster.note_change(at, &changed, "somebody who set the whole policy", 0);
        }
        cluster.policy = policy.clone();
        Ok(vec![
            cluster.event(EventKind::PolicyChanged, "policy changed".into()),
        ])
    }
}

/// Whether a policy may be in force under this feature level.
fn may_be(policy: &Policy, level: u32) -> Result<(), Refusal> {
    let first = policy.contradictions().into_iter().next();
    match first.or_else(|| policy.beyond(level)) {
        Some(bad) => Err(bad.into()),
        None => Ok(()),
    }
}

/// As in `priority=3 (was 0), sustain_ms=2000 (was 3000)`.
fn words(changed: &[Change]) -> String {
    let each = changed
        .iter()
        .map(|(name, old, new)| format!("{name}={} (was {})", word(new), word(old)));
    each.collect::<Vec<_>>().join(", ")
}

/// As an operator writes it.
fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

impl Cluster {
    /// Refuses to change what has been changed since the revision that the operator saw.
    fn expect_unmoved(&self, expected: Option<u64>, changed: &[Change]) -> Result<(), Refusal> {
        let Some(expected) = expected else {
            return Ok(());
        };
        let revision = self.changes.revision;
        if expected > revision {
            return Err(Refusal::Invalid {
                field: "revision".into(),
                value: expected.to_string(),
                remedy: format!("the policy of {} is at revision {revision}", self.id),
            });
        }
        let moved: Vec<String> = changed
            .iter()
            .filter_map(|(name, now, _)| {
                let last = self.changes.fields.get(name)?;
                (last.revision > expected).then(|| {
                    format!(
                        "{name} was set to {} by {} in revision {} (log {})",
                        word(now),
                        last.who,
                        last.revision,
                        last.at.index
                    )
                })
            })
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        Err(Refusal::PolicyMoved {
            cluster: self.id.clone(),
            expected,
            moved,
        })
    }

    fn note_change(&mut self, at: Position, changed: &[Change], who: &str, wall_ms: u64) {
        if changed.is_empty() {
            return;
        }
        self.changes.revision += 1;
        for (name, _, _) in changed {
            let change = FieldChange {
                revision: self.changes.revision,
                at,
                who: who.to_owned(),
                wall_ms,
            };
            self.changes.fields.insert(name.clone(), change);
        }
    }
}
