//! Finds the primary as a load balancer would: all agents asked in parallel, `GET /primary` every
//! 10 ms. Whoever answers 200 first is taken, and left when it no longer does; no epoch is looked
//! at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use primacy_core::ids::InstanceId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

const EVERY: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_millis(200);

/// Whom the clients write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub instance: InstanceId,
    pub address: SocketAddr,
}

/// Agents to ask: instance, its agent's HTTP address, its MySQL address.
pub(super) type Asked = Vec<(InstanceId, SocketAddr, SocketAddr)>;

/// What the polls saw, shared by all of them.
#[derive(Clone)]
pub(super) struct Polls(Arc<Mutex<Balancer>>);

impl Polls {
    fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an answer to a question, and tells who is taken by that: in the order of the answers.
    fn answered(
        &self,
        who: &InstanceId,
        serves: bool,
        begun: Instant,
        tell: impl FnOnce(Option<&InstanceId>),
    ) {
        let mut balancer = self.balancer();
        balancer.answered(who, serves, begun, Instant::now());
        tell(balancer.taken.as_ref());
    }

    /// From now on this one is not healthy, by the demo's own doing.
    pub fn broken(&self, instance: &InstanceId) {
        self.balancer().broken = Some(instance.clone());
    }

    /// Who answered 200 although another one had begun to, if anybody ever did.
    pub fn second(&self) -> Option<String> {
        self.balancer().second.clone()
    }

    /// How often a healthy primary answered anything but 200, or nothing.
    pub fn unwell(&self) -> u64 {
        self.balancer().unwell
    }
}

/// Polls in the background until the receiver is dropped. `rtt`: to the agents of other regions.
pub(super) fn discover(agents: Asked, rtt: Duration) -> (watch::Receiver<Option<Found>>, Polls) {
    let (sender, receiver) = watch::channel(None);
    let polls = Polls(Arc::default());
    // Once to connect, once to ask.
    let limit = LIMIT + 2 * rtt;
    let addresses: BTreeMap<_, _> = agents
        .iter()
        .map(|(instance, _, address)| (instance.clone(), *address))
        .collect();
    let addresses = Arc::new(addresses);
    for (instance, http, _) in agents {
        let (sender, polls, addresses) = (sender.clone(), polls.clone(), addresses.clone());
        tokio::spawn(async move {
            let mut stream = None;
            while !sender.is_closed() {
                let begun = Instant::now();
                let serves = ask(&mut stream, http, limit).await;
                polls.answered(&instance, serves, begun, |taken| {
                    let found = taken.map(|instance| Found {
                        instance: instance.clone(),
                        address: addresses[instance],
                    });
                    sender.send_if_modified(|last| {
                        let changed = *last != found;
                        *last = found;
                        changed
                    });
                });
                tokio::time::sleep(EVERY).await;
            }
        });
    }
    (receiver, polls)
}

/// What a load balancer makes of the answers.
#[derive(Debug, Default)]
struct Balancer {
    taken: Option<InstanceId>,
    /// Who answers 200 besides the one that is taken, and when that began.
    rivals: BTreeMap<InstanceId, Instant>,
    /// Who was ever taken.
    served: BTreeSet<InstanceId>,
    broken: Option<InstanceId>,
    second: Option<String>,
    unwell: u64,
}

impl Balancer {
    fn answered(&mut self, who: &InstanceId, serves: bool, begun: Instant, came: Instant) {
        if serves {
            match &self.taken {
                None => self.take(who),
                Some(taken) if taken != who => {
                    self.rivals.entry(who.clone()).or_insert(came);
                }
                Some(_) => self.look_for_a_second(who, begun),
            }
            return;
        }
        if self.served.contains(who) && self.broken.as_ref() != Some(who) {
            self.unwell += 1;
        }
        self.rivals.remove(who);
        if self.taken.as_ref() == Some(who) {
            self.taken = None;
            let first = self.rivals.iter().min_by_key(|(_, since)| **since);
            if let Some(next) = first.map(|(id, _)| id.clone()) {
                self.rivals.remove(&next);
                self.take(&next);
            }
        }
    }

