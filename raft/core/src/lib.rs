//! The pure core of Primacy: observe, agree, decide, act, record, without a clock, a runtime or
//! any randomness. Time is an argument; output is data. The shells and the simulator drive the
//! very same code.

pub mod act;
pub mod agree;
pub mod alarm;
pub mod decide;
pub mod gtid;
pub mod ids;
pub mod lint;
pub mod node;
pub mod observe;
pub mod policy;
pub mod record;

#[cfg(test)]
mod testing;
