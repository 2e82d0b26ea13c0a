//! One warm connection per instance, and fresh ones on demand; each attempt has a deadline.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use primacy_core::ids::InstanceId;
use primacy_core::node::NodeInput;
use primacy_core::observe::{Probe, Pulse, Seen};
use primacy_core::record::InstanceSpec;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use crate::clock;
use crate::config::{NodeConfig, ProbeAccount, reload};
use crate::mysqld::probe::{Sight, fresh, warm};
use crate::mysqld::session::{Address, Login, Session, Target, Transport, within};

/// Longer than a healthy server ever needs in one region, shorter than the patience of any policy.
const LIMIT: Duration = Duration::from_millis(200);

/// Asks instances on request; results come back as inputs of the node.
pub struct Probers {
    accounts: Arc<Accounts>,
    inputs: mpsc::Sender<NodeInput>,
    /// Added to the deadline: a probe crosses the network once, a login several times.
    rtt: Duration,
    warm: BTreeMap<InstanceId, Arc<Mutex<Option<Session>>>>,
}

impl Probers {
    pub fn new(config: &NodeConfig, inputs: mpsc::Sender<NodeInput>) -> Self {
        let rtt = Duration::from_millis(config.round_trip_ms);
        Self {
            accounts: Accounts::of(config),
            inputs,
            rtt,
            warm: BTreeMap::new(),
        }
    }

    /// Begins one attempt.
    pub fn probe(&mut self, instance: InstanceId, spec: &InstanceSpec, probe: Probe) {
        let (accounts, spec) = (self.accounts.clone(), spec.clone());
        let inputs = self.inputs.clone();
        let rtt = self.rtt;
        let kept = self.warm.entry(instance.clone()).or_default().clone();
        tokio::spawn(async move {
            let begun = clock::now();
            let sight = match probe {
                Probe::Fresh => {
                    accounts
                        .fresh(&instance, &spec, within(LIMIT + rtt * 8))
                        .await
                }
                Probe::Warm => accounts.warm(&instance, &spec, &kept, rtt).await,
            };
            let (pulse, seen) = read(sight);
            let input = NodeInput::Pulse {
                instance,
                probe,
                begun,
                pulse,
                seen: seen.map(Box::new),
            };
            let _ = inputs.send(input).await;
        });
    }
}

/// An instance as this account reaches it.
pub fn probe_target(account: &ProbeAccount, spec: &InstanceSpec) -> Target {
    Target {
        address: Address::Tcp {
            host: spec.host.clone(),
            port: spec.port,
        },
        login: Login::new(&account.user, &account.password),
        transport: if account.tls {
            Transport::TlsUnverified
        } else {
            Transport::Plain
        },
    }
}

/// ER_ACCESS_DENIED_ERROR: another password may be right.
const ACCESS_DENIED: u16 = 1045;
/// Passwords that are remembered.
const REMEMBERED: usize = 3;

/// The probe account as it was configured lately, and which of its passwords each instance took
/// last: one that lags behind, or is fenced, may know only an older one.
struct Accounts {
    known: std::sync::Mutex<Vec<ProbeAccount>>,
    taken: std::sync::Mutex<BTreeMap<InstanceId, ProbeAccount>>,
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Accounts {
    /// Takes over what is changed in the configuration, for as long as the process runs.
    fn of(config: &NodeConfig) -> Arc<Self> {
        let accounts = Arc::new(Self {
            known: std::sync::Mutex::new(vec![config.probe.clone()]),
            taken: std::sync::Mutex::default(),
        });
        if let Some(path) = config.source.clone() {
            let told = accounts.clone();
            let (load, files) = (NodeConfig::load, NodeConfig::password_files);
            tokio::spawn(reload::follow(path, load, files, move |config| {
                told.add(&config.probe);
            }));
        }
        accounts
    }

    fn add(&self, account: &ProbeAccount) {
        let mut known = lock(&self.known);
        if !known.contains(account) {
            tracing::info!("the probe account in the configuration has changed, and is used");
            known.insert(0, account.clone());
            known.truncate(REMEMBERED);
        }
    }

    /// Those to try at this instance, the one that it took last first.
    fn at(&self, instance: &InstanceId) -> Vec<ProbeAccount> {
        let mut accounts = lock(&self.known).clone();
        if let Some(taken) = lock(&self.taken).get(instance)
            && let Some(at) = accounts.iter().position(|account| account == taken)
        {
            let taken = accounts.remove(at);
            accounts.insert(0, taken);
        }
        accounts
    }

    async fn fresh(&self, instance: &InstanceId, spec: &InstanceSpec, deadline: Instant) -> Sight {
        let mut refused = None;
        for account in self.at(instance) {
            let sight = fresh(&probe_target(&account, spec), deadline).await;
            match sight {
                Sight::Failed {
                    code: ACCESS_DENIED,
                    ..
                } => refused = Some(sight),
                Sight::Answered(_) => {
                    lock(&self.taken).insert(instance.clone(), account);
                    return sight;
                }
                // A refusal was an answer, whatever became of a later try.
                other => return refused.unwrap_or(other),
            }
        }
        refused.unwrap_or(Sight::Silent)
    }

    /// On the connection kept open; a new one is made only when there is none, and then it is the
    /// answer of a fresh one.
    async fn warm(
        &self,
        instance: &InstanceId,
        spec: &InstanceSpec,
        kept: &Mutex<Option<Session>>,
        rtt: Duration,
    ) -> Sight {
        let mut kept = kept.lock().await;
        if let Some(mut session) = kept.take() {
            let sight = warm(&mut session, within(LIMIT + rtt)).await;
            if session.is_usable() {
                *kept = Some(session);
            }
            return sight;
        }
        let deadline = within(LIMIT + rtt * 8);
        for account in self.at(instance) {
            let target = probe_target(&account, spec);
            if let Ok(mut session) = Session::connect(&target, deadline).await {
                lock(&self.taken).insert(instance.clone(), account);
                let sight = warm(&mut session, deadline).await;
                if session.is_usable() {
                    *kept = Some(session);
                }
                return sight;
            }
        }
        self.fresh(instance, spec, deadline).await
    }
}

fn read(sight: Sight) -> (Pulse, Option<Seen>) {
    let pulse = match sight {
        Sight::Answered(seen) => {
            let pulse = Pulse::Answered {
                fenced: seen.read_only,
            };
            return (pulse, seen.core());
        }
        Sight::Failed { code, .. } => Pulse::Refused { code },
        Sight::Refused | Sight::Reset => Pulse::Failed { reset: true },
        Sight::Silent | Sight::Other(_) => Pulse::Failed { reset: false },
        Sight::Unable(why) => {
            tracing::error!("{why}; nothing can be said of any primary until that ends");
            Pulse::Unable
        }
    };
    (pulse, None)
}
