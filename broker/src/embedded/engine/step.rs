//! What is done in one transaction.

use std::collections::{BTreeMap, HashMap};

use homing_faults::{Point, crash_point};
use homing_protocol::topology::Topology;
use homing_protocol::{Death, Received};
use rusqlite::Connection;

use super::open::Opening;
use super::takers::carried;
use crate::consumer::Answer;
use crate::embedded::clients::{self, Load};
use crate::embedded::links::{Incoming, Key, Outlet, Reader};
use crate::embedded::messages::{BYTES_MAX, Messages, tasks_of};
use crate::embedded::queues::{self, Queues};

/// Until what is due and has no queue is tried again.
const UNDELIVERABLE_MS: i64 = 60_000;

/// What one transaction did, to be told once it is committed.
#[derive(Default)]
pub(super) struct Effects {
    /// Of each publish in turn: where it went.
    pub(super) published: Vec<Way>,
    pub(super) delivered: Vec<(Key, i64, Box<Received>)>,
    pub(super) loads: Vec<(Key, Load)>,
    pub(super) opened: Vec<Result<(i64, i64), ()>>,
    /// Of queues into which something came, whether nothing waits there now and only
    /// this process takes from them.
    pub(super) ours: Vec<(i64, bool)>,
    /// The queues into which something came that others may take.
    pub(super) filled: Vec<i64>,
    pub(super) ports: Vec<u16>,
    pub(super) next_due: Option<i64>,
    pub(super) dead: Vec<String>,
    /// The number of this process, if it has another now.
    pub(super) client: Option<i64>,
    /// Readers that begin anew, with the numbers of their queue and of theirs, if
    /// that queue is there: it went or came again, or this process was taken for
    /// dead.
    pub(super) moved: Vec<(Key, Option<(i64, i64)>)>,
    /// Whether nothing was done, because this process is to begin anew.
    pub(super) is_none: bool,
    /// Whether more waits for whoever got something.
    pub(super) more: bool,
}

/// Where a message went.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Kept,
    Leased(Key, i64),
    /// To the reader who had it ahead by this tag.
    LeasedAhead(Key, i64, i64),
    None,
}

/// What is done in one transaction.
pub(super) struct Step<'a> {
    pub(super) now: i64,
    pub(super) topology: &'a Topology,
    pub(super) queues: &'a mut Queues,
    pub(super) client: Option<i64>,
    /// Whether it may be written down.
    pub(super) begins: bool,
    pub(super) life: Option<&'a str>,
    pub(super) port: Option<u16>,
    pub(super) readers: &'a BTreeMap<Key, Reader>,
    pub(super) incoming: &'a [Incoming],
    pub(super) answers: &'a [(Key, i64, Answer)],
    pub(super) opening: &'a [Opening],
    pub(super) effects: Effects,
}

