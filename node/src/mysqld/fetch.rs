//! Finds a real MySQL server, or fetches one into the user's cache without touching the system.
//!
//! Debian's stable releases carry MariaDB only; its `sid` suite carries MySQL. Its packages are
//! unpacked, not installed, together with the C library they were built for, and `mysqld` is
//! started through that library's own loader. So it runs beside any older system (measured on
//! Debian 12: 65 MB to fetch, 410 MB unpacked, 9.7.4).
//!
//! **Invariant:** a folder named `mysql-<version>` in the cache is complete: it is unpacked under
//! another name and renamed last.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    apt::{Apt, KEYRING, MIRROR, MYSQL},
    bringup::Version,
};

/// How often somebody else's fetch is looked at again.
const LOCK_EVERY: Duration = Duration::from_millis(200);

/// What a fetch is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Another process on this machine is fetching the same thing.
    WaitingForLock,
    /// Reading the suite's package lists.
    Listing,
    Downloading,
    Unpacking,
}

/// How far a fetch has come. `total` is 0 while it is unknown.
///
/// Bytes in `Listing` and `Downloading`, packages in `Unpacking`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchProgress {
    pub stage: Stage,
    pub done: u64,
    pub total: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(
        "no MySQL server here, and `{0}` is missing to fetch one: install MySQL 8.4 or later, with mysqld on the PATH"
    )]
    NoTool(&'static str),
    #[error(
        "no MySQL server here, and {KEYRING} is missing, without which a download cannot be trusted: install the package debian-archive-keyring, or MySQL itself"
    )]
    NoKeyring,
    #[error("no folder to keep a MySQL server in: set HOME or XDG_CACHE_HOME")]
    NoCache,
    #[error(
        "cannot fetch MySQL from {MIRROR} ({step}): check the network and its proxy, or install MySQL 8.4 or later with mysqld on the PATH. apt said: {said}"
    )]
    Apt { step: &'static str, said: String },
    #[error("cannot unpack {package}: {said}")]
    Unpack { package: String, said: String },
    #[error("the fetched MySQL server does not run: {0}")]
    Unusable(String),
    #[error("{what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the fetch was abandoned")]
    Abandoned,
}

/// A MySQL server program and how to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub version: Version,
    /// `--basedir`: the folder that holds `sbin/mysqld` or `bin/mysqld`.
    pub basedir: PathBuf,
    mysqld: PathBuf,
    client: Option<PathBuf>,
    loader: Option<Loader>,
    /// Where templates of this server are kept.
    pub(super) cache: PathBuf,
}

/// An unpacked server's own dynamic loader and libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loader {
    program: PathBuf,
    libraries: PathBuf,
}

impl Loader {
    fn within(usr: &Path) -> Option<Loader> {
        let libraries = entries(&usr.join("lib"))
            .into_iter()
            .find(|folder| folder.join("libc.so.6").exists())?;
        let program = entries(&libraries).into_iter().find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
        })?;
        Some(Loader { program, libraries })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--library-path")
            .arg(&self.libraries)
            .arg(program);
        command
    }
}

/// Another program of Debian's, found or fetched in the same way.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    loader: Option<Loader>,
}

impl Program {
    /// Ready for arguments.
    pub fn command(&self) -> Command {
        match &self.loader {
            None => Command::new(&self.path),
            Some(loader) => loader.command(&self.path),
        }
    }

    /// From the PATH, else from the package of this name, which is fetched into the cache.
    pub async fn find_or_fetch(
        name: &'static str,
        progress: impl Fn(FetchProgress) + Send + 'static,
    ) -> Result<Program, FetchError> {
        if let Some(path) = on_the_path(name) {
            return Ok(Program { path, loader: None });
        }
        let cache = cache_folder()?;
        tokio::task::spawn_blocking(move || Self::fetch(name, &cache, &progress))
            .await
            .map_err(|_| FetchError::Abandoned)?
    }

