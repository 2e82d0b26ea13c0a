//! The clock of this process: CLOCK_BOOTTIME, never wall time. The core gets it as an argument.

use nix::time::{ClockId, clock_gettime};
use primacy_core::ids::Tick;

/// Milliseconds since boot, suspended time included.
pub fn now() -> Tick {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(time) => {
            let (seconds, nanos) = (time.tv_sec().max(0), time.tv_nsec().max(0));
            Tick(seconds.unsigned_abs() * 1_000 + nanos.unsigned_abs() / 1_000_000)
        }
        // Every Linux since 2.6.39 has it; without a clock nothing here can be right.
        Err(error) => panic!("CLOCK_BOOTTIME cannot be read: {error}"),
    }
}

/// The first number of something that counts and has lost its memory, or never had one: the wall
/// clock's milliseconds, above all that it ever counted, unless the clock was set back since.
pub fn first_count() -> u64 {
    wall_ms()
}

/// Wall clock, Unix milliseconds. For people; nothing is decided by it.
pub fn wall_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
