use std::fmt;
use std::path::{Path, PathBuf};

/// Which store it is, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// The one in this file.
    File(PathBuf),
    /// The one in this database: its URL without the password.
    Database(String),
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Database(url) => f.write_str(url),
        }
    }
}
