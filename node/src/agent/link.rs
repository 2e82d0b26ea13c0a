//! The links to all control nodes: beats and replies go up each of them, orders come down.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use primacy_core::act::{AgentInput, Reply};
use primacy_core::ids::InstanceId;
use primacy_core::observe::Heartbeat;
use primacy_proto::agent_link::AttachRequest;
use primacy_proto::link::{self, Down, FORMAT, Up};
use primacy_proto::tls::Transport;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::door::Door;
use super::facts;
use crate::clock;
use crate::config::AgentConfig;

/// Between two tries to reach a node.
const AGAIN: Duration = Duration::from_millis(200);
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// A node that has not acknowledged a beat for this long is connected anew: the connection may be
/// a black hole.
const SILENT_LIMIT_MS: u64 = 2_000;
const BACKLOG: usize = 64;

/// What a node tells an agent that its configuration is wrong by.
const MISCONFIGURED: [Code; 4] = [
    Code::AlreadyExists,
    Code::InvalidArgument,
    Code::PermissionDenied,
    Code::Unauthenticated,
];

#[derive(Clone)]
enum Message {
    Beat(Box<Heartbeat>),
    Reply(Box<Reply>),
}

pub(super) struct Links {
    nodes: Vec<mpsc::Sender<Message>>,
}

impl Links {
    pub fn open(
        config: &AgentConfig,
        transport: &Transport,
        door: Arc<Door>,
        inputs: mpsc::Sender<AgentInput>,
    ) -> Self {
        // The clock and the process: no two agents that are alive share both.
        let run = clock::wall_ms() << 22 | u64::from(std::process::id());
        let nodes = config
            .nodes
            .iter()
            .map(|address| {
                let (sender, receiver) = mpsc::channel(BACKLOG);
                let link = Link {
                    address: address.clone(),
                    config: config.clone(),
                    transport: transport.clone(),
                    door: door.clone(),
                    run,
                    inputs: inputs.clone(),
                };
                tokio::spawn(link.run(receiver));
                sender
            })
            .collect();
        Self { nodes }
    }

    pub fn beat(&self, beat: &Heartbeat) {
        self.send(&Message::Beat(Box::new(beat.clone())));
    }

    /// To every node: whoever leads takes it.
    pub fn reply(&self, reply: &Reply) {
        self.send(&Message::Reply(Box::new(reply.clone())));
    }

    fn send(&self, message: &Message) {
        for node in &self.nodes {
            // A node that does not keep up misses this one; the next beat is soon.
            let _ = node.try_send(message.clone());
        }
    }
}

struct Link {
    address: String,
    config: AgentConfig,
    transport: Transport,
    door: Arc<Door>,
    run: u64,
    inputs: mpsc::Sender<AgentInput>,
}

impl Link {
    async fn run(self, mut messages: mpsc::Receiver<Message>) {
        let mut said = String::new();
        loop {
            match self.once(&mut messages).await {
                Ok(()) => return, // the agent stops
                Err(error) => {
                    let refused = self.refusal(&error);
                    let misconfigured = refused.is_some();
                    let text = refused.unwrap_or_else(|| format!("link lost: {error:#}"));
                    // Once, not with each try.
                    if text != said {
                        if misconfigured {
                            tracing::error!(node = self.address, "{text}");
                        } else {
                            tracing::info!(node = self.address, "{text}");
                        }
                        said = text;
                    }
                }
            }
            let wait = tokio::time::sleep(AGAIN);
            tokio::pin!(wait);
            // Old beats are of no use to a node that returns.
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    message = messages.recv() => if message.is_none() { return },
                }
            }
        }
    }

    /// What is wrong with this side's configuration, or the node's, if that is why a link ended.
    fn refusal(&self, error: &anyhow::Error) -> Option<String> {
        if let Some(refusal) = self.transport.refusal(&self.address) {
            return Some(refusal.to_string());
        }
        let status = error.downcast_ref::<Status>()?;
        let refused = MISCONFIGURED.contains(&status.code());
        refused.then(|| status.message().to_owned())
    }

    async fn once(&self, messages: &mut mpsc::Receiver<Message>) -> anyhow::Result<()> {
        let endpoint = self.transport.endpoint(&self.address)?;
        let endpoint = endpoint.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true);
        let channel = self.transport.connect(&endpoint, None).await?;
        let (sender, up) = mpsc::channel(BACKLOG);
        let hello = Up::Hello {
            cluster: self.config.cluster.clone(),
            instance: self.config.instance.clone(),
            run: self.run,
        };
        sender.send(wire(&hello)?).await?;
        let mut client = link::client(channel);
        let attached =
            tokio::time::timeout(CONNECT_LIMIT, client.attach(ReceiverStream::new(up))).await??;
        let mut down = attached.into_inner();
        // Nor are those of while it was connected to: it would take them for words of now.
        while messages.try_recv().is_ok() {}
        let mut sent: VecDeque<(u64, u64)> = VecDeque::new();
        let (mut rtt_ms, mut heard) = (0, clock::now());
        let mut acknowledged = 0;
        let mut check = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                message = down.message() => {
                    let Some(message) = message? else { anyhow::bail!("the node closed the link") };
                    heard = clock::now();
                    match link::decode::<Down>(message.format, &message.payload)? {
                        Down::Acknowledged(ack) => {
                            acknowledged = acknowledged.max(ack.beat);
                            while let Some((beat, at)) = sent.pop_front_if(|(beat, _)| *beat <= ack.beat) {
                                if beat == ack.beat {
                                    rtt_ms = heard.0.saturating_sub(at);
                                }
                            }
                            self.inputs.send(AgentInput::Acknowledged(*ack)).await?;
                        }
                        Down::Inspect { ask, peers } => self.inspect(ask, peers, sender.clone()),
                        Down::Order(order) => self.inputs.send(AgentInput::Order(order)).await?,
                    }
                }
                message = messages.recv() => {
                    let up = match message {
                        None => return Ok(()),
                        Some(Message::Beat(beat)) => {
                            sent.push_back((beat.word.beat, clock::now().0));
                            if sent.len() > BACKLOG {
                                sent.pop_front();
                            }
                            let after = Some(acknowledged);
                            Up::Beat { beat, rtt_ms, after }
                        }
                        Some(Message::Reply(reply)) => Up::Reply(reply),
                    };
                    if sender.try_send(wire(&up)?).is_err() {
                        anyhow::bail!("the node does not keep up");
                    }
                }
                _ = check.tick() => {
                    if clock::now().since_ms(heard) > SILENT_LIMIT_MS {
                        anyhow::bail!("no acknowledgement for {SILENT_LIMIT_MS} ms");
                    }
                }
            }
        }
    }
}

impl Link {
    /// In the background: beats and orders do not wait for it.
    fn inspect(
        &self,
        ask: u64,
        peers: BTreeMap<InstanceId, String>,
        sender: mpsc::Sender<AttachRequest>,
    ) {
        let (config, door) = (self.config.clone(), self.door.clone());
        tokio::spawn(async move {
            let facts = Box::new(facts::gather(&config, &door, &peers).await);
            match wire(&Up::Facts { ask, facts }) {
                // A link that is gone meanwhile has nobody who waits.
                Ok(message) => drop(sender.send(message).await),
                Err(error) => tracing::error!("what was asked cannot be sent: {error:#}"),
            }
        });
    }
}

fn wire(up: &Up) -> anyhow::Result<AttachRequest> {
    Ok(AttachRequest {
        format: FORMAT,
        payload: link::encode(up)?,
    })
}

#[cfg(test)]
mod tests;
