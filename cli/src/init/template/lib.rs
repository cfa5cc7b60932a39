//! The tasks of `{{name}}`: what is submitted, what comes back, what can go wrong.
//!
//! Workers and producers share this file, so that both mean the same.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use homing::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts what is in a text file. Its fields are the payload.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
pub struct Count {
    /// The file, which has to be there for the worker.
    pub path: PathBuf,
}

/// The output.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    pub lines: u64,
    pub words: u64,
}

/// Why a file cannot be counted. A producer gets it as this value.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum CountError {
    #[error("`{path}` is not there")]
    Missing { path: String },
    #[error("`{path}` is no text")]
    NoText { path: String },
}

impl TaskError for CountError {
    fn retry(&self) -> Retry {
        match self {
            // It may come yet.
            Self::Missing { .. } => Retry::Backoff,
            // It will not be another file the next time.
            Self::NoText { .. } => Retry::Never,
        }
    }
}

impl Task for Count {
    // Tasks that are queued keep the kind they were submitted with: a new
    // meaning gets a new kind.
    const KIND: &'static str = "{{name}}.count";
    type Output = Counts;
    type Error = CountError;
    const POLICY: Policy = Policy::DEFAULT
        .attempts_max(3)
        .backoff(Duration::from_secs(1), Duration::from_secs(10))
        .timeout(Duration::from_secs(30));
}

/// The handler. It may run more than once for one task, after a crash, so what
/// it does has to be safe to repeat. Any other error given to `?` is tried again.
pub fn count(task: Count, _: Attempt) -> Result<Counts, AttemptError> {
    let path = task.path.display().to_string();
    let bytes = match std::fs::read(&task.path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(CountError::Missing { path }.into());
        }
        read => read?,
    };
    let text = String::from_utf8(bytes).map_err(|_| CountError::NoText { path })?;
    Ok(Counts::of(&text))
}

impl Counts {
    /// Counts what is in `text`.
    pub fn of(text: &str) -> Self {
        Self {
            lines: text.lines().count() as u64,
            words: text.split_whitespace().count() as u64,
        }
    }
}
