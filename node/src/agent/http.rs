//! `GET /primary`, `/replica`, `/health`: all that a load balancer needs; HEAD and OPTIONS say the
//! same.
//!
//! **Invariant:** each answer is true at the moment when it is given, on a clock that goes on while a
//! host is suspended: a request that waited in a frozen host's socket is answered by what has been
//! seen since.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use primacy_core::act::Agent;
use primacy_core::ids::Tick;
use primacy_core::observe::{IoThread, Role};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use super::lag::Lag;
use super::listener::{Bounded, raise_descriptors};
use super::local::Answered;
use crate::clock;

/// The one parameter of `/replica`.
const MAX_LAG: &str = "max_lag_ms";
/// What was seen longer ago than this is no word on the present.
const NOW_MS: u64 = 500;

/// What the agent answers, published after each step of its state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Serving {
    pub instance: String,
    /// The epoch for which it may take writes now.
    pub primary_epoch: Option<u64>,
    pub following_epoch: Option<u64>,
    pub replicating: bool,
    /// It lets clients in.
    pub online: bool,
    /// closed, open, frozen or following.
    pub role: &'static str,
    /// When the state machine last went on.
    #[serde(skip)]
    ticked: Option<Tick>,
    /// When the newest answered survey began.
    #[serde(skip)]
    surveyed: Option<Tick>,
}

impl Serving {
    pub(super) fn of(agent: &Agent) -> Self {
        let (role, following) = match agent.role() {
            Role::Following(epoch) => ("following", Some(epoch.0)),
            Role::Open(_) => ("open", None),
            Role::Frozen(_) => ("frozen", None),
            Role::Closed => ("closed", None),
        };
        let survey = agent.survey();
        Self {
            instance: agent.seal().instance.to_string(),
            primary_epoch: agent.serving().map(|epoch| epoch.0),
            following_epoch: following,
            replicating: survey
                .is_some_and(|survey| survey.io == IoThread::On && survey.applier_runs),
            online: survey.is_some_and(|survey| !survey.offline_mode),
            role,
            ticked: Some(clock::now()),
            surveyed: agent.answered(),
        }
    }

    /// Why it may not take writes now; `local`: when its newest answered local probe began.
    fn not_primary(&self, now: Tick, local: Option<Tick>) -> Option<&'static str> {
        if self.primary_epoch.is_none() {
            return Some("it is not open as the primary, or nobody has confirmed that it still is");
        }
        if !fresh(now, self.ticked) {
            return Some("its agent has not gone on since it was stopped");
        }
        (!fresh(now, local)).then_some("its server does not answer")
    }
}

/// Whether something happened just now.
fn fresh(now: Tick, at: Option<Tick>) -> bool {
    at.is_some_and(|at| now.since_ms(at) < NOW_MS)
}

/// What every request reads.
#[derive(Clone)]
struct Ears {
    serving: watch::Receiver<Serving>,
    lag: Arc<Mutex<Lag>>,
    local: Arc<Answered>,
}

/// Listens; serves in the background for as long as the process lives.
pub(super) async fn serve(
    at: SocketAddr,
    serving: watch::Receiver<Serving>,
    lag: Arc<Mutex<Lag>>,
    local: Arc<Answered>,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(at)
        .await
        .with_context(|| format!("http = {at}: cannot listen there; choose a free address"))?;
    raise_descriptors();
    let ears = Ears {
        serving,
        lag,
        local,
    };
    let router = router(ears);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(Bounded::new(listener), router).await {
            tracing::error!(%error, "the agent's HTTP listener ended");
        }
    });
    Ok(())
}

fn router(ears: Ears) -> Router {
    let mut router = Router::new();
    // HEAD is GET without its body.
    for slash in ["", "/"] {
        router = router
            .route(&format!("/primary{slash}"), get(primary).options(primary))
            .route(&format!("/replica{slash}"), get(replica).options(replica))
            .route(&format!("/health{slash}"), get(health).options(health));
    }
    router.with_state(ears)
}

