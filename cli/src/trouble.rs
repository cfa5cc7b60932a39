//! What ends a verb before it is done, in three parts: what failed, the
//! setting or line it came from, and the fix.
//!
//! Each kind of error has one function here that decides all three and the
//! exit code; `docs/errors.md` lists what they say.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;

use homing_broker::{BrokerError, PublishError};
use homing_protocol::{EncodeError, chain};
use homing_store::{Place, StoreError, UrlError};

use crate::exit::Exit;

/// Why a verb ended early, and what to do about it.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// The exit code.
    pub(crate) exit: Exit,
    what: String,
    from: Option<String>,
    fix: Option<String>,
    quiet: bool,
}

impl Trouble {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            from: None,
            fix: None,
            quiet: false,
        }
    }

    /// The setting or line it came from. Holds no secret.
    pub(crate) fn from(mut self, from: impl Into<String>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// What to do about it.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// What failed, the setting it came from, and the fix.
    pub(crate) fn into_parts(self) -> (String, Option<String>, Option<String>) {
        (self.what, self.from, self.fix)
    }

    /// Whether there is nobody to tell: the reader of stdout has gone.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Something that cannot be, unless this program is wrong.
    pub(crate) fn bug(error: &(dyn Error + 'static)) -> Self {
        Self::new(Exit::Internal, format!("a bug in Homing: {}", chain(error)))
            .fix("please report it, with what was typed")
    }

    /// Stdout cannot be written.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            // `homing list | head`: it got what it wanted.
            return Self {
                quiet: true,
                ..Self::new(Exit::Done, "")
            };
        }
        Self::new(
            Exit::Unreachable,
            format!("cannot write to stdout: {error}"),
        )
        .fix("free some room where it goes")
    }

    /// A file of the user's cannot be read or written.
    pub(crate) fn file(verb: &str, path: &str, error: &io::Error) -> Self {
        let cause = plain_cause(error);
        let trouble = Self::new(Exit::Usage, format!("cannot {verb} {path}: {cause}"));
        trouble.fix(match error.kind() {
            io::ErrorKind::NotFound => "name one that is there, from the folder you are in",
            _ => "name a file that this user may read and write",
        })
    }

    /// The broker cannot be used.
    pub(crate) fn broker(error: &BrokerError) -> Self {
        let (exit, fix) = match error {
            BrokerError::Unreachable { .. } => (
                Exit::Unreachable,
                "start it, or name another: --broker URL".to_owned(),
            ),
            BrokerError::Refused { .. } => (
                Exit::Denied,
                "check user and password; `guest` may log in from the broker's own machine only"
                    .to_owned(),
            ),
            BrokerError::VirtualHost { vhost, user, .. } => (
                Exit::Config,
                format!(
                    "create it: rabbitmqctl add_vhost '{vhost}' && rabbitmqctl set_permissions -p '{vhost}' '{user}' '.*' '.*' '.*'"
                ),
            ),
            BrokerError::Denied { user, .. } => (
                Exit::Denied,
                format!(
                    "grant it: rabbitmqctl set_permissions -p VHOST '{user}' CONFIGURE WRITE READ"
                ),
            ),
            BrokerError::Missing { .. } => {
                (Exit::Config, "create it: homing topology apply".to_owned())
            }
            BrokerError::Different { .. } => (
                Exit::Config,
                "empty and delete it, then: homing topology apply; or use another --namespace"
                    .to_owned(),
            ),
            BrokerError::Spreading { .. } => (
                Exit::Unreachable,
                "once it has ended, run `homing topology apply` again".to_owned(),
            ),
            BrokerError::File { .. } => (
                Exit::Config,
                "name another file: --broker sqlite:PATH; or let this user write to it".to_owned(),
            ),
            BrokerError::Url(_) => (
                Exit::Config,
                "write it as amqp://USER:PASSWORD@HOST:5672/VHOST, with `%2f` for a `/` in a name, or sqlite:PATH"
                    .to_owned(),
            ),
            BrokerError::Protocol { .. } => (
                Exit::Unreachable,
                "see the broker's log; RabbitMQ 3.10 to 4.x is supported".to_owned(),
            ),
            _ => (Exit::Internal, "please report it".to_owned()),
        };
        Self::new(exit, chain(error)).fix(fix)
    }

    /// A message was not published, or is not known to be; `again` says how to
    /// publish it again without making two of one.
    pub(crate) fn publish(error: &PublishError, again: &str) -> Self {
        let what = match error {
            PublishError::Unconfirmed { waited } => format!(
                "the broker took the connection, but did not confirm within {} s; it may have a memory or disk alarm",
                waited.as_secs()
            ),
            other => chain(other),
        };
        let (exit, fix) = match error {
            PublishError::Unroutable { routing_key, .. } => {
                (Exit::Config, create_queue(routing_key))
            }
            PublishError::Denied { .. } => (
                Exit::Denied,
                "grant it: rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ"
                    .to_owned(),
            ),
            PublishError::TooLarge { .. } => (
                Exit::Usage,
                "store it elsewhere and send its name".to_owned(),
            ),
            PublishError::Refused => (
                Exit::Unreachable,
                format!("see the broker's log, a queue may be full. Then {again}"),
            ),
            PublishError::Unconfirmed { .. } | PublishError::Closed => (
                Exit::Unreachable,
                format!("see `rabbitmqctl status`. What was sent may be queued or not: {again}"),
            ),
            _ => (Exit::Internal, "please report it".to_owned()),
        };
        Self::new(exit, what).fix(fix)
    }

    /// The store cannot be used.
    pub(crate) fn store(error: &StoreError) -> Self {
        let (exit, fix) = of_database(error).unwrap_or_else(|| of_file(error));
        Self::new(exit, store_text(error)).fix(fix)
    }

    /// A text that names no store.
    pub(crate) fn store_url(error: &UrlError) -> Self {
        let fix = match error {
            UrlError::Postgres { .. } => {
                "write %40 for an @ in a user or password, %2F for a slash: docs/stores.md"
            }
            _ => "sqlite:PATH, such as sqlite:homing.db",
        };
        Self::new(Exit::Config, chain(error)).fix(fix)
    }

    /// A payload that cannot travel.
    pub(crate) fn payload(error: &EncodeError, from: &str) -> Self {
        let (what, fix) = match error {
            EncodeError::TooLarge {
                what,
                bytes,
                bytes_max,
            } => (
                format!("{what} of {bytes} bytes, but at most {bytes_max} are allowed"),
                "store it elsewhere and send its name",
            ),
            other => (
                chain(other),
                "give JSON; in a shell, between single quotes: '{\"path\":\"README.md\"}'",
            ),
        };
        Self::new(Exit::Usage, what).from(from).fix(fix)
    }
}

