//! The listener's side: who connects, and who it is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::{Identity, IdentityError, Tls, Transport};

/// A peer gives up earlier; this is for those that never do.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Handshakes at once, hence descriptors that nobody has been authorised for; more wait to be
/// accepted.
const HANDSHAKES_MAX: usize = 512;
/// Connections made and not taken over by the server yet.
const BACKLOG: usize = 64;
/// When the process has no descriptor left, until somebody gives one back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// A caller that is refused again and again is named this often.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Whom a request comes from: among its extensions.
#[derive(Clone, Debug)]
pub struct Caller {
    pub remote: Option<SocketAddr>,
    /// `None` where no TLS is spoken.
    pub identity: Option<Result<Identity, IdentityError>>,
}

/// One connection, ready to be served.
pub enum Accepted {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connections to this listener. Handshakes run beside each other: a slow one delays nobody.
pub fn incoming(
    listener: TcpListener,
    transport: Transport,
) -> ReceiverStream<io::Result<Accepted>> {
    let (ready, accepted) = mpsc::channel(BACKLOG);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    tokio::spawn(async move {
        loop {
            let Ok(permit) = handshakes.clone().acquire_owned().await else {
                return; // never closed
            };
            let (stream, remote) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::debug!("no connection could be accepted: {error}");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                        continue;
                    }
                },
                () = ready.closed() => return,
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%remote, "TCP_NODELAY could not be set: {error}");
            }
            let (ready, transport) = (ready.clone(), transport.clone());
            tokio::spawn(async move {
                let accepted = match &transport {
                    Transport::Plain => Some(Accepted::Plain(stream)),
                    Transport::Tls(tls) => handshake(tls, stream, remote).await,
                };
                if let Some(accepted) = accepted {
                    let _ = ready.send(Ok(accepted)).await; // the server may have ended
                }
                drop(permit);
            });
        }
    });
    ReceiverStream::new(accepted)
}

async fn handshake(tls: &Tls, stream: TcpStream, remote: SocketAddr) -> Option<Accepted> {
    let Some(config) = tls.server() else {
        tracing::error!(
            "{} is no node's certificate: nobody is answered",
            tls.identity()
        );
        return None;
    };
    let accepting = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(HANDSHAKE_LIMIT, accepting).await {
        Ok(Ok(stream)) => Some(Accepted::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            refused(tls, remote, &error);
            None
        }
        Err(_) => {
            tracing::debug!(%remote, "no TLS handshake within {HANDSHAKE_LIMIT:?}");
            None
        }
    }
}

/// A connection that breaks is nobody's fault; one that was judged and refused is somebody's.
fn refused(tls: &Tls, remote: SocketAddr, error: &io::Error) {
    use rustls::Error as E;
    let judged = error.get_ref().and_then(|inner| inner.downcast_ref::<E>());
    let why = match judged {
        None => {
            tracing::debug!(%remote, "a TLS handshake broke off: {error}");
            return;
        }
        Some(E::InvalidMessage(_)) => "it does not speak TLS; give it a certificate".to_owned(),
        Some(E::NoCertificatesPresented) => "it has no certificate; give it one".to_owned(),
        Some(E::AlertReceived(alert)) => {
            format!("it does not accept this node's certificate ({alert:?})")
        }
        Some(error) => error.to_string(),
    };
    let text = format!("a connection from {} is refused: {why}", remote.ip());
    if tls.said().first_within(&text, SAY_AGAIN) {
        tracing::warn!("{text}");
    }
}

impl Connected for Accepted {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        match self {
            Accepted::Plain(stream) => Caller {
                remote: stream.peer_addr().ok(),
                identity: None,
            },
            Accepted::Tls(stream) => {
                let (socket, session) = stream.get_ref();
                let leaf = session.peer_certificates().and_then(<[_]>::first);
                Caller {
                    remote: socket.peer_addr().ok(),
                    identity: Some(leaf.map_or(Err(IdentityError::Missing), Identity::of)),
                }
            }
        }
    }
}

/// Hands a call on to whichever stream it is.
macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Accepted::Plain($stream) => $call,
            Accepted::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Accepted::Plain(stream) => stream.is_write_vectored(),
            Accepted::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
