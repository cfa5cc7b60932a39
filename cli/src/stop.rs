use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::trouble::Trouble;

/// How long a verb that was asked to end waits for the next confirm of what is on
/// its way. A broker that confirms anything does so within milliseconds.
pub(crate) const LAST_CONFIRMS_TIME: Duration = Duration::from_secs(1);

/// Ends when the person or the system asks this process to end: SIGINT or
/// SIGTERM. From the first poll on neither of them ends it by itself.
pub(crate) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    /// Takes over both signals.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if the system refuses.
    pub(crate) fn new() -> Result<Self, Trouble> {
        let take = |kind| signal(kind).map_err(|error| Trouble::bug(&error));
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of them. Cancel safe.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