    fn fetch(
        name: &'static str,
        cache: &Path,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<Program, FetchError> {
        let home = cache.join(name);
        let root = fetched(cache, &home, &[name], progress)?;
        let usr = root.join("usr");
        let folders = ["sbin", "bin"].map(|folder| usr.join(folder).join(name));
        let path = folders.into_iter().find(|path| path.is_file());
        match (path, Loader::within(&usr)) {
            (Some(path), Some(loader)) => Ok(Program {
                path,
                loader: Some(loader),
            }),
            _ => Err(FetchError::Unusable(format!(
                "{} holds no {name} that could be started",
                home.display()
            ))),
        }
    }
}

/// The folder `home` with these packages unpacked; fetched if it is not there.
fn fetched(
    cache: &Path,
    home: &Path,
    packages: &[&str],
    progress: &dyn Fn(FetchProgress),
) -> Result<PathBuf, FetchError> {
    if home.is_dir() {
        return Ok(home.to_owned());
    }
    can_fetch()?;
    make_folder(cache)?;
    let _lock = lock(cache, progress)?;
    if !home.is_dir() {
        let apt = unpacked(cache, packages, progress)?;
        let root = apt.work.join("root");
        fs::rename(&root, home).map_err(io_error("cannot rename into place", home))?;
        let _ = fs::remove_dir_all(&apt.work);
    }
    Ok(home.to_owned())
}

impl Server {
    /// `mysqld`, ready for arguments. Nothing of the caller's `my.cnf` is in it: pass
    /// `--defaults-file` or `--no-defaults` first.
    pub fn command(&self) -> Command {
        self.start(&self.mysqld)
    }

    /// The `mysql` command line client, where there is one.
    pub fn client(&self) -> Option<Command> {
        self.client.as_deref().map(|client| self.start(client))
    }

    /// Options that an unpacked server needs, as `my.cnf` lines; none for an installed one.
    pub(super) fn config_lines(&self) -> Vec<String> {
        if self.loader.is_none() {
            return Vec::new();
        }
        let base = self.basedir.display();
        vec![
            format!("basedir={base}"),
            format!("lc-messages-dir={base}/share/mysql"),
            format!("plugin-dir={base}/lib/mysql/plugin"),
        ]
    }

    fn start(&self, program: &Path) -> Command {
        match &self.loader {
            None => Command::new(program),
            Some(loader) => loader.command(program),
        }
    }

    fn installed(mysqld: &Path, cache: &Path) -> Option<Server> {
        let mysqld = mysqld.canonicalize().ok()?;
        let version = ask_version(Command::new(&mysqld))?;
        let basedir = mysqld.parent()?.parent()?.to_path_buf();
        let client = [mysqld.with_file_name("mysql"), basedir.join("bin/mysql")]
            .into_iter()
            .find(|path| path.is_file());
        Some(Server {
            version,
            basedir,
            mysqld,
            client,
            loader: None,
            cache: cache.to_path_buf(),
        })
    }

    fn unpacked(root: &Path, cache: &Path) -> Option<Server> {
        let usr = root.join("usr");
        let loader = Loader::within(&usr)?;
        let mut server = Server {
            version: Version {
                major: 0,
                minor: 0,
                patch: 0,
            },
            mysqld: usr.join("sbin/mysqld"),
            client: Some(usr.join("bin/mysql")).filter(|path| path.is_file()),
            basedir: usr,
            loader: Some(loader),
            cache: cache.to_path_buf(),
        };
        server.version = ask_version(server.command())?;
        Some(server)
    }
}

/// A server on this machine, else one fetched into the cache.
///
/// Takes no time where there is one; about 15 s otherwise, most of it the network's. A dropped
/// future's download runs on to its end, and is there the next time.
pub async fn find_or_fetch(
    progress: impl Fn(FetchProgress) + Send + 'static,
) -> Result<Server, FetchError> {
    let cache = cache_folder()?;
    tokio::task::spawn_blocking(move || match find(&cache) {
        Some(server) => Ok(server),
        None => fetch(&cache, &progress),
    })
    .await
    .map_err(|_| FetchError::Abandoned)?
}

/// A server that is here already; never touches the network.
pub fn find_here() -> Option<Server> {
    find(&cache_folder().ok()?)
}

/// Every file of this name where programs are.
fn candidates(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/mysql/bin".into()]);
    let files = folders.map(|folder| folder.join(name));
    files.filter(|path| path.is_file()).collect()
}

fn on_the_path(name: &str) -> Option<PathBuf> {
    candidates(name).into_iter().next()
}

fn find(cache: &Path) -> Option<Server> {
    let installed = candidates("mysqld")
        .iter()
        .find_map(|path| Server::installed(path, cache));
    installed.or_else(|| {
        entries(cache)
            .into_iter()
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("mysql-"))
            })
            .filter_map(|root| Server::unpacked(&root, cache))
            .max_by_key(|server| server.version)
    })
}

