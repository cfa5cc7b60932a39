use std::fmt;
use std::str::FromStr;

use crate::error::StoreError;
use crate::record::Record;

/// A place in the log: after one entry and before the next.
///
/// Only good for going on from; what its text looks like may change.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position(i64);

/// The text is no [`Position`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is no position of the log")]
pub struct PositionError {
    text: String,
}

/// Part of the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tail {
    /// What matched, the oldest first.
    pub records: Vec<Record>,
    /// Where to go on: after the last entry looked at, matching or not.
    pub position: Position,
    /// Whether that was the last entry there is.
    pub at_end: bool,
}

/// A position that the log does not have.
#[derive(Debug)]
pub(crate) struct Outside {
    position: Position,
    oldest: Position,
    newest: Position,
}

impl From<Outside> for StoreError {
    fn from(outside: Outside) -> Self {
        let Outside {
            position,
            oldest,
            newest,
        } = outside;
        Self::Position {
            position,
            oldest,
            newest,
        }
    }
}

impl Position {
    /// Before the oldest entry that is kept.
    pub const START: Self = Self(0);

    pub(crate) const fn new(number: i64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> i64 {
        self.0
    }

    /// Fails unless the log has it: from the oldest to the newest to go on from.
    pub(crate) fn within(self, oldest: Self, newest: Self) -> Result<(), Outside> {
        if (oldest..=newest).contains(&self) {
            return Ok(());
        }
        Err(Outside {
            position: self,
            oldest,
            newest,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        text.parse()
            .ok()
            .filter(|number| *number >= 0)
            .map(Self)
            .ok_or_else(|| PositionError {
                text: text.to_owned(),
            })
    }
}
