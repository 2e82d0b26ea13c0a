//! Reads the text of GTIDs and sets; the grammar stands at the head of the module.
//!
//! Stricter than some servers, on purpose, where their reading is a matter of version or accident.
//! No server prints any of these:
//!
//! - a number with a leading zero: C's `strtoll` with base 0 reads `010` as 8, other readers as 10;
//! - a sign before a number, and so a `+` before a set (`SET gtid_purged` means "add" by it);
//! - an interval without its end (`U:1-`), or with the end 0: some servers take it for empty, which
//!   would turn a set cut off in transit into a smaller one that looks whole.
//!
//! One cut cannot be seen: `U:1-12345` cut to `U:1-123`. Whoever moves sets must frame them.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::interval::Interval;
use super::{Gtid, GtidSet, NUMBER_MAX, SET_BYTES_MAX, TAG_CHARS_MAX, Tag, Uuid};

/// Why a text is no GTID, tag, UUID or set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GtidError {
    /// `offset` counts bytes from 0; `found` quotes the text from there on, cut if it is long.
    #[error("malformed GTID text at byte {offset}: expected {expected}, found {found}")]
    Malformed {
        offset: usize,
        expected: &'static str,
        found: String,
    },
    /// Longer than [`SET_BYTES_MAX`], so it was not read at all.
    #[error("a GTID set of {bytes} bytes is longer than the {SET_BYTES_MAX} allowed")]
    TooLong { bytes: usize },
}

/// What a log line can bear of somebody else's text.
const FOUND_CHARS_MAX: usize = 40;

pub(super) const NUMBER_EXPECTED: &str =
    "a number from 1 to 9223372036854775806 without leading zeros";
const UUID_EXPECTED: &str = "a UUID (36 characters, those in braces, or 32 hex digits)";
const TAG_EXPECTED: &str =
    "a tag (a letter or '_', then letters, digits and '_'; at most 32 characters)";
const NUMBER_OR_TAG_EXPECTED: &str = "a transaction number or a tag";

impl GtidError {
    pub(super) fn at(text: &str, offset: usize, expected: &'static str) -> Self {
        let rest = text.get(offset..).unwrap_or_default();
        let quoted: String = rest.chars().take(FOUND_CHARS_MAX).collect();
        let found = match (quoted.len(), rest.len()) {
            (0, _) => "the end".to_owned(),
            (shown, all) if shown < all => format!("{quoted:?}…"),
            (_, _) => format!("{quoted:?}"),
        };
        Self::Malformed {
            offset,
            expected,
            found,
        }
    }
}

/// Reads a set. Time and memory are linear in the text, but for the sorting of what is unsorted.
pub(super) fn set(text: &str) -> Result<GtidSet, GtidError> {
    if text.len() > SET_BYTES_MAX {
        return Err(GtidError::TooLong { bytes: text.len() });
    }
    let mut parts: BTreeMap<Uuid, BTreeMap<Tag, Vec<Interval>>> = BTreeMap::new();
    let mut cursor = Cursor { text, at: 0 };
    loop {
        cursor.skip_space();
        while cursor.eat(b',') {
            cursor.skip_space();
        }
        if cursor.peek().is_none() {
            return Ok(GtidSet::from_unsorted(parts));
        }
        cursor.item(&mut parts)?;
        if !matches!(cursor.peek(), None | Some(b',')) {
            return Err(cursor.expected("':', ',' or the end"));
        }
    }
}

