//! Applies committed entries to the state, publishes it, and makes snapshots of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias;
use openraft::{EntryPayload, OptionalSend, Snapshot};
use primacy_core::ids::{Committed, NodeId, Position};
use primacy_core::record::{Member, Outcome, State, UnknownLevel};
use tokio::sync::watch;

use crate::disk::off_the_async_threads;
use crate::fatal::{FatalCell, FatalError};
use crate::history::{History, HistoryEntry};
use crate::snapshot::{self, SnapshotBytes, SnapshotError, Snapshots, Stored};
use crate::types::{LogId, Membership, RaftEntry, SnapshotMeta, TypeConfig, position};

type RaftSnapshot = alias::SnapshotOf<TypeConfig, SnapshotBytes>;

/// The newest applied state, and whether it may be shown.
#[derive(Clone, Debug)]
pub struct Published {
    /// Each apply, from the start.
    local: watch::Sender<Committed<Arc<State>>>,
    /// The same, from the moment that this node has recovered.
    shown: watch::Sender<Committed<Arc<State>>>,
    recovered: Arc<Mutex<bool>>,
}

impl Published {
    fn new(first: Committed<Arc<State>>) -> Self {
        let nothing = Committed::witness(Position::default(), Arc::new(State::default()));
        Self {
            local: watch::Sender::new(first),
            shown: watch::Sender::new(nothing),
            recovered: Arc::new(Mutex::new(false)),
        }
    }

    fn publish(&self, state: Committed<Arc<State>>) {
        let recovered = lock(&self.recovered);
        self.local.send_replace(state.clone());
        if *recovered {
            self.shown.send_replace(state);
        }
    }

    /// From now on the state is shown.
    pub fn set_recovered(&self) {
        let mut recovered = lock(&self.recovered);
        *recovered = true;
        self.shown.send_replace(self.local.borrow().clone());
    }

    pub fn local(&self) -> watch::Receiver<Committed<Arc<State>>> {
        self.local.subscribe()
    }

    pub fn shown(&self) -> watch::Receiver<Committed<Arc<State>>> {
        self.shown.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What an apply changes.
#[derive(Clone, Debug, Default)]
struct Applied {
    last: Option<LogId>,
    membership: Membership,
    /// Shared with every reader; cloned when the next apply changes it.
    state: Arc<State>,
}

#[derive(Debug)]
pub struct StateMachine {
    applied: Applied,
    published: Published,
    history: History,
    files: Arc<Files>,
    fatal: FatalCell,
    /// The newest feature level that this version can apply.
    knows: u32,
}

/// The snapshot files, and the newest of them.
#[derive(Debug)]
struct Files {
    snapshots: Snapshots,
    newest: Mutex<Option<Stored>>,
}

impl StateMachine {
    /// Continues from the newest snapshot.
    pub fn new(
        snapshots: Snapshots,
        newest: Option<(Stored, State)>,
        history: History,
        fatal: FatalCell,
        knows: u32,
    ) -> Self {
        let (applied, newest) = match newest {
            Some((stored, state)) => {
                let meta = &stored.meta;
                let applied = Applied {
                    last: meta.last_log_id,
                    membership: meta.last_membership.clone(),
                    state: Arc::new(state),
                };
                (applied, Some(stored))
            }
            None => (Applied::default(), None),
        };
        let published = Published::new(applied.committed());
        let files = Arc::new(Files {
            snapshots,
            newest: Mutex::new(newest),
        });
        Self {
            applied,
            published,
            history,
            files,
            fatal,
            knows,
        }
    }

    pub fn published(&self) -> Published {
        self.published.clone()
    }
}

impl Applied {
    fn committed(&self) -> Committed<Arc<State>> {
        let at = self.last.as_ref().map(position).unwrap_or_default();
        Committed::witness(at, self.state.clone())
    }

    /// Stops before an entry that raises the feature level above what this version knows.
    fn apply(
        &mut self,
        entry: RaftEntry,
        knows: u32,
    ) -> Result<(Option<Outcome>, Option<HistoryEntry>), UnknownLevel> {
        let (log_id, at) = (entry.log_id, position(&entry.log_id));
        let done = match entry.payload {
            EntryPayload::Blank => (None, None),
            EntryPayload::Normal(logged) => {
                let outcome = Arc::make_mut(&mut self.state).apply(at, &logged.0, knows)?;
                let entry = HistoryEntry {
                    at,
                    proposal: logged.0,
                    outcome: Some(outcome.clone()),
                };
                (Some(outcome), Some(entry))
            }
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership);
                let voters = voters(&self.membership);
                Arc::make_mut(&mut self.state).set_voters(voters);
                (None, None)
            }
        };
        self.last = Some(log_id);
        Ok(done)
    }
}

