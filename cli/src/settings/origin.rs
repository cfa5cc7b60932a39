//! Where each setting comes from.
//!
//! | first | then | then | else |
//! |---|---|---|---|
//! | flag | variable | the context in use | for a broker the `homing up` in this folder, for others a default |

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use homing_broker::{BrokerError, BrokerUrl, Claim, UrlError};
use homing_protocol::{NameError, Namespace};
use homing_store::StoreUrl;

use super::{Settings, UP_FILE, variable};
use crate::contexts::{self, Context, ContextError, Contexts, InUse};
use crate::exit::Exit;
use crate::trouble::Trouble;

/// A setting and where it came from, without its secret.
#[derive(Clone)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    /// The flag, the variable or the key in a file, or `default`.
    pub(crate) name: String,
    /// The same with the value.
    pub(crate) from: String,
}

impl Settings {
    /// Where the broker is.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if none is set, or its URL is none.
    pub(crate) fn broker_url(&self) -> Result<Setting<BrokerUrl>, Trouble> {
        self.found_broker()?.ok_or_else(|| {
            Trouble::new(
                Exit::Config,
                "no broker is set, and no `homing up` runs in this folder",
            )
            .from("--broker, HOMING_BROKER and AMQP_URL, none of which is there")
            .fix("run `homing up` here, or: export AMQP_URL=amqp://guest:guest@localhost:5672/%2f")
        })
    }

    /// The broker that is named, or that of the `homing up` in this folder.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if its URL is none.
    pub(crate) fn found_broker(&self) -> Result<Option<Setting<BrokerUrl>>, Trouble> {
        Ok(self.named_broker()?.or_else(up))
    }

    /// The broker that a flag, a variable or the context names.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if its URL is none.
    pub(crate) fn named_broker(&self) -> Result<Option<Setting<BrokerUrl>>, Trouble> {
        self.named_broker_by(BrokerUrl::shared)
    }

    /// Where the broker is, for a verb that is all that uses it: it may be in memory.
    ///
    /// # Errors
    ///
    /// As those of [`broker_url`](Self::broker_url).
    pub(crate) fn own_broker_url(&self) -> Result<Setting<BrokerUrl>, Trouble> {
        let named = self.named_broker_by(str::parse)?;
        named.map_or_else(|| self.broker_url(), Ok)
    }

    fn named_broker_by(
        &self,
        read: impl Fn(&str) -> Result<BrokerUrl, UrlError>,
    ) -> Result<Option<Setting<BrokerUrl>>, Trouble> {
        let Some((origin, text)) = self.broker_named()? else {
            return Ok(None);
        };
        // The text itself is not shown: it may hold a password where one
        // cannot tell.
        let url = read(&text)
            .map_err(|error| Trouble::broker(&BrokerError::from(error)).from(bare(&origin)))?;
        Ok(Some(Setting::typed(&origin, url)))
    }

    fn broker_named(&self) -> Result<Option<(String, String)>, Trouble> {
        match self.broker_typed() {
            Some((origin, text)) => Ok(Some((origin.to_owned(), text))),
            None => self.in_context("broker", |context| context.broker.as_deref()),
        }
    }

    /// The broker that a flag or a variable names.
    fn broker_typed(&self) -> Option<(&'static str, String)> {
        first([
            ("--broker ", self.broker.clone()),
            ("HOMING_BROKER=", variable("HOMING_BROKER")),
            ("AMQP_URL=", variable("AMQP_URL")),
        ])
    }

    /// The broker for a worker, which reads flags and variables by itself: that of
    /// the context, or of the `homing up` in this folder, and where it came from.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if there is no such context.
    pub(crate) fn broker_text(&self) -> Result<Option<(String, String)>, Trouble> {
        if self.broker_typed().is_some() {
            return Ok(None);
        }
        let up = || up().map(|up| (format!("{}: ", up.name), up.value.to_string()));
        Ok(self.broker_named()?.or_else(up))
    }

