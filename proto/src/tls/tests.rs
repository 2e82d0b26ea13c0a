//! Real files and real connections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use primacy_core::ids::NodeId;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{ServerName, UnixTime};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_stream::Empty;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::service_fn;

use super::material::Material;
use super::*;
use crate::v1::primacy_service_client::PrimacyServiceClient;
use crate::v1::primacy_service_server::{PrimacyService, PrimacyServiceServer};
use crate::v1::{
    GetControlPlaneRequest, GetControlPlaneResponse, GetPrimaryRequest, GetPrimaryResponse,
    WatchPrimariesRequest, WatchPrimariesResponse,
};

const NODE: &str = "primacy://prod/node/1";
const OPERATOR: &str = "primacy://prod/operator/ann";
const YEAR: u64 = 365;

fn identity(uri: &str) -> Identity {
    uri.parse().expect(uri)
}

fn issued(authority: &Authority, dir: &Path, uri: &str) -> Files {
    let (identity, lifetime) = (identity(uri), Lifetime::days(YEAR));
    authority.issue_into(dir, &identity, lifetime).expect(uri)
}

fn opened(authority: &Authority, dir: &Path, uri: &str) -> Tls {
    let files = issued(authority, dir, uri);
    Tls::open(files, Wanted::Anybody).expect(uri)
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

// ---- the files

/// Opens good files after one change, and demands a refusal that names these words.
fn refused(wanted: Wanted, change: impl FnOnce(&Authority, &mut Files), words: &[&str]) {
    let dir = folder();
    let authority = Authority::new().expect("an authority");
    let mut files = issued(&authority, dir.path(), NODE);
    Tls::open(files.clone(), Wanted::Anybody).expect("they are good");
    change(&authority, &mut files);
    let error = Tls::open(files, wanted).expect_err(words[0]).to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} in {error}");
    }
}

fn put(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
}

#[test]
fn what_is_wrong_with_a_file_is_named_with_its_remedy() {
    let bad = |change: &dyn Fn(&Authority, &mut Files), words: &[&str]| {
        refused(Wanted::Anybody, change, words);
    };
    bad(
        &|_, files| files.ca.set_file_name("none.pem"),
        &["tls.ca = ", "none.pem", "No such file", "may read"],
    );
    bad(
        &|_, files| files.cert = files.cert.parent().unwrap().into(),
        &["tls.cert = ", "name a PEM file"],
    );
    bad(
        &|_, files| files.key.set_file_name("none.pem"),
        &["tls.key = ", "none.pem"],
    );
    bad(
        &|_, files| put(&files.ca, "no certificate"),
        &["tls.ca = ", "holds no certificate", "name the PEM file"],
    );
    bad(
        &|_, files| put(&files.cert, ""),
        &["tls.cert = ", "holds no certificate", "name the PEM file"],
    );
    bad(
        &|_, files| files.key = files.cert.clone(),
        &["tls.key = ", "holds no private key", "node-1.pem"],
    );
    bad(
        &|authority, files| {
            let other = authority.issue(&identity(NODE), Lifetime::days(1)).unwrap();
            put(&files.key, &other.key);
        },
        &["tls.key = ", "node-1-key.pem", "is not the key of"],
    );
    bad(
        &|_, files| put(&files.ca, &Authority::new().unwrap().cert),
        &["tls.cert = ", "not signed by an authority in", "ca.pem"],
    );
}

fn put_pair(files: &Files, issued: &Issued) {
    put(&files.cert, &issued.cert);
    put(&files.key, &issued.key);
}

