//! How a client knows that it talks to a node of its plane.

use std::sync::Arc;

use primacy_core::ids::{NodeId, PlaneId};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use thiserror::Error;

use super::{Identity, IdentityError};

/// Checks a chain as any client does, and then the identity where others check a host's name.
#[derive(Debug)]
pub(super) struct NodeVerifier {
    pub roots: Arc<RootCertStore>,
    pub algorithms: WebPkiSupportedAlgorithms,
    pub plane: PlaneId,
    /// This node alone, if it is known who should answer.
    pub node: Option<NodeId>,
}

/// The other side is somebody, but not who was called.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum WrongNode {
    #[error(transparent)]
    Nobody(IdentityError),
    #[error("{found} answers, and accepted is {accepted}")]
    Other { found: Identity, accepted: String },
}

impl NodeVerifier {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), WrongNode> {
        let found = Identity::of(certificate).map_err(WrongNode::Nobody)?;
        let own = match &found {
            Identity::Node { plane, node } => {
                *plane == self.plane && self.node.is_none_or(|called| called == *node)
            }
            Identity::Agent { .. } | Identity::Operator { .. } | Identity::Client { .. } => false,
        };
        if own {
            return Ok(());
        }
        let id = self.node.map_or("ID".into(), |node| node.to_string());
        let accepted = format!("primacy://{}/node/{id}", self.plane);
        Err(WrongNode::Other { found, accepted })
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        self.check(end_entity).map_err(|wrong| {
            let other = OtherError(Arc::new(wrong));
            Error::InvalidCertificate(CertificateError::Other(other))
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never negotiated.
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
