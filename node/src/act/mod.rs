//! Act: the links to the agents. Orders go down, beats and replies come up.
//!
//! **Invariant:** what goes down is `Committed`; nothing here makes an order.

mod links;

use primacy_core::node::NodeInput;
use primacy_proto::agent_link::agent_link_service_server::AgentLinkService;
use primacy_proto::agent_link::{AttachRequest, AttachResponse};
use primacy_proto::link::{self, Up};
use primacy_proto::tls::{Identity, speaks_for};
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
        let from = From {
            address: request.remote_addr(),
            identity: request.extensions().get::<Identity>().cloned(),
        };
        let mut up = request.into_inner();
        let (sender, receiver) = mpsc::channel(LINK_BACKLOG);
        let (links, inputs) = (self.links.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let mut caller = None;
            while let Ok(Some(message)) = up.message().await {
                let taken = take(message, &mut caller, &from, &links, &sender);
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

/// Where a link comes from.
#[derive(Default)]
struct From {
    address: Option<std::net::SocketAddr>,
    /// `None` where no TLS is spoken.
    identity: Option<Identity>,
}

/// What one message means to the node; an error ends the link.
fn take(
    message: AttachRequest,
    caller: &mut Option<Caller>,
    from: &From,
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
        if let Some(identity) = &from.identity {
            speaks_for(identity, &cluster, &instance).map_err(|refusal| refusal.told())?;
        }
        let hello = Caller {
            cluster,
            instance,
            run,
            from: from.address,
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
        Up::Beat {
            beat,
            rtt_ms,
            after,
        } => Ok(Some(NodeInput::Beat {
            beat,
            rtt_ms,
            after,
        })),
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

#[cfg(test)]
pub(crate) mod tests {
    use primacy_core::gtid::GtidSet;
    use primacy_core::ids::{ClusterId, Incarnation, InstanceId};
    use primacy_core::observe::{Heartbeat, MysqldWord, Role, Word};
    use primacy_proto::link::FORMAT;

    use super::*;

    fn hello(instance: &str) -> Up {
        Up::Hello {
            cluster: ClusterId::from("shop"),
            instance: InstanceId::from(instance),
            run: 1,
        }
    }

    pub(crate) fn heartbeat(instance: &str, number: u64) -> Heartbeat {
        let word = Word {
            agent: Incarnation(1),
            beat: number,
            mysqld: Incarnation(1),
            says: MysqldWord::Exited,
        };
        Heartbeat {
            cluster: ClusterId::from("shop"),
            instance: InstanceId::from(instance),
            word,
            run_ms: None,
            slept: false,
            role: Role::Closed,
            token: None,
            opened: None,
            server_uuid: None,
            version: (9, 7, 4),
            fenced: true,
            executed: GtidSet::default(),
            received: GtidSet::default(),
            purged: GtidSet::default(),
            replica: None,
            write_stuck_ms: None,
            opening: false,
            marked: None,
            login_error: None,
            stuck: None,
            freed: Default::default(),
            besides: None,
            scheduled: None,
            harmless: Default::default(),
            branches: None,
            ground: Default::default(),
            unacknowledged_ms: None,
            paths: Default::default(),
        }
    }

    fn beat(instance: &str) -> Up {
        Up::Beat {
            beat: Box::new(heartbeat(instance, 1)),
            rtt_ms: 1,
            after: None,
        }
    }

    /// One agent's end of a link.
    struct Agent {
        caller: Option<Caller>,
        from: From,
        sender: Sender,
        _receiver: mpsc::Receiver<Result<AttachResponse, Status>>,
    }

    impl Agent {
        fn new() -> Self {
            let (sender, _receiver) = mpsc::channel(4);
            let caller = None;
            Self {
                caller,
                from: From::default(),
                sender,
                _receiver,
            }
        }

        fn sends(&mut self, links: &Links, payload: Vec<u8>) -> Result<bool, String> {
            let message = AttachRequest {
                format: FORMAT,
                payload,
            };
            let taken = take(message, &mut self.caller, &self.from, links, &self.sender);
            taken
                .map(|input| input.is_some())
                .map_err(|status| status.message().to_owned())
        }

        fn says(&mut self, links: &Links, up: &Up) -> Result<bool, String> {
            self.sends(links, link::encode(up).expect("it can be encoded"))
        }
    }

    #[test]
    fn with_a_certificate_an_agent_speaks_for_nobody_else() {
        let links = Links::default();
        let mut a = Agent::new();
        a.from.identity = Some("primacy://prod/agent/shop/a".parse().unwrap());
        let refused = a.says(&links, &hello("b")).expect_err("it is not b");
        assert!(
            refused.contains("primacy://prod/agent/shop/a may not call")
                && refused.contains("accepted is primacy://prod/agent/shop/b"),
            "{refused}"
        );
        assert_eq!(a.says(&links, &hello("a")), Ok(false));
        assert_eq!(a.says(&links, &beat("a")), Ok(true));
    }

    #[test]
    fn a_malformed_set_ends_one_link_and_nothing_else() {
        let links = Links::default();
        let (mut a, mut b) = (Agent::new(), Agent::new());
        for (agent, instance) in [(&mut a, "a"), (&mut b, "b")] {
            assert_eq!(agent.says(&links, &hello(instance)), Ok(false));
            assert_eq!(agent.says(&links, &beat(instance)), Ok(true), "to the core");
        }
        for bad in [
            "nonsense",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:0",
            "0-1-100",
        ] {
            let mut value = serde_json::to_value(beat("a")).expect("plain data");
            value["beat"]["beat"]["executed"] = bad.into();
            let payload = rmp_serde::to_vec_named(&value).expect("plain data");
            let why = a.sends(&links, payload).expect_err(bad);
            assert!(
                why.contains("agent of a is refused: malformed message"),
                "{why}"
            );
            assert!(
                why.contains("GTID") || why.contains("gtid") || why.contains(bad),
                "{why}"
            );
        }
        let why = a.sends(&links, vec![0xc1]).expect_err("no message at all");
        assert!(why.contains("malformed message on the agent link"), "{why}");
        assert_eq!(b.says(&links, &beat("b")), Ok(true), "the others go on");
    }

    #[test]
    fn an_agent_speaks_for_its_own_instance_alone() {
        let links = Links::default();
        let mut agent = Agent::new();
        let why = agent.says(&links, &beat("a")).expect_err("who is it?");
        assert!(why.contains("must say who speaks"), "{why}");
        assert_eq!(agent.says(&links, &hello("a")), Ok(false));
        let why = agent.says(&links, &beat("b")).expect_err("it is a");
        assert!(
            why.contains("a message of b came over the link of a"),
            "{why}"
        );
    }
}
