//! Whether this instance could follow another: a login there as a replica would make it.

use std::time::Duration;

use primacy_core::act::{OpDone, OpError};

use super::Shared;
use crate::agent::words::session_error;
use crate::mysqld::follow::SourceTransport;
use crate::mysqld::session::{Address, Session, SessionError, Target, Transport, within};

/// A firewall that drops what it does not like answers nothing: a path without an answer by then is
/// none. A login takes some four round trips.
const LOGIN_LIMIT: Duration = Duration::from_secs(2);

impl Shared {
    /// Logs in there with the replication account, and leaves again. Any of the passwords that were
    /// given lately may be right: a replica is given the next one where the source refuses the first.
    pub(super) async fn log_in(&self, host: String, port: u16) -> Result<OpDone, OpError> {
        let deadline = within(LOGIN_LIMIT);
        let mut newest = SessionError::Refused;
        for login in self.door.replication.all() {
            let target = Target {
                address: Address::Tcp {
                    host: host.clone(),
                    port,
                },
                login,
                transport: match self.transport {
                    SourceTransport::Tls => Transport::TlsUnverified,
                    SourceTransport::PublicKey => Transport::Plain,
                },
            };
            match Session::connect(&target, deadline).await {
                Ok(session) => {
                    session.close(deadline).await;
                    return Ok(OpDone::LoggedIn);
                }
                Err(error) => newest = error,
            }
            if newest.code().is_none() {
                break; // no answer of a server, whatever the password
            }
        }
        Err(session_error(&newest))
    }
}
