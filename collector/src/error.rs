use homing_broker::BrokerError;
use homing_protocol::DecodeError;
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
    /// The link that delivers from a queue has ended for good. What it had
    /// delivered is stored, or in its queue.
    #[error("the link to queue `{queue}` has ended")]
    ConsumerEnded {
        /// The queue.
        queue: String,
    },
    /// A worker is newer than this collector. Its outcomes stay in their queue.
    #[error("an outcome is of a newer version of Homing than this collector")]
    Newer(#[from] DecodeError),
}
