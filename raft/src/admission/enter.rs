//! Asking before taking part, and telling ever after.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use primacy_core::ids::{NodeId, PlaneId, Position, Term};
use primacy_core::record::Member;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until};

use super::judge::{Answers, Decision, EnterError, judge, lost};
use super::word::{Answer, Extent, Holding, Marks, Word};
use super::{FoundingId, Remains};
use crate::disk::{DiskError, off_the_async_threads};
use crate::fatal::{FatalCell, FatalError};
use crate::log_store::LogStore;
use crate::net::peers::{Lane, Peers, request};
use crate::net::{decode, encode, wire};
use crate::state_machine::Published;
use crate::types::{Raft, position};

/// A node with a log waits so long for answers, for nobody longer: else one dead member would keep
/// the others from coming back.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// One attempt to ask one member.
const ASK_LIMIT: Duration = Duration::from_millis(500);
/// All first members start together, as a rule.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(25);
/// Who does not answer for so long is asked less often.
const PATIENT_AFTER: Duration = Duration::from_secs(5);
const ASK_AGAIN_PATIENTLY: Duration = Duration::from_millis(500);
/// What a node waits for is said when it changes and holds for this long, and again.
const SAY_AFTER: Duration = Duration::from_secs(1);
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How far behind the last word a copy of a folder may be without being seen for one.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How this node came to take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// As one of those that found the plane.
    Founding,
    /// It had a log.
    Again,
}

/// A node's place among the members: what it says of itself, whom it asks.
#[derive(Clone)]
pub struct Seat {
    pub node: NodeId,
    pub plane: PlaneId,
    pub members: BTreeMap<NodeId, Member>,
    pub remains: Remains,
    pub log: LogStore,
    pub published: Published,
    pub peers: Peers,
}

impl Seat {
    pub fn word(&self) -> Word {
        let founding = self.remains.founding();
        let holding = match founding.id {
            id if founding.begun => Holding::Log(id),
            Some(id) => Holding::Founding(id),
            None => Holding::Nothing,
        };
        Word {
            node: self.node,
            plane: self.plane.clone(),
            members: self.members.clone(),
            holding,
            extent: self.extent(),
        }
    }

    /// What this node durably has.
    fn extent(&self) -> Extent {
        let applied = self.published.local().borrow().clone();
        let (term, end, committed) = self.log.extent();
        // An installed snapshot may be newer than the log.
        let end = end.max(applied.at());
        Extent {
            marks: Marks {
                generation: applied.get().generation,
                term,
                committed: committed.max(applied.at()).min(end),
            },
            end,
        }
    }

    /// Hears another one's word and answers it.
    pub async fn answer(&self, raft: &Raft, to: &Word) -> Result<Answer, DiskError> {
        let kept = self.remains.kept(to.node);
        self.hear(to).await?;
        Ok(Answer {
            word: self.word(),
            kept,
            confirmed: confirmed(raft, to.node),
        })
    }

    async fn hear(&self, other: &Word) -> Result<(), DiskError> {
        // Of another plane that stands at a member's address nothing is kept.
        let ours = match (&other.holding, self.remains.founding().id) {
            (Holding::Log(Some(theirs)), Some(mine)) => *theirs == mine,
            (Holding::Log(_), _) => true,
            (Holding::Nothing | Holding::Founding(_), _) => false,
        };
        if !ours || other.plane != self.plane {
            return Ok(());
        }
        let (of, told, remains) = (other.node, other.extent.marks, self.remains.clone());
        aside(move || remains.hear(of, told)).await
    }

    async fn keep(&self, id: FoundingId) -> Result<(), DiskError> {
        let remains = self.remains.clone();
        aside(move || remains.keep(id)).await
    }

    /// Everybody else whom the configuration or the log names, the log's address first.
    fn others(&self) -> BTreeMap<NodeId, Member> {
        let voters = self.published.local().borrow().get().voters.clone();
        let mut others = self.members.clone();
        others.extend(voters);
        others.remove(&self.node);
        others
    }

