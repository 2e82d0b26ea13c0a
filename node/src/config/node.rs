use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use primacy_core::ids::{NodeId, PlaneId};
use primacy_proto::tls::{TlsError, Transport, Wanted};
use primacy_raft::{HistoryBounds, Timing};
use serde::{Deserialize, Serialize};

use super::secret::{Secret, beside};
use super::{ConfigError, TlsFiles, contradiction, gives, read, tls, tls_error};

const PREFIX: &str = "PRIMACY_NODE_";

/// One control node, as its file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    pub plane: PlaneId,
    pub id: NodeId,
    pub region: String,
    /// Where it listens for nodes, agents and clients.
    pub listen: SocketAddr,
    /// Its log, vote, snapshots and history.
    pub dir: PathBuf,
    /// The first members of the plane, this one included.
    pub members: Vec<MemberConfig>,
    pub probe: ProbeAccount,
    #[serde(default)]
    pub raft: RaftTimes,
    /// The longest round trip to a node or an instance; probes wait so much longer for an answer.
    #[serde(default)]
    pub round_trip_ms: u64,
    /// Log entries between two snapshots; the log keeps a fifth as many besides.
    #[serde(default = "snapshot_every")]
    pub snapshot_every: u64,
    #[serde(default)]
    pub disk: DiskConfig,
    #[serde(default)]
    pub history: HistoryConfig,
    /// Its certificate, `primacy://PLANE/node/ID`; nodes, agents and clients must have theirs then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Without a certificate it listens beyond this machine only where this says so.
    #[serde(default)]
    pub plaintext: bool,
    /// The file that says so.
    #[serde(skip)]
    pub source: Option<PathBuf>,
}

/// Some megabytes of log, and a snapshot every few days of a quiet plane.
pub(crate) fn snapshot_every() -> u64 {
    5_000
}

/// What is kept free on the disk under `dir`, in MB of 2^20 bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskConfig {
    /// With less than this it warns, in its log and in `primacy status`. 0: never.
    pub alarm_free_mb: u64,
    /// Laid in as a file, to be deleted when the disk is full. 0: none.
    pub ballast_mb: u64,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            alarm_free_mb: 1_024,
            ballast_mb: 64,
        }
    }
}

impl DiskConfig {
    /// For nodes that live for minutes.
    pub fn none() -> Self {
        Self {
            alarm_free_mb: 0,
            ballast_mb: 0,
        }
    }
}

/// How much of what was applied is kept for people to read. The oldest goes first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// On the disk, in MB of 2^20 bytes.
    pub max_mb: u64,
    /// Older than the newest entry.
    pub max_days: u64,
    /// What goes is written there first, as JSON, an entry a line; a relative one is under `dir`.
    /// Nobody but you takes anything away from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export_dir: Option<PathBuf>,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        let HistoryBounds {
            max_mb,
            max_days,
            export_dir,
        } = HistoryBounds::default();
        Self {
            max_mb,
            max_days,
            export_dir,
        }
    }
}