/// A place in a text. It moves over ASCII only, so it never stands inside a character.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads the whole of `text` with `read`.
    pub(super) fn whole<T>(
        text: &'a str,
        read: impl FnOnce(&mut Self) -> Result<T, GtidError>,
    ) -> Result<T, GtidError> {
        let mut cursor = Cursor { text, at: 0 };
        let value = read(&mut cursor)?;
        match cursor.peek() {
            None => Ok(value),
            Some(_) => Err(cursor.expected("the end")),
        }
    }

    /// `uuid [":" tag] ":" n`
    pub(super) fn gtid(&mut self) -> Result<Gtid, GtidError> {
        self.skip_space();
        let uuid = self.uuid()?;
        let mut tag = Tag::NONE;
        self.colon()?;
        if !self.peeks_digit() {
            tag = self.tag_or_number_expected()?;
            self.colon()?;
        }
        let n = self.number()?;
        self.skip_space();
        Gtid::new(uuid, tag, n)
    }

    /// `uuid (":" (interval | tag))*`, and the white space after it.
    fn item(
        &mut self,
        parts: &mut BTreeMap<Uuid, BTreeMap<Tag, Vec<Interval>>>,
    ) -> Result<(), GtidError> {
        let uuid = self.uuid()?;
        let tags = parts.entry(uuid).or_default();
        let mut list = tags.entry(Tag::NONE).or_default();
        self.skip_space();
        while self.eat(b':') {
            self.skip_space();
            if self.peeks_digit() {
                list.extend(self.interval()?);
            } else {
                list = tags.entry(self.tag_or_number_expected()?).or_default();
            }
            self.skip_space();
        }
        Ok(())
    }

    /// `n ["-" m]`; `None` when n > m, which MySQL takes for an empty interval.
    fn interval(&mut self) -> Result<Option<Interval>, GtidError> {
        let first = self.number()?;
        self.skip_space();
        if !self.eat(b'-') {
            return Ok(Some(Interval::new(first, first)));
        }
        self.skip_space();
        let last = self.number()?;
        Ok((first <= last).then(|| Interval::new(first, last)))
    }

    fn number(&mut self) -> Result<u64, GtidError> {
        let digits = self.run(|byte| byte.is_ascii_digit());
        let number = match digits.as_bytes() {
            [] | [b'0', ..] => None,
            _ => u64::from_str(digits).ok().filter(|&n| n <= NUMBER_MAX),
        };
        let number = number.ok_or_else(|| self.expected(NUMBER_EXPECTED))?;
        self.at += digits.len();
        Ok(number)
    }

    fn tag_or_number_expected(&mut self) -> Result<Tag, GtidError> {
        match self.peek() {
            Some(byte) if is_tag_byte(byte) => self.tag(),
            Some(_) | None => Err(self.expected(NUMBER_OR_TAG_EXPECTED)),
        }
    }

    pub(super) fn tag(&mut self) -> Result<Tag, GtidError> {
        let tag = self.run(is_tag_byte);
        if tag.is_empty() || tag.len() > TAG_CHARS_MAX || self.peeks_digit() {
            return Err(self.expected(TAG_EXPECTED));
        }
        self.at += tag.len();
        Ok(Tag::from_checked(tag))
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, GtidError> {
        let (uuid, length) =
            uuid_prefix(self.rest().as_bytes()).ok_or_else(|| self.expected(UUID_EXPECTED))?;
        self.at += length;
        Ok(uuid)
    }

    fn colon(&mut self) -> Result<(), GtidError> {
        self.skip_space();
        if !self.eat(b':') {
            return Err(self.expected("':'"));
        }
        self.skip_space();
        Ok(())
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The longest run of such bytes from here; does not move.
    fn run(&self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        &rest[..rest.bytes().take_while(|&byte| belongs(byte)).count()]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn peeks_digit(&self) -> bool {
        self.peek().is_some_and(|byte| byte.is_ascii_digit())
    }

    fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    /// Skips what C's `isspace` calls space, as MySQL does between any two tokens.
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expected(&self, expected: &'static str) -> GtidError {
        GtidError::at(self.text, self.at, expected)
    }
}

fn is_tag_byte(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// The UUID at the start of `text`, in any of its three forms, and its length in bytes.
fn uuid_prefix(text: &[u8]) -> Option<(Uuid, usize)> {
    let in_braces = text.first() == Some(&b'{');
    let start = usize::from(in_braces);
    let dashed = in_braces || text.get(8) == Some(&b'-');

    let mut at = start;
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        if dashed && Uuid::dash_before(index) {
            (text.get(at)? == &b'-').then_some(())?;
            at += 1;
        }
        *byte = hex_digit(*text.get(at)?)? << 4 | hex_digit(*text.get(at + 1)?)?;
        at += 2;
    }
    if in_braces {
        (text.get(at)? == &b'}').then_some(())?;
        at += 1;
    }
    Some((Uuid::from_bytes(bytes), at))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}
