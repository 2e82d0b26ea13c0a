//! What becomes of the server: it exits, comes up, is surveyed; what is writable without the right
//! to be is shut.

use super::super::op::{Op, Survey};
use super::super::order::OrderKind;
use super::super::seal::ProcessId;
use crate::ids::{Epoch, Tick};
use crate::observe::Role;
use crate::record::FenceReport;

use super::{Acknowledgement, Agent, AgentOutput, Server, refused};

/// Between two tries to start an applier that stands still.
const APPLY_AGAIN_MS: u64 = 1_000;
/// What was started against the log is ended at most so often.
const UNORDERED_AGAIN_MS: u64 = 1_000;

impl Agent {
    /// Another process is another incarnation, whoever started it: what was said of the one before
    /// holds for that one alone, and no right to be open passes on.
    pub(super) fn runs(
        &mut self,
        now: Tick,
        process: ProcessId,
        started: bool,
        out: &mut Vec<AgentOutput>,
    ) {
        if matches!(self.server, Server::Fresh | Server::Up) {
            self.exited(now, out);
        }
        let before = self.seal.clone();
        // A seal that knows no process yet is of an earlier version, or new: what runs is known.
        let known = match &self.seal.process {
            Some(known) => *known == process,
            None => !started,
        };
        if !known {
            self.seal.mysqld = self.seal.mysqld.next();
            self.seal.boots = started.then_some(self.seal.mysqld);
        }
        self.seal.process = Some(process);
        if self.seal != before {
            self.persist(out);
        }
        self.server = Server::Starting;
        self.receiver.restart(now);
        self.moved = now;
        self.ending = false;
        self.beat_due = now;
    }

    pub(super) fn exited(&mut self, now: Tick, out: &mut Vec<AgentOutput>) {
        // One that exits while it starts has been down since the exit before.
        let at = *self.down_since.get_or_insert(now);
        self.server = Server::Exited {
            at,
            restarting: false,
        };
        self.role = Role::Closed;
        self.survey_op = None;
        self.receiver.restart(now);
        self.disk.withdraw_all();
        self.markers.clear();
        self.side_fences.clear();
        self.proving = None;
        self.pace = Default::default();
        self.opening_lost_sight(now);
        self.clean_up = false;
        self.ground.server_gone();
        self.scheduled.forget();
        self.common.forget_op();
        (self.repair, self.unordered) = (None, None);
        // At once, not with the next beat.
        self.beat_due = now;
        if let Some(job) = self.job.take() {
            match job.order.kind {
                OrderKind::Fence { epoch } => {
                    self.shut(&job.order, epoch, FenceReport::Exited, out)
                }
                _ => self.say(
                    &job.order,
                    refused("mysqld exited; it is asked again when it is up"),
                    out,
                ),
            }
        }
    }

    /// The first look at a server that came up: it must be fenced unless this agent opened it.
    pub(super) fn came_up(&mut self, now: Tick, survey: &Survey, out: &mut Vec<AgentOutput>) {
        self.server = Server::Up;
        self.down_since = None;
        self.start_failure = None;
        self.beat_due = now;
        // However long it recovered, it has all the time of one that begins.
        self.opening_moves(now);
        let first = self.seal.server_uuid.is_none();
        // From here on anybody may change it.
        let booted = self.seal.boots.take().is_some();
        if first {
            self.seal.server_uuid = Some(survey.server_uuid);
        }
        if first || booted {
            self.persist(out);
        }
        self.role = Role::Closed;
        if survey.writable() {
            match self.seal.opened {
                // One that was started anew has not been opened yet, whatever it boots as.
                Some(epoch)
                    if self.seal.mysqld == self.found
                        && self.seal.may_open(epoch)
                        && self.seal.source.as_ref().is_none_or(|(_, of)| *of < epoch) =>
                {
                    // The agent restarted, its database served on.
                    self.role = Role::Open(epoch);
                    self.opened_at = now;
                    self.doubt = Some((now, self.beat));
                }
                // Fenced below, unless it is somebody else's still.
                _ => {}
            }
        } else if let Some((_, epoch)) = &self.seal.source
            && survey.io != crate::observe::IoThread::Off
            && self.seal.may_follow(*epoch)
        {
            self.role = Role::Following(*epoch);
        }
    }

    pub(super) fn surveyed(
        &mut self,
        now: Tick,
        begun: Tick,
        survey: Survey,
        out: &mut Vec<AgentOutput>,
    ) {
        self.answered = self.answered.max(Some(begun));
        if self.woke.take_if(|woke| begun >= *woke).is_some() {
            self.beat_due = now;
        }
        if self.server == Server::Fresh {
            self.came_up(now, &survey, out);
        }
        self.watch_content(now, begun, &survey, out);
        self.pace.look(now, &survey);
        self.opening_surveyed(now, &survey);
        if let Role::Open(epoch) = self.role {
            if survey.shut() && begun > self.opened_at {
                // Somebody else shut it; the control plane decides whether it opens again.
                self.role = Role::Closed;
                self.shut_by_hand = Some((epoch, self.seal.mysqld));
                self.beat_due = now;
            }
            self.look_at_ground(now, begun, epoch, &survey, out);
            self.look_at_scheduler(begun, &survey);
        } else if let Some(epoch) = self.opened_by_hand(&survey) {
            self.role = Role::Open(epoch);
            self.opened_at = begun;
            // Nobody vouches for it before a node or k of V do.
            self.doubt = Some((now, self.beat));
            self.beat_due = now;
        } else if self.is_ajar(&survey)
            && self.governed()
            && !self.hands_off()
            && !self.adopting
            && self.job.is_none()
            && self.side_fences.is_empty()
        {
            // Writable without the right to be: by hand, by a restart, by an opening given up.
            self.fence_aside(out);
        }
        if let (Role::Following(epoch), Some((_, of))) = (self.role, &self.seal.source)
            && epoch == *of
        {
            let channels = &survey.ground.channels;
            let own = channels.iter().find(|channel| channel.name.is_empty());
            self.source_uuid = own.and_then(|channel| channel.source_uuid);
        }
        let of_now = begun > self.turned_at;
        if of_now {
            self.end_unordered(now, &survey, out);
        }
        self.look_at_receiver(begun, &survey);
        self.apply_what_came(now, &survey, out);
        if of_now || self.survey.is_none() {
            self.survey = Some(survey);
        }
    }

