//! A network between agents and nodes that belongs to the test: it sees each order and each reply,
//! loses those that it is told to lose, and can deliver an order once more, late. Beats and their
//! acknowledgements always pass.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use primacy_core::act::{Order, Reply, Said};
use primacy_core::ids::InstanceId;
use primacy_proto::agent_link::agent_link_service_server::AgentLinkService;
use primacy_proto::agent_link::{AttachRequest, AttachResponse};
use primacy_proto::link::{self, Down, FORMAT, Up};
use primacy_proto::tls::{Transport, incoming};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::world::{LIMIT, World, until};

const BACKLOG: usize = 64;

/// What may get lost on the way.
pub enum Passing<'a> {
    Order(&'a Order),
    Reply(&'a Reply),
}

type Loses = Box<dyn Fn(u64, &Passing<'_>) -> bool + Send>;
type ToAgent = mpsc::Sender<Result<AttachResponse, Status>>;

struct Shared {
    /// Whether a message on the link to this node is lost.
    loses: Mutex<Loses>,
    /// Every order that a node sent, lost ones too.
    orders: Mutex<Vec<(u64, Order)>>,
    replies: Mutex<Vec<Reply>>,
    /// Each agent's newest way through each node's link.
    agents: Mutex<BTreeMap<(InstanceId, u64), ToAgent>>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Relay(Arc<Shared>);

impl Relay {
    /// Starts the agents of these instances again, each node reached through here.
    pub async fn between(world: &mut World, ids: &[&str]) -> Relay {
        let shared = Arc::new(Shared {
            loses: Mutex::new(Box::new(|_, _| false)),
            orders: Mutex::default(),
            replies: Mutex::default(),
            agents: Mutex::default(),
        });
        for id in ids {
            let config = world.dir().join(id.replace("mysql", "agent") + ".toml");
            let mut text = std::fs::read_to_string(&config).expect("its configuration");
            for node in world.nodes() {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
                let listener = listener.expect("a free port");
                let here = listener.local_addr().expect("it is bound");
                let own = format!("{:?}", node.address);
                assert!(text.contains(&own), "{own} is in {text}");
                text = text.replace(&own, &format!("\"{here}\""));
                let link = Link {
                    node: node.id,
                    address: node.address.clone(),
                    agent: world.transport_of(&format!("agent-{}-{id}", world.cluster_id())),
                    shared: shared.clone(),
                };
                let server = Server::builder().add_service(link::server(link));
                let as_node = world.transport_of(&format!("node-{}", node.id));
                tokio::spawn(server.serve_with_incoming(incoming(listener, as_node)));
            }
            std::fs::write(&config, text).expect("its configuration");
            world.restart_agent(id).await;
        }
        for id in ids {
            world.heard(id).await;
        }
        Relay(shared)
    }

    /// From now on loses what this says; the first argument is the node of the link.
    pub fn lose(&self, loses: impl Fn(u64, &Passing<'_>) -> bool + Send + 'static) {
        *lock(&self.0.loses) = Box::new(loses);
    }

    pub fn heal(&self) {
        self.lose(|_, _| false);
    }

    /// The orders that nodes sent so far, each with its sender.
    pub fn orders(&self) -> Vec<(u64, Order)> {
        lock(&self.0.orders).clone()
    }

    /// Brings an order to its agent by whatever link is open, whenever it was given; waits for its
    /// answer.
    pub async fn deliver(&self, order: &Order) -> Said {
        let asked = lock(&self.0.replies).len();
        let payload = link::encode(&Down::Order(Box::new(order.clone()))).expect("it encodes");
        let response = AttachResponse {
            format: FORMAT,
            payload,
        };
        // An agent leaves its link to a node that is silent: those to the others stay.
        until(LIMIT, "the agent to be there", async || {
            let links = lock(&self.0.agents).clone();
            for ((instance, _), agent) in links {
                if instance == order.instance && agent.send(Ok(response.clone())).await.is_ok() {
                    return Some(());
                }
            }
            None
        })
        .await;
        until(LIMIT, "the answer to an order", async || {
            let replies = lock(&self.0.replies);
            let own = replies[asked..]
                .iter()
                .find(|reply| reply.instance == order.instance && reply.token == order.token);
            own.map(|reply| reply.said.clone())
        })
        .await
    }
}

/// One agent's way to one node.
#[derive(Clone)]
struct Link {
    node: u64,
    address: String,
    /// To the node it is the agent, as to the agent it is the node.
    agent: Transport,
    shared: Arc<Shared>,
}

#[tonic::async_trait]
impl AgentLinkService for Link {
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (to_agent, down) = mpsc::channel(BACKLOG);
        let link = self.clone();
        tokio::spawn(async move {
            // Ends when either side does; the agent then connects anew.
            let _ = link.run(request.into_inner(), to_agent).await;
        });
        Ok(Response::new(ReceiverStream::new(down)))
    }
}

impl Link {
    async fn run(
        &self,
        mut agent: Streaming<AttachRequest>,
        to_agent: ToAgent,
    ) -> Result<(), Status> {
        let unavailable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let endpoint = self.agent.endpoint(&self.address).map_err(unavailable)?;
        let channel = self.agent.connect(&endpoint, None).await;
        let mut client = link::client(channel.map_err(unavailable)?);
        let (to_node, up) = mpsc::channel(BACKLOG);
        let mut node = client.attach(ReceiverStream::new(up)).await?.into_inner();
        let gone = |_| Status::unavailable("gone");
        loop {
            tokio::select! {
                message = agent.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    if self.passes_up(&message, &to_agent) {
                        to_node.send(message).await.map_err(|_| gone(()))?;
                    }
                }
                message = node.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    if self.passes_down(&message) {
                        to_agent.send(Ok(message)).await.map_err(|_| gone(()))?;
                    }
                }
            }
        }
    }

    fn passes_up(&self, message: &AttachRequest, to_agent: &ToAgent) -> bool {
        match link::decode::<Up>(message.format, &message.payload) {
            Ok(Up::Hello { instance, .. }) => {
                let mut agents = lock(&self.shared.agents);
                agents.insert((instance, self.node), to_agent.clone());
                true
            }
            Ok(Up::Reply(reply)) => {
                let lost = lock(&self.shared.loses)(self.node, &Passing::Reply(&reply));
                lock(&self.shared.replies).push(*reply);
                !lost
            }
            Ok(Up::Beat { .. } | Up::Facts { .. }) => true,
            Err(error) => panic!("an agent's message: {error}"),
        }
    }

    fn passes_down(&self, message: &AttachResponse) -> bool {
        match link::decode::<Down>(message.format, &message.payload) {
            Ok(Down::Order(order)) => {
                let lost = lock(&self.shared.loses)(self.node, &Passing::Order(&order));
                lock(&self.shared.orders).push((self.node, *order));
                !lost
            }
            Ok(Down::Acknowledged(_) | Down::Inspect { .. }) => true,
            Err(error) => panic!("a node's message: {error}"),
        }
    }
}
