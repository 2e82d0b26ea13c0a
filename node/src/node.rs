//! One control node: its log, its eyes, its links, its API, on one port.

use std::time::Duration;

use anyhow::Context;
use primacy_core::ids::NodeId;
use primacy_core::record::{FEATURE_LEVEL, Member};
use primacy_proto::MESSAGE_BYTES_MAX;
use primacy_proto::link;
use primacy_proto::tls::{GateLayer, Transport, incoming};
use primacy_proto::v1::GetControlPlaneRequest;
use primacy_proto::v1::operator_service_server::OperatorServiceServer;
use primacy_proto::v1::primacy_service_server::PrimacyServiceServer;
use primacy_raft::{Config, Handle, Timing};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::Server;

use crate::act::{LinkService, Links};
use crate::api::{Access, Operator, Peers, Primaries};
use crate::client::primaries;
use crate::config::{MemberConfig, NodeConfig};
use crate::decide::Driver;
use crate::record::{Door, MemoryFile, Refusals, Space};

/// Inputs waiting for the core; each is a few microseconds of work.
const BACKLOG: usize = 4_096;

/// How long the answer of another process under this node's address is waited for.
const TWIN_LIMIT: Duration = Duration::from_secs(1);

/// Two processes under one id would both vote: whoever answers at this node's address before it
/// listens is another one. The lock on the folder tells of those that share it.
async fn refuse_twin(id: NodeId, address: &str, transport: &Transport) -> anyhow::Result<()> {
    let endpoint = transport.endpoint(address)?.connect_timeout(TWIN_LIMIT);
    let connecting = transport.connect(&endpoint, Some(id));
    let Ok(Ok(channel)) = timeout(TWIN_LIMIT, connecting).await else {
        return Ok(());
    };
    let mut client = primaries(channel);
    let asked = timeout(
        TWIN_LIMIT,
        client.get_control_plane(GetControlPlaneRequest {}),
    )
    .await;
    if let Ok(Ok(answer)) = asked
        && answer.get_ref().answered_by == id.0
    {
        anyhow::bail!(
            "id = {id}: another process answers as node {id} at {address}; end it, or give this \
             node an id and an address of its own among the members"
        );
    }
    Ok(())
}

/// Runs until told to stop, or until its disk fails.
pub async fn run(config: NodeConfig) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.dir).context("the node's folder cannot be made")?;
    let me = config.members.iter().find(|member| member.id == config.id);
    let me = me.context("the configuration was checked to name this node")?;
    let space = Space::begin(&config.dir, &config.disk).context("its ballast cannot be laid in")?;
    tokio::spawn(space.clone().watch());
    let transport = config.transport()?;
    crate::keep_fresh(&transport);
    refuse_twin(config.id, &me.address, &transport).await?;
    let members = config.members.iter().map(|member| {
        let MemberConfig {
            id,
            region,
            address,
        } = member.clone();
        (id, Member { address, region })
    });
    let handle = Handle::start(Config {
        node_id: config.id,
        dir: config.dir.join("log"),
        plane: config.plane.clone(),
        members: members.collect(),
        timing: Timing {
            heartbeat_ms: config.raft.heartbeat_ms,
            election_min_ms: config.raft.election_min_ms,
            election_max_ms: config.raft.election_max_ms,
        },
        snapshot_every: config.snapshot_every,
        history: config.history.bounds(&config.dir),
        knows: FEATURE_LEVEL,
        transport: transport.clone(),
    })
    .await?;
    let memory = MemoryFile::begin(&config.dir)?;
    let door = Door::new(handle.clone(), config.id, memory.memory().incarnation);
    let (inputs, waiting) = mpsc::channel(BACKLOG);
    let (views, view_requests) = mpsc::channel(16);
    let links = Links::default();
    let access = Access {
        node: config.id,
        handle: handle.clone(),
        door: door.clone(),
        views,
        peers: Peers::new(transport.clone()),
        links: links.clone(),
        probe: config.probe.clone(),
        space,
    };

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_serving::<PrimacyServiceServer<Primaries>>()
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(primacy_proto::DESCRIPTORS)
        .build_v1()
        .context("the API's own description is malformed")?;
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen = {}: choose a free address", config.listen))?;
    let server = Server::builder()
        .layer(GateLayer::new(transport.clone()))
        .add_service(handle.service())
        .add_service(link::server(LinkService {
            links: links.clone(),
            inputs: inputs.clone(),
        }))
        .add_service(PrimacyServiceServer::new(Primaries(access.clone())))
        .add_service(
            OperatorServiceServer::new(Operator(access))
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming(incoming(listener, transport));
    let mut serving = tokio::spawn(server);

    // Its listener answers the members, who may be asking as well.
    let mut stop = crate::stop::signal()?;
    tokio::select! {
        entered = handle.enter() => drop(entered?),
        () = stop.received() => {
            tracing::info!("stopping; this node took no part yet");
            handle.halt().await;
            return Ok(());
        }
        ended = &mut serving => {
            return ended.context("the listener panicked")?.context("the listener ended");
        }
    }
    let mut fatal = handle.fatal();
    let driver = Driver {
        config,
        handle: handle.clone(),
        memory,
        links,
        door,
        refusals: Refusals::default(),
        inputs,
    };
    let driving = tokio::spawn(driver.run(waiting, view_requests));
    tokio::select! {
        () = stop.received() => {
            tracing::info!("stopping; leadership is handed over first");
            handle.shutdown().await;
            Ok(())
        }
        failed = fatal.wait_for(Option::is_some) => {
            let error = failed.ok().and_then(|error| error.clone());
            Err(error.map_or_else(|| anyhow::anyhow!("the log ended"), anyhow::Error::new))
        }
        ended = driving => ended.context("the driver panicked")?,
        ended = serving => ended.context("the listener panicked")?.context("the listener ended"),
    }
}
