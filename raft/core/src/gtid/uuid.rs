//! The UUID of a server: the part of a GTID that says where a transaction began.

use std::fmt;
use std::str::FromStr;

use super::parse::{Cursor, GtidError};
use super::serde_as_text;

/// A `server_uuid`, or the name of a replication group.
///
/// Read in MySQL's three forms (36 characters, the same in braces, 32 hex digits), in either case;
/// printed as 36 lower-case characters. Its order is that of its bytes, hence of its text, and is
/// the one in which MySQL prints the parts of a set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

/// Where dashes stand: before these bytes.
const DASH_BEFORE: [usize; 4] = [4, 6, 8, 10];

impl Uuid {
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Stands for a client that names no server: no server has such a name. Numbers of connections are
    /// the server's own.
    #[must_use]
    pub fn of_connection(number: u64) -> Self {
        Self((u128::from(number)).to_be_bytes())
    }

    /// The connection that it stands for, if it is no server's.
    #[must_use]
    pub fn connection(&self) -> Option<u64> {
        u64::try_from(u128::from_be_bytes(self.0)).ok()
    }

    /// Whether the text form has a dash before byte `index`.
    pub(super) fn dash_before(index: usize) -> bool {
        DASH_BEFORE.contains(&index)
    }
}

impl FromStr for Uuid {
    type Err = GtidError;

    /// Reads the whole of `text`; white space around it is refused.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        Cursor::whole(text, Cursor::uuid)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(36);
        for (index, byte) in self.0.iter().enumerate() {
            if Self::dash_before(index) {
                text.push('-');
            }
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 0xf)]));
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

serde_as_text!(Uuid, "a UUID", by Display);
