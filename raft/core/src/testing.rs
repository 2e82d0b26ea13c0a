//! What the tests of this crate share: clusters whose instances are letters, and a state driven by
//! commands alone.
//!
//! Instance `p` has the `server_uuid` that `p` stands for in a set: `set("p:1-9,a:1")`.

pub mod many;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::agree::Vote;
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{
    ClusterId, Committed, Epoch, Incarnation, InquestId, InstanceId, LogIndex, NodeId, PlaneId,
    Position, Seq, Term,
};
use crate::observe::{
    Fault, GroundLook, GroundWord, Heartbeat, IoThread, MysqldWord, Reached, ReplicaReport, Role,
    Sight, SightKind, Word,
};
use crate::policy::{Automation, Policy};
use crate::record::{
    Cluster, Command, Event, FEATURE_LEVEL, FenceReport, Founding, FreezeReport, GroundSaid,
    InstanceSpec, Member, Outcome, Promotion, Proposal, Refusal, Registration, Stage, State,
};

pub fn uuid(letter: &str) -> Uuid {
    Uuid::from_bytes([letter.as_bytes()[0]; 16])
}

/// A set in which one-letter names stand for the `server_uuid` of that instance.
pub fn set(text: &str) -> GtidSet {
    let spelled: Vec<String> = text
        .split(',')
        .filter(|item| !item.is_empty())
        .map(|item| {
            let (name, rest) = item.split_once(':').expect("letter:interval");
            format!("{}:{rest}", uuid(name))
        })
        .collect();
    spelled.join(",").parse().expect("a set of the table")
}

pub fn instance(letter: &str) -> InstanceId {
    InstanceId::from(letter)
}

pub fn instances(letters: &str) -> BTreeSet<InstanceId> {
    letters.chars().map(|c| instance(&c.to_string())).collect()
}

pub fn cluster_id() -> ClusterId {
    ClusterId::from("shop")
}

pub fn at(index: u64) -> Position {
    Position {
        term: Term(1),
        index: LogIndex(index),
    }
}

pub fn spec(letter: &str) -> InstanceSpec {
    InstanceSpec {
        host: format!("{letter}.example"),
        port: 3306,
        region: "x".into(),
        zone: String::new(),
        machine: String::new(),
        promotion: Default::default(),
        priority: 0,
        server_uuid: Some(uuid(letter)),
        agent: String::new(),
    }
}

/// The first letter is the primary; automation is on.
pub fn registration(letters: &str, k: u32) -> Registration {
    Registration {
        cluster: cluster_id(),
        instances: letters
            .chars()
            .map(|c| (instance(&c.to_string()), spec(&c.to_string())))
            .collect(),
        primary: instance(&letters[..1]),
        ackers: BTreeSet::new(),
        k,
        policy: Policy {
            automation: Automation::Auto,
            ..Policy::default()
        },
        founding: Founding::New,
    }
}

/// The same, without the `server_uuid` of these.
pub fn unenrolled(letters: &str, k: u32, unknown: &str) -> Registration {
    let mut registration = registration(letters, k);
    for id in instances(unknown) {
        let spec = registration.instances.get_mut(&id).expect("registered");
        spec.server_uuid = None;
    }
    registration
}

/// A report of an instance that replicated from `p`.
pub fn report(letter: &str, executed: &str, received: &str) -> FreezeReport {
    FreezeReport {
        server_uuid: uuid(letter),
        version: (8, 4, 6),
        executed: set(executed),
        received: set(received),
        purged: GtidSet::default(),
        replicated_from: Some(instance("p")),
        forgot: None,
        marked: None,
        mysqld: None,
        left: Default::default(),
        left_unknown: Default::default(),
        undurable: false,
        agent: None,
        backlog: Default::default(),
    }
}

/// A vote of `node` in inquest 1 that saw every acker deaf.
pub fn vote(node: u64, kind: SightKind, for_ms: u64) -> Vote {
    Vote {
        cluster: cluster_id(),
        inquest: InquestId(1),
        node: NodeId(node),
        incarnation: Incarnation(1),
        seq: Seq(1),
        sight: Sight { kind, for_ms },
        lease_left_ms: 0,
        last_known: GtidSet::default(),
        reached: BTreeMap::new(),
        word: None,
        exit_ms: None,
        ground: Some(GroundLook::default()),
        broken: Default::default(),
        starvation: None,
    }
}

/// A replicated state and the log that leads to it. Everything goes through `apply`.
#[derive(Clone)]
pub struct World {
    pub state: State,
    /// The feature level up to which it is applied.
    pub knows: u32,
    index: u64,
}

impl World {
    /// One voter per letter, which names its region; numbered from 1.
    pub fn of(regions: &str) -> Self {
        Self::at_level(regions, FEATURE_LEVEL)
    }

