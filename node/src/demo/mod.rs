//! The demo: builds a control plane and a cluster of real MySQL servers on this machine, breaks the
//! primary, and shows what follows. Also the measuring form (`--runs N -o json`).

mod certificates;
mod discover;
mod faults;
mod haproxy;
mod live;
mod net;
mod panel;
mod pool;
mod process;
mod report;
mod run;
mod screen;
mod start;
mod world;
mod writers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use primacy_core::ids::InstanceId;
use primacy_core::policy::{Automation, Policy};

use crate::cli::Output;
use crate::mysqld::fetch::{FetchProgress, Program, Server, find_or_fetch};
use crate::mysqld::template::Template;

pub use faults::Fault;
use net::Net;
use report::Summary;
pub use start::free_ports;
use world::REGIONS;

/// A follower's proposal takes two round trips to commit, and is given up after 400 ms.
const RTT_MS_MAX: i64 = 150;

#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// How the primary is broken.
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    pub fault: Fault,
    /// How patient the policy is.
    #[arg(long, value_enum, default_value_t = Profile::Fast)]
    pub profile: Profile,
    /// So many times, each on a cluster built anew.
    #[arg(long, default_value_t = 1)]
    pub runs: u32,
    /// Instances of the cluster: 4 (two in the first region) or 3 (one in each).
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(3..=4))]
    pub instances: u32,
    /// Clients that write all the time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub writers: u32,
    /// How the clients find the primary.
    #[arg(long, value_enum, default_value_t = Clients::Direct)]
    pub clients: Clients,
    /// Round trip between regions, in milliseconds, up to 150. Needs root and /dev/net/tun.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=RTT_MS_MAX))]
    pub rtt_ms: u32,
    /// Buffer pool of the first primary, made resident before it serves.
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(64..))]
    pub pool_mb: Option<u32>,
    /// An instance that must never be promoted, as a reporting replica: what it alone holds is
    /// fetched from it.
    #[arg(long, value_name = "INSTANCE")]
    pub never: Option<InstanceId>,
    /// Leave everything running, to be used and broken by hand; Ctrl-C ends it.
    #[arg(long)]
    pub stay: bool,
    /// What a demo starts to clean up after it.
    #[arg(long, hide = true)]
    pub sweep: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Clients {
    /// Each asks every agent's /primary each 10 ms, and takes the first that answers 200.
    Direct,
    /// Ten pooled connections through a real HAProxy, fetched if there is none.
    Haproxy,
}

impl Clients {
    fn words(self) -> String {
        match self {
            Clients::Direct => "direct, /primary asked each 10 ms".into(),
            Clients::Haproxy => format!(
                "{} connections through HAProxy, /primary asked {}",
                haproxy::POOL,
                haproxy::check()
            ),
        }
    }
}

impl DemoArgs {
    /// How many clients write.
    fn pool(&self) -> u32 {
        match self.clients {
            Clients::Direct => self.writers,
            Clients::Haproxy => haproxy::POOL,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    Fast,
    Default,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Fast => "fast",
            Profile::Default => "default",
        }
    }

    fn policy(self) -> Policy {
        let policy = match self {
            Profile::Fast => Policy::fast(),
            Profile::Default => Policy {
                min_interval_s: 0,
                ..Policy::default()
            },
        };
        Policy {
            automation: Automation::Auto,
            ..policy
        }
    }
}

/// Runs the demo; exit code 1 if an acknowledged write is missing.
pub async fn run(args: DemoArgs, output: Output) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.sweep {
        return process::sweep_after_the_demo(dir);
    }
    let mut stop = crate::stop::signal()?;
    tokio::select! {
        // Whatever was started ends with the future that is dropped here.
        () = stop.received() => anyhow::bail!("interrupted; everything that was started has ended"),
        done = run_all(args, output) => done,
    }
}

/// Why `--rtt-ms` is refused on this machine, if it is.
pub fn rtt_refused() -> Option<String> {
    Net::new(&REGIONS, 1).err().map(|error| error.to_string())
}

async fn run_all(args: DemoArgs, output: Output) -> anyhow::Result<ExitCode> {
    let net = Net::new(&REGIONS, args.rtt_ms)?;
    // Before this: a server may have to be fetched, and no region has a way out.
    let server = find_server().await?;
    let template = Template::prepare(&server).await?;
    let haproxy = match args.clients {
        Clients::Direct => None,
        Clients::Haproxy => Some(find_haproxy().await?),
    };
    // The demo's clients live where the primary is.
    let regions = net.clone();
    net.live_in(REGIONS[0], move || async move {
        runs(&args, output, &template, haproxy.as_ref(), &regions).await
    })
    .await
}

async fn runs(
    args: &DemoArgs,
    output: Output,
    template: &Template,
    haproxy: Option<&Program>,
    net: &Net,
) -> anyhow::Result<ExitCode> {
    if args.stay {
        return run::stay(args, output, template, net).await;
    }
    let mut runs = Vec::new();
    for number in 1..=args.runs {
        let quiet = output == Output::Json;
        if args.runs > 1 && !quiet {
            println!("run {number} of {}", args.runs);
        }
        runs.push(run::once(args, quiet, template, haproxy, net).await?);
    }
    let summary = Summary::of(&runs);
    let failed = summary.lost > 0 || summary.double_acked > 0;
    match output {
        Output::Json => {
            println!(
                "{}",
                serde_json::json!({ "runs": runs, "summary": summary })
            );
        }
        Output::Table => println!("{}", summary.text()),
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn find_server() -> anyhow::Result<Server> {
    let (bar, progress) = fetch_bar();
    let server = find_or_fetch(progress).await?;
    bar.finish_and_clear();
    Ok(server)
}

async fn find_haproxy() -> anyhow::Result<Program> {
    let (bar, progress) = fetch_bar();
    let found = Program::find_or_fetch("haproxy", progress).await;
    bar.finish_and_clear();
    found.context("--clients haproxy: install HAProxy, with haproxy on the PATH")
}

fn fetch_bar() -> (ProgressBar, impl Fn(FetchProgress) + Send + 'static) {
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{msg:40} {bar:30} {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    let shown = bar.clone();
    let progress = move |progress: FetchProgress| {
        shown.set_message(format!("{:?}", progress.stage).to_lowercase());
        shown.set_length(progress.total);
        shown.set_position(progress.done);
    };
    (bar, progress)
}
