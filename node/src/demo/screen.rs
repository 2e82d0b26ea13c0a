//! What a person is told before and after a run; what happens between is `live`.

use primacy_core::ids::{Epoch, InstanceId};
use serde_json::json;

use super::report::RunReport;
use super::world::World;

pub(super) struct Screen {
    quiet: bool,
}

impl Screen {
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Progress goes to stderr: data alone on stdout.
    pub fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("· {what}");
        }
    }

    pub fn before(&self, world: &World, primary: &InstanceId, epoch: Epoch) {
        if self.quiet {
            return;
        }
        println!("\ncluster {}, epoch {epoch}:", world.cluster);
        for place in world.places.values() {
            let role = if place.id == *primary {
                "primary"
            } else {
                "replica"
            };
            println!(
                "  {}  {role}  {:10} {}",
                place.id,
                place.region,
                place.address()
            );
        }
        println!();
    }

    pub fn after(&self, report: &RunReport) {
        if self.quiet {
            return;
        }
        println!(
            "\nepoch {} of {} ended, epoch {} of {} began\n\
             first write acknowledged after {} ms; proof: {}; loss bound: {}\n",
            report.old_epoch,
            report.from,
            report.new_epoch,
            report.to,
            report.first_ack_ms,
            report.proof,
            report.loss_bound
        );
    }
}

/// Every address, account and process, as one JSON object.
pub(super) fn addresses(world: &World) -> serde_json::Value {
    let nodes: Vec<_> = world
        .nodes
        .iter()
        .zip(&world.node_addresses)
        .map(|((id, (region, process)), address)| {
            json!({ "id": id, "region": region, "address": address, "pid": process.pid() })
        })
        .collect();
    let instances: Vec<_> = world
        .places
        .values()
        .map(|place| {
            json!({
                "id": place.id,
                "region": place.region,
                "address": place.address().to_string(),
                "agent_http": place.http.to_string(),
                "agent_pid": place.agent.pid(),
                "mysqld_pid": place.mysqld_pid(),
                "socket": place.instance.socket().display().to_string(),
            })
        })
        .collect();
    json!({
        "cluster": world.cluster,
        "nodes": nodes,
        "instances": instances,
        "app": { "user": world.app.user, "password": world.app.password(), "table": "app.writes" },
        "tls": { "ca": world.tls.ca, "cert": world.tls.cert, "key": world.tls.key },
        "dir": world.dir.path().display().to_string(),
    })
}

/// The same for a person, with commands to try.
pub(super) fn how_to(world: &World, primary: &InstanceId) -> String {
    let mut text = String::from("\nrunning; Ctrl-C ends it all\n\n");
    for ((id, (region, process)), address) in world.nodes.iter().zip(&world.node_addresses) {
        text.push_str(&format!(
            "node {id}   {region:10} {address}  pid {}\n",
            process.pid()
        ));
    }
    for place in world.places.values() {
        text.push_str(&format!(
            "{}  {:10} {}  mysqld pid {}  agent pid {}  http://{}/primary\n",
            place.id,
            place.region,
            place.address(),
            place.mysqld_pid().map_or("?".into(), |pid| pid.to_string()),
            place.agent.pid(),
            place.http
        ));
    }
    if !world.net.rtt().is_zero() {
        text.push_str("\neach region is a network of its own; a shell in one of them:\n");
        for (region, process) in world.nodes.values() {
            let pid = process.pid();
            text.push_str(&format!("  {region:10} nsenter --net --target {pid}\n"));
        }
    }
    let first = &world.places[primary];
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.display();
    let pid = first.mysqld_pid().map_or("?".into(), |pid| pid.to_string());
    text.push_str(&format!(
        "\naccount: {} / {}, table app.writes (writer, n)\n\ntry:\n  export PRIMACY_ENDPOINTS={}\n  \
         export PRIMACY_TLS_CA={} PRIMACY_TLS_CERT={} PRIMACY_TLS_KEY={}\n  {program} status --watch\n  kill -9 {pid}\n  {program} history {}\n  {program} describe {}\n",
        world.app.user,
        world.app.password(),
        world.node_addresses.join(","),
        world.tls.ca.display(),
        world.tls.cert.display(),
        world.tls.key.display(),
        world.cluster,
        world.cluster
    ));
    text
}
