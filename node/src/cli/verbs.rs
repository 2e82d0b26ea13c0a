use std::future::Future;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use primacy_core::ids::ClusterId;
use primacy_core::lint::Report;
use primacy_core::record::{FieldChange, policy_fields};
use primacy_proto::v1::{
    AbortFailoverRequest, AcceptErrantRequest, ApproveFailoverRequest, ChangePolicyRequest,
    CheckClusterRequest, GetStatusRequest, ListHistoryRequest, ListHistoryResponse,
    RegisterClusterRequest, UnregisterClusterRequest,
};
use tonic::{Response, Status};

use super::wrap::{columns, wrapped};
use super::{Allows, Common, Failure, LossAllowed, Output, changes, show};
use crate::api::{HistoryEvent, StatusDocument};
use crate::client::{Client, OperatorApi, operator};

/// The others are not waited for longer, however long the verb may take.
const OTHERS_LIMIT: Duration = Duration::from_secs(1);
/// Between two looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// Cursor home, erase everything.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// Asks the operators' service of the first node that answers. Only for what is idempotent.
async fn ask<R, A, F>(
    client: &Client,
    request: R,
    verb: impl Fn(OperatorApi, R) -> F,
) -> Result<A, Failure>
where
    R: Clone,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let answer = client.ask(|channel| verb(operator(channel), request.clone()));
    Ok(answer.await?.into_inner())
}

/// The status that one node answers, by itself.
pub(crate) async fn fetch(client: &Client, cluster: &str) -> Result<StatusDocument, Failure> {
    get_status(client, cluster, 0).await
}

/// The same, and what all the other nodes see; the leader among them knows what is waited for.
pub(crate) async fn fetch_all(client: &Client, cluster: &str) -> Result<StatusDocument, Failure> {
    // The one that is asked must be able to answer before its own turn is over.
    let limit = (client.turn() / 2).min(OTHERS_LIMIT);
    get_status(client, cluster, limit.as_millis() as u32).await
}

