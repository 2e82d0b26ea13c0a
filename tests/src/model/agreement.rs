//! The first model: from silence to a deposed epoch.
//!
//! Three nodes, in two regions, look at one primary. What a node sees, and which ackers it finds
//! deaf, may differ from one vote to the next in any way, so neither is kept between votes.
//! Inquests are opened and closed through the log. A vote, once cast, never leaves: it is committed
//! late, twice, or not at all.
//!
//! What is *not* promised, and not a law here: that a majority was silent at one and the same
//! instant. A node whose vote is committed may see the primary alive again before its second vote
//! is. Deposing is safe all the same (the other model deposes at any moment); the laws here keep it
//! from happening for nothing.

pub mod laws;

use std::fmt::{self, Display};

use stateright::{Model, Property};

use super::mistake::Mistake;
use super::set::{Element, Set};

/// Voters of the control plane: the fewest of which a majority is not all.
const NODES: u8 = 3;

/// |V| and k of the primary's epoch: the fewest of which one acker may be missing.
const ACKERS: u8 = 2;
const WAIT_FOR: u8 = 1;
const BOTH_DEAF: Set<Acker> = Set::from_bits(0b11);

/// One voter of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u8);

/// One acker of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acker(pub u8);

impl Element for Node {
    fn index(self) -> u8 {
        self.0
    }
    fn nth(index: u8) -> Self {
        Self(index)
    }
}

impl Element for Acker {
    fn index(self) -> u8 {
        self.0
    }
    fn nth(index: u8) -> Self {
        Self(index)
    }
}

impl Node {
    fn all() -> Set<Self> {
        Set::first(NODES)
    }

    /// Of two regions, the first two nodes share one: a majority may lie within it.
    fn region(self) -> u8 {
        u8::from(self.0 == NODES - 1)
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}", self.0)
    }
}

impl Display for Acker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acker{}", self.0)
    }
}

/// What one node makes of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sight {
    Alive,
    Silent,
    /// It cannot say: just started, or never saw the primary alive in this epoch.
    Blind,
}

/// Numbered upward, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Inquest(pub u8);

/// Orders the votes of one node: its incarnation, then the sequence within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence {
    pub incarnation: u8,
    pub number: u8,
}

/// One node's sight within one inquest, with its evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    pub voter: Node,
    pub inquest: Inquest,
    pub sequence: Sequence,
    pub sight: Sight,
    /// The ackers it reached that had not heard the primary of late; the others had.
    pub deaf: Set<Acker>,
    /// How many votes this node had truly cast. For the laws: apply never looks at it.
    pub nth: u8,
}

/// One control node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watcher {
    /// Remembered across restarts.
    pub saw_alive: bool,
    pub sequence: Sequence,
    pub cast: u8,
    /// For law I: it saw silence, and said so, since the open inquest was opened.
    pub silent_in_inquest: bool,
    /// Its latest vote that counts in the open inquest.
    pub counted: Option<Vote>,
    /// The newest sequence that was applied.
    pub applied: Option<Sequence>,
    /// For law R: of its votes that were committed to this inquest, the one truly cast last.
    pub committed: Option<Vote>,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub watchers: [Watcher; NODES as usize],
    /// For law K: the ackers that someone found deaf since the open inquest was opened.
    pub deaf_in_inquest: Set<Acker>,
    pub inquest: Option<Inquest>,
    pub opened: Inquest,
    /// Votes that can still be committed, sorted.
    pub votes: Vec<Vote>,
    pub restarts: u8,
    pub withdrawn: bool,
    pub deposed: bool,
}

impl State {
    fn watcher(&self, node: Node) -> &Watcher {
        &self.watchers[usize::from(node.0)]
    }

    fn watcher_mut(&mut self, node: Node) -> &mut Watcher {
        &mut self.watchers[usize::from(node.0)]
    }

    /// The nodes whose counted vote is Silent.
    fn silent(&self) -> Set<Node> {
        let silent = |node: &Node| self.watcher(*node).counted.map(|vote| vote.sight);
        Node::all()
            .iter()
            .filter(|node| silent(node) == Some(Sight::Silent))
            .collect()
    }

    /// Ackers that no counted vote found hearing the primary. One that a single node found hearing
    /// it counts as hearing: of two ages, the younger is nearer to the truth.
    fn found_deaf(&self) -> Set<Acker> {
        let votes = self.watchers.iter().filter_map(|watcher| watcher.counted);
        votes
            .map(|vote| vote.deaf)
            .reduce(Set::both)
            .unwrap_or(Set::EMPTY)
    }

