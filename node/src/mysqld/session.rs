//! One connection to MySQL, with a deadline on each use of it.
//!
//! Dropping a query's future does not stop the query: the server works on, and the connection
//! answers the *next* question with the old one's result (reuse blocked for 4.8 s, measured with
//! mysql_async 0.37.1). So a connection that missed a deadline is closed at once and never used
//! again, and nothing here is ever pooled.

use std::{fmt, io, path::PathBuf, time::Duration};

use futures::FutureExt;
use mysql_async::{Conn, DriverError, IoError, OptsBuilder, Row, SslOpts, prelude::Queryable};
use tokio::time::{Instant, timeout_at};

/// Given so that the driver does not ask the server for it after each login.
const MAX_ALLOWED_PACKET_BYTES: usize = 64 << 20;
const WAIT_TIMEOUT_SECONDS: usize = 28_800;

/// Every variable of a session that what we ask relies on, whatever the server's defaults are. A lock
/// is waited for during one second: what it is in the way of says so then, instead of hanging.
pub const OWN_VARIABLES: &str = "\
SET NAMES utf8mb4; SET SESSION autocommit=1, completion_type=0, \
sql_mode='NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', \
lock_wait_timeout=1, innodb_lock_wait_timeout=1, time_zone='+00:00', max_execution_time=0, \
transaction_isolation='REPEATABLE-READ', transaction_read_only=0, sql_log_bin=1, \
gtid_next='AUTOMATIC', sql_safe_updates=0, sql_select_limit=DEFAULT, sql_big_selects=1, \
max_join_size=DEFAULT, sql_auto_is_null=0, foreign_key_checks=1, unique_checks=1, \
net_read_timeout=30, net_write_timeout=60";

/// A user and a password, which no Debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    password: String,
}

impl Login {
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Login {
        Login {
            user: user.into(),
            password: password.into(),
        }
    }

    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Socket(PathBuf),
}

/// How a TCP connection is protected. Through a socket it never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The password still goes encrypted, with the server's own RSA key, but nothing proves whose
    /// key it is: for loopback.
    Plain,
    /// Against this authority. The server's certificate needs its name as subjectAltName, which
    /// the one that MySQL makes for itself lacks.
    Tls { ca: PathBuf },
    /// Encrypted to whoever answers.
    TlsUnverified,
}

/// Where to connect, as whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: Address,
    pub login: Login,
    pub transport: Transport,
}

impl Target {
    fn opts(&self) -> OptsBuilder {
        let opts = OptsBuilder::default()
            .user(Some(&self.login.user))
            .pass(Some(self.login.password()))
            // Or the driver reconnects a loopback connection through the socket, unasked.
            .prefer_socket(false)
            .max_allowed_packet(Some(MAX_ALLOWED_PACKET_BYTES))
            .wait_timeout(Some(WAIT_TIMEOUT_SECONDS))
            .stmt_cache_size(0)
            .tcp_nodelay(true);
        let tls = match &self.transport {
            Transport::Plain => None,
            Transport::Tls { ca } => Some(
                SslOpts::default()
                    .with_disable_built_in_roots(true)
                    .with_root_certs(vec![ca.clone().into()]),
            ),
            Transport::TlsUnverified => {
                Some(SslOpts::default().with_danger_accept_invalid_certs(true))
            }
        };
        match &self.address {
            Address::Tcp { host, port } => opts.ip_or_hostname(host).tcp_port(*port).ssl_opts(tls),
            Address::Socket(path) => opts.socket(Some(path.display().to_string())),
        }
    }
}

