//! What an agent promised is on its disk before the statement that it allows leaves: seen from
//! outside, in its system calls.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Child;

use nix::sys::signal::Signal;
use primacy_core::act::Seal;
use primacy_core::ids::{Epoch, InstanceId};

use crate::strace;
use crate::world::{World, signal};
use crate::writer::Writer;

const CALLS: &str = "write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync";

/// What stands in a seal's head before its text.
const NUMBERS: usize = 32;

/// One traced agent.
struct Trace {
    strace: Child,
    file: PathBuf,
    /// Where its seal is.
    dir: PathBuf,
}

impl Trace {
    /// Attaches to every thread of the agent; `None` where that cannot be had.
    fn attach(world: &World, id: &str) -> Option<Trace> {
        let name = id.replace("mysql", "agent");
        let file = world.dir().join(format!("{name}.strace"));
        let what = format!("trace={CALLS}");
        let arguments: [&OsStr; 8] = [
            "-f".as_ref(),
            "-yy".as_ref(),
            "-s".as_ref(),
            "8192".as_ref(),
            "-e".as_ref(),
            what.as_ref(),
            "-o".as_ref(),
            file.as_ref(),
        ];
        let strace = strace::attach(world.instance(id).agent_pid, arguments)?;
        let dir = world.dir().join(name);
        Some(Trace { strace, file, dir })
    }

    /// Detaches; what it saw.
    fn steps(self) -> Vec<Step> {
        strace::detach(self.strace);
        let text = std::fs::read(&self.file).expect("its trace");
        steps(&String::from_utf8_lossy(&text), &self.dir)
    }
}

#[derive(Debug)]
enum Step {
    /// Its head written in place, and synced.
    Saved(Box<Seal>),
    /// Text handed to the kernel for somebody else.
    Sent(String),
}

/// Reads strace's lines: `tid call(…) = result`, or in two parts if another thread came between. A
/// message counts from where its call begins, a sync from where it has ended.
fn steps(trace: &str, dir: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut draft = None;
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if let Some(first) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, first);
            sent(first, &mut steps);
            continue;
        }
        if call.starts_with("<... ") {
            let first = begun.remove(thread).unwrap_or_default();
            let rest = call.split_once("resumed>").map_or("", |(_, rest)| rest);
            saved(&format!("{first}{rest}"), dir, &mut draft, &mut steps);
            continue;
        }
        sent(call, &mut steps);
        saved(call, dir, &mut draft, &mut steps);
    }
    steps
}

fn sent(call: &str, steps: &mut Vec<Step>) {
    let sends = ["write(", "writev(", "sendto(", "sendmsg("];
    let socket = call.contains("<UNIX") || call.contains("<TCP") || call.contains("<socket");
    if socket && sends.iter().any(|name| call.starts_with(name)) {
        steps.push(Step::Sent(call.to_owned()));
    }
}

/// `draft` is what was written to the seal's file and is not synced yet.
fn saved(call: &str, dir: &Path, draft: &mut Option<Seal>, steps: &mut Vec<Step>) {
    let file = format!("<{}>", dir.join("seal").display());
    if call.starts_with("pwrite64(") && call.contains(&file) && call.contains("\"primacy1") {
        assert!(!call.contains("\"..."), "the trace is cut: {call}");
        let text = call
            .split_once('"')
            .and_then(|(_, rest)| rest.rsplit_once('"'));
        let head = unescaped(text.expect("what was written").0);
        *draft = Some(serde_json::from_slice(&head[NUMBERS..]).expect("a whole seal"));
    } else if call.starts_with("fdatasync(") && call.contains(&file) && call.ends_with(" = 0") {
        let seal = draft
            .take()
            .expect("nothing is synced that was not written");
        steps.push(Step::Saved(Box::new(seal)));
    }
}

