use std::net::SocketAddr;
use std::sync::Mutex;

use primacy_core::gtid::GtidSet;
use primacy_core::ids::ClusterId;
use primacy_core::observe::Heartbeat;
use primacy_proto::agent_link::AttachResponse;
use primacy_proto::agent_link::agent_link_service_server::AgentLinkService;
use tokio::sync::oneshot;
use tonic::{Request, Response, Streaming};

use super::*;
use crate::act::tests::heartbeat;
use crate::config::{MysqlAccess, ServerControl};

fn beat(number: u64) -> Message {
    Message::Beat(Box::new(heartbeat("a", number)))
}

/// A node that takes its time before it lets an agent attach.
struct Slow {
    asked: Mutex<Option<oneshot::Sender<()>>>,
    lets: Mutex<Option<oneshot::Receiver<()>>>,
    heard: mpsc::Sender<Up>,
}

#[tonic::async_trait]
impl AgentLinkService for Slow {
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let asked = self.asked.lock().unwrap().take();
        asked.expect("one link").send(()).expect("a test");
        let lets = self.lets.lock().unwrap().take();
        lets.expect("one link").await.expect("a test");
        let (down, stream) = mpsc::channel(1);
        let (mut up, heard) = (request.into_inner(), self.heard.clone());
        tokio::spawn(async move {
            while let Ok(Some(said)) = up.message().await {
                let said = link::decode(said.format, &said.payload).expect("of this version");
                heard.send(said).await.expect("a test");
            }
            drop(down);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn link_to(node: SocketAddr, inputs: mpsc::Sender<AgentInput>) -> Link {
    let here = "127.0.0.1".parse().expect("an address");
    let config = AgentConfig {
        cluster: ClusterId::from("shop"),
        instance: InstanceId::from("a"),
        nodes: vec![node.to_string()],
        dir: "agent".into(),
        http: SocketAddr::new(here, 0),
        plaintext: true,
        tls: None,
        source: None,
        mysql: MysqlAccess {
            user: "agent".into(),
            password: String::new(),
            password_file: None,
            replication_user: "repl".into(),
            replication_password: String::new(),
            replication_password_file: None,
            replication_tls: false,
        },
        server: ServerControl {
            dir: "server".into(),
            bind: here,
            port: 1,
            admin_port: 1,
            server_id: 1,
            buffer_pool_mib: 64,
            core_file: false,
        },
    };
    Link {
        address: node.to_string(),
        door: Door::new(&config),
        config,
        transport: Transport::Plain,
        run: 1,
        inputs,
    }
}

/// A node that an agent has asked to let it attach, and what it hears.
struct Node {
    lets: oneshot::Sender<()>,
    hears: mpsc::Receiver<Up>,
    /// The agent's end.
    sender: mpsc::Sender<Message>,
    _inputs: mpsc::Receiver<AgentInput>,
}

async fn node() -> Node {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let (asked, was_asked) = oneshot::channel();
    let (lets, may) = oneshot::channel();
    let (heard, hears) = mpsc::channel(256);
    let service = link::server(Slow {
        asked: Mutex::new(Some(asked)),
        lets: Mutex::new(Some(may)),
        heard,
    });
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let serve = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(incoming);
    tokio::spawn(serve);
    let (inputs, _inputs) = mpsc::channel(16);
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(link_to(address, inputs).run(receiver));
    was_asked.await.expect("it attaches");
    Node {
        lets,
        hears,
        sender,
        _inputs,
    }
}

/// The first beat that it hears, while `again` sends more of them.
async fn first_beat(
    hears: &mut mpsc::Receiver<Up>,
    mut again: impl AsyncFnMut(),
) -> Box<Heartbeat> {
    let first = async {
        loop {
            tokio::select! {
                said = hears.recv() => match said.expect("a node") {
                    Up::Beat { beat, .. } => break beat,
                    _ => continue,
                },
                () = tokio::time::sleep(Duration::from_millis(5)) => again().await,
            }
        }
    };
    let first = tokio::time::timeout(Duration::from_secs(60), first).await;
    first.expect("a beat, within a minute")
}

/// A node that has just started knows no beat before the first that it hears, and takes that for one of
/// now.
#[tokio::test]
async fn what_was_said_while_a_node_was_connected_to_is_not_said_to_it() {
    let mut node = node().await;
    node.sender.send(beat(1)).await.expect("a link");
    node.sender.send(beat(2)).await.expect("a link");
    node.lets.send(()).expect("a node");
    let mut number = 2;
    let first = first_beat(&mut node.hears, async || {
        number += 1;
        node.sender.send(beat(number)).await.expect("a link");
    });
    let first = first.await.word.beat;
    assert!(first > 2, "beat {first}, of before it attached, is said");
}

/// gRPC's own limit of 4 MiB would cut an instance off for good.
#[tokio::test]
async fn a_beat_of_a_torn_history_arrives() {
    let mut node = node().await;
    node.lets.send(()).expect("a node");

    let mut text = "01111111-1111-1111-1111-111111111111".to_owned();
    for gtid in 0..800_000 {
        text.push_str(&format!(":{}", 2 * gtid + 1));
    }
    assert!(text.len() > 5 << 20);
    let torn: GtidSet = text.parse().expect("a set");
    let mut number = 0;
    let heard = first_beat(&mut node.hears, async || {
        number += 1;
        let mut beat = Box::new(heartbeat("a", number));
        beat.executed.clone_from(&torn);
        // One that waits is as good as the next.
        let _ = node.sender.try_send(Message::Beat(beat));
    });
    assert_eq!(heard.await.executed, torn);
}
