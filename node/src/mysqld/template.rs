//! One initialised data directory, with every account, copied for each instance.
//!
//! Initialising takes seconds and copying a fraction of one. The copies share their accounts and
//! their certificates, and each starts with an empty `gtid_executed`: the accounts are made
//! without a binary log, so no transaction of any instance comes before the cluster's first.
//!
//! **Invariant:** a folder named `template-…` is complete: it is made under another name and
//! renamed last.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    bringup::{Instance, runs_as_root},
    fetch::{Server, last_lines},
    session::Login,
};

/// Goes up whenever the accounts or the layout change, so that an old template is not reused.
const REVISION: u32 = 4;
const ACCOUNTS_FILE: &str = "accounts";

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("mysqld could not {step}; it said: {said}")]
    Mysqld { step: &'static str, said: String },
    #[error("{what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0} is damaged: delete it, and it is made again")]
    Damaged(PathBuf),
    #[error("{0} holds data already")]
    Occupied(PathBuf),
    #[error("preparing the data directory was abandoned")]
    Abandoned,
}

/// The accounts of a managed instance, with passwords that were drawn for this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    pub root: Login,
    /// A node's probe from outside: may log in, and nothing else. Every session may read
    /// `@@server_uuid`, `@@super_read_only` and `@@gtid_executed`.
    pub control: Login,
    /// The agent beside its instance. Logs in through the socket or loopback only.
    pub agent: Login,
    /// A replica at its source. Its CONNECTION_ADMIN keeps dump threads alive when `offline_mode`
    /// cuts the applications; without it acknowledgements stop and writers hang.
    pub repl: Login,
    /// The demo's application. Never CONNECTION_ADMIN, which passes both fences.
    pub app: Login,
}

impl Accounts {
    const USERS: [&str; 5] = ["root", "primacy_control", "primacy_agent", "repl", "app"];

    fn from_passwords(passwords: [String; 5]) -> Accounts {
        let [root, control, agent, repl, app] = passwords;
        let login = |user: usize, password| Login::new(Accounts::USERS[user], password);
        Accounts {
            root: login(0, root),
            control: login(1, control),
            agent: login(2, agent),
            repl: login(3, repl),
            app: login(4, app),
        }
    }

    /// The statements that make them, one a line. `caching_sha2_password` is the server's default
    /// and the only password plugin left in 9.x.
    ///
    /// Of the agent's: RELOAD is for RESET REPLICA ALL; SERVICE_CONNECTION_ADMIN for the admin
    /// port; SYSTEM_USER for killing appliers, which fails with 1095 without it (9.7.4); EVENT and
    /// SET_ANY_DEFINER for enabling scheduled events under the definers that they have;
    /// XA_RECOVER_ADMIN for seeing prepared branches; REPLICATION SLAVE for reading what a replica
    /// wrote itself. It reads who may pass a fence, and no password.
    pub fn statements(&self) -> String {
        let create = |login: &Login, host: &str, grants: &[&str]| {
            let user = format!("'{}'@'{host}'", login.user);
            let mut text = format!("CREATE USER {user} IDENTIFIED BY '{}';\n", login.password());
            for grant in grants {
                text.push_str(&format!("GRANT {grant} TO {user};\n"));
            }
            text
        };
        let agent = [
            "RELOAD, REPLICATION CLIENT, REPLICATION SLAVE, REPLICATION_SLAVE_ADMIN, \
             SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, SERVICE_CONNECTION_ADMIN, CLONE_ADMIN, SYSTEM_USER, EVENT, \
             SET_ANY_DEFINER, XA_RECOVER_ADMIN ON *.*",
            "SELECT ON performance_schema.*",
            "ALL ON primacy.*",
            "SELECT (User, Host, Super_priv, Repl_slave_priv, account_locked) ON mysql.user",
            "SELECT ON mysql.global_grants",
            "SELECT ON mysql.role_edges",
        ];
        [
            format!(
                "ALTER USER 'root'@'localhost' IDENTIFIED BY '{}';\n",
                self.root.password()
            ),
            create(&self.control, "%", &["USAGE ON *.*"]),
            create(&self.agent, "localhost", &agent),
            create(&self.agent, "127.0.0.0/255.0.0.0", &agent),
            create(
                &self.repl,
                "%",
                &["REPLICATION SLAVE, CONNECTION_ADMIN ON *.*"],
            ),
            "CREATE DATABASE app;\n".into(),
            create(&self.app, "%", &["ALL ON app.*"]),
        ]
        .concat()
    }
}

/// A data directory to copy.
#[derive(Clone, Debug)]
pub struct Template {
    dir: PathBuf,
    pub accounts: Accounts,
}

impl Template {
    /// The template of this server and machine: as it was made earlier, else made now.
    pub async fn prepare(server: &Server) -> Result<Template, TemplateError> {
        let server = server.clone();
        blocking(move || {
            let dir = server
                .cache
                .join(format!("template-{}-r{REVISION}", server.version));
            if dir.is_dir() {
                return Template::load(&dir);
            }
            fs::create_dir_all(&server.cache).map_err(io_error("cannot create", &server.cache))?;
            let lock_path = server.cache.join("template.lock");
            let lock =
                fs::File::create(&lock_path).map_err(io_error("cannot create", &lock_path))?;
            let _lock = Flock::lock(lock, FlockArg::LockExclusive)
                .map_err(|(_, errno)| io_error("cannot lock", &lock_path)(errno.into()))?;
            // Whoever held the lock before may have made it.
            if !dir.is_dir() {
                make(&server, &dir)?;
            }
            Template::load(&dir)
        })
        .await
    }

