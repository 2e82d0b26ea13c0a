//! The material in use, and how newer files take its place without a restart.
//!
//! Only new connections are made with it; those that stand go on as they were made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use primacy_core::ids::{NodeId, PlaneId};
use rustls::pki_types::UnixTime;
use rustls::{ClientConfig, ServerConfig};

use super::material::{Files, Material, TlsError, Wanted, date};
use super::{Identity, said::Said};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A certificate that ends within this is warned of: two weeks, for who renews by hand.
pub const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);
/// How often it is said again.
const REMIND_EVERY: Duration = Duration::from_secs(86_400);

/// What a look at the files found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    Unchanged,
    Replaced,
    /// They are broken; what was in use still is.
    Kept(TlsError),
}

/// One process's certificate, key and authorities. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    wanted: Wanted,
    identity: Identity,
    current: RwLock<Arc<Material>>,
    /// By address: why the node there did not take this side's certificate, last time.
    refusals: Mutex<BTreeMap<String, String>>,
    pub said: Said,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({})", self.0.identity)
    }
}

impl Tls {
    /// Reads and checks the files, as the other side would.
    pub fn open(files: Files, wanted: Wanted) -> Result<Self, TlsError> {
        let material = Material::new(&files, files.read()?, &wanted, UnixTime::now())?;
        Ok(Self(Arc::new(Inner {
            files,
            wanted,
            identity: material.identity.clone(),
            current: RwLock::new(Arc::new(material)),
            refusals: Mutex::default(),
            said: Said::default(),
        })))
    }

    /// Never changes: files that name another one are not taken.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The plane whose nodes are believed: that of the own certificate.
    pub fn plane(&self) -> &PlaneId {
        self.0.identity.plane()
    }

    /// Unix seconds: from then on nobody accepts the certificate that is in use now.
    pub fn ends_s(&self) -> u64 {
        self.current().ends_s
    }

    /// Looks at the files, and takes them if they are other ones and good.
    pub fn reload(&self) -> Reloaded {
        let Inner { files, wanted, .. } = &*self.0;
        let current = self.current();
        let material = match files.read() {
            Ok(contents) if contents == current.contents => return Reloaded::Unchanged,
            Ok(contents) => Material::new(files, contents, wanted, UnixTime::now()),
            Err(error) => Err(error),
        };
        match material {
            Ok(material) if material.identity != self.0.identity => Reloaded::Kept(TlsError {
                field: "cert",
                value: files.cert.display().to_string(),
                remedy: format!(
                    "speaks for {}, and this process is {}; restart it under its new identity, or \
                     put the right certificate there",
                    material.identity, self.0.identity
                ),
            }),
            Ok(material) => {
                *self
                    .0
                    .current
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
                Reloaded::Replaced
            }
            Err(error) => Reloaded::Kept(error),
        }
    }

    /// Looks at the files every few seconds, for as long as the process runs, and says what is
    /// wrong with them and when they end.
    pub async fn keep_fresh(self) {
        let mut last = Reloaded::Unchanged;
        let mut kept = None;
        loop {
            self.remind();
            tokio::time::sleep(LOOK_EVERY).await;
            let tls = self.clone();
            // A file on a network's disk may take its time.
            let Ok(found) = tokio::task::spawn_blocking(move || tls.reload()).await else {
                return; // the process ends
            };
            match &found {
                Reloaded::Unchanged => kept = None,
                Reloaded::Replaced => {
                    kept = None;
                    let ends = date(self.ends_s());
                    tracing::info!("new connections use the certificate that ends on {ends}");
                }
                // Twice the same: what takes two files and a moment is not halfway.
                Reloaded::Kept(error) if found == last && kept.as_ref() != Some(error) => {
                    tracing::warn!("{error}; the one that was read before stays in use");
                    kept = Some(error.clone());
                }
                Reloaded::Kept(_) => {}
            }
            last = found;
        }
    }

    /// Whether the certificate ends soon, and when.
    pub fn ends_soon(&self) -> Option<String> {
        let left = self.ends_s().saturating_sub(UnixTime::now().as_secs());
        (left < ENDS_SOON.as_secs()).then(|| date(self.ends_s()))
    }

    fn remind(&self) {
        if let Some(ends) = self.ends_soon() {
            let cert = self.0.files.cert.display();
            let text = format!("tls.cert = {cert}: ends on {ends}; put a new one there in time");
            if self.0.said.first_within(&text, REMIND_EVERY) {
                tracing::warn!("{text}");
            }
        }
    }

    pub(super) fn client(&self, to: Option<NodeId>) -> Result<ClientConfig, rustls::Error> {
        self.current().client(to)
    }

    /// `None` if this is no node's.
    pub(super) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.current().server.clone()
    }

    pub(super) fn said(&self) -> &Said {
        &self.0.said
    }

    pub(super) fn refusals(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<Material> {
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}
