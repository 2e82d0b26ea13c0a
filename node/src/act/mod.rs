//! Act: the links to the agents. Orders go down, beats and replies come up.
//!
//! **Invariant:** what goes down is `Committed`; nothing here makes an order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use primacy_core::act::{Acknowledgement, Order};
use primacy_core::ids::{Committed, InstanceId};
use primacy_core::node::NodeInput;
use primacy_proto::agent_link::agent_link_service_server::AgentLinkService;
use primacy_proto::agent_link::{AttachRequest, AttachResponse};
use primacy_proto::link::{self, Down, FORMAT, Up};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Messages waiting for one agent; a slower one is cut and connects anew.
const LINK_BACKLOG: usize = 64;

type Sender = mpsc::Sender<Result<AttachResponse, Status>>;

/// The agents connected to this node.
#[derive(Clone, Default)]
pub struct Links {
    open: Arc<Mutex<BTreeMap<InstanceId, Sender>>>,
}

impl Links {
    /// Sends a committed order; silently lost if the agent is not connected (the state still asks
    /// for it, so it is sent again).
    pub fn order(&self, order: Committed<Order>) {
        let instance = order.get().instance.clone();
        self.send(&instance, &Down::Order(Box::new(order.into_inner())));
    }

    pub fn acknowledge(&self, instance: &InstanceId, acknowledgement: Acknowledgement) {
        self.send(instance, &Down::Acknowledged(acknowledgement));
    }

    fn send(&self, instance: &InstanceId, down: &Down) {
        let payload = match link::encode(down) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%instance, %error, "a message to an agent cannot be encoded");
                return;
            }
        };
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(sender) = open.get(instance)
            && sender
                .try_send(Ok(AttachResponse {
                    format: FORMAT,
                    payload,
                }))
                .is_err()
        {
            open.remove(instance);
        }
    }

    fn attach(&self, instance: InstanceId, sender: Sender) {
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        open.insert(instance, sender);
    }
}

/// The node's end of the agent link.
pub struct LinkService {
    pub links: Links,
    pub inputs: mpsc::Sender<NodeInput>,
}

#[tonic::async_trait]
impl AgentLinkService for LinkService {
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut up = request.into_inner();
        let (sender, receiver) = mpsc::channel(LINK_BACKLOG);
        let links = self.links.clone();
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = up.message().await {
                let input = match link::decode::<Up>(message.format, &message.payload) {
                    Ok(Up::Hello { instance, .. }) => {
                        links.attach(instance, sender.clone());
                        continue;
                    }
                    Ok(Up::Beat { beat, rtt_ms }) => NodeInput::Beat { beat, rtt_ms },
                    Ok(Up::Reply(reply)) => NodeInput::Reply(reply),
                    Err(error) => {
                        tracing::warn!(error = %chain(&error), "an agent's message is refused");
                        let _ = sender
                            .send(Err(Status::invalid_argument(chain(&error))))
                            .await;
                        return;
                    }
                };
                if inputs.send(input).await.is_err() {
                    return; // the node stops
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