    async fn ask(&self, to: NodeId, member: &Member) -> Result<Answer, String> {
        let client = self.peers.client(to, member, Lane::Control);
        let mut client = client.map_err(|error| error.to_string())?;
        let said = |status: tonic::Status| match status.code() {
            tonic::Code::Unimplemented => "its version cannot tell; upgrade it".to_owned(),
            _ => reason(&status),
        };
        let message = wire::AskRequest {
            payload: encode(&self.word()).map_err(said)?,
        };
        let asked = client.ask(request(to, message, ASK_LIMIT));
        let answer = match tokio::time::timeout(ASK_LIMIT, asked).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return Err(said(status)),
            Err(_) => return Err("it takes too long".to_owned()),
        };
        let answer: Answer = decode(&answer.payload).map_err(said)?;
        if answer.word.node != to {
            return Err(format!("node {} answers there", answer.word.node));
        }
        Ok(answer)
    }

    /// Asks the members until it is clear whether this node may take part, and how. `waits` shows
    /// meanwhile for whom.
    pub async fn enter(
        &self,
        waits: &watch::Sender<Option<String>>,
    ) -> Result<Entered, EnterError> {
        let begun = Instant::now();
        let (results, mut heard) = mpsc::channel(16);
        let mut askers = JoinSet::new();
        for (id, member) in self.others() {
            let (seat, results) = (self.clone(), results.clone());
            askers.spawn(async move {
                loop {
                    let answer = seat.ask(id, &member).await;
                    if results.send((id, answer)).await.is_err() {
                        return;
                    }
                    sleep(match begun.elapsed() < PATIENT_AFTER {
                        true => ASK_AGAIN_AFTER,
                        false => ASK_AGAIN_PATIENTLY,
                    })
                    .await;
                }
            });
        }
        let mut answers = Answers::new();
        let mut waited = false;
        let mut said = Said::new(self.node, begun);
        loop {
            let stopped = |error: DiskError| EnterError::Stopped(error.into_io().to_string());
            let why = match judge(&self.word(), &answers, waited) {
                Decision::Refuse(error) => return Err(error),
                Decision::TakePart => return Ok(Entered::Again),
                Decision::Found => return Ok(Entered::Founding),
                Decision::Keep(id) => {
                    self.keep(id).await.map_err(stopped)?;
                    continue;
                }
                Decision::Propose => {
                    let id = aside(FoundingId::draw).await.map_err(stopped)?;
                    self.keep(id).await.map_err(stopped)?;
                    continue;
                }
                Decision::Wait(why) => why,
            };
            waits.send_replace(Some(why.clone()));
            tokio::select! {
                Some((id, answer)) = heard.recv() => {
                    if let Ok(answer) = &answer {
                        self.hear(&answer.word).await.map_err(stopped)?;
                    }
                    answers.insert(id, answer);
                }
                () = sleep_until(begun + ANSWERS_WITHIN), if !waited => waited = true,
                () = sleep_until(said.due(&why)) => said.say(why),
            }
        }
    }
}

/// As a leader: up to where `node` has confirmed its log, and in which term.
fn confirmed(raft: &Raft, node: NodeId) -> Option<(Term, Position)> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    if metrics.state != ServerState::Leader {
        return None;
    }
    let at = metrics.replication.as_ref()?.get(&node)?.as_ref()?;
    Some((Term(metrics.current_term), position(at)))
}

/// What is waited for, said while it lasts.
struct Said {
    node: NodeId,
    since: Instant,
    last: Option<(String, Instant)>,
}

impl Said {
    fn new(node: NodeId, since: Instant) -> Self {
        Self {
            node,
            since,
            last: None,
        }
    }

    fn due(&self, why: &str) -> Instant {
        match &self.last {
            None => self.since + SAY_AFTER,
            Some((last, at)) if last == why => *at + SAY_AGAIN_AFTER,
            Some((_, at)) => *at + SAY_AFTER,
        }
    }

    fn say(&mut self, why: String) {
        tracing::info!(
            "node {} takes no part yet: {why}. A node with an empty folder waits for every member: \
             one of them may know the plane",
            self.node
        );
        self.last = Some((why, Instant::now()));
    }
}

/// Tells the others every 10 s how far this node is bound, and learns from each what it keeps. A
/// log that was lost, and not known as such when the node started, stops it here.
pub async fn tell(seat: Seat, fatal: FatalCell) {
    let mut ticks = tokio::time::interval_at(Instant::now() + TELL_EVERY, TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = seat.others().into_iter().map(|(id, member)| {
            let seat = &seat;
            async move { seat.ask(id, &member).await.ok() }
        });
        for answer in futures::future::join_all(asked).await.into_iter().flatten() {
            if let Some(error) = lost(&seat.word(), &answer) {
                fatal.set(FatalError::new(error));
                return;
            }
            if let Err(error) = seat.hear(&answer.word).await {
                fatal.set(FatalError::new(error.into_io()));
                return;
            }
        }
    }
}

/// The innermost cause, which says more than "transport error".
fn reason(status: &tonic::Status) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = status;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    }
}

/// Work on the node's folder, off the async threads: see [`off_the_async_threads`].
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> Result<T, DiskError> {
    match off_the_async_threads(work).await {
        Ok(result) => result,
        Err(error) => Err(DiskError {
            act: "finish writing",
            path: "the node's folder".into(),
            source: error.into(),
        }),
    }
}
