//! What is to be run again, a part at a time, so that memory does not grow
//! with it.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use homing_protocol::TaskId;
use homing_store::{DeadLetterRecord, Filter, Position, Store};

use super::Target;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// Ids that are counted at once.
const PAGE: u32 = 10_000;

/// Something to be run again.
#[derive(Debug)]
pub(super) enum Item {
    /// A task, and the dead letter it was named by.
    Task(TaskId, Option<u64>),
    /// A dead letter that is no task by itself.
    Letter(Box<DeadLetterRecord>),
    /// A dead letter that is not there.
    Missing(u64),
}

impl Item {
    /// The task.
    pub(super) const fn task(&self) -> Option<TaskId> {
        match self {
            Self::Task(id, _) => Some(*id),
            Self::Letter(_) | Self::Missing(_) => None,
        }
    }
}

/// What was chosen.
#[derive(Debug)]
pub(super) enum Selection {
    /// By name.
    Named(VecDeque<Target>),
    /// By a filter: what is stored up to a position, so that tasks that are run
    /// again and fail again do not come twice.
    Matching {
        filter: Box<Filter>,
        after: Position,
        until: Position,
    },
}

impl Selection {
    /// What `targets` name, with those on stdin.
    pub(super) fn named(targets: &[Target]) -> Result<Self, Trouble> {
        let mut all = VecDeque::new();
        for target in targets {
            match target {
                Target::Stdin => read(io::stdin().lock(), &mut all)?,
                named => all.push_back(*named),
            }
        }
        Ok(Self::Named(all))
    }

    /// The tasks that match now.
    pub(super) async fn matching(store: &Store, filter: Filter) -> Result<Self, Trouble> {
        let until = store.end().await.map_err(|error| Trouble::store(&error))?;
        Ok(Self::Matching {
            filter: Box::new(filter),
            after: Position::START,
            until,
        })
    }

    /// Whether each of them was named.
    pub(super) const fn is_named(&self) -> bool {
        matches!(self, Self::Named(_))
    }

    /// The next part: nothing once there is no more.
    pub(super) async fn next(&mut self, store: &Store, limit: u32) -> Result<Vec<Item>, Trouble> {
        match self {
            Self::Named(targets) => {
                let mut items = Vec::new();
                while items.len() < limit as usize
                    && let Some(target) = targets.pop_front()
                {
                    match target {
                        Target::Task(id) => items.push(Item::Task(id, None)),
                        Target::DeadLetter(number) => items.extend(letter(store, number).await?),
                        Target::Stdin => {}
                    }
                }
                Ok(items)
            }
            Self::Matching {
                filter,
                after,
                until,
            } => {
                let part = store.matching(filter, after, until, limit).await;
                let (tasks, position) = part.map_err(|error| Trouble::store(&error))?;
                *after = position;
                Ok(tasks.into_iter().map(|id| Item::Task(id, None)).collect())
            }
        }
    }
}

/// The tasks in a dead letter, or the letter itself.
async fn letter(store: &Store, number: u64) -> Result<Vec<Item>, Trouble> {
    let letter = store.dead_letter(number).await;
    let Some(letter) = letter.map_err(|error| Trouble::store(&error))? else {
        return Ok(vec![Item::Missing(number)]);
    };
    let mut tasks = Vec::new();
    for (id, _) in &letter.tasks {
        // Nothing is stored of the one that a replay made of the letter and had
        // no time to publish.
        let stored = store.record(*id).await;
        if stored.map_err(|error| Trouble::store(&error))?.is_some() {
            tasks.push(Item::Task(*id, Some(number)));
        }
    }
    if tasks.is_empty() || letter.discarded.is_some() {
        return Ok(vec![Item::Letter(Box::new(letter))]);
    }
    Ok(tasks)
}

/// Reads ids, one on each line.
fn read(lines: impl BufRead, targets: &mut VecDeque<Target>) -> Result<(), Trouble> {
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line.map_err(|error| Trouble::file("read", "stdin", &error))?;
        let misfit = |problem: String| {
            Trouble::new(Exit::Usage, format!("`{}`: {problem}", line.trim()))
                .from(format!("line {number} of stdin"))
                .fix("give one id on each line: homing list --json | jq -r .id")
        };
        match line.trim() {
            "" => {}
            "-" => return Err(misfit("it is no id".to_owned())),
            text => targets.push_back(text.parse().map_err(misfit)?),
        }
    }
    Ok(())
}

/// How many tasks match.
pub(super) async fn count(store: &Store, filter: &Filter) -> Result<u64, Trouble> {
    let told = |error| Trouble::store(&error);
    let until = store.end().await.map_err(told)?;
    let (mut total, mut after) = (0, Position::START);
    loop {
        let part = store.matching(filter, &after, &until, PAGE).await;
        let (tasks, position) = part.map_err(told)?;
        if tasks.is_empty() {
            return Ok(total);
        }
        total += tasks.len() as u64;
        after = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_on_stdin_are_one_on_each_line() {
        let id = "01a1fc18-d03d-73e9-8668-5257bdd640fb";
        let mut targets = VecDeque::new();

        read(format!("{id}\n\n 17 \n").as_bytes(), &mut targets).unwrap();

        let expected = [Target::Task(id.parse().unwrap()), Target::DeadLetter(17)];
        assert_eq!(targets, expected);
        for text in ["x", "-", "1 2"] {
            assert!(read(text.as_bytes(), &mut targets).is_err(), "{text}");
        }
    }
}
