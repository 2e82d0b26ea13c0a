//! What a managed instance boots with, and its start.
//!
//! **Invariant:** an instance boots fenced: `super_read_only`, no replication thread, and no part
//! in semi-synchronous replication, whatever it was when it stopped. Only an order changes that.

use std::{
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    fetch::{Server, last_lines},
    kernel::{Holder, holder},
    process::{ProcessError, Watched},
};

/// How often a starting server is asked whether it is ready.
const READY_EVERY: Duration = Duration::from_millis(20);
/// A Unix socket's path must fit `sun_path`, which holds 108 bytes with the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Rows of the error log that a failed start shows.
const LOG_LINES: usize = 6;

/// MySQL's version. Integers, because 26.7 follows 9.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Version {
    /// Reads `9.7.4`, `9.7.4-2` and the like; `None` for anything that does not begin with three
    /// numbers.
    pub fn parse(text: &str) -> Option<Version> {
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|digits| digits.parse().ok());
        Some(Version {
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next()??,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Where one instance lives and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Holds its data, configuration, socket and error log. Nobody else's.
    pub dir: PathBuf,
    /// Where clients and replicas connect. Loopback unless the caller says otherwise.
    pub bind: IpAddr,
    pub port: u16,
    /// On loopback always; it has connections to spare when `max_connections` is used up.
    pub admin_port: u16,
    /// Unique in its cluster, never 0.
    pub server_id: u32,
    /// How many acknowledgements a commit needs, once an order opens the instance: k ≥ 1.
    pub acks_required: u16,
    pub buffer_pool_mib: u32,
    /// A crash leaves a core file in the data directory.
    pub core_file: bool,
}

impl Instance {
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A server holds a lock on it for as long as it may touch its data.
    pub fn tablespace(&self) -> PathBuf {
        self.data().join("ibdata1")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("mysqld.sock")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("my.cnf")
    }

    pub fn error_log(&self) -> PathBuf {
        self.dir.join("error.log")
    }

    pub fn pid_file(&self) -> PathBuf {
        self.dir.join("mysqld.pid")
    }

    /// The whole `my.cnf`.
    ///
    /// Each setting that a guarantee rests on says why. Sizes are for many instances on one small
    /// machine: 263 MB resident instead of 468 (measured on 9.7.4).
    pub fn config_text(&self, server: &Server) -> String {
        let mut text = format!("{OURS}\n[mysqld]\n");
        let mut add = |lines: &str| {
            text.push_str(lines);
            text.push('\n');
        };
        for line in server.config_lines() {
            add(&line);
        }
        if runs_as_root() {
            add("user=root");
        }
        let (data, socket) = (self.data(), self.socket());
        add(&format!("datadir={}", data.display()));
        add(&format!("socket={}", socket.display()));
        add(&format!("pid-file={}", self.pid_file().display()));
        add(&format!("log-error={}", self.error_log().display()));
        add(&format!("bind-address={}", self.bind));
        add(&format!("port={}", self.port));
        add(&format!("admin-port={}", self.admin_port));
        add(&format!("server-id={}", self.server_id));
        add(&format!(
            "rpl_semi_sync_source_wait_for_replica_count={}",
            self.acks_required
        ));
        add(&format!(
            "innodb-buffer-pool-size={}M",
            self.buffer_pool_mib
        ));
        if self.core_file {
            add("core-file");
        }
        // Without these the admin port has no TLS at all, though the main port has (9.7.4).
        for (option, file) in [
            ("ca", "ca.pem"),
            ("cert", "server-cert.pem"),
            ("key", "server-key.pem"),
        ] {
            if data.join(file).is_file() {
                add(&format!("admin-ssl-{option}={}", data.join(file).display()));
            }
        }
        add(SETTINGS);
        text
    }
}

/// The settings that are the same for every instance.
const SETTINGS: &str = "\
secure-file-priv=NULL
skip-name-resolve=ON
loose-mysqlx=OFF
# A SET PERSIST must not undo what follows at the next boot.
persisted-globals-load=OFF

# Boots closed: XA COMMIT passes the first alone. A rebooted replica must not acknowledge for a
# primary that was deposed meanwhile.
super_read_only=ON
read_only=ON
offline_mode=ON
# A closed server's own events would fail, and its table of events cannot be changed.
event_scheduler=OFF
skip-replica-start=ON
rpl_semi_sync_replica_enabled=OFF
# On a replica it would block the applier, for ever: on only while primary.
rpl_semi_sync_source_enabled=OFF

# Every commit is on this disk before it is sent, and on k replicas before it is answered.
gtid_mode=ON
enforce_gtid_consistency=ON
log_bin=binlog
log_replica_updates=ON
sync_binlog=1
innodb_flush_log_at_trx_commit=1
binlog_error_action=ABORT_SERVER
rpl_semi_sync_source_wait_point=AFTER_SYNC
rpl_semi_sync_source_wait_no_replica=ON
# 49.7 days, the largest there is: a wait that runs out acknowledges without a replica.
rpl_semi_sync_source_timeout=4294967295

# What a replica acknowledged it still has after a crash: recovery would discard the relay log,
# and an unsynced one would forget its end.
relay_log_recovery=OFF
sync_relay_log=1
replica_preserve_commit_order=ON
# Longer than any failover waits: once it runs out, STOP REPLICA IO_THREAD takes 2 s instead of 0.05.
replica_net_timeout=30

admin-address=127.0.0.1
create-admin-listener-thread=ON
max-connections=151
max-connect-errors=1000000
plugin-load-add=semisync_source.so
plugin-load-add=semisync_replica.so
plugin-load-add=mysql_clone.so

# Small: several instances share a machine.
innodb-redo-log-capacity=64M
innodb-log-buffer-size=4M
innodb-buffer-pool-dump-at-shutdown=OFF
table-open-cache=400
table-definition-cache=400
open-files-limit=4096
# The performance schema keeps what we read (replication, threads, user variables per thread) and
# none of the histories.
performance-schema=ON
performance-schema-max-thread-instances=300
performance-schema-accounts-size=0
performance-schema-hosts-size=0
performance-schema-users-size=0
performance-schema-error-size=0
performance-schema-digests-size=0
performance-schema-events-waits-history-size=0
performance-schema-events-waits-history-long-size=0
performance-schema-events-stages-history-size=0
performance-schema-events-stages-history-long-size=0
performance-schema-events-statements-history-size=0
performance-schema-events-statements-history-long-size=0
performance-schema-events-transactions-history-size=0
performance-schema-events-transactions-history-long-size=0
";

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the socket path {0} is longer than {SOCKET_PATH_BYTES_MAX} bytes: use a shorter folder"
    )]
    SocketPathTooLong(PathBuf),
    #[error("mysqld runs there already, as process {0}")]
    Running(u32),
    #[error("process {0} has ended, but the kernel still holds its files")]
    Ending(u32),
    #[error(
        "a process that cannot be named from here (another PID namespace?) holds the data in {0}"
    )]
    Unnamed(PathBuf),
    #[error("who holds {path} cannot be told")]
    Lock { path: PathBuf, source: io::Error },
    #[error("{0} holds no data directory: copy a template there first")]
    NoData(PathBuf),
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot start mysqld")]
    Spawn(#[source] io::Error),
    #[error("cannot watch mysqld")]
    Watch(#[source] ProcessError),
    #[error("mysqld exited while starting; its error log says: {log}")]
    Exited { log: String },
    #[error("mysqld was not ready within {waited:?} and was killed; its error log says: {log}")]
    NotReady { waited: Duration, log: String },
}

/// The first line of a configuration that this program wrote.
const OURS: &str = "# Written by primacy at every start. Edits are lost.";

/// Writes `my.cnf` afresh, so that no earlier one of ours survives an upgrade of this program. One
/// that somebody else wrote, as beside a server that was adopted, is theirs: it stays, and the
/// readiness lint says what is wrong with it.
///
/// Whether the file is ours, and so boots fenced.
pub fn write_config(server: &Server, instance: &Instance) -> Result<bool, StartError> {
    assert!(instance.server_id > 0, "server_id 0 refuses every replica");
    assert!(
        instance.acks_required > 0,
        "a commit that needs no acknowledgement is not semi-sync"
    );
    let socket = instance.socket();
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(StartError::SocketPathTooLong(socket));
    }
    let path = instance.config();
    write_ours(&path, &instance.config_text(server))
        .map_err(|source| StartError::Write { path, source })
}