fn answer(yes: bool, serving: Serving) -> Response {
    let code = if yes {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(serving)).into_response()
}

/// 200 only while it may take writes.
async fn primary(State(ears): State<Ears>) -> Response {
    let mut said = ears.serving.borrow().clone();
    let why = said.not_primary(clock::now(), ears.local.at());
    if why.is_some() {
        said.primary_epoch = None;
    }
    answer(why.is_none(), said)
}

/// 200 while it replicates from the primary that the log names, and may be behind it by no more
/// than `max_lag_ms`, if that is given.
async fn replica(
    State(ears): State<Ears>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let bound = match bound(&asked) {
        Ok(bound) => bound,
        Err(why) => return (StatusCode::BAD_REQUEST, Json(json!({ "why": why }))).into_response(),
    };
    let serving = ears.serving.borrow().clone();
    let lag = ears
        .lag
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .at(clock::now(), clock::wall_ms());
    let why = objection(clock::now(), &serving, lag, bound);
    let code = if why.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let answer = Replica {
        serving,
        lag_ms: lag.ok(),
        why,
    };
    (code, Json(answer)).into_response()
}

#[derive(Serialize)]
struct Replica {
    #[serde(flatten)]
    serving: Serving,
    /// Absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<u64>,
    /// Why not, with 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// The bound that is asked for. A misspelt one must not pass for none.
fn bound(asked: &BTreeMap<String, String>) -> Result<Option<u64>, String> {
    if let Some(name) = asked.keys().find(|name| *name != MAX_LAG) {
        return Err(format!(
            "{name}: no such parameter; /replica knows {MAX_LAG}"
        ));
    }
    let Some(value) = asked.get(MAX_LAG) else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|_| {
        format!("{MAX_LAG} = {value:?}: give whole milliseconds, as in /replica?{MAX_LAG}=1000")
    })
}

/// Why this is no replica to read from now.
fn objection(
    now: Tick,
    serving: &Serving,
    lag: Result<u64, &'static str>,
    bound: Option<u64>,
) -> Option<String> {
    if serving.following_epoch.is_none() {
        return Some("it follows no primary by order of the control plane".into());
    }
    if !fresh(now, serving.ticked) || !fresh(now, serving.surveyed) {
        return Some("its server has not been seen replicating just now".into());
    }
    if !serving.online {
        return Some("it lets no client in (offline_mode=ON): by policy xa, or by hand".into());
    }
    if !serving.replicating {
        return Some("its replication threads do not both run".into());
    }
    match (bound?, lag) {
        (_, Err(why)) => Some(format!("its lag is not known: {why}")),
        (most, Ok(lag)) => {
            (lag > most).then(|| format!("it may be {lag} ms behind, and {MAX_LAG} is {most}"))
        }
    }
}

