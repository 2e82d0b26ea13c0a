//! The log on real files and real connections: one program, since each would build the log anew.

mod cluster;
mod common;
mod damage;
mod level;
mod lost;
