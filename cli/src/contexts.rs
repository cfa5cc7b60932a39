//! Named settings in a file: which brokers and stores there are, and which is in
//! use.
//!
//! ```toml
//! default-context = "local"
//!
//! [context.local]
//! broker = "sqlite:homing-queue.db"
//!
//! [context.prod]
//! broker = "amqp://USER:PASSWORD@HOST/VHOST"
//! store = "postgres://USER:PASSWORD@HOST/DATABASE"
//! namespace = "orders"
//! management-url = "http://HOST:15672"
//! ```
//!
//! One file is read: `homing.toml` in the current folder, else `config.toml` in
//! `$XDG_CONFIG_HOME/homing`, which is `~/.config/homing` where that is not set.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::exit::Exit;
use crate::settings::variable;
use crate::trouble::{Trouble, plain_cause};

/// The file in the current folder.
const HERE: &str = "homing.toml";

/// The rights of others to read a file, in its mode.
const OTHERS_READ: u32 = 0o044;

/// Most bytes of the file: some thousand contexts.
const BYTES_MAX: u64 = 1 << 20;

/// The contexts of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Contexts {
    /// The file.
    pub(crate) path: PathBuf,
    /// Whether others than its owner may read it.
    pub(crate) is_open: bool,
    /// The one in use where nobody names another.
    default: Option<String>,
    by_name: BTreeMap<String, Context>,
}

/// What the file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Contents {
    default_context: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Context>,
}

/// The settings of one name. May hold passwords.
#[derive(Clone, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Context {
    pub(crate) broker: Option<String>,
    pub(crate) store: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) management_url: Option<String>,
}

/// The context that is in use.
#[derive(Clone, Copy)]
pub(crate) struct InUse<'a> {
    pub(crate) contexts: &'a Contexts,
    pub(crate) name: &'a str,
    pub(crate) context: &'a Context,
}

/// Why contexts cannot be used. Holds no secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ContextError {
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: String },
    #[error("{}, line {line}: {problem}", path.display())]
    Invalid {
        path: PathBuf,
        line: usize,
        problem: String,
    },
    #[error("{} has no context `{name}`, but {known}", path.display())]
    Unknown {
        path: PathBuf,
        name: String,
        known: String,
    },
    #[error("there is no context `{name}`: no file has any")]
    NoFile { name: String },
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Context {
    fn has_password(&self) -> bool {
        let urls = [&self.broker, &self.store, &self.management_url];
        urls.into_iter().flatten().any(|url| has_password(url))
    }
}

/// Whether there is a `:` in what stands before the last `@` of a URL.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let login = rest.rsplit_once('@').map_or("", |(login, _)| login);
    login.contains(':')
}

impl Contexts {
    /// Each name with its settings.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Context)> {
        self.by_name
            .iter()
            .map(|(name, context)| (&**name, context))
    }

    /// Whether somebody else could read a password here.
    pub(crate) fn shows_password(&self) -> bool {
        self.is_open && self.by_name.values().any(Context::has_password)
    }

    /// The context `named`, else the default one, if there is one.
    pub(crate) fn in_use<'a>(
        &'a self,
        named: Option<&'a str>,
    ) -> Result<Option<InUse<'a>>, ContextError> {
        let Some(name) = named.or(self.default.as_deref()) else {
            return Ok(None);
        };
        let context = self.by_name.get(name).ok_or_else(|| self.unknown(name))?;
        Ok(Some(InUse {
            contexts: self,
            name,
            context,
        }))
    }

    fn unknown(&self, name: &str) -> ContextError {
        let names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        ContextError::Unknown {
            path: self.path.clone(),
            name: name.to_owned(),
            known: match &*names {
                [] => "no other".to_owned(),
                names => names.join(", "),
            },
        }
    }
}

impl InUse<'_> {
    /// Where its setting `key` stands: what comes before the value.
    pub(crate) fn origin(&self, key: &str) -> String {
        let (path, name) = (self.contexts.path.display(), self.name);
        format!("{path} [context.{name}] {key} = ")
    }
}

impl ContextError {
    /// There is none of this name, nor any other.
    pub(crate) fn none(name: &str) -> Self {
        let name = name.to_owned();
        Self::NoFile { name }
    }

    /// What to say of it.
    pub(crate) fn trouble(&self) -> Trouble {
        let (exit, fix) = match self {
            Self::Unreadable { .. } => (
                Exit::Denied,
                "let this user read it, or take it away".to_owned(),
            ),
            Self::Invalid { .. } => (
                Exit::Config,
                "it has `default-context`, and broker, store, namespace, management-url below [context.NAME]"
                    .to_owned(),
            ),
            Self::Unknown { .. } => (Exit::Config, "see which there are: homing context".to_owned()),
            Self::NoFile { name } => (
                Exit::Config,
                format!("write one: [context.{name}] and broker = \"URL\" into {HERE}"),
            ),
        };
        Trouble::new(exit, self.to_string()).fix(fix)
    }
}