impl HistoryConfig {
    /// The same for the log of a node whose folder is `dir`.
    pub fn bounds(&self, dir: &Path) -> HistoryBounds {
        HistoryBounds {
            max_mb: self.max_mb,
            max_days: self.max_days,
            export_dir: self.export_dir.as_ref().map(|export| dir.join(export)),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberConfig {
    pub id: NodeId,
    pub region: String,
    /// `host:port`.
    pub address: String,
}

/// The account by which a node looks at instances. It never writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeAccount {
    pub user: String,
    /// This or `password_file`, whose text it is. Both are read again when they change.
    #[serde(default)]
    pub password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Seldom wrong, hence the default. Without it passwords cross the network in the clear.
    #[serde(default = "yes")]
    pub tls: bool,
}

fn yes() -> bool {
    true
}

/// Raft's times, milliseconds; raise them to ten times the longest round trip.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaftTimes {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

impl Default for RaftTimes {
    fn default() -> Self {
        Self {
            heartbeat_ms: 75,
            election_min_ms: 400,
            election_max_ms: 800,
        }
    }
}

impl RaftTimes {
    /// The defaults, raised where the longest round trip asks for it.
    pub fn across(round_trip_ms: u64) -> Self {
        let least = Self::default();
        Self {
            // It is answered within one of them.
            heartbeat_ms: least.heartbeat_ms.max(2 * round_trip_ms),
            election_min_ms: least.election_min_ms.max(10 * round_trip_ms),
            election_max_ms: least.election_max_ms.max(20 * round_trip_ms),
        }
    }
}

impl NodeConfig {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = read(path, PREFIX)?;
        config.source = Some(path.into());
        config.probe.password_file = beside(path, config.probe.password_file.take());
        Secret {
            field: "probe.password",
            given: gives(path, PREFIX, "probe.password"),
            password: &mut config.probe.password,
            file: config.probe.password_file.as_ref(),
            replication: false,
        }
        .settle(path)?;
        config.check(path)?;
        config.transport().map_err(tls_error(path))?;
        Ok(config)
    }

    /// The files beside its own that hold passwords.
    pub fn password_files(&self) -> Vec<PathBuf> {
        self.probe.password_file.iter().cloned().collect()
    }

    /// Reads the certificate, if there is one.
    pub fn transport(&self) -> Result<Transport, TlsError> {
        let wanted = Wanted::Node(self.plane.clone(), self.id);
        tls::transport(self.tls.as_ref(), self.plaintext, wanted)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let RaftTimes {
            heartbeat_ms,
            election_min_ms,
            election_max_ms,
        } = self.raft;
        let timing = Timing {
            heartbeat_ms,
            election_min_ms,
            election_max_ms,
        };
        if let Err(error) = timing.check() {
            let value = format!("{heartbeat_ms}, {election_min_ms}, {election_max_ms}");
            let field = "raft.heartbeat_ms, election_min_ms, election_max_ms";
            return contradiction(path, field, value, &error.to_string());
        }
        if self.tls.is_none() && !self.plaintext && !self.listen.ip().is_loopback() {
            let remedy = "others than this machine reach it, and without [tls] whoever does may \
                          command it; give ca, cert and key in [tls], or write plaintext = true";
            return contradiction(path, "listen", self.listen, remedy);
        }
        if self.history.max_mb < HistoryBounds::LEAST_MB {
            let remedy = format!("keep at least {} MB", HistoryBounds::LEAST_MB);
            return contradiction(path, "history.max_mb", self.history.max_mb, &remedy);
        }
        if self.history.max_days == 0 {
            return contradiction(path, "history.max_days", 0, "keep at least a day");
        }
        let mut ids = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        for member in &self.members {
            if !ids.insert(member.id) {
                return contradiction(path, "members.id", member.id, "each node has its own id");
            }
            if !addresses.insert(&member.address) {
                let remedy = "each node has its own address";
                return contradiction(path, "members.address", &member.address, remedy);
            }
            if member
                .address
                .parse::<axum::http::uri::Authority>()
                .is_err()
            {
                return contradiction(path, "members.address", &member.address, "use host:port");
            }
        }
        let Some(me) = self.members.iter().find(|member| member.id == self.id) else {
            return contradiction(path, "id", self.id, "is not among the members; add it");
        };
        if me.region != self.region {
            let remedy = format!("the members say {:?}", me.region);
            return contradiction(path, "region", &self.region, &remedy);
        }
        let least = self.round_trip_ms.saturating_mul(10);
        if self.raft.election_min_ms < least {
            let remedy = format!("raise it to ten times round_trip_ms, {least}");
            let value = self.raft.election_min_ms;
            return contradiction(path, "raft.election_min_ms", value, &remedy);
        }
        if self.members.len().is_multiple_of(2) {
            let remedy = "use an odd number: an even one survives no more failures than one less";
            return contradiction(path, "members", self.members.len(), remedy);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(round_trip_ms: u64, raft: RaftTimes) -> Result<(), ConfigError> {
        let member = |id| MemberConfig {
            id: NodeId(id),
            region: "here".into(),
            address: format!("127.0.0.1:{id}"),
        };
        let config = NodeConfig {
            plane: PlaneId::from("plane"),
            id: NodeId(1),
            region: "here".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 1)),
            dir: PathBuf::from("data"),
            members: (1..=3).map(member).collect(),
            probe: ProbeAccount {
                user: "probe".into(),
                password: String::new(),
                password_file: None,
                tls: true,
            },
            source: None,
            raft,
            round_trip_ms,
            snapshot_every: snapshot_every(),
            disk: DiskConfig::none(),
            history: HistoryConfig::default(),
            tls: None,
            plaintext: false,
        };
        config.check(Path::new("node.toml"))
    }

    #[test]
    fn elections_are_as_patient_as_the_longest_round_trip_asks() {
        for round_trip_ms in [0, 40, 41, 80, 150] {
            let times = RaftTimes::across(round_trip_ms);
            assert!(times.heartbeat_ms >= round_trip_ms);
            checked(round_trip_ms, times).expect("consistent");
        }
        checked(40, RaftTimes::default()).expect("ten round trips");
        let error = checked(41, RaftTimes::default()).expect_err("too little patience");
        assert_eq!(
            error.to_string(),
            "node.toml: raft.election_min_ms = \"400\": raise it to ten times round_trip_ms, 410"
        );
    }
}
