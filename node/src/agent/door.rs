//! How the agent gets into its own `mysqld`: by which way, and as whom.
//!
//! A password may be changed in the server first or in the configuration first, and a server that
//! lags behind or is fenced may know only the old one: all that were given lately are tried, the
//! one that was right last first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::AgentConfig;
use crate::mysqld::session::{Address, Login, Session, SessionError, Target, Transport};

/// Passwords that are remembered: two changes while one server is away.
const LOGINS: usize = 3;
/// Between two tries of an account that is refused; each time twice as long.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// ER_SERVER_SHUTDOWN, ER_NEW_ABORTING_CONNECTION: it lets nobody in any more, whoever he is.
const ENDING: [u16; 2] = [1053, 1184];

/// Logins of one account, the most promising first.
#[derive(Debug)]
pub(super) struct Logins(Mutex<Vec<Login>>);

impl Logins {
    pub fn new(user: &str, password: &str) -> Self {
        Self(Mutex::new(vec![Login::new(user, password)]))
    }

    pub fn all(&self) -> Vec<Login> {
        lock(&self.0).clone()
    }

    /// Whether it is another one than those that are known.
    pub fn add(&self, login: Login) -> bool {
        let mut logins = lock(&self.0);
        if logins.contains(&login) {
            return false;
        }
        logins.insert(0, login);
        logins.truncate(LOGINS);
        true
    }

    /// The first one was refused: it is the last to be tried again.
    pub fn turn(&self) {
        lock(&self.0).rotate_left(1);
    }

    pub fn prefer(&self, login: &Login) {
        let mut logins = lock(&self.0);
        if let Some(at) = logins.iter().position(|known| known == login) {
            let login = logins.remove(at);
            logins.insert(0, login);
        }
    }
}

/// What the server answered to the newest try, and when the next one is made.
struct Refusal {
    code: u16,
    message: String,
    pause: Duration,
    until: Instant,
}

impl Refusal {
    fn error(&self) -> SessionError {
        SessionError::Server {
            code: self.code,
            message: self.message.clone(),
        }
    }
}

/// Where the agent logs in, and why it cannot.
pub(super) struct Door {
    ways: [Address; 2],
    pub own: Logins,
    /// What replicas log in with.
    pub replication: Logins,
    refusal: Mutex<Option<Refusal>>,
    changed: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    pub fn new(config: &AgentConfig) -> Arc<Self> {
        let admin = Address::Tcp {
            host: "127.0.0.1".into(),
            port: config.server.admin_port,
        };
        let socket = Address::Socket(super::server::instance(config).socket());
        let mysql = &config.mysql;
        Arc::new(Self {
            ways: [admin, socket],
            own: Logins::new(&mysql.user, &mysql.password),
            replication: Logins::new(&mysql.replication_user, &mysql.replication_password),
            refusal: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// The server is another one, or the passwords are.
    pub fn anew(&self) {
        if let Some(refusal) = lock(&self.refusal).as_mut() {
            refusal.until = Instant::now();
        }
        self.changed.notify_one();
    }

    /// Waits until the server is another one, or the passwords are.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes over passwords that were changed in the configuration.
    pub fn read(&self, config: &AgentConfig) {
        let mysql = &config.mysql;
        let own = self.own.add(Login::new(&mysql.user, &mysql.password));
        let replication = Login::new(&mysql.replication_user, &mysql.replication_password);
        let replication = self.replication.add(replication);
        if own || replication {
            tracing::info!(
                "the accounts in the configuration have changed, and are used from now on"
            );
            self.anew();
        }
    }

    /// By the administrative port, else through the socket. One that is refused is not asked again
    /// at once.
    pub async fn enter(&self, deadline: Instant) -> Result<Session, SessionError> {
        if let Some(refusal) = lock(&self.refusal).as_ref()
            && Instant::now() < refusal.until
        {
            return Err(refusal.error());
        }
        let mut newest = SessionError::Refused;
        for login in self.own.all() {
            for way in &self.ways {
                let target = Target {
                    address: way.clone(),
                    login: login.clone(),
                    transport: Transport::Plain,
                };
                match Session::connect(&target, deadline).await {
                    Ok(session) => {
                        self.own.prefer(&login);
                        if lock(&self.refusal).take().is_some() {
                            tracing::info!(user = login.user, "logs in again");
                        }
                        return Ok(session);
                    }
                    // The other way is no quicker.
                    Err(SessionError::TimedOut) => return Err(SessionError::TimedOut),
                    // What the server said says more than that nobody listened, and the first way
                    // more than the second, which may be full.
                    Err(error) => {
                        if newest.code().is_none() {
                            newest = error;
                        }
                    }
                }
            }
            if newest.code().is_none() {
                break; // no server, whatever the password
            }
        }
        if let SessionError::Server { code, message } = &newest
            && !ENDING.contains(code)
        {
            self.refused(*code, message);
        }
        Err(newest)
    }

    fn refused(&self, code: u16, message: &str) {
        let mut refusal = lock(&self.refusal);
        let pause = match refusal.as_ref() {
            Some(last) => (last.pause * 2).min(PAUSE_MAX),
            None => {
                // Once: nothing else follows from it, and sessions that stand go on.
                tracing::error!("the agent's account cannot log in: error {code}: {message}");
                PAUSE
            }
        };
        *refusal = Some(Refusal {
            code,
            message: message.to_owned(),
            pause,
            until: Instant::now() + pause,
        });
    }

    /// Through the socket, as somebody else.
    pub fn target_as(&self, login: Login) -> Target {
        Target {
            address: self.ways[1].clone(),
            login,
            transport: Transport::Plain,
        }
    }

    /// Why the newest login was refused; `None` if it was not.
    pub fn trouble(&self) -> Option<String> {
        let refusal = lock(&self.refusal);
        let user = self.own.all().into_iter().next()?.user;
        let refusal = refusal.as_ref()?;
        Some(format!(
            "{user} cannot log in: error {}: {}",
            refusal.code, refusal.message
        ))
    }
}