#[test]
fn a_certificate_that_the_others_would_refuse_is_refused_at_start() {
    let lives = |from_s, until_s, words: &[&str]| {
        let lifetime = Lifetime { from_s, until_s };
        let change = |authority: &Authority, files: &mut Files| {
            put_pair(files, &authority.issue(&identity(NODE), lifetime).unwrap());
        };
        refused(Wanted::Anybody, change, words);
    };
    let expired = ["tls.cert = ", "expired on 2001-09-09", "issue a new one"];
    lives(0, 1_000_000_000, &expired);
    let early = ["tls.cert = ", "not valid before 2096-10-02", "clock"];
    lives(4_000_000_000, 4_100_000_000, &early);

    // Without our authority's care: no identity, two, one that is none; a client's as a node's.
    let signed = |names: &[&str], server: bool, words: &[&str]| {
        let dir = folder();
        let authority = Authority::create(dir.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = |name: &&str| rcgen::SanType::URI((*name).try_into().unwrap());
        params.subject_alt_names = names.iter().map(uri).collect();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        if server {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        }
        let cert = authority.sign(&params, &key).unwrap();
        let change = |_: &Authority, files: &mut Files| {
            put(&files.ca, &authority.cert);
            let key = key.serialize_pem();
            put_pair(files, &Issued { cert, key });
        };
        refused(Wanted::Anybody, change, words);
    };
    let remedy = "issue one with a";
    signed(&[], false, &["tls.cert", "names nobody", remedy]);
    signed(&["spiffe://prod/x"], false, &["names nobody", remedy]);
    signed(&[NODE, OPERATOR], false, &[NODE, OPERATOR, remedy]);
    signed(&["primacy://prod/boss"], false, &["primacy://prod/boss"]);
    signed(&[NODE], false, &["as a TLS server", "serverAuth"]);
    signed(&[NODE], true, &["as a TLS client", "clientAuth"]);
}

#[test]
fn a_configuration_takes_its_own_certificate_alone() {
    let node = |plane: &str, id| Wanted::Node(plane.into(), NodeId(id));
    let unchanged = |_: &Authority, _: &mut Files| {};
    for (wanted, needed) in [
        (node("prod", 2), "primacy://prod/node/2"),
        (node("test", 1), "primacy://test/node/1"),
        (
            Wanted::Agent("orders".into(), "orders-1".into()),
            "primacy://prod/agent/orders/orders-1",
        ),
    ] {
        let words = ["tls.cert = ", NODE, needed, "name its certificate"];
        refused(wanted, unchanged, &words);
    }
    let dir = folder();
    let authority = Authority::new().unwrap();
    let files = issued(&authority, dir.path(), NODE);
    Tls::open(files, node("prod", 1)).expect("its own");
    let files = issued(&authority, dir.path(), "primacy://p/agent/orders/orders-1");
    let wanted = Wanted::Agent("orders".into(), "orders-1".into());
    let tls = Tls::open(files, wanted).expect("its own");
    assert_eq!(tls.plane().as_str(), "p", "learned from the certificate");
}

#[test]
fn an_authority_lasts_as_files_and_is_not_replaced() {
    let dir = folder();
    let first = Authority::create(dir.path()).unwrap();
    let error = Authority::create(dir.path()).err().expect("it exists");
    assert!(error.to_string().contains("another --dir"), "{error}");
    let again = Authority::load(dir.path()).unwrap();
    assert_eq!(again.cert, first.cert);
    let tls = opened(&again, dir.path(), NODE);
    assert_eq!(tls.identity(), &identity(NODE));
    let none = folder();
    let error = Authority::load(none.path()).err().expect("there is none");
    assert!(error.to_string().contains("primacy cert ca"), "{error}");
}

#[test]
fn broken_files_never_replace_good_ones() {
    let dir = folder();
    let authority = Authority::new().unwrap();
    let files = issued(&authority, dir.path(), NODE);
    let tls = Tls::open(files.clone(), Wanted::Anybody).unwrap();
    let ends_s = tls.ends_s();
    let kept = |word: &str| match tls.reload() {
        Reloaded::Kept(error) => assert!(error.to_string().contains(word), "{error}"),
        other => panic!("{word}: {other:?}"),
    };
    assert_eq!(tls.reload(), Reloaded::Unchanged);
    assert_eq!(tls.ends_soon(), None);

    let soon = authority.issue(&identity(NODE), Lifetime::days(3)).unwrap();
    put(&files.cert, &soon.cert);
    kept("is not the key of"); // halfway
    put(&files.key, &soon.key);
    assert_eq!(tls.reload(), Reloaded::Replaced);
    assert!(tls.ends_s() < ends_s);
    assert!(tls.ends_soon().is_some(), "within 14 days");

    put(&files.cert, "-----BEGIN");
    kept("tls.cert");
    std::fs::remove_file(&files.cert).unwrap();
    kept("No such file");
    let other = authority.issue(&identity(OPERATOR), Lifetime::days(1));
    put_pair(&files, &other.unwrap());
    kept("speaks for primacy://prod/operator/ann, and this process is primacy://prod/node/1");
    assert!(tls.ends_soon().is_some(), "what was read is in use");
    put_pair(&files, &soon);
    assert_eq!(tls.reload(), Reloaded::Unchanged);
}

// ---- connections

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
