//! Who connects to whom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use primacy_core::ids::NodeId;
use rustls::pki_types::{ServerName, UnixTime};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_stream::Empty;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::service_fn;

use super::super::material::Material;
use super::super::{Authority, GateLayer, Identity, Reloaded, Tls, Transport, Wanted, incoming};
use super::{NODE, OPERATOR, folder, identity, issued, opened, put};
use crate::v1::primacy_service_client::PrimacyServiceClient;
use crate::v1::primacy_service_server::{PrimacyService, PrimacyServiceServer};
use crate::v1::{
    GetControlPlaneRequest, GetControlPlaneResponse, GetPrimaryRequest, GetPrimaryResponse,
    WatchPrimariesRequest, WatchPrimariesResponse,
};

/// Answers who asks.
struct Echo;

#[tonic::async_trait]
impl PrimacyService for Echo {
    async fn get_primary(
        &self,
        _: Request<GetPrimaryRequest>,
    ) -> Result<Response<GetPrimaryResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type WatchPrimariesStream = Empty<Result<WatchPrimariesResponse, Status>>;

    async fn watch_primaries(
        &self,
        _: Request<WatchPrimariesRequest>,
    ) -> Result<Response<Self::WatchPrimariesStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_control_plane(
        &self,
        request: Request<GetControlPlaneRequest>,
    ) -> Result<Response<GetControlPlaneResponse>, Status> {
        assert!(request.remote_addr().is_some(), "the address is known");
        let caller = request.extensions().get::<Identity>();
        let plane = caller.map_or("nobody".into(), Identity::to_string);
        Ok(Response::new(GetControlPlaneResponse {
            plane,
            ..Default::default()
        }))
    }
}

/// A node with this transport; it ends with the runtime.
async fn serve(transport: Transport) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let server = Server::builder()
        .layer(GateLayer::new(transport.clone()))
        .add_service(PrimacyServiceServer::new(Echo))
        .serve_with_incoming(incoming(listener, transport));
    tokio::spawn(server);
    address
}

fn channel(transport: &Transport, node: SocketAddr, to: Option<u64>) -> Channel {
    let endpoint = transport.endpoint(&node.to_string()).expect("an address");
    let endpoint = endpoint.connect_timeout(Duration::from_secs(30));
    transport.lazy(&endpoint, to.map(NodeId))
}

async fn ask(channel: Channel) -> Result<String, Status> {
    let mut client = PrimacyServiceClient::new(channel);
    let answer = client.get_control_plane(GetControlPlaneRequest {}).await?;
    Ok(answer.into_inner().plane)
}

/// Asks over a new connection, which one side refuses; why.
async fn refusal(transport: &Transport, node: SocketAddr, to: Option<u64>) -> String {
    let status = ask(channel(transport, node, to)).await.expect_err("no");
    let refusal = transport.refusal(&node.to_string());
    refusal.unwrap_or_else(|| panic!("{status:?}")).to_string()
}

#[tokio::test]
async fn each_side_accepts_its_own_plane_alone() {
    let dir = folder();
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let sub = |name: &str| dir.path().join(name);
    let tls = |authority, name: &str, uri| Transport::Tls(opened(authority, &sub(name), uri));
    let node = serve(tls(&ours, "ours", NODE)).await;
    let operator = tls(&ours, "ours", OPERATOR);

    assert_eq!(ask(channel(&operator, node, None)).await.unwrap(), OPERATOR);
    ask(channel(&operator, node, Some(1)))
        .await
        .expect("it is node 1");
    let why = refusal(&operator, node, Some(2)).await;
    let words = "primacy://prod/node/1 answers, and accepted is primacy://prod/node/2";
    assert!(why.contains(words), "{why}");
    ask(channel(&operator, node, None)).await.expect("again");
    assert_eq!(operator.refusal(&node.to_string()), None, "it is past");

    // Another authority: each side says that it is the other.
    let stranger = tls(&theirs, "theirs", OPERATOR);
    let why = refusal(&stranger, node, None).await;
    assert!(why.contains("no authority in tls.ca"), "{why}");
    let believing = sub("believing");
    let files = issued(&theirs, &believing, OPERATOR);
    put(&files.ca, &format!("{}{}", theirs.cert, ours.cert));
    let believing = Transport::Tls(Tls::open(files, Wanted::Anybody).unwrap());
    let why = refusal(&believing, node, None).await;
    assert!(
        why.contains("does not accept this side's certificate"),
        "{why}"
    );

    // The same authority, another plane: known, and refused by name.
    let test = tls(&ours, "ours", "primacy://test/operator/bob");
    let why = refusal(&test, node, None).await;
    assert!(why.contains("accepted is primacy://test/node/ID"), "{why}");
    let foreign = serve(tls(&ours, "ours", "primacy://test/node/1")).await;
    let why = refusal(&operator, foreign, None).await;
    assert!(why.contains("primacy://test/node/1 answers"), "{why}");

    // Who is not a node is none, whoever has signed for it.
    let why = refusal(
        &Transport::Tls(opened(&ours, &sub("ours"), NODE)),
        foreign,
        None,
    )
    .await;
    assert!(why.contains("accepted is primacy://prod/node/ID"), "{why}");
    let plain = Transport::Plain;
    ask(channel(&plain, node, None)).await.expect_err("no TLS");
    let open = serve(plain.clone()).await;
    assert_eq!(ask(channel(&plain, open, None)).await.unwrap(), "nobody");
    let why = refusal(&operator, open, None).await;
    assert!(why.contains("does not speak TLS"), "{why}");
}

