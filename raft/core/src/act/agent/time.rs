//! What the passing of time asks of an agent: beats, surveys, markers, a restart.

use super::super::op::{Op, Survey};
use crate::gtid::GtidSet;
use crate::ids::{Epoch, Tick};
use crate::observe::{Heartbeat, MysqldWord, ReplicaReport, Role, TICK_GAP_MS, Word};

use super::{Agent, AgentOutput, Server};

/// For so long a new primary serves before it forgets what it replicated from.
const CLEAN_UP_MS: u64 = 250;

/// A look at its server that is older than ten of them are apart tells nothing of now.
const LOOK_OLD_MS: u64 = 1_000;

impl Agent {
    pub(super) fn tick(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        if now.since_ms(self.last_tick) > TICK_GAP_MS {
            // As after SIGCONT: the world may have gone on without us.
            self.doubt = Some((now, self.beat));
            self.markers.slept(now, now.since_ms(self.last_tick));
            self.opening_lost_sight(now);
            // What was seen before it slept settles nothing that came meanwhile.
            self.ground.lose_sight();
            self.receiver.restart(now);
            self.woke = Some(now);
        }
        self.last_tick = now;
        if matches!(self.server, Server::Fresh | Server::Up)
            && self.survey_op.is_none()
            && now >= self.survey_due
        {
            let id = self.run(Op::Survey, out);
            self.survey_op = Some((id, now));
            self.survey_due = now.plus_ms(self.settings.beat_ms);
        }
        self.tick_markers(now, out);
        self.tick_opening(now, out);
        self.tick_clean_up(now, out);
        self.tick_scheduled(now, out);
        self.tick_common(now, out);
        self.tick_restart(now, out);
        self.tick_paths(now, out);
        if now >= self.beat_due {
            self.beat(now, out);
        }
    }

    /// Once it is proved: until then, and for a moment after, the disk is needed for what is new.
    fn tick_clean_up(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        let open = matches!(self.role, Role::Open(_)) && self.server == Server::Up;
        let served = now.since_ms(self.opened_at) >= CLEAN_UP_MS;
        if self.clean_up && open && served && self.proving.is_none() {
            self.clean_up = false;
            self.run(Op::CleanUp, out);
        }
    }

    pub(super) fn tick_markers(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        let Role::Open(epoch) = self.role else { return };
        if self.server != Server::Up || now < self.marker_due || epoch == Epoch::INITIAL {
            return;
        }
        let (every_ms, most, create) = match self.proving {
            // The first epoch makes the table: one at a time.
            Some((_, _, true)) => (self.settings.marker_ms, 1, true),
            Some((_, _, false)) => (self.settings.marker_ms, self.settings.markers_max, false),
            None => (self.settings.write_probe_ms, 1, false),
        };
        self.marker_due = now.plus_ms(every_ms);
        if self.markers.len() < most {
            let id = self.run(Op::Marker { epoch, create }, out);
            self.markers.insert(id, now);
        }
        let fence_ms = self.policy(
            |told| told.unacked_fence_ms,
            |policy| policy.unacked_fence_ms,
        );
        let hands_off = self.named.as_ref().is_some_and(|named| named.hands_off);
        if self.markers.unacknowledged_ms(now) > fence_ms && !hands_off {
            // Nobody acknowledges: it may be deposed long since. Better shut than stale. What opens it
            // again is to know that it would gather no more than before.
            self.role = Role::Closed;
            self.seal.unacknowledged = Some(epoch);
            self.persist(out);
            self.fence_aside(out);
            self.beat_due = now;
        }
    }

    pub(super) fn tick_restart(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        let Server::Exited {
            at,
            restarting: false,
        } = self.server
        else {
            return;
        };
        let hold_ms = self.restart_hold_ms();
        let was_primary = self.seal.opened.is_some_and(|opened| {
            self.seal
                .source
                .as_ref()
                .is_none_or(|(_, epoch)| *epoch < opened)
        });
        // A replica starts at once: it boots fenced and acknowledges nothing. A primary waits until
        // the log says what became of its epoch.
        let replaced = self
            .named
            .as_ref()
            .is_some_and(|named| Some(named.epoch) > self.seal.opened);
        if was_primary && !replaced && now.since_ms(at) < hold_ms {
            return;
        }
        out.push(AgentOutput::StartServer);
        self.server = Server::Exited {
            at,
            restarting: true,
        };
    }

