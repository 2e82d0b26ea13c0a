//! What of a cluster is not as ordered, or would stand in the way of its next failover.

use std::collections::BTreeMap;

use super::{Alarm, Key};
use crate::gtid::{GtidSet, Uuid};
use crate::ids::{Epoch, InstanceId};
use crate::observe::{Besides, ChannelSeen, Fault, Heartbeat, IoThread, MysqldWord, Role};
use crate::record::{Cluster, InstanceSpec};

/// An agent that was not heard for so long is told of.
pub const AGENT_UNHEARD_MS: u64 = 1_000;

/// Agents need that long to find a node that began, at most.
const NEW_MS: u64 = 5_000;

/// An applier that has something left and executed nothing for so long is held by something.
const HELD_MS: u64 = 3_000;

/// A write waits for so long where ackers are far and busy.
const UNACKNOWLEDGED_MS: u64 = 1_000;

/// More than this to execute, by its pace of late, and it opens late.
const LAG_MS: u64 = 3_000;

/// What the leader knows of one instance: its agent's newest beat, and its own looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    pub beat: Option<&'a Heartbeat>,
    /// Since that came.
    pub heard_ms: Option<u64>,
    /// Since this node began to watch it.
    pub watched_ms: u64,
    /// What it held some beats ago, where that is known.
    pub held_before: Option<&'a GtidSet>,
    /// For how long its applier had executed nothing although something was left.
    pub still_ms: u64,
    /// How long it needs for what is left, where that is known.
    pub expected_ms: Option<u64>,
    /// How long before its newest sign of life this node had last seen its ground to be as ordered,
    /// the node's own gaps included. Of the primary alone.
    pub ground_age_ms: Option<u64>,
    /// Another server that answers in its name.
    pub other: Option<Uuid>,
}

impl<'a> Facts<'a> {
    /// Nothing was heard of it yet, and nothing could have been: this node has only begun.
    pub fn is_new(&self) -> bool {
        self.beat.is_none() && self.watched_ms < NEW_MS
    }

    /// The beat of an agent that is heard.
    pub fn heard(&self) -> Option<&'a Heartbeat> {
        let recent = self.heard_ms.is_some_and(|ms| ms <= AGENT_UNHEARD_MS);
        self.beat.filter(|_| recent)
    }

    /// The same, where its server runs.
    pub fn running(&self) -> Option<&'a Heartbeat> {
        let up = |beat: &&Heartbeat| matches!(beat.word.says, MysqldWord::Running { .. });
        self.heard().filter(up)
    }

    fn besides(&self) -> Option<&'a Besides> {
        self.running()?.besides.as_deref()
    }
}

/// Whether a cluster's primary serves, and has proved it: only then is there anything to compare
/// its replicas with.
fn serves(cluster: &Cluster) -> Option<Epoch> {
    let promotion = cluster.promotion()?;
    (promotion.opened && promotion.acknowledged).then_some(cluster.epoch)
}

/// Whether an alarm of this code can be told to be over now. While a failover is under way most
/// cannot: the instances are not meant to be as the alarm compares them.
pub fn judged(cluster: &Cluster, code: &str) -> bool {
    const ALWAYS: [&str; 8] = [
        "agent_unheard",
        "login_refused",
        "server_down",
        "recovering",
        "goes_away",
        "other_server",
        "marked",
        "forgot",
    ];
    serves(cluster).is_some() || ALWAYS.contains(&code)
}

/// How much of what it received it has yet to execute.
pub fn left(beat: &Heartbeat) -> u64 {
    let left = beat.received.subtract(&beat.executed).count();
    u64::try_from(left).unwrap_or(u64::MAX)
}

/// Whether a member of V acknowledges in fact; `None` where nobody can tell.
pub fn acknowledges(
    cluster: &Cluster,
    facts: &BTreeMap<InstanceId, Facts<'_>>,
    id: &InstanceId,
) -> Option<bool> {
    let uuid = cluster.instances.get(id)?.server_uuid;
    let primary = facts.get(&cluster.primary).and_then(Facts::besides);
    let attached = primary
        .zip(uuid)
        .map(|(primary, uuid)| primary.acknowledging.contains(&uuid));
    let own = facts.get(id).and_then(Facts::running).map(|beat| {
        let replica = beat.replica.as_ref();
        replica.is_some_and(|replica| {
            replica.acking
                && replica.io == IoThread::On
                && replica.source.as_ref() == Some(&cluster.primary)
        })
    });
    match (own, attached) {
        (Some(own), attached) => Some(own && attached.unwrap_or(true)),
        (None, attached) => attached,
    }
}

