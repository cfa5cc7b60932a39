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
    /// By queue: whether nothing waits there, and those who have room, with it.
    by_queue: HashMap<i64, Vec<(Key, u32)>>,
    client: i64,
}

impl<'a> Takers<'a> {
    pub(super) fn new(readers: &'a BTreeMap<Key, Reader>, client: i64) -> Self {
        Self {
            readers,
            by_queue: HashMap::new(),
            client,
        }
    }

    /// Somebody with room for a message, if none waits before it.
    pub(super) fn next(
        &mut self,
        messages: Messages<'_>,
        queue: i64,
        message: &Message,
    ) -> rusqlite::Result<Option<&'a Reader>> {
        let takers = match self.by_queue.entry(queue) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let shared = || clients::others_take(messages.0, queue, self.client);
                let takers = match messages.any(queue)? || shared()? {
                    true => Vec::new(),
                    false => takers(self.readers, queue),
                };
                unknown.insert(takers)
            }
        };
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

fn takers(readers: &BTreeMap<Key, Reader>, queue: i64) -> Vec<(Key, u32)> {
    let takers = readers
        .values()
        .filter(|reader| reader.queue == queue && !matches!(reader.outlet, Outlet::Puller { .. }));
    let takers = takers.map(|reader| (reader.key, reader.room()));
    takers.filter(|(_, room)| *room > 0).collect()
}
