//! The operator's verbs. Data goes to stdout, everything else to stderr.

mod cert;
mod changes;
mod eyes;
mod show;
mod verbs;
mod wrap;

pub(crate) use show::{duration, explain_text, sight_text};
pub(crate) use verbs::{events, fetch, fetch_all, readiness};
pub(crate) use wrap::wrap;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use primacy_core::ids::ClusterId;
use primacy_proto::tls::{Transport, Wanted};
use tonic::Code;

use crate::client::ClientError;
use crate::config::TlsFiles;
use crate::demo::DemoArgs;

/// Part of the interface: scripts rely on them.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, or there is no such cluster
  2  malformed arguments, file or policy; nothing was asked
  3  no node answered in time, or no majority: nothing was changed unless `history` says so
  4  refused: the error names the condition, and what would satisfy it";

/// Decides who is primary: a control plane for MySQL.
#[derive(Parser)]
#[command(
    name = "primacy",
    version,
    about,
    disable_help_subcommand = true,
    after_help = EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Control nodes, host:port, separated by commas.
    #[arg(
        long,
        short = 'e',
        global = true,
        env = "PRIMACY_ENDPOINTS",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400"
    )]
    endpoints: Vec<String>,
    #[command(flatten)]
    tls: TlsFiles,
    /// Give up after so many seconds.
    #[arg(long, global = true, default_value_t = 5)]
    timeout: u64,
    #[arg(long, short = 'o', global = true, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
}

/// What an approval allows beyond the failover itself.
#[derive(Args)]
struct Allows {
    /// Nobody else is chosen.
    #[arg(long, value_name = "INSTANCE")]
    to: Option<String>,
    /// These transactions, which one replica alone holds, do not bar it.
    #[arg(long, value_name = "GTID_SET")]
    accept_errant: Option<String>,
    /// Acknowledged writes may be lost: those that can be named, or also an unknown number.
    #[arg(long, value_name = "HOW_MUCH")]
    max_loss: Option<LossAllowed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LossAllowed {
    Stated,
    Any,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a control node.
    Node {
        #[arg(long)]
        config: PathBuf,
    },
    /// Run the agent beside one mysqld.
    Agent {
        #[arg(long)]
        config: PathBuf,
    },
    /// Build a cluster on this machine, break its primary, and watch.
    Demo(DemoArgs),
    /// Register a cluster, or check whether it is ready.
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Read or change what may happen without a person.
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// What every node of the control plane sees.
    Status {
        /// Again whenever it changes; with -o json a document a line, every half second.
        #[arg(long)]
        watch: bool,
    },
    /// Everything about one cluster.
    Describe { cluster: String },
    /// What it would do now with one cluster, and why not.
    Explain { cluster: String },
    /// Approve a failover that the votes allow, or lift an abort.
    Approve {
        cluster: String,
        /// The epoch to end, as `explain` shows it: so that what is approved is what was seen.
        #[arg(long)]
        epoch: u64,
        #[command(flatten)]
        allows: Allows,
    },
    /// Withdraw a failover that has been started and not chosen yet.
    ///
    /// Of a deposed epoch the old primary alone may open again then, once it has confirmed that it
    /// is shut; an open inquest is closed, and the same trouble opens no other. `approve` for the
    /// same epoch lifts the abort.
    Abort {
        cluster: String,
        /// The epoch whose end is withdrawn, as `explain` shows it.
        #[arg(long)]
        epoch: u64,
        /// For the history, and for whoever asks why nothing happens.
        #[arg(long)]
        why: String,
    },
    /// One instance of a cluster.
    #[command(subcommand)]
    Instance(InstanceVerb),
    /// What happened, from the log: the newest, oldest of them first.
    History {
        cluster: Option<String>,
        /// At most so many events, or a few more where one log entry has several.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Those before this position in the log.
        #[arg(
            long,
            value_name = "INDEX",
            default_value_t = 0,
            hide_default_value = true
        )]
        before: u64,
    },
    /// Make certificates, where no other authority does.
    #[command(subcommand)]
    Cert(cert::CertVerb),
}

