//! Moves outcomes, batch records and dead letters from the broker into a store.

mod config;
mod error;

use std::future::Future;
use std::sync::Arc;

use homing_broker::Broker;
use homing_store::StoreUrl;

pub use config::CollectorConfig;
pub use error::CollectorError;

/// Why a collector ended without an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stopped {
    /// How many entries it stored: reports, batch records and dead letters,
    /// redelivered ones included.
    pub stored: u64,
}

/// Collects until `stop` ends, then stores what it has received and ends.
///
/// Waits for the store if another collector has it, and for the broker.
///
/// # Errors
///
/// [`CollectorError`]: what waiting does not cure. What was not stored is in
/// its queue.
///
/// # Cancel safety
///
/// Dropped, what was received and not stored goes back to its queue.
pub async fn run(
    broker: Arc<dyn Broker>,
    store: &StoreUrl,
    config: CollectorConfig,
    stop: impl Future<Output = ()> + Send,
) -> Result<Stopped, CollectorError> {
    let _ = (broker, store, config, stop);
    unimplemented!()
}