fn is_ours(config: &Path) -> bool {
    fs::read_to_string(config).is_ok_and(|text| text.starts_with(OURS))
}

fn write_ours(path: &Path, text: &str) -> io::Result<bool> {
    match fs::read_to_string(path) {
        Ok(found) if !found.starts_with(OURS) => Ok(false),
        // Nothing is written that stands there already: a full disk is no reason not to start.
        Ok(found) if found == text => Ok(true),
        _ => fs::write(path, text).map(|()| true),
    }
}

/// A server that was just started, and where its own rows of the error log begin.
#[derive(Debug)]
pub struct Launched {
    pub process: Watched,
    /// Under a configuration of ours.
    pub fenced: bool,
    pub log_from: u64,
}

/// Starts `mysqld`, and does not wait for it.
///
/// It gets a process group of its own, so that a Ctrl-C at our terminal reaches us and not it; it
/// outlives us, and [`Watched::find`] finds it again. Refused while anybody holds the data: a
/// second one would wait minutes for the first one's lock.
pub fn launch(server: &Server, instance: &Instance) -> Result<Launched, StartError> {
    if !instance.data().join("mysql.ibd").is_file() {
        return Err(StartError::NoData(instance.dir.clone()));
    }
    unheld(instance)?;
    let fenced = write_config(server, instance)?;
    let log_path = instance.error_log();
    let log_from = log_path.metadata().map_or(0, |file| file.len());
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(|source| StartError::Write {
            path: log_path.clone(),
            source,
        })?;
    let log_too = log.try_clone().map_err(|source| StartError::Write {
        path: log_path.clone(),
        source,
    })?;
    // A leftover would pass for readiness.
    let _ = fs::remove_file(instance.pid_file());
    // This one names a process that holds nothing here any more, be it a zombie whose parent does
    // not reap it, or another program under that number: mysqld would take it for a server.
    let mut socket_lock = instance.socket().into_os_string();
    socket_lock.push(".lock");
    let _ = fs::remove_file(socket_lock);

    let mut command = server.command();
    command
        .arg(format!("--defaults-file={}", instance.config().display()))
        .current_dir(&instance.dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .process_group(0);
    let child = command.spawn().map_err(StartError::Spawn)?;
    let process = Watched::child(child.id()).map_err(StartError::Watch)?;
    Ok(Launched {
        process,
        fenced,
        log_from,
    })
}

/// Refuses a data directory that somebody may still touch.
pub fn unheld(instance: &Instance) -> Result<(), StartError> {
    let path = instance.tablespace();
    match holder(&path) {
        Ok(Holder::Nobody) => Ok(()),
        Ok(Holder::Unnamed) => Err(StartError::Unnamed(instance.dir.clone())),
        Ok(Holder::Process(pid)) => Err(match Watched::find(instance) {
            Some(running) => StartError::Running(running.pid()),
            None => StartError::Ending(pid),
        }),
        Err(source) => Err(StartError::Lock { path, source }),
    }
}

/// Why a start failed, in the last words of its log.
pub fn failed_start(instance: &Instance, log_from: u64) -> StartError {
    StartError::Exited {
        log: log_end(&instance.error_log(), log_from),
    }
}

/// Whether this very process greets its clients.
pub async fn is_ready(process: &Watched, instance: &Instance, deadline: Instant) -> bool {
    // The pid file tells its own greeting from that of another server on this port. Under a
    // configuration that somebody else wrote it may be elsewhere: there the data that it holds tell.
    let file = fs::read_to_string(instance.pid_file());
    let own = if process.is_ours() && is_ours(&instance.config()) {
        file.is_ok_and(|text| text.trim().parse() == Ok(process.pid()))
    } else {
        Watched::adopt(process.pid(), instance).is_ok()
    };
    own && greets(SocketAddr::new(instance.bind, instance.port), deadline).await
}

/// Starts `mysqld` and waits until it greets, at most `limit`; one that is not ready in time is
/// killed: it is fenced, so nothing is lost.
pub async fn spawn(
    server: &Server,
    instance: &Instance,
    limit: Duration,
) -> Result<Watched, StartError> {
    let launched = launch(server, instance)?;
    let deadline = Instant::now() + limit;
    loop {
        if launched.process.has_ended() {
            launched.process.exited().await;
            return Err(failed_start(instance, launched.log_from));
        }
        if is_ready(&launched.process, instance, deadline).await {
            return Ok(launched.process);
        }
        if Instant::now() >= deadline {
            launched.process.kill9().map_err(StartError::Watch)?;
            launched.process.exited().await;
            let log = log_end(&instance.error_log(), launched.log_from);
            return Err(StartError::NotReady { waited: limit, log });
        }
        tokio::time::sleep(READY_EVERY).await;
    }
}

/// Whether a MySQL server greets at this address: TCP alone is no sign of life, the kernel accepts
/// for a stopped process too.
pub async fn greets(address: SocketAddr, deadline: Instant) -> bool {
    let greeting = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        // Three bytes of length, a sequence number, then protocol version 10.
        let mut head = [0u8; 5];
        stream.read_exact(&mut head).await.ok()?;
        (head[3] == 0 && head[4] == 10).then_some(())
    };
    matches!(timeout_at(deadline, greeting).await, Ok(Some(())))
}

