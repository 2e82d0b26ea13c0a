use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use primacy_core::ids::ClusterId;
use primacy_core::lint::Report;
use primacy_core::policy::Policy;
use primacy_proto::v1::{
    AbortFailoverRequest, ApproveFailoverRequest, CheckClusterRequest, GetStatusRequest,
    ListHistoryRequest, RegisterClusterRequest, SetPolicyRequest,
};

use super::{Common, Failure, Output, show};
use crate::api::{HistoryEvent, StatusDocument};
use crate::client::{Client, operator};

/// Between two looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// The status that one node answers.
pub(crate) async fn fetch(client: &Client, cluster: &str) -> Result<StatusDocument, Failure> {
    let answer = client
        .ask(|channel| {
            let request = GetStatusRequest {
                cluster: cluster.to_owned(),
            };
            async move { operator(channel).get_status(request).await }
        })
        .await?
        .into_inner();
    let document = serde_json::from_str(&answer.status_json)
        .context("the node's status is not understood; is it of another version?")?;
    Ok(document)
}

/// The leader's status where it can be had: it knows what is waited for.
async fn fetch_from_leader(client: &Client, cluster: &str) -> Result<StatusDocument, Failure> {
    let first = fetch(client, cluster).await?;
    if first.view.leads {
        return Ok(first);
    }
    for one in client.each() {
        if let Ok(document) = fetch(&one, cluster).await
            && document.view.leads
        {
            return Ok(document);
        }
    }
    Ok(first)
}

fn print_json<T: serde::Serialize>(value: &T) -> Result<(), Failure> {
    println!(
        "{}",
        serde_json::to_string_pretty(value).context("not printable as JSON")?
    );
    Ok(())
}

