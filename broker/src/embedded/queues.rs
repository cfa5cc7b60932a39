//! The queues of a file, and where each message goes.

use std::collections::HashMap;

use homing_protocol::topology::{Argument, Queue, Topology};
use homing_protocol::{Destination, Received, ResultsQueues};
use rusqlite::{Connection, OptionalExtension as _, Result};

use super::messages::Messages;
use crate::{Depth, Difference};

/// Practically none, for a queue that states no limit.
const NO_LIMIT: i64 = i64::MAX;

/// One queue.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) delivery_limit: i64,
    pub(super) dead_letters: Option<String>,
}

/// What is known of all, read again when another process changed it.
#[derive(Debug, Default)]
pub(super) struct Queues {
    edition: Option<i64>,
    by_name: HashMap<String, i64>,
    by_id: HashMap<i64, Known>,
    spread: HashMap<String, u16>,
}

impl Queues {
    /// Whether they are as in the file.
    pub(super) fn are_current(&self, file: &Connection) -> Result<bool> {
        Ok(self.edition == Some(edition(file)?))
    }

    /// Reads them if they are not.
    pub(super) fn refresh(&mut self, file: &Connection) -> Result<()> {
        let edition = edition(file)?;
        if self.edition == Some(edition) {
            return Ok(());
        }
        let mut all = file.prepare("SELECT id, name, delivery_limit, dead_letters FROM queue")?;
        let all = all.query_map((), |row| {
            Ok(Known {
                id: row.get(0)?,
                name: row.get(1)?,
                delivery_limit: row.get(2)?,
                dead_letters: row.get(3)?,
            })
        })?;
        self.by_id = all
            .map(|known| known.map(|known| (known.id, known)))
            .collect::<Result<_>>()?;
        let names = self.by_id.values();
        self.by_name = names.map(|known| (known.name.clone(), known.id)).collect();
        let mut spread = file.prepare("SELECT exchange, queues FROM spread")?;
        let spread = spread.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.spread = spread.collect::<Result<_>>()?;
        self.edition = Some(edition);
        Ok(())
    }

    /// Forgets them: what was read may have been undone.
    pub(super) fn forget(&mut self) {
        self.edition = None;
    }

    pub(super) fn named(&self, name: &str) -> Option<i64> {
        self.by_name.get(name).copied()
    }

    pub(super) fn get(&self, id: i64) -> Option<&Known> {
        self.by_id.get(&id)
    }

    /// The queue that `destination` leads to, by the exchange and the routing key
    /// it goes by.
    pub(super) fn lead(
        &self,
        topology: &Topology,
        destination: &Destination,
        (exchange, routing_key): (&str, &str),
    ) -> Option<i64> {
        match destination {
            Destination::Queue(_) | Destination::Reply { .. } | Destination::Foreign { .. } => {
                self.named(routing_key)
            }
            Destination::Results { key } => {
                let queues = self.spread.get(exchange).copied().unwrap_or(1);
                self.named(&topology.results_queue(u16::from(*key) % queues))
            }
            Destination::Batches => self.named(&topology.results()),
            Destination::Dead => self.named(&topology.dead()),
            _ => None,
        }
    }
}

fn edition(file: &Connection) -> Result<i64> {
    let mut number = file.prepare_cached("SELECT number FROM edition")?;
    number.query_row((), |row| row.get(0))
}

fn changed(file: &Connection) -> Result<()> {
    file.execute("UPDATE edition SET number = number + 1", ())
        .map(drop)
}

/// The queues of a topology that are any here: what is delayed waits elsewhere.
fn kept(topology: &Topology, there: ResultsQueues) -> Vec<Queue> {
    let delays = topology.delays();
    let mut queues = topology.queues_with(there);
    queues.retain(|queue| !delays.contains(&queue.name));
    queues
}

fn limit(queue: &Queue) -> i64 {
    let limit = queue.arguments.iter().find_map(|argument| match argument {
        ("x-delivery-limit", Argument::Int(limit)) => Some(*limit),
        _ => None,
    });
    limit.unwrap_or(NO_LIMIT)
}