    /// The same in a plane of an earlier feature level, applied by this version.
    pub fn at_level(regions: &str, level: u32) -> Self {
        let voters = (1..).map(NodeId).zip(regions.chars().map(|c| Member {
            address: String::new(),
            region: c.to_string(),
        }));
        let mut world = Self {
            state: State::default(),
            knows: FEATURE_LEVEL,
            index: 0,
        };
        world.state.set_voters(voters.collect());
        world.must(Command::FoundPlane {
            plane: PlaneId::from("plane"),
            level,
        });
        for node in world.state.voters.clone().into_keys() {
            world.must(Command::Announce { node, knows: level });
        }
        world
    }

    /// Three voters in three regions, a cluster of these letters, founded, open, its floor
    /// `p:1-11`.
    pub fn serving(letters: &str, k: u32) -> Self {
        Self::serving_as(registration(letters, k))
    }

    pub fn serving_as(registration: Registration) -> Self {
        Self::of("xyz").serving_with(registration)
    }

    #[must_use]
    pub fn serving_with(mut self, registration: Registration) -> Self {
        self.found(registration);
        self.open(1, "p", "p:1-11");
        self
    }

    /// Appends one entry to the log.
    pub fn apply(&mut self, proposal: &Proposal) -> Outcome {
        self.index += 1;
        let applied = self.state.apply(at(self.index), proposal, self.knows);
        applied.expect("a level that this version knows")
    }

    pub fn committed(&self) -> Committed<Arc<State>> {
        Committed::witness(at(self.index), Arc::new(self.state.clone()))
    }

    pub fn run(&mut self, command: Command) -> Result<Vec<Event>, Refusal> {
        let outcome = self.apply(&Proposal {
            // Numbered apart from any node's own.
            proposer: NodeId(1).operators_door(),
            incarnation: Incarnation(1),
            seq: Seq(self.index + 1),
            wall_ms: 0,
            commands: vec![command],
        });
        assert!(!outcome.repeated, "each test proposal has a key of its own");
        outcome.results.into_iter().next().expect("one command")
    }

    #[track_caller]
    pub fn must(&mut self, command: Command) -> Vec<Event> {
        self.run(command.clone())
            .unwrap_or_else(|why| panic!("{command:?}: {why}"))
    }

    /// The refusal of a command, in words.
    #[track_caller]
    pub fn refusal(&mut self, command: Command) -> String {
        let before = self.state.clusters.clone();
        let why = match self.run(command.clone()) {
            Err(why) => why.to_string(),
            Ok(events) => panic!("{command:?} took effect: {events:?}"),
        };
        assert_eq!(
            self.state.clusters, before,
            "a refused command changes nothing"
        );
        why
    }

    pub fn cluster(&self) -> &Cluster {
        &self.state.clusters[&cluster_id()]
    }

    /// The cluster, to be bent for a test.
    pub fn cluster_mut(&mut self) -> &mut Cluster {
        let cluster = self.state.clusters.get_mut(&cluster_id()).expect("founded");
        Arc::make_mut(cluster)
    }

    pub fn found(&mut self, registration: Registration) {
        let all: Vec<_> = registration.instances.keys().cloned().collect();
        self.must(Command::Register(Box::new(registration)));
        for instance in all {
            let command = self.founding_report(instance.as_str(), "p:1-10", true);
            self.must(command);
        }
    }

    pub fn founding_report(&self, letter: &str, executed: &str, fenced: bool) -> Command {
        Command::FoundingReport {
            cluster: cluster_id(),
            instance: instance(letter),
            report: report(letter, executed, ""),
            fenced,
            registered: None,
        }
    }

    pub fn open(&mut self, epoch: u64, letter: &str, floor: &str) {
        self.must(opened(epoch, letter));
        self.must(acknowledged(epoch, letter, floor));
    }

    pub fn open_inquest(&mut self) {
        let epoch = self.cluster().epoch;
        self.must(Command::OpenInquest {
            cluster: cluster_id(),
            epoch,
            after: self.cluster().aborted.as_ref().map(|abort| abort.at),
        });
    }

    /// A vote in the open inquest that reaches every replica, all deaf.
    pub fn vote(&self, node: u64, kind: SightKind, for_ms: u64) -> Vote {
        let cluster = self.cluster();
        let replicas = cluster
            .instances
            .keys()
            .filter(|id| **id != cluster.primary);
        Vote {
            inquest: cluster.inquests,
            seq: Seq(self.index),
            reached: replicas
                .map(|id| (id.clone(), Reached::default()))
                .collect(),
            ..vote(node, kind, for_ms)
        }
    }

    /// Opens an inquest in which nodes 1 and 2 see silence for ten seconds, having last seen
    /// `last_known` executed.
    pub fn silence(&mut self, last_known: &str) {
        self.votes(SightKind::Silent, last_known);
    }

    pub fn votes(&mut self, kind: SightKind, last_known: &str) {
        self.open_inquest();
        for node in [1, 2] {
            let vote = Vote {
                last_known: set(last_known),
                ..self.vote(node, kind, 10_000)
            };
            self.must(Command::Vote(Box::new(vote)));
        }
    }

