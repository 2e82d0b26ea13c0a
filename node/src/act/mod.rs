//! Act: the links to the agents. Orders go down, beats and replies come up.
//!
//! **Invariant:** what goes down is `Committed`; nothing here makes an order.

mod links;

use primacy_core::node::NodeInput;
use primacy_proto::agent_link::agent_link_service_server::AgentLinkService;
use primacy_proto::agent_link::{AttachRequest, AttachResponse};
use primacy_proto::link::{self, Up};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub use links::Links;
use links::{Caller, Sender};

/// Messages waiting for one agent; a slower one is cut and connects anew.
const LINK_BACKLOG: usize = 64;

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
        let from = request.remote_addr();
        let mut up = request.into_inner();
        let (sender, receiver) = mpsc::channel(LINK_BACKLOG);
        let (links, inputs) = (self.links.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let mut caller = None;
            while let Ok(Some(message)) = up.message().await {
                let taken = take(message, &mut caller, from, &links, &sender);
                let input = match taken {
                    Ok(Some(input)) => input,
                    Ok(None) => continue,
                    Err(status) => {
                        // This link alone ends; the log and the other links know nothing of it.
                        let _ = sender.send(Err(status)).await;
                        break;
                    }
                };
                if inputs.send(input).await.is_err() {
                    break; // the node stops
                }
            }
            if let Some(caller) = caller {
                links.ended(&caller, &sender);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// What one message means to the node; an error ends the link.
fn take(
    message: AttachRequest,
    caller: &mut Option<Caller>,
    from: Option<std::net::SocketAddr>,
    links: &Links,
    sender: &Sender,
) -> Result<Option<NodeInput>, Status> {
    let up = link::decode::<Up>(message.format, &message.payload).map_err(|error| {
        let who = match caller {
            Some(caller) => format!("agent of {}", caller.instance),
            None => "an agent".to_owned(),
        };
        let text = format!("a message of the {who} is refused: {}", chain(&error));
        tracing::warn!("{text}");
        Status::invalid_argument(text)
    })?;
    if let Up::Hello {
        cluster,
        instance,
        run,
    } = up
    {
        let hello = Caller {
            cluster,
            instance,
            run,
            from,
        };
        links.attach(&hello, sender.clone(), Instant::now())?;
        *caller = Some(hello);
        return Ok(None);
    }
    let Some(caller) = caller else {
        return Err(Status::invalid_argument(
            "the first message of a link must say who speaks; use an agent of this version",
        ));
    };
    links.heard(caller, Instant::now())?;
    let foreign = |who: &primacy_core::ids::InstanceId| {
        Status::invalid_argument(format!(
            "a message of {who} came over the link of {}; each agent speaks for its own instance",
            caller.instance
        ))
    };
    match up {
        Up::Beat { beat, .. } if beat.instance != caller.instance => Err(foreign(&beat.instance)),
        Up::Reply(reply) if reply.instance != caller.instance => Err(foreign(&reply.instance)),
        Up::Beat { beat, rtt_ms } => Ok(Some(NodeInput::Beat { beat, rtt_ms })),
        Up::Reply(reply) => Ok(Some(NodeInput::Reply(reply))),
        Up::Facts { ask, facts } => {
            links.answered(caller, ask, *facts);
            Ok(None)
        }
        Up::Hello { .. } => Ok(None), // taken above
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