    /// Drops votes that apply can only drop: fewer states, none lost.
    fn settle(&mut self, config: &Config) {
        if !config.makes(Mistake::InquestsAdded) {
            let open = self.inquest;
            self.votes.retain(|vote| Some(vote.inquest) == open);
        }
        if !config.makes(Mistake::VotesWithoutSequence) {
            let watchers = self.watchers;
            self.votes.retain(|vote| {
                let applied = watchers[usize::from(vote.voter.0)].applied;
                // A vote that its forgetful voter cast anew is committed for nothing, yet is
                // committed, and law R must hear of it.
                Some(vote.sequence) > applied || config.makes(Mistake::IncarnationForgotten)
            });
        }
        self.votes.sort();
    }
}

/// The size of a run, and which rules are broken.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub inquests_max: u8,
    /// Votes that each node may cast.
    pub votes_max: u8,
    pub restarts_max: u8,
    /// The sets of ackers that a vote may find deaf.
    pub evidence: &'static [Set<Acker>],
    /// The nodes that have not seen the primary alive in this epoch when the run begins.
    pub blind: Set<Node>,
    /// How many regions the control plane spans: one or two.
    pub regions: u8,
    pub mistakes: &'static [Mistake],
}

impl Config {
    /// One inquest, and in it two votes of each node: enough to change one's mind once.
    pub const CHANGED_MINDS: Self = Self {
        inquests_max: 1,
        votes_max: 2,
        restarts_max: 1,
        evidence: &[Set::EMPTY, BOTH_DEAF],
        blind: Set::from_bits(0b100),
        regions: 2,
        mistakes: &[],
    };

    /// Two inquests, and one vote of each node in either or none, with all evidence there is.
    pub const TWO_INQUESTS: Self = Self {
        inquests_max: 2,
        votes_max: 1,
        evidence: &[
            Set::EMPTY,
            Set::from_bits(0b01),
            Set::from_bits(0b10),
            BOTH_DEAF,
        ],
        blind: Set::EMPTY,
        ..Self::CHANGED_MINDS
    };

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistakes.contains(&mistake)
    }

    fn may_see_silence(&self, watcher: &Watcher) -> bool {
        watcher.saw_alive || self.makes(Mistake::BlindVotesSilent)
    }

    /// Dead, as the counted votes have it. A missing vote is never taken for silence.
    fn is_dead(&self, state: &State) -> bool {
        let silent = state.silent();
        let answers = state
            .watchers
            .iter()
            .filter(|watcher| watcher.counted.is_some())
            .count();
        let voters = if self.makes(Mistake::MajorityOfAnswers) {
            answers as u8
        } else {
            NODES
        };
        let majority = silent.len() > voters / 2;

        let seen_from = |region| silent.iter().any(|node| node.region() == region);
        let spread = self.regions == 1 || (seen_from(0) && seen_from(1));
        let spread = spread || self.makes(Mistake::OneRegionSuffices);

        let deaf = state.found_deaf().len() > ACKERS - WAIT_FOR;
        majority && spread && (deaf || self.makes(Mistake::AckersNotAsked))
    }

    fn open(&self, state: &mut State) {
        state.opened = Inquest(state.opened.0 + 1);
        state.inquest = Some(state.opened);
        for watcher in &mut state.watchers {
            if !self.makes(Mistake::InquestsAdded) {
                watcher.counted = None;
                watcher.committed = None;
            }
        }
    }

    fn close(&self, state: &mut State) {
        state.inquest = None;
        state.deaf_in_inquest = Set::EMPTY;
        for watcher in &mut state.watchers {
            watcher.silent_in_inquest = false;
            if !self.makes(Mistake::InquestsAdded) {
                watcher.counted = None;
                watcher.committed = None;
            }
        }
    }

    fn cast(&self, state: &mut State, vote: Vote) {
        let watcher = state.watcher_mut(vote.voter);
        watcher.cast = vote.nth;
        watcher.sequence = vote.sequence;
        watcher.saw_alive |= vote.sight == Sight::Alive;
        watcher.silent_in_inquest |= vote.sight == Sight::Silent;
        state.deaf_in_inquest = state.deaf_in_inquest.union(vote.deaf);
        state.votes.push(vote);
    }

    /// Every vote that this node could cast now.
    fn votes(&self, voter: Node, watcher: &Watcher, inquest: Inquest) -> Vec<Vote> {
        let mut sequence = watcher.sequence;
        sequence.number += 1;
        let nth = watcher.cast + 1;
        let sights: &[Sight] = if self.may_see_silence(watcher) {
            &[Sight::Alive, Sight::Silent]
        } else {
            &[Sight::Alive, Sight::Blind]
        };
        let vote = |sight, deaf| Vote {
            voter,
            inquest,
            sequence,
            sight,
            deaf,
            nth,
        };
        let each = |sight: &Sight| {
            let sight = *sight;
            self.evidence.iter().map(move |deaf| vote(sight, *deaf))
        };
        sights.iter().flat_map(each).collect()
    }

    /// Applies a committed vote, and deposes if the verdict is Dead. The vote stays in flight.
    fn apply(&self, state: &mut State, vote: Vote) {
        let added = self.makes(Mistake::InquestsAdded);
        if state.inquest != Some(vote.inquest) && !added {
            return;
        }
        let watcher = state.watcher_mut(vote.voter);
        if watcher.committed.is_none_or(|newest| newest.nth < vote.nth) {
            watcher.committed = Some(vote);
        }
        let fresh = Some(vote.sequence) > watcher.applied;
        if !fresh && !self.makes(Mistake::VotesWithoutSequence) {
            return;
        }
        let before = watcher.counted.map(|counted| counted.sight);
        watcher.applied = Some(vote.sequence);
        watcher.counted = Some(vote);
        state.withdrawn |= before == Some(Sight::Silent) && vote.sight == Sight::Alive;
        state.deposed = self.is_dead(state);
    }
}