impl Step<'_> {
    pub(super) fn run(mut self, file: &Connection, dead: &[i64]) -> rusqlite::Result<Effects> {
        let messages = Messages(file);
        self.queues.refresh(file)?;
        if !self.stand(file)? {
            self.effects.is_none = true;
            return Ok(self.effects);
        }
        if self.effects.client.is_none() {
            self.follow(file)?;
        }
        for client in dead {
            self.strike(file, *client)?;
        }
        // An inbox may have come, and others gone.
        self.queues.refresh(file)?;
        for (key, message, answer) in self.answers {
            self.answer(messages, *key, *message, *answer)?;
        }
        self.publish(messages)?;
        self.due(messages)?;
        self.open(file)?;
        // Whoever begins anew does so before it takes anything.
        if self.effects.moved.is_empty() {
            self.lease(messages)?;
        }
        self.effects.next_due = messages.next_due()?;
        let client = self.client.unwrap_or(0);
        // Also where nothing was published: what came back, or was due, may wait.
        let filled = self.effects.filled.iter().map(|queue| (*queue, false));
        self.effects.ours.extend(filled);
        for queue in std::mem::take(&mut self.effects.filled) {
            clients::ports(file, queue, client, &mut self.effects.ports)?;
        }
        Ok(self.effects)
    }

    /// Writes this process down, and its readers, unless it is. Answers whether it is
    /// then: not under the name of a life that others have buried.
    fn stand(&mut self, file: &Connection) -> rusqlite::Result<bool> {
        if let Some(client) = self.client
            && clients::is_there(file, client)?
        {
            return Ok(true);
        }
        if !self.begins {
            return Ok(false);
        }
        let client = clients::register(file, self.life.unwrap_or_default(), self.port)?;
        for reader in self.readers.values() {
            let queue = match reader.is_inbox() {
                true => Some(queues::add_inbox(file, &reader.queue_name, client)?),
                false => self.queues.named(&reader.queue_name),
            };
            let subscribe = |queue| Ok((queue, clients::subscribe(file, client, queue)?));
            let consumer: rusqlite::Result<Option<_>> = queue.map(subscribe).transpose();
            self.effects.moved.push((reader.key, consumer?));
        }
        self.client = Some(client);
        self.effects.client = Some(client);
        Ok(true)
    }

    /// Looks for readers whose queue is not there any more, or is there again.
    fn follow(&mut self, file: &Connection) -> rusqlite::Result<()> {
        for reader in self.readers.values().filter(|reader| !reader.is_inbox()) {
            let moved = match self.queues.named(&reader.queue_name) {
                Some(queue) if queue == reader.queue && !reader.gone => continue,
                None if reader.gone => continue,
                Some(queue) => {
                    let client = self.client.unwrap_or(0);
                    Some((queue, clients::subscribe(file, client, queue)?))
                }
                None => None,
            };
            self.effects.moved.push((reader.key, moved));
        }
        Ok(())
    }

    /// Strikes out a client that is dead, unless another process has.
    fn strike(&mut self, file: &Connection, client: i64) -> rusqlite::Result<()> {
        if !clients::is_there(file, client)? {
            return Ok(());
        }
        let (life, held) = clients::strike(file, client)?;
        self.effects.dead.push(life);
        for (message, queue) in held {
            self.give_back(Messages(file), message, queue, 1)?;
        }
        Ok(())
    }

    fn answer(
        &mut self,
        messages: Messages<'_>,
        key: Key,
        message: i64,
        answer: Answer,
    ) -> rusqlite::Result<()> {
        let Some(reader) = self.readers.get(&key) else {
            return Ok(());
        };
        if answer == Answer::Ack {
            crash_point(Point::LinkBeforeAck);
        }
        match (messages.release(message, reader.consumer)?, answer) {
            // It is not held here any more.
            (None, _) => Ok(()),
            (Some(_), Answer::Ack) => messages.remove(message),
            (Some(queue), Answer::Requeue) => self.give_back(messages, message, queue, 0),
        }
    }

    /// Puts a message back in its place; or, where whoever held it `died` once too
    /// often, among the dead letters.
    fn give_back(
        &mut self,
        messages: Messages<'_>,
        message: i64,
        queue: i64,
        died: i64,
    ) -> rusqlite::Result<()> {
        let Some(returns) = messages.returned(message, died)? else {
            return Ok(());
        };
        let known = self.queues.get(queue);
        let beyond = known.filter(|known| returns > known.delivery_limit);
        let dead = beyond.and_then(|known| {
            let exchange = known.dead_letters.clone()?;
            Some((self.queues.named(&exchange)?, exchange, known.name.clone()))
        });
        let Some((dead, exchange, name)) = dead else {
            return self.fill(messages, message, queue);
        };
        messages.died(message, &exchange, self.death("delivery_limit", name))?;
        self.fill(messages, message, dead)
    }

    pub(super) fn death(&self, reason: &str, queue: String) -> Death {
        Death {
            reason: reason.to_owned(),
            queue,
            count: 1,
            time: u64::try_from(self.now / 1_000).ok(),
        }
    }

    pub(super) fn fill(
        &mut self,
        messages: Messages<'_>,
        message: i64,
        queue: i64,
    ) -> rusqlite::Result<()> {
        messages.wait(message, queue)?;
        self.filled(queue);
        Ok(())
    }

    pub(super) fn filled(&mut self, queue: i64) {
        if !self.effects.filled.contains(&queue) {
            self.effects.filled.push(queue);
        }
    }

    /// Moves what is due to where it was meant for; or to the dead letters, if that
    /// is not there.
    fn due(&mut self, messages: Messages<'_>) -> rusqlite::Result<()> {
        for (message, name, dead) in messages.due(self.now)? {
            let queue = self.queues.named(&name);
            match queue.or_else(|| self.queues.named(&dead)) {
                Some(queue) => self.fill(messages, message, queue)?,
                // Nothing is thrown away: until somebody applies the topology.
                None => messages.delay(message, self.now + UNDELIVERABLE_MS, &name, &dead)?,
            }
        }
        Ok(())
    }

    fn open(&mut self, file: &Connection) -> rusqlite::Result<()> {
        let client = self.client.unwrap_or(0);
        for opening in self.opening {
            let queue = match opening.outlet {
                Outlet::Inbox(_) => Some(queues::add_inbox(file, &opening.queue, client)?),
                _ => self.queues.named(&opening.queue),
            };
            let opened = match queue {
                Some(queue) => Ok((queue, clients::subscribe(file, client, queue)?)),
                None => Err(()),
            };
            self.effects.opened.push(opened);
        }
        Ok(())
    }

    /// Leases what waits to those who have room.
    fn lease(&mut self, messages: Messages<'_>) -> rusqlite::Result<()> {
        let mut taken = HashMap::<Key, u32>::new();
        for (way, incoming) in self.effects.published.iter().zip(self.incoming) {
            if let Way::Leased(key, _) = way {
                let tasks = carried(&incoming.request.message);
                *taken.entry(*key).or_default() += tasks;
            }
        }
        for reader in self.readers.values() {
            let mut taken = taken.get(&reader.key).copied().unwrap_or(0);
            let room = reader.room().saturating_sub(taken);
            let room = self.share(messages, reader, room, taken)?;
            let found = match room {
                0 => Vec::new(),
                room => messages.oldest(reader.queue, room)?,
            };
            let bytes: usize = found.iter().map(|(_, received)| received.body.len()).sum();
            self.effects.more |= bytes >= BYTES_MAX;
            if let Some((last, _)) = found.last() {
                messages.take(reader.queue, *last)?;
            }
            for (message, received) in found {
                match reader.is_inbox() {
                    true => messages.remove(message)?,
                    false => messages.lease(message, reader.queue, reader.consumer)?,
                }
                taken += tasks_of(&received);
                self.effects.delivered.push((reader.key, message, received));
            }
            let (prefetch, held) = reader.load();
            let load = (prefetch, held + taken);
            if load != reader.written {
                clients::load(messages.0, reader.consumer, load)?;
                self.effects.loads.push((reader.key, load));
            }
        }
        Ok(())
    }

    /// How many of `room` tasks a reader takes so that it holds no more than others
    /// who have room as well.
    fn share(
        &self,
        messages: Messages<'_>,
        reader: &Reader,
        room: u32,
        taken: u32,
    ) -> rusqlite::Result<u32> {
        let (prefetch, held) = reader.load();
        if room == 0 || prefetch == 0 {
            return Ok(room);
        }
        let others = clients::loads(messages.0, reader.queue, reader.consumer)?;
        if others.is_empty() {
            return Ok(room);
        }
        let free = others.iter().map(|(prefetch, held)| prefetch - held);
        let waiting = messages.count(reader.queue, room.saturating_add(free.sum()))?;
        let mine = held + taken;
        let all = mine + waiting + others.iter().map(|(_, held)| held).sum::<u32>();
        let fair = all.div_ceil(
            u32::try_from(others.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1),
        );
        Ok(room.min(fair.saturating_sub(mine)))
    }
}
