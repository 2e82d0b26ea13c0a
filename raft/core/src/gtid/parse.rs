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
    let mut cursor = Cursor { text, rest: text };
    loop {
        cursor.skip_space();
        while cursor.eat(',') {
            cursor.skip_space();
        }
        if cursor.peek().is_none() {
            return Ok(GtidSet::from_unsorted(parts));
        }
        cursor.item(&mut parts)?;
        if !matches!(cursor.peek(), None | Some(',')) {
            return Err(cursor.expected("':', ',' or the end"));
        }
    }
}

/// A place in a text: what is left of it.
pub(super) struct Cursor<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// Reads the whole of `text` with `read`.
    pub(super) fn whole<T>(
        text: &'a str,
        read: impl FnOnce(&mut Self) -> Result<T, GtidError>,
    ) -> Result<T, GtidError> {
        let mut cursor = Cursor { text, rest: text };
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
        while self.eat(':') {
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
        if !self.eat('-') {
            return Ok(Some(Interval::new(first, first)));
        }
        self.skip_space();
        let last = self.number()?;
        Ok((first <= last).then(|| Interval::new(first, last)))
    }

    fn number(&mut self) -> Result<u64, GtidError> {
        let (digits, rest) = self.run(|c| c.is_ascii_digit());
        let number = match digits.as_bytes() {
            [] | [b'0', ..] => None,
            _ => u64::from_str(digits).ok().filter(|&n| n <= NUMBER_MAX),
        };
        let number = number.ok_or_else(|| self.expected(NUMBER_EXPECTED))?;
        self.rest = rest;
        Ok(number)
    }

    fn tag_or_number_expected(&mut self) -> Result<Tag, GtidError> {
        match self.peek() {
            Some(c) if belongs_to_tag(c) => self.tag(),
            Some(_) | None => Err(self.expected(NUMBER_OR_TAG_EXPECTED)),
        }
    }

    pub(super) fn tag(&mut self) -> Result<Tag, GtidError> {
        let (tag, rest) = self.run(belongs_to_tag);
        if tag.is_empty() || tag.len() > TAG_CHARS_MAX || self.peeks_digit() {
            return Err(self.expected(TAG_EXPECTED));
        }
        self.rest = rest;
        Ok(Tag::from_checked(tag))
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, GtidError> {
        let (uuid, rest) = uuid_prefix(self.rest).ok_or_else(|| self.expected(UUID_EXPECTED))?;
        self.rest = rest;
        Ok(uuid)
    }

    fn colon(&mut self) -> Result<(), GtidError> {
        self.skip_space();
        if !self.eat(':') {
            return Err(self.expected("':'"));
        }
        self.skip_space();
        Ok(())
    }

    /// The longest run of such characters from here, and what is behind it; does not move.
    fn run(&self, belongs: impl Fn(char) -> bool) -> (&'a str, &'a str) {
        let end = self.rest.find(|c| !belongs(c));
        self.rest.split_at(end.unwrap_or(self.rest.len()))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn peeks_digit(&self) -> bool {
        self.peek().is_some_and(|c| c.is_ascii_digit())
    }

    fn eat(&mut self, c: char) -> bool {
        let behind = self.rest.strip_prefix(c);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    /// Skips what C's `isspace` calls space, as MySQL does between any two tokens.
    fn skip_space(&mut self) {
        let space = [' ', '\t', '\n', '\x0b', '\x0c', '\r'];
        self.rest = self.rest.trim_start_matches(space);
    }

    fn expected(&self, expected: &'static str) -> GtidError {
        GtidError::at(self.text, self.text.len() - self.rest.len(), expected)
    }
}

fn belongs_to_tag(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// The UUID at the start of `text`, in any of its three forms, and what is behind it.
fn uuid_prefix(text: &str) -> Option<(Uuid, &str)> {
    let braced = text.strip_prefix('{');
    let dashed = braced.is_some() || text.as_bytes().get(8) == Some(&b'-');

    let mut rest = braced.unwrap_or(text);
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        if dashed && Uuid::dash_before(index) {
            rest = rest.strip_prefix('-')?;
        }
        let digits;
        (digits, rest) = rest.split_at_checked(2)?;
        *byte = hex(digits)?;
    }
    if braced.is_some() {
        rest = rest.strip_prefix('}')?;
    }
    Some((Uuid::from_bytes(bytes), rest))
}

/// Two hex digits, without the sign that `from_str_radix` allows.
fn hex(digits: &str) -> Option<u8> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok())?
}
