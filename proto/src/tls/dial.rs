//! The caller's side: connections to nodes.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use primacy_core::ids::NodeId;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use super::Tls;

/// How this process speaks to nodes, and, if it is one, how it is spoken to.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// In the clear: on one machine, or where the configuration says `plaintext = true`.
    #[default]
    Plain,
    Tls(Tls),
}

/// There is no connection, because one side does not accept the other: nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("TLS with {address}: {why}")]
pub struct HandshakeError {
    pub address: String,
    pub why: String,
}

impl Transport {
    /// An endpoint for `host:port`; timeouts are the caller's to add.
    pub fn endpoint(&self, address: &str) -> Result<Endpoint, Error> {
        let scheme = match self {
            Transport::Plain => "http",
            Transport::Tls(_) => "https",
        };
        Endpoint::from_shared(format!("{scheme}://{address}"))
    }

    /// Connects when it is first used, and again whenever the connection has ended. The endpoint's
    /// limit on connecting covers the handshake. `to`: the node that must answer, if it is known.
    pub fn lazy(&self, endpoint: &Endpoint, to: Option<NodeId>) -> Channel {
        match self {
            Transport::Plain => endpoint.connect_lazy(),
            Transport::Tls(tls) => {
                let tls = tls.clone();
                endpoint.connect_with_connector_lazy(service_fn(move |uri| {
                    connect(tls.clone(), uri, to)
                }))
            }
        }
    }

    /// Connects now.
    pub async fn connect(&self, endpoint: &Endpoint, to: Option<NodeId>) -> Result<Channel, Error> {
        match self {
            Transport::Plain => endpoint.connect().await,
            Transport::Tls(tls) => {
                let tls = tls.clone();
                let connector = service_fn(move |uri| connect(tls.clone(), uri, to));
                endpoint.connect_with_connector(connector).await
            }
        }
    }

    /// Why there is no connection to this address, if it is because one side did not accept the
    /// other's certificate. A node's judgement may arrive after its handshake, when what is called
    /// has only a broken connection to tell of: hence it is remembered here.
    pub fn refusal(&self, address: &str) -> Option<HandshakeError> {
        let Transport::Tls(tls) = self else {
            return None;
        };
        let why = tls.refusals().get(address)?.clone();
        Some(HandshakeError {
            address: address.to_owned(),
            why,
        })
    }
}

/// Boxed as it is: an `io::Error` would hide it from who looks through the sources.
type BoxError = Box<dyn StdError + Send + Sync>;

async fn connect(tls: Tls, uri: Uri, to: Option<NodeId>) -> Result<TokioIo<Watched>, BoxError> {
    let address = uri.authority().map_or("", |authority| authority.as_str());
    let address = address.to_owned();
    // What was said of an earlier connection says nothing of this one.
    tls.refusals().remove(&address);
    let stream = match uri.port_u16() {
        Some(_) => TcpStream::connect(&address).await?,
        None => return Err(format!("{address}: use host:port").into()),
    };
    stream.set_nodelay(true)?;
    // Neither sent nor checked: who answers is known by its identity, not by a host's name.
    let name = ServerName::try_from("node").expect("`node` is a DNS name");
    let config = tls.client(to)?;
    match TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
    {
        Ok(stream) => Ok(TokioIo::new(Watched {
            stream,
            tls,
            address,
            heard: false,
        })),
        Err(error) => Err(match judgement(&error) {
            Some(why) => {
                tls.refusals().insert(address.clone(), why.clone());
                HandshakeError { address, why }.into()
            }
            None => error.into(),
        }),
    }
}

/// What is wrong with a certificate, if that is why the connection ended.
fn judgement(error: &io::Error) -> Option<String> {
    use rustls::{CertificateError, Error as E};
    let inner = error.get_ref()?.downcast_ref::<E>()?;
    Some(match inner {
        E::AlertReceived(alert) => format!(
            "the node does not accept this side's certificate ({alert:?}): has the authority in \
             its tls.ca issued it?"
        ),
        E::InvalidMessage(_) => {
            "the node does not speak TLS: has its configuration a [tls]?".to_owned()
        }
        // Authorities may bear the same name; then it is the signature that does not fit.
        E::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "no authority in tls.ca has issued the node's certificate".to_owned()
        }
        E::InvalidCertificate(CertificateError::Other(other)) => other.0.to_string(),
        E::InvalidCertificate(error) => format!("the node's certificate is refused: {error}"),
        other => other.to_string(),
    })
}

/// A connection that notes the node's judgement of this side's certificate: it comes as the answer
/// to the first thing that is sent.
struct Watched {
    stream: TlsStream<TcpStream>,
    tls: Tls,
    address: String,
    heard: bool,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) if !self.heard && buf.filled().len() > before => {
                self.heard = true;
                self.tls.refusals().remove(&self.address);
            }
            Poll::Ready(Err(error)) if !self.heard => {
                if let Some(why) = judgement(error) {
                    self.tls.refusals().insert(self.address.clone(), why);
                }
            }
            _ => {}
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
