use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use primacy_core::ids::{ClusterId, InstanceId};
use primacy_proto::tls::{TlsError, Transport, Wanted};
use serde::{Deserialize, Serialize};

use super::secret::{Secret, beside};
use super::{ConfigError, TlsFiles, contradiction, gives, read, tls, tls_error};

const PREFIX: &str = "PRIMACY_AGENT_";

/// One agent, as its file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    /// Control nodes, `host:port`; all of them.
    pub nodes: Vec<String>,
    /// Its seal: the newest token, what is frozen and shut.
    pub dir: PathBuf,
    /// Where `/primary`, `/replica` and `/health` are served: plain HTTP, for load balancers.
    pub http: SocketAddr,
    /// Without a certificate it obeys nodes on other machines only where this says so.
    #[serde(default)]
    pub plaintext: bool,
    /// Its certificate, `primacy://PLANE/agent/CLUSTER/INSTANCE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    pub mysql: MysqlAccess,
    pub server: ServerControl,
    /// The file that says so.
    #[serde(skip)]
    pub source: Option<PathBuf>,
}

/// The accounts on its own `mysqld`, and what replicas log in with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlAccess {
    pub user: String,
    /// This or `password_file`, whose text it is. Both are read again when they change.
    #[serde(default)]
    pub password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    pub replication_user: String,
    /// This or `replication_password_file`, likewise.
    #[serde(default)]
    pub replication_password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_password_file: Option<PathBuf>,
    /// Whether replicas connect with TLS.
    #[serde(default = "yes")]
    pub replication_tls: bool,
}

fn yes() -> bool {
    true
}

/// The `mysqld` that the agent configures, starts and watches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerControl {
    /// Holds `data/`, the configuration that the agent writes, logs, socket and pid file.
    pub dir: PathBuf,
    pub bind: IpAddr,
    pub port: u16,
    /// The administrative port: reachable when all connections are taken.
    pub admin_port: u16,
    pub server_id: u32,
    #[serde(default = "small")]
    pub buffer_pool_mib: u32,
    /// A crash leaves a core file in the data directory.
    #[serde(default)]
    pub core_file: bool,
}

fn small() -> u32 {
    64
}

impl AgentConfig {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = read(path, PREFIX)?;
        config.source = Some(path.into());
        config.settle_passwords(path)?;
        if config.nodes.is_empty() {
            return contradiction(path, "nodes", "[]", "name the control nodes");
        }
        for (at, node) in config.nodes.iter().enumerate() {
            let Ok(authority) = node.parse::<axum::http::uri::Authority>() else {
                return contradiction(path, "nodes", node, "use host:port");
            };
            if config.tls.is_none() && !config.plaintext && !is_here(authority.host()) {
                let remedy = "is on another machine, and without [tls] whoever answers there is \
                              obeyed; give ca, cert and key in [tls], or write plaintext = true";
                return contradiction(path, "nodes", node, remedy);
            }
            if config.nodes[..at].contains(node) {
                return contradiction(path, "nodes", node, "is named twice");
            }
        }
        if config.server.port == config.server.admin_port {
            let remedy = "must differ from server.port";
            return contradiction(path, "server.admin_port", config.server.admin_port, remedy);
        }
        if config.server.server_id == 0 {
            return contradiction(
                path,
                "server.server_id",
                0,
                "a server_id of 0 refuses replicas",
            );
        }
        config.transport().map_err(tls_error(path))?;
        Ok(config)
    }

    /// The files beside its own that hold passwords.
    pub fn password_files(&self) -> Vec<PathBuf> {
        let mysql = &self.mysql;
        let files = [&mysql.password_file, &mysql.replication_password_file];
        files.into_iter().flatten().cloned().collect()
    }

    fn settle_passwords(&mut self, path: &Path) -> Result<(), ConfigError> {
        let mysql = &mut self.mysql;
        mysql.password_file = beside(path, mysql.password_file.take());
        let file = mysql.replication_password_file.take();
        mysql.replication_password_file = beside(path, file);
        Secret {
            field: "mysql.password",
            given: gives(path, PREFIX, "mysql.password"),
            password: &mut mysql.password,
            file: mysql.password_file.as_ref(),
            replication: false,
        }
        .settle(path)?;
        Secret {
            field: "mysql.replication_password",
            given: gives(path, PREFIX, "mysql.replication_password"),
            password: &mut mysql.replication_password,
            file: mysql.replication_password_file.as_ref(),
            replication: true,
        }
        .settle(path)
    }

    /// Reads the certificate, if there is one.
    pub fn transport(&self) -> Result<Transport, TlsError> {
        let wanted = Wanted::Agent(self.cluster.clone(), self.instance.clone());
        tls::transport(self.tls.as_ref(), self.plaintext, wanted)
    }
}

/// Whether a host's name is this machine's own, whatever a resolver says.
fn is_here(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