    /// One that restarted since it was frozen boots with its applier stopped. What it received reaches
    /// its binary log only once it is applied, and another may have to fetch it from there.
    fn apply_what_came(&mut self, now: Tick, survey: &Survey, out: &mut Vec<AgentOutput>) {
        let frozen = self
            .seal
            .source
            .as_ref()
            .is_some_and(|(_, epoch)| !self.seal.may_follow(*epoch));
        let left = !survey.executed.is_superset_of(&survey.received);
        let stopped = survey.source.is_some() && !survey.applier_runs;
        // One that stopped on an error would stop on it again.
        let sound = survey.applier_error.is_empty();
        if frozen
            && left
            && stopped
            && sound
            && self.job.is_none()
            && !matches!(self.role, Role::Open(_))
            && now >= self.apply_due
        {
            self.apply_due = now.plus_ms(APPLY_AGAIN_MS);
            self.run(Op::StartApplier, out);
        }
    }

    /// A primary replicates from nobody, nor does one that is frozen, and a member over the channel of
    /// its order alone: the rest was started by somebody, on a primary toward its own replicas perhaps.
    fn end_unordered(&mut self, now: Tick, survey: &Survey, out: &mut Vec<AgentOutput>) {
        let receives = survey.io != crate::observe::IoThread::Off;
        let channels = &survey.ground.channels;
        let op = match self.role {
            Role::Open(_) if receives && self.proving.is_none() && !self.clean_up => Op::CleanUp,
            Role::Frozen(_) if receives && self.job.is_none() => Op::Freeze,
            Role::Following(_) if self.governed() && self.job.is_none() => {
                match channels.iter().find(|channel| !channel.name.is_empty()) {
                    Some(channel) => Op::EndChannel {
                        name: channel.name.clone(),
                    },
                    None => return,
                }
            }
            _ => return,
        };
        if !self.hands_off() && self.unordered.is_none() && now >= self.unordered_due {
            self.unordered_due = now.plus_ms(UNORDERED_AGAIN_MS);
            self.unordered = Some(self.run(op, out));
        }
    }

    /// Something could be committed on it that should not: it takes writes without the right to, or,
    /// following nobody, lets clients in.
    fn is_ajar(&self, survey: &Survey) -> bool {
        survey.writable() || (self.role == Role::Closed && !survey.offline_mode)
    }

    /// Where nothing that people set is put back, whoever shut it opens it again, for the epoch that
    /// it was open for: as long as the log names it, and no order has shut it since.
    fn opened_by_hand(&self, survey: &Survey) -> Option<Epoch> {
        let (epoch, mysqld) = self.shut_by_hand?;
        let named = self.named.as_ref()?;
        let ours = named.instance == self.seal.instance && named.epoch == epoch && !named.deposed;
        let same = self.role == Role::Closed && mysqld == self.seal.mysqld && self.job.is_none();
        (self.hands_off() && ours && same && !survey.shut() && self.seal.may_open(epoch))
            .then_some(epoch)
    }

    /// Nothing that people set is put back.
    fn hands_off(&self) -> bool {
        self.named.as_ref().is_some_and(|named| named.hands_off)
    }

    /// An order to open is in hand, or waits for a server that recovers.
    pub(super) fn is_opening(&self) -> bool {
        let opens =
            |kind: &OrderKind| matches!(kind, OrderKind::Open { .. } | OrderKind::Reopen { .. });
        self.job.as_ref().is_some_and(|job| opens(&job.order.kind))
            || matches!(self.server, Server::Starting | Server::Fresh)
            || matches!(
                self.server,
                Server::Exited {
                    restarting: true,
                    ..
                }
            )
    }

    /// An order of a real epoch was obeyed: from then on it is open by right only. Before, it may
    /// be somebody's running primary that is to be adopted.
    pub(super) fn governed(&self) -> bool {
        self.seal
            .token
            .as_ref()
            .is_some_and(|token| token.epoch > Epoch::INITIAL)
    }

    /// Fences without an order; what cannot be fenced is killed.
    pub(super) fn fence_aside(&mut self, out: &mut Vec<AgentOutput>) {
        let id = self.run(Op::Fence, out);
        self.side_fences.insert(id);
    }

    pub(super) fn acknowledged(&mut self, ack: Acknowledgement) {
        if let (Some((_, beat)), Some(named)) = (self.doubt, &ack.named) {
            let mine = Role::Open(named.epoch) == self.role
                && named.instance == self.seal.instance
                && !named.deposed;
            if ack.beat > beat && mine {
                self.doubt = None;
            }
        }
        if let Some(named) = &ack.named {
            self.hear_of_ground(named);
        }
        if ack.named.as_ref().map(|n| n.epoch) >= self.named.as_ref().map(|n| n.epoch) {
            // A node that lags behind takes no deposition back.
            let over = self.named.as_ref().filter(|named| named.deposed);
            let over = over.map(|named| named.epoch);
            self.named = ack.named.or(self.named.take());
            if let Some(named) = &mut self.named {
                named.deposed |= over == Some(named.epoch);
            }
        }
    }
}
