//! Whether a server that does not answer works or hangs, and whether it is shutting down: seen from
//! outside, without a connection to it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::bringup::Instance;
use super::kernel::Consumed;
use super::process::Watched;

/// An idle server wakes up now and then: between two looks, half a second apart, that is less than
/// this.
const CPU_TICKS_MIN: u64 = 3;
const BYTES_MIN: u64 = 4_096;
/// What is read of an error log that grew; more of it only says the more that it works.
const LOG_BYTES_MAX: u64 = 64 << 10;
/// MY-013172, on each way into an orderly shutdown.
const SHUTDOWN: &[u8] = b"Received SHUTDOWN from user";

/// One server, looked at again and again.
#[derive(Debug)]
pub struct Eyes {
    instance: Instance,
    log_read: u64,
    consumed: Consumed,
    shutdown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Since the look before.
    pub moved: bool,
    /// Its log says that it shuts down.
    pub shutdown: bool,
    /// Its socket is there.
    pub listens: bool,
}

impl Eyes {
    pub fn open(instance: &Instance, process: &Watched) -> Eyes {
        let log = instance.error_log().metadata();
        Eyes {
            instance: instance.clone(),
            log_read: log.map_or(0, |file| file.len()),
            consumed: process.consumed(),
            shutdown: false,
        }
    }

    pub fn look(&mut self, process: &Watched) -> Seen {
        let before = std::mem::replace(&mut self.consumed, process.consumed());
        let cpu_ticks = self.consumed.cpu_ticks.saturating_sub(before.cpu_ticks);
        let bytes = self.consumed.bytes.saturating_sub(before.bytes);
        let logged = self.read_log().unwrap_or_default();
        let says = |line: &[u8]| line.windows(SHUTDOWN.len()).any(|part| part == SHUTDOWN);
        self.shutdown |= says(&logged);
        Seen {
            moved: cpu_ticks >= CPU_TICKS_MIN || bytes >= BYTES_MIN || !logged.is_empty(),
            shutdown: self.shutdown,
            listens: self.instance.socket().exists(),
        }
    }

    /// What was logged since the last look; its end, if it is long.
    fn read_log(&mut self) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.instance.error_log())?;
        let length = file.metadata()?.len();
        // One that is shorter than it was is another.
        let from = if length < self.log_read {
            0
        } else {
            self.log_read
        };
        let from = from.max(length.saturating_sub(LOG_BYTES_MAX));
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut text)?;
        self.log_read = length;
        Ok(text)
    }
}
