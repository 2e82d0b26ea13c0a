//! Against real servers: found here, or fetched into the user's cache once.

mod cluster;
mod faults;
mod gtid;
mod lone;
mod rig;
mod xa;
