//! What is done with messages in the file, inside a transaction.

use homing_protocol::{Death, Message, Properties, Received};
use rusqlite::{Connection, OptionalExtension as _, Result, Row};
use serde::{Deserialize, Serialize};

/// Bodies that are read at a time.
pub(super) const BYTES_MAX: usize = 8 << 20;

/// All of a message but its body and what changes.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Head<P = Properties> {
    pub(super) properties: P,
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) deaths: Vec<Death>,
}

impl Head {
    fn decode(bytes: &[u8]) -> Self {
        // Nobody else writes heads: what cannot be read was damaged, and ends as a
        // dead letter with its body.
        rmp_serde::from_slice(bytes).unwrap_or_else(|error| {
            tracing::error!(%error, "the head of a message is damaged");
            Self {
                properties: Properties::default(),
                exchange: String::new(),
                routing_key: String::new(),
                deaths: Vec::new(),
            }
        })
    }
}

impl<P: Serialize> Head<P> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        rmp_serde::encode::write(&mut bytes, self).expect("a head can always be written");
        bytes
    }
}

/// A message and its id.
pub(super) type Found = (i64, Box<Received>);

/// How many tasks a message carries, as prefetches count them.
pub(super) fn tasks_of(received: &Received) -> u32 {
    u32::try_from(received.tasks()).unwrap_or(u32::MAX)
}

/// A message as whoever gets it first has it.
pub(super) fn published(message: Message, exchange: String, routing_key: String) -> Box<Received> {
    Box::new(Received {
        properties: message.properties,
        body: message.body,
        exchange,
        routing_key,
        redelivered: false,
        delivery_count: 0,
        deaths: Vec::new(),
    })
}

fn received(row: &Row<'_>) -> Result<Found> {
    let head = Head::decode(row.get_ref(2)?.as_blob()?);
    let returns: Option<u32> = row.get(1)?;
    let message = Received {
        properties: head.properties,
        body: row.get_ref(3)?.as_blob()?.to_vec().into(),
        exchange: head.exchange,
        routing_key: head.routing_key,
        redelivered: returns.is_some(),
        delivery_count: returns.unwrap_or(0),
        deaths: head.deaths,
    };
    Ok((row.get(0)?, Box::new(message)))
}

/// The messages of a file, in a transaction of it.
#[derive(Clone, Copy)]
pub(super) struct Messages<'a>(pub(super) &'a Connection);

