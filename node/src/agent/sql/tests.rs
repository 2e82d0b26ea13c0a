//! Orders through the executor, on a real server.

mod foreign;
mod opening;
mod scheduled;
mod writes;

use std::collections::BTreeMap;

use primacy_core::act::{AgentInput, Op, OpDone, OpError, OpId};
use primacy_core::ids::{ClusterId, InstanceId};
use tokio::sync::mpsc;

use super::Executor;
use crate::config::{AgentConfig, MysqlAccess, ServerControl};
use crate::mysqld::session::{Address, Session, Target, Transport, text};
use crate::mysqld::tests::rig::{Rig, soon};

/// More than an agent needs for all that it may have to do at once.
pub const ENOUGH_SESSIONS: usize = 12;

/// The executor of the first instance's agent, and what it reports.
pub struct Desk {
    pub rig: Rig,
    pub executor: Executor,
    inputs: mpsc::Receiver<AgentInput>,
    next: u64,
}

pub fn config(rig: &Rig, index: usize) -> AgentConfig {
    let (instance, accounts) = (&rig.instances[index], &rig.template.accounts);
    AgentConfig {
        cluster: ClusterId::from("shop"),
        instance: InstanceId::from("i0"),
        nodes: Vec::new(),
        dir: instance.dir.join("agent"),
        http: "127.0.0.1:0".parse().unwrap(),
        plaintext: true,
        tls: None,
        source: None,
        mysql: MysqlAccess {
            user: accounts.agent.user.clone(),
            password: accounts.agent.password().into(),
            password_file: None,
            replication_user: accounts.repl.user.clone(),
            replication_password: accounts.repl.password().into(),
            replication_password_file: None,
            replication_tls: false,
        },
        server: ServerControl {
            dir: instance.dir.clone(),
            bind: instance.bind,
            port: instance.port,
            admin_port: instance.admin_port,
            server_id: instance.server_id,
            buffer_pool_mib: instance.buffer_pool_mib,
            core_file: false,
        },
    }
}

impl Desk {
    pub async fn of(count: u16) -> Option<Self> {
        let rig = Rig::start(count).await?;
        let (sender, inputs) = mpsc::channel(256);
        let executor = Executor::new(&config(&rig, 0), sender);
        Some(Self {
            rig,
            executor,
            inputs,
            next: 0,
        })
    }

    /// Begins an op.
    pub fn run(&mut self, op: Op) -> OpId {
        self.next += 1;
        let id = OpId(self.next);
        self.executor.run(id, op);
        id
    }

    /// Waits for the end of one; those of others are dropped.
    pub async fn end(&mut self, of: OpId) -> Result<OpDone, OpError> {
        loop {
            let input = tokio::time::timeout_at(soon(), self.inputs.recv()).await;
            if let Some(AgentInput::OpEnded { id, result }) = input.expect("an end in time")
                && id == of
            {
                return result;
            }
        }
    }

    /// Waits for the end of all of these.
    pub async fn ends(&mut self, of: &[OpId]) -> BTreeMap<OpId, Result<OpDone, OpError>> {
        let mut ended = BTreeMap::new();
        while ended.len() < of.len() {
            let input = tokio::time::timeout_at(soon(), self.inputs.recv()).await;
            if let Some(AgentInput::OpEnded { id, result }) = input.expect("an end in time")
                && of.contains(&id)
            {
                ended.insert(id, result);
            }
        }
        ended
    }

    pub async fn does(&mut self, op: Op) -> OpDone {
        let id = self.run(op);
        self.end(id).await.expect("it ends well")
    }

    /// As nobody that the agent knows.
    pub async fn root(&self, index: usize) -> Session {
        let target = Target {
            address: Address::Socket(self.rig.instances[index].socket()),
            login: self.rig.template.accounts.root.clone(),
            transport: Transport::Plain,
        };
        Session::connect(&target, soon()).await.expect("root")
    }
}

/// The first value that a statement answers.
pub async fn value(session: &mut Session, sql: &str) -> String {
    let sets = session.ask(sql, soon()).await.expect("an answer");
    let row = sets.first().and_then(|rows| rows.first());
    row.and_then(|row| text(row, "v")).unwrap_or_default()
}
