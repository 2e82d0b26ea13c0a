//! The demo's own faults, as its measuring form reports them.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use primacy::mysqld::fetch::Program;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::{LIMIT, end, home, mysql, processes_of, program, sweep, turn, until};

/// A world is built, broken, watched and torn down.
const RUN_LIMIT: Duration = Duration::from_secs(180);
/// Silence dates from the last answer, which came up to one probe before the fault.
const BEFORE_FAULT_MS: i64 = 400;

struct Running {
    demo: Child,
    home: TempDir,
}

impl Running {
    fn start(options: &[&str]) -> Self {
        let home = home();
        let demo = Command::new(program())
            .args(["demo", "-o", "json"])
            .args(options)
            .env("TMPDIR", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the demo starts");
        Self { demo, home }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.demo);
        sweep(self.home.path());
    }
}

/// One run and its folder; `None` if there is no MySQL server.
async fn run(fault: &str, more: &[&str]) -> Option<(Value, Running)> {
    let _turn = turn().await;
    mysql().await?;
    let mut running = Running::start(&[&["--fault", fault], more].concat());
    let status = until(RUN_LIMIT, "the demo's end", async || {
        running.demo.try_wait().expect("it is our child")
    })
    .await;
    let mut stdout = String::new();
    let mut pipe = running.demo.stdout.take().expect("it is piped");
    pipe.read_to_string(&mut stdout).expect("text");
    assert!(status.success(), "{fault}: {status}: {stdout}");
    let document: Value = serde_json::from_str(&stdout).expect("one JSON document");
    assert_eq!(document["runs"].as_array().map(Vec::len), Some(1));
    Some((document, running))
}

fn number(of: &Value, field: &str) -> i64 {
    of[field]
        .as_i64()
        .unwrap_or_else(|| panic!("{field} is a number in {of}"))
}

/// The one at home is preferred, unless it lacks what was on its way when the primary died.
fn check_home_first(document: &Value) {
    let run = &document["runs"][0];
    let lacks = run["timeline"].to_string().contains("mysql-2 lacks ");
    assert!(run["to"] == "mysql-2" || lacks, "{run}");
}

/// What the faults are warned of; a warning is for a person, so any other one is a fault.
const LISTED: [&str; 0] = [];

fn check_warnings(run: &Value) {
    let warnings = run["warnings"].as_array().expect("a list");
    let text = |warning: &Value| warning.as_str().unwrap_or_default().to_owned();
    let unlisted: Vec<String> = warnings
        .iter()
        .map(text)
        .filter(|line| !LISTED.iter().any(|listed| line.contains(listed)))
        .collect();
    assert!(unlisted.is_empty(), "unlisted:\n{}", unlisted.join("\n"));
}

/// What every fault must come to.
fn check(document: &Value, threshold_ms: i64, proofs: &[&str]) {
    let run = &document["runs"][0];
    for of in [run, &document["summary"]] {
        assert_eq!(number(of, "lost"), 0, "{of}");
        assert_eq!(number(of, "double_acked"), 0, "{of}");
        assert!(number(of, "acked") > 0, "{of}");
        assert!(number(of, "attempted_on_old") > 0, "{of}");
    }
    assert_eq!(number(run, "old_epoch"), 1);
    assert_eq!(number(run, "new_epoch"), 2);
    assert_eq!(run["from"], "mysql-1");
    assert_ne!(run["to"], "mysql-1");
    assert_eq!(run["loss_bound"], "zero", "{run}");
    let proof = run["proof"].as_str().unwrap_or_default();
    assert!(proofs.contains(&proof), "{proof:?} is none of {proofs:?}");

    assert_eq!(number(run, "threshold_ms"), threshold_ms, "{run}");
    let [verdict, chosen, open, first] =
        ["verdict_ms", "chosen_ms", "open_ms", "first_ack_ms"].map(|field| number(run, field));
    assert!(
        verdict >= threshold_ms - BEFORE_FAULT_MS,
        "no verdict without patience: {run}"
    );
    assert!(verdict <= chosen && chosen <= open, "{run}");
    assert!(first > verdict, "{run}");
    assert_eq!(
        run["second_200"],
        Value::Null,
        "two primaries at once: {run}"
    );
    assert_eq!(number(run, "healthy_503"), 0, "{run}");
    check_warnings(run);
    let votes = run["votes"].as_array().map_or(&[][..], Vec::as_slice);
    let silent = votes
        .iter()
        .filter(|vote| vote["sight"] == "silent")
        .count();
    assert!(silent >= 2, "a majority saw silence: {run}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_mysqld_is_replaced() {
    let Some((document, _running)) = run("kill", &[]).await else {
        return;
    };
    // Whichever comes first: the freezes, or the word that it is reaped.
    check(&document, 0, &["exited", "ackers_frozen"]);
    check_home_first(&document);
}

/// The core file is written between the signal and the exit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mysqld_that_crashes_with_a_core_file_is_replaced() {
    let Some((document, _running)) = run("segv", &[]).await else {
        return;
    };
    check(&document, 0, &["exited", "ackers_frozen"]);
    check_home_first(&document);
}

