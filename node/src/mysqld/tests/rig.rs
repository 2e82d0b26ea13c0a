//! A few instances in a temporary folder, killed at the end of the test.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    num::NonZeroU16,
    time::{Duration, Instant as Clock},
};

use tokio::time::Instant;

use crate::mysqld::{
    bringup::{Instance, spawn},
    fetch::{Server, find_or_fetch},
    follow::{Source, SourceTransport, Terms, follow},
    ops,
    process::Watched,
    session::{Address, Login, Session, Target, Transport, within},
    template::Template,
};

/// Generous: two busy cores.
pub const START_LIMIT: Duration = Duration::from_secs(30);

pub fn soon() -> Instant {
    within(Duration::from_secs(10))
}

/// Runs one step, and prints what it took.
pub async fn timed<T>(what: &str, step: impl Future<Output = T>) -> T {
    let began = Clock::now();
    let result = step.await;
    println!("{what}: {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    result
}

pub struct Rig {
    pub server: Server,
    pub template: Template,
    pub instances: Vec<Instance>,
    pub processes: Vec<Watched>,
    _dir: tempfile::TempDir,
}

/// Lets clients in.
pub async fn go_online(session: &mut Session) {
    let sql = "SET GLOBAL offline_mode=OFF";
    session.execute(sql, soon()).await.unwrap();
}

impl Rig {
    /// `count` running, fenced, empty instances; `None`, said aloud, where MySQL cannot be had.
    pub async fn start(count: u16) -> Option<Rig> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = match find_or_fetch(|_| {}).await {
            Ok(server) => server,
            Err(why) => {
                println!("skipped: {why}");
                return None;
            }
        };
        let template = timed("template", Template::prepare(&server)).await.unwrap();
        let dir = tempfile::Builder::new().prefix("prm").tempdir().unwrap();
        // All at once, so that no two are the same.
        let ports: Vec<TcpListener> = (0..count * 2)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let port = |index: u16| ports[usize::from(index)].local_addr().unwrap().port();
        let instances: Vec<Instance> = (0..count)
            .map(|index| Instance {
                dir: dir.path().join(format!("i{index}")),
                bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
                port: port(index * 2),
                admin_port: port(index * 2 + 1),
                server_id: u32::from(index) + 1,
                acks_required: 1,
                buffer_pool_mib: 64,
                core_file: false,
            })
            .collect();
        drop(ports);
        let mut rig = Rig {
            server,
            template,
            instances,
            processes: Vec::new(),
            _dir: dir,
        };
        for instance in &rig.instances {
            std::fs::create_dir(&instance.dir).unwrap();
            timed("copy", rig.template.copy_to(instance)).await.unwrap();
        }
        let starts = rig
            .instances
            .iter()
            .map(|instance| spawn(&rig.server, instance, START_LIMIT));
        let started = timed("start to ready, all", futures::future::join_all(starts)).await;
        rig.processes = started.into_iter().map(Result::unwrap).collect();
        Some(rig)
    }

    pub fn agent(&self, index: usize) -> Target {
        Target {
            address: Address::Socket(self.instances[index].socket()),
            login: self.template.accounts.agent.clone(),
            transport: Transport::Plain,
        }
    }

    pub fn tcp(&self, index: usize, login: &Login) -> Target {
        Target {
            address: Address::Tcp {
                host: "127.0.0.1".into(),
                port: self.instances[index].port,
            },
            login: login.clone(),
            transport: Transport::Plain,
        }
    }

    pub async fn session(&self, index: usize) -> Session {
        Session::connect(&self.agent(index), soon()).await.unwrap()
    }

    /// A client; the instance lets clients in from now on.
    pub async fn app(&self, index: usize) -> Session {
        let mut session = self.session(index).await;
        go_online(&mut session).await;
        Session::connect(&self.tcp(index, &self.template.accounts.app), soon())
            .await
            .unwrap()
    }

    pub fn source(&self, index: usize, transport: SourceTransport) -> Source {
        Source {
            host: "127.0.0.1".into(),
            port: self.instances[index].port,
            logins: vec![self.template.accounts.repl.clone()],
            transport,
            heartbeat: Duration::from_millis(100),
        }
    }

    /// A session that dies of an idle second.
    pub async fn opener(&self, index: usize) -> Session {
        let mut session = self.session(index).await;
        ops::arm(&mut session, soon()).await.unwrap();
        session
    }

    /// Opens the first instance, k = 1.
    pub async fn open(&self) {
        let mut opener = self.opener(0).await;
        ops::open(&mut opener, NonZeroU16::MIN, soon())
            .await
            .unwrap();
    }

    /// The second acknowledges to the first, which is open; a session on the second.
    pub async fn replicating(&self) -> Session {
        let mut replica = self.session(1).await;
        let source = self.source(0, SourceTransport::PublicKey);
        follow(&mut replica, &source, Terms::acking(), soon())
            .await
            .unwrap();
        self.open().await;
        replica
    }

    pub async fn end(self) {
        for process in &self.processes {
            process.kill9().unwrap();
            process.exited().await;
        }
    }
}

impl Drop for Rig {
    /// A failed test leaves no server behind either.
    fn drop(&mut self) {
        for process in &self.processes {
            let _ = process.kill9();
        }
    }
}

/// Asks again until it holds, or fails the test.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = within(Duration::from_secs(60));
    while !holds().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
