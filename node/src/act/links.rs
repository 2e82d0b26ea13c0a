//! The agents connected to this node, one per instance.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use primacy_core::act::{Acknowledgement, Order};
use primacy_core::ids::{ClusterId, Committed, InstanceId};
use primacy_core::lint::Facts;
use primacy_proto::agent_link::AttachResponse;
use primacy_proto::link::{self, Down, FORMAT};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

/// A link that was heard within this is alive: a second agent under its id is refused. An agent
/// beats every 100 ms; one whose host died without a word makes room after this.
const ALIVE: std::time::Duration = std::time::Duration::from_millis(1_000);

pub(super) type Sender = mpsc::Sender<Result<AttachResponse, Status>>;
type Answer = Result<Facts, String>;

/// Who says to speak for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    /// Drawn at the start of the agent.
    pub run: u64,
    pub from: Option<SocketAddr>,
}

/// Of two clusters either may have an instance of the same name: one that nobody registered, say.
type Key = (ClusterId, InstanceId);

impl Caller {
    fn key(&self) -> Key {
        (self.cluster.clone(), self.instance.clone())
    }
}

struct Link {
    caller: Caller,
    sender: Sender,
    heard: Instant,
}

#[derive(Default)]
struct Inner {
    open: BTreeMap<Key, Link>,
    asks: BTreeMap<u64, (Key, oneshot::Sender<Answer>)>,
    asked: u64,
    /// The last second agent that was refused under an id, so that it is logged once.
    refused: BTreeMap<Key, u64>,
}

/// The agents connected to this node.
#[derive(Clone, Default)]
pub struct Links {
    inner: Arc<Mutex<Inner>>,
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sends a committed order; silently lost if the agent is not connected (the state still asks
    /// for it, so it is sent again).
    pub fn order(&self, order: Committed<Order>) {
        let key = (order.get().cluster.clone(), order.get().instance.clone());
        self.send(&key, &Down::Order(Box::new(order.into_inner())));
    }

    pub fn acknowledge(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        acknowledgement: Acknowledgement,
    ) {
        self.send(
            &(cluster, instance),
            &Down::Acknowledged(Box::new(acknowledgement)),
        );
    }

    /// Asks an agent for its facts; `None` if no agent of that cluster and instance is connected.
    /// Whoever waits gives up by dropping the receiver.
    pub fn inspect(
        &self,
        cluster: &ClusterId,
        instance: &InstanceId,
        peers: BTreeMap<InstanceId, String>,
    ) -> Option<oneshot::Receiver<Answer>> {
        let (sender, receiver) = oneshot::channel();
        let key = (cluster.clone(), instance.clone());
        let ask = {
            let mut inner = self.lock();
            let link = inner.open.get(&key)?;
            if link.sender.is_closed() {
                return None;
            }
            inner.asks.retain(|_, (_, waiting)| !waiting.is_closed());
            inner.asked += 1;
            let ask = inner.asked;
            inner.asks.insert(ask, (key.clone(), sender));
            ask
        };
        self.send(&key, &Down::Inspect { ask, peers });
        Some(receiver)
    }

    /// An agent's answer to `inspect`.
    pub(super) fn answered(&self, caller: &Caller, ask: u64, facts: Answer) {
        let mut inner = self.lock();
        if inner
            .asks
            .get(&ask)
            .is_some_and(|(of, _)| *of == caller.key())
            && let Some((_, waiting)) = inner.asks.remove(&ask)
        {
            let _ = waiting.send(facts); // nobody may wait any more
        }
    }

    fn send(&self, key: &Key, down: &Down) {
        let payload = match link::encode(down) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(instance = %key.1, %error, "a message to an agent cannot be encoded");
                return;
            }
        };
        let mut inner = self.lock();
        if let Some(link) = inner.open.get(key)
            && link
                .sender
                .try_send(Ok(AttachResponse {
                    format: FORMAT,
                    payload,
                }))
                .is_err()
        {
            inner.open.remove(key);
        }
    }

    /// Takes a link in, or says which other agent has its id.
    pub(super) fn attach(
        &self,
        caller: &Caller,
        sender: Sender,
        now: Instant,
    ) -> Result<(), Status> {
        let mut inner = self.lock();
        if let Some(link) = inner.open.get(&caller.key()) {
            let other = &link.caller;
            let alive =
                !link.sender.is_closed() && now.saturating_duration_since(link.heard) < ALIVE;
            if other.run != caller.run && alive {
                let status = twin(caller, other);
                if inner.refused.insert(caller.key(), caller.run) != Some(caller.run) {
                    tracing::warn!("{}", status.message());
                }
                return Err(status);
            }
        }
        let link = Link {
            caller: caller.clone(),
            sender,
            heard: now,
        };
        inner.open.insert(caller.key(), link);
        Ok(())
    }

    /// Notes that this agent was heard; an error if another one speaks for its instance by now.
    pub(super) fn heard(&self, caller: &Caller, now: Instant) -> Result<(), Status> {
        let mut inner = self.lock();
        match inner.open.get_mut(&caller.key()) {
            Some(link) if link.caller.run == caller.run => {
                link.heard = now;
                Ok(())
            }
            Some(link) => Err(twin(caller, &link.caller)),
            // Cut because it did not keep up: it connects anew.
            None => Err(Status::unavailable("this link was cut; connect anew")),
        }
    }

    /// The link has ended; another one of the same instance is left alone.
    pub(super) fn ended(&self, caller: &Caller, sender: &Sender) {
        let mut inner = self.lock();
        let own = inner
            .open
            .get(&caller.key())
            .is_some_and(|link| link.sender.same_channel(sender));
        if own {
            inner.open.remove(&caller.key());
        }
    }
}

