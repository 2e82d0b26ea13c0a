//! One run: build, write, break, watch, read back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use primacy_core::ids::{Epoch, InstanceId};
use primacy_core::record::EventKind;
use tokio::sync::watch;
use tokio::time::Instant;

use super::discover::{Polls, discover};
use super::faults::Fault;
use super::haproxy::Haproxy;
use super::live::{Clients, Live};
use super::net::Net;
use super::report::{RunReport, VoteReport};
use super::screen::Screen;
use super::world::{CLUSTER, Place, World};
use super::writers::{self, Ack, Ledger, Stayers};
use super::{DemoArgs, pool, screen};
use crate::api::{HistoryEvent, StatusDocument};
use crate::cli::Output;
use crate::clock;
use crate::mysqld::fetch::Program;
use crate::mysqld::session::{Login, Session, within};
use crate::mysqld::template::Template;

/// After this a failover that has not happened will not.
const FAILOVER_LIMIT: Duration = Duration::from_secs(60);
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// Acknowledged writes that each client must have before anything is broken.
const WARM_ACKS: usize = 20;
/// How long the old primary is watched after the new one acknowledged a write.
const AFTERMATH: Duration = Duration::from_millis(1_500);
/// A try to reach a primary, and what lies between two.
const TRY_LIMIT: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(100);
const READ_LIMIT: Duration = Duration::from_secs(20);
const HISTORY_PAGE: u32 = 1_000;

/// Builds a world, breaks it once, and reports what was checked.
pub(super) async fn once(
    args: &DemoArgs,
    quiet: bool,
    template: &Template,
    haproxy: Option<&Program>,
    net: &Net,
) -> anyhow::Result<RunReport> {
    let screen = Screen::new(quiet);
    let world = World::build(template, args, net, |what| screen.say(what)).await?;
    let (old, epoch) = make_table(&world).await?;
    let old_address = world.places[&old].address();
    let from_index = last_index(&world).await?;

    let (primary, polls) = discover(agents(&world), net.rtt());
    let (stop, stopped) = watch::channel(false);
    let ledger = Ledger::default();
    let live = if quiet {
        None
    } else {
        screen.before(&world, &old, epoch);
        let clients = Clients {
            writers: args.pool(),
            ledger: ledger.clone(),
            primary: primary.clone(),
            old: old_address,
        };
        Some(Live::start(&world, clients, from_index)?)
    };
    let balancer = match haproxy {
        Some(program) => Some(Haproxy::start(program, &world, net)?),
        None => None,
    };
    let servers: Vec<_> = world.places.values().map(Place::address).collect();
    for writer in 1..=u64::from(args.pool()) {
        let (app, ledger, stopped) = (world.app.clone(), ledger.clone(), stopped.clone());
        match &balancer {
            Some(balancer) => {
                let (address, servers) = (balancer.address, servers.clone());
                let work = writers::through(writer, address, servers, app, ledger, stopped);
                tokio::spawn(work);
            }
            None => {
                tokio::spawn(writers::follow(
                    writer,
                    app,
                    ledger,
                    primary.clone(),
                    stopped,
                ));
            }
        }
    }
    let enough = WARM_ACKS * args.pool() as usize;
    until(SETTLE_LIMIT, "the clients to write", || {
        ledger.count() >= enough
    })
    .await?;
    if args.fault == Fault::Region {
        let region = &world.places[&old].region;
        let node = world.node_in(region).context("every region has a node")?;
        world.lead_from(node).await?;
    }
    let stayers = Stayers::connect(old_address, &world.app).await?;

    let mysqld = world.places[&old].mysqld_pid();
    let resident_mb = mysqld.and_then(pool::resident_mb);
    polls.broken(&old);
    let fault_ms = clock::wall_ms();
    let stopped_processes = args.fault.inject(&world, &old);
    if let Some(live) = &live {
        live.fault(fault_ms, format!("{old}: {}", args.fault.words()));
    }
    tokio::spawn(stayers.write(ledger.clone(), stopped.clone()));

    let outcome = until(
        FAILOVER_LIMIT,
        "a write acknowledged by a new primary",
        || ledger.first_elsewhere(old_address).is_some(),
    )
    .await;
    if let Err(error) = outcome {
        return Err(explained(&world, &error).await);
    }
    // The old one is watched: first as it is, then let go again.
    tokio::time::sleep(AFTERMATH).await;
    Fault::heal(&stopped_processes);
    if !stopped_processes.is_empty() {
        tokio::time::sleep(AFTERMATH).await;
    }
    stop.send_replace(true);

    let (document, events) = aftermath(&world, from_index).await?;
    if let Some(live) = live {
        live.end(document.clone(), events.clone()).await;
    }
    let seen = Seen {
        ledger,
        polls,
        fault_ms,
        old_address,
        resident_mb,
    };
    let report = report(args, &world, &seen, &document, &events).await?;
    screen.after(&report);
    Ok(report)
}

