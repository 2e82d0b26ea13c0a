//! Scenarios on real MySQL: three control nodes, four servers with their agents, one writer.
//!
//! Each builds a world of its own with `primacy demo --stay`, breaks something as an unlucky night
//! would, and waits for what must follow. At its end every write that the writer saw acknowledged
//! is on the final primary, all who are asked name the same one, and no log holds a warning that
//! the scenario did not list. Without a MySQL server they are skipped, and say so.

#[path = "real/adoption.rs"]
mod adoption;
#[path = "real/agents.rs"]
mod agents;
#[path = "real/asking.rs"]
mod asking;
#[path = "real/balancer.rs"]
mod balancer;
#[path = "real/changes.rs"]
mod changes;
#[path = "real/choice.rs"]
mod choice;
#[path = "real/control_plane.rs"]
mod control_plane;
#[path = "real/disks.rs"]
mod disks;
#[path = "real/durable.rs"]
mod durable;
#[path = "real/eyes.rs"]
mod eyes;
#[path = "real/faults.rs"]
mod faults;
#[path = "../../node/src/agent/sql/tests/foreign.rs"]
mod foreign;
#[path = "real/founding.rs"]
mod founding;
#[path = "real/going.rs"]
mod going;
#[path = "real/ground.rs"]
mod ground;
#[path = "real/hand.rs"]
mod hand;
#[path = "real/isolated.rs"]
mod isolated;
#[path = "real/locks.rs"]
mod locks;
#[path = "real/logs.rs"]
mod logs;
#[path = "real/nodes.rs"]
mod nodes;
#[path = "real/operator.rs"]
mod operator;
#[path = "real/owner.rs"]
mod owner;
#[path = "real/passwords.rs"]
mod passwords;
#[path = "real/readiness.rs"]
mod readiness;
#[path = "real/relay.rs"]
mod relay;
#[path = "real/replicas.rs"]
mod replicas;
#[path = "real/scheduled.rs"]
mod scheduled;
#[path = "real/shutdown.rs"]
mod shutdown;
#[path = "real/stages.rs"]
mod stages;
#[path = "real/stale.rs"]
mod stale;
#[path = "real/stalls.rs"]
mod stalls;
#[path = "real/starved.rs"]
mod starved;
#[path = "real/strace.rs"]
mod strace;
#[path = "real/volume.rs"]
mod volume;
#[path = "real/wedged.rs"]
mod wedged;
#[path = "real/world.rs"]
mod world;
#[path = "real/writer.rs"]
mod writer;
#[path = "real/xa.rs"]
mod xa;
