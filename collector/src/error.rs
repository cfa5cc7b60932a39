use homing_broker::BrokerError;
use homing_store::StoreError;

/// Why a collector ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// The broker cannot be used, and waiting does not cure it.
    #[error("cannot collect from the broker")]
    Broker(#[from] BrokerError),
    /// The store cannot be used, and waiting does not cure it.
    #[error("cannot collect into the store")]
    Store(#[from] StoreError),
}
