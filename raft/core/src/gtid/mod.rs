//! GTIDs: which transactions a server has, and what one server has that another lacks.
//!
//! Whether a replica may be promoted, and whether an old primary may return, is a question about
//! sets: is what was acknowledged contained in what this server holds? Highest numbers cannot
//! answer it, since a replica that applies in parallel leaves gaps. So everything here compares
//! whole sets, and does so by intervals: a set of 10^12 transactions costs as much as one of 10.
//!
//! The text form is MySQL's own (Reference Manual, "GTID Format and Storage"), with the tags of
//! MySQL 8.3 and later:
//!
//! ```text
//! set      := [item] ("," [item])*             white space and extra commas are fine
//! item     := uuid (":" (interval | tag))*
//! uuid     := 8-4-4-4-12 hex digits | the same in braces | 32 hex digits
//! interval := n ["-" m]                        1 ≤ n, m ≤ 2^63 - 2; n > m is empty
//! tag      := [A-Za-z_][A-Za-z0-9_]{0,31}      lower-cased
//! ```
//!
//! An interval belongs to the tag before it in its item, and to no tag before the first one.
//! `U:1-3` and `U:tag:1-3` share nothing.
//!
//! **Invariant:** a [`GtidSet`] is always normalised: no empty parts, and in each part intervals
//! that ascend and neither overlap nor touch. So equal sets are equal values, print alike, and
//! every operation is one linear merge.
//!
//! **Invariant:** text that could be read in two ways is refused, never guessed. An unreadable set
//! is an unknown, which stops an act; a set read wrongly is lost data. See `parse` for the cases.
//!
//! MariaDB's `domain-server-sequence` is a position, not a set, and is no part of this module.

mod interval;
mod name;
mod parse;
#[cfg(test)]
mod properties;
mod set;
#[cfg(test)]
mod tests;
mod uuid;

pub use name::{Gtid, Tag};
pub use parse::GtidError;
pub use set::GtidSet;
pub use uuid::Uuid;

/// The highest number a transaction may have: 2^63 - 2, for MySQL keeps 2^63 - 1 as the end mark.
pub const NUMBER_MAX: u64 = (1 << 63) - 2;

/// The characters a tag may have at most (Reference Manual, "GTID Format and Storage").
pub const TAG_CHARS_MAX: usize = 32;

/// The longest text read or written as a set: 16 MiB.
///
/// An interval takes about 20 bytes, so this is near a million gaps; healthy servers have a few.
/// It is also the default `max_allowed_packet` of MySQL's own client. Beyond it, a set is a fault
/// to look at, not to store: it would have to fit a log entry on every node.
pub const SET_BYTES_MAX: usize = 16 << 20;

/// Serde as the text of the type, so that records, JSON and people see one form.
macro_rules! serde_as_text {
    ($type:ty, $expecting:literal) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;

                impl serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                from.deserialize_str(Text)
            }
        }
    };
    ($type:ty, $expecting:literal, by Display) => {
        $crate::gtid::serde_as_text!($type, $expecting);

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    };
}
use serde_as_text;
