//! Which broker a URL names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use homing_protocol::topology::Topology;

use crate::amqp::{AmqpUrl, UrlError};
use crate::{Broker, Patience, rabbit};

/// Where a broker is: `amqp://USER:PASSWORD@HOST:PORT/VHOST`, or `sqlite:PATH` for
/// the embedded one in that file.
///
/// Shown without its password.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BrokerUrl {
    /// A RabbitMQ.
    Amqp(AmqpUrl),
    /// The embedded broker in the file at this path. In programs built without the
    /// feature `embedded` it is a text that is no URL.
    Sqlite(PathBuf),
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let Some(path) = text.strip_prefix("sqlite:") else {
            return text.parse().map(Self::Amqp);
        };
        let problem = |problem: &str| UrlError::File {
            problem: problem.to_owned(),
        };
        if !cfg!(feature = "embedded") {
            return Err(problem(
                "this program is built without the embedded broker: turn on the feature `embedded` of `homing`",
            ));
        }
        if path.is_empty() || path.starts_with(":memory:") {
            return Err(problem(
                "it names no file; write `sqlite:PATH`, such as `sqlite:homing-queue.db`",
            ));
        }
        if path.starts_with("//") {
            return Err(problem(
                "its slashes would mean a host; write `sqlite:PATH`, such as `sqlite:homing-queue.db`",
            ));
        }
        Ok(Self::Sqlite(path.into()))
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amqp(url) => url.fmt(f),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// The broker at `url`; `name` shows in RabbitMQ's list of connections. Nothing is
/// opened yet.
pub fn connect(
    url: BrokerUrl,
    topology: Topology,
    patience: Patience,
    name: impl Into<String>,
) -> Arc<dyn Broker> {
    match url {
        BrokerUrl::Amqp(url) => rabbit(url, topology, patience, name),
        #[cfg(feature = "embedded")]
        BrokerUrl::Sqlite(path) => Arc::new(crate::Embedded::in_file(path, topology, patience)),
        #[cfg(not(feature = "embedded"))]
        BrokerUrl::Sqlite(_) => unreachable!("no text is such a URL without the feature"),
    }
}
