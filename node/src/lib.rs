//! Primacy: decides who is primary. One binary: control nodes, agents, the demo, the operator's
//! verbs.

pub mod act;
pub mod agent;
pub mod api;
pub mod cli;
pub mod client;
mod clock;
pub mod config;
pub mod decide;
pub mod demo;
mod durable;
pub mod mysqld;
pub mod node;
pub mod observe;
pub mod record;
mod stop;

/// Looks after the certificate for as long as the process runs.
fn keep_fresh(transport: &primacy_proto::tls::Transport) {
    if let primacy_proto::tls::Transport::Tls(tls) = transport {
        tokio::spawn(tls.clone().keep_fresh());
    }
}
