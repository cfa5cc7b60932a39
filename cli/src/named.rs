//! Tasks as they are named: by an id, or by the digits that it begins with.

use std::ops::RangeInclusive;
use std::str::FromStr;

use homing_protocol::TaskId;
use homing_store::Store;
use uuid::Uuid;

use crate::exit::Exit;
use crate::trouble::Trouble;

/// Digits that an id has.
const DIGITS: usize = 32;

/// Digits that are enough to look for an id.
const DIGITS_MIN: usize = 8;

/// Ids that are told where several begin alike.
const TOLD_MAX: usize = 5;

/// What was given names no task.
#[derive(Debug, thiserror::Error)]
#[error(
    "it is no id of a task, nor {DIGITS_MIN} or more digits that one begins with; one looks like 01a1fc9a-6cd9-8000-8005-f6440c6a3056"
)]
pub(crate) struct NoTaskName;

/// A task as it is named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TaskName {
    /// By its id.
    Id(TaskId),
    /// By the digits that it begins with, as they were typed.
    Digits(String, RangeInclusive<TaskId>),
}

impl FromStr for TaskName {
    type Err = NoTaskName;

    fn from_str(text: &str) -> Result<Self, NoTaskName> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let digits = text.replace('-', "");
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || !(DIGITS_MIN..DIGITS).contains(&digits.len()) {
            return Err(NoTaskName);
        }
        let end = |fill: char| {
            let whole = digits.chars().chain(std::iter::repeat(fill));
            let whole: String = whole.take(DIGITS).collect();
            Uuid::try_parse(&whole).map(TaskId::from)
        };
        match (end('0'), end('f')) {
            (Ok(first), Ok(last)) => Ok(Self::Digits(text.to_owned(), first..=last)),
            _ => Err(NoTaskName),
        }
    }
}

impl TaskName {
    /// The task's id.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: none that is stored begins so, or several do.
    pub(crate) async fn find(&self, store: &Store) -> Result<TaskId, Trouble> {
        let (text, range) = match self {
            Self::Id(id) => return Ok(*id),
            Self::Digits(text, range) => (text, range),
        };
        let found = store
            .tasks_between(range.clone(), TOLD_MAX as u32 + 1)
            .await;
        let found = found.map_err(|error| Trouble::store(&error))?;
        one(text, &found)
    }
}

/// Of the ids that begin with `text`, the only one.
fn one(text: &str, found: &[TaskId]) -> Result<TaskId, Trouble> {
    match found {
        [] => Err(Trouble::new(
            Exit::NotFound,
            format!("no task that is stored has an id that begins with {text}"),
        )
        .from("the command line")
        .fix("`homing list` shows ids; of a task that is on its way give the whole id")),
        [id] => Ok(*id),
        several => {
            let told = several.iter().take(TOLD_MAX);
            let told: String = told.map(|id| format!("\n  {id}")).collect();
            let more = if several.len() > TOLD_MAX {
                "\n  ..."
            } else {
                ""
            };
            let what = format!("several ids begin with {text}:{told}{more}");
            Err(Trouble::new(Exit::Usage, what)
                .from("the command line")
                .fix("give more digits: those of one moment are alike in the first 12, those of one batch in the first 17"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01a1fc18-d03d-73e9-8668-5257bdd640fb";

    #[test]
    fn a_task_is_named_by_its_id_or_by_eight_digits_or_more() {
        let id: TaskId = ID.parse().unwrap();
        assert_eq!(ID.parse::<TaskName>().unwrap(), TaskName::Id(id));
        for text in [
            "01a1fc18",
            "01A1FC18-d03d-7",
            "01a1fc18d03d73e986685257bdd640f",
        ] {
            let TaskName::Digits(_, range) = text.parse().unwrap() else {
                panic!("{text} is no whole id");
            };
            assert!(range.contains(&id), "{text}");
        }
        for text in ["", "01a1fc1", "17", "01a1fc18-x", "poem.txt"] {
            assert!(text.parse::<TaskName>().is_err(), "{text}");
        }
    }

    #[test]
    fn digits_mean_one_task_or_none_and_candidates_are_told() {
        let ids: Vec<TaskId> = (0..6).map(|n| Uuid::from_u128(n).into()).collect();
        let error = |found: &[TaskId]| one("00000000", found).unwrap_err();

        assert_eq!(one("00000000", &ids[..1]).unwrap(), ids[0]);
        assert_eq!(error(&[]).exit, Exit::NotFound);
        let several = error(&ids[..2]).to_string();
        assert!(several.contains(&ids[1].to_string()), "{several}");
        let many = error(&ids).to_string();
        assert!(many.contains("  ...") && !many.contains(&ids[5].to_string()));
    }
}
