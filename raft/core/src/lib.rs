//! The pure core of Primacy: observe, agree, decide, act, record, without a clock, a runtime or
//! any randomness. Time is an argument; output is data. The shells and the simulator drive the
//! very same code.

pub mod ids;
pub mod record;
