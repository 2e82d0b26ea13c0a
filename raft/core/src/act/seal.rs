//! What an agent has promised and must never forget: durable (fsync) before it acts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gtid::{GtidSet, Uuid};
use crate::ids::{ClusterId, Epoch, Incarnation, InstanceId, PlaneId, Token};

/// One process of one boot of one host: no two ever share all three.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The host's boot id.
    pub boot: String,
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub started: u64,
}

/// What an instance held when it last left a source: what it may have acknowledged to that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    Held {
        /// Of the source, where it was known.
        server_uuid: Option<Uuid>,
        holds: GtidSet,
    },
    /// More than the seal has room for.
    Unknown,
}

/// The room for all sets together, as text. The whole file is twice a mebibyte, written in place.
pub const LEFT_BYTES_MAX: usize = 768 << 10;

/// The durable memory of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    /// The plane it is enrolled in; all others' tokens are refused, whatever their order.
    pub plane: Option<PlaneId>,
    /// The data it speaks for. It opens only under this `server_uuid`.
    pub server_uuid: Option<Uuid>,
    /// Which run of the agent this is.
    pub agent: Incarnation,
    /// Counted up with each process of `mysqld`, whoever started it, before the first word on it.
    pub mysqld: Incarnation,
    /// The process that this number was given to. Not known to a seal of an earlier version.
    #[serde(default)]
    pub process: Option<ProcessId>,
    /// This agent started that incarnation, and has seen it no other than fenced since: it has not
    /// come up yet, and is closed as it stands.
    #[serde(default)]
    pub boots: Option<Incarnation>,
    /// The newest token obeyed.
    pub token: Option<Token>,
    /// It starts no replication toward a primary of an epoch not above this one.
    pub frozen: Option<Epoch>,
    /// It answered a fence order for this epoch: it opens only for one above.
    pub shut: Option<Epoch>,
    /// The newest epoch for which it opened its instance, or was about to.
    pub opened: Option<Epoch>,
    /// The epoch in which it last shut itself, since nobody acknowledged its writes.
    #[serde(default)]
    pub unacknowledged: Option<Epoch>,
    /// Why its GTIDs do not say what is in it, until it is rebuilt: rows were filtered out, or its GTIDs
    /// were reset.
    #[serde(default)]
    pub marked: Option<String>,
    /// What it held once, and lost with its relay log.
    #[serde(default)]
    pub lost: GtidSet,
    /// Whom it last replicated from, in which epoch; durable before the thread starts.
    pub source: Option<(InstanceId, Epoch)>,
    /// By source that it left for another: durable before it turns there, erased by opening.
    #[serde(default)]
    pub left: BTreeMap<InstanceId, Left>,
}

impl Seal {
    pub fn blank(cluster: ClusterId, instance: InstanceId) -> Self {
        Self {
            cluster,
            instance,
            plane: None,
            server_uuid: None,
            agent: Incarnation::INITIAL,
            mysqld: Incarnation::INITIAL,
            process: None,
            boots: None,
            token: None,
            frozen: None,
            shut: None,
            opened: None,
            unacknowledged: None,
            marked: None,
            lost: GtidSet::default(),
            source: None,
            left: BTreeMap::new(),
        }
    }

    /// Turns from whom it follows, under that `server_uuid`, to `source`, holding this.
    pub fn turn(
        &mut self,
        source: InstanceId,
        epoch: Epoch,
        holds: &GtidSet,
        server_uuid: Option<Uuid>,
    ) {
        let former = self.source.replace((source.clone(), epoch));
        if let Some((former, _)) = former
            && former != source
        {
            let left = Left::Held {
                server_uuid,
                holds: holds.clone(),
            };
            self.left.insert(former, left);
            self.fit(LEFT_BYTES_MAX);
        }
    }

    /// Forgets the longest sets until the others fit: a small promise kept is worth more than a
    /// large one that cannot be written.
    fn fit(&mut self, bytes_max: usize) {
        let bytes = |left: &Left| match left {
            Left::Held { holds, .. } => holds.to_string().len(),
            Left::Unknown => 0,
        };
        while self.left.values().map(bytes).sum::<usize>() > bytes_max {
            let Some(longest) = self.left.values_mut().max_by_key(|left| bytes(left)) else {
                return;
            };
            *longest = Left::Unknown;
        }
    }

    /// Whether replication toward a primary of `epoch` may be started.
    pub fn may_follow(&self, epoch: Epoch) -> bool {
        self.frozen.is_none_or(|frozen| epoch > frozen)
    }

    /// Whether the instance may be opened for `epoch`.
    pub fn may_open(&self, epoch: Epoch) -> bool {
        self.shut.is_none_or(|shut| epoch > shut) && self.frozen.is_none_or(|frozen| epoch > frozen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster_id, instance, set};

    #[test]
    fn it_keeps_what_it_held_when_it_left_each_source() {
        let mut seal = Seal::blank(cluster_id(), instance("c"));
        let held = |text: &str| Left::Held {
            server_uuid: None,
            holds: set(text),
        };
        let turns = |seal: &mut Seal, to: &str, epoch, holds: &str| {
            seal.turn(instance(to), Epoch(epoch), &set(holds), None);
        };
        turns(&mut seal, "p", 1, "");
        assert_eq!(seal.left, BTreeMap::new(), "it left nobody");
        turns(&mut seal, "a", 2, "p:1-5");
        turns(&mut seal, "a", 3, "p:1-7");
        assert_eq!(seal.left, [(instance("p"), held("p:1-5"))].into());
        turns(&mut seal, "p", 4, "p:1-9");
        turns(&mut seal, "b", 5, "p:1-20");
        let both = [
            (instance("p"), held("p:1-20")),
            (instance("a"), held("p:1-9")),
        ];
        assert_eq!(seal.left, both.into(), "when it last left");
        assert_eq!(seal.source, Some((instance("b"), Epoch(5))));
    }

    #[test]
    fn what_does_not_fit_is_unknown_and_the_rest_is_kept() {
        let mut seal = Seal::blank(cluster_id(), instance("c"));
        for (source, holds) in [("p", "p:1-5"), ("a", "p:1:3:5:7:9"), ("b", "p:1-6")] {
            let left = Left::Held {
                server_uuid: None,
                holds: set(holds),
            };
            seal.left.insert(instance(source), left);
        }
        let room = set("p:1-5").to_string().len() + set("p:1-6").to_string().len();
        seal.fit(room);
        assert_eq!(seal.left[&instance("a")], Left::Unknown);
        assert!(matches!(seal.left[&instance("p")], Left::Held { .. }));
        seal.fit(0);
        assert!(seal.left.values().all(|left| *left == Left::Unknown));
    }
}
