//! How soon an exit is certain: seen in the kernel, long before it is over, or while it never is.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::Instant as Clock;

use nix::libc;

use super::disk::Disk;
use super::rig::{Rig, soon, until};
use crate::mysqld::bringup::{StartError, launch};
use crate::mysqld::process::{Life, Watched};

/// A buffer pool is mapped in pieces of 128 MiB.
const CHUNK_MIB: u64 = 64;

/// What was told, when, and how the process was then.
type Word = (&'static str, Clock, Life);

/// When the end of a process was told, and when nothing was left of it.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Word>>>);

impl Told {
    fn of(process: &Arc<Watched>) -> Told {
        let told = Told::default();
        let note = |what: &'static str| {
            let (told, process) = (told.clone(), process.clone());
            move || {
                let now = Clock::now();
                told.0.lock().unwrap().push((what, now, process.life()));
            }
        };
        process.clone().watch(note("ended"), note("gone")).unwrap();
        told
    }

    fn lives(&self) -> Vec<(&'static str, Life)> {
        let told = self.0.lock().unwrap();
        told.iter().map(|(what, _, life)| (*what, *life)).collect()
    }

    async fn until_gone(&self) {
        until("nothing to be left of it", async || self.lives().len() == 2).await;
        let whats: Vec<_> = self.lives().iter().map(|(what, _)| *what).collect();
        assert_eq!(whats, ["ended", "gone"]);
    }

    fn say(&self, what: &str, since: Clock) {
        for (when, at, _) in self.0.lock().unwrap().iter() {
            let ms = at.duration_since(since).as_secs_f64() * 1_000.0;
            println!("{what}: {when} after {ms:.1} ms");
        }
    }
}

/// A failed test leaves no server behind either.
struct End(Arc<Watched>);

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.0.kill9();
    }
}

/// Makes each page of its large mappings its own, as a buffer pool that is in use. It is stopped
/// meanwhile, so no byte changes.
fn make_resident(process: &Watched) {
    process.signal(libc::SIGSTOP).unwrap();
    let proc = format!("/proc/{}", process.pid());
    let maps = std::fs::read_to_string(format!("{proc}/maps")).unwrap();
    let memory = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("{proc}/mem"))
        .unwrap();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
        // A pool's has no file behind it.
        let anonymous = line.split_whitespace().nth(4) == Some("0");
        if !anonymous || (to - from) >> 20 < CHUNK_MIB {
            continue;
        }
        for page in (from..to).step_by(4_096) {
            let mut byte = [0];
            // Some are reserved, and nobody's.
            if memory.read_exact_at(&mut byte, page).is_ok() {
                memory.write_all_at(&byte, page).unwrap();
            }
        }
    }
    process.signal(libc::SIGCONT).unwrap();
}

fn rss_mib(process: &Watched) -> u64 {
    let mut text = String::new();
    let status = format!("/proc/{}/status", process.pid());
    let mut file = std::fs::File::open(status).unwrap();
    file.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib >> 10
}

/// By SIGKILL with a buffer pool in use, and by SIGSEGV with a core file: what it took is printed.
#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_told_before_it_is_over() {
    let pool = std::env::var("PRIMACY_POOL_MIB").ok();
    let pool_mib: u32 = pool.map_or(512, |mib| mib.parse().unwrap());
    let Some(mut rig) = Rig::start(1).await else {
        return;
    };
    let first = rig.processes.remove(0);
    first.kill9().unwrap();
    first.exited().await;
    let mut instance = rig.instances[0].clone();
    instance.buffer_pool_mib = pool_mib;
    // A configuration of somebody else's: it stays as it is.
    let text = format!(
        "# a core file\n{}core-file\n",
        instance.config_text(&rig.server)
    );
    std::fs::write(instance.config(), text).unwrap();

    for (signal, what) in [(libc::SIGKILL, "SIGKILL"), (libc::SIGSEGV, "SIGSEGV")] {
        let started =
            crate::mysqld::bringup::spawn(&rig.server, &instance, super::rig::START_LIMIT);
        let process = Arc::new(started.await.unwrap());
        let _end = End(process.clone());
        make_resident(&process);
        let rss = rss_mib(&process);
        let told = Told::of(&process);
        let since = Clock::now();
        process.signal(signal).unwrap();
        told.until_gone().await;
        told.say(&format!("{what}, {rss} MiB resident"), since);
        assert!(Watched::find(&instance).is_none());
    }
    let cores = std::fs::read_dir(instance.data()).unwrap();
    let core = cores
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with("core"));
    match core {
        Some(core) => println!(
            "a core file of {} MiB",
            core.metadata().unwrap().len() >> 20
        ),
        None => println!("skipped: this machine's core_pattern writes none here"),
    }
    rig.end().await;
}

/// The disk hangs: a thread of it stays in the kernel, SIGKILL or not. It has exited all the same,
/// and its data is not used again before the last thread is gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_told_though_a_thread_hangs_on_a_dead_disk() {
    let Some(mut rig) = Rig::start(1).await else {
        return;
    };
    let first = rig.processes.remove(0);
    first.kill9().unwrap();
    first.exited().await;
    let mut instance = rig.instances[0].clone();
    instance.dir = instance.dir.with_file_name("frozen");
    std::fs::create_dir(&instance.dir).unwrap();
    let Some(mut disk) = Disk::under(&instance.dir, 1_024) else {
        return;
    };
    rig.template.copy_to(&instance).await.unwrap();
    rig.instances[0] = instance.clone();
    let limit = super::rig::START_LIMIT;
    let process = crate::mysqld::bringup::spawn(&rig.server, &instance, limit);
    let process = Arc::new(process.await.unwrap());
    let _end = End(process.clone());
    let told = Told::of(&process);
    let mut session = rig.session(0).await;
    let writable = "SET GLOBAL super_read_only=OFF, GLOBAL read_only=OFF, GLOBAL offline_mode=OFF";
    session.execute(writable, soon()).await.unwrap();
    let mut app = rig.app(0).await;
    let table = "CREATE TABLE app.t (id INT PRIMARY KEY AUTO_INCREMENT)";
    app.execute(table, soon()).await.unwrap();

    disk.freeze();
    let write =
        tokio::spawn(async move { app.execute("INSERT INTO app.t VALUES ()", soon()).await });
    until("a thread to hang", async || hangs(&process)).await;
    assert!(told.lives().is_empty(), "it is stuck, not dead");
    let since = Clock::now();
    process.kill9().unwrap();
    until("its end to be told", async || !told.lives().is_empty()).await;
    told.say("SIGKILL, disk frozen", since);
    assert_eq!(told.lives(), [("ended", Life::Ended)], "a thread hangs on");
    assert!(Watched::find(&instance).is_none());
    let again = launch(&rig.server, &instance);
    assert!(
        matches!(again, Err(StartError::Ending(pid)) if pid == process.pid()),
        "{again:?}"
    );
    disk.thaw();
    told.until_gone().await;
    assert!(write.await.unwrap().is_err(), "nobody answered it");
    rig.end().await;
}

/// Whether a thread of it waits in the kernel for a disk.
fn hangs(process: &Watched) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    threads.filter_map(Result::ok).any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('D'))
    })
}
