//! What a node does after what the others answered. Pure.

use std::collections::BTreeMap;

use primacy_core::ids::NodeId;
use primacy_core::record::Member;
use thiserror::Error;

use super::FoundingId;
use super::word::{Answer, Holding, Word, reaches};

/// Why a node takes no part.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnterError {
    #[error("this node, {0}, is not among the members")]
    NotAMember(NodeId),
    #[error(
        "the folder of node {node} is empty, and node {by} knows this plane: its log goes up to \
         entry {end}. A node that has lost its log must not vote, it could undo what a majority \
         agreed. Put back the disk that it ran on (no older copy), or replace it: `primacy \
         control replace` admits it under a new id"
    )]
    Known { node: NodeId, by: NodeId, end: u64 },
    #[error(
        "a part of the log of node {node} is lost: node {by} knows of it {kept}, and its folder \
         holds {found}. It must not vote, it could undo what a majority agreed. Put back the disk \
         that it ran on (no older copy), or replace it: `primacy control replace` admits it under \
         a new id"
    )]
    Lost {
        node: NodeId,
        by: NodeId,
        kept: String,
        found: String,
    },
    #[error(
        "{one} and {other}: they are of two foundings, and can never be one plane. Find out which \
         of them is wrong in this place; where nothing was founded yet, empty the folders of both"
    )]
    TwoFoundings { one: String, other: String },
    #[error(
        "node {by} is of plane {theirs:?}, and node {node} of plane {mine:?}: correct `plane`, or \
         the address of node {by} among the members"
    )]
    OtherPlane {
        node: NodeId,
        by: NodeId,
        mine: String,
        theirs: String,
    },
    #[error(
        "node {by} names other first members than node {node}, which names {mine}: {theirs}. All \
         nodes are configured with the same ones, addresses and regions included"
    )]
    OtherMembers {
        node: NodeId,
        by: NodeId,
        mine: String,
        theirs: String,
    },
    #[error("this node has stopped: {0}")]
    Stopped(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    Refuse(EnterError),
    /// For whom, or for what.
    Wait(String),
    /// To be made durable; then ask again.
    Keep(FoundingId),
    /// This node draws the founding's id.
    Propose,
    /// Every first member holds the founding: initialise, and take part.
    Found,
    /// Go on where it stopped.
    TakePart,
}

/// The newest result of asking each other member; who is missing was not heard of yet.
pub type Answers = BTreeMap<NodeId, Result<Answer, String>>;

/// `waited`: a node that holds a log has waited for as long as it does.
pub fn judge(me: &Word, answers: &Answers, waited: bool) -> Decision {
    if !me.members.contains_key(&me.node) {
        return Decision::Refuse(EnterError::NotAMember(me.node));
    }
    let heard: Vec<&Answer> = answers.values().filter_map(|a| a.as_ref().ok()).collect();
    if let Some(error) = heard.iter().find_map(|answer| contradiction(me, answer)) {
        return Decision::Refuse(error);
    }
    let others = me.members.keys().filter(|id| **id != me.node);
    let silent: Vec<NodeId> = others
        .filter(|id| !matches!(answers.get(id), Some(Ok(_))))
        .copied()
        .collect();
    let complete = silent.is_empty();
    match &me.holding {
        Holding::Log(_) if complete || waited => Decision::TakePart,
        Holding::Log(_) => Decision::Wait(missing(answers, &silent)),
        // The others have begun, after they saw that this node held it too.
        Holding::Founding(_) if heard.iter().any(|a| begun(a)) => {
            if complete || waited {
                Decision::Found
            } else {
                Decision::Wait(missing(answers, &silent))
            }
        }
        _ if !complete => Decision::Wait(missing(answers, &silent)),
        Holding::Founding(_) => {
            let lacking = heard.iter().find(|a| a.word.holding == Holding::Nothing);
            match lacking {
                None => Decision::Found,
                Some(answer) => Decision::Wait(format!(
                    "node {} has not taken the founding's id yet",
                    answer.word.node
                )),
            }
        }
        Holding::Nothing => agree(me, &heard),
    }
}