    fn load(dir: &Path) -> Result<Template, TemplateError> {
        let path = dir.join(ACCOUNTS_FILE);
        let text = fs::read_to_string(&path).map_err(io_error("cannot read", &path))?;
        let passwords: Vec<String> = text.lines().map(str::to_owned).collect();
        let passwords = passwords
            .try_into()
            .map_err(|_| TemplateError::Damaged(dir.to_path_buf()))?;
        let accounts = Accounts::from_passwords(passwords);
        Ok(Template {
            dir: dir.to_path_buf(),
            accounts,
        })
    }

    /// Gives an instance its own data. It draws its own `server_uuid` at its first start, because
    /// the copy has no `auto.cnf`.
    pub async fn copy_to(&self, instance: &Instance) -> Result<(), TemplateError> {
        let (from, to) = (self.dir.join("data"), instance.data());
        blocking(move || {
            if to.exists() {
                return Err(TemplateError::Occupied(to));
            }
            // Renamed last, so that an interrupted copy is never taken for data.
            let partial = to.with_extension("partial");
            let _ = fs::remove_dir_all(&partial);
            copy_tree(&from, &partial)?;
            fs::rename(&partial, &to).map_err(io_error("cannot rename into place", &to))
        })
        .await
    }
}

fn make(server: &Server, dir: &Path) -> Result<(), TemplateError> {
    let work = dir.with_extension("partial");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(io_error("cannot create", &work))?;
    fs::set_permissions(&work, fs::Permissions::from_mode(0o700))
        .map_err(io_error("cannot protect", &work))?;

    let passwords = random_passwords()?;
    write_secret(&work.join(ACCOUNTS_FILE), &passwords.join("\n"))?;
    let statements = Accounts::from_passwords(passwords).statements();
    let init_file = work.join("init.sql");
    // SHUTDOWN ends the second start by itself: nothing to connect to, nothing to wait for.
    write_secret(&init_file, &format!("{statements}SHUTDOWN;\n"))?;

    run(
        server,
        &work,
        "initialise a data directory",
        &["--initialize-insecure".into()],
    )?;
    run(
        server,
        &work,
        "create the accounts",
        &[
            format!("--init-file={}", init_file.display()),
            "--skip-networking".into(),
            format!("--socket={}", work.join("s").display()),
            format!("--pid-file={}", work.join("pid").display()),
        ],
    )?;
    for file in [work.join("data/auto.cnf"), init_file] {
        fs::remove_file(&file).map_err(io_error("cannot remove", &file))?;
    }
    fs::rename(&work, dir).map_err(io_error("cannot rename into place", dir))
}

/// One run of `mysqld` to its own end, without a binary log, so that nothing of it becomes a GTID.
fn run(
    server: &Server,
    work: &Path,
    step: &'static str,
    arguments: &[String],
) -> Result<(), TemplateError> {
    let mut command = server.command();
    command
        .arg("--no-defaults")
        .args(server.config_lines().iter().map(|line| format!("--{line}")))
        .arg(format!("--datadir={}", work.join("data").display()))
        .args([
            "--skip-log-bin",
            "--secure-file-priv=NULL",
            "--loose-mysqlx=OFF",
        ])
        .args(["--innodb-redo-log-capacity=16M", "--performance-schema=OFF"])
        .args(arguments)
        .stdin(Stdio::null());
    if runs_as_root() {
        command.arg("--user=root");
    }
    let output = command
        .output()
        .map_err(io_error("cannot start mysqld in", work))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // A statement that fails in an init file ends it with an error in the log, and with status 0
    // when the server was still told to shut down.
    if !output.status.success() || said.contains("[ERROR]") {
        return Err(TemplateError::Mysqld {
            step,
            said: last_lines(&said, 6),
        });
    }
    Ok(())
}

fn random_passwords() -> Result<[String; 5], TemplateError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0u8; 5 * 16];
    fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(io_error("cannot read", path))?;
    let mut each = bytes.chunks_exact(16).map(|chunk| {
        chunk
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    });
    Ok(std::array::from_fn(|_| each.next().unwrap_or_default()))
}

fn write_secret(path: &Path, text: &str) -> Result<(), TemplateError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(io_error("cannot write", path))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), TemplateError> {
    fs::create_dir_all(to).map_err(io_error("cannot create", to))?;
    let listing = fs::read_dir(from).map_err(io_error("cannot read", from))?;
    for entry in listing {
        let entry = entry.map_err(io_error("cannot read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target)?;
        } else {
            // Keeps the mode, and shares the blocks where the file system can.
            fs::copy(&source, &target).map_err(io_error("cannot copy", &source))?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TemplateError> + Send + 'static,
) -> Result<T, TemplateError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TemplateError::Abandoned)?
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TemplateError {
    move |source| TemplateError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}