/// A C string of strace's: what is no printable ASCII is a letter or up to three octal digits.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().expect("what is escaped") {
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'v' => bytes.push(0x0b),
            b'f' => bytes.push(0x0c),
            first @ b'0'..=b'7' => {
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    let Some(digit) = rest.next_if(|next| (b'0'..=b'7').contains(next)) else {
                        break;
                    };
                    value = value * 8 + u32::from(digit - b'0');
                }
                bytes.push(u8::try_from(value).expect("a byte"));
            }
            itself => bytes.push(itself),
        }
    }
    bytes
}

/// The seals that were on disk when this statement was sent, one for each time it was.
fn before<'a>(steps: &'a [Step], statement: &str) -> Vec<Option<&'a Seal>> {
    let mut newest = None;
    let mut found = Vec::new();
    for step in steps {
        match step {
            Step::Saved(seal) => newest = Some(seal.as_ref()),
            Step::Sent(call) if call.contains(statement) => found.push(newest),
            Step::Sent(_) => {}
        }
    }
    found
}

const NEW: Epoch = Epoch(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seal_is_on_disk_before_the_statement_that_it_allows() {
    let Some(world) = World::build().await else {
        return;
    };
    let mut traces = BTreeMap::new();
    for instance in world.instances() {
        let Some(trace) = Trace::attach(&world, instance.id.as_str()) else {
            return;
        };
        traces.insert(instance.id.clone(), trace);
    }
    let writer = Writer::start(&world).await;
    signal(world.mysqld("mysql-1"), Signal::SIGSTOP);
    let cluster = world.opened(2).await;
    world.settle(writer, &[]).await;
    for (id, trace) in traces {
        let steps = trace.steps();
        let first = |statement| {
            let found = before(&steps, statement);
            let seal = *found
                .first()
                .unwrap_or_else(|| panic!("{id} sent {statement}"));
            let seal: &Seal = seal.unwrap_or_else(|| panic!("{id}: {statement} without a seal"));
            let epoch = seal.token.as_ref().map(|token| token.epoch);
            (seal, epoch.expect("a token"))
        };
        if id.as_str() == "mysql-1" {
            continue; // fenced, for which nobody waits for a disk
        }
        if id == cluster.primary {
            let (seal, epoch) = first("SET GLOBAL super_read_only=OFF");
            assert_eq!((seal.opened, epoch), (Some(NEW), NEW), "{id}");
            assert_eq!(seal.source, None, "{id} replicates from nobody now");
        } else {
            let (seal, epoch) = first("CHANGE REPLICATION SOURCE");
            assert_eq!(epoch, NEW, "{id}");
            let source: &(InstanceId, Epoch) = seal.source.as_ref().expect("a source");
            assert_eq!(source, &(cluster.primary.clone(), NEW), "{id}");
        }
    }
}

#[test]
fn a_sync_counts_from_its_end_and_a_message_from_its_beginning() {
    let seal = Seal::blank("c".into(), "i".into());
    let text = serde_json::to_string(&seal).expect("JSON");
    // Any byte may be among the numbers, a brace or a quote as well.
    let numbers = format!("\\7\\0{{\\\"\\377{}", "\\0".repeat(19));
    let text = format!("{numbers}{}", text.replace('"', "\\\""));
    let send = "sendto(9<UNIX-STREAM:[1->2]>, \"STOP\", 4, 0, NULL, 0";
    let trace = |early: bool| {
        let (first, last) = if early { (send, "") } else { ("", send) };
        format!(
            "1 pwrite64(5</d/seal>, \"primacy1{text}\", 99, 1048576) = 99\n\
             1 fdatasync(5</d/seal> <unfinished ...>\n2 {first}) = 4\n\
             1 <... fdatasync resumed>) = 0\n2 {last} <unfinished ...>\n"
        )
    };
    let dir = Path::new("/d");
    assert_eq!(before(&steps(&trace(false), dir), "STOP"), [Some(&seal)]);
    assert_eq!(before(&steps(&trace(true), dir), "STOP"), [None]);
    // A sync that failed made nothing durable.
    let failed = trace(false).replace("resumed>) = 0", "resumed>) = -1 EIO");
    assert_eq!(before(&steps(&failed, dir), "STOP"), [None]);
}
