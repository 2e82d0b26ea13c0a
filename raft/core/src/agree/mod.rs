//! Agree: turns the votes of one inquest into a verdict on a primary.
//!
//! One observer cannot tell a dead primary from a cut cable, so nobody acts on its own sight.
//! `judge` is a pure function of the applied log, hence equal on every node.
//!
//! **Invariant:** no clock here. When silence turns suspicious is `observe`'s business.

mod ground_age;
mod starved;
mod verdict;
mod vote;

#[cfg(test)]
mod tests;

pub use verdict::{Bench, Finding, Judgement, Verdict, blocking, judge};
pub use vote::{Inquest, Vote};
