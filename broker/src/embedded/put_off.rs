//! Says which kinds of tasks wait in a file for a worker that knows them, without
//! taking part in it.

use std::collections::BTreeMap;
use std::path::Path;

use homing_protocol::H_PARKED;
use homing_protocol::topology::Topology;
use rusqlite::{Connection, Result};

use super::look;
use super::messages::Head;
use crate::error::BrokerError;

/// Messages that are looked at, the oldest, of those that wait and of those that are
/// delayed: more take longer than whoever asks would wait.
const MESSAGES_MAX: u32 = 10_000;

/// Tasks of one kind that were put off by workers, none of which has a handler for
/// them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PutOff {
    /// The kind; empty if its message names none.
    pub kind: String,
    /// How many.
    pub tasks: u64,
}

/// Those in the file at `path` in `topology`'s namespace.
pub(super) fn put_off(path: &Path, topology: &Topology) -> Result<Vec<PutOff>, BrokerError> {
    let looked = look::read_only(path).and_then(|file| count(&file, topology));
    looked.map_err(|error| BrokerError::File {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

fn count(file: &Connection, topology: &Topology) -> Result<Vec<PutOff>> {
    // One moment: a message that moves is not counted twice.
    let file = file.unchecked_transaction()?;
    let mut kinds = BTreeMap::new();
    let mut queues = file.prepare("SELECT name, id FROM queue")?;
    let mut queues = queues.query(())?;
    let mut waiting = file.prepare(
        "SELECT m.head FROM waiting w JOIN message m ON m.id = w.message
         WHERE w.queue = ?1 ORDER BY w.message LIMIT ?2",
    )?;
    while let Some(queue) = queues.next()? {
        if !is_of_tasks(queue.get_ref(0)?.as_str()?, topology) {
            continue;
        }
        let mut rows = waiting.query((queue.get::<_, i64>(1)?, MESSAGES_MAX))?;
        while let Some(row) = rows.next()? {
            note(&mut kinds, row.get_ref(0)?.as_blob()?);
        }
    }
    let mut delayed = file.prepare(
        "SELECT d.queue, m.head FROM delayed d JOIN message m ON m.id = d.message
         ORDER BY d.due_at, d.message LIMIT ?1",
    )?;
    let mut rows = delayed.query([MESSAGES_MAX])?;
    while let Some(row) = rows.next()? {
        if is_of_tasks(row.get_ref(0)?.as_str()?, topology) {
            note(&mut kinds, row.get_ref(1)?.as_blob()?);
        }
    }
    let kinds = kinds.into_iter();
    Ok(kinds.map(|(kind, tasks)| PutOff { kind, tasks }).collect())
}

fn is_of_tasks(queue: &str, topology: &Topology) -> bool {
    let tasks = topology.namespace().name("tasks");
    let rest = queue.strip_prefix(&tasks);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Counts the message of this head, if it was put off. One that is damaged is nobody's.
fn note(kinds: &mut BTreeMap<String, u64>, head: &[u8]) {
    let Ok(Head { properties, .. }) = rmp_serde::from_slice::<Head>(head) else {
        return;
    };
    if properties.header(H_PARKED).is_some() {
        let tasks = properties.tasks() as u64;
        *kinds
            .entry(properties.kind.unwrap_or_default())
            .or_default() += tasks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_of_tasks_are_those_of_the_namespace_alone() {
        let topology = Topology::new("ns".parse().unwrap(), []);
        for (queue, is) in [
            ("ns.tasks", true),
            ("ns.tasks.big", true),
            ("ns.tasksbig", false),
            ("ns.results", false),
            ("tasks", false),
        ] {
            assert_eq!(is_of_tasks(queue, &topology), is, "{queue}");
        }
    }
}
