use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::place::Place;
use crate::postgres;

/// Where a store is: `sqlite:PATH`, by default `sqlite:homing.db`, or
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
///
/// A database's URL is shown without its password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreUrl(pub(crate) Address);

/// Where a store is, by its kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    Sqlite(PathBuf),
    Postgres(Box<postgres::Address>),
}

/// Why a text is no [`StoreUrl`]. Each says how to write it instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It does not say what kind of store it is.
    #[error("`{text}` does not say what kind of store it is; write `sqlite:{text}`")]
    NoScheme {
        /// What was given.
        text: String,
    },
    /// A kind of store that this version does not have.
    #[error(
        "there is no `{scheme}` store in this version; write `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`"
    )]
    Scheme {
        /// The kind, without the rest, which may hold a password.
        scheme: String,
    },
    /// No file is named, or one that would not last.
    #[error("`{text}` names no file; write `sqlite:PATH`, such as `sqlite:homing.db`")]
    NoPath {
        /// What was given.
        text: String,
    },
    /// `sqlite://`, of which nobody can tell whether a host or a path follows.
    #[error("`{text}` has slashes that mean a host; write `sqlite:{path}`")]
    Slashes {
        /// What was given.
        text: String,
        /// The path that was probably meant.
        path: String,
    },
    /// The URL of a PostgreSQL database cannot be read. It is not shown, since it
    /// may hold a password.
    #[error(
        "the URL of the PostgreSQL store {problem}; write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`"
    )]
    Postgres {
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreUrl {
    /// The store in the file at `path`.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(Address::Sqlite(path.into()))
    }

    /// The file, if the store is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Address::Sqlite(path) => Some(path),
            Address::Postgres(_) => None,
        }
    }

    /// Whether several collectors may write to it at once.
    pub const fn is_shared(&self) -> bool {
        matches!(self.0, Address::Postgres(_))
    }

    /// What the store is called in an error.
    pub fn place(&self) -> Place {
        match &self.0 {
            Address::Sqlite(path) => path.clone().into(),
            Address::Postgres(address) => address.place(),
        }
    }
}

impl Default for StoreUrl {
    fn default() -> Self {
        Self::sqlite("homing.db")
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Address::Postgres(address) => address.fmt(f),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let Some((scheme, path)) = text.split_once(':') else {
            let text = text.to_owned();
            return Err(if text.is_empty() {
                UrlError::NoPath { text }
            } else {
                UrlError::NoScheme { text }
            });
        };
        match scheme {
            "sqlite" => {}
            "postgres" | "postgresql" => {
                let address = postgres::Address::parse(text)
                    .map_err(|problem| UrlError::Postgres { problem })?;
                return Ok(Self(Address::Postgres(Box::new(address))));
            }
            _ => {
                let scheme = scheme.to_owned();
                return Err(UrlError::Scheme { scheme });
            }
        }
        if let Some(rest) = path.strip_prefix("//") {
            let (text, path) = (text.to_owned(), rest.to_owned());
            return Err(UrlError::Slashes { text, path });
        }
        if path.is_empty() || path == ":memory:" || path.ends_with('/') {
            let text = text.to_owned();
            return Err(UrlError::NoPath { text });
        }
        Ok(Self::sqlite(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_back_from_its_text() {
        for text in [
            "sqlite:homing.db",
            "sqlite:/var/lib/homing.db",
            "sqlite:a b?c",
        ] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), text);
        }
        assert_eq!(StoreUrl::default().to_string(), "sqlite:homing.db");
    }

    #[test]
    fn a_password_is_never_shown() {
        let url = "postgresql://ann:se%2Fcret@db:5433/outcomes?sslmode=require";

        let url: StoreUrl = url.parse().unwrap();

        let masked = "postgres://ann:***@db:5433/outcomes?sslmode=require";
        assert_eq!(url.to_string(), masked);
        assert_eq!(url.place().to_string(), masked);
        assert!(!format!("{url:?}").contains("cret"));
    }

    #[test]
    fn every_error_says_how_to_write_it() {
        let texts = [
            (
                "homing.db",
                "`homing.db` does not say what kind of store it is; write `sqlite:homing.db`",
            ),
            (
                "mysql://u:secret@h/d",
                "there is no `mysql` store in this version; write `sqlite:PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`",
            ),
            (
                "sqlite:",
                "`sqlite:` names no file; write `sqlite:PATH`, such as `sqlite:homing.db`",
            ),
            (
                "sqlite::memory:",
                "`sqlite::memory:` names no file; write `sqlite:PATH`, such as `sqlite:homing.db`",
            ),
            (
                "sqlite:///a.db",
                "`sqlite:///a.db` has slashes that mean a host; write `sqlite:/a.db`",
            ),
            (
                "postgres://u:secret@h/d?sslmode=maybe",
                "the URL of the PostgreSQL store has an unknown `sslmode`: it is one of disable, prefer, require, verify-full; write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`",
            ),
        ];
        for (text, expected) in texts {
            assert_eq!(text.parse::<StoreUrl>().unwrap_err().to_string(), expected);
        }
    }
}
