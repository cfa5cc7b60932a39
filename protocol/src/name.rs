//! Names that people choose, checked once, where they enter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::NameError;
use crate::limit::{NAME_BYTES_MAX, NAMESPACE_BYTES_MAX, QUEUE_NAME_BYTES_MAX};

/// Names a kind of task on the wire, such as `image.resize`.
///
/// 1 to 255 bytes of `a-z`, `0-9`, `.`, `_` and `-`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskKind(String);

impl TaskKind {
    /// The kind of a [`Task`](crate::Task), checked when the program is built.
    pub fn of<T: crate::Task>() -> Self {
        const {
            assert!(
                is_kind(T::KIND),
                "a kind is 1 to 255 bytes of a-z 0-9 . _ -"
            )
        };
        Self(T::KIND.to_owned())
    }

    /// The name as it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A queue that tasks wait in, without the namespace: `tasks` or `tasks.NAME`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct QueueName(String);

impl QueueName {
    /// The queue tasks go to unless one is named: `tasks`.
    pub fn tasks() -> Self {
        Self("tasks".to_owned())
    }

    /// Where a task goes that may have killed its worker: `tasks.suspect`.
    pub fn suspect() -> Self {
        Self("tasks.suspect".to_owned())
    }

    /// The name without the namespace.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A prefix of all exchanges and queues, so that several pipelines can share a
/// virtual host. Empty by default.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Namespace(String);

impl Namespace {
    /// The prefix, without the dot that follows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `name` in this namespace: `NAMESPACE.name`, or `name` if it is empty.
    pub fn name(&self, name: &str) -> String {
        if self.0.is_empty() {
            return name.to_owned();
        }
        format!("{}.{name}", self.0)
    }

    /// Whether the full name `full` belongs to this namespace's topology.
    pub fn owns(&self, full: &str) -> bool {
        let Some(name) = self.strip(full) else {
            return false;
        };
        let first = name.split('.').next().unwrap_or_default();
        ["tasks", "results", "dead", "quarantine", "delay", "reply"].contains(&first)
    }

    /// The part of `full` after this namespace's prefix.
    pub fn strip<'a>(&self, full: &'a str) -> Option<&'a str> {
        if self.0.is_empty() {
            return Some(full);
        }
        full.strip_prefix(&self.0)?.strip_prefix('.')
    }
}

pub(crate) const fn is_kind(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > NAME_BYTES_MAX {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

impl FromStr for TaskKind {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        name.to_owned().try_into()
    }
}

impl TryFrom<String> for TaskKind {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        if is_kind(&name) {
            return Ok(Self(name));
        }
        Err(NameError::Kind { name })
    }
}

impl FromStr for QueueName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let known = name == "tasks" || (name.starts_with("tasks.") && !name.ends_with('.'));
        if known && is_kind(name) && name.len() <= QUEUE_NAME_BYTES_MAX {
            return Ok(Self(name.to_owned()));
        }
        Err(NameError::Queue {
            name: name.to_owned(),
        })
    }
}

impl FromStr for Namespace {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        // In the namespace `tasks` the queue `tasks` would be another's `tasks.tasks`.
        let plain = name.is_empty() || (is_kind(name) && !name.contains('.') && name != "tasks");
        if plain && name.len() <= NAMESPACE_BYTES_MAX {
            return Ok(Self(name.to_owned()));
        }
        Err(NameError::Namespace {
            name: name.to_owned(),
        })
    }
}

impl From<TaskKind> for String {
    fn from(kind: TaskKind) -> Self {
        kind.0
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_other_characters_is_refused() {
        for name in ["", "Image.Resize", "a b", "ä", "a/b", &"a".repeat(256)] {
            assert!(name.parse::<TaskKind>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_queue_is_tasks_or_below_it() {
        for name in ["", "results", "task", "tasks.", "tasksx", "tasks.A"] {
            assert!(name.parse::<QueueName>().is_err(), "{name:?}");
        }
        for name in ["tasks", "tasks.big", "tasks.gpu.a"] {
            assert!(name.parse::<QueueName>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn no_namespace_shares_names_with_the_queues_of_another() {
        assert!("tasks".parse::<Namespace>().is_err());
        assert!("a.b".parse::<Namespace>().is_err());
    }

    #[test]
    fn a_namespace_owns_its_own_names_only() {
        let namespace: Namespace = "a".parse().expect("a valid namespace");

        assert!(namespace.owns("a.tasks.big"));
        assert!(!namespace.owns("b.tasks"));
        assert!(!namespace.owns("a.other"));
        assert!(Namespace::default().owns("results"));
    }
}