/// Everything that stands now, but for the readiness.
pub fn alarms(cluster: &Cluster, facts: &BTreeMap<InstanceId, Facts<'_>>) -> BTreeMap<Key, Alarm> {
    let mut found = Found::default();
    for (id, spec) in &cluster.instances {
        let known = facts.get(id).copied().unwrap_or_default();
        server(&mut found, id, &known);
        let Some(epoch) = serves(cluster) else {
            continue;
        };
        if cluster.left_behind.contains(id) {
            continue; // it is to replicate from nobody
        }
        if *id == cluster.primary {
            primary(&mut found, cluster, &known);
        } else {
            replica(&mut found, cluster, epoch, (id, spec), facts);
        }
    }
    if serves(cluster).is_some() {
        whole(&mut found, cluster, facts);
    }
    found.0
}

#[derive(Default)]
struct Found(BTreeMap<Key, Alarm>);

impl Found {
    fn of(&mut self, id: &InstanceId, alarm: Alarm) {
        self.0.insert(Key::new(Some(id), &alarm), alarm);
    }

    fn note(&mut self, id: &InstanceId, alarm: Option<Alarm>) {
        if let Some(alarm) = alarm {
            self.of(id, alarm);
        }
    }
}

/// Whatever its role: its agent, its server, its content.
fn server(found: &mut Found, id: &InstanceId, known: &Facts<'_>) {
    found.note(id, known.other.map(|uuid| Alarm::OtherServer { uuid }));
    let Some(beat) = known.heard() else {
        return found.of(id, Alarm::AgentUnheard);
    };
    let error = beat.login_error.clone();
    found.note(id, error.map(|error| Alarm::LoginRefused { error }));
    let why = beat.marked.clone();
    found.note(id, why.map(|why| Alarm::Marked { why }));
    if beat.besides.as_ref().is_some_and(|of| of.goes_away) {
        return found.of(id, Alarm::GoesAway);
    }
    match beat.word.says {
        MysqldWord::Exited => found.of(id, Alarm::ServerDown),
        MysqldWord::Starting => found.of(id, Alarm::Recovering),
        MysqldWord::Running { .. } => {
            let why = known.besides().and_then(|of| of.forgot.clone());
            found.note(id, why.map(|why| Alarm::Forgot { why }));
        }
    }
}

fn primary(found: &mut Found, cluster: &Cluster, known: &Facts<'_>) {
    let id = &cluster.primary;
    let ground = &cluster.ground;
    let mut faults = ground.broken.clone();
    if faults.remove(&Fault::Reset) {
        found.of(id, Alarm::GtidsReset);
    }
    if !faults.is_empty() {
        found.of(id, Alarm::GroundBroken { faults });
    }
    if !ground.strangers.is_empty() {
        let uuids = ground.strangers.clone();
        let blocks = cluster.blocking() > cluster.ackers.members.len();
        found.of(id, Alarm::Strangers { uuids, blocks });
    }
    let old = known
        .ground_age_ms
        .filter(|age_ms| *age_ms > cluster.policy.ground_age_ms && ground.broken.is_empty());
    found.note(id, old.map(|age_ms| Alarm::GroundUnseen { age_ms }));
    let Some(beat) = known.running() else { return };
    if beat.fenced || !matches!(beat.role, Role::Open(_)) {
        found.of(id, Alarm::Closed);
    }
    let waits_ms = beat.unacknowledged_ms.filter(|ms| *ms > UNACKNOWLEDGED_MS);
    let waits = waits_ms.map(|waited_ms| Alarm::WriteUnacknowledged { waited_ms });
    found.note(id, waits);
    let Some(besides) = known.besides() else {
        return;
    };
    let why = besides.not_sent.clone();
    found.note(id, why.map(|why| Alarm::WriteNotSent { why }));
    let circle = besides.channels.iter().find(|of| of.io != IoThread::Off);
    let circle = circle.map(|channel| Alarm::Replicates {
        source_address: channel.address(),
    });
    found.note(id, circle);
}

