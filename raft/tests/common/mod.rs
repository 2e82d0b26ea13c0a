//! Nodes with real files and real connections, each on a runtime of its own: dropping that is a
//! crash. Nothing here waits for a time, only for conditions, with a deadline.
#![allow(dead_code, reason = "each test binary uses its part")]

mod wait;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use primacy_core::ids::{Committed, NodeId};
use primacy_core::record::{FEATURE_LEVEL, Member, Outcome};
use primacy_raft::{Config, Handle, Initialized, StartError};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use wait::{DEADLINE, proposal, until};

pub struct Node {
    pub handle: Handle,
    runtime: Option<Runtime>,
}

impl Node {
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("running").block_on(async {
            tokio::time::timeout(DEADLINE, future)
                .await
                .expect("done within the deadline")
        })
    }

    pub fn until(&self, what: &str, mut holds: impl FnMut(&Handle) -> bool) {
        let runtime = self.runtime.as_ref().expect("running");
        runtime.block_on(until(
            || format!("{what}; {:?}", self.handle.status()),
            async || holds(&self.handle).then_some(()),
        ));
    }

    pub fn propose(&self, proposer: u64, seq: u64) -> Committed<Outcome> {
        self.run(async {
            loop {
                let proposal = proposal(proposer, seq);
                match self.handle.propose(proposal, Duration::from_secs(5)).await {
                    Ok(committed) => return committed,
                    Err(error) => assert!(error.retryable(), "{error}"),
                }
            }
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub struct Plane {
    dirs: TempDir,
    pub members: BTreeMap<NodeId, Member>,
    pub nodes: BTreeMap<NodeId, Node>,
    snapshot_every: u64,
    /// The feature level that each node started from now on knows.
    pub knows: u32,
}

impl Plane {
    /// Founded, with a leader.
    pub fn new(voters: u64, snapshot_every: u64) -> Self {
        Self::knowing(voters, snapshot_every, FEATURE_LEVEL)
    }

    /// The same, of nodes that know this feature level.
    pub fn knowing(voters: u64, snapshot_every: u64, knows: u32) -> Self {
        let listeners: Vec<_> = (1..=voters)
            .map(|id| (NodeId(id), TcpListener::bind("127.0.0.1:0").unwrap()))
            .collect();
        let members = listeners
            .iter()
            .map(|(id, listener)| {
                let address = listener.local_addr().unwrap().to_string();
                (
                    *id,
                    Member {
                        address,
                        region: format!("r{id}"),
                    },
                )
            })
            .collect();
        let mut plane = Self {
            dirs: tempfile::tempdir().unwrap(),
            members,
            nodes: BTreeMap::new(),
            snapshot_every,
            knows,
        };
        for (id, listener) in listeners {
            plane.start_on(id, listener).unwrap();
        }
        let members = plane.members.clone();
        let first = &plane.nodes[&NodeId(1)];
        assert_eq!(
            first.run(first.handle.initialize(members.clone())),
            Ok(Initialized::Now)
        );
        assert_eq!(
            first.run(first.handle.initialize(members)),
            Ok(Initialized::Already)
        );
        plane.leader();
        plane
    }

    pub fn dir(&self, id: NodeId) -> PathBuf {
        self.dirs.path().join(id.to_string())
    }

    /// The port of a node that does not run; its last connections may hold it for a moment.
    pub fn listener(&self, id: NodeId) -> TcpListener {
        let start = Instant::now();
        loop {
            match TcpListener::bind(&self.members[&id].address) {
                Ok(listener) => return listener,
                Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
            }
        }
    }

    pub fn start(&mut self, id: NodeId) -> Result<(), StartError> {
        let listener = self.listener(id);
        self.start_on(id, listener)
    }

    fn start_on(&mut self, id: NodeId, listener: TcpListener) -> Result<(), StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::new(id, self.dir(id), self.members[&id].clone());
        config.snapshot_every = self.snapshot_every;
        config.knows = self.knows;
        let start = Instant::now();
        // After a crash the writer's thread ends a moment later.
        let handle = loop {
            match runtime.block_on(Handle::start(config.clone())) {
                Err(StartError::Identity(primacy_raft::IdentityError::InUse(_)))
                    if start.elapsed() < DEADLINE => {}
                other => break other?,
            }
        };
        let service = handle.service();
        runtime.spawn(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let serving = Server::builder().add_service(service);
            serving
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
                .await
                .unwrap();
        });
        self.nodes.insert(
            id,
            Node {
                handle,
                runtime: Some(runtime),
            },
        );
        Ok(())
    }

    pub fn crash(&mut self, id: NodeId) {
        drop(self.nodes.remove(&id).expect("running"));
    }

    /// A node that leads, and hears a majority.
    pub fn leader(&self) -> NodeId {
        let start = Instant::now();
        loop {
            let leader = self.nodes.iter().find(|(_, node)| {
                let leadership = node.handle.leadership().borrow().clone();
                leadership.is_leader && leadership.hears_majority
            });
            if let Some((id, _)) = leader {
                return *id;
            }
            assert!(start.elapsed() < DEADLINE, "a leader in time");
            std::thread::yield_now();
        }
    }

    pub fn follower(&self) -> NodeId {
        let leader = self.leader();
        *self
            .nodes
            .keys()
            .find(|id| **id != leader)
            .expect("a follower")
    }

    /// Every node shows the same state, with everything that was committed before.
    pub fn agree(&self) {
        let leader = &self.nodes[&self.leader()];
        let newest = leader
            .run(leader.handle.read(DEADLINE))
            .expect("a linearizable read");
        for node in self.nodes.values() {
            node.until("caught up", |handle| {
                handle.watch().borrow().at() >= newest.at()
            });
            let shown = node.handle.watch().borrow().clone();
            if shown.at() == newest.at() {
                assert_eq!(shown, newest);
            }
        }
    }
}
