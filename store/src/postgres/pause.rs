use std::time::Duration;

use super::driver;

/// The first pause before a server is tried again, and the longest.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses between tries, each twice as long as the one before.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pause {
    /// Waits for between half and all of the next pause, so that many who lost
    /// one server do not all come back at once.
    pub(super) async fn wait(&mut self) {
        let pause = self.0.mul_f64(rand::random_range(0.5..1.0));
        self.0 = (self.0 * 2).min(LONGEST);
        driver::sleep(pause).await;
    }
}
