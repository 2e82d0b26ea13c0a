//! What the three files hold, checked as the other side will check it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use primacy_core::ids::{ClusterId, InstanceId, NodeId, PlaneId};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

use super::verify::NodeVerifier;
use super::{ALPN, Identity};

/// Where the PEM files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Certificates of the authorities whose word is believed; while one replaces another, both.
    pub ca: PathBuf,
    /// This process's certificate; those between it and an authority follow it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Whose certificate a process must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Node(PlaneId, NodeId),
    /// Of whatever plane: the certificate says which, and only its nodes are believed.
    Agent(ClusterId, InstanceId),
    /// Of whatever plane.
    Anybody,
}

/// Names the field, what it says, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("tls.{field} = {value:?}: {remedy}")]
pub struct TlsError {
    /// `ca`, `cert` or `key`.
    pub field: &'static str,
    pub value: String,
    pub remedy: String,
}

fn wrong<T>(field: &'static str, path: &Path, remedy: impl Into<String>) -> Result<T, TlsError> {
    Err(TlsError {
        field,
        value: path.display().to_string(),
        remedy: remedy.into(),
    })
}

/// The bytes of the files at one moment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let read = |field, path: &Path| {
            std::fs::read(path).or_else(|error| {
                wrong(
                    field,
                    path,
                    format!("{error}; name a PEM file that this process may read"),
                )
            })
        };
        Ok(Contents {
            ca: read("ca", &self.ca)?,
            cert: read("cert", &self.cert)?,
            key: read("key", &self.key)?,
        })
    }
}

/// What new connections are made with.
pub(super) struct Material {
    pub contents: Contents,
    pub identity: Identity,
    /// Unix seconds: from then on nobody accepts the certificate.
    pub ends_s: u64,
    roots: Arc<RootCertStore>,
    certified: Arc<CertifiedKey>,
    /// For a node alone.
    pub server: Option<Arc<ServerConfig>>,
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Material {
    pub fn new(
        files: &Files,
        contents: Contents,
        wanted: &Wanted,
        now: UnixTime,
    ) -> Result<Self, TlsError> {
        let roots = authorities(files, &contents)?;
        let certified = certified(files, &contents)?;
        let leaf = &certified.cert[0];
        let identity = match Identity::of(leaf) {
            Ok(identity) => identity,
            Err(error) => return wrong("cert", &files.cert, error.to_string()),
        };
        check_wanted(files, &identity, wanted)?;
        let serves = matches!(identity, Identity::Node { .. });
        check_chain(files, &certified.cert, &roots, serves, now)?;
        let ends_s = ends_s(leaf, &roots).unwrap_or(u64::MAX);
        let roots = Arc::new(roots);
        let certified = Arc::new(certified);
        let server = if serves {
            Some(Arc::new(server(files, &roots, &certified)?))
        } else {
            None
        };
        Ok(Self {
            contents,
            identity,
            ends_s,
            roots,
            certified,
            server,
        })
    }

    /// For a connection to a node of the own plane; to this very one, if it is named.
    pub fn client(&self, to: Option<NodeId>) -> Result<ClientConfig, rustls::Error> {
        let provider = provider();
        let verifier = NodeVerifier {
            roots: self.roots.clone(),
            algorithms: provider.signature_verification_algorithms,
            plane: self.identity.plane().clone(),
            node: to,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }
}

fn authorities(files: &Files, contents: &Contents) -> Result<RootCertStore, TlsError> {
    let path = &files.ca;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&contents.ca) {
        let added = match certificate {
            Ok(certificate) => roots.add(certificate).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = added {
            let remedy = format!("holds a certificate that cannot be used ({error}); replace it");
            return wrong("ca", path, remedy);
        }
    }
    if roots.is_empty() {
        let remedy = "holds no certificate; name the PEM file of the authority that signs the \
                      plane's certificates";
        return wrong("ca", path, remedy);
    }
    Ok(roots)
}

fn certified(files: &Files, contents: &Contents) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&contents.cert).collect::<Result<Vec<_>, _>>();
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => {
            let remedy = "holds no certificate; name the PEM file of this process's certificate";
            return wrong("cert", &files.cert, remedy);
        }
        Err(error) => {
            let remedy = format!("is no PEM file ({error}); replace it");
            return wrong("cert", &files.cert, remedy);
        }
    };
    let key = match PrivateKeyDer::from_pem_slice(&contents.key) {
        Ok(key) => key,
        Err(error) => {
            let remedy = format!(
                "holds no private key ({error}); name the PEM file of the key of {}",
                files.cert.display()
            );
            return wrong("key", &files.key, remedy);
        }
    };
    match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(certified) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let remedy = format!(
                "is not the key of {}; name the one that this certificate was issued for",
                files.cert.display()
            );
            wrong("key", &files.key, remedy)
        }
        Err(rustls::Error::InvalidCertificate(error)) => {
            let remedy = format!("holds a certificate that cannot be read ({error}); replace it");
            wrong("cert", &files.cert, remedy)
        }
        Err(error) => {
            let remedy = format!("holds a key that cannot be used ({error}); replace it");
            wrong("key", &files.key, remedy)
        }
    }
}

