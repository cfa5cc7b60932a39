use std::sync::{Arc, OnceLock};

use homing_protocol::QueueName;
use tokio_util::sync::CancellationToken;

use crate::error::RunError;

/// Why a worker ends without having been asked to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// A handler would not end.
    Wedged,
    /// A link that delivers has ended for good.
    Consumer(QueueName),
    /// The link that publishes has ended for good.
    Publisher,
}

impl Cause {
    pub(super) fn into_error(self) -> Option<RunError> {
        match self {
            Self::Wedged => None,
            Self::Consumer(queue) => Some(RunError::ConsumerEnded { queue }),
            Self::Publisher => Some(RunError::PublisherEnded),
        }
    }
}

/// Says that a worker is to end, and why. The first cause counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Ending {
    cause: Arc<OnceLock<Cause>>,
    begun: CancellationToken,
}

impl Ending {
    pub(super) fn begin(&self, cause: Cause) {
        let _earlier = self.cause.set(cause);
        self.begun.cancel();
    }

    /// Ends once there is a cause.
    pub(super) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause.get().cloned()
    }
}
