//! Who may call what: one table, a pure function of who asks and what is asked.

use primacy_core::ids::{ClusterId, InstanceId, NodeId, PlaneId};
use thiserror::Error;
use tonic::Status;

use super::Identity;

/// Names who asked, what for, and who would be let in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{identity} may not call {asked}: {why}")]
pub struct Refusal {
    pub identity: String,
    pub asked: String,
    pub why: String,
}

impl Refusal {
    /// Said in the log, and to who asked.
    pub fn told(&self) -> Status {
        let text = self.to_string();
        tracing::warn!("{text}");
        Status::permission_denied(text)
    }
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callers {
    Nodes,
    Agents,
    Operators,
    Anyone,
}

impl Callers {
    fn accepted(self, plane: &PlaneId) -> String {
        match self {
            Callers::Nodes => format!("primacy://{plane}/node/ID"),
            Callers::Agents => format!("primacy://{plane}/agent/CLUSTER/INSTANCE"),
            Callers::Operators => format!("primacy://{plane}/operator/NAME"),
            Callers::Anyone => format!("primacy://{plane}/…"),
        }
    }
}

/// The table. A method that is not in it is nobody's: a new one must be given its line.
fn callers(service: &str, method: &str) -> Option<Callers> {
    let callers = match (service, method) {
        ("primacy.internal.raft.v1.RaftService", _) => Callers::Nodes,
        ("primacy.internal.agent.v1.AgentLinkService", _) => Callers::Agents,
        ("primacy.v1.PrimacyService", "GetPrimary" | "WatchPrimaries" | "GetControlPlane") => {
            Callers::Anyone
        }
        ("primacy.v1.OperatorService", "GetStatus" | "ListHistory") => Callers::Anyone,
        (
            "primacy.v1.OperatorService",
            "RegisterCluster" | "UnregisterCluster" | "ChangePolicy" | "SetPolicy"
            | "ApproveFailover" | "AbortFailover" | "AcceptErrant" | "TransferLeader",
        ) => Callers::Operators,
        // Changes nothing, but makes nodes log in at the addresses that the caller names.
        ("primacy.v1.OperatorService", "CheckCluster") => Callers::Operators,
        ("grpc.health.v1.Health", _) => Callers::Anyone,
        ("grpc.reflection.v1.ServerReflection", _) => Callers::Anyone,
        _ => return None,
    };
    Some(callers)
}

/// Whether `identity` may call `path` (`/package.Service/Method`) of a node of `plane`.
pub fn authorize(identity: &Identity, plane: &PlaneId, path: &str) -> Result<(), Refusal> {
    let asked = path.trim_start_matches('/');
    let refuse = |why: String| {
        Err(Refusal {
            identity: identity.to_string(),
            asked: asked.to_owned(),
            why,
        })
    };
    let (service, method) = asked.split_once('/').unwrap_or((asked, ""));
    let Some(callers) = callers(service, method) else {
        return refuse("this version knows no such method".into());
    };
    let accepted = callers.accepted(plane);
    if identity.plane() != plane {
        return refuse(format!(
            "this is a node of plane {plane}; accepted is {accepted}"
        ));
    }
    let admitted = match (callers, identity) {
        (Callers::Anyone, _) => true,
        (Callers::Nodes, Identity::Node { .. }) => true,
        (Callers::Agents, Identity::Agent { .. }) => true,
        (Callers::Operators, Identity::Operator { .. }) => true,
        (Callers::Nodes | Callers::Agents | Callers::Operators, _) => false,
    };
    if admitted {
        Ok(())
    } else {
        refuse(format!("accepted is {accepted}"))
    }
}

/// Whether `identity` may speak for this instance on the agent link.
pub fn speaks_for(
    identity: &Identity,
    cluster: &ClusterId,
    instance: &InstanceId,
) -> Result<(), Refusal> {
    match identity {
        Identity::Agent {
            cluster: own,
            instance: its,
            ..
        } if (own, its) == (cluster, instance) => Ok(()),
        _ => Err(Refusal {
            identity: identity.to_string(),
            asked: format!("the agent link for {instance} of cluster {cluster}"),
            why: format!(
                "accepted is primacy://{}/agent/{cluster}/{instance}",
                identity.plane()
            ),
        }),
    }
}

/// Whether `identity` may say what only this node says.
pub fn speaks_as(identity: &Identity, named: NodeId) -> Result<(), Refusal> {
    match identity {
        Identity::Node { node, .. } if *node == named => Ok(()),
        _ => Err(Refusal {
            identity: identity.to_string(),
            asked: format!("the log in the name of node {named}"),
            why: format!("accepted is primacy://{}/node/{named}", identity.plane()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// `n`ode, `a`gent, `o`perator, `c`lient of the plane; who of them is let in.
    fn check(path: &str, admitted: &str) {
        let plane = PlaneId::from("prod");
        for (letter, end) in [
            ('n', "node/1"),
            ('a', "agent/orders/orders-1"),
            ('o', "operator/ann"),
            ('c', "client/app"),
        ] {
            let own: Identity = format!("primacy://prod/{end}").parse().unwrap();
            let answer = authorize(&own, &plane, path);
            assert_eq!(answer.is_ok(), admitted.contains(letter), "{own} {path}");
            if let Err(refusal) = answer {
                let text = refusal.to_string();
                for word in [own.to_string().as_str(), &path[1..], "primacy://prod/"] {
                    assert!(text.contains(word), "{word} in {text}");
                }
            }
            let foreign: Identity = format!("primacy://test/{end}").parse().unwrap();
            let refusal = authorize(&foreign, &plane, path).expect_err(path);
            assert!(
                refusal.to_string().contains("node of plane prod"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn each_method_has_its_callers() {
        for method in [
            "Append",
            "StreamAppend",
            "Vote",
            "PreVote",
            "InstallSnapshot",
            "TransferLeader",
            "Forward",
            "ReadIndex",
        ] {
            check(
                &format!("/primacy.internal.raft.v1.RaftService/{method}"),
                "n",
            );
        }
        check("/primacy.internal.agent.v1.AgentLinkService/Attach", "a");
        for method in ["GetPrimary", "WatchPrimaries", "GetControlPlane"] {
            check(&format!("/primacy.v1.PrimacyService/{method}"), "naoc");
        }
        for method in ["GetStatus", "ListHistory"] {
            check(&format!("/primacy.v1.OperatorService/{method}"), "naoc");
        }
        for method in [
            "RegisterCluster",
            "UnregisterCluster",
            "CheckCluster",
            "ChangePolicy",
            "SetPolicy",
            "ApproveFailover",
            "AbortFailover",
            "AcceptErrant",
            "TransferLeader",
        ] {
            check(&format!("/primacy.v1.OperatorService/{method}"), "o");
        }
        check("/grpc.health.v1.Health/Check", "naoc");
        check("/grpc.health.v1.Health/Watch", "naoc");
        check(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "naoc",
        );
    }

    #[test]
    fn what_is_not_in_the_table_is_nobodys() {
        let operator: Identity = "primacy://prod/operator/ann".parse().unwrap();
        for path in [
            "",
            "/",
            "/primacy.v1.OperatorService",
            "/primacy.v1.OperatorService/",
            "/primacy.v1.OperatorService/DropCluster",
            "/primacy.v1.PrimacyService/SetPrimary",
            "/primacy.v2.PrimacyService/GetPrimary",
        ] {
            let refusal = authorize(&operator, &"prod".into(), path).expect_err(path);
            assert!(refusal.to_string().contains("no such method"), "{refusal}");
        }
    }

    /// A method that is added without a line in the table would be refused to everybody.
    #[test]
    fn no_method_of_the_api_is_forgotten() {
        let set = FileDescriptorSet::decode(crate::DESCRIPTORS).expect("our own");
        let mut methods = 0;
        for file in &set.file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    let known = callers(&name, method.name());
                    assert!(known.is_some(), "{name}/{} has no line", method.name());
                    methods += 1;
                }
            }
        }
        assert_eq!(methods, 15);
    }

    #[test]
    fn everybody_speaks_for_itself() {
        let agent: Identity = "primacy://prod/agent/orders/orders-1".parse().unwrap();
        let node: Identity = "primacy://prod/node/2".parse().unwrap();
        let (orders, first) = (ClusterId::from("orders"), InstanceId::from("orders-1"));
        assert_eq!(speaks_for(&agent, &orders, &first), Ok(()));
        for (identity, cluster, instance) in [
            (&agent, "orders", "orders-2"),
            (&agent, "till", "orders-1"),
            (&node, "orders", "orders-1"),
        ] {
            let refusal = speaks_for(identity, &cluster.into(), &instance.into()).expect_err("no");
            let accepted = format!("accepted is primacy://prod/agent/{cluster}/{instance}");
            assert!(refusal.to_string().contains(&accepted), "{refusal}");
        }
        assert_eq!(speaks_as(&node, NodeId(2)), Ok(()));
        for (identity, named) in [(&node, 3), (&agent, 2)] {
            let refusal = speaks_as(identity, NodeId(named)).expect_err("no");
            let accepted = format!("accepted is primacy://prod/node/{named}");
            assert!(refusal.to_string().contains(&accepted), "{refusal}");
        }
    }
}
