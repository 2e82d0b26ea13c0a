//! `GET /primary`, `/replica`, `/health`: all that a load balancer needs.

use std::net::SocketAddr;

use anyhow::Context;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use primacy_core::act::Agent;
use primacy_core::observe::{IoThread, Role};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What the agent answers, published after each step of its state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Serving {
    pub instance: String,
    /// The epoch for which it may take writes now.
    pub primary_epoch: Option<u64>,
    pub following_epoch: Option<u64>,
    pub replicating: bool,
    pub role: String,
}

impl Serving {
    pub(super) fn of(agent: &Agent) -> Self {
        let following = match agent.role() {
            Role::Following(epoch) => Some(epoch.0),
            _ => None,
        };
        let survey = agent.survey();
        Self {
            instance: agent.seal().instance.to_string(),
            primary_epoch: agent.serving().map(|epoch| epoch.0),
            following_epoch: following,
            replicating: survey
                .is_some_and(|survey| survey.io == IoThread::On && survey.applier_runs),
            role: format!("{:?}", agent.role()).to_lowercase(),
        }
    }
}

type Shared = State<watch::Receiver<Serving>>;

/// Listens; serves in the background for as long as the process lives.
pub(super) async fn serve(at: SocketAddr, serving: watch::Receiver<Serving>) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(at)
        .await
        .with_context(|| format!("http = {at}: cannot listen there; choose a free address"))?;
    let router = Router::new()
        .route("/primary", get(primary))
        .route("/replica", get(replica))
        .route("/health", get(health))
        .with_state(serving);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the agent's HTTP listener ended");
        }
    });
    Ok(())
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
async fn primary(State(serving): Shared) -> Response {
    let now = serving.borrow().clone();
    answer(now.primary_epoch.is_some(), now)
}

#[derive(Deserialize)]
struct Lag {
    /// Not measured yet: with any bound but none, a replica that is not replicating is refused.
    #[allow(dead_code)]
    max_lag_ms: Option<u64>,
}

/// 200 while it replicates from the primary that the log names.
async fn replica(State(serving): Shared, Query(_): Query<Lag>) -> Response {
    let now = serving.borrow().clone();
    answer(now.following_epoch.is_some() && now.replicating, now)
}

/// 200 while the agent runs.
async fn health(State(serving): Shared) -> Response {
    let now = serving.borrow().clone();
    answer(true, now)
}