/// Why a question has no answer. Only `Server` says that it was not carried out; after all others
/// it may have been.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("MySQL answered with error {code}: {message}")]
    Server { code: u16, message: String },
    #[error("no answer in time")]
    TimedOut,
    #[error("this process cannot open a connection: {0}")]
    Unable(#[source] io::Error),
    #[error("the connection was refused")]
    Refused,
    #[error("the connection broke")]
    Broken,
    #[error("this connection missed an earlier deadline and was closed")]
    Discarded,
    #[error("cannot talk to MySQL")]
    Other(#[source] mysql_async::Error),
    #[error("MySQL's answer lacks {0}")]
    Unexpected(&'static str),
}

impl SessionError {
    /// The MySQL error number, if MySQL answered with one.
    pub fn code(&self) -> Option<u16> {
        match self {
            SessionError::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the account lacks a privilege.
    pub fn is_denied(&self) -> bool {
        self.code().is_some_and(|code| DENIED.contains(&code))
    }
}

impl From<mysql_async::Error> for SessionError {
    fn from(error: mysql_async::Error) -> SessionError {
        match &error {
            mysql_async::Error::Server(server) => SessionError::Server {
                code: server.code,
                message: server.message.clone(),
            },
            mysql_async::Error::Driver(DriverError::ConnectionClosed) => SessionError::Broken,
            mysql_async::Error::Io(IoError::Io(io)) if is_our_own(io) => {
                SessionError::Unable(io::Error::new(io.kind(), io.to_string()))
            }
            mysql_async::Error::Io(IoError::Io(io)) => match io.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => SessionError::Refused,
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => SessionError::Broken,
                _ => SessionError::Other(error),
            },
            _ => SessionError::Other(error),
        }
    }
}

/// Whether the other side has no part in it: this process or its machine has run out of something.
fn is_our_own(error: &io::Error) -> bool {
    use nix::libc;
    error.raw_os_error().is_some_and(|code| {
        [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EADDRNOTAVAIL,
        ]
        .contains(&code)
    })
}

/// What MySQL answers to an account that lacks a privilege: on a schema, a table, a column, a routine,
/// the server.
const DENIED: [u16; 5] = [1044, 1142, 1143, 1370, 1227];

/// One result set, in the order of its statement.
pub type Rows = Vec<Row>;

/// A logged-in connection.
#[derive(Debug)]
pub struct Session {
    /// `None` once a deadline was missed or the connection broke.
    conn: Option<Conn>,
    id: u32,
    version: (u16, u16, u16),
    denied: bool,
}

impl Session {
    pub async fn connect(target: &Target, deadline: Instant) -> Result<Session, SessionError> {
        let opening = Conn::new(target.opts());
        let conn = timeout_at(deadline, opening)
            .await
            .map_err(|_| SessionError::TimedOut)??;
        Ok(Session {
            id: conn.id(),
            version: conn.server_version(),
            conn: Some(conn),
            denied: false,
        })
    }

    /// Its number at the server, for KILL.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// As the server greeted.
    pub fn version(&self) -> (u16, u16, u16) {
        self.version
    }

    /// Whether it may be kept for the next question. Not one to which something was denied: its
    /// privileges are those of its login, whatever is granted since.
    pub fn is_usable(&self) -> bool {
        self.conn.is_some() && !self.denied
    }

    /// Sends statements in one packet, and returns the result set of each that has one.
    ///
    /// The server stops at the first that fails; those before it stay done.
    pub async fn ask(&mut self, sql: &str, deadline: Instant) -> Result<Vec<Rows>, SessionError> {
        // Taken for the time of the question, so that a dropped future discards it too.
        let mut conn = Held(Some(self.conn.take().ok_or(SessionError::Discarded)?));
        let answer = match conn.0.as_mut() {
            Some(inner) => timeout_at(deadline, ask_all(inner, sql)).await,
            None => return Err(SessionError::Discarded),
        };
        let answer = answer
            .map_err(|_| SessionError::TimedOut)?
            .map_err(SessionError::from);
        self.denied |= answer.as_ref().is_err_and(SessionError::is_denied);
        if matches!(answer, Ok(_) | Err(SessionError::Server { .. })) {
            self.conn = conn.0.take();
        }
        answer
    }

    /// As `ask`, for statements whose result sets nobody wants.
    pub async fn execute(&mut self, sql: &str, deadline: Instant) -> Result<(), SessionError> {
        self.ask(sql, deadline).await.map(|_| ())
    }

    /// Says goodbye, so that the server does not count an aborted client.
    pub async fn close(mut self, deadline: Instant) {
        if let Some(conn) = self.conn.take() {
            let _ = timeout_at(deadline, conn.disconnect()).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(Held(self.conn.take()));
    }
}

/// A connection that is closed when dropped, whatever it was doing.
struct Held(Option<Conn>);

impl Drop for Held {
    /// The driver's own drop waits in a task for the query's end, for ever behind a stopped
    /// server. `disconnect`, polled once, says goodbye if it can and closes the socket in any case.
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            let _ = conn.disconnect().now_or_never();
        }
    }
}

async fn ask_all(conn: &mut Conn, sql: &str) -> mysql_async::Result<Vec<Rows>> {
    let mut result = conn.query_iter(sql).await?;
    let mut sets = Vec::new();
    loop {
        // A statement without a result set, SET say, has no columns.
        let has_columns = result.columns().is_some_and(|columns| !columns.is_empty());
        let rows: Rows = result.collect().await?;
        if has_columns {
            sets.push(rows);
        }
        if result.is_empty() {
            // Not the end yet: an error of the last statement still waits in the driver, which
            // would report it as the *next* question's. Then a failed SET would pass for done.
            result.drop_result().await?;
            return Ok(sets);
        }
    }
}

/// A value as MySQL's own text; NULL and an absent column are `None`.
pub(crate) fn text(row: &Row, column: &str) -> Option<String> {
    match row.get_opt::<Option<String>, _>(column) {
        Some(Ok(value)) => value,
        // A byte string that is no UTF-8, or a number from a typed column.
        Some(Err(_)) | None => None,
    }
}

/// A GTID set, without the line breaks that MySQL puts between sources.
pub(super) fn gtid_set(row: &Row, column: &'static str) -> Result<String, SessionError> {
    text(row, column)
        .map(|set| set.replace(['\n', '\r'], ""))
        .ok_or(SessionError::Unexpected(column))
}

pub(super) fn number(row: &Row, column: &'static str) -> Result<u64, SessionError> {
    text(row, column)
        .and_then(|text| text.parse().ok())
        .ok_or(SessionError::Unexpected(column))
}

pub(super) fn flag(row: &Row, column: &'static str) -> Result<bool, SessionError> {
    match text(row, column).as_deref() {
        Some("1" | "ON" | "Yes" | "YES") => Ok(true),
        Some("0" | "OFF" | "No" | "NO") => Ok(false),
        _ => Err(SessionError::Unexpected(column)),
    }
}

/// A string literal, under a `sql_mode` with NO_BACKSLASH_ESCAPES: only the quote itself is special
/// there. Statements that cross the network with a foreign value set that mode themselves.
pub(super) fn quote(value: &str) -> Result<String, SessionError> {
    if value.contains(char::is_control) {
        return Err(SessionError::Unexpected(
            "a value without control characters",
        ));
    }
    Ok(format!("'{}'", value.replace('\'', "''")))
}

/// A deadline this far from now.
pub fn within(limit: Duration) -> Instant {
    Instant::now() + limit
}