/// Its own verifier would keep such a node from coming so far; one that lies has none.
#[tokio::test]
async fn a_node_of_another_plane_is_refused_by_name() {
    let dir = folder();
    let authority = Authority::new().unwrap();
    let node = serve(Transport::Tls(opened(&authority, dir.path(), NODE))).await;
    let uri = "primacy://test/node/2";
    let files = issued(&authority, dir.path(), uri);
    let contents = files.read().unwrap();
    let mut foreign = Material::new(&files, contents, &Wanted::Anybody, UnixTime::now()).unwrap();
    foreign.identity = identity(NODE); // whom it believes
    let connector = TlsConnector::from(Arc::new(foreign.client(None).unwrap()));
    let dial = service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(node).await?;
            let name = ServerName::from(node.ip());
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let endpoint = Endpoint::from_shared(format!("https://{node}")).unwrap();
    let channel = endpoint.connect_with_connector_lazy(dial);
    let status = ask(channel).await.expect_err("of another plane");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    for word in [
        uri,
        "this is a node of plane prod",
        "accepted is primacy://prod/",
    ] {
        assert!(status.message().contains(word), "{status:?}");
    }
}

#[tokio::test]
async fn new_files_serve_new_connections_and_old_connections_go_on() {
    let dir = folder();
    let (old, new) = (Authority::new().unwrap(), Authority::new().unwrap());
    let (node_dir, old_dir) = (dir.path().join("node"), dir.path().join("old"));
    let node_tls = opened(&old, &node_dir, NODE);
    let node = serve(Transport::Tls(node_tls.clone())).await;
    let before = Transport::Tls(opened(&old, &old_dir, OPERATOR));
    let standing = channel(&before, node, Some(1));
    ask(standing.clone()).await.expect("the old authority's");

    let after = Transport::Tls(opened(&new, &dir.path().join("new"), OPERATOR));
    assert!(refusal(&after, node, None).await.contains("no authority"));
    std::fs::remove_file(node_dir.join("ca.pem")).unwrap();
    issued(&new, &node_dir, NODE);
    assert_eq!(node_tls.reload(), Reloaded::Replaced);
    ask(channel(&after, node, None))
        .await
        .expect("the new authority's");
    assert!(refusal(&before, node, None).await.contains("no authority"));
    ask(standing).await.expect("it was made before");
}

#[tokio::test]
async fn a_connection_that_says_nothing_keeps_nobody_waiting() {
    let dir = folder();
    let authority = Authority::new().unwrap();
    let node = serve(Transport::Tls(opened(&authority, dir.path(), NODE))).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(node).await.unwrap());
    }
    let operator = Transport::Tls(opened(&authority, dir.path(), OPERATOR));
    ask(channel(&operator, node, None)).await.expect("answered");
}

#[tokio::test]
async fn an_agent_may_not_do_what_operators_do() {
    let dir = folder();
    let authority = Authority::new().unwrap();
    let node = serve(Transport::Tls(opened(&authority, dir.path(), NODE))).await;
    let uri = "primacy://prod/agent/orders/orders-1";
    let agent = Transport::Tls(opened(&authority, dir.path(), uri));
    let to_node = channel(&agent, node, None);
    ask(to_node.clone()).await.expect("it may read");
    let mut operator = crate::v1::operator_service_client::OperatorServiceClient::new(to_node);
    let request = crate::v1::SetPolicyRequest::default();
    let status = operator.set_policy(request).await.expect_err("no");
    assert_eq!(status.code(), Code::PermissionDenied);
    for word in [
        uri,
        "OperatorService/SetPolicy",
        "primacy://prod/operator/NAME",
    ] {
        assert!(status.message().contains(word), "{status:?}");
    }
}
