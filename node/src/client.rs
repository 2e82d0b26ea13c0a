//! A small client of the API: it knows several endpoints, finds one that answers, and retries what
//! is idempotent. Used by the CLI; any Rust program may.

use std::future::Future;
use std::time::Duration;

use primacy_proto::MESSAGE_BYTES_MAX;
use primacy_proto::tls::{HandshakeError, Transport};
use primacy_proto::v1::operator_service_client::OperatorServiceClient;
use primacy_proto::v1::primacy_service_client::PrimacyServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A node that does not answer a connect by then is passed over.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(100);
/// A healthy node, some regions away, answers within this.
const TURN_LIMIT_MIN: Duration = Duration::from_millis(300);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("endpoint {0:?}: use host:port")]
    Malformed(String),
    #[error("none of {endpoints} answered within {limit:?}{hint}")]
    Unreachable {
        endpoints: String,
        limit: Duration,
        /// What may be the matter, if it can be told; after a semicolon.
        hint: String,
        source: Option<Box<Status>>,
    },
    /// With no node: another try would end so too.
    #[error(transparent)]
    Untrusted(HandshakeError),
    #[error("{}", .0.message())]
    Refused(Box<Status>),
}

impl ClientError {
    /// The request was not carried out, and another try may succeed.
    pub fn retryable(&self) -> bool {
        matches!(self, ClientError::Unreachable { .. })
    }

    /// For the stable exit codes of the CLI.
    pub fn code(&self) -> Code {
        match self {
            ClientError::Malformed(_) => Code::InvalidArgument,
            ClientError::Unreachable { .. } => Code::Unavailable,
            ClientError::Untrusted(_) => Code::Unauthenticated,
            ClientError::Refused(status) => status.code(),
        }
    }
}

/// Control nodes by address; the order is a preference.
#[derive(Clone, Debug)]
pub struct Client {
    nodes: Vec<(String, Channel)>,
    limit: Duration,
    turn_min: Duration,
    transport: Transport,
}

impl Client {
    /// Connects lazily: a node that is down now may answer later.
    pub fn new(
        endpoints: &[String],
        limit: Duration,
        transport: &Transport,
    ) -> Result<Self, ClientError> {
        let nodes = endpoints
            .iter()
            .map(|address| Ok((address.clone(), channel(address, transport)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            nodes,
            limit,
            turn_min: TURN_LIMIT_MIN,
            transport: transport.clone(),
        })
    }

    /// For a question that a healthy node may think about for so long.
    #[must_use]
    pub fn with_turn(self, turn_min: Duration) -> Self {
        Self { turn_min, ..self }
    }

    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|(address, _)| address.as_str())
    }

    /// One client per node, for who wants to ask each.
    pub fn each(&self) -> Vec<Client> {
        let one = |node: &(String, Channel)| Client {
            nodes: vec![node.clone()],
            limit: self.limit,
            turn_min: self.turn_min,
            transport: self.transport.clone(),
        };
        self.nodes.iter().map(one).collect()
    }

    /// How long each node is waited for before the next is asked: a stopped process still accepts
    /// connections, and no node may use up the others' time.
    pub fn turn(&self) -> Duration {
        (self.limit / (2 * self.nodes.len().max(1) as u32)).max(self.turn_min)
    }

    /// Asks one node after the other until one answers; again from the first until the limit.
    /// Only for what is idempotent.
    pub async fn ask<T, F>(&self, ask: impl Fn(Channel) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = tokio::time::Instant::now() + self.limit;
        let turn = self.turn();
        let (mut last, mut said) = (None, None);
        loop {
            let mut untrusted = Vec::new();
            for (address, channel) in &self.nodes {
                let until = (tokio::time::Instant::now() + turn).min(deadline);
                let asked = tokio::time::timeout_at(until, ask(channel.clone())).await;
                let status = match asked {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(status)) => status,
                    Err(_) => continue,
                };
                // Only a connection that was refused leaves this behind; an answer clears it.
                if let Some(refusal) = self.transport.refusal(address) {
                    untrusted.push(refusal);
                } else if matches!(status.code(), Code::Unavailable | Code::Unknown)
                    || !answered(&status)
                {
                    if answered(&status) {
                        said = Some(status.message().to_owned());
                    }
                    last = Some(Box::new(status));
                } else {
                    return Err(ClientError::Refused(Box::new(status)));
                }
            }
            let refused = untrusted.pop();
            if let Some(refusal) = &refused
                && untrusted.len() + 1 == self.nodes.len()
            {
                return Err(ClientError::Untrusted(refusal.clone()));
            }
            if tokio::time::Instant::now() + AGAIN >= deadline {
                let endpoints = self.endpoints().collect::<Vec<_>>().join(", ");
                return Err(ClientError::Unreachable {
                    endpoints,
                    limit: self.limit,
                    hint: match said {
                        // In a node's own words.
                        Some(said) if refused.is_none() => format!("; {said}"),
                        _ => self.hint(refused, last.as_deref()),
                    },
                    source: last,
                });
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Client {
    fn hint(&self, refused: Option<HandshakeError>, last: Option<&Status>) -> String {
        if let Some(refused) = refused {
            return format!("; {refused}");
        }
        let connected = last.is_some_and(|status| !answered(status) && !cannot_connect(status));
        match self.transport {
            Transport::Plain if connected => "; a node that speaks TLS hangs up on who does not: \
                                              give --tls-ca, --tls-cert and --tls-key"
                .to_owned(),
            Transport::Plain | Transport::Tls(_) => String::new(),
        }
    }
}

/// Whether a node said this itself: what went wrong on the way to it has a source.
fn answered(status: &Status) -> bool {
    std::error::Error::source(status).is_none()
}

fn cannot_connect(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Connects lazily.
pub(crate) fn channel(address: &str, transport: &Transport) -> Result<Channel, ClientError> {
    let endpoint = transport
        .endpoint(address)
        .map_err(|_| ClientError::Malformed(address.to_owned()))?;
    let endpoint = endpoint.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true);
    Ok(transport.lazy(&endpoint, None))
}

/// The operators' service of one node.
pub type OperatorApi = OperatorServiceClient<Channel>;

pub fn primaries(channel: Channel) -> PrimacyServiceClient<Channel> {
    PrimacyServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

pub fn operator(channel: Channel) -> OperatorApi {
    OperatorServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
