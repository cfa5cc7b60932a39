use std::path::PathBuf;
use std::time::Duration;

use crate::amqp::UrlError;

/// Why a broker cannot be used. No variant holds a secret.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Nobody answers, or the connection ends before it stands. Trying again
    /// may help.
    #[error("cannot reach the broker at {place}: {cause}")]
    Unreachable {
        /// Host and port.
        place: String,
        /// The last cause seen.
        cause: String,
    },
    /// The user or the password is wrong, or the user may not log in from here.
    #[error("the broker at {place} refuses user `{user}`")]
    Refused {
        /// Host and port.
        place: String,
        /// The user.
        user: String,
    },
    /// The virtual host does not exist, or this user may not use it.
    #[error("the broker at {place} has no virtual host `{vhost}` for user `{user}`")]
    VirtualHost {
        /// Host and port.
        place: String,
        /// The virtual host.
        vhost: String,
        /// The user.
        user: String,
    },
    /// The user lacks a permission.
    #[error("the broker at {place} denies user `{user}`: {detail}")]
    Denied {
        /// Host and port.
        place: String,
        /// The user.
        user: String,
        /// The broker's own words.
        detail: String,
    },
    /// An exchange or queue is not there.
    #[error("{what} does not exist at {place}")]
    Missing {
        /// Host and port.
        place: String,
        /// `queue tasks`, `exchange results`.
        what: String,
    },
    /// An exchange or queue is there with other arguments.
    #[error("{what} exists at {place} with other arguments: {detail}")]
    Different {
        /// Host and port.
        place: String,
        /// `queue tasks`, `exchange results`.
        what: String,
        /// The broker's own words.
        detail: String,
    },
    /// Another process spreads outcomes over queues. Trying again helps once it
    /// has ended.
    #[error("another process is spreading outcomes over queues at {place}")]
    Spreading {
        /// Host and port.
        place: String,
    },
    /// The file of the embedded broker cannot be used.
    #[error("cannot use the queue file {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Its URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The broker answered something it should not have.
    #[error("the broker at {place} answered unexpectedly: {detail}")]
    Protocol {
        /// Host and port.
        place: String,
        /// What it answered.
        detail: String,
    },
}

impl BrokerError {
    /// Whether waiting may cure it.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Spreading { .. } | Self::Protocol { .. }
        )
    }
}

/// Why a message was not published, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No queue is bound for it, or its exchange is not there. It is not stored;
    /// declare the topology.
    #[error("no queue takes `{routing_key}` from exchange `{exchange}`")]
    Unroutable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// This user may not publish there. It is not stored.
    #[error("the broker denies publishing: {detail}")]
    Denied {
        /// The broker's own words.
        detail: String,
    },
    /// The broker refused it, such as for a full queue. It is not stored.
    #[error("the broker refused the message")]
    Refused,
    /// No confirm came in time, or it was returned or refused after a connection
    /// that gave no answer. It may or may not be stored: publish it again under
    /// the same task id, and the collector drops the duplicate.
    #[error("the broker did not confirm within {} s", waited.as_secs())]
    Unconfirmed {
        /// How long was waited.
        waited: Duration,
    },
    /// It is larger than a message may be. Nothing was sent.
    #[error("{what} of {bytes} bytes, but at most {bytes_max} are allowed")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The most it may be.
        bytes_max: usize,
    },
    /// The publisher was closed. Nothing was sent, or as for `Unconfirmed`.
    #[error("the publisher is closed")]
    Closed,
}