/// Reads the first file that is there.
pub(crate) fn find() -> Result<Option<Contexts>, ContextError> {
    let places = [Some(PathBuf::from(HERE)), home()];
    let mut found = places
        .into_iter()
        .flatten()
        .filter_map(|path| read(&path).transpose());
    found.next().transpose()
}

/// The file of this user.
fn home() -> Option<PathBuf> {
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(Path::new(&variable("HOME")?).join(".config")));
    Some(folder?.join("homing/config.toml"))
}

fn read(path: &Path) -> Result<Option<Contexts>, ContextError> {
    let unreadable = |error: io::Error| ContextError::Unreadable {
        path: path.to_owned(),
        cause: plain_cause(&error),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = file.metadata().map_err(unreadable)?.mode();
    let mut text = String::new();
    let read = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    if read.map_err(unreadable)? as u64 > BYTES_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    parse(path, &text, mode & OTHERS_READ != 0).map(Some)
}

fn parse(path: &Path, text: &str, is_open: bool) -> Result<Contexts, ContextError> {
    let invalid = |error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        ContextError::Invalid {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            problem: without_values(error.message()),
        }
    };
    let contents: Contents = toml::from_str(text).map_err(invalid)?;
    Ok(Contexts {
        path: path.to_owned(),
        is_open,
        default: contents.default_context,
        by_name: contents.context,
    })
}

/// The message, but for a value from the file: it may be a URL with a password.
fn without_values(message: &str) -> String {
    match message.split_once("string \"") {
        Some((before, _)) => format!("{before}a text"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
impl Contexts {
    /// Those that `text` says.
    pub(crate) fn of(text: &str, is_open: bool) -> Self {
        parse(Path::new(HERE), text, is_open).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
default-context = \"local\"
[context.local]
broker = \"sqlite:q.db\"
[context.prod]
broker = \"amqp://u:s3cret@h\"
namespace = \"orders\"
";

    fn contexts(text: &str) -> Result<Contexts, ContextError> {
        parse(Path::new(HERE), text, true)
    }

    #[test]
    fn the_default_is_in_use_unless_another_is_named() {
        let contexts = contexts(FILE).unwrap();
        let name = |named| {
            let in_use = contexts.in_use(named).unwrap();
            in_use.map(|in_use| in_use.name.to_owned())
        };

        assert_eq!(name(None).as_deref(), Some("local"));
        assert_eq!(name(Some("prod")).as_deref(), Some("prod"));
    }

    #[test]
    fn without_a_default_none_is_in_use() {
        let contexts = contexts("[context.a]\nstore = 'sqlite:a.db'").unwrap();

        assert!(contexts.in_use(None).unwrap().is_none());
    }

    #[test]
    fn a_context_that_is_not_there_is_an_error_that_names_the_others() {
        let contexts = contexts(FILE).unwrap();

        let error = contexts.in_use(Some("prd")).err().unwrap();

        assert_eq!(
            error.to_string(),
            "homing.toml has no context `prd`, but local, prod"
        );
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        for (text, line) in [
            ("[context.a]\nbrokr = 'amqp://u:s3cret@h'", 2),
            ("\n\nbroker = 'amqp://u:s3cret@h'", 3),
            ("[context.a]\n\nbroker = 5", 3),
            ("[context]\na = 'amqp://u:s3cret@h'", 2),
            ("[context.a]\nbroker = 'amqp://u:s3cret@h", 2),
            ("context = 'amqp://u:s3cret@h'", 1),
        ] {
            let error = contexts(text).unwrap_err();

            let ContextError::Invalid { line: found, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(*found, line, "{text}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_setting_is_named_with_its_file_and_context() {
        let contexts = contexts(FILE).unwrap();

        let in_use = contexts.in_use(Some("prod")).unwrap().unwrap();

        assert_eq!(
            in_use.origin("broker"),
            "homing.toml [context.prod] broker = "
        );
    }

    #[test]
    fn only_a_password_that_others_may_read_is_shown() {
        let open = contexts(FILE).unwrap();
        let closed = Contexts {
            is_open: false,
            ..open.clone()
        };
        let harmless = contexts("[context.a]\nbroker = 'amqp://h:5672/%2f'").unwrap();

        assert!(open.shows_password());
        assert!(!closed.shows_password());
        assert!(!harmless.shows_password());
    }
}
