//! Observe: looks at every instance as a client would. It never writes.

mod prober;

pub use prober::{Probers, probe_target};
