//! The settings every verb shares.
//!
//! The only place that reads the environment, besides clap for flags with a
//! single variable: a broker has two, and the error for a bad one names which.

mod link;
mod origin;

pub(crate) use self::link::Link;
pub(crate) use self::origin::Setting;

use std::env;
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use homing_broker::{Patience, Window};
use homing_protocol::topology::Topology;
use homing_protocol::{Namespace, QueueName};
use homing_store::{Store, StoreError, StoreUrl};

use crate::contexts::{ContextError, Contexts};
use crate::telemetry::LogFormat;
use crate::trouble::Trouble;

/// How long a one-shot verb waits for the broker: for a connection, and for a
/// confirm. Services wait for ever.
pub(crate) const BROKER_PATIENCE: Duration = Duration::from_secs(5);

/// The same, for a link.
pub(crate) const PATIENCE: Patience = Patience::Within(BROKER_PATIENCE);

/// The file of the broker that `homing up` runs where none is set.
pub(crate) const UP_FILE: &str = "homing-queue.db";

/// The window of a verb that publishes a few messages.
pub(crate) const ONE_SHOT_WINDOW: Window = Window {
    deadline: Some(BROKER_PATIENCE),
    ..Window::DEFAULT
};

/// Flags that every verb has.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
#[expect(
    clippy::doc_markdown,
    reason = "the docs of a flag are its help, which is plain text"
)]
pub(crate) struct Settings {
    /// amqp://USER:PASSWORD@HOST:PORT/VHOST
    /// [env: HOMING_BROKER or AMQP_URL]
    #[arg(long, global = true, value_name = "URL", verbatim_doc_comment)]
    pub(crate) broker: Option<String>,

    /// sqlite:FILE or
    /// postgres://USER:PASSWORD@HOST:PORT/DATABASE
    /// [env: HOMING_STORE]
    /// [default: sqlite:homing.db]
    #[arg(long, global = true, value_name = "URL", verbatim_doc_comment)]
    pub(crate) store: Option<String>,

    /// Prefix of every exchange and queue
    /// [env: HOMING_NAMESPACE] [default: none]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "HOMING_NAMESPACE",
        hide_env = true,
        verbatim_doc_comment
    )]
    namespace: Option<Namespace>,

    /// The settings of this name in homing.toml or
    /// ~/.config/homing/config.toml
    /// [env: HOMING_CONTEXT]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "HOMING_CONTEXT",
        hide_env = true,
        verbatim_doc_comment
    )]
    context: Option<String>,

    /// The file of contexts, read when first asked for.
    #[arg(skip)]
    contexts: OnceLock<Result<Option<Contexts>, ContextError>>,

    /// One JSON object per line on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Only errors on stderr
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// More on stderr; twice for all
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Which log lines, such as info,homing_broker=debug
    /// [env: HOMING_LOG]
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "HOMING_LOG",
        hide_env = true,
        verbatim_doc_comment
    )]
    pub(crate) log: Option<String>,

    /// text or json
    /// [env: HOMING_LOG_FORMAT] [default: text]
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "HOMING_LOG_FORMAT",
        hide_env = true,
        verbatim_doc_comment,
        hide_default_value = true,
        hide_possible_values = true,
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,

    /// auto, always or never
    /// [env: HOMING_COLOR] [default: auto]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        env = "HOMING_COLOR",
        hide_env = true,
        verbatim_doc_comment,
        hide_default_value = true,
        hide_possible_values = true,
        default_value = "auto"
    )]
    pub(crate) color: When,
}

/// When status words have a colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, without `NO_COLOR`.
    Auto,
    /// Even when piped.
    Always,
    /// Not at all.
    Never,
}

impl Settings {
    /// Whether what goes to `stream` is coloured.
    pub(crate) fn coloured(&self, stream: &impl anstream::stream::RawStream) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never,
        }
    }

    /// Connects to the broker that is set, patient as a one-shot verb is.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if none is set, or its URL is none.
    pub(crate) fn link(&self, queues: &[QueueName]) -> Result<Link, Trouble> {
        self.link_with(queues, PATIENCE)
    }

    /// Connects to the broker that is set. Nothing is opened yet.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if none is set, or its URL is none.
    pub(crate) fn link_with(
        &self,
        queues: &[QueueName],
        patience: Patience,
    ) -> Result<Link, Trouble> {
        let topology = Topology::new(self.namespace()?, queues.iter().cloned());
        Ok(Link::new(self.broker_url()?, topology, patience))
    }

    /// Does something to the store that is set, which may block.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if it is not there or cannot be written.
    pub(crate) fn with_store<T>(
        &self,
        work: impl FnOnce(&StoreUrl) -> Result<T, StoreError>,
    ) -> Result<T, Trouble> {
        let Setting { value, from, .. } = self.store_url()?;
        tokio::task::block_in_place(|| work(&value))
            .map_err(|error| Trouble::store(&error).from(from))
    }

    /// Opens the store that is set, for reading.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if it is not there or cannot be read. It is never created.
    pub(crate) async fn open_store(&self) -> Result<Store, Trouble> {
        let Setting { value, from, .. } = self.store_url()?;
        Store::open(&value)
            .await
            .map_err(|error| Trouble::store(&error).from(from))
    }
}

/// Who runs this, for the record: the user's name, or else number, and the host.
pub(crate) fn who() -> String {
    use std::os::unix::fs::MetadataExt as _;

    let number = || {
        let process = std::fs::metadata("/proc/self");
        process.map_or_else(|_| "?".to_owned(), |own| format!("uid {}", own.uid()))
    };
    let user = variable("USER").or_else(|| variable("LOGNAME"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => user.unwrap_or_else(number),
        host => format!("{}@{host}", user.unwrap_or_else(number)),
    }
}

/// A variable's value; an empty one is not there.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
