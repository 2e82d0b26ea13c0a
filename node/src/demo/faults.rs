//! What the demo breaks, and how it mends it.

use clap::ValueEnum;
use nix::sys::signal::Signal;
use primacy_core::ids::InstanceId;

use super::process::send;
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// kill -9 of the primary's mysqld.
    Kill,
    /// SIGSEGV in the primary's mysqld, which writes a core file.
    Segv,
    /// SIGSTOP of the primary's mysqld alone.
    Hang,
    /// SIGSTOP of agent and mysqld together, SIGCONT after the failover.
    Host,
    /// SIGSTOP of every process in the primary's region, the leader of the control plane
    /// included; SIGCONT later.
    Region,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Segv => "segv",
            Fault::Hang => "hang",
            Fault::Host => "host",
            Fault::Region => "region",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Fault::Kill => "kill -9 of its mysqld",
            Fault::Segv => "SIGSEGV in its mysqld, which writes a core file",
            Fault::Hang => "its mysqld is stopped (SIGSTOP)",
            Fault::Host => "its whole host is stopped: mysqld and agent (SIGSTOP)",
            Fault::Region => {
                "every process in its region is stopped, the leader included (SIGSTOP)"
            }
        }
    }

    /// Injects the fault; returns the processes to continue later.
    pub(super) fn inject(self, world: &World, primary: &InstanceId) -> Vec<u32> {
        let place = &world.places[primary];
        let mysqld = place.mysqld_pid();
        let mut stopped: Vec<u32> = Vec::new();
        match self {
            Fault::Kill | Fault::Segv => {
                let signal = match self {
                    Fault::Segv => Signal::SIGSEGV,
                    _ => Signal::SIGKILL,
                };
                if let Some(pid) = mysqld {
                    send(pid, signal);
                }
            }
            Fault::Hang => stopped.extend(mysqld),
            Fault::Host => {
                stopped.push(place.agent.pid());
                stopped.extend(mysqld);
            }
            Fault::Region => {
                let nodes = world
                    .nodes
                    .values()
                    .filter(|(region, _)| *region == place.region);
                stopped.extend(nodes.map(|(_, process)| process.pid()));
                for other in world
                    .places
                    .values()
                    .filter(|other| other.region == place.region)
                {
                    stopped.push(other.agent.pid());
                    stopped.extend(other.mysqld_pid());
                }
            }
        }
        for pid in &stopped {
            send(*pid, Signal::SIGSTOP);
        }
        stopped
    }

    /// Lets what was stopped run again.
    pub(super) fn heal(stopped: &[u32]) {
        for pid in stopped {
            send(*pid, Signal::SIGCONT);
        }
    }
}
