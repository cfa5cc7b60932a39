//! Hands out messages before they are in the file, to readers of this process.
//!
//! Whoever gets one can lose nothing by it: it is confirmed once it is on disk. What
//! takes its place goes into the same file behind it, or, if it is an outcome, into the
//! store, after which nobody needs the message. Should this process die before, its
//! publisher was told nothing; should it not be written, it stays with those that wait
//! to be, and an answer to it is kept there.

use super::Engine;
use super::takers::with_room;
use crate::consumer::Answer;
use crate::embedded::links::{Ahead, Incoming};
use crate::embedded::messages::published;

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
        // The one with the most room, so that they share.
        let roomiest = |queue| with_room(&self.readers, queue).max_by_key(|(_, room)| *room);
        let taker = queue.and_then(roomiest);
        let Some(reader) = taker.and_then(|(key, _)| self.readers.get_mut(&key)) else {
            return Ahead::No;
        };
        let received = published(message.clone(), exchange, routing_key);
        self.next_tag -= 1;
        reader.deliver(self.next_tag, received);
        match reader.is_inbox() {
            // A reply is nobody's once it is here.
            true => Ahead::Done,
            false => Ahead::To(reader.key, self.next_tag),
        }
    }
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