    pub fn freeze(&mut self, report: FreezeReport) {
        let letter = letter_of(report.server_uuid);
        let epoch = self.cluster().epoch;
        self.must(frozen(epoch.0, &letter, report));
    }

    pub fn confirm(&mut self, final_set: &str) {
        let report = FenceReport::Confirmed {
            received: GtidSet::default(),
            final_set: set(final_set),
            server_uuid: uuid(self.cluster().primary.as_str()),
            unacknowledged: false,
            mysqld: None,
            broken: BTreeSet::new(),
        };
        self.fence(report);
    }

    pub fn exit(&mut self) {
        self.fence(FenceReport::Exited);
    }

    fn fence(&mut self, report: FenceReport) {
        let cluster = self.cluster();
        let command = fenced(cluster.epoch.0, cluster.primary.clone().as_str(), report);
        self.must(command);
    }
}

fn letter_of(uuid: Uuid) -> String {
    char::from(uuid.as_bytes()[0]).to_string()
}

pub fn frozen(epoch: u64, letter: &str, report: FreezeReport) -> Command {
    Command::Freeze {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        instance: instance(letter),
        report,
    }
}

pub fn fenced(epoch: u64, letter: &str, report: FenceReport) -> Command {
    Command::Fence {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        instance: instance(letter),
        report,
        unopened: None,
    }
}

pub fn opened(epoch: u64, letter: &str) -> Command {
    Command::Opened {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        instance: instance(letter),
        mysqld: None,
    }
}

pub fn acknowledged(epoch: u64, letter: &str, floor: &str) -> Command {
    Command::Acknowledged {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        instance: instance(letter),
        floor: set(floor),
    }
}

/// The primary's agent says, by its beat of this number, that these acknowledge without being in V.
pub fn strangers(epoch: u64, letter: &str, beat: u64, letters: &str) -> Command {
    ground(
        epoch,
        letter,
        GroundSaid {
            told: (Incarnation(1), beat),
            strangers: letters.chars().map(|c| uuid(&c.to_string())).collect(),
            ..GroundSaid::default()
        },
    )
}

/// By this beat k of V hold all that was answered.
pub fn settled(epoch: u64, letter: &str, beat: u64, held: &str) -> Command {
    ground(
        epoch,
        letter,
        GroundSaid {
            told: (Incarnation(1), beat),
            held: Some(set(held)),
            ..GroundSaid::default()
        },
    )
}

pub fn broken(epoch: u64, letter: &str, beat: u64, fault: Fault) -> Command {
    ground(
        epoch,
        letter,
        GroundSaid {
            told: (Incarnation(1), beat),
            broken: [fault].into(),
            ..GroundSaid::default()
        },
    )
}

fn ground(epoch: u64, letter: &str, said: GroundSaid) -> Command {
    Command::Ground {
        cluster: cluster_id(),
        epoch: Epoch(epoch),
        instance: instance(letter),
        said: Box::new(said),
    }
}

/// Beat `beat` of the agent's first run, about this incarnation of `mysqld`.
pub fn word(beat: u64, mysqld: u64, says: MysqldWord) -> Word {
    Word {
        agent: Incarnation(1),
        beat,
        mysqld: Incarnation(mysqld),
        says,
    }
}

/// A set as `set` reads it.
pub fn short(set: &GtidSet) -> String {
    let mut text = set.compact().to_string();
    for letter in 'a'..='z' {
        let letter = letter.to_string();
        text = text.replace(&uuid(&letter).to_string(), &letter);
    }
    text
}

/// A beat of the agent of a replica that follows `p` in epoch 1.
pub fn beat(letter: &str, number: u64) -> Heartbeat {
    Heartbeat {
        cluster: cluster_id(),
        instance: instance(letter),
        word: word(number, 1, MysqldWord::Running { answered_ms_ago: 0 }),
        run_ms: None,
        slept: false,
        role: Role::Following(Epoch(1)),
        token: None,
        server_uuid: Some(uuid(letter)),
        version: (8, 4, 6),
        fenced: true,
        executed: set("p:1-12"),
        received: GtidSet::default(),
        purged: GtidSet::default(),
        replica: Some(ReplicaReport {
            io: IoThread::On,
            applier_runs: true,
            source: Some(instance("p")),
            heartbeats: number,
            read_position: ("binlog.000001".into(), 1),
            moved_ms: None,
            acking: true,
            error: String::new(),
            waits_ms: None,
            bytes: None,
        }),
        write_stuck_ms: None,
        opened: None,
        opening: false,
        marked: None,
        login_error: None,
        ground: GroundWord::default(),
        stuck: None,
        freed: Default::default(),
        scheduled: None,
        harmless: Default::default(),
        branches: None,
        unacknowledged_ms: None,
        paths: BTreeMap::new(),
        besides: None,
    }
}

/// What is recorded of a primary that is named.
pub fn promotion_of(cluster: &mut Cluster) -> &mut Promotion {
    match &mut cluster.stage {
        Stage::Named(promotion) => promotion,
        other => panic!("a primary is named, not {other:?}"),
    }
}
