//! One agent to a folder: two would undo each other's promises.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::config::AgentConfig;

const FILE: &str = "agent.lock";
/// The kernel may still be ending an agent that was killed a moment ago.
const ENDING_LIMIT: Duration = Duration::from_secs(2);
const TRY_EVERY: Duration = Duration::from_millis(20);

/// A folder is this agent's for as long as this lives, and no longer: the kernel gives the lock
/// back whatever becomes of the process, and no child inherits it.
#[derive(Debug)]
pub(super) struct Owner(#[allow(dead_code, reason = "held, not read")] Flock<File>);

impl Owner {
    /// Takes the folder; an agent that has it is named.
    pub fn take(folder: &Path, config: &AgentConfig) -> anyhow::Result<Owner> {
        let path = folder.join(FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let opened = options.open(&path);
        let mut file = opened.with_context(|| format!("{} cannot be made", path.display()))?;
        let deadline = Instant::now() + ENDING_LIMIT;
        let mut lock = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break lock,
                Err((mut held, Errno::EWOULDBLOCK)) if Instant::now() >= deadline => {
                    let mut who = String::new();
                    let _ = held.read_to_string(&mut who);
                    anyhow::bail!(
                        "{} is in the hands of {}; give each agent folders of its own",
                        folder.display(),
                        who.trim()
                    );
                }
                Err((held, Errno::EWOULDBLOCK)) => {
                    file = held;
                    std::thread::sleep(TRY_EVERY);
                }
                Err((_, errno)) => {
                    return Err(errno)
                        .with_context(|| format!("{} cannot be locked", path.display()));
                }
            }
        };
        // For people; the lock stands without it, on a full disk too.
        let who = format!(
            "the agent of {} of cluster {}, process {}\n",
            config.instance,
            config.cluster,
            std::process::id()
        );
        let _ = lock.rewind().and_then(|()| lock.write_all(who.as_bytes()));
        let length = u64::try_from(who.len()).unwrap_or(u64::MAX);
        let _ = lock.set_len(length);
        Ok(Owner(lock))
    }
}
