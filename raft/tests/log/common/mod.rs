//! Nodes with real files and real connections, each on a runtime of its own: dropping that is a
//! crash. Nothing here waits for a time, only for conditions, with a deadline.

mod wait;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use primacy_core::ids::{Committed, NodeId};
use primacy_core::record::{FEATURE_LEVEL, Member, Outcome};
use primacy_raft::{Config, EnterError, Entered, Handle, StartError};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use wait::{DEADLINE, proposal, until};

pub struct Node {
    pub handle: Handle,
    entering: Option<JoinHandle<Result<Entered, EnterError>>>,
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

    /// What became of its entering.
    pub fn entered(&mut self) -> Result<Entered, EnterError> {
        let entering = self.entering.take().expect("looked at once");
        self.run(entering).expect("no panic")
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
    /// Whether each node started from now on asks the members before it takes part.
    pub asks: bool,
}

impl Plane {
    /// Founded, with a leader.
    pub fn new(voters: u64, snapshot_every: u64) -> Self {
        Self::knowing(voters, snapshot_every, FEATURE_LEVEL)
    }

    /// The same, of nodes that know this feature level.
    pub fn knowing(voters: u64, snapshot_every: u64, knows: u32) -> Self {
        let mut plane = Self {
            snapshot_every,
            knows,
            ..Self::unfounded(voters)
        };
        for id in 1..=voters {
            plane.start(NodeId(id)).unwrap();
        }
        for node in plane.nodes.values_mut() {
            assert_eq!(node.entered(), Ok(Entered::Founding));
        }
        plane.leader();
        plane
    }

    /// Nothing runs, every folder is empty.
    pub fn unfounded(voters: u64) -> Self {
        let listeners: Vec<_> = (1..=voters)
            .map(|id| (NodeId(id), TcpListener::bind("127.0.0.1:0").unwrap()))
            .collect();
        let member = |listener: &TcpListener, id: &NodeId| Member {
            address: listener.local_addr().unwrap().to_string(),
            region: format!("r{id}"),
        };
        let members = listeners
            .iter()
            .map(|(id, listener)| (*id, member(listener, id)))
            .collect();
        Self {
            dirs: tempfile::tempdir().unwrap(),
            members,
            nodes: BTreeMap::new(),
            snapshot_every: 1_000,
            knows: FEATURE_LEVEL,
            asks: true,
        }
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
        let mut config = Config::new(id, self.dir(id), self.members.clone());
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
        let (entering, asks) = (handle.clone(), self.asks);
        let entering = runtime.spawn(async move {
            match asks {
                true => entering.enter().await,
                false => entering.enter_unasked().await.map(|()| Entered::Again),
            }
        });
        self.nodes.insert(
            id,
            Node {
                handle,
                entering: Some(entering),
                runtime: Some(runtime),
            },
        );
        Ok(())
    }

    pub fn crash(&mut self, id: NodeId) {
        drop(self.nodes.remove(&id).expect("running"));
    }

    /// Forgets everything that a node had. Threads of one that was crashed may still write there: they
    /// do so elsewhere.
    pub fn wipe(&self, id: NodeId) {
        let gone = tempfile::tempdir_in(self.dirs.path()).unwrap().keep();
        std::fs::rename(self.dir(id), gone).unwrap();
    }

    /// Starts a node that must not take part; why not.
    pub fn refused(&mut self, id: NodeId) -> String {
        self.start(id).unwrap();
        let entered = self.nodes.get_mut(&id).expect("started").entered();
        let error = entered.expect_err("it takes part").to_string();
        self.crash(id);
        error
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
