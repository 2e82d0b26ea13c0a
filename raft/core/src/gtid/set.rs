//! A set of transactions, and the operations on which promotion and rejoin rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::interval::{self, Interval};
use super::parse::{self, GtidError};
use super::{Gtid, SET_BYTES_MAX, Tag, Uuid, serde_as_text};

type Tags = BTreeMap<Tag, Vec<Interval>>;

/// A set of transactions, such as `gtid_executed`.
///
/// `Display` is MySQL's own form, one UUID a line; [`GtidSet::compact`] and serde write one line.
/// Both read back as the same set.
///
/// There is no `Ord`: sets are ordered only in part, and a `<=` that means "comes first in some
/// list" would pass for "is contained in".
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct GtidSet {
    parts: BTreeMap<Uuid, Tags>,
}

impl GtidSet {
    /// The set with no transactions; its text is empty.
    pub const EMPTY: Self = Self {
        parts: BTreeMap::new(),
    };

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many transactions the set has. `u128`, since each UUID and tag may have 2^63 - 2.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.parts
            .values()
            .flat_map(Tags::values)
            .map(|list| interval::count(list))
            .sum()
    }

    /// The UUIDs that have transactions in the set, ascending.
    pub fn uuids(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.parts.keys().copied()
    }

    /// Each transaction, ascending.
    pub fn each(&self) -> impl Iterator<Item = Gtid> + '_ {
        self.lists().flat_map(|(uuid, tag, list)| {
            let numbers = list.iter().flat_map(|run| run.numbers());
            numbers.map(|n| Gtid::numbered(*uuid, *tag, n))
        })
    }

    #[must_use]
    pub fn contains(&self, gtid: &Gtid) -> bool {
        interval::contains(self.list(&gtid.uuid(), &gtid.tag()), gtid.n())
    }

    /// Whether the set has every transaction of `other`: `GTID_SUBSET(other, self)` in MySQL.
    #[must_use]
    pub fn is_superset_of(&self, other: &Self) -> bool {
        other
            .lists()
            .all(|(uuid, tag, list)| interval::covers(self.list(uuid, tag), list))
    }

    /// Whether `other` has every transaction of the set: `GTID_SUBSET(self, other)` in MySQL.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        other.is_superset_of(self)
    }

    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.union_with(other);
        out
    }

    /// Adds every transaction of `other`.
    pub fn union_with(&mut self, other: &Self) {
        for (uuid, tag, list) in other.lists() {
            let mine = self
                .parts
                .entry(*uuid)
                .or_default()
                .entry(*tag)
                .or_default();
            *mine = interval::union(mine, list);
        }
        debug_assert!(self.is_normal(), "union: {self}");
    }

    /// What the set has and `other` lacks: `GTID_SUBTRACT(self, other)` in MySQL.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        self.map_lists(|uuid, tag, list| interval::subtract(list, other.list(uuid, tag)))
    }

    /// What both sets have.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        self.map_lists(|uuid, tag, list| interval::intersect(list, other.list(uuid, tag)))
    }

    /// The transactions of one UUID, whatever their tags.
    #[must_use]
    pub fn only(&self, uuid: &Uuid) -> Self {
        let kept = self.parts.get(uuid).map(|tags| (*uuid, tags.clone()));
        Self {
            parts: kept.into_iter().collect(),
        }
    }

    /// The transactions of all UUIDs but these.
    #[must_use]
    pub fn without(&self, uuids: &BTreeSet<Uuid>) -> Self {
        let kept = self.parts.iter().filter(|(uuid, _)| !uuids.contains(uuid));
        Self {
            parts: kept.map(|(uuid, tags)| (*uuid, tags.clone())).collect(),
        }
    }

    /// Adds one transaction; says whether it was new.
    pub fn insert(&mut self, gtid: Gtid) -> bool {
        let list = self
            .parts
            .entry(gtid.uuid())
            .or_default()
            .entry(gtid.tag())
            .or_default();
        interval::insert(list, gtid.n())
    }

    /// The next transaction of this UUID and tag: the lowest number not in the set. `None` once
    /// all numbers are used.
    ///
    /// So does MySQL choose under `gtid_next=AUTOMATIC` while no other commit is under way
    /// (Reference Manual, "GTID Life Cycle"): it fills gaps first. A gap among a server's own
    /// numbers is thus given to a new transaction, so a higher number may be an older one, and sets
    /// are compared whole.
    #[must_use]
    pub fn next_free(&self, uuid: Uuid, tag: Tag) -> Option<Gtid> {
        let n = interval::next_free(self.list(&uuid, &tag))?;
        Some(Gtid::new(uuid, tag, n).expect("a free number is a valid number"))
    }

    /// The set on one line, for logs and tables. MySQL reads it as well.
    pub fn compact(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.write(f, ","))
    }

    /// Normalises what a parser found: intervals in any order, perhaps none for some tags.
    pub(super) fn from_unsorted(mut parts: BTreeMap<Uuid, Tags>) -> Self {
        parts.retain(|_, tags| {
            tags.values_mut().for_each(interval::normalise);
            tags.retain(|_, list| !list.is_empty());
            !tags.is_empty()
        });
        let out = Self { parts };
        assert!(out.is_normal(), "read: {out}");
        out
    }

    fn is_normal(&self) -> bool {
        self.parts.values().all(|tags| !tags.is_empty())
            && self.lists().all(|(_, _, list)| interval::is_normal(list))
    }

    fn lists(&self) -> impl Iterator<Item = (&Uuid, &Tag, &[Interval])> {
        self.parts
            .iter()
            .flat_map(|(uuid, tags)| tags.iter().map(move |(tag, list)| (uuid, tag, &**list)))
    }

    /// The intervals of this UUID and tag; empty if it has none.
    fn list(&self, uuid: &Uuid, tag: &Tag) -> &[Interval] {
        self.parts
            .get(uuid)
            .and_then(|tags| tags.get(tag))
            .map_or(&[], Vec::as_slice)
    }

    /// The set of what `keep` makes of each list, without those that became empty.
    fn map_lists(&self, keep: impl Fn(&Uuid, &Tag, &[Interval]) -> Vec<Interval>) -> Self {
        let mut out = Self::EMPTY;
        for (uuid, tag, list) in self.lists() {
            let kept = keep(uuid, tag, list);
            if !kept.is_empty() {
                out.parts.entry(*uuid).or_default().insert(*tag, kept);
            }
        }
        debug_assert!(out.is_normal(), "map: {out}");
        out
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, between_uuids: &str) -> fmt::Result {
        for (index, (uuid, tags)) in self.parts.iter().enumerate() {
            if index > 0 {
                f.write_str(between_uuids)?;
            }
            write!(f, "{uuid}")?;
            for (tag, list) in tags {
                if !tag.is_none() {
                    write!(f, ":{tag}")?;
                }
                for interval in list {
                    write!(f, ":{interval}")?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = GtidError;

    /// Reads what MySQL prints, and all that the module's grammar allows beyond.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        parse::set(text)
    }
}

impl From<Gtid> for GtidSet {
    fn from(gtid: Gtid) -> Self {
        Self::from_iter([gtid])
    }
}

impl FromIterator<Gtid> for GtidSet {
    fn from_iter<I: IntoIterator<Item = Gtid>>(gtids: I) -> Self {
        let mut out = Self::EMPTY;
        out.extend(gtids);
        out
    }
}

impl Extend<Gtid> for GtidSet {
    fn extend<I: IntoIterator<Item = Gtid>>(&mut self, gtids: I) {
        for gtid in gtids {
            self.insert(gtid);
        }
    }
}

impl fmt::Display for GtidSet {
    /// MySQL's form, to the byte: UUIDs sorted and parted by `",\n"`, tags sorted within them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, ",\n")
    }
}

impl fmt::Debug for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GtidSet({})", self.compact())
    }
}

serde_as_text!(GtidSet, "a GTID set");

impl serde::Serialize for GtidSet {
    /// Errors on a set above [`SET_BYTES_MAX`], which nobody could read back.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text = self.compact().to_string();
        if text.len() > SET_BYTES_MAX {
            return Err(serde::ser::Error::custom(GtidError::TooLong {
                bytes: text.len(),
            }));
        }
        to.serialize_str(&text)
    }
}