fn found(file: &Connection, name: &str) -> Result<Option<(i64, i64, Option<String>)>> {
    let sql = "SELECT id, delivery_limit, dead_letters FROM queue WHERE name = ?1";
    file.prepare_cached(sql)?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
}

/// Creates what is not there. Answers with the first queue that is there with
/// other arguments.
pub(super) fn apply(
    file: &Connection,
    topology: &Topology,
    results: ResultsQueues,
) -> Result<Option<Difference>> {
    for queue in kept(topology, results) {
        match found(file, &queue.name)? {
            Some(_) => {
                if let Some(difference) = differs(file, &queue)? {
                    return Ok(Some(difference));
                }
            }
            None => {
                let sql =
                    "INSERT INTO queue (name, delivery_limit, dead_letters) VALUES (?1, ?2, ?3)";
                let values = (&queue.name, limit(&queue), &queue.dead_letter_exchange);
                file.execute(sql, values)?;
                changed(file)?;
            }
        }
    }
    Ok(None)
}

/// Spreads outcomes over so many queues, of which none is missing.
pub(super) fn spread(
    file: &Connection,
    topology: &Topology,
    queues: ResultsQueues,
) -> Result<ResultsQueues> {
    let sql = "INSERT OR REPLACE INTO spread (exchange, queues) VALUES (?1, ?2)";
    file.execute(sql, (topology.results(), queues.get()))?;
    changed(file)?;
    results(file, topology)
}

/// How many queues of outcomes there are.
pub(super) fn results(file: &Connection, topology: &Topology) -> Result<ResultsQueues> {
    let mut there = ResultsQueues::ONE;
    while let Some(more) = ResultsQueues::new(there.get() + 1)
        && found(file, &topology.results_queue(there.get()))?.is_some()
    {
        there = more;
    }
    Ok(there)
}

fn differs(file: &Connection, queue: &Queue) -> Result<Option<Difference>> {
    let what = format!("queue `{}`", queue.name);
    let detail = match found(file, &queue.name)? {
        None => Difference::MISSING.to_owned(),
        Some((_, is, dead)) if is == limit(queue) && dead == queue.dead_letter_exchange => {
            return Ok(None);
        }
        Some((_, is, _)) => format!("has the delivery limit {is}, not {}", limit(queue)),
    };
    Ok(Some(Difference { what, detail }))
}

/// What is missing or other than the topology wants it.
pub(super) fn check(file: &Connection, topology: &Topology) -> Result<Vec<Difference>> {
    let queues = kept(topology, results(file, topology)?);
    let differences = queues
        .iter()
        .filter_map(|queue| differs(file, queue).transpose());
    differences.collect()
}