impl Messages<'_> {
    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.0.prepare_cached(sql)?.execute(values)
    }

    /// A new message, which is nowhere yet.
    pub(super) fn add(&self, head: &[u8], body: &[u8]) -> Result<i64> {
        let sql = "INSERT INTO message (head, body) VALUES (?1, ?2)";
        self.0.prepare_cached(sql)?.insert((head, body))
    }

    /// Puts it into a queue.
    pub(super) fn wait(&self, message: i64, queue: i64) -> Result<()> {
        let sql = "INSERT INTO waiting (queue, message) VALUES (?1, ?2)";
        self.run(sql, (queue, message)).map(drop)
    }

    /// Puts it where it waits until it is due for the queue of this name, or else
    /// for that of dead letters.
    pub(super) fn delay(&self, message: i64, due_at: i64, queue: &str, dead: &str) -> Result<()> {
        let sql = "INSERT INTO delayed (due_at, message, queue, dead_letters) \
                   VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, (due_at, message, queue, dead)).map(drop)
    }

    /// Leases it to a consumer.
    pub(super) fn lease(&self, message: i64, queue: i64, consumer: i64) -> Result<()> {
        let sql = "INSERT INTO lease (message, queue, consumer) VALUES (?1, ?2, ?3)";
        self.run(sql, (message, queue, consumer)).map(drop)
    }

    /// The oldest of a queue, until they carry so many tasks.
    pub(super) fn oldest(&self, queue: i64, tasks: u32) -> Result<Vec<Found>> {
        let sql = "SELECT m.id, m.returns, m.head, m.body FROM waiting w \
                   JOIN message m ON m.id = w.message WHERE w.queue = ?1 ORDER BY w.message";
        let mut statement = self.0.prepare_cached(sql)?;
        let (mut all, mut carried, mut bytes) = (Vec::new(), 0, 0);
        for found in statement.query_map([queue], received)? {
            let (message, received) = found?;
            carried += tasks_of(&received);
            bytes += received.body.len();
            all.push((message, received));
            if carried >= tasks || bytes >= BYTES_MAX {
                break;
            }
        }
        Ok(all)
    }

    /// Removes all of a queue and what is delayed for it. Answers with them, in the
    /// order in which they came.
    pub(super) fn take_all(&self, queue: i64, name: &str) -> Result<Vec<Received>> {
        let sql = "DELETE FROM message WHERE id IN (SELECT message FROM waiting WHERE queue = ?1) \
                   OR id IN (SELECT message FROM delayed WHERE queue = ?2) \
                   RETURNING id, returns, head, body";
        let mut statement = self.0.prepare_cached(sql)?;
        let found = statement.query_map((queue, name), received)?;
        let mut found = found.collect::<Result<Vec<_>>>()?;
        self.run("DELETE FROM waiting WHERE queue = ?1", [queue])?;
        self.run("DELETE FROM delayed WHERE queue = ?1", [name])?;
        found.sort_by_key(|(message, _)| *message);
        Ok(found.into_iter().map(|(_, received)| *received).collect())
    }

    /// Takes the messages up to `last` out of a queue.
    pub(super) fn take(&self, queue: i64, last: i64) -> Result<()> {
        let sql = "DELETE FROM waiting WHERE queue = ?1 AND message <= ?2";
        self.run(sql, (queue, last)).map(drop)
    }

    /// How many wait in a queue, at most `max`.
    pub(super) fn count(&self, queue: i64, max: u32) -> Result<u32> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM waiting WHERE queue = ?1 LIMIT ?2)";
        let mut statement = self.0.prepare_cached(sql)?;
        statement.query_row((queue, max), |row| row.get(0))
    }

    /// Whether any waits in a queue.
    pub(super) fn any(&self, queue: i64) -> Result<bool> {
        let sql = "SELECT 1 FROM waiting WHERE queue = ?1 LIMIT 1";
        self.0.prepare_cached(sql)?.exists([queue])
    }

    /// Ends the lease of a consumer. Answers with the queue, if there was one.
    pub(super) fn release(&self, message: i64, consumer: i64) -> Result<Option<i64>> {
        let sql = "DELETE FROM lease WHERE message = ?1 AND consumer = ?2 RETURNING queue";
        let mut statement = self.0.prepare_cached(sql)?;
        let queue = statement.query_row((message, consumer), |row| row.get(0));
        queue.optional()
    }

    /// Ends the leases of all consumers of a client. Answers with the messages and
    /// their queues.
    pub(super) fn release_all(&self, client: i64) -> Result<Vec<(i64, i64)>> {
        let sql = "DELETE FROM lease WHERE consumer IN (SELECT id FROM consumer \
                   WHERE client = ?1) RETURNING message, queue";
        let mut statement = self.0.prepare_cached(sql)?;
        let held = statement.query_map([client], |row| Ok((row.get(0)?, row.get(1)?)))?;
        held.collect()
    }

    /// Removes it.
    pub(super) fn remove(&self, message: i64) -> Result<()> {
        self.run("DELETE FROM message WHERE id = ?1", [message])
            .map(drop)
    }

    /// Counts so many returns. Answers how many there were, if the message is there.
    pub(super) fn returned(&self, message: i64, more: i64) -> Result<Option<i64>> {
        let sql = "UPDATE message SET returns = ifnull(returns, 0) + ?2 WHERE id = ?1 \
                   RETURNING returns";
        let mut statement = self.0.prepare_cached(sql)?;
        let returns = statement.query_row((message, more), |row| row.get(0));
        returns.optional()
    }

    /// Writes down that it died, after which it begins anew.
    pub(super) fn died(&self, message: i64, exchange: &str, death: Death) -> Result<()> {
        let sql = "SELECT head FROM message WHERE id = ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        let mut head = statement.query_row([message], |row| {
            Ok(Head::decode(row.get_ref(0)?.as_blob()?))
        })?;
        exchange.clone_into(&mut head.exchange);
        head.deaths.insert(0, death);
        let sql = "UPDATE message SET returns = NULL, head = ?2 WHERE id = ?1";
        self.run(sql, (message, head.encode())).map(drop)
    }

    /// Takes the messages that are due at `now` from where they waited: with the
    /// names of their queues, and of those of dead letters.
    pub(super) fn due(&self, now: i64) -> Result<Vec<(i64, String, String)>> {
        let sql = "DELETE FROM delayed WHERE due_at <= ?1 RETURNING message, queue, dead_letters";
        let mut statement = self.0.prepare_cached(sql)?;
        let due = statement.query_map([now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        due.collect()
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Result<Option<i64>> {
        let sql = "SELECT min(due_at) FROM delayed";
        let mut statement = self.0.prepare_cached(sql)?;
        statement.query_row((), |row| row.get(0))
    }
}
