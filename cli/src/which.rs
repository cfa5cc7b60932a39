//! The flags that choose among stored outcomes.

use std::time::{Duration, SystemTime};

use homing_protocol::{Status, TaskId, Timestamp};
use homing_store::{Batch, BatchRef, Filter, KindPattern, Store};

use crate::clean::for_terminal;
use crate::exit::Exit;
use crate::near;
use crate::time::parse_duration;
use crate::trouble::Trouble;

/// What was given is no id of a task.
#[derive(Debug, thiserror::Error)]
#[error("it is no id of a task; one looks like 01a1fc9a-6cd9-8000-8005-f6440c6a3056")]
pub(crate) struct NoTaskId;

/// Reads the id of a task.
pub(crate) fn parse_task(text: &str) -> Result<TaskId, NoTaskId> {
    text.parse().map_err(|_| NoTaskId)
}

/// Which outcomes are wanted; all that are given must hold.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which")]
pub(crate) struct Which {
    /// succeeded, failed, exhausted, expired, cancelled, dead, retrying, or
    /// pending: run again, and nothing known of it since
    #[arg(long, value_name = "STATUS,...", value_delimiter = ',')]
    status: Vec<Status>,

    /// failed, exhausted, expired or dead
    #[arg(long, conflicts_with = "status")]
    problems: bool,

    /// May end in `*`
    #[arg(long, value_name = "KIND")]
    kind: Option<KindPattern>,

    /// Id or label
    #[arg(long, value_name = "BATCH")]
    batch: Option<BatchRef>,

    /// Stored within the last 10m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    since: Option<Duration>,
}

impl Which {
    /// The filter that the store understands.
    ///
    /// # Errors
    ///
    /// [`Trouble`] if the batch is not stored.
    pub(crate) async fn filter(&self, store: &Store) -> Result<Filter, Trouble> {
        let mut filter = Filter::all().statuses(self.status.iter().copied());
        if self.problems {
            filter = filter.problems();
        }
        if let Some(kind) = &self.kind {
            filter = filter.kind(kind.clone());
        }
        if let Some(batch) = &self.batch {
            filter = filter.batch(find_batch(store, batch).await?.id);
        }
        if let Some(age) = self.since {
            filter = filter.since(before_now(age));
        }
        Ok(filter)
    }

    /// Whether nothing at all is chosen.
    pub(crate) const fn is_empty(&self) -> bool {
        self.status.is_empty()
            && !self.problems
            && self.kind.is_none()
            && self.batch.is_none()
            && self.since.is_none()
    }

    /// Whether tasks are asked for of which nothing is stored yet, of this kind too.
    pub(crate) fn takes_unstored(&self, kind: &str) -> bool {
        let of_kind = Self {
            kind: None,
            ..self.clone()
        };
        let pattern = self.kind.as_ref();
        of_kind.is_empty() && pattern.is_none_or(|pattern| pattern.matches(kind))
    }

    /// The batch that was named.
    pub(crate) const fn batch(&self) -> Option<&BatchRef> {
        self.batch.as_ref()
    }

    /// As [`filter`](Self::filter), and unless a status is given only those that
    /// somebody should look at.
    ///
    /// # Errors
    ///
    /// As for [`filter`](Self::filter).
    pub(crate) async fn unsuccessful(&self, store: &Store) -> Result<Filter, Trouble> {
        let filter = self.filter(store).await?;
        Ok(match self.status.is_empty() {
            true => filter.problems(),
            false => filter,
        })
    }

    /// The flags as they were typed, for the record.
    pub(crate) fn recorded(&self) -> String {
        let since = self.since.map(|age| format!(" --since {}s", age.as_secs()));
        self.typed() + &since.unwrap_or_default()
    }

    /// The flags as they were typed, to be typed again.
    pub(crate) fn typed(&self) -> String {
        let mut words = String::new();
        let mut add = |flag: &str, value: &str| {
            words.push_str(&format!(" --{flag} {}", quoted(value)));
        };
        if let Some(kind) = &self.kind {
            add("kind", &kind.to_string());
        }
        if !self.status.is_empty() {
            let names: Vec<_> = self.status.iter().map(|status| status.as_str()).collect();
            add("status", &names.join(","));
        }
        match &self.batch {
            Some(BatchRef::Id(id)) => add("batch", &id.to_string()),
            Some(BatchRef::Label(label)) => add("batch", label),
            None => {}
        }
        if self.problems {
            words.push_str(" --problems");
        }
        words
    }
}

/// The batch that `name` names.
///
/// # Errors
///
/// [`Trouble`] with [`Exit::NotFound`] if nothing is stored of it.
pub(crate) async fn find_batch(store: &Store, name: &BatchRef) -> Result<Batch, Trouble> {
    let found = store.batch(name).await;
    let found = found.map_err(|error| Trouble::store(&error))?;
    if let Some(batch) = found {
        return Ok(batch);
    }
    let near = match name {
        BatchRef::Label(label) => near::batch(label, store).await,
        BatchRef::Id(_) => None,
    };
    let what = format!("nothing is stored of batch `{}`", shown(name));
    let trouble = Trouble::new(Exit::NotFound, what).from("--batch");
    Err(match near {
        Some(near) => trouble.fix(format!(
            "name the one that is there: --batch {}",
            quoted(&near)
        )),
        None => {
            trouble.fix("`homing audit` names those that are stored; without a collector none is")
        }
    })
}

/// A batch as it was named.
pub(crate) fn shown(name: &BatchRef) -> String {
    match name {
        BatchRef::Id(id) => id.to_string(),
        BatchRef::Label(label) => for_terminal(label),
    }
}

/// The time it is now.
pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

pub(crate) fn before_now(age: Duration) -> Timestamp {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_ms(now().as_ms().saturating_sub(age))
}

/// `word` so that a shell reads it as it is.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_can_be_typed_again() {
        let which = Which {
            status: vec![Status::Failed, Status::Dead],
            kind: Some("image.*".parse().unwrap()),
            batch: Some(BatchRef::Label("it's".to_owned())),
            ..Which::default()
        };

        let typed = which.typed();

        assert_eq!(
            typed,
            r" --kind 'image.*' --status failed,dead --batch 'it'\''s'"
        );
    }
}
