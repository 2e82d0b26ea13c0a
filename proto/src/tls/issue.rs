//! A small authority, for those who have none: the demo, tests, `primacy cert`.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use thiserror::Error;

use super::{Files, Identity};

/// All of them are called so: a key alone is then enough to issue with, and certificates are told
/// apart by their keys.
const NAME: &str = "Primacy CA";
const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
/// Ten years: replacing an authority means replacing everything.
const CA_DAYS: u64 = 3_650;
/// Modes of files: a key is for its owner's eyes.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// Clocks that are behind by less accept a certificate at once.
const CLOCKS_APART: Duration = Duration::from_secs(3_600);

#[derive(Debug, Error)]
pub enum IssueError {
    #[error("{}: {what}", path.display())]
    File {
        path: PathBuf,
        what: &'static str,
        source: std::io::Error,
    },
    #[error("{}: exists; an authority is not replaced by accident: choose another --dir", .0.display())]
    Exists(PathBuf),
    #[error("{}: is no private key of an authority", path.display())]
    Key { path: PathBuf, source: rcgen::Error },
    #[error("the certificate cannot be made")]
    Making(#[from] rcgen::Error),
}

/// From when to when a certificate is accepted, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub from_s: u64,
    pub until_s: u64,
}

impl Lifetime {
    /// From now on.
    pub fn days(days: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.unwrap_or_default().as_secs();
        Self {
            from_s: now_s.saturating_sub(CLOCKS_APART.as_secs()),
            until_s: now_s.saturating_add(days.saturating_mul(86_400)),
        }
    }

    fn apply(self, params: &mut CertificateParams) {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(self.from_s);
        params.not_after = epoch + Duration::from_secs(self.until_s);
    }
}

/// A certificate with its key, PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

/// An authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// PEM.
    pub cert: String,
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// A new one, in memory.
    pub fn new() -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = params();
        Lifetime::days(CA_DAYS).apply(&mut params);
        let cert = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, cert })
    }

    /// A new one, in a folder: `ca.pem`, `ca-key.pem`. One that is there is left alone.
    pub fn create(dir: &Path) -> Result<Self, IssueError> {
        let authority = Self::new()?;
        fs::create_dir_all(dir).map_err(file(dir, "cannot be made"))?;
        for name in [CA_CERT, CA_KEY] {
            if dir.join(name).exists() {
                return Err(IssueError::Exists(dir.join(name)));
            }
        }
        write(
            &dir.join(CA_KEY),
            &authority.issuer.key().serialize_pem(),
            SECRET,
        )?;
        write(&dir.join(CA_CERT), &authority.cert, PUBLIC)?;
        Ok(authority)
    }

    /// The one in a folder.
    pub fn load(dir: &Path) -> Result<Self, IssueError> {
        let read = |name| {
            let path = dir.join(name);
            fs::read_to_string(&path)
                .map_err(file(&path, "cannot be read; `primacy cert ca` makes one"))
        };
        let cert = read(CA_CERT)?;
        let key = KeyPair::from_pem(&read(CA_KEY)?).map_err(|source| IssueError::Key {
            path: dir.join(CA_KEY),
            source,
        })?;
        let issuer = Issuer::new(params(), key);
        Ok(Self { issuer, cert })
    }

    pub fn issue(&self, identity: &Identity, lifetime: Lifetime) -> Result<Issued, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        lifetime.apply(&mut params);
        params.distinguished_name = DistinguishedName::new();
        let uri = identity.to_string().try_into()?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(identity, Identity::Node { .. }) {
            let server = ExtendedKeyUsagePurpose::ServerAuth;
            params.extended_key_usages.push(server);
        }
        params.use_authority_key_identifier_extension = true;
        let cert = self.sign(&params, &key)?;
        let key = key.serialize_pem();
        Ok(Issued { cert, key })
    }

    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> Result<String, IssueError> {
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    /// Issues into a folder, in place of what has the same name; the authority's certificate goes
    /// beside it.
    pub fn issue_into(
        &self,
        dir: &Path,
        identity: &Identity,
        lifetime: Lifetime,
    ) -> Result<Files, IssueError> {
        let issued = self.issue(identity, lifetime)?;
        fs::create_dir_all(dir).map_err(file(dir, "cannot be made"))?;
        let stem = identity.file_stem();
        let files = Files {
            ca: dir.join(CA_CERT),
            cert: dir.join(format!("{stem}.pem")),
            key: dir.join(format!("{stem}-key.pem")),
        };
        if !files.ca.exists() {
            write(&files.ca, &self.cert, PUBLIC)?;
        }
        write(&files.key, &issued.key, SECRET)?;
        write(&files.cert, &issued.cert, PUBLIC)?;
        Ok(files)
    }
}

fn file<'a>(path: &'a Path, what: &'static str) -> impl FnOnce(std::io::Error) -> IssueError + 'a {
    move |source| IssueError::File {
        path: path.to_owned(),
        what,
        source,
    }
}

/// Whole or not at all: a process may look at it meanwhile.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), IssueError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(file(path, "cannot be written"))
}
