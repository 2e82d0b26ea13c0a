//! Configuration: as written (`raw`), then checked. A contradiction is refused at start, by name.

mod agent;
mod node;
pub mod reload;
mod secret;
#[cfg(test)]
mod tests;
mod tls;

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::de::DeserializeOwned;

pub use agent::{AgentConfig, MysqlAccess, ServerControl};
pub(crate) use node::snapshot_every;
pub use node::{DiskConfig, HistoryConfig, MemberConfig, NodeConfig, ProbeAccount, RaftTimes};
use primacy_proto::tls::TlsError;
pub use tls::TlsFiles;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: cannot be read")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("{path}: {field} = {value:?}: {remedy}")]
    Contradiction {
        path: PathBuf,
        field: String,
        value: String,
        remedy: String,
    },
}

/// Reads a TOML file; environment variables with `prefix` override it.
fn read<T: DeserializeOwned>(path: &Path, prefix: &str) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.into(),
        source,
    })?;
    Figment::new()
        .merge(Toml::string(&text))
        .merge(Env::prefixed(prefix).split("__"))
        .extract()
        .map_err(|error| ConfigError::Malformed {
            path: path.into(),
            // Figment names the key and what it expected.
            reason: error.to_string(),
        })
}

/// Whether a key is given, in the file or in the environment.
fn gives(path: &Path, prefix: &str, key: &str) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    Figment::new()
        .merge(Toml::string(&text))
        .merge(Env::prefixed(prefix).split("__"))
        .find_value(key)
        .is_ok()
}

/// What is wrong with a `[tls]`, and in which file that is.
fn tls_error(path: &Path) -> impl FnOnce(TlsError) -> ConfigError {
    move |error| ConfigError::Contradiction {
        path: path.into(),
        field: format!("tls.{}", error.field),
        value: error.value,
        remedy: error.remedy,
    }
}

fn contradiction<T>(
    path: &Path,
    field: &str,
    value: impl ToString,
    remedy: &str,
) -> Result<T, ConfigError> {
    Err(ConfigError::Contradiction {
        path: path.into(),
        field: field.into(),
        value: value.to_string(),
        remedy: remedy.into(),
    })
}
