//! Looking at a running process's system calls, or holding them up.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::world::{LIMIT, end, end_within};

/// For so long it may let go of what it traced.
const PATIENCE: Duration = Duration::from_secs(20);

/// Attaches; returns once it has. `None`, said aloud, where that cannot be had. Ends with `detach`.
pub fn attach<S: AsRef<OsStr>>(pid: u32, arguments: impl IntoIterator<Item = S>) -> Option<Child> {
    let strace = Command::new("strace")
        .args(arguments)
        .args(["-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut strace = match strace {
        Ok(strace) => strace,
        Err(error) => {
            println!("skipped: strace cannot be started ({error}); install it");
            return None;
        }
    };
    let stderr = strace.stderr.take().expect("it is piped");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let said = receiver.recv_timeout(LIMIT).unwrap_or_default();
    if !said.contains("attached") {
        end(&mut strace);
        println!("skipped: strace may not attach to a process here: {said}");
        return None;
    }
    Some(strace)
}

/// Lets go of every thread; its file is whole then, line by line. A thread is let go when it next stops,
/// which one that waits for a slow disk does not do before that has answered: the kernel lets go of
/// it where strace is killed instead.
pub fn detach(mut strace: Child) {
    if !end_within(&mut strace, PATIENCE) {
        println!("strace did not let go within {PATIENCE:?}, and was killed");
    }
}