/// As people run it: a pool of connections through a load balancer that asks the agents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_behind_haproxy_write_on() {
    if let Err(error) = Program::find_or_fetch("haproxy", |_| {}).await {
        println!("skipped: {error}");
        return;
    }
    let more = ["--clients", "haproxy", "--pool-mb", "256"];
    let Some((document, _running)) = run("kill", &more).await else {
        return;
    };
    check(&document, 0, &["exited", "ackers_frozen"]);
    let run = &document["runs"][0];
    let clients = run["clients"].as_str().unwrap_or_default();
    assert!(
        clients.starts_with("10 connections through HAProxy"),
        "{run}"
    );
    let (first, slowest) = (number(run, "first_ack_ms"), number(run, "slowest_ack_ms"));
    assert!(slowest >= first, "all ten write again: {run}");
    assert!(
        number(run, "resident_mb") >= 256,
        "its pool is resident: {run}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_mysqld_is_replaced() {
    let Some((document, _running)) = run("hang", &["--writers", "4"]).await else {
        return;
    };
    // Its agent cannot fence it, and kills it where it cannot.
    check(&document, 1_000, &["exited", "ackers_frozen"]);
    check_home_first(&document);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_host_is_replaced() {
    let Some((document, _running)) = run("host", &[]).await else {
        return;
    };
    check(&document, 1_000, &["ackers_frozen"]);
    check_home_first(&document);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_host_of_three_is_replaced() {
    let Some((document, _running)) = run("host", &["--instances", "3"]).await else {
        return;
    };
    // Nobody else is at home: more patience, and both ackers must be frozen (k is 1).
    check(&document, 1_500, &["ackers_frozen"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_region_is_replaced_from_another() {
    let Some((document, _running)) = run("region", &[]).await else {
        return;
    };
    check(&document, 1_500, &["ackers_frozen"]);
    let to = &document["runs"][0]["to"];
    assert!(to == "mysql-3" || to == "mysql-4", "{to}");
}

/// Every proposal, order, probe and acknowledgement between two regions takes its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_mysqld_is_replaced_across_regions_40_ms_apart() {
    if let Some(why) = primacy::demo::rtt_refused() {
        println!("skipped: {why}");
        return;
    }
    let Some((document, _running)) = run("kill", &["--rtt-ms", "40"]).await else {
        return;
    };
    check(&document, 0, &["exited", "ackers_frozen"]);
    let run = &document["runs"][0];
    assert_eq!(number(run, "rtt_ms"), 40);
    let [verdict, chosen, first] =
        ["verdict_ms", "chosen_ms", "first_ack_ms"].map(|field| number(run, field));
    // Times are of the proposal. No acker is beside the new primary.
    assert!(verdict >= 40, "an inquest is committed: {run}");
    assert!(
        chosen - verdict >= 80,
        "a vote is committed, then a far freeze: {run}"
    );
    assert!(first - chosen >= 80, "a far acker connects: {run}");
}

/// Its agents start killed servers again, at any moment: also in its last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_leaves_nothing_behind() {
    let Some((_, running)) = run("host", &[]).await else {
        return;
    };
    let left = sweep(running.home.path());
    assert!(left.is_empty(), "still running: {left:?}");
    let files = std::fs::read_dir(running.home.path()).expect("its folder");
    assert_eq!(files.count(), 0, "it left files behind");
}

/// Killed, it can do nothing itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_demo_leaves_nothing_behind() {
    let _turn = turn().await;
    if mysql().await.is_none() {
        return;
    }
    // In networks of their own, where there can be such.
    let rtt_ms = match primacy::demo::rtt_refused() {
        None => "20",
        Some(_) => "0",
    };
    let mut running = Running::start(&["--stay", "--rtt-ms", rtt_ms]);
    let mut said = [0];
    let mut pipe = running.demo.stdout.take().expect("it is piped");
    pipe.read_exact(&mut said).expect("it says what it built");
    let started = processes_of(running.home.path());
    assert!(
        started.len() > 3 + 4 + 4,
        "nodes, agents, servers: {started:?}"
    );
    running.demo.kill().expect("it is our child");
    running.demo.wait().expect("it is our child");
    until(LIMIT, "all that it started to end", async || {
        processes_of(running.home.path()).is_empty().then_some(())
    })
    .await;
    until(LIMIT, "its folder to be gone", async || {
        let files = std::fs::read_dir(running.home.path()).expect("its folder");
        (files.count() == 0).then_some(())
    })
    .await;
}
