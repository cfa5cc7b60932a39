use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a store is: `sqlite:PATH`, by default `sqlite:homing.db`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreUrl {
    path: PathBuf,
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
    #[error("there is no `{scheme}` store in this version; write `sqlite:PATH`")]
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
}

impl StoreUrl {
    /// The store in the file at `path`.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for StoreUrl {
    fn default() -> Self {
        Self::sqlite("homing.db")
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.path.display())
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
        if scheme != "sqlite" {
            let scheme = scheme.to_owned();
            return Err(UrlError::Scheme { scheme });
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
    fn every_error_says_how_to_write_it() {
        let texts = [
            (
                "homing.db",
                "`homing.db` does not say what kind of store it is; write `sqlite:homing.db`",
            ),
            (
                "postgres://u:secret@h/d",
                "there is no `postgres` store in this version; write `sqlite:PATH`",
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
        ];
        for (text, expected) in texts {
            assert_eq!(text.parse::<StoreUrl>().unwrap_err().to_string(), expected);
        }
    }
}