fn twin(caller: &Caller, other: &Caller) -> Status {
    let place = |from: Option<SocketAddr>| from.map_or("somewhere".into(), |from| from.to_string());
    Status::already_exists(format!(
        "instance = {:?}: an agent at {} of cluster {} has this id, the one at {} of cluster {} is \
         refused; give each instance an id of its own in its agent's configuration, or end the \
         other agent",
        caller.instance.as_str(),
        place(other.from),
        other.cluster,
        place(caller.from),
        caller.cluster,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(instance: &str, run: u64) -> Caller {
        Caller {
            cluster: ClusterId::from("shop"),
            instance: InstanceId::from(instance),
            run,
            from: None,
        }
    }

    #[test]
    fn two_agents_with_one_id() {
        let links = Links::default();
        let (first, second) = (caller("db", 1), caller("db", 2));
        let now = Instant::now();
        let (to_first, mut at_first) = mpsc::channel(4);
        let (to_second, _at_second) = mpsc::channel(4);
        links
            .attach(&first, to_first.clone(), now)
            .expect("it is alone");
        let refused = links
            .attach(&second, to_second.clone(), now)
            .expect_err("db is taken");
        let text = refused.message();
        assert!(
            text.starts_with("instance = \"db\"") && text.contains("an id of its own"),
            "{text}"
        );
        links.heard(&first, now).expect("it keeps its place");
        assert!(links.heard(&second, now).is_err());
        // The same agent connects anew: its own place.
        links
            .attach(&first, to_first.clone(), now)
            .expect("it is the same");

        // The first is silent, as a dead host is: the second takes over, and the first learns it.
        let now = now + ALIVE;
        links
            .attach(&second, to_second.clone(), now)
            .expect("db is silent");
        assert!(links.heard(&first, now).is_err());
        links.heard(&second, now).expect("it speaks for db now");
        // The end of the old link does not end the new one.
        links.ended(&first, &to_first);
        links.heard(&second, now).expect("it speaks for db still");
        links.ended(&second, &to_second);
        assert!(links.heard(&second, now).is_err());
        assert!(
            at_first.try_recv().is_err(),
            "nothing was sent to the first"
        );
    }

    /// One of another cluster, valid by its certificate, takes nobody's place.
    #[test]
    fn two_clusters_may_have_an_instance_of_one_name() {
        let links = Links::default();
        let here = caller("db", 1);
        let there = Caller {
            cluster: ClusterId::from("staging"),
            ..caller("db", 2)
        };
        let now = Instant::now();
        let ((to_here, _at_here), (to_there, _at_there)) = (mpsc::channel(4), mpsc::channel(4));
        links.attach(&here, to_here, now).expect("it is alone");
        links.attach(&there, to_there, now).expect("it is another");
        links.heard(&here, now + ALIVE).expect("it keeps its place");
        links.heard(&there, now).expect("and so does the other");
    }

    #[tokio::test]
    async fn facts_come_from_the_agent_that_was_asked() {
        let links = Links::default();
        let (a, b) = (caller("a", 1), caller("b", 2));
        let shop = ClusterId::from("shop");
        let inspect = |cluster: &ClusterId, who: &Caller| {
            links.inspect(cluster, &who.instance, BTreeMap::new())
        };
        assert!(inspect(&shop, &a).is_none(), "not connected");
        let (to_a, mut at_a) = mpsc::channel(4);
        links.attach(&a, to_a, Instant::now()).expect("it is alone");
        assert!(
            inspect(&ClusterId::from("other"), &a).is_none(),
            "of another cluster"
        );
        let mut facts = inspect(&shop, &a).expect("it is connected");
        let asked = at_a.recv().await.expect("a message").expect("no status");
        let Ok(Down::Inspect { ask, .. }) = link::decode(asked.format, &asked.payload) else {
            panic!("it is asked");
        };
        links.answered(&b, ask, Err("not mine".into()));
        assert!(facts.try_recv().is_err(), "b was not asked");
        links.answered(&a, ask, Err("down".into()));
        assert_eq!(facts.await, Ok(Err("down".into())));
    }
}
