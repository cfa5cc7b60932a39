//! Who of this process takes what is published to a queue, without it having to
//! wait there.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use homing_protocol::Message;

use crate::embedded::clients;
use crate::embedded::links::{Key, Outlet, Reader};
use crate::embedded::messages::Messages;

/// How many tasks a message carries, as prefetches count them.
pub(super) fn carried(message: &Message) -> u32 {
    u32::try_from(message.properties.tasks()).unwrap_or(u32::MAX)
}

/// The readers of this process that may take what comes.
pub(super) struct Takers<'a> {
    readers: &'a BTreeMap<Key, Reader>,
    by_queue: HashMap<i64, Found>,
    client: i64,
}

/// What is found at a queue.
struct Found {
    /// Whether nothing waits there, and nobody else takes from it.
    is_ours: bool,
    /// Those who have room then, with it.
    with_room: Vec<(Key, u32)>,
}

impl<'a> Takers<'a> {
    pub(super) fn new(readers: &'a BTreeMap<Key, Reader>, client: i64) -> Self {
        Self {
            readers,
            by_queue: HashMap::new(),
            client,
        }
    }

    /// Looks at a queue, which [`ours`](Self::ours) tells of then.
    pub(super) fn look(&mut self, messages: Messages<'_>, queue: i64) -> rusqlite::Result<()> {
        self.found(messages, queue).map(drop)
    }

    /// Of each queue that was looked at, whether it is this process's own.
    pub(super) fn ours(self) -> Vec<(i64, bool)> {
        let queues = self.by_queue.into_iter();
        queues
            .map(|(queue, found)| (queue, found.is_ours))
            .collect()
    }

    fn found(&mut self, messages: Messages<'_>, queue: i64) -> rusqlite::Result<&mut Found> {
        match self.by_queue.entry(queue) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let shared = || clients::others_take(messages.0, queue, self.client);
                let is_ours = !(messages.any(queue)? || shared()?);
                let with_room = match is_ours {
                    true => with_room(self.readers, queue).collect(),
                    false => Vec::new(),
                };
                Ok(unknown.insert(Found { is_ours, with_room }))
            }
        }
    }

    /// Somebody with room for a message, if none waits before it.
    pub(super) fn next(
        &mut self,
        messages: Messages<'_>,
        queue: i64,
        message: &Message,
    ) -> rusqlite::Result<Option<&'a Reader>> {
        let takers = &mut self.found(messages, queue)?.with_room;
        // The one with the most room, so that they share.
        let Some((key, room)) = takers.iter_mut().max_by_key(|(_, room)| *room) else {
            return Ok(None);
        };
        *room = room.saturating_sub(carried(message));
        let key = *key;
        takers.retain(|(_, room)| *room > 0);
        Ok(self.readers.get(&key))
    }
}

/// The readers that may take from a queue, each with the room it has.
pub(super) fn with_room(
    readers: &BTreeMap<Key, Reader>,
    queue: i64,
) -> impl Iterator<Item = (Key, u32)> {
    let takers = readers.values().filter(move |reader| {
        reader.queue == queue && !matches!(reader.outlet, Outlet::Puller { .. })
    });
    let takers = takers.map(|reader| (reader.key, reader.room()));
    takers.filter(|(_, room)| *room > 0)
}
