//! Against real servers: found here, or fetched into the user's cache once.

mod cluster;
mod disk;
mod exits;
mod eyes;
mod faults;
mod follow;
mod gtid;
mod lone;
pub(crate) mod rig;
mod xa;
