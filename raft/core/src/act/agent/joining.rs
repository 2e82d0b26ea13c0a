//! Whether an order to follow has taken effect: its receiver has connected and heard the source, and
//! its applier runs. To connect is not to follow.
//!
//! An order that fails on the server's side (a row that is there already, a binary log that the
//! source no longer has) is not repeated blindly: it rests, says why, and rests longer each time.

use super::super::op::Survey;
use super::super::order::{Order, OrderKind, Said};
use super::{Agent, AgentOutput, refused};
use crate::ids::{Tick, Token};
use crate::observe::IoThread;

const REST_MS: u64 = 250;
const REST_MS_MAX: u64 = 30_000;

/// Before the first look: it connects meanwhile, and is not kept from it.
const CONNECTS_MS: u64 = 20;

/// The source refuses the account: another password may be right (ER_ACCESS_DENIED_ERROR).
const ACCESS_DENIED: &str = "1045: ";

/// An order to follow whose statements were carried out.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    order: Order,
    since: Tick,
}

/// One that did not take effect.
#[derive(Clone, Debug)]
pub(super) struct Resting {
    token: Token,
    why: String,
    rest_ms: u64,
    until: Tick,
}

enum Effect {
    Seen,
    Awaited,
    Failed(String),
}

fn effect(order: &Order, survey: &Survey) -> Effect {
    let OrderKind::Follow { host, port, .. } = &order.kind else {
        return Effect::Failed("no order to follow".into());
    };
    let because = |what: &str, error: &str| match error {
        "" => Effect::Failed(what.to_owned()),
        error => Effect::Failed(format!("{what}: {error}")),
    };
    if survey.source.as_ref() != Some(&(host.clone(), *port)) {
        return because(
            "it replicates from another source",
            survey.replication_error(),
        );
    }
    let heard = survey.heartbeats > 0 || !survey.read_position.0.is_empty();
    match survey.io {
        IoThread::Off => because("its receiver does not run", &survey.receiver_error),
        _ if !survey.applier_runs => because("its applier does not run", &survey.applier_error),
        IoThread::Connecting if survey.receiver_error.starts_with(ACCESS_DENIED) => because(
            "the source refuses the replication account",
            &survey.receiver_error,
        ),
        IoThread::On if heard => Effect::Seen,
        IoThread::On | IoThread::Connecting => Effect::Awaited,
    }
}

impl Agent {
    pub(super) fn joins(&mut self, now: Tick, order: Order) {
        self.joining = Some(Joining { order, since: now });
        self.survey_due = now.plus_ms(CONNECTS_MS);
    }

    pub(super) fn is_joining(&self, order: &Order) -> bool {
        self.joining.as_ref().is_some_and(|joining| {
            joining.order.token == order.token && joining.order.kind.name() == order.kind.name()
        })
    }

    /// It was told to follow just now, and connects.
    pub(super) fn connects(&self, now: Tick) -> bool {
        let joining = self.joining.as_ref();
        joining.is_some_and(|joining| now.since_ms(joining.since) < REST_MS)
    }

    /// A survey that began at `begun` was taken in.
    pub(super) fn look_at_joining(&mut self, now: Tick, begun: Tick, out: &mut Vec<AgentOutput>) {
        let Some(joining) = self.joining.take() else {
            return;
        };
        let after = begun >= joining.since;
        let survey = self.survey.as_ref().filter(|_| after);
        match survey.map_or(Effect::Awaited, |survey| effect(&joining.order, survey)) {
            Effect::Seen => {
                self.resting = None;
                self.say(&joining.order, Said::Following, out);
            }
            Effect::Awaited => self.joining = Some(joining),
            Effect::Failed(why) => {
                let token = &joining.order.token;
                let before = self.resting.take().filter(|rest| rest.token == *token);
                let rest_ms = before.map_or(REST_MS, |rest| (rest.rest_ms * 2).min(REST_MS_MAX));
                self.say(&joining.order, refused(&why), out);
                self.resting = Some(Resting {
                    token: joining.order.token,
                    why,
                    rest_ms,
                    until: now.plus_ms(rest_ms),
                });
            }
        }
    }

    /// Why an order is not carried out again yet.
    pub(super) fn rests(&self, now: Tick, order: &Order) -> Option<String> {
        let follow = matches!(order.kind, OrderKind::Follow { .. });
        let resting = self.resting.as_ref().filter(|_| follow)?;
        (resting.token == order.token && now < resting.until).then(|| resting.why.clone())
    }
}
