//! One warm connection per instance, and fresh ones on demand; each attempt has a deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use primacy_core::ids::InstanceId;
use primacy_core::node::NodeInput;
use primacy_core::observe::{Probe, Pulse, Seen};
use primacy_core::record::InstanceSpec;
use tokio::sync::{Mutex, mpsc};

use crate::clock;
use crate::config::ProbeAccount;
use crate::mysqld::probe::{Sight, fresh, warm};
use crate::mysqld::session::{Address, Login, Session, Target, Transport, within};

/// Longer than a healthy server ever needs in one region, shorter than the patience of any policy.
const LIMIT: Duration = Duration::from_millis(200);

/// Asks instances on request; results come back as inputs of the node.
pub struct Probers {
    account: ProbeAccount,
    inputs: mpsc::Sender<NodeInput>,
    /// Added to the deadline: a probe crosses the network once, a login several times.
    rtt: Duration,
    warm: BTreeMap<InstanceId, Arc<Mutex<Option<Session>>>>,
}

impl Probers {
    pub fn new(account: ProbeAccount, rtt: Duration, inputs: mpsc::Sender<NodeInput>) -> Self {
        Self {
            account,
            inputs,
            rtt,
            warm: BTreeMap::new(),
        }
    }

    /// Begins one attempt.
    pub fn probe(&mut self, instance: InstanceId, spec: &InstanceSpec, probe: Probe) {
        let target = probe_target(&self.account, spec);
        let inputs = self.inputs.clone();
        let rtt = self.rtt;
        let kept = self.warm.entry(instance.clone()).or_default().clone();
        tokio::spawn(async move {
            let begun = clock::now();
            let sight = match probe {
                Probe::Fresh => fresh(&target, within(LIMIT + rtt * 8)).await,
                Probe::Warm => look(&target, &kept, LIMIT + rtt, rtt).await,
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

/// On the connection kept open; a new one is made only when there is none, and then it is the
/// answer of a fresh one.
async fn look(
    target: &Target,
    kept: &Mutex<Option<Session>>,
    limit: Duration,
    rtt: Duration,
) -> Sight {
    let mut kept = kept.lock().await;
    if let Some(mut session) = kept.take() {
        let sight = warm(&mut session, within(limit)).await;
        if session.is_usable() {
            *kept = Some(session);
        }
        return sight;
    }
    let deadline = within(limit + rtt * 7);
    match Session::connect(target, deadline).await {
        Ok(mut session) => {
            let sight = warm(&mut session, deadline).await;
            if session.is_usable() {
                *kept = Some(session);
            }
            sight
        }
        Err(_) => fresh(target, deadline).await,
    }
}

fn read(sight: Sight) -> (Pulse, Option<Seen>) {
    match sight {
        Sight::Answered(seen) => (
            Pulse::Answered {
                fenced: seen.super_read_only,
            },
            seen.core(),
        ),
        Sight::Failed { code, .. } => (Pulse::Refused { code }, None),
        Sight::Refused | Sight::Reset => (Pulse::Failed { reset: true }, None),
        Sight::Silent | Sight::Other(_) => (Pulse::Failed { reset: false }, None),
        Sight::Unable(why) => {
            tracing::error!("{why}; nothing can be said of any primary until that ends");
            (Pulse::Unable, None)
        }
    }
}