/// The voters of a membership; while two configurations hold jointly, those of both.
pub fn voters(membership: &Membership) -> BTreeMap<NodeId, Member> {
    let ids: Vec<NodeId> = membership.voter_ids().collect();
    membership
        .nodes()
        .filter(|(id, _)| ids.contains(id))
        .map(|(id, member)| (*id, member.clone()))
        .collect()
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotBytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.applied.last, self.applied.membership.clone()))
    }

    /// One publication per batch: readers see a prefix of the log, never the middle of an apply.
    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        let mut history = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            // Nothing of this batch is published then, nor answered.
            let applied = self.applied.apply(entry, self.knows);
            let (outcome, record) = noted(&self.fatal, applied.map_err(io::Error::other))?;
            history.extend(record);
            if let Some(responder) = responder {
                answers.push((responder, outcome));
            }
        }
        if !history.is_empty() {
            self.history.put(history);
        }
        // Published before it is answered: who was answered reads what it wrote.
        self.published.publish(self.applied.committed());
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            applied: self.applied.clone(),
            history: self.history.clone(),
            files: self.files.clone(),
            fatal: self.fatal.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        bytes: SnapshotBytes,
    ) -> Result<(), io::Error> {
        let stored = Stored {
            meta: meta.clone(),
            bytes,
        };
        let (files, knows) = (self.files.clone(), self.knows);
        let saved = saving(move || {
            let (_, state) = snapshot::decode(&stored.bytes)?;
            state.known_to(knows)?;
            files.save(stored)?;
            Ok(state)
        });
        let state = noted(&self.fatal, saved.await)?;
        self.applied = Applied {
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
            state: Arc::new(state),
        };
        self.published.publish(self.applied.committed());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let newest = lock(&self.files.newest).clone();
        Ok(newest.map(|Stored { meta, bytes }| Snapshot {
            meta,
            snapshot: bytes,
        }))
    }
}

impl Files {
    /// Durable when it returns.
    fn save(&self, stored: Stored) -> Result<(), SnapshotError> {
        let mut newest = lock(&self.newest);
        // A snapshot built here may be overtaken by one that the leader sent.
        if newest
            .as_ref()
            .is_some_and(|newest| newest.meta.last_log_id >= stored.meta.last_log_id)
        {
            return Ok(());
        }
        self.snapshots.save(&stored)?;
        *newest = Some(stored);
        Ok(())
    }
}

/// The state at one position, to be written to a file.
#[derive(Debug)]
pub struct Builder {
    applied: Applied,
    history: History,
    files: Arc<Files>,
    fatal: FatalCell,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotBytes;

    /// history durable → snapshot durable → (openraft purges the log)
    ///
    /// In this order a restart, which replays only what is above the snapshot, leaves no gap in
    /// the history.
    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let durable = self.history.make_durable().await;
        if let Err(error) = durable {
            let error = error.into_io();
            self.fatal.set(FatalError::new(&error));
            return Err(error);
        }
        let Applied {
            last,
            membership,
            state,
        } = self.applied.clone();
        let meta = SnapshotMeta {
            last_log_id: last,
            last_membership: membership,
        };
        let files = self.files.clone();
        let saved = saving(move || {
            let bytes = snapshot::encode(&meta, &state)?;
            files.save(Stored {
                meta: meta.clone(),
                bytes: bytes.clone(),
            })?;
            Ok(Snapshot {
                meta,
                snapshot: bytes,
            })
        });
        noted(&self.fatal, saved.await)
    }
}

async fn saving<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, io::Error> {
    match off_the_async_threads(work).await {
        Ok(result) => result.map_err(SnapshotError::into_io),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn noted<T>(fatal: &FatalCell, result: Result<T, io::Error>) -> Result<T, io::Error> {
    if let Err(error) = &result {
        fatal.set(FatalError::new(error));
    }
    result
}
