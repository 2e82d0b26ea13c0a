//! Small sets of small names: every set in the models is a byte, because a checked state is copied,
//! hashed and compared some million times.

use std::fmt::{self, Display};
use std::marker::PhantomData;

/// A name that stands for one bit of a [`Set`].
pub trait Element: Copy + Display {
    /// The element's number, below eight.
    fn index(self) -> u8;
    /// The element with this number.
    fn nth(index: u8) -> Self;
}

/// A set of at most eight elements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Set<T>(u8, PhantomData<T>);

impl<T: Element> Set<T> {
    /// The set of nothing.
    pub const EMPTY: Self = Self(0, PhantomData);

    /// The set whose elements are the bits that are one.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits, PhantomData)
    }

    /// The set of this one element.
    pub fn of(element: T) -> Self {
        Self::from_bits(1 << element.index())
    }

    /// The first `count` elements.
    pub fn first(count: u8) -> Self {
        assert!(
            count < 8,
            "a set holds eight elements, and no model needs that many"
        );
        Self::from_bits((1 << count) - 1)
    }

    pub fn contains(self, element: T) -> bool {
        self.0 >> element.index() & 1 == 1
    }

    pub fn with(self, element: T) -> Self {
        self.union(Self::of(element))
    }

    pub fn without(self, element: T) -> Self {
        self.minus(Self::of(element))
    }

    pub fn union(self, other: Self) -> Self {
        Self::from_bits(self.0 | other.0)
    }

    pub fn both(self, other: Self) -> Self {
        Self::from_bits(self.0 & other.0)
    }

    pub fn minus(self, other: Self) -> Self {
        Self::from_bits(self.0 & !other.0)
    }

    pub fn within(self, other: Self) -> bool {
        self.minus(other).is_empty()
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> u8 {
        self.0.count_ones() as u8
    }

    /// The elements, lowest number first.
    pub fn iter(self) -> impl Iterator<Item = T> {
        (0..8)
            .map(T::nth)
            .filter(move |element| self.contains(*element))
    }

    /// Every subset, the empty one and the whole among them.
    pub fn subsets(self) -> impl Iterator<Item = Self> {
        (0..=self.0)
            .map(Self::from_bits)
            .filter(move |subset| subset.within(self))
    }
}

impl<T: Element> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        elements.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl<T: Element> Display for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for (position, element) in self.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{element}")?;
        }
        Ok(())
    }
}

impl<T: Element> fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}
