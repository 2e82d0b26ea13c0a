//! Decide: drives the core's node with what the shells bring, and hands out what it wants done.

mod alarms;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use primacy_core::ids::{ClusterId, InstanceId, NodeId};
use primacy_core::node::{Leads, Node, NodeInput, NodeOutput, NodeSettings, Standing, WatchView};
use primacy_core::record::{Command, FEATURE_LEVEL, InstanceSpec};
use primacy_raft::{Handle, Leadership};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::act::Links;
use crate::clock;
use crate::config::NodeConfig;
use crate::observe::Probers;
use crate::record::{Door, MemoryFile, Refusals, propose};

/// Fine enough for a grace of 20 ms.
const TICK: Duration = Duration::from_millis(5);
/// Fine enough for when to look and whom to ask again; what is heard meanwhile is judged at once.
const TICK_AT_REST: Duration = Duration::from_millis(20);
const FOUND_LIMIT: Duration = Duration::from_secs(2);
const FOUND_AGAIN_MS: u64 = 2_500;

/// What this node sees, for `status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct View {
    pub node: NodeId,
    pub leads: bool,
    pub instances: BTreeMap<InstanceId, WatchView>,
    pub standing: BTreeMap<ClusterId, Standing>,
}

/// Asks the driver for its view.
pub type ViewRequest = oneshot::Sender<View>;

pub struct Driver {
    pub config: NodeConfig,
    pub handle: Handle,
    pub memory: MemoryFile,
    pub links: Links,
    pub door: Door,
    pub refusals: Refusals,
    pub inputs: mpsc::Sender<NodeInput>,
}

fn leads(leadership: &Leadership) -> Leads {
    Leads {
        leader: leadership.leader,
        me: leadership.is_leader,
        hears_majority: leadership.hears_majority,
    }
}

impl Driver {
    /// Runs until the inputs end.
    pub async fn run(
        mut self,
        mut waiting: mpsc::Receiver<NodeInput>,
        mut views: mpsc::Receiver<ViewRequest>,
    ) -> anyhow::Result<()> {
        let mut states = self.handle.watch();
        let mut leadership = self.handle.leadership();
        let first = states.borrow_and_update().clone();
        let memory = self.memory.memory().clone();
        let mut node = Node::new(
            self.config.id,
            memory.incarnation,
            NodeSettings::default(),
            memory.seen_alive,
            first.clone(),
        );
        let mut probers = Probers::new(&self.config, self.inputs.clone());
        let mut founded = None;
        let mut ticked = Instant::now();
        let mut pending = vec![
            NodeInput::Applied(first),
            NodeInput::Leads(leads(&leadership.borrow_and_update())),
        ];
        loop {
            for input in pending.drain(..) {
                for output in node.handle(clock::now(), input) {
                    self.carry_out(&node, output, &mut probers)?;
                }
            }
            let tick = if node.at_rest() { TICK_AT_REST } else { TICK };
            tokio::select! {
                changed = states.changed() => {
                    changed.context("the log ended")?;
                    pending.push(NodeInput::Applied(states.borrow_and_update().clone()));
                }
                changed = leadership.changed() => {
                    changed.context("the log ended")?;
                    let now = leadership.borrow_and_update().clone();
                    pending.push(NodeInput::Leads(leads(&now)));
                }
                input = waiting.recv() => match input {
                    Some(input) => pending.push(input),
                    None => return Ok(()),
                },
                Some(request) = views.recv() => {
                    let _ = request.send(self.view(&node));
                }
                () = sleep_until(ticked + tick) => {
                    ticked = Instant::now();
                    pending.push(NodeInput::Tick);
                    if leadership.borrow().is_leader
                        && node.state().get().plane.is_none()
                        && founded.is_none_or(|at| clock::now().since_ms(at) > FOUND_AGAIN_MS)
                    {
                        founded = Some(clock::now());
                        self.found_plane();
                    }
                }
            }
        }
    }

    fn view(&self, node: &Node) -> View {
        let clusters = node.state().get().clusters.keys();
        View {
            node: self.config.id,
            leads: self.handle.leadership().borrow().is_leader,
            instances: node.views(clock::now()),
            standing: clusters
                .filter_map(|id| Some((id.clone(), node.standing(id)?)))
                .collect(),
        }
    }

    fn carry_out(
        &mut self,
        node: &Node,
        output: NodeOutput,
        probers: &mut Probers,
    ) -> anyhow::Result<()> {
        match output {
            NodeOutput::Probe { instance, probe } => {
                if let Some(spec) = spec_of(node, &instance) {
                    probers.probe(instance, &spec, probe);
                }
            }
            NodeOutput::Order(order) => {
                let (what, to) = (order.get().kind.name(), order.get().instance.clone());
                tracing::debug!(order = what, %to, token = %order.get().token, "ordered");
                self.links.order(order);
            }
            NodeOutput::Acknowledge {
                cluster,
                instance,
                acknowledgement,
            } => {
                self.links.acknowledge(cluster, instance, acknowledgement);
            }
            NodeOutput::Propose(proposal) => {
                propose(&self.handle, proposal, &self.inputs, &self.refusals);
            }
            NodeOutput::Alarm { cluster, change } => alarms::log(&cluster, &change),
            NodeOutput::Remember { cluster, epoch } => self
                .memory
                .remember(cluster, epoch)
                .context("a node that cannot remember must not vote")?,
        }
        Ok(())
    }

    /// The first leader of a new plane gives it its name.
    fn found_plane(&self) {
        let door = self.door.clone();
        let found = Command::FoundPlane {
            plane: self.config.plane.clone(),
            level: FEATURE_LEVEL,
        };
        tokio::spawn(async move {
            if let Err(error) = door.submit(found, FOUND_LIMIT).await {
                tracing::info!("not founded yet: {:#}", anyhow::Error::new(error));
            }
        });
    }
}

fn spec_of(node: &Node, instance: &InstanceId) -> Option<InstanceSpec> {
    node.state()
        .get()
        .cluster_of(instance)?
        .instances
        .get(instance)
        .cloned()
}
