//! The name of one transaction: `uuid:n`, or `uuid:tag:n`.

use std::fmt;
use std::str::FromStr;

use super::parse::{Cursor, GtidError, NUMBER_EXPECTED};
use super::{NUMBER_MAX, TAG_CHARS_MAX, Uuid, serde_as_text};

/// The tag of a GTID, or none: [`Tag::NONE`], whose text is empty.
///
/// Each tag of a UUID numbers its own transactions. Read in either case and kept in lower, as
/// MySQL does. Ordered by text, none first, as MySQL prints them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Padded with zeros, which sort before every character of a tag: so the derived order is that
    /// of the text. An array rather than a `String`, since sets hold a tag for each of their parts.
    chars: [u8; TAG_CHARS_MAX],
}

impl Tag {
    /// No tag: how all transactions were named before MySQL 8.3, and most still are.
    pub const NONE: Self = Self {
        chars: [0; TAG_CHARS_MAX],
    };

    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        let length = self
            .chars
            .iter()
            .position(|&c| c == 0)
            .unwrap_or(TAG_CHARS_MAX);
        std::str::from_utf8(&self.chars[..length]).expect("a tag is ASCII")
    }

    /// `text` must have been checked to be a tag; its case is folded here.
    pub(super) fn from_checked(text: &str) -> Self {
        assert!(text.len() <= TAG_CHARS_MAX, "the parser bounds a tag");
        let mut chars = [0; TAG_CHARS_MAX];
        for (to, from) in chars.iter_mut().zip(text.bytes()) {
            *to = from.to_ascii_lowercase();
        }
        Self { chars }
    }
}

impl Default for Tag {
    fn default() -> Self {
        Self::NONE
    }
}

impl FromStr for Tag {
    type Err = GtidError;

    /// Reads the whole of `text`; the empty text is [`Tag::NONE`].
    fn from_str(text: &str) -> Result<Self, GtidError> {
        if text.is_empty() {
            Ok(Self::NONE)
        } else {
            Cursor::whole(text, Cursor::tag)
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.as_str())
    }
}

serde_as_text!(Tag, "a GTID's tag, or an empty text", by Display);

/// The name of one transaction. Its number is always between 1 and [`NUMBER_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    uuid: Uuid,
    tag: Tag,
    n: u64,
}

impl Gtid {
    /// Errors when `n` is 0 or above [`NUMBER_MAX`].
    pub fn new(uuid: Uuid, tag: Tag, n: u64) -> Result<Self, GtidError> {
        if (1..=NUMBER_MAX).contains(&n) {
            Ok(Self { uuid, tag, n })
        } else {
            Err(GtidError::at(&n.to_string(), 0, NUMBER_EXPECTED))
        }
    }

    /// Of a set that has it.
    pub(super) fn numbered(uuid: Uuid, tag: Tag, n: u64) -> Self {
        debug_assert!((1..=NUMBER_MAX).contains(&n));
        Self { uuid, tag, n }
    }

    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    #[must_use]
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The number of the transaction among those of its UUID and tag.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }
}

impl FromStr for Gtid {
    type Err = GtidError;

    /// Reads the whole of `text` as one transaction; white space may stand around its parts.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        Cursor::whole(text, Cursor::gtid)
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tag.is_none() {
            write!(f, "{}:{}", self.uuid, self.n)
        } else {
            write!(f, "{}:{}:{}", self.uuid, self.tag, self.n)
        }
    }
}

serde_as_text!(Gtid, "one GTID", by Display);