fn cache_folder() -> Result<PathBuf, FetchError> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .map(|base| base.join("primacy"))
        .ok_or(FetchError::NoCache)
}

pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = listing
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}

/// `--version`'s answer, unless the program is MariaDB's, whose GTIDs are another type.
fn ask_version(mut command: Command) -> Option<Version> {
    let output = command
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || text.contains("MariaDB") {
        return None;
    }
    let after = text.split(" Ver ").nth(1)?;
    Version::parse(after.split_whitespace().next()?)
}

fn can_fetch() -> Result<(), FetchError> {
    for tool in ["apt-get", "apt-config", "dpkg-deb"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return Err(FetchError::NoTool(tool));
        }
    }
    if !Path::new(KEYRING).is_file() {
        return Err(FetchError::NoKeyring);
    }
    Ok(())
}

fn fetch(cache: &Path, progress: &dyn Fn(FetchProgress)) -> Result<Server, FetchError> {
    can_fetch()?;
    make_folder(cache)?;
    let _lock = lock(cache, progress)?;
    // Whoever held the lock before may have fetched it.
    if let Some(server) = find(cache) {
        return Ok(server);
    }
    let apt = unpacked(cache, &MYSQL, progress)?;
    let root = apt.work.join("root");
    let fetched = Server::unpacked(&root, cache)
        .ok_or_else(|| FetchError::Unusable("mysqld --version gave no answer".into()))?;
    let home = cache.join(format!("mysql-{}", fetched.version));
    fs::rename(&root, &home).map_err(io_error("cannot rename into place", &home))?;
    let _ = fs::remove_dir_all(&apt.work);
    Server::unpacked(&home, cache)
        .ok_or_else(|| FetchError::Unusable("mysqld --version gave no answer".into()))
}

/// Packages, fetched and unpacked in a work folder. Under the lock.
fn unpacked(
    cache: &Path,
    packages: &[&str],
    progress: &dyn Fn(FetchProgress),
) -> Result<Apt, FetchError> {
    // Under the lock, so what stands here was left by a fetch that was interrupted. A name of our
    // own, because that one's apt may still be writing.
    for leftover in entries(cache) {
        let name = leftover.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("fetching-") {
            let _ = fs::remove_dir_all(&leftover);
        }
    }
    let apt = Apt::prepare(&cache.join(format!("fetching-{}", std::process::id())))?;
    apt.update(progress)?;
    apt.download(packages, progress)?;
    apt.unpack(progress)?;
    Ok(apt)
}

fn lock(cache: &Path, progress: &dyn Fn(FetchProgress)) -> Result<Flock<fs::File>, FetchError> {
    let path = cache.join("fetch.lock");
    let mut file = fs::File::create(&path).map_err(io_error("cannot create", &path))?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(held),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => {
                progress(FetchProgress {
                    stage: Stage::WaitingForLock,
                    done: 0,
                    total: 0,
                });
                file = back;
                std::thread::sleep(LOCK_EVERY);
            }
            Err((_, errno)) => return Err(io_error("cannot lock", &path)(errno.into())),
        }
    }
}

/// The end of a text, on one line.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

pub(super) fn make_folder(path: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(path).map_err(io_error("cannot create", path))
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    move |source| FetchError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}