async fn get_status(
    client: &Client,
    cluster: &str,
    ask_others_ms: u32,
) -> Result<StatusDocument, Failure> {
    let request = GetStatusRequest {
        cluster: cluster.to_owned(),
        ask_others_ms,
    };
    let answer = ask(client, request, |mut api, request| async move {
        api.get_status(request).await
    })
    .await?;
    let document = serde_json::from_str(&answer.status_json)
        .context("the node's status is not understood; is it of another version?")?;
    Ok(document)
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
    if !watch {
        let document = fetch_all(&client, "").await?;
        return match common.output {
            Output::Json => print_json(&document),
            Output::Table => {
                println!("{}", show::status(&document));
                Ok(())
            }
        };
    }
    let redraw = std::io::stdout().is_terminal();
    let mut last = String::new();
    loop {
        let text = match (fetch_all(&client, "").await, common.output) {
            (Ok(document), Output::Table) => show::status(&document),
            // One document a line, for who reads them as they come.
            (Ok(document), Output::Json) => {
                serde_json::to_string(&document).context("not printable as JSON")?
            }
            // A watch outlives an outage of the control plane.
            (Err(Failure::Client(error)), Output::Table) if error.retryable() => {
                format!("{error}; asking again\n")
            }
            (Err(Failure::Client(error)), Output::Json) if error.retryable() => {
                eprintln!("primacy: {error}; asking again");
                String::new()
            }
            (Err(error), _) => return Err(error),
        };
        if text != last && !text.is_empty() {
            if redraw && common.output == Output::Table {
                print!("{CLEAR_SCREEN}");
            }
            println!("{text}");
            last = text;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

pub(super) async fn describe(common: &Common, cluster: &ClusterId) -> Result<(), Failure> {
    let document = fetch_all(&common.client()?, cluster.as_str()).await?;
    match common.output {
        Output::Json => print_json(&show::description(&document, cluster)),
        Output::Table => {
            println!("{}", show::describe(&document, cluster));
            Ok(())
        }
    }
}

pub(super) async fn explain(common: &Common, cluster: &ClusterId) -> Result<(), Failure> {
    let document = fetch_all(&common.client()?, cluster.as_str()).await?;
    let explanation = show::explain(&document, cluster);
    match common.output {
        Output::Json => print_json(&explanation),
        Output::Table => {
            println!("{}", wrapped(&explanation.text(), columns()));
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

pub(super) async fn unregister(common: &Common, cluster: &ClusterId) -> Result<(), Failure> {
    let request = UnregisterClusterRequest {
        cluster: cluster.to_string(),
        who: who(),
    };
    ask(&common.client()?, request, |mut api, request| async move {
        api.unregister_cluster(request).await
    })
    .await?;
    eprintln!("taken back; its names and addresses may be registered anew");
    Ok(())
}

/// A policy, and how it came to be so.
#[derive(serde::Serialize)]
struct PolicyDocument<'a> {
    revision: u64,
    policy: serde_json::Value,
    /// The newest change of each field; the others are as they were registered.
    changed: &'a std::collections::BTreeMap<String, FieldChange>,
}

pub(super) async fn policy_get(common: &Common, cluster: &ClusterId) -> Result<(), Failure> {
    let document = fetch(&common.client()?, cluster.as_str()).await?;
    let cluster = &document.clusters[cluster].cluster;
    match common.output {
        Output::Json => print_json(&PolicyDocument {
            revision: cluster.changes.revision,
            policy: policy_fields(&cluster.policy),
            changed: &cluster.changes.fields,
        }),
        Output::Table => {
            println!("{}", changes::policy(cluster));
            Ok(())
        }
    }
}

pub(super) async fn policy_set(
    common: &Common,
    cluster: &ClusterId,
    fields: &[String],
    expect: Option<u64>,
) -> Result<(), Failure> {
    let fields = pairs(fields)?;
    let request = ChangePolicyRequest {
        cluster: cluster.to_string(),
        fields: fields.into_iter().collect(),
        expected_revision: expect,
        who: who(),
    };
    let client = common.client()?.with_turn(READINESS_TURN);
    let answer = ask(&client, request, |mut api, request| async move {
        api.change_policy(request).await
    })
    .await?;
    if answer.what.is_empty() {
        println!("nothing to change: it is so already");
    } else {
        println!("{}", answer.what);
    }
    Ok(())
}

/// `name=value` pairs; a value that is no JSON is a word.
fn pairs(fields: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let pair = |field: &String| {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("{field:?}: write name=value")))?;
        let json = match serde_json::from_str::<serde_json::Value>(value) {
            Ok(_) => value.to_owned(),
            Err(_) => serde_json::Value::from(value).to_string(),
        };
        Ok((name.to_owned(), json))
    };
    fields.iter().map(pair).collect()
}

/// Who gives the order, for the history: a name, or at least a number.
fn who() -> String {
    use std::os::unix::fs::MetadataExt;
    ["USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| match std::fs::metadata("/proc/self") {
            Ok(me) => format!("uid {}", me.uid()),
            Err(_) => "somebody".into(),
        })
}

pub(super) async fn approve(
    common: &Common,
    cluster: &ClusterId,
    epoch: u64,
    allows: Allows,
) -> Result<(), Failure> {
    let request = ApproveFailoverRequest {
        cluster: cluster.to_string(),
        epoch,
        who: who(),
        to: allows.to.unwrap_or_default(),
        accept_errant: allows.accept_errant.unwrap_or_default(),
        max_loss: match allows.max_loss {
            None => String::new(),
            Some(LossAllowed::Stated) => "stated".into(),
            Some(LossAllowed::Any) => "any".into(),
        },
    };
    ask(&common.client()?, request, |mut api, request| async move {
        api.approve_failover(request).await
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
    let request = AbortFailoverRequest {
        cluster: cluster.to_string(),
        epoch,
        who: who(),
        why,
    };
    ask(&common.client()?, request, |mut api, request| async move {
        api.abort_failover(request).await
    })
    .await?;
    eprintln!("aborted; `primacy explain {cluster}` shows what is waited for now");
    Ok(())
}

pub(super) async fn accept_errant(
    common: &Common,
    cluster: &ClusterId,
    instance: String,
    gtid_set: String,
) -> Result<(), Failure> {
    let request = AcceptErrantRequest {
        cluster: cluster.to_string(),
        instance,
        gtid_set,
        who: who(),
    };
    ask(&common.client()?, request, |mut api, request| async move {
        api.accept_errant(request).await
    })
    .await?;
    eprintln!("accepted; `primacy explain {cluster}` shows what is left");
    Ok(())
}

/// Events of a cluster, oldest first.
pub(crate) async fn events(
    client: &Client,
    cluster: &str,
    from: u64,
    limit: u32,
) -> Result<(Vec<HistoryEvent>, u64), Failure> {
    let request = ListHistoryRequest {
        cluster: cluster.to_owned(),
        from_log_index: from,
        page_size: limit,
        before_log_index: None,
    };
    let (events, page) = list(client, request).await?;
    Ok((events, page.next_log_index))
}

async fn list(
    client: &Client,
    request: ListHistoryRequest,
) -> Result<(Vec<HistoryEvent>, ListHistoryResponse), Failure> {
    let page = ask(client, request, |mut api, request| async move {
        api.list_history(request).await
    })
    .await?;
    let events = page
        .event_json
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect::<Result<_, _>>()
        .context("the node's history is not understood; is it of another version?")?;
    Ok((events, page))
}

/// The newest events below a position, the position of the oldest that was looked at, and how many
/// entries of the log are kept of before that.
async fn newest(
    client: &Client,
    cluster: &str,
    limit: u32,
    mut before: u64,
) -> Result<(Vec<HistoryEvent>, u64, u64), Failure> {
    let mut events: Vec<HistoryEvent> = Vec::new();
    loop {
        let wanted = limit.saturating_sub(events.len() as u32);
        let request = ListHistoryRequest {
            cluster: cluster.to_owned(),
            from_log_index: 0,
            page_size: wanted,
            before_log_index: Some(before),
        };
        let (mut older, page) = list(client, request).await?;
        older.append(&mut events);
        events = older;
        before = page.before_log_index;
        if events.len() as u32 >= limit || page.older_entries == 0 {
            return Ok((events, before, page.older_entries));
        }
    }
}

pub(super) async fn history(
    common: &Common,
    cluster: Option<String>,
    limit: u32,
    before: u64,
) -> Result<(), Failure> {
    let client = common.client()?;
    let cluster = cluster.unwrap_or_default();
    let (events, before, older) = newest(&client, &cluster, limit, before).await?;
    if older > 0 {
        let of = if cluster.is_empty() { "" } else { " " };
        eprintln!(
            "{older} older entries of the log: primacy history{of}{cluster} --limit {limit} \
             --before {before}"
        );
    }
    match common.output {
        Output::Json => print_json(&events),
        Output::Table => {
            println!("{}", changes::history(&events));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_or_a_word() {
        let given = [
            "automation=auto",
            "priority=3",
            "gives_up=[\"a\"]",
            "x=",
            "x=a=b",
        ];
        let told = pairs(&given.map(str::to_owned)).expect("pairs");
        let json: Vec<_> = told.iter().map(|(_, json)| json.as_str()).collect();
        assert_eq!(json, ["\"auto\"", "3", "[\"a\"]", "\"\"", "\"a=b\""]);
        let failure = pairs(&["sustain_ms".into()]).expect_err("no value");
        assert_eq!(failure.exit_code(), 2);
    }
}
