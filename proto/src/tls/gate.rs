//! Stands before every service of a node: nothing is called that [`authorize`] does not allow.

use std::task::{Context, Poll};
use std::time::Duration;

use tonic::Status;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::server::TcpConnectInfo;
use tower::Layer;

use super::{Caller, Identity, Transport, authorize};

/// A caller that is refused again and again is named this often.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Puts a [`Gate`] before a server's services.
#[derive(Clone)]
pub struct GateLayer {
    transport: Transport,
}

impl GateLayer {
    /// Without TLS nobody is known and everybody is let in: the configuration asks for it by name.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate {
            inner,
            transport: self.transport.clone(),
        }
    }
}

/// A service with its gatekeeper. What it lets in carries an [`Identity`] among its extensions.
#[derive(Clone)]
pub struct Gate<S> {
    inner: S,
    transport: Transport,
}

impl<S> Gate<S> {
    fn admit<B>(&self, request: &mut http::Request<B>) -> Result<(), Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        if let Some(caller) = &caller {
            // Where the services look for an address.
            request.extensions_mut().insert(TcpConnectInfo {
                local_addr: None,
                remote_addr: caller.remote,
            });
        }
        let Transport::Tls(tls) = &self.transport else {
            return Ok(());
        };
        let refused = |status: Status| {
            let remote = caller.as_ref().and_then(|caller| caller.remote);
            let from = remote.map_or("somewhere".into(), |remote| remote.ip().to_string());
            let text = format!("a call from {from} is refused: {}", status.message());
            if tls.said().first_within(&text, SAY_AGAIN) {
                tracing::warn!("{text}");
            }
            status
        };
        let identity = match caller.as_ref().and_then(|caller| caller.identity.as_ref()) {
            Some(Ok(identity)) => identity.clone(),
            Some(Err(error)) => {
                return Err(refused(Status::unauthenticated(error.to_string())));
            }
            None => {
                let text = "a connection without TLS reached a node that speaks it alone";
                return Err(refused(Status::unauthenticated(text)));
            }
        };
        authorize(&identity, tls.plane(), request.uri().path())
            .map_err(|refusal| refused(Status::permission_denied(refusal.to_string())))?;
        request.extensions_mut().insert::<Identity>(identity);
        Ok(())
    }
}

impl<S, B, R> Service<http::Request<B>> for Gate<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        match self.admit(&mut request) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}