fn count(file: &Connection, sql: &str, of: impl rusqlite::Params) -> Result<u64> {
    let count: i64 = file.prepare_cached(sql)?.query_row(of, |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// What is in each queue, at one moment: also in queues of tasks that the topology
/// does not know. `now` tells in which queue of a delay something would be.
pub(super) fn depths(file: &Connection, topology: &Topology, now: i64) -> Result<Vec<Depth>> {
    let known = kept(topology, results(file, topology)?);
    let mut depths = Vec::new();
    for queue in known.into_iter().map(|queue| queue.name) {
        depths.push(depth(file, queue, now)?);
    }
    let mut others = file.prepare_cached("SELECT name FROM queue WHERE owner IS NULL")?;
    let others = others.query_map((), |row| row.get::<_, String>(0))?;
    for queue in others.collect::<Result<Vec<_>>>()? {
        let is_new = depths.iter().all(|depth| depth.queue != queue);
        if is_new && topology.namespace().owns(&queue) {
            depths.push(depth(file, queue, now)?);
        }
    }
    for (level, queue) in topology.delays().into_iter().enumerate() {
        let (from, to) = (now + (1_000 << level), now + (2_000 << level));
        let from = if level == 0 { now + 1 } else { from };
        let sql = "SELECT count(*) FROM delayed \
                   WHERE due_at >= ?1 AND due_at < ?2 AND dead_letters = ?3";
        depths.push(Depth {
            queue,
            ready: Some(count(file, sql, (from, to, topology.dead()))?),
            unacked: Some(0),
            consumers: Some(0),
        });
    }
    Ok(depths)
}

fn depth(file: &Connection, queue: String, now: i64) -> Result<Depth> {
    let id = found(file, &queue)?.map(|(id, ..)| id);
    let of = |sql| id.map(|id| count(file, sql, [id])).transpose();
    // What is due is moved once somebody takes it.
    let due = "SELECT count(*) FROM delayed WHERE due_at <= ?1 AND queue = ?2";
    let due = count(file, due, (now, &queue))?;
    Ok(Depth {
        ready: of("SELECT count(*) FROM waiting WHERE queue = ?1")?.map(|ready| ready + due),
        unacked: of("SELECT count(*) FROM lease WHERE queue = ?1")?,
        consumers: of("SELECT count(*) FROM consumer WHERE queue = ?1")?,
        queue,
    })
}

/// Deletes the queues of a topology, with what is in them.
pub(super) fn delete(file: &Connection, topology: &Topology) -> Result<()> {
    for queue in kept(topology, results(file, topology)?) {
        if let Some((id, ..)) = found(file, &queue.name)? {
            remove(file, id)?;
        }
    }
    let dead = topology.dead();
    file.execute(
        "DELETE FROM message WHERE id IN (SELECT message FROM delayed WHERE dead_letters = ?1)",
        [&dead],
    )?;
    file.execute("DELETE FROM delayed WHERE dead_letters = ?1", [&dead])?;
    file.execute(
        "DELETE FROM spread WHERE exchange = ?1",
        [topology.results()],
    )?;
    changed(file)
}

/// Takes all tasks out of the queues of a topology.
pub(super) fn take_tasks(file: &Connection, topology: &Topology) -> Result<Vec<Received>> {
    let mut all = Vec::new();
    for queue in topology.task_queues() {
        let name = topology.queue(queue);
        if let Some((id, ..)) = found(file, &name)? {
            all.append(&mut Messages(file).take_all(id, &name)?);
        }
    }
    Ok(all)
}

/// Removes one queue with what is in it.
fn remove(file: &Connection, queue: i64) -> Result<()> {
    for table in ["waiting", "lease"] {
        file.execute(
            &format!(
                "DELETE FROM message WHERE id IN (SELECT message FROM {table} WHERE queue = ?1)"
            ),
            [queue],
        )?;
        file.execute(&format!("DELETE FROM {table} WHERE queue = ?1"), [queue])?;
    }
    file.execute("DELETE FROM consumer WHERE queue = ?1", [queue])?;
    file.execute("DELETE FROM queue WHERE id = ?1", [queue])
        .map(drop)
}

/// Creates the inbox of a client.
pub(super) fn add_inbox(file: &Connection, name: &str, owner: i64) -> Result<i64> {
    let sql = "INSERT INTO queue (name, delivery_limit, owner) VALUES (?1, ?2, ?3)";
    let queue = file.prepare(sql)?.insert((name, NO_LIMIT, owner))?;
    changed(file)?;
    Ok(queue)
}

/// How many wait in a queue.
pub(super) fn waiting(file: &Connection, queue: i64) -> Result<u64> {
    count(
        file,
        "SELECT count(*) FROM waiting WHERE queue = ?1",
        [queue],
    )
}

/// Removes an inbox.
pub(super) fn remove_inbox(file: &Connection, name: &str) -> Result<()> {
    if let Some((id, ..)) = found(file, name)? {
        remove(file, id)?;
        changed(file)?;
    }
    Ok(())
}

/// Removes the inboxes of a client.
pub(super) fn remove_inboxes(file: &Connection, owner: i64) -> Result<()> {
    let mut owned = file.prepare_cached("SELECT id FROM queue WHERE owner = ?1")?;
    let owned = owned.query_map([owner], |row| row.get(0))?;
    for queue in owned.collect::<Result<Vec<i64>>>()? {
        remove(file, queue)?;
        changed(file)?;
    }
    Ok(())
}
