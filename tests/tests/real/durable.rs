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
use crate::world::{World, end, signal};
use crate::writer::Writer;

const CALLS: &str = "write,writev,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2";

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
    fn steps(mut self) -> Vec<Step> {
        assert!(end(&mut self.strace), "strace ends when told to");
        let text = std::fs::read(&self.file).expect("its trace");
        steps(&String::from_utf8_lossy(&text), &self.dir)
    }
}

#[derive(Debug)]
enum Step {
    /// The whole of it: file written and synced, renamed, directory synced.
    Saved(Box<Seal>),
    /// Text handed to the kernel for somebody else.
    Sent(String),
}

/// How far the seal on its way to the disk has come.
#[derive(Default)]
struct Draft {
    text: String,
    synced: bool,
    renamed: bool,
}

/// Reads strace's lines: `tid call(…) = result`, or in two parts if another thread came between. A
/// message counts from where its call begins, a sync from where it has ended.
fn steps(trace: &str, dir: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut draft = Draft::default();
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

fn saved(call: &str, dir: &Path, draft: &mut Draft, steps: &mut Vec<Step>) {
    let aside = format!("<{}>", dir.join("seal.new").display());
    let folder = format!("<{}>", dir.display());
    if call.starts_with("write(") && call.contains(&aside) {
        let text = call
            .split_once('"')
            .and_then(|(_, rest)| rest.rsplit_once('"'));
        *draft = Draft {
            text: unescaped(text.expect("what was written").0),
            ..Draft::default()
        };
        assert!(!call.contains("\"..."), "the trace is cut: {call}");
    } else if !call.ends_with(" = 0") {
        // What failed made nothing durable.
    } else if call.starts_with("fdatasync(") && call.contains(&aside) {
        draft.synced = true;
    } else if call.starts_with("rename") && call.contains("seal.new\"") {
        assert!(draft.synced, "renamed before it was synced: {call}");
        draft.renamed = true;
    } else if call.starts_with("fsync(") && call.contains(&folder) && draft.renamed {
        let seal = serde_json::from_str(&draft.text).expect("a whole seal");
        steps.push(Step::Saved(Box::new(seal)));
        *draft = Draft::default();
    }
}

/// A C string of strace's; a seal has no other escapes.
fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
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

const OLD: Epoch = Epoch(1);
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
            let (_, epoch) = first("SET GLOBAL super_read_only=ON");
            assert_eq!(
                epoch, OLD,
                "the order to fence names the epoch that is over"
            );
            continue;
        }
        let (seal, epoch) = first("STOP REPLICA IO_THREAD");
        assert_eq!((seal.frozen, epoch), (Some(OLD), OLD), "{id}");
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
    let text = serde_json::to_string_pretty(&seal).expect("JSON");
    let text = text.replace('"', "\\\"").replace('\n', "\\n");
    let send = "sendto(9<UNIX-STREAM:[1->2]>, \"STOP\", 4, 0, NULL, 0";
    let trace = |early: bool| {
        let (first, last) = if early { (send, "") } else { ("", send) };
        format!(
            "1 write(5</d/seal.new>, \"{text}\", 9) = 9\n1 fdatasync(5</d/seal.new>) = 0\n\
             1 rename(\"/d/seal.new\", \"/d/seal.json\") = 0\n\
             1 fsync(6</d> <unfinished ...>\n2 {first}) = 4\n1 <... fsync resumed>) = 0\n\
             2 {last} <unfinished ...>\n"
        )
    };
    let dir = Path::new("/d");
    assert_eq!(before(&steps(&trace(false), dir), "STOP"), [Some(&seal)]);
    assert_eq!(before(&steps(&trace(true), dir), "STOP"), [None]);
    // Without the directory's sync it is not durable.
    let cut = trace(false).replace("1 <... fsync resumed>) = 0\n", "");
    assert_eq!(before(&steps(&cut, dir), "STOP"), [None]);
}