    /// Prefix of every exchange and queue.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if the context has one that is none.
    pub(crate) fn namespace(&self) -> Result<Namespace, Trouble> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        let found = self.in_context("namespace", |context| context.namespace.as_deref())?;
        let Some((origin, text)) = found else {
            return Ok(Namespace::default());
        };
        text.parse().map_err(|error: NameError| {
            Trouble::new(Exit::Config, error.to_string())
                .from(format!("{origin}{text}"))
                .fix("name another, or none")
        })
    }

    /// Where the management API is, and what that came from: by a flag or a variable,
    /// or beside the broker in the context.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if there is no such context.
    pub(crate) fn management_url(
        &self,
        flag: Option<&str>,
    ) -> Result<Option<(String, String)>, Trouble> {
        let typed = first([
            ("--management-url ", flag.map(str::to_owned)),
            ("HOMING_MANAGEMENT_URL=", variable("HOMING_MANAGEMENT_URL")),
        ]);
        match typed {
            Some((origin, text)) => Ok(Some((bare(origin).to_owned(), text))),
            // The context's is that of its broker.
            None if self.broker_typed().is_some() => Ok(None),
            None => {
                let found = self.in_context("management-url", |context| {
                    context.management_url.as_deref()
                })?;
                Ok(found.map(|(origin, text)| (bare(&origin).to_owned(), text)))
            }
        }
    }

    /// The file of contexts, if there is one.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if it cannot be read.
    pub(crate) fn contexts(&self) -> Result<Option<&Contexts>, Trouble> {
        let read = self.contexts.get_or_init(contexts::find);
        read.as_ref()
            .map(Option::as_ref)
            .map_err(ContextError::trouble)
    }

    /// The context that `--context` or `HOMING_CONTEXT` names, else the default one.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if it is not there.
    pub(crate) fn in_use(&self) -> Result<Option<InUse<'_>>, Trouble> {
        let named = self.context.as_deref().filter(|name| !name.is_empty());
        let found = match (self.contexts()?, named) {
            (Some(contexts), named) => contexts.in_use(named),
            (None, None) => Ok(None),
            (None, Some(name)) => Err(ContextError::none(name)),
        };
        found.map_err(|error| {
            let trouble = error.trouble();
            match named {
                Some(_) => trouble.from("--context or HOMING_CONTEXT"),
                None => trouble.from("default-context"),
            }
        })
    }

    /// A setting of the context in use, and what stands before it.
    fn in_context(
        &self,
        key: &str,
        setting: impl Fn(&Context) -> Option<&str>,
    ) -> Result<Option<(String, String)>, Trouble> {
        let in_use = self.in_use()?;
        Ok(in_use.and_then(|in_use| {
            let text = setting(in_use.context)?.to_owned();
            Some((in_use.origin(key), text))
        }))
    }

    /// Where the store is.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if its URL is none.
    pub(crate) fn store_url(&self) -> Result<Setting<StoreUrl>, Trouble> {
        let typed = first([
            ("--store ", self.store.clone()),
            ("HOMING_STORE=", variable("HOMING_STORE")),
        ]);
        let found = match typed {
            Some((origin, text)) => Some((origin.to_owned(), text)),
            None => self.in_context("store", |context| context.store.as_deref())?,
        };
        let Some((origin, text)) = found else {
            let value = StoreUrl::default();
            let from = format!("the default, {value}; HOMING_STORE names another");
            let name = "default".to_owned();
            return Ok(Setting { value, name, from });
        };
        // A text that is no URL may be one of another store's, with a password.
        parse(&origin, &text).map_err(|error| Trouble::store_url(&error).from(bare(&origin)))
    }
}

/// The first that is there of what is typed, with what stands before it.
fn first<const N: usize>(
    sources: [(&'static str, Option<String>); N],
) -> Option<(&'static str, String)> {
    let mut sources = sources.into_iter();
    sources.find_map(|(origin, text)| Some((origin, text?)))
}

/// The name of a setting, of what stands before its value.
fn bare(origin: &str) -> &str {
    origin.trim_end_matches(['=', ' '])
}

fn parse<T: FromStr + Display>(origin: &str, text: &str) -> Result<Setting<T>, T::Err> {
    Ok(Setting::typed(origin, text.parse()?))
}

impl<T: Display> Setting<T> {
    /// What stands behind `origin`.
    fn typed(origin: &str, value: T) -> Self {
        let from = format!("{origin}{value}");
        let name = bare(origin).to_owned();
        Self { value, name, from }
    }
}

/// The broker of the `homing up` that runs in this folder.
fn up() -> Option<Setting<BrokerUrl>> {
    let path = Path::new(UP_FILE);
    Claim::is_taken(path).then(|| Setting {
        value: BrokerUrl::Sqlite(path.to_owned()),
        name: "homing up".to_owned(),
        from: format!("the `homing up` in this folder, sqlite:{UP_FILE}"),
    })
}
