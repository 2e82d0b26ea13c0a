//! Who a certificate speaks for.

use std::fmt;
use std::str::FromStr;

use primacy_core::ids::{ClusterId, InstanceId, NodeId, PlaneId};
use rustls::pki_types::CertificateDer;
use thiserror::Error;

const SCHEME: &str = "primacy://";
/// As long as the ids of clusters and instances may be.
const NAME_BYTES_MAX: usize = 63;

/// One member or user of one control plane, as the one URI among its certificate's names says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// `primacy://PLANE/node/ID`
    Node { plane: PlaneId, node: NodeId },
    /// `primacy://PLANE/agent/CLUSTER/INSTANCE`
    Agent {
        plane: PlaneId,
        cluster: ClusterId,
        instance: InstanceId,
    },
    /// `primacy://PLANE/operator/NAME`: may change things.
    Operator { plane: PlaneId, name: String },
    /// `primacy://PLANE/client/NAME`: may only read.
    Client { plane: PlaneId, name: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    #[error(
        "the certificate names nobody of a control plane; issue one with a URI among its subject \
         alternative names: {FORMS}"
    )]
    Missing,
    #[error("the certificate names several: {}; issue one with a single primacy:// URI", .0.join(", "))]
    Several(Vec<String>),
    #[error("{0:?} is no identity: {1}; it is one of {FORMS}")]
    Malformed(String, &'static str),
}

/// For errors and help.
const FORMS: &str = "primacy://PLANE/node/ID, primacy://PLANE/agent/CLUSTER/INSTANCE, \
                     primacy://PLANE/operator/NAME, primacy://PLANE/client/NAME";

impl Identity {
    pub fn plane(&self) -> &PlaneId {
        match self {
            Identity::Node { plane, .. }
            | Identity::Agent { plane, .. }
            | Identity::Operator { plane, .. }
            | Identity::Client { plane, .. } => plane,
        }
    }

    /// The identity of a certificate. URIs of other schemes are others' business.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| IdentityError::Unreadable(error.to_string()))?;
        let mut uris = parsed
            .valid_uri_names()
            .filter(|uri| uri.starts_with(SCHEME));
        let first = uris.next().ok_or(IdentityError::Missing)?;
        let others: Vec<_> = uris.map(str::to_owned).collect();
        if !others.is_empty() {
            let all = [vec![first.to_owned()], others].concat();
            return Err(IdentityError::Several(all));
        }
        first.parse()
    }

    /// A name for its files: `node-1`, `agent-orders-orders-1`.
    pub fn file_stem(&self) -> String {
        let text = self.to_string();
        let path = text[SCHEME.len()..].split_once('/');
        path.map_or(String::new(), |(_, path)| path.replace('/', "-"))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plane = self.plane();
        match self {
            Identity::Node { node, .. } => write!(f, "{SCHEME}{plane}/node/{node}"),
            Identity::Agent {
                cluster, instance, ..
            } => write!(f, "{SCHEME}{plane}/agent/{cluster}/{instance}"),
            Identity::Operator { name, .. } => write!(f, "{SCHEME}{plane}/operator/{name}"),
            Identity::Client { name, .. } => write!(f, "{SCHEME}{plane}/client/{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = |why| IdentityError::Malformed(text.to_owned(), why);
        let path = text
            .strip_prefix(SCHEME)
            .ok_or(malformed("it does not begin with primacy://"))?;
        let parts: Vec<&str> = path.split('/').collect();
        // Nothing is escaped, so one identity has one spelling.
        if !parts.iter().all(|part| name_ok(part)) {
            return Err(malformed(
                "each part has 1 to 63 letters, digits, '-', '_', '.', '@' or '+'",
            ));
        }
        match *parts {
            [plane, "node", id] => {
                let node: NodeId = NodeId(id.parse().map_err(|_| malformed("ID is a number"))?);
                if node.to_string() != id || node.of_door() != node {
                    return Err(malformed("ID is a node's number"));
                }
                let plane = plane.into();
                Ok(Identity::Node { plane, node })
            }
            [plane, "agent", cluster, instance] => Ok(Identity::Agent {
                plane: plane.into(),
                cluster: cluster.into(),
                instance: instance.into(),
            }),
            [plane, "operator", name] => Ok(Identity::Operator {
                plane: plane.into(),
                name: name.to_owned(),
            }),
            [plane, "client", name] => Ok(Identity::Client {
                plane: plane.into(),
                name: name.to_owned(),
            }),
            _ => Err(malformed("it has another form")),
        }
    }
}

fn name_ok(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
    (1..=NAME_BYTES_MAX).contains(&part.len()) && part.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_has_one_spelling() {
        for good in [
            "primacy://prod/node/1",
            "primacy://prod/agent/orders/orders-1",
            "primacy://prod/operator/ann@example.org",
            "primacy://prod/client/app.v2",
        ] {
            let identity: Identity = good.parse().expect(good);
            assert_eq!(identity.to_string(), good);
        }
        let agent: Identity = "primacy://prod/agent/orders/orders-1".parse().unwrap();
        assert_eq!(agent.file_stem(), "agent-orders-orders-1");
        for bad in [
            "spiffe://prod/node/1",
            "primacy://prod",
            "primacy://prod/node",
            "primacy://prod/node/one",
            "primacy://prod/node/01",
            "primacy://prod/node/+1",
            "primacy://prod/node/9223372036854775809",
            "primacy://prod/node/1/",
            "primacy:///node/1",
            "primacy://prod/agent/orders",
            "primacy://prod/agent/orders/a/b",
            "primacy://prod/operator/",
            "primacy://prod/operator/a%2Fb",
            "primacy://prod/root/ann",
            "PRIMACY://prod/node/1",
        ] {
            let error = bad.parse::<Identity>().expect_err(bad).to_string();
            assert!(error.contains(bad), "{error}");
            assert!(error.contains("primacy://PLANE/operator/NAME"), "{error}");
        }
    }
}
