//! SIGTERM and SIGINT.

use tokio::signal::unix::{Signal, SignalKind, signal as listen};

pub struct Stop {
    term: Signal,
    int: Signal,
}

pub fn signal() -> std::io::Result<Stop> {
    Ok(Stop {
        term: listen(SignalKind::terminate())?,
        int: listen(SignalKind::interrupt())?,
    })
}

impl Stop {
    /// Waits for either.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
