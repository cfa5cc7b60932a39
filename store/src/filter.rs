use std::fmt;
use std::str::FromStr;

use homing_protocol::{BatchId, Reason, Status, Timestamp};

/// Which records are wanted. By default all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    pub(crate) kind: Option<KindPattern>,
    pub(crate) statuses: Vec<Status>,
    pub(crate) batch: Option<BatchId>,
    pub(crate) since: Option<Timestamp>,
}

impl Filter {
    /// Every record.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those of kinds that match.
    #[must_use]
    pub fn kind(mut self, kind: KindPattern) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Those with one of these statuses; any, if there are none.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = Status>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Those that somebody should look at.
    #[must_use]
    pub fn problems(self) -> Self {
        self.statuses(Status::ALL.into_iter().filter(|status| status.is_problem()))
    }

    /// Those of this batch.
    #[must_use]
    pub fn batch(mut self, batch: BatchId) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Those stored at this time or later.
    #[must_use]
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }
}

/// Which dead letters are wanted. By default all that are not discarded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeadFilter {
    /// Those with this reason.
    pub reason: Option<Reason>,
    /// Those whose kind matches, be it a valid one or not.
    pub kind: Option<KindPattern>,
    /// Those stored at this time or later.
    pub since: Option<Timestamp>,
    /// Discarded ones as well.
    pub discarded: bool,
}

/// One kind, or with a `*` at the end all that begin like it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KindPattern {
    /// This kind.
    Is(String),
    /// Kinds that begin with this.
    StartsWith(String),
}

/// The text is no [`KindPattern`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is no pattern of kinds: a `*` can stand at its end only")]
pub struct PatternError {
    text: String,
}

impl KindPattern {
    /// Whether `kind` matches.
    pub fn matches(&self, kind: &str) -> bool {
        match self {
            Self::Is(name) => name == kind,
            Self::StartsWith(prefix) => kind.starts_with(prefix),
        }
    }
}

impl FromStr for KindPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (name, pattern) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, Self::StartsWith(prefix.to_owned())),
            None => (text, Self::Is(text.to_owned())),
        };
        if name.contains('*') {
            let text = text.to_owned();
            return Err(PatternError { text });
        }
        Ok(pattern)
    }
}

impl fmt::Display for KindPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(name) => f.write_str(name),
            Self::StartsWith(prefix) => write!(f, "{prefix}*"),
        }
    }
}
