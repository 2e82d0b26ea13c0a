//! What an agent sees of its server besides: shown to people before a failover rests on it. No proof
//! does.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::heartbeat::IoThread;
use crate::gtid::Uuid;

/// An error as the server numbers and words it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerError {
    pub number: u32,
    pub text: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.number, self.text)
    }
}

/// One replication channel, whatever it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelSeen {
    /// Empty: the one by which an order replicates.
    pub name: String,
    pub host: String,
    pub port: u16,
    pub source_uuid: Option<Uuid>,
    pub io: IoThread,
    pub applier_runs: bool,
    /// `SOURCE_DELAY`.
    pub delay_s: u64,
    pub receiver_error: Option<ServerError>,
    pub applier_error: Option<ServerError>,
}

impl ChannelSeen {
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub fn runs(&self) -> bool {
        self.io != IoThread::Off || self.applier_runs
    }

    /// Whether this is its source. One address may have several names: who is connected is told by its
    /// `server_uuid`.
    pub fn comes_from(&self, host: &str, port: u16, server_uuid: Option<Uuid>) -> bool {
        match (self.io, self.source_uuid, server_uuid) {
            (IoThread::On, Some(is), Some(wanted)) => is == wanted,
            _ => (self.host.as_str(), self.port) == (host, port),
        }
    }
}

/// Why a write probe was not sent to the ackers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotSent {
    /// The agent's account cannot log in.
    #[error("{0}")]
    Login(String),
    /// There is no connection left, or no descriptor.
    #[error("{0}")]
    NoConnection(String),
    /// Which lock it waited for, and who holds it.
    #[error("behind a lock: {0}")]
    Locked(String),
    #[error("the server is read-only")]
    ReadOnly,
    /// It hangs in its write or commit: the disk is full, or stuck.
    #[error("its disk does not take the write")]
    Disk,
    /// The marker table is missing, or is not what it was.
    #[error("{0}")]
    Table(String),
    #[error("{0}")]
    Other(String),
}

/// What else the newest survey of a server showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Besides {
    pub channels: Vec<ChannelSeen>,
    pub sync_relay_log: u64,
    pub relay_log_recovery: bool,
    /// Whose acknowledgements it would count now, by `server_uuid`: they are connected, and said so.
    pub acknowledging: BTreeSet<Uuid>,
    /// Why the agent's own writes do not reach the ackers; `None` while they do.
    pub not_sent: Option<NotSent>,
    /// Why it may hold less than it once acknowledged.
    pub forgot: Option<String>,
    /// It is in an orderly shutdown, and answers nobody.
    pub goes_away: bool,
    /// What stands in the way of making common what it wrote itself: the first statement that changes
    /// something, or why that cannot be told.
    pub own_writes: Option<String>,
}

impl Besides {
    /// The channel by which an order replicates.
    pub fn channel(&self) -> Option<&ChannelSeen> {
        self.channels.iter().find(|channel| channel.name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_an_address_read_as_a_server_words_them() {
        let error = ServerError {
            number: 1062,
            text: "Duplicate entry".into(),
        };
        assert_eq!(error.to_string(), "error 1062: Duplicate entry");
        let channel = ChannelSeen {
            host: "a.example".into(),
            port: 3307,
            ..ChannelSeen::default()
        };
        assert_eq!(channel.address(), "a.example:3307");
    }

    /// Either of its threads is enough.
    #[test]
    fn a_channel_runs_while_it_receives_or_applies() {
        for (io, applier_runs, runs) in [
            (IoThread::Off, false, false),
            (IoThread::On, false, true),
            (IoThread::Connecting, false, true),
            (IoThread::Off, true, true),
        ] {
            let channel = ChannelSeen {
                io,
                applier_runs,
                ..ChannelSeen::default()
            };
            assert_eq!(channel.runs(), runs, "{io:?}, {applier_runs}");
        }
    }
}
