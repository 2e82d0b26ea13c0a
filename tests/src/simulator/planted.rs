//! Mistakes that somebody could make. Each must be found by an invariant, or the invariants prove
//! nothing.
//!
//! None of them is in the core: they are injected at its seams, as a shell, an apply or a disk that
//! does the wrong thing. Where the apply's own checker would refuse the mistaken choice, it is
//! written into the state as the mistaken apply would.

use std::collections::BTreeMap;
use std::sync::Arc;

use primacy_core::agree::{Inquest, Verdict};
use primacy_core::decide::{Choice, Proof, choose};
use primacy_core::gtid::GtidSet;
use primacy_core::ids::{ClusterId, Position};
use primacy_core::record::{Cluster, Command, Promotion, Proposal, Stage, State};

macro_rules! planted {
    ($($name:ident, $word:literal, $why:literal;)*) => {
        /// One mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Planted { $(#[doc = $why] $name,)* }

        impl Planted {
            pub const ALL: &[Planted] = &[$(Planted::$name,)*];

            /// The name on the command line.
            pub fn word(self) -> &'static str {
                match self { $(Planted::$name => $word,)* }
            }

            pub fn why(self) -> &'static str {
                match self { $(Planted::$name => $why,)* }
            }
        }
    };
}

planted! {
    OneTooFewFrozen, "one-too-few-frozen", "chooses with one acker fewer frozen than |V|-k+1";
    ConfirmedDoesNotBind, "confirmed-does-not-bind", "answers a fence order without having fenced";
    VotesAdded, "votes-added", "counts votes of an earlier inquest in the open one";
    NextOfFrozenOnly, "next-of-frozen-only", "makes the next V of the frozen ackers only";
    ReportsOverwritten, "reports-overwritten", "a later freeze report replaces the earlier one";
    RepairThaws, "repair-thaws", "a repair loop starts a frozen replica again";
    TokenForgotten, "token-forgotten", "the newest token is not made durable";
    OpenUncommitted, "open-uncommitted", "orders to open what is proposed, not yet committed";
    NoFloor, "no-floor", "forgets the floor when an epoch is deposed";
    OldPrimaryCounts, "old-primary-counts", "counts the old primary in the next V";
    OwnErrant, "own-errant", "takes transactions of the deposed primary for errant";
    FollowUncompared, "follow-uncompared", "follows without comparing first";
    FollowUnlooked, "follow-unlooked", "follows though it holds more than when it was compared";
    LateSession, "late-session", "an op given up is not killed, and takes effect later";
    PurgedRelay, "purged-relay", "re-points with the applier stopped, which purges the relay log";
    ReportBeforeFreeze, "report-before-freeze", "reads what it holds before its IO thread stopped";
    GracefulStop, "graceful-stop", "stops mysqld by SIGTERM, which acknowledges waiting writes";
    LastKnownSuffices, "last-known-suffices", "needs only what was last seen on the old primary";
    StrangersNotCounted, "strangers-not-counted", "freezes as if V alone could have acknowledged";
    ReturnNotLogged, "return-not-logged", "does not log a stranger anew that was forgotten and is back";
    LevelRaisedEarly, "level-raised-early", "raises the feature level when most voters know it";
    OpensUnapplied, "opens-unapplied", "opens without having applied what it needs";
    BootsReadOnly, "boots-read-only", "boots with super_read_only alone, which XA COMMIT passes";
    AnyServerCounts, "any-server-counts", "takes any server at its address for the enrolled one";
    GroundNotLogged, "ground-not-logged", "does not say in the log that the ground is broken";
    BlindAtOnce, "blind-at-once", "forgets what it saw of a new primary before it was chosen";
    NeverWithdrawn, "never-withdrawn", "waits for ever for one that was chosen and stalls";
    WithdrawnTakenForUnopened, "withdrawn-taken-for-unopened", "takes it that one that stalls never opened";
    StarvedRestarted, "starved-restarted", "counts what a receiver heard nothing from before its start";
    StarvedWithoutPaths, "starved-without-paths", "takes every try to log in for a login";
    CommonOfAPrimary, "common-of-a-primary", "names common what a primary wrote";
    LainBeatsFresh, "lain-beats-fresh", "takes a beat that lay while the node stood still for one of now";
    SleeperBelieved, "sleeper-believed", "takes what an agent saw before it slept for what is now";
    SchedulerSeenEarly, "scheduler-seen-early", "tells of a scheduler before it is told that nothing is owed";
    WedgedUnchosen, "wedged-unchosen", "names nobody where the primary was deposed as wedged";
    UnionNeeded, "union-needed", "needs what any acker holds, though nobody was told";
}

