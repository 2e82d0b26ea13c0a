//! Mutual TLS for everything that Primacy says to itself: node to node, agent to node, client to
//! node. MySQL's own connections and the agent's HTTP are not its business.
//!
//! Names are not hosts: who a certificate speaks for is its one URI `primacy://PLANE/…`
//! ([`Identity`]), so that an address may change and one certificate cannot stand for another
//! node. [`authorize`] alone says who may call what; [`Gate`] asks it before any service does.
//!
//! **Invariants**
//! - A connection that was made with TLS has an identity, or every call on it is refused.
//! - Files that are broken never replace what is in use.
//! - No session is resumed: every connection is judged by the certificates of its own moment.

mod accept;
mod authorize;
mod dial;
mod gate;
mod identity;
mod issue;
mod material;
mod reload;
mod said;
#[cfg(test)]
mod tests;
mod verify;

pub use accept::{Accepted, Caller, incoming};
pub use authorize::{Refusal, authorize, speaks_as, speaks_for};
pub use dial::{HandshakeError, Transport};
pub use gate::{Gate, GateLayer};
pub use identity::{Identity, IdentityError};
pub use issue::{Authority, IssueError, Issued, Lifetime};
pub use material::{Files, TlsError, Wanted};
pub use reload::{ENDS_SOON, Reloaded, Tls};

/// What gRPC speaks inside TLS.
const ALPN: &[u8] = b"h2";