/// `mysqld` refuses to run as root unless it is told to.
pub(super) fn runs_as_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// What was logged since `start` tells of its end, on one line: its last errors, which stand before
/// the backtrace of a crash, or its last lines.
fn log_end(path: &Path, start: u64) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let since = usize::try_from(start).unwrap_or(0).min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[since..]);
    let errors = text.lines().filter(|line| line.contains("[ERROR]"));
    let errors = errors.collect::<Vec<_>>().join("\n");
    last_lines(if errors.is_empty() { &text } else { &errors }, LOG_LINES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_with_its_errors_whatever_comes_after_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("error.log");
        let before = "1 [ERROR] of an earlier start\n";
        let (note, error) = ("2 [System] begins\n", "3 [ERROR] No space left\n");
        let trace = "#0 somewhere\n".repeat(2 * LOG_LINES);
        let end = |said: &str| {
            fs::write(&path, format!("{before}{said}")).unwrap();
            log_end(&path, before.len() as u64)
        };
        assert_eq!(end(&format!("{note}{error}{trace}")), error.trim());
        assert_eq!(end(note), note.trim());
        assert_eq!(end(""), "");
    }

    #[test]
    fn a_configuration_that_somebody_else_wrote_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("my.cnf");
        let ours = |line: &str| format!("{OURS}\n[mysqld]\n{line}\n");
        let now = || fs::read_to_string(&path).unwrap();
        for line in ["port=1", "port=2"] {
            assert!(write_ours(&path, &ours(line)).unwrap());
            assert_eq!(now(), ours(line), "ours is written afresh");
        }
        let theirs = "[mysqld]\ninnodb_buffer_pool_size=64G\n";
        fs::write(&path, theirs).unwrap();
        assert!(!write_ours(&path, &ours("port=3")).unwrap());
        assert_eq!(now(), theirs);
    }
}
