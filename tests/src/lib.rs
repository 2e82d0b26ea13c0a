//! Proof above the unit tests: the model of the protocol, the simulator that drives the core
//! through faults, and the invariants that both are held against.

pub mod invariants;
pub mod model;
pub mod mutants;
pub mod simulator;
