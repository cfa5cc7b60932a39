use homing_broker::{BrokerError, Difference};
use homing_protocol::QueueName;

use crate::config::ConfigError;

/// Why a worker could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It has no handler, so it could run nothing.
    #[error("the worker has no handler")]
    NoHandlers,
    /// Its settings cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The broker cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Exchanges or queues are missing or not as they must be.
    #[error("the topology at {place} is not as it must be: {}", list(differences))]
    Topology {
        /// Where the broker is.
        place: String,
        /// What differs, at least one.
        differences: Vec<Difference>,
    },
    /// The link that delivers from a queue has ended for good. What was running
    /// was finished and settled.
    #[error("the link to queue `{queue}` has ended")]
    ConsumerEnded {
        /// The queue.
        queue: QueueName,
    },
    /// The link that publishes has ended for good. What was not settled goes
    /// back to its queue.
    #[error("the link that publishes outcomes has ended")]
    PublisherEnded,
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<_> = differences
        .iter()
        .map(|difference| format!("{} {}", difference.what, difference.detail))
        .collect();
    texts.join("; ")
}