#[derive(Subcommand)]
enum InstanceVerb {
    /// Let transactions that a replica wrote itself bar it no longer.
    ///
    /// The primary writes them too, empty: every instance comes to hold these GTIDs, and what they
    /// changed stays on this replica alone. What changes nothing is accepted without a person (policy
    /// `make_common`).
    AcceptErrant {
        cluster: String,
        instance: String,
        /// As the alarm `errant` names them.
        gtid_set: String,
    },
}

#[derive(Subcommand)]
enum ClusterVerb {
    /// Register a cluster from a file (JSON).
    Register { file: PathBuf },
    /// Take back a cluster that was never founded; its names are free again.
    Unregister { cluster: String },
    /// Check every setting, grant, plugin, topology and version that a guarantee rests on.
    Check {
        /// A registered cluster.
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        cluster: Option<String>,
        /// One that is to be registered from this file (JSON).
        #[arg(long)]
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum PolicyVerb {
    /// Every field, its revision, and who changed it last.
    Get { cluster: String },
    /// Change fields, as in `automation=auto sustain_ms=2000`.
    ///
    /// Only these: what others change meanwhile stands, and the history says who changed what.
    Set {
        cluster: String,
        #[arg(required = true)]
        fields: Vec<String>,
        /// The revision that `policy get` showed: nothing is changed if somebody changed one of
        /// these fields since, and the error names who. Without it the last one wins.
        #[arg(long, value_name = "REVISION")]
        expect: Option<u64>,
    },
}

/// Why a verb failed; decides the exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Other(_) => 1,
            Failure::Client(error) => match error.code() {
                Code::Unavailable | Code::DeadlineExceeded => 3,
                Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => 4,
                Code::InvalidArgument => 2,
                _ => 1,
            },
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Ring for all TLS, before anything can ask for it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(keep_sigpipe_out)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("primacy: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("primacy: {}", in_full(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn in_full(failure: &Failure) -> String {
    match failure {
        Failure::Other(error) => format!("{error:#}"),
        other => other.to_string(),
    }
}

fn log(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("PRIMACY_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{default},openraft=warn")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

/// `primacy history … | head` ends without a word: there is nobody left to tell.
fn end_when_nobody_reads_on() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler of ours runs; the default action ends the process.
    let set = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    set.expect("SIGPIPE may be set to its default");
}

/// Only the main thread writes to stdout; the others write to sockets, where a node that hangs up
/// is an error to be told, not the end of the process.
fn keep_sigpipe_out() {
    use nix::sys::signal::{SigSet, Signal};
    let pipe: SigSet = [Signal::SIGPIPE].into_iter().collect();
    pipe.thread_block().expect("a thread may block a signal");
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let common = cli.common;
    let cluster = ClusterId;
    if !matches!(
        cli.verb,
        Verb::Node { .. } | Verb::Agent { .. } | Verb::Demo(_)
    ) {
        end_when_nobody_reads_on();
    }
    match cli.verb {
        Verb::Node { config } => {
            log("info");
            let config = crate::config::NodeConfig::load(&config).map_err(anyhow::Error::new)?;
            crate::node::run(config).await?;
        }
        Verb::Agent { config } => {
            log("info");
            let config = crate::config::AgentConfig::load(&config).map_err(anyhow::Error::new)?;
            crate::agent::run(config).await?;
        }
        Verb::Demo(args) => {
            log("warn");
            return Ok(crate::demo::run(args, common.output).await?);
        }
        Verb::Cluster(ClusterVerb::Register { file }) => verbs::register(&common, &file).await?,
        Verb::Cluster(ClusterVerb::Unregister { cluster: id }) => {
            verbs::unregister(&common, &cluster(id)).await?;
        }
        Verb::Cluster(ClusterVerb::Check { cluster, file }) => {
            return verbs::check(&common, cluster.unwrap_or_default(), file.as_deref()).await;
        }
        Verb::Policy(PolicyVerb::Get { cluster: id }) => {
            verbs::policy_get(&common, &cluster(id)).await?;
        }
        Verb::Policy(PolicyVerb::Set {
            cluster: id,
            fields,
            expect,
        }) => {
            verbs::policy_set(&common, &cluster(id), &fields, expect).await?;
        }
        Verb::Status { watch } => verbs::status(&common, watch).await?,
        Verb::Describe { cluster: id } => verbs::describe(&common, &cluster(id)).await?,
        Verb::Explain { cluster: id } => verbs::explain(&common, &cluster(id)).await?,
        Verb::Approve {
            cluster: id,
            epoch,
            allows,
        } => {
            verbs::approve(&common, &cluster(id), epoch, allows).await?;
        }
        Verb::Abort {
            cluster: id,
            epoch,
            why,
        } => {
            verbs::abort(&common, &cluster(id), epoch, why).await?;
        }
        Verb::Instance(InstanceVerb::AcceptErrant {
            cluster: id,
            instance,
            gtid_set,
        }) => {
            verbs::accept_errant(&common, &cluster(id), instance, gtid_set).await?;
        }
        Verb::History {
            cluster: id,
            limit,
            before,
        } => verbs::history(&common, id, limit, before).await?,
        Verb::Cert(verb) => cert::run(&verb)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Common {
    fn client(&self) -> Result<crate::client::Client, Failure> {
        if self.timeout == 0 {
            return Err(Failure::Usage(
                "--timeout 0: give it at least one second".into(),
            ));
        }
        let limit = Duration::from_secs(self.timeout);
        let transport = self.transport()?;
        Ok(crate::client::Client::new(
            &self.endpoints,
            limit,
            &transport,
        )?)
    }

    fn transport(&self) -> Result<Transport, Failure> {
        self.tls.open(Wanted::Anybody).map_err(|error| {
            let name = format!("--tls-{}", error.field);
            let variable = format!("PRIMACY_TLS_{}", error.field.to_uppercase());
            let (value, remedy) = (error.value, error.remedy);
            Failure::Usage(format!("{name} ({variable}) = {value:?}: {remedy}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_exit_code_is_listed_and_stands_for_what_it_says() {
        let refused = |code, text: &str| {
            let status = tonic::Status::new(code, text);
            Failure::Client(ClientError::Refused(Box::new(status)))
        };
        let table = [
            (1, refused(Code::NotFound, "cluster shop is not registered")),
            (1, refused(Code::Internal, "broken")),
            (1, Failure::Other(anyhow::anyhow!("the disk is full"))),
            (2, Failure::Usage("sustain_ms: write name=value".into())),
            (2, refused(Code::InvalidArgument, "policy: no such field")),
            (2, Failure::Client(ClientError::Malformed("::".into()))),
            (3, refused(Code::Unavailable, "no majority")),
            (3, refused(Code::DeadlineExceeded, "too late")),
            (4, refused(Code::FailedPrecondition, "nothing is under way")),
            (4, refused(Code::PermissionDenied, "may not call")),
            (4, refused(Code::Unauthenticated, "names nobody")),
        ];
        let help = Cli::command().render_help().to_string();
        for (code, failure) in table {
            assert_eq!(failure.exit_code(), code, "{failure}");
            assert!(help.contains(&format!("\n  {code}  ")), "{code}: {help}");
        }
    }

    #[test]
    fn half_given_tls_flags_are_refused_by_name() {
        let flags = [
            "primacy",
            "status",
            "--tls-ca",
            "ca.pem",
            "--tls-key",
            "k.pem",
        ];
        let cli = Cli::try_parse_from(flags).expect("each is known");
        let failure = cli.common.client().expect_err("one is missing");
        assert_eq!(failure.exit_code(), 2);
        let text = failure.to_string();
        for word in [
            "--tls-cert (PRIMACY_TLS_CERT) = \"\"",
            "another of the three",
            "name the",
        ] {
            assert!(text.contains(word), "{text}");
        }
        let flags = ["--tls-ca=no/ca", "--tls-cert=no/c", "--tls-key=no/k"];
        let cli = Cli::try_parse_from(["primacy", "status"].iter().chain(&flags)).unwrap();
        let text = cli.common.client().expect_err("no such file").to_string();
        assert!(
            text.starts_with("--tls-ca (PRIMACY_TLS_CA) = \"no/ca\""),
            "{text}"
        );
    }
}
