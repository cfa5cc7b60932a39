//! Says which kinds of tasks wait in a file for a worker, without taking part in it.
//!
//! | a task waits | |
//! |---|---|
//! | in a queue that no worker takes from | for a worker |
//! | and was put off, since its worker has no handler for it | for one that knows its kind |
//! | in a queue that a worker takes from, or until it is due | for its turn |

use std::collections::BTreeMap;
use std::path::Path;

use homing_protocol::topology::Topology;
use homing_protocol::{H_PARKED, QueueName};
use rusqlite::{Connection, Result};

use super::look;
use super::messages::Head;
use crate::error::BrokerError;

/// Messages that are looked at, the oldest, of those that wait and of those that are
/// delayed: more take longer than whoever asks would wait.
const MESSAGES_MAX: u32 = 10_000;

/// Tasks of one kind that wait for a worker: none takes from their queue, or none that
/// does has a handler for them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Untaken {
    /// The kind; empty if its message names none.
    pub kind: String,
    /// How many.
    pub tasks: u64,
}

/// Those in the file at `path` in `topology`'s namespace.
pub(super) fn untaken(path: &Path, topology: &Topology) -> Result<Vec<Untaken>, BrokerError> {
    let looked = look::read_only(path).and_then(|file| count(&file, topology));
    looked.map_err(|error| BrokerError::File {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

fn count(file: &Connection, topology: &Topology) -> Result<Vec<Untaken>> {
    // One moment: a message that moves is not counted twice.
    let file = file.unchecked_transaction()?;
    let mut kinds = BTreeMap::new();
    let mut queues = file.prepare(
        "SELECT name, id, EXISTS (SELECT 1 FROM consumer c WHERE c.queue = q.id) FROM queue q",
    )?;
    let mut queues = queues.query(())?;
    let mut waiting = file.prepare(
        "SELECT m.head FROM waiting w JOIN message m ON m.id = w.message
         WHERE w.queue = ?1 ORDER BY w.message LIMIT ?2",
    )?;
    while let Some(queue) = queues.next()? {
        let name = queue.get_ref(0)?.as_str()?;
        if !is_of_tasks(name, topology) {
            continue;
        }
        // That of suspects has its turn while there are any.
        let is_taken = queue.get(2)? || name == topology.queue(&QueueName::suspect());
        let mut rows = waiting.query((queue.get::<_, i64>(1)?, MESSAGES_MAX))?;
        while let Some(row) = rows.next()? {
            note(&mut kinds, row.get_ref(0)?.as_blob()?, is_taken);
        }
    }
    let mut delayed = file.prepare(
        "SELECT d.queue, m.head FROM delayed d JOIN message m ON m.id = d.message
         ORDER BY d.due_at, d.message LIMIT ?1",
    )?;
    let mut rows = delayed.query([MESSAGES_MAX])?;
    while let Some(row) = rows.next()? {
        if is_of_tasks(row.get_ref(0)?.as_str()?, topology) {
            note(&mut kinds, row.get_ref(1)?.as_blob()?, true);
        }
    }
    let kinds = kinds.into_iter();
    Ok(kinds.map(|(kind, tasks)| Untaken { kind, tasks }).collect())
}

fn is_of_tasks(queue: &str, topology: &Topology) -> bool {
    let tasks = topology.namespace().name("tasks");
    let rest = queue.strip_prefix(&tasks);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Counts the message of this head, if it was put off or its queue is not taken from.
/// One that is damaged is nobody's.
fn note(kinds: &mut BTreeMap<String, u64>, head: &[u8], is_taken: bool) {
    let Ok(Head { properties, .. }) = rmp_serde::from_slice::<Head>(head) else {
        return;
    };
    if !is_taken || properties.header(H_PARKED).is_some() {
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