/// What became of a store in a file, and how to cure it.
fn of_file(error: &StoreError) -> (Exit, &'static str) {
    let refused = |cause: &io::Error| match cause.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Unreachable,
    };
    match error {
        StoreError::Missing { .. } => (
            Exit::Unreachable,
            "run it where the collector or `homing up` runs, or begin here: homing up --demo",
        ),
        StoreError::NoDirectory { .. } => (
            Exit::Config,
            "create the directory, or name another store: --store sqlite:PATH",
        ),
        StoreError::Foreign { .. } => (
            Exit::Config,
            "name another file, or none that exists yet: --store sqlite:PATH",
        ),
        StoreError::Newer { .. } => (
            Exit::Config,
            "use the version of Homing that wrote it, or a newer one",
        ),
        StoreError::Older { .. } => (Exit::Config, "start its collector once: it migrates it"),
        StoreError::Unreadable { source, .. } => {
            (refused(source), "run it as the user the collector runs as")
        }
        StoreError::Unwritable { source, .. } => (
            refused(source),
            "give this user the right to write the file and its directory, or name another: --store sqlite:PATH",
        ),
        StoreError::Busy { .. } => (Exit::Unreachable, "try again; `fuser` names who holds it"),
        StoreError::Full { .. } => (Exit::Unreachable, "free some room; nothing is lost"),
        StoreError::Disk { .. } => (Exit::Unreachable, "check the disk; nothing acked is lost"),
        StoreError::Rejected { .. } => (
            Exit::Unreachable,
            "take out the constraint or trigger that was added to it",
        ),
        StoreError::Gone { .. } => (Exit::Unreachable, "put it back, and start again"),
        StoreError::Corrupt { .. } => (
            Exit::Unreachable,
            "keep a copy, and restore the file from a backup",
        ),
        StoreError::Position { .. } => (Exit::Usage, "start at one of those: --from POSITION"),
        _ => (Exit::Internal, "please report it"),
    }
}

/// The same of one in a database, where that is special.
fn of_database(error: &StoreError) -> Option<(Exit, &'static str)> {
    let is_database = |store: &Place| matches!(store, Place::Database(_));
    Some(match error {
        StoreError::Unreachable { .. } => (
            Exit::Unreachable,
            "see that the server runs and takes connections from here, then try again",
        ),
        StoreError::Denied { .. } => (
            Exit::Denied,
            "check the user and the password, and what the user may do: docs/stores.md",
        ),
        StoreError::Tls { .. } => (
            Exit::Config,
            "check `sslmode` and `sslrootcert`: docs/stores.md",
        ),
        StoreError::Missing { store } if is_database(store) => (
            Exit::Unreachable,
            "create the database (`createdb`), and start a collector once: it makes the rest",
        ),
        StoreError::Foreign { store, .. } if is_database(store) => {
            (Exit::Config, "name another database: docs/stores.md")
        }
        StoreError::Busy { store } if is_database(store) => (
            Exit::Unreachable,
            "try again; `pg_locks` and `pg_stat_activity` name who holds it",
        ),
        _ => return None,
    })
}

/// What is wrong with a store, without the fix that some texts hold.
fn store_text(error: &StoreError) -> String {
    match error {
        StoreError::Newer {
            found,
            supported,
            store,
        } => format!(
            "the store {store} has schema {found}, but this version reads up to {supported}"
        ),
        StoreError::Older {
            found,
            supported,
            store,
        } => format!("the store {store} has schema {found}, but this version reads {supported}"),
        StoreError::Unreadable { source, .. } | StoreError::Unwritable { source, .. } => {
            format!("{error}: {}", plain_cause(source))
        }
        other => chain(other),
    }
}

/// An I/O error without the number at its end.
pub(crate) fn plain_cause(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("error: {}", self.what);
        if let Some(from) = &self.from {
            write!(text, "\n  from  {from}")?;
        }
        if let Some(fix) = &self.fix {
            write!(text, "\n  fix   {fix}")?;
        }
        // Parts of it may be names from outside: each line is cleaned alone.
        for line in text.lines() {
            writeln!(f, "{}", crate::clean::for_terminal(line))?;
        }
        Ok(())
    }
}
/// How to create the queue that a routing key names, with or without namespace.
fn create_queue(routing_key: &str) -> String {
    let apply = "create the queue: homing topology apply";
    match routing_key.find("tasks.") {
        Some(at) => format!("{apply} --queues {}", &routing_key[at..]),
        None => apply.to_owned(),
    }
}
