//! Which broker a URL names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use homing_protocol::topology::Topology;

use crate::amqp::{AmqpUrl, UrlError};
use crate::{Broker, Patience, rabbit};

/// Where a broker is: `amqp://USER:PASSWORD@HOST:PORT/VHOST`, `sqlite:PATH` for the
/// embedded one in that file, or `memory:` for one in this process.
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
    /// An embedded broker that [`connect`] makes anew each time, and that is gone with
    /// the last of its links: see [`Embedded::in_memory`](crate::Embedded::in_memory).
    Memory,
}

impl BrokerUrl {
    /// The URL of a broker that other processes can reach as well: any but `memory:`.
    ///
    /// # Errors
    ///
    /// [`UrlError`]: it is that, or no URL.
    pub fn shared(text: &str) -> Result<Self, UrlError> {
        match text.parse()? {
            Self::Memory => Err(file_problem(
                "`memory:` is of one process alone, for tests; write `sqlite:PATH`, such as `sqlite:homing-queue.db`",
            )),
            shared => Ok(shared),
        }
    }
}

fn file_problem(problem: &str) -> UrlError {
    UrlError::File {
        problem: problem.to_owned(),
    }
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let path = match text.split_once(':') {
            Some(("sqlite", path)) => Some(path),
            Some(("memory", "")) => None,
            _ => return text.parse().map(Self::Amqp),
        };
        if !cfg!(feature = "embedded") {
            return Err(file_problem(
                "this program is built without the embedded broker: turn on the feature `embedded` of `homing`",
            ));
        }
        let Some(path) = path else {
            return Ok(Self::Memory);
        };
        if path.is_empty() || path.starts_with(":memory:") {
            return Err(file_problem(
                "it names no file; write `sqlite:PATH`, such as `sqlite:homing-queue.db`",
            ));
        }
        if path.starts_with("//") {
            return Err(file_problem(
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
            Self::Memory => f.write_str("memory:"),
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
        #[cfg(feature = "embedded")]
        BrokerUrl::Memory => Arc::new(crate::Embedded::in_memory(topology)),
        #[cfg(not(feature = "embedded"))]
        BrokerUrl::Sqlite(_) | BrokerUrl::Memory => {
            unreachable!("no text is such a URL without the feature")
        }
    }
}
