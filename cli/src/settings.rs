//! The settings every verb shares, and where each of them came from.
//!
//! The only place that reads the environment, besides clap for flags with a
//! single variable: a broker has two, and the error for a bad one names which.

use std::env;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use homing_broker::{Broker, BrokerError, BrokerUrl, Claim, Patience, PublishError, Window};
use homing_protocol::topology::Topology;
use homing_protocol::{Namespace, QueueName};
use homing_store::{Store, StoreError, StoreUrl};

use crate::exit::Exit;
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
        verbatim_doc_comment,
        hide_default_value = true,
        default_value = ""
    )]
    pub(crate) namespace: Namespace,

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

/// A setting and where it came from, without its secret.
#[derive(Clone)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    /// The flag or the variable, or `default`.
    pub(crate) name: &'static str,
    /// The same with the value.
    pub(crate) from: String,
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
        let topology = Topology::new(self.namespace.clone(), queues.iter().cloned());
        self.link_to(topology, patience)
    }

    /// Connects to the broker that is set, but in another namespace. Nothing is
    /// opened yet.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if none is set, or its URL is none.
    pub(crate) fn link_to(&self, topology: Topology, patience: Patience) -> Result<Link, Trouble> {
        Ok(Link::new(self.broker_url()?, topology, patience))
    }

    /// Where the broker is.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if none is set, or its URL is none.
    pub(crate) fn broker_url(&self) -> Result<Setting<BrokerUrl>, Trouble> {
        if let Some(named) = self.named_broker()? {
            return Ok(named);
        }
        up().ok_or_else(|| {
            Trouble::new(
                Exit::Config,
                "no broker is set, and no `homing up` runs in this folder",
            )
            .from("--broker, HOMING_BROKER and AMQP_URL, none of which is there")
            .fix("run `homing up` here, or: export AMQP_URL=amqp://guest:guest@localhost:5672/%2f")
        })
    }

    /// The broker that a flag or a variable names.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if its URL is none.
    pub(crate) fn named_broker(&self) -> Result<Option<Setting<BrokerUrl>>, Trouble> {
        let sources = [
            ("--broker ", self.broker.clone()),
            ("HOMING_BROKER=", variable("HOMING_BROKER")),
            ("AMQP_URL=", variable("AMQP_URL")),
        ];
        let found = sources
            .into_iter()
            .find_map(|(name, url)| Some((name, url?)));
        let Some((name, text)) = found else {
            return Ok(None);
        };
        // The text itself is not shown: it may hold a password where one
        // cannot tell.
        let parsed = parse::<BrokerUrl>(name, &text).map_err(|error| {
            Trouble::broker(&BrokerError::from(error)).from(name.trim_end_matches(['=', ' ']))
        });
        parsed.map(Some)
    }

    /// The broker for a worker, which reads variables by itself: the flag's, or where
    /// nothing names one that of the `homing up` in this folder.
    pub(crate) fn broker_text(&self) -> Option<String> {
        let named = ["HOMING_BROKER", "AMQP_URL"]
            .into_iter()
            .any(|name| variable(name).is_some());
        match &self.broker {
            None if !named => up().map(|up| up.value.to_string()),
            flag => flag.clone(),
        }
    }

    /// Where the store is.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if its URL is none.
    pub(crate) fn store_url(&self) -> Result<Setting<StoreUrl>, Trouble> {
        let sources = [
            ("--store ", self.store.clone()),
            ("HOMING_STORE=", variable("HOMING_STORE")),
        ];
        let found = sources
            .into_iter()
            .find_map(|(name, url)| Some((name, url?)));
        let Some((name, text)) = found else {
            let value = StoreUrl::default();
            let from = format!("the default, {value}; HOMING_STORE names another");
            let name = "default";
            return Ok(Setting { value, name, from });
        };
        // A text that is no URL may be one of another store's, with a password.
        parse(name, &text)
            .map_err(|error| Trouble::store_url(&error).from(name.trim_end_matches(['=', ' '])))
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

/// The way to the broker, and where its URL came from.
pub(crate) struct Link {
    pub(crate) broker: Arc<dyn Broker>,
    from: String,
}

impl Link {
    /// To the broker that is set at `url`. Nothing is opened yet.
    pub(crate) fn new(url: Setting<BrokerUrl>, topology: Topology, patience: Patience) -> Self {
        let name = format!("homing {}", std::process::id());
        Self {
            broker: homing_broker::connect(url.value, topology, patience, name),
            from: url.from,
        }
    }

    /// What to say of `error`.
    pub(crate) fn trouble(&self, error: &BrokerError) -> Trouble {
        Trouble::broker(error).from(self.from.clone())
    }

    /// What to say of a message that was not published, and how to do so `again`.
    pub(crate) fn publish_trouble(&self, error: &PublishError, again: &str) -> Trouble {
        Trouble::publish(error, again).from(self.from.clone())
    }
}

fn parse<T: FromStr + Display>(name: &'static str, text: &str) -> Result<Setting<T>, T::Err> {
    let value: T = text.parse()?;
    let from = format!("{name}{value}");
    let name = name.trim_end_matches(['=', ' ']);
    Ok(Setting { value, name, from })
}

/// The broker of the `homing up` that runs in this folder.
fn up() -> Option<Setting<BrokerUrl>> {
    let path = Path::new(UP_FILE);
    Claim::is_taken(path).then(|| Setting {
        value: BrokerUrl::Sqlite(path.to_owned()),
        name: "homing up",
        from: format!("the `homing up` in this folder, sqlite:{UP_FILE}"),
    })
}

/// A variable's value; an empty one is not there.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