fn replica(
    found: &mut Found,
    cluster: &Cluster,
    epoch: Epoch,
    (id, spec): (&InstanceId, &InstanceSpec),
    facts: &BTreeMap<InstanceId, Facts<'_>>,
) {
    let Some(known) = facts.get(id) else { return };
    let Some(beat) = known.running() else { return };
    let primary = facts.get(&cluster.primary).and_then(|of| of.beat);
    let errant = cluster.own_writes_in(&beat.executed, primary.map(|of| &of.executed));
    if !errant.is_empty() {
        let why = known.besides().and_then(|of| of.own_writes.clone());
        found.of(id, Alarm::Errant { set: errant, why });
    }
    let missing = primary
        .map(|primary| primary.purged.subtract(&beat.holds()))
        .filter(|missing| !missing.is_empty());
    let purged = missing.map(|missing| Alarm::BinlogsPurged { missing });
    let behind_for_ever = purged.is_some();
    found.note(id, purged);
    if beat.role != Role::Following(epoch) {
        return found.of(id, Alarm::NotFollowing { role: beat.role });
    }
    let Some(besides) = known.besides() else {
        return;
    };
    if let Some(channel) = besides.channel() {
        if !behind_for_ever {
            receiver(found, id, channel);
        }
        applier(found, id, channel, known, beat);
        source(found, cluster, id, channel);
    } else {
        found.of(id, Alarm::ReceiverDown { connecting: false });
    }
    let others: Vec<String> = besides
        .channels
        .iter()
        .filter(|of| !of.name.is_empty() && of.runs())
        .map(|of| format!("{} from {}", of.name, of.address()))
        .collect();
    if !others.is_empty() {
        found.of(id, Alarm::OtherChannels { channels: others });
    }
    if cluster.ackers.members.contains(id) {
        if besides.sync_relay_log != 1 || besides.relay_log_recovery {
            let weak = Alarm::WeakRelayLog {
                sync_relay_log: besides.sync_relay_log,
                relay_log_recovery: besides.relay_log_recovery,
            };
            found.of(id, weak);
        }
        let shut = beat.paths.iter().filter(|(_, path)| !path.error.is_empty());
        let to: Vec<String> = shut
            .map(|(to, path)| format!("{to} ({})", path.error))
            .collect();
        found.note(id, (!to.is_empty()).then_some(Alarm::NoPath { to }));
        if spec.server_uuid.is_some() && acknowledges(cluster, facts, id) == Some(false) {
            found.of(id, Alarm::NotAcking);
        }
    }
}

fn receiver(found: &mut Found, id: &InstanceId, channel: &ChannelSeen) {
    match (&channel.receiver_error, channel.io) {
        (Some(error), _) => found.of(
            id,
            Alarm::ReceiverError {
                error: error.clone(),
            },
        ),
        (None, IoThread::On) => {}
        (None, io) => {
            let connecting = io == IoThread::Connecting;
            found.of(id, Alarm::ReceiverDown { connecting });
        }
    }
}

fn applier(
    found: &mut Found,
    id: &InstanceId,
    channel: &ChannelSeen,
    known: &Facts<'_>,
    beat: &Heartbeat,
) {
    if let Some(error) = &channel.applier_error {
        let error = error.clone();
        return found.of(id, Alarm::ApplierError { error });
    }
    if !channel.applier_runs {
        return found.of(id, Alarm::ApplierStopped);
    }
    let behind = left(beat);
    if behind == 0 || channel.delay_s > 0 {
        return;
    }
    let still_ms = known.still_ms;
    if still_ms >= HELD_MS {
        return found.of(id, Alarm::ApplierHeld { behind, still_ms });
    }
    let late = known.expected_ms.filter(|ms| *ms > LAG_MS);
    let late = late.map(|expected_ms| Alarm::ApplierLag {
        behind,
        expected_ms,
    });
    found.note(id, late);
}

fn source(found: &mut Found, cluster: &Cluster, id: &InstanceId, channel: &ChannelSeen) {
    let ordered = &cluster.instances[&cluster.primary];
    if !channel.comes_from(&ordered.host, ordered.port, ordered.server_uuid) {
        let ordered = format!("{}:{}", ordered.host, ordered.port);
        let is = channel.address();
        found.of(id, Alarm::OtherSource { ordered, is });
    }
    if channel.delay_s > 0 {
        let delay_s = channel.delay_s;
        found.of(id, Alarm::SourceDelay { delay_s });
    }
}

fn whole(found: &mut Found, cluster: &Cluster, facts: &BTreeMap<InstanceId, Facts<'_>>) {
    let mut whole = |alarm: Alarm| found.0.insert(Key::new(None, &alarm), alarm);
    if !cluster.floor_stands {
        whole(Alarm::FloorMissing);
    }
    let members = &cluster.ackers.members;
    let acking = members
        .iter()
        .filter(|id| acknowledges(cluster, facts, id) == Some(true))
        .count();
    let (of, needed) = (members.len(), ackers_needed(cluster));
    if acking < needed {
        whole(Alarm::TooFewAckers { acking, of, needed });
    }
}

/// So many members must acknowledge: for the next write, for a proof of silence, and for the writes
/// of whoever of them is next.
fn ackers_needed(cluster: &Cluster) -> usize {
    let ackers = &cluster.ackers;
    // V' is one less, and k' too unless it is 1: with the next primary that is no more.
    (ackers.k as usize).max(ackers.blocking())
}
