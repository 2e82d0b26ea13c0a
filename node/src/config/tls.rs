use std::path::PathBuf;

use clap::Args;
use primacy_proto::tls::{Files, Tls, TlsError, Transport, Wanted};
use serde::{Deserialize, Serialize};

/// Where a process's certificate is: `[tls]` in a file, `--tls-…` on the command line. All three,
/// or none.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificates (PEM) of the authorities that issue the plane's certificates.
    #[arg(
        id = "tls-ca",
        long = "tls-ca",
        value_name = "FILE",
        env = "PRIMACY_TLS_CA"
    )]
    #[arg(global = true)]
    pub ca: Option<PathBuf>,
    /// The own certificate (PEM); it says who this is.
    #[arg(
        id = "tls-cert",
        long = "tls-cert",
        value_name = "FILE",
        env = "PRIMACY_TLS_CERT"
    )]
    #[arg(global = true)]
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(
        id = "tls-key",
        long = "tls-key",
        value_name = "FILE",
        env = "PRIMACY_TLS_KEY"
    )]
    #[arg(global = true)]
    pub key: Option<PathBuf>,
}

impl From<Files> for TlsFiles {
    fn from(files: Files) -> Self {
        Self {
            ca: Some(files.ca),
            cert: Some(files.cert),
            key: Some(files.key),
        }
    }
}

impl TlsFiles {
    /// Reads and checks the files; in the clear if none is named.
    pub fn open(&self, wanted: Wanted) -> Result<Transport, TlsError> {
        if *self == Self::default() {
            return Ok(Transport::Plain);
        }
        let named = |field, path: &Option<PathBuf>, what: &str| {
            path.clone()
                .filter(|path| !path.as_os_str().is_empty())
                .ok_or_else(|| TlsError {
                    field,
                    value: String::new(),
                    remedy: format!("is not given, and another of the three is; name {what}"),
                })
        };
        let files = Files {
            ca: named("ca", &self.ca, "the PEM file of the plane's authority")?,
            cert: named(
                "cert",
                &self.cert,
                "the PEM file of this process's certificate",
            )?,
            key: named("key", &self.key, "the PEM file of its private key")?,
        };
        Ok(Transport::Tls(Tls::open(files, wanted)?))
    }
}

/// What `[tls]` and `plaintext` ask for, wherever they stand.
pub(super) fn transport(
    tls: Option<&TlsFiles>,
    plaintext: bool,
    wanted: Wanted,
) -> Result<Transport, TlsError> {
    let error = |field, value: &str, remedy: &str| {
        Err(TlsError {
            field,
            value: value.into(),
            remedy: remedy.into(),
        })
    };
    match tls {
        None => Ok(Transport::Plain),
        Some(_) if plaintext => error(
            "ca",
            "",
            "there is a [tls], and plaintext = true says that there shall be none; remove one",
        ),
        Some(files) if *files == TlsFiles::default() => error(
            "ca",
            "",
            "[tls] is empty; name ca, cert and key, or remove it",
        ),
        Some(files) => files.open(wanted),
    }
}