/// One step. Its `Display` is a line of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Restart(Node),
    Open,
    Close(Inquest),
    Cast(Vote),
    Commit(Vote),
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart(node) => write!(f, "{node} restarts"),
            Self::Open => write!(f, "log: an inquest opens"),
            Self::Close(inquest) => write!(f, "log: inquest {} closes", inquest.0),
            Self::Cast(vote) => write!(f, "{} casts {vote}", vote.voter),
            Self::Commit(vote) => write!(f, "log: of {}, {vote}", vote.voter),
        }
    }
}

impl Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            inquest,
            sight,
            deaf,
            nth,
            ..
        } = self;
        write!(
            f,
            "vote {nth}, in inquest {}: {sight:?}, deaf ackers: {deaf}",
            inquest.0
        )
    }
}

impl Model for Config {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let watcher = |node| Watcher {
            saw_alive: !self.blind.contains(Node(node)),
            sequence: Sequence::default(),
            cast: 0,
            silent_in_inquest: false,
            counted: None,
            applied: None,
            committed: None,
        };
        vec![State {
            watchers: [watcher(0), watcher(1), watcher(2)],
            deaf_in_inquest: Set::EMPTY,
            inquest: None,
            opened: Inquest::default(),
            votes: Vec::new(),
            restarts: 0,
            withdrawn: false,
            deposed: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.deposed {
            return;
        }
        for node in Node::all().iter() {
            let watcher = state.watcher(node);
            if let Some(inquest) = state.inquest
                && watcher.cast < self.votes_max
            {
                actions.extend(
                    self.votes(node, watcher, inquest)
                        .into_iter()
                        .map(Action::Cast),
                );
            }
            if state.restarts < self.restarts_max {
                actions.push(Action::Restart(node));
            }
        }
        match state.inquest {
            Some(inquest) => actions.push(Action::Close(inquest)),
            None if state.opened.0 < self.inquests_max => actions.push(Action::Open),
            None => {}
        }
        if state.inquest.is_some() {
            actions.extend(state.votes.iter().copied().map(Action::Commit));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Restart(node) => {
                state.restarts += 1;
                let watcher = state.watcher_mut(node);
                let kept = u8::from(!self.makes(Mistake::IncarnationForgotten));
                watcher.sequence.incarnation += kept;
                watcher.sequence.number = 0;
            }
            Action::Open => self.open(&mut state),
            Action::Close(_) => self.close(&mut state),
            Action::Cast(vote) => self.cast(&mut state, vote),
            Action::Commit(vote) => self.apply(&mut state, vote),
        }
        state.settle(self);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        laws::all(self)
    }
}
