//! The demo's certificates: everything in it speaks TLS, as it should anywhere.

use std::path::{Path, PathBuf};

use primacy_proto::tls::{Authority, Files, Identity, Lifetime};

use super::world::PLANE;

/// Longer than anybody leaves a demo running.
const CERTIFICATE_DAYS: u64 = 365;

/// The demo's own authority.
pub(super) struct Certificates {
    dir: PathBuf,
    authority: Authority,
}

impl Certificates {
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.join("tls");
        let authority = Authority::create(&dir)?;
        Ok(Self { dir, authority })
    }

    /// For `node/1`, say, of the demo's plane.
    pub fn issue(&self, who: &str) -> anyhow::Result<Files> {
        let identity: Identity = format!("primacy://{PLANE}/{who}").parse()?;
        let lifetime = Lifetime::days(CERTIFICATE_DAYS);
        Ok(self.authority.issue_into(&self.dir, &identity, lifetime)?)
    }
}
