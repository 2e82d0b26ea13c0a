//! Gathers what the readiness lint judges: every agent's facts, and what answers at each registered
//! address.

use std::collections::BTreeMap;
use std::time::Duration;

use primacy_core::ids::InstanceId;
use primacy_core::lint::{AddressWord, AgentWord, Evidence, Report, Subject, lint};
use primacy_core::record::InstanceSpec;
use tokio::time::timeout;

use super::Access;
use crate::mysqld::probe::{Sight, fresh};
use crate::mysqld::session::within;
use crate::observe::probe_target;

/// An agent gives up after 1.5 s itself.
const FACTS_LIMIT: Duration = Duration::from_millis(2_000);
/// A login takes some eight round trips, and regions are up to 200 ms apart.
const ADDRESS_LIMIT: Duration = Duration::from_millis(2_000);
/// 1040 and 3032: too many connections, offline mode. The right server may answer so.
const CLOSED: [u16; 2] = [1040, 3032];

impl Access {
    /// Judges a cluster as it is now. Takes as long as [`Self::evidence`].
    pub(super) async fn readiness(&self, subject: &Subject<'_>) -> Report {
        lint(subject, &self.evidence(subject).await)
    }

    /// Takes as long as the slowest agent, two seconds at most.
    pub(super) async fn evidence(&self, subject: &Subject<'_>) -> BTreeMap<InstanceId, Evidence> {
        let each = subject.instances().iter().map(|(instance, spec)| async {
            let (agent, address) =
                tokio::join!(self.agent_word(subject, instance), self.address_word(spec));
            (instance.clone(), Evidence { agent, address })
        });
        let each = futures::future::join_all(each).await;
        each.into_iter().collect()
    }

    async fn agent_word(&self, subject: &Subject<'_>, instance: &InstanceId) -> AgentWord {
        let peers = subject
            .instances()
            .iter()
            .filter(|(id, spec)| *id != instance && !spec.agent.is_empty())
            .map(|(id, spec)| (id.clone(), spec.agent.clone()));
        let asked = self
            .links
            .inspect(subject.cluster(), instance, peers.collect());
        let Some(asked) = asked else {
            return AgentWord::Absent;
        };
        match timeout(FACTS_LIMIT, asked).await {
            Ok(Ok(Ok(facts))) => AgentWord::Told(Box::new(facts)),
            Ok(Ok(Err(why))) => AgentWord::Failed(why),
            // Its link ended, or it is slow: neither says anything of the server.
            Ok(Err(_)) | Err(_) => AgentWord::Silent,
        }
    }

    async fn address_word(&self, spec: &InstanceSpec) -> AddressWord {
        let target = probe_target(&self.probe, spec);
        match fresh(&target, within(ADDRESS_LIMIT)).await {
            Sight::Answered(seen) => match seen.server_uuid.parse() {
                Ok(uuid) => AddressWord::Answers(uuid),
                Err(error) => AddressWord::Fails(format!("its server_uuid is malformed: {error}")),
            },
            Sight::Failed { code, .. } if CLOSED.contains(&code) => AddressWord::Closed,
            Sight::Failed { code, message } => AddressWord::Fails(format!("{code}: {message}")),
            Sight::Refused => AddressWord::Fails("the connection is refused".into()),
            Sight::Reset => AddressWord::Fails("the connection breaks".into()),
            Sight::Silent => AddressWord::Fails("nothing answers in time".into()),
            Sight::Other(why) | Sight::Unable(why) => AddressWord::Fails(why),
        }
    }
}