impl Planted {
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|mistake| mistake.word() == word)
    }
}

/// What the mistaken apply remembers beside the state.
#[derive(Debug, Default)]
pub struct Memory {
    /// By cluster, the first inquest of each.
    votes: BTreeMap<ClusterId, Inquest>,
}

/// The mistaken apply: called after the right one, for the same entry.
pub fn distort(
    mistake: Planted,
    memory: &mut Memory,
    before: &State,
    state: &mut State,
    at: Position,
    proposal: &Proposal,
) {
    if mistake == Planted::LevelRaisedEarly {
        let more = |knows: &&u32| **knows > state.level;
        if state.knows.values().filter(more).count() > state.voters.len() / 2 {
            state.level += 1;
        }
        return;
    }
    let ids: Vec<ClusterId> = state.clusters.keys().cloned().collect();
    for id in ids {
        let was = before.clusters.get(&id).cloned();
        let Some(cluster) = state.clusters.get_mut(&id) else {
            continue;
        };
        if Some(&*cluster) == was.as_ref() && !matches!(cluster.stage, Stage::Deposed(_)) {
            continue;
        }
        distort_cluster(
            mistake,
            memory,
            was.as_deref(),
            Arc::make_mut(cluster),
            at,
            proposal,
        );
    }
}

fn distort_cluster(
    mistake: Planted,
    memory: &mut Memory,
    was: Option<&Cluster>,
    cluster: &mut Cluster,
    at: Position,
    proposal: &Proposal,
) {
    let deposed_now = matches!(cluster.stage, Stage::Deposed(_))
        && was.is_none_or(|was| was.epoch != cluster.epoch || was.deposition().is_none());
    let named_now = was.is_none_or(|was| was.epoch != cluster.epoch);
    match mistake {
        Planted::OneTooFewFrozen => {
            let mut wrong = cluster.clone();
            wrong.ackers.k = (wrong.ackers.k + 1).min(wrong.ackers.members.len() as u32 + 1);
            if let Ok(mut choice) = choose(&wrong)
                && !matches!(choice.proof, Proof::Confirmed { .. })
            {
                choice.ackers = cluster.ackers.without(&choice.to);
                name(cluster, at, choice);
            }
        }
        Planted::StrangersNotCounted => cluster.ground.strangers.clear(),
        Planted::LastKnownSuffices => {
            let mut wrong = cluster.clone();
            if let Stage::Deposed(deposition) = &mut wrong.stage {
                for report in deposition.frozen.values_mut() {
                    report.replicated_from = None;
                }
            }
            if let Ok(choice) = choose(&wrong) {
                name(cluster, at, choice);
            }
        }
        Planted::VotesAdded => {
            if let Some(open) = was.and_then(|was| was.inquest.as_ref()) {
                memory.votes.insert(cluster.id.clone(), open.clone());
            }
            let old = memory.votes.get(&cluster.id).cloned();
            if let (Some(open), Some(old)) = (&mut cluster.inquest, old)
                && old.id != open.id
            {
                for (node, vote) in old.votes {
                    open.votes.entry(node).or_insert(vote);
                }
            }
        }
        Planted::NextOfFrozenOnly if named_now => {
            let frozen = was
                .and_then(Cluster::deposition)
                .map(|record| &record.frozen);
            let (Some(frozen), Some(was)) = (frozen, was) else {
                return;
            };
            let spare = was.ackers.members.len() - was.ackers.k as usize;
            let mut members = cluster.ackers.members.clone();
            members.retain(|id| frozen.contains_key(id));
            if !members.is_empty() {
                cluster.ackers.k = members.len().saturating_sub(spare).max(1) as u32;
                cluster.ackers.members = members;
            }
        }
        Planted::ReportsOverwritten => {
            for command in &proposal.commands {
                if let (
                    Command::Freeze {
                        epoch,
                        instance,
                        report,
                        ..
                    },
                    Stage::Deposed(deposition),
                ) = (command, &mut cluster.stage)
                    && *epoch == cluster.epoch
                {
                    deposition.frozen.insert(instance.clone(), report.clone());
                }
            }
        }
        Planted::GroundNotLogged => cluster.ground.broken.clear(),
        Planted::CommonOfAPrimary if deposed_now => {
            for uuid in cluster.primaries.clone() {
                let all: GtidSet = format!("{uuid}:1-1000000").parse().expect("a set");
                cluster.common.union_with(&all);
            }
        }
        Planted::UnionNeeded if named_now => {
            let record = was.and_then(Cluster::deposition);
            for report in record.iter().flat_map(|record| record.frozen.values()) {
                cluster.floor.union_with(&report.holds());
            }
        }
        Planted::WedgedUnchosen if named_now => {
            let wedged = |was: &&Cluster| {
                let verdict = was.deposition().map(|of| of.judgement.verdict);
                verdict == Some(Verdict::Wedged)
            };
            if let Some(was) = was.filter(wedged) {
                *cluster = was.clone();
            }
        }
        Planted::NeverWithdrawn if deposed_now => {
            let withdrawn = cluster
                .deposition()
                .is_some_and(|of| of.withdrawn.is_some());
            if let Some(was) = was.filter(|_| withdrawn) {
                *cluster = was.clone();
            }
        }
        Planted::WithdrawnTakenForUnopened => {
            if let Stage::Deposed(deposition) = &mut cluster.stage
                && deposition.withdrawn.is_some()
                && deposition.opener.is_some()
            {
                deposition.unopened = true;
            }
        }
        Planted::NoFloor if deposed_now => {
            cluster.floor = GtidSet::default();
            if let Stage::Deposed(deposition) = &mut cluster.stage {
                deposition.inquest.last_known = GtidSet::default();
            }
        }
        Planted::OldPrimaryCounts if named_now => {
            if let Some(was) = was.filter(|was| was.primary != cluster.primary) {
                cluster.ackers.members.insert(was.primary.clone());
            }
        }
        Planted::OwnErrant if deposed_now => {
            if let Some(uuid) = cluster.instances[&cluster.primary].server_uuid {
                cluster.primaries.remove(&uuid);
            }
        }
        _ => {}
    }
}

/// What an apply does with a choice, without the checker.
fn name(cluster: &mut Cluster, at: Position, choice: Choice) {
    if choice.to != cluster.primary {
        cluster.left_behind.insert(cluster.primary.clone());
    }
    cluster.left_behind.remove(&choice.to);
    if let Some(uuid) = cluster.instances[&choice.to].server_uuid {
        cluster.primaries.insert(uuid);
    }
    cluster.epoch = choice.epoch;
    cluster.primary = choice.to.clone();
    cluster.ackers = choice.ackers.clone();
    cluster.floor.union_with(&choice.need);
    cluster.inquest = None;
    cluster.judgement = None;
    cluster.reopen = None;
    cluster.ground.strangers.clear();
    cluster.stage = Stage::Named(Box::new(Promotion {
        at,
        choice,
        applied: false,
        opened: false,
        acknowledged: false,
        followers: Default::default(),
        freed: Default::default(),
        former: Default::default(),
        opener: None,
        after: None,
    }));
}