fn check_wanted(files: &Files, found: &Identity, wanted: &Wanted) -> Result<(), TlsError> {
    let needed = match (wanted, found) {
        (Wanted::Anybody, _) => return Ok(()),
        (Wanted::Node(plane, node), _) => Identity::Node {
            plane: plane.clone(),
            node: *node,
        },
        (Wanted::Agent(cluster, instance), _) => Identity::Agent {
            plane: found.plane().clone(),
            cluster: cluster.clone(),
            instance: instance.clone(),
        },
    };
    if *found == needed {
        return Ok(());
    }
    let remedy = format!(
        "speaks for {found}, and this configuration is that of {needed}; name its certificate"
    );
    wrong("cert", &files.cert, remedy)
}

/// Judges the own certificate as the other side will: what it would refuse is refused at start.
fn check_chain(
    files: &Files,
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    serves: bool,
    now: UnixTime,
) -> Result<(), TlsError> {
    let mut usages = vec![(KeyUsage::client_auth(), "client")];
    if serves {
        usages.push((KeyUsage::server_auth(), "server"));
    }
    for (usage, name) in usages {
        let remedy = match verified(chain, roots, usage, now) {
            Ok(()) => continue,
            Err(webpki::Error::CertExpired { not_after, .. }) => {
                format!("expired on {}; issue a new one", date(not_after.as_secs()))
            }
            Err(webpki::Error::CertNotValidYet { not_before, .. }) => format!(
                "is not valid before {}; look at this machine's clock",
                date(not_before.as_secs())
            ),
            Err(webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey) => {
                format!(
                    "is not signed by an authority in {}; name the one that issued it",
                    files.ca.display()
                )
            }
            Err(webpki::Error::RequiredEkuNotFoundContext(_)) => format!(
                "may not be used as a TLS {name}; issue one with the extended key usages \
                 clientAuth and, for a node, serverAuth"
            ),
            Err(error) => format!("would be refused by the others ({error}); issue a new one"),
        };
        return wrong("cert", &files.cert, remedy);
    }
    Ok(())
}

fn verified(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    usage: KeyUsage,
    at: UnixTime,
) -> Result<(), webpki::Error> {
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let leaf = EndEntityCert::try_from(&chain[0])?;
    let roots = &roots.roots;
    leaf.verify_for_usage(algorithms.all, roots, &chain[1..], at, usage, None, None)?;
    Ok(())
}

/// The last second that a certificate can name: of the year 9999.
const LAST_S: u64 = 253_402_300_799;

/// The date from which on the certificate is refused, as the check itself names it.
fn ends_s(leaf: &CertificateDer<'_>, roots: &RootCertStore) -> Option<u64> {
    let far = UnixTime::since_unix_epoch(Duration::from_secs(LAST_S));
    let leaf = std::slice::from_ref(leaf);
    match verified(leaf, roots, KeyUsage::client_auth(), far) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
    }
}

fn server(
    files: &Files,
    roots: &Arc<RootCertStore>,
    certified: &Arc<CertifiedKey>,
) -> Result<ServerConfig, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build();
    let verifier = match verifier {
        Ok(verifier) => verifier,
        Err(error) => return wrong("ca", &files.ca, format!("cannot be used: {error}")),
    };
    let built = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13]);
    let built = match built {
        Ok(built) => built,
        Err(error) => return wrong("cert", &files.cert, error.to_string()),
    };
    let mut config = built
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// `2026-11-21`, of Unix seconds.
pub(super) fn date(unix_s: u64) -> String {
    let at = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s.min(LAST_S));
    at.date().to_string()
}
