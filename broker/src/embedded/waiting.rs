//! Says which kinds of tasks wait in a file, without taking part in it.

use std::collections::BTreeMap;
use std::path::Path;

use homing_protocol::topology::Topology;
use homing_protocol::{H_PARKED, Properties};
use rusqlite::{Connection, Result};

use super::look;
use super::messages::Head;
use crate::error::BrokerError;

/// Messages that are looked at, the oldest, of those that wait and of those that are
/// delayed: more take longer than whoever asks would wait.
const MESSAGES_MAX: u32 = 10_000;

/// Tasks of one kind that no worker has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Waiting {
    /// The kind; empty if its message names none.
    pub kind: String,
    /// Those that wait in a queue of tasks, and were never put off.
    pub ready: u64,
    /// Those that were put off by workers, none of which has a handler for them.
    pub put_off: u64,
}

/// What waits in the file at `path` for queues of tasks of `topology`, kind by kind.
pub(super) fn waiting(path: &Path, topology: &Topology) -> Result<Vec<Waiting>, BrokerError> {
    let looked = look::read_only(path).and_then(|file| count(&file, topology));
    looked.map_err(|error| BrokerError::File {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

fn count(file: &Connection, topology: &Topology) -> Result<Vec<Waiting>> {
    // One moment: a message that moves is not counted twice.
    let file = file.unchecked_transaction()?;
    let mut kinds = BTreeMap::new();
    for sql in [
        "SELECT q.name, m.head FROM waiting w JOIN queue q ON q.id = w.queue
         JOIN message m ON m.id = w.message ORDER BY w.message LIMIT ?1",
        "SELECT d.queue, m.head FROM delayed d JOIN message m ON m.id = d.message
         ORDER BY d.due_at LIMIT ?1",
    ] {
        let mut statement = file.prepare(sql)?;
        let mut rows = statement.query([MESSAGES_MAX])?;
        while let Some(row) = rows.next()? {
            if is_of_tasks(row.get_ref(0)?.as_str()?, topology)
                && let Ok(head) = rmp_serde::from_slice::<Head>(row.get_ref(1)?.as_blob()?)
            {
                note(&mut kinds, head.properties);
            }
        }
    }
    Ok(kinds.into_values().collect())
}

fn is_of_tasks(queue: &str, topology: &Topology) -> bool {
    let tasks = topology.namespace().name("tasks");
    let rest = queue.strip_prefix(&tasks);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn note(kinds: &mut BTreeMap<String, Waiting>, properties: Properties) {
    let tasks = properties.tasks() as u64;
    let is_put_off = properties.header(H_PARKED).is_some();
    let kind = properties.kind.unwrap_or_default();
    let waiting = kinds.entry(kind.clone()).or_default();
    waiting.kind = kind;
    match is_put_off {
        true => waiting.put_off += tasks,
        false => waiting.ready += tasks,
    }
}
