//! Hands out messages before they are in the file, to readers of this process.
//!
//! Whoever gets one can lose nothing by it: it is confirmed once it is on disk, and so
//! is what takes its place, which is written later into the same file. Should this
//! process die before, its publisher was told nothing; should it not be written, it
//! stays with those that wait to be, and an answer to it is kept there.

use homing_protocol::Received;

use super::Engine;
use crate::consumer::Answer;
use crate::embedded::links::{Ahead, Incoming, Key, Outlet, Reader};

/// With more that come together, none waits for the transaction of another.
const TOGETHER_MAX: usize = 4;

impl Engine {
    /// Hands out what just came, where a reader has room and nothing waits before it.
    pub(super) fn hand_out_ahead(&mut self) {
        if self.failing || self.incoming.len() > TOGETHER_MAX {
            return;
        }
        for at in 0..self.incoming.len() {
            if self.incoming[at].ahead == Ahead::No {
                self.incoming[at].ahead = self.ahead(at);
            }
        }
    }

    fn ahead(&mut self, at: usize) -> Ahead {
        let message = &self.incoming[at].request.message;
        let (exchange, routing_key) = self.topology.route(&message.destination);
        let route = (&*exchange, &*routing_key);
        let queue = self
            .queues
            .lead(&self.topology, &message.destination, route);
        let queue = queue.filter(|queue| self.ours.contains(queue));
        let key = queue.and_then(|queue| with_room(self.readers.values(), queue));
        let Some(reader) = key.and_then(|key| self.readers.get_mut(&key)) else {
            return Ahead::No;
        };
        let received = Box::new(Received {
            properties: message.properties.clone(),
            body: message.body.clone(),
            exchange,
            routing_key,
            redelivered: false,
            delivery_count: 0,
            deaths: Vec::new(),
        });
        self.next_tag -= 1;
        reader.deliver(self.next_tag, received);
        match reader.is_inbox() {
            // A reply is nobody's once it is here.
            true => Ahead::Done,
            false => Ahead::To(reader.key, self.next_tag),
        }
    }
}

/// The reader of a queue with the most room, so that they share.
fn with_room<'a>(readers: impl Iterator<Item = &'a Reader>, queue: i64) -> Option<Key> {
    let readers = readers
        .filter(|reader| reader.queue == queue && !matches!(reader.outlet, Outlet::Puller { .. }));
    let readers = readers.filter(|reader| reader.room() > 0);
    readers
        .max_by_key(|reader| reader.room())
        .map(|reader| reader.key)
}

/// Takes note of an answer to what was handed out as `tag` and is not in the file yet.
/// Without its publisher, who was told that it may be lost, it is nowhere.
pub(super) fn answered_ahead(incoming: &mut [Incoming], tag: i64, answer: Answer) {
    let handed = |ahead| matches!(ahead, Ahead::To(_, handed) if handed == tag);
    if let Some(incoming) = incoming.iter_mut().find(|incoming| handed(incoming.ahead)) {
        incoming.ahead = match answer {
            Answer::Ack => Ahead::Done,
            Answer::Requeue => Ahead::Returned,
        };
    }
}
