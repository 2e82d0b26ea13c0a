//! `primacy cert`: a small authority, for who has none.

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use primacy_proto::tls::{Authority, Identity, Lifetime};

use super::Failure;

#[derive(Subcommand)]
pub(super) enum CertVerb {
    /// Make an authority: ca.pem, which everybody gets, and ca-key.pem, which nobody else does.
    Ca {
        /// The authority's folder.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Issue a certificate for one node, agent, operator or client.
    ///
    /// Into the authority's folder, in place of the one before: processes that use it take the new
    /// one without a restart.
    Issue {
        /// primacy://PLANE/node/ID, …/agent/CLUSTER/INSTANCE, …/operator/NAME, …/client/NAME.
        identity: String,
        /// The authority's folder.
        #[arg(long)]
        dir: PathBuf,
        /// How long it is accepted.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3_650))]
        days: u64,
    },
}

pub(super) fn run(verb: &CertVerb) -> Result<(), Failure> {
    match verb {
        CertVerb::Ca { dir } => {
            Authority::create(dir).map_err(anyhow::Error::new)?;
            println!("{}", dir.join("ca.pem").display());
        }
        CertVerb::Issue {
            identity,
            dir,
            days,
        } => {
            let identity: Identity = identity
                .parse()
                .map_err(|error| Failure::Usage(format!("{error}")))?;
            let authority = Authority::load(dir).map_err(anyhow::Error::new)?;
            let files = authority
                .issue_into(dir, &identity, Lifetime::days(*days))
                .with_context(|| format!("no certificate for {identity}"))?;
            println!("{}\n{}", files.cert.display(), files.key.display());
        }
    }
    Ok(())
}