/// 200 while the agent runs.
async fn health(State(ears): State<Ears>) -> Response {
    let now = ears.serving.borrow().clone();
    answer(true, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &[(&str, &str)]) -> Result<Option<u64>, String> {
        let query = query.iter();
        bound(
            &query
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    #[test]
    fn a_bound_is_milliseconds_or_refused_by_name() {
        assert_eq!(asked(&[]), Ok(None));
        assert_eq!(asked(&[("max_lag_ms", "0")]), Ok(Some(0)));
        assert_eq!(asked(&[("max_lag_ms", "1500")]), Ok(Some(1_500)));
        for value in ["", "-1", "1.5", "1s", "99999999999999999999"] {
            let expected = format!(
                "max_lag_ms = {value:?}: give whole milliseconds, as in /replica?max_lag_ms=1000"
            );
            assert_eq!(asked(&[("max_lag_ms", value)]), Err(expected));
        }
        assert_eq!(
            asked(&[("max_lag", "5")]),
            Err("max_lag: no such parameter; /replica knows max_lag_ms".into())
        );
    }

    #[test]
    fn a_primary_is_judged_at_the_moment_of_the_answer() {
        let open = Serving {
            primary_epoch: Some(2),
            ticked: Some(Tick(10_000)),
            ..Serving::default()
        };
        let closed = Serving {
            primary_epoch: None,
            ..open.clone()
        };
        let table = [
            (&open, 10_010, Some(9_900), true),
            (&open, 10_010, None, false),
            // A hung server: its newest answer was asked for half a second ago.
            (&open, 10_010, Some(9_511), true),
            (&open, 10_010, Some(9_510), false),
            // A host that was frozen: the request waited longer than the state machine slept.
            (&open, 10_499, Some(10_400), true),
            (&open, 10_500, Some(10_400), false),
            (&open, 18_000, Some(9_900), false),
            (&closed, 10_010, Some(9_900), false),
        ];
        for (serving, now, local, expected) in table {
            let refused = serving.not_primary(Tick(now), local.map(Tick));
            assert_eq!(refused.is_none(), expected, "{now} {local:?}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn every_method_and_spelling_of_a_balancer_is_answered() {
        let (sender, serving) = watch::channel(Serving::default());
        let local = Arc::new(Answered::default());
        let ears = Ears {
            serving,
            lag: Arc::default(),
            local: local.clone(),
        };
        let ask = async |method: &str, path: &str| {
            let request = axum::http::Request::builder().method(method).uri(path);
            let request = request.body(axum::body::Body::empty()).expect("a request");
            let asked = tower::ServiceExt::oneshot(router(ears.clone()), request);
            asked.await.expect("an answer").status().as_u16()
        };
        for open in [true, false] {
            local.note(clock::now());
            sender.send_replace(Serving {
                primary_epoch: open.then_some(1),
                ticked: Some(clock::now()),
                ..Serving::default()
            });
            for method in ["GET", "HEAD", "OPTIONS"] {
                for path in ["/primary", "/primary/"] {
                    let expected = if open { 200 } else { 503 };
                    assert_eq!(ask(method, path).await, expected, "{method} {path}");
                }
                assert_eq!(ask(method, "/health/").await, 200, "{method}");
                assert_eq!(ask(method, "/replica/").await, 503, "{method}");
            }
        }
    }

    #[test]
    fn a_replica_is_refused_for_a_reason() {
        let now = Tick(10_000);
        let follows = Serving {
            following_epoch: Some(2),
            replicating: true,
            online: true,
            ticked: Some(now),
            surveyed: Some(Tick(9_501)),
            ..Serving::default()
        };
        let unseen = Serving {
            surveyed: Some(Tick(9_500)),
            ..follows.clone()
        };
        let asleep = Serving {
            ticked: Some(Tick(2_000)),
            ..follows.clone()
        };
        let halts = Serving {
            replicating: false,
            ..follows.clone()
        };
        let unknown = Err("nothing was heard yet");
        let table = [
            (&follows, Ok(120), Some(120), None),
            (&follows, Ok(120), None, None),
            (&follows, unknown, None, None),
            (
                &follows,
                Ok(121),
                Some(120),
                Some("it may be 121 ms behind, and max_lag_ms is 120"),
            ),
            (
                &follows,
                unknown,
                Some(120),
                Some("its lag is not known: nothing was heard yet"),
            ),
            (
                &halts,
                Ok(0),
                None,
                Some("its replication threads do not both run"),
            ),
            (
                &unseen,
                Ok(0),
                None,
                Some("its server has not been seen replicating just now"),
            ),
            (
                &asleep,
                Ok(0),
                None,
                Some("its server has not been seen replicating just now"),
            ),
            (
                &Serving::default(),
                Ok(0),
                None,
                Some("it follows no primary by order of the control plane"),
            ),
        ];
        for (serving, lag, bound, expected) in table {
            assert_eq!(objection(now, serving, lag, bound).as_deref(), expected);
        }
    }
}