/// All others have answered, and none has begun.
fn agree(me: &Word, heard: &[&Answer]) -> Decision {
    let held = heard.iter().find_map(|answer| match &answer.word.holding {
        Holding::Founding(id) => Some(id.clone()),
        Holding::Nothing | Holding::Log(_) => None,
    });
    match (held, me.members.keys().next()) {
        (Some(id), _) => Decision::Keep(id),
        (None, Some(lowest)) if *lowest == me.node => Decision::Propose,
        (None, lowest) => Decision::Wait(format!(
            "node {} gives the founding its id",
            lowest.copied().unwrap_or_default()
        )),
    }
}

fn begun(answer: &Answer) -> bool {
    matches!(answer.word.holding, Holding::Log(_))
}

/// Why these two cannot be members of one plane, or not with what this one holds.
fn contradiction(me: &Word, answer: &Answer) -> Option<EnterError> {
    let (node, by) = (me.node, answer.word.node);
    if answer.word.plane != me.plane {
        return Some(EnterError::OtherPlane {
            node,
            by,
            mine: me.plane.to_string(),
            theirs: answer.word.plane.to_string(),
        });
    }
    if me.holding == Holding::Nothing && begun(answer) {
        return Some(EnterError::Known {
            node,
            by,
            end: answer.word.extent.end.index.0,
        });
    }
    if let Some(error) = lost(me, answer) {
        return Some(error);
    }
    match (&me.holding, &answer.word.holding) {
        (Holding::Founding(mine), Holding::Log(theirs)) if Some(mine) != theirs.as_ref() => {
            Some(two_foundings(me, answer))
        }
        (Holding::Founding(mine), Holding::Founding(theirs)) if mine != theirs => {
            Some(two_foundings(me, answer))
        }
        (Holding::Log(Some(mine)), Holding::Log(Some(theirs))) if mine != theirs => {
            Some(two_foundings(me, answer))
        }
        // Who has begun is bound by its log, no more by its configuration.
        (Holding::Log(_), _) => None,
        _ if me.members != answer.word.members => Some(EnterError::OtherMembers {
            node,
            by,
            mine: list(&me.members),
            theirs: list(&answer.word.members),
        }),
        _ => None,
    }
}

/// Whether the other one knows of more than this node has.
pub fn lost(me: &Word, answer: &Answer) -> Option<EnterError> {
    let (extent, by) = (&me.extent, answer.word.node);
    let error = |kept: String| {
        Some(EnterError::Lost {
            node: me.node,
            by,
            kept,
            found: match me.holding {
                Holding::Log(_) => format!(
                    "a vote in term {}, entries up to {}",
                    extent.marks.term, extent.end.index
                ),
                Holding::Nothing | Holding::Founding(_) => "neither vote nor entry".to_owned(),
            },
        })
    };
    if let Some(kept) = answer.kept
        && !extent.covers(&kept)
    {
        return error(kept.to_string());
    }
    // In one term nothing that a follower has confirmed to its leader is ever cut back.
    if let Some((term, at)) = answer.confirmed
        && (extent.marks.term < term || extent.marks.term == term && !reaches(extent.end, at))
    {
        return error(format!(
            "a confirmation in term {term} up to entry {}",
            at.index
        ));
    }
    None
}

fn two_foundings(me: &Word, answer: &Answer) -> EnterError {
    let held = |word: &Word| match &word.holding {
        Holding::Founding(id) | Holding::Log(Some(id)) => {
            format!("node {} holds founding {id}", word.node)
        }
        Holding::Log(None) | Holding::Nothing => format!("node {} holds another", word.node),
    };
    EnterError::TwoFoundings {
        one: held(me),
        other: held(&answer.word),
    }
}

/// Who does not answer, and what happens instead.
fn missing(answers: &Answers, silent: &[NodeId]) -> String {
    let each = silent.iter().map(|id| match answers.get(id) {
        Some(Err(why)) => format!("node {id} ({why})"),
        Some(Ok(_)) | None => format!("node {id}"),
    });
    format!("no answer from {}", each.collect::<Vec<_>>().join(", "))
}

fn list(members: &BTreeMap<NodeId, Member>) -> String {
    let each = members
        .iter()
        .map(|(id, member)| format!("{id} at {} in {}", member.address, member.region));
    each.collect::<Vec<_>>().join(", ")
}