    pub(super) fn beat(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        self.beat += 1;
        self.beat_due = now.plus_ms(self.settings.beat_ms);
        // A new process is spoken of once its number is durable; what was said of the one before
        // stands till then.
        let mysqld = self.disk.mysqld();
        let says = match self.server {
            _ if mysqld != self.seal.mysqld => MysqldWord::Exited,
            Server::Exited { .. } => MysqldWord::Exited,
            Server::Starting | Server::Fresh => MysqldWord::Starting,
            Server::Up => match self.answered {
                Some(at) => MysqldWord::Running {
                    answered_ms_ago: now.since_ms(at),
                },
                None => MysqldWord::Starting,
            },
        };
        let word = Word {
            agent: self.seal.agent,
            beat: self.beat,
            mysqld,
            says,
        };
        let run_ms = now.since_ms(self.born);
        let replica = self.replica_report(now, run_ms);
        let known = self.survey.as_ref();
        let set = |of: fn(&Survey) -> &GtidSet| known.map(of).cloned().unwrap_or_default();
        out.push(AgentOutput::Beat(Box::new(Heartbeat {
            cluster: self.seal.cluster.clone(),
            instance: self.seal.instance.clone(),
            word,
            run_ms: Some(run_ms),
            slept: self
                .woke
                .is_some_and(|woke| now.since_ms(woke) <= LOOK_OLD_MS),
            role: self.role,
            token: self.seal.token.clone(),
            opened: self.seal.opened,
            server_uuid: known.map(|survey| survey.server_uuid),
            version: known.map(|survey| survey.version).unwrap_or_default(),
            // One that is not up serves nobody, and boots closed.
            fenced: self.server != Server::Up || known.is_none_or(Survey::fenced),
            executed: set(|survey| &survey.executed),
            received: set(|survey| &survey.received),
            purged: set(|survey| &survey.purged),
            replica,
            write_stuck_ms: self.write_stuck_ms(now),
            opening: self.is_opening(),
            marked: self.seal.marked.clone(),
            login_error: self.login_error.clone(),
            ground: self.ground.word(),
            stuck: self.stuck(now),
            freed: self.freed(),
            scheduled: self.scheduled_word(),
            harmless: self.harmless(),
            branches: known.and_then(|survey| survey.ground.branches.clone()),
            unacknowledged_ms: self.unacknowledged_ms(now),
            paths: self.paths.told(now),
            besides: self.besides(),
        })));
    }

    /// What it says of its source, when this run has gone for so long; `None` while it has none.
    fn replica_report(&mut self, now: Tick, run_ms: u64) -> Option<ReplicaReport> {
        let survey = self.survey.as_ref()?;
        survey.source.as_ref()?;
        let of_now = self
            .answered
            .is_some_and(|at| now.since_ms(at) <= LOOK_OLD_MS);
        Some(ReplicaReport {
            io: survey.io,
            applier_runs: survey.applier_runs,
            source: self.seal.source.as_ref().map(|(source, _)| source.clone()),
            heartbeats: survey.heartbeats,
            read_position: survey.read_position.clone(),
            moved_ms: Some(self.newest.moved_ms(run_ms, survey, of_now)),
            acking: survey.acking,
            error: survey.replication_error().to_owned(),
            waits_ms: self.receiver.waits_ms(now),
            bytes: survey.receiver_bytes,
        })
    }

    /// For how long a write of this opening has been sent and not acknowledged.
    fn unacknowledged_ms(&self, now: Tick) -> Option<u64> {
        let open = matches!(self.role, Role::Open(_));
        Some(self.markers.unacknowledged_ms(now)).filter(|ms| open && *ms > 0)
    }

    /// A write probe that hangs while reads answer, though no lock is in its way and nobody waits for
    /// an acknowledgement: the disk is full or stuck.
    pub(super) fn write_stuck_ms(&self, now: Tick) -> Option<u64> {
        let period_ms = self.settings.write_probe_ms;
        self.markers.stuck_ms(now, period_ms, self.answered)
    }
}