pub(super) async fn status(common: &Common, watch: bool) -> Result<(), Failure> {
    let client = common.client()?;
    let mut last = String::new();
    loop {
        let document = fetch_from_leader(&client, "").await?;
        if common.output == Output::Json {
            print_json(&document)?;
        } else {
            let text = show::status(&document);
            if text != last {
                println!("{text}");
                last = text;
            }
        }
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

pub(super) async fn describe(common: &Common, cluster: &ClusterId) -> Result<(), Failure> {
    let document = fetch_from_leader(&common.client()?, cluster.as_str()).await?;
    match common.output {
        Output::Json => print_json(&document.clusters[cluster]),
        Output::Table => {
            println!("{}", show::describe(&document, cluster));
            Ok(())
        }
    }
}

pub(super) async fn explain(common: &Common, cluster: &ClusterId) -> Result<(), Failure> {
    let document = fetch_from_leader(&common.client()?, cluster.as_str()).await?;
    let explanation = show::explain(&document, cluster);
    match common.output {
        Output::Json => print_json(&explanation),
        Output::Table => {
            println!("{}", explanation.text());
            Ok(())
        }
    }
}

/// Agents and addresses are asked, two seconds at most, before a node answers these.
const READINESS_TURN: Duration = Duration::from_secs(3);

fn read_registration(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{}: cannot be read", file.display()))?;
    serde_json::from_str::<primacy_core::record::Registration>(&text)
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    Ok(text)
}

pub(super) async fn register(common: &Common, file: &Path) -> Result<(), Failure> {
    let text = read_registration(file)?;
    common
        .client()?
        .with_turn(READINESS_TURN)
        .ask(|channel| {
            let request = RegisterClusterRequest {
                registration_json: text.clone(),
            };
            async move { operator(channel).register_cluster(request).await }
        })
        .await?;
    eprintln!("registered; `primacy status --watch` shows it being founded");
    Ok(())
}

/// What the readiness lint says of a registered cluster, or of one that is to be registered.
pub(crate) async fn readiness(
    client: &Client,
    cluster: String,
    registration_json: String,
) -> Result<Report, Failure> {
    let request = CheckClusterRequest {
        cluster,
        registration_json,
    };
    let answer = client
        .clone()
        .with_turn(READINESS_TURN)
        .ask(|channel| {
            let request = request.clone();
            async move { operator(channel).check_cluster(request).await }
        })
        .await?
        .into_inner();
    let report = serde_json::from_str(&answer.report_json)
        .context("the node's report is not understood; is it of another version?")?;
    Ok(report)
}

pub(super) async fn check(
    common: &Common,
    cluster: String,
    file: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let registration = file.map(read_registration).transpose()?.unwrap_or_default();
    let report = readiness(&common.client()?, cluster, registration).await?;
    match common.output {
        Output::Json => print_json(&report)?,
        Output::Table => print!("{}", show::readiness(&report)),
    }
    Ok(if report.ready() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(4)
    })
}

pub(super) async fn policy_get(common: &Common, cluster: &ClusterId) -> Result<(), Failure> {
    let document = fetch(&common.client()?, cluster.as_str()).await?;
    let policy = &document.clusters[cluster].cluster.policy;
    match common.output {
        Output::Json => print_json(policy),
        Output::Table => {
            println!("{}", show::policy(policy));
            Ok(())
        }
    }
}

pub(super) async fn policy_set(
    common: &Common,
    cluster: &ClusterId,
    fields: &[String],
) -> Result<(), Failure> {
    let client = common.client()?;
    let document = fetch(&client, cluster.as_str()).await?;
    let policy = changed(&document.clusters[cluster].cluster.policy, fields)?;
    let policy_json = serde_json::to_string(&policy).context("not printable as JSON")?;
    client
        .ask(|channel| {
            let request = SetPolicyRequest {
                cluster: cluster.to_string(),
                policy_json: policy_json.clone(),
            };
            async move { operator(channel).set_policy(request).await }
        })
        .await?;
    println!("{}", show::policy(&policy));
    Ok(())
}

/// The policy with `name=value` pairs put in; unknown names and malformed values are named.
fn changed(policy: &Policy, fields: &[String]) -> Result<Policy, Failure> {
    let mut object = serde_json::to_value(policy).context("not printable as JSON")?;
    for field in fields {
        let Some((name, value)) = field.split_once('=') else {
            return Err(Failure::Usage(format!("{field:?}: write name=value")));
        };
        let Some(slot) = object.get_mut(name) else {
            return Err(Failure::Usage(format!(
                "{name}: no such field; `primacy policy get` lists them"
            )));
        };
        *slot = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    let policy: Policy = serde_json::from_value(object)
        .map_err(|error| Failure::Usage(format!("{}: {error}", fields.join(" "))))?;
    if let Some(first) = policy.contradictions().first() {
        return Err(Failure::Usage(first.to_string()));
    }
    Ok(policy)
}

fn who() -> String {
    std::env::var("USER").unwrap_or_else(|_| "unknown".into())
}

pub(super) async fn approve(
    common: &Common,
    cluster: &ClusterId,
    epoch: u64,
) -> Result<(), Failure> {
    common
        .client()?
        .ask(|channel| {
            let request = ApproveFailoverRequest {
                cluster: cluster.to_string(),
                epoch,
                who: who(),
            };
            async move { operator(channel).approve_failover(request).await }
        })
        .await?;
    eprintln!("approved; `primacy history {cluster}` shows what follows");
    Ok(())
}

pub(super) async fn abort(
    common: &Common,
    cluster: &ClusterId,
    epoch: u64,
    why: String,
) -> Result<(), Failure> {
    common
        .client()?
        .ask(|channel| {
            let request = AbortFailoverRequest {
                cluster: cluster.to_string(),
                epoch,
                who: who(),
                why: why.clone(),
            };
            async move { operator(channel).abort_failover(request).await }
        })
        .await?;
    Ok(())
}

/// Events of a cluster, oldest first.
pub(crate) async fn events(
    client: &Client,
    cluster: &str,
    from: u64,
    limit: u32,
) -> Result<(Vec<HistoryEvent>, u64), Failure> {
    let answer = client
        .ask(|channel| {
            let request = ListHistoryRequest {
                cluster: cluster.to_owned(),
                from_log_index: from,
                page_size: limit,
            };
            async move { operator(channel).list_history(request).await }
        })
        .await?
        .into_inner();
    let events = answer
        .event_json
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect::<Result<_, _>>()
        .context("the node's history is not understood; is it of another version?")?;
    Ok((events, answer.next_log_index))
}

pub(super) async fn history(
    common: &Common,
    cluster: Option<String>,
    limit: u32,
) -> Result<(), Failure> {
    let cluster = cluster.unwrap_or_default();
    let (events, _) = events(&common.client()?, &cluster, 0, limit).await?;
    match common.output {
        Output::Json => print_json(&events),
        Output::Table => {
            println!("{}", show::history(&events));
            Ok(())
        }
    }
}
