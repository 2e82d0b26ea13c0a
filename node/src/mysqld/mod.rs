//! mysqld: everything that touches a real MySQL server.
//!
//! | file | what it does |
//! | --- | --- |
//! | `fetch` | finds `mysqld` on this machine, or unpacks one into the user's cache |
//! | `apt` | the download and the unpacking |
//! | `bringup` | the configuration a managed instance boots with, and the start itself |
//! | `template` | one initialised data directory, copied per instance |
//! | `process` | watches a `mysqld` by pidfd; kills it with a proof |
//! | `progress` | whether one that does not answer works, hangs or shuts down |
//! | `kernel` | what `/proc` tells of it, and who holds a data directory |
//! | `traffic` | how many bytes its receiver has received, by the kernel |
//! | `session` | one connection, with deadlines; a late answer costs the connection |
//! | `inspect` | what an instance is, in one round trip |
//! | `facts` | what the readiness lint judges |
//! | `options` | what the next start will read |
//! | `manager` | the service that can stop it |
//! | `follow` | points a replica at a source without losing what it received |
//! | `unfollow` | ends replication for good: what a promotion left, a channel that nobody ordered |
//! | `ops` | what else changes an instance: freeze, open |
//! | `fence` | closes it, with the proof that it is closed |
//! | `marker` | rows that prove what k replicas have |
//! | `probe` | what an observer sees from outside |
//! | `scheduled` | a primary's scheduled events |
//!
//! **Invariant:** nothing here decides. Every change is asked for by a caller that holds an order;
//! this module only says what happened, and says `TimedOut` where it does not know.
//!
//! **Invariant:** no function here sends SIGTERM to `mysqld` or lowers a semi-sync guarantee to get
//! unstuck: both acknowledge waiting writes that no replica holds (measured on 9.7.4).

pub mod applier;
mod apt;
pub mod bringup;
pub mod facts;
pub mod fence;
pub mod fetch;
pub mod follow;
pub mod inspect;
mod kernel;
pub mod manager;
pub mod marker;
pub mod ops;
pub mod options;
pub mod probe;
pub mod process;
pub mod progress;
pub mod scheduled;
pub mod session;
pub mod template;
pub mod traffic;
pub mod unfollow;
pub mod written;

#[cfg(test)]
pub(crate) mod tests;
