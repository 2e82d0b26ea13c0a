//! Ages that survive a suspended machine.
//!
//! tokio's and openraft's instants are CLOCK_MONOTONIC, which stands still while a VM is suspended:
//! a node that wakes would hold an hour-old contact for a fresh one. CLOCK_BOOTTIME goes on.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A point on CLOCK_BOOTTIME.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    pub fn now() -> Self {
        Self(read(ClockId::CLOCK_BOOTTIME))
    }

    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }
}

/// Translates ages by CLOCK_MONOTONIC, all that openraft tells, into moments.
#[derive(Debug)]
pub struct Translator {
    /// How long this machine had been suspended, in all, at the last look.
    suspended: Duration,
}

impl Translator {
    pub fn new() -> Self {
        Self {
            suspended: suspended(Moment::now()),
        }
    }

    /// When something was, that is `age` old without the time suspended. Whether it came before or
    /// after a suspension since the last call cannot be told: it counts as older.
    pub fn moment(&mut self, age: Duration) -> Moment {
        let now = Moment::now();
        self.at(now, suspended(now), age)
    }

    fn at(&mut self, now: Moment, suspended: Duration, age: Duration) -> Moment {
        let slept = suspended.saturating_sub(self.suspended);
        self.suspended = self.suspended.max(suspended);
        now.before(age + slept)
    }
}

fn suspended(now: Moment) -> Duration {
    now.0.saturating_sub(read(ClockId::CLOCK_MONOTONIC))
}

fn read(clock: ClockId) -> Duration {
    match clock_gettime(clock) {
        Ok(time) => time.into(),
        // Every Linux since 2.6.39 has both; without a clock nothing here can be right.
        Err(error) => panic!("{clock} cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_makes_what_was_heard_before_it_old() {
        let ms = Duration::from_millis;
        let mut translator = Translator {
            suspended: ms(1_000),
        };
        let now = Moment(ms(50_000));
        let heard = translator.at(now, ms(1_000), ms(20));
        assert_eq!(now.since(heard), ms(20));
        // An hour passes, of which the monotonic clock saw 30 ms.
        let woken = Moment(ms(3_650_030));
        let heard = translator.at(woken, ms(3_601_000), ms(50));
        assert_eq!(woken.since(heard), ms(3_600_050));
        // What is heard from then on is young again.
        let later = Moment(ms(3_650_060));
        assert_eq!(
            later.since(translator.at(later, ms(3_601_000), ms(5))),
            ms(5)
        );
        // The two clocks are read one after the other.
        assert_eq!(
            later.since(translator.at(later, ms(3_600_999), ms(5))),
            ms(5)
        );
    }
}