fn agents(world: &World) -> super::discover::Asked {
    world
        .places
        .values()
        .map(|place| (place.id.clone(), place.http, place.address()))
        .collect()
}

/// On whoever is primary, as any client would: on a machine that has no time for it the first one may
/// have been replaced by now. Whom it was made on, and for which epoch that one is open.
async fn make_table(world: &World) -> anyhow::Result<(InstanceId, Epoch)> {
    let deadline = within(FAILOVER_LIMIT);
    loop {
        let error = match try_to_make_table(world, within(TRY_LIMIT)).await {
            Ok(on) => return Ok(on),
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            let what = format!("the demo's table cannot be made: {error:#}");
            return Err(explained(world, &what).await);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn try_to_make_table(
    world: &World,
    deadline: Instant,
) -> anyhow::Result<(InstanceId, Epoch)> {
    let document = crate::cli::fetch(&world.client, CLUSTER).await?;
    let status = document.clusters.get(&world.cluster);
    let cluster = &status.context("the cluster is registered")?.cluster;
    let (primary, epoch) = (&cluster.primary, cluster.epoch);
    let on = || format!("on {primary}, primary of epoch {epoch}");
    let target = writers::target(world.places[primary].address(), &world.app);
    let mut session = Session::connect(&target, deadline).await.with_context(on)?;
    let made = session.execute(writers::TABLE, deadline).await;
    made.with_context(on)?;
    Ok((primary.clone(), epoch))
}

/// Waits for a condition.
async fn until(limit: Duration, what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while !holds() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn last_index(world: &World) -> anyhow::Result<u64> {
    Ok(crate::cli::fetch(&world.client, CLUSTER)
        .await?
        .applied_index)
}

/// What went wrong, what the plane makes of it, and how the logs end.
async fn explained(world: &World, what: &impl std::fmt::Display) -> anyhow::Error {
    let thinks = match crate::cli::fetch_all(&world.client, CLUSTER).await {
        Ok(document) => crate::cli::explain_text(&document, &world.cluster),
        Err(error) => error.to_string(),
    };
    anyhow::anyhow!("{what}; {thinks}\n{}", world.log_ends())
}

/// The status and the events since the fault, from a node that has applied the acknowledgement.
async fn aftermath(
    world: &World,
    from_index: u64,
) -> anyhow::Result<(StatusDocument, Vec<HistoryEvent>)> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        for client in world.client.each() {
            let Ok(document) = crate::cli::fetch(&client, CLUSTER).await else {
                continue;
            };
            let done = document.clusters.get(&world.cluster).is_some_and(|status| {
                let promotion = status.cluster.promotion();
                promotion.is_some_and(|p| p.acknowledged && p.after.is_some())
            });
            if done {
                let (mut all, mut next) = (Vec::new(), from_index);
                loop {
                    let page = crate::cli::events(&client, CLUSTER, next, HISTORY_PAGE).await?;
                    if page.1 == next {
                        break;
                    }
                    next = page.1;
                    all.extend(page.0);
                }
                return Ok((document, all));
            }
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the failover was not recorded in the log"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every row that the new primary holds.
async fn read_back(address: SocketAddr, app: &Login) -> anyhow::Result<BTreeSet<(u64, u64)>> {
    let deadline = within(READ_LIMIT);
    let mut session = Session::connect(&writers::target(address, app), deadline).await?;
    let sql = "SELECT CONCAT(writer, ' ', n) AS pair FROM app.writes";
    let sets = session
        .ask(sql, deadline)
        .await
        .context("the writes cannot be read back")?;
    let mut rows = BTreeSet::new();
    for row in sets.into_iter().flatten() {
        let pair: String = row.get(0).context("a row without its number")?;
        let (writer, n) = pair.split_once(' ').context("a row without its number")?;
        rows.insert((writer.parse()?, n.parse()?));
    }
    Ok(rows)
}

/// What the clients saw of one fault.
struct Seen {
    ledger: Ledger,
    polls: Polls,
    fault_ms: u64,
    old_address: SocketAddr,
    /// Of the primary that was broken.
    resident_mb: Option<u64>,
}

async fn report(
    args: &DemoArgs,
    world: &World,
    seen: &Seen,
    document: &StatusDocument,
    events: &[HistoryEvent],
) -> anyhow::Result<RunReport> {
    let Seen {
        ledger,
        fault_ms,
        old_address,
        ..
    } = seen;
    let (fault_ms, old_address) = (*fault_ms, *old_address);
    let cluster = &document.clusters[&world.cluster].cluster;
    let promotion = cluster.promotion().context("somebody is named")?;
    let after = promotion
        .after
        .as_ref()
        .context("the promotion follows a deposed epoch")?;
    let since = |ms: u64| ms as i64 - fault_ms as i64;
    let when = |kind: EventKind| {
        let found = events
            .iter()
            .find(|e| e.event.kind == kind && e.wall_ms >= fault_ms);
        found
            .map(|event| event.wall_ms)
            .context("the log lacks a step of the failover")
    };
    let opened_ms = when(EventKind::Opened)?;
    let acks = ledger.all();
    let new_address = world.places[&cluster.primary].address();
    let rows = read_back(new_address, &world.app).await?;
    let present = |ack: &Ack| rows.contains(&(ack.writer, ack.n));
    let late = |ack: &Ack| ack.by == old_address && ack.at_ms > opened_ms;
    let first_ack = ledger
        .first_elsewhere(old_address)
        .context("the new primary acknowledged a write")?;
    let threshold_ms = after.judgement.threshold_ms;
    let first_ack_ms = since(first_ack.at_ms);
    Ok(RunReport {
        fault: args.fault.name(),
        profile: args.profile.name(),
        rtt_ms: args.rtt_ms,
        resident_mb: seen.resident_mb,
        warnings: world.warnings(),
        threshold_ms,
        verdict_ms: since(when(EventKind::Deposed)?),
        chosen_ms: since(when(EventKind::Chosen)?),
        open_ms: since(opened_ms),
        first_ack_ms,
        slowest_ack_ms: ledger.last_elsewhere(old_address, args.pool()).map(since),
        clients: args.clients.words(),
        second_200: seen.polls.second(),
        healthy_503: seen.polls.unwell(),
        overhead_ms: first_ack_ms - threshold_ms as i64,
        acked: acks.len(),
        lost: acks
            .iter()
            .filter(|ack| !present(ack) && !late(ack))
            .count(),
        attempted_on_old: ledger.attempted_on_old(),
        late_acked: acks.iter().filter(|ack| late(ack) && present(ack)).count(),
        double_acked: acks.iter().filter(|ack| late(ack) && !present(ack)).count(),
        proof: promotion.choice.proof.name().to_owned(),
        loss_bound: promotion.choice.loss.to_string(),
        from: promotion.choice.from.to_string(),
        to: promotion.choice.to.to_string(),
        old_epoch: promotion.choice.epoch.0.saturating_sub(1),
        new_epoch: promotion.choice.epoch.0,
        votes: after
            .inquest
            .votes
            .values()
            .map(|vote| VoteReport {
                node: vote.node,
                region: document
                    .nodes
                    .get(&vote.node)
                    .map(|m| m.region.clone())
                    .unwrap_or_default(),
                sight: vote.sight.kind,
                for_ms: vote.sight.for_ms,
            })
            .collect(),
        timeline: timeline(events, fault_ms, &promotion.choice.why),
    })
}

/// What a person wants to see of it, in order.
fn timeline(events: &[HistoryEvent], fault_ms: u64, why: &[String]) -> Vec<(i64, String)> {
    let mut lines = Vec::new();
    for event in events.iter().filter(|event| event.wall_ms >= fault_ms) {
        let at = event.wall_ms as i64 - fault_ms as i64;
        lines.push((at, event.event.what.clone()));
        if event.event.kind == EventKind::Chosen {
            lines.extend(why.iter().map(|why| (at, format!("    {why}"))));
        }
    }
    lines
}

/// Builds a world, shows how to use it, and keeps it until Ctrl-C.
pub(super) async fn stay(
    args: &DemoArgs,
    output: Output,
    template: &Template,
    net: &Net,
) -> anyhow::Result<ExitCode> {
    let quiet = output == Output::Json;
    let screen = Screen::new(quiet);
    let world = World::build(template, args, net, |what| screen.say(what)).await?;
    let (primary, _) = make_table(&world).await?;
    if quiet {
        println!("{}", screen::addresses(&world));
    } else {
        println!("{}", screen::how_to(&world, &primary));
    }
    // Until Ctrl-C, which drops this future and the world with it.
    std::future::pending().await
}