    fn take(&mut self, who: &InstanceId) {
        self.taken = Some(who.clone());
        self.served.insert(who.clone());
    }

    /// One that answers 200 for the first time may have relieved the one that is taken since that
    /// was asked last. If it answers 200 to a question that was asked later still, there are two.
    fn look_for_a_second(&mut self, taken: &InstanceId, begun: Instant) {
        let rival = self.rivals.iter().find(|(_, since)| begun >= **since);
        if let Some((rival, since)) = rival {
            let later_ms = begun.duration_since(*since).as_millis();
            self.second.get_or_insert_with(|| {
                format!("{taken} and {rival}, {later_ms} ms after {rival} had begun")
            });
        }
    }
}

/// Whether this agent says that its instance takes writes.
async fn ask(kept: &mut Option<TcpStream>, http: SocketAddr, limit: Duration) -> bool {
    let code = timeout(limit, exchange(kept, http)).await.ok().flatten();
    if code.is_none() {
        *kept = None;
    }
    code == Some(200)
}

async fn exchange(kept: &mut Option<TcpStream>, http: SocketAddr) -> Option<u16> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(http).await.ok()?,
    };
    stream
        .write_all(b"GET /primary HTTP/1.1\r\nHost: agent\r\n\r\n")
        .await
        .ok()?;
    let mut answer = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            break (end + 4, length?.trim().parse::<usize>().ok()?);
        }
    };
    while answer.len() < head + length {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    let code = String::from_utf8_lossy(&answer[..head])
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    *kept = Some(stream);
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One answer a millisecond, each to a question of so long before: `a+` answered 200, `a-` did
    /// not, `a+3` was asked three milliseconds earlier.
    fn after(answers: &str) -> Balancer {
        let start = Instant::now() + Duration::from_secs(1);
        let mut balancer = Balancer::default();
        for (at, answer) in answers.split_whitespace().enumerate() {
            let came = start + Duration::from_millis(at as u64);
            let (who, rest) = answer.split_at(1);
            let (says, ago) = rest.split_at(1);
            let ago_ms = ago.parse().unwrap_or(0);
            let begun = came - Duration::from_millis(ago_ms);
            balancer.answered(&InstanceId::from(who), says == "+", begun, came);
        }
        balancer
    }

    #[test]
    fn the_first_200_is_taken_and_left_when_it_ends() {
        for (answers, taken) in [
            ("", None),
            ("a- b-", None),
            ("a- b+ a+", Some("b")),
            ("a+ b+ a-", Some("b")),
            ("a+ a-", None),
            ("a+ c+ b+ a-", Some("c")),
            ("a+ c+ b+ c- a-", Some("b")),
            ("a+ a- b+", Some("b")),
        ] {
            let balancer = after(answers);
            let name = balancer.taken.as_ref().map(InstanceId::as_str);
            assert_eq!(name, taken, "{answers}");
        }
    }

    #[test]
    fn a_second_is_one_that_answers_200_after_another_had_begun_to() {
        for (answers, second) in [
            ("a+ b- a+ b-", false),
            // It may have taken over since a was asked.
            ("a+ b+ a-", false),
            // This question is older than b's answer.
            ("a+ b+ a+2 a-", false),
            ("a+ b+ a+", true),
            ("a+ b+ a+1", true),
            ("a+ b+ a- a+ b+", true),
            ("a+ b+ a- b- a+ a+", false),
        ] {
            assert_eq!(after(answers).second.is_some(), second, "{answers}");
        }
    }

    #[test]
    fn what_a_healthy_primary_does_not_answer_is_counted() {
        assert_eq!(after("a- b- a+ a+ b-").unwell, 0, "no primary yet");
        assert_eq!(after("a+ a- a- a+ b-").unwell, 2);
        let mut balancer = after("a+");
        balancer.broken = Some("a".into());
        let now = Instant::now();
        balancer.answered(&"a".into(), false, now, now);
        assert_eq!(balancer.unwell, 0);
    }
}
