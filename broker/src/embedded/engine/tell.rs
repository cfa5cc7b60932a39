//! Says what was committed.

use std::time::Duration;

use homing_faults::{Point, crash_point};

use super::Engine;
use super::step::{Effects, Way};
use crate::embedded::disk::Waiting;
use crate::embedded::links::{Ahead, Incoming, Key, Outlet};
use crate::embedded::{messages, queues};
use crate::error::PublishError;
use crate::publisher::Request;
use crate::puller::Ask;

impl Engine {
    /// Tells everybody who waits for it.
    pub(super) fn tell(&mut self, effects: Effects) {
        if !self.answers.is_empty() {
            crash_point(Point::LinkAcked);
        }
        self.answers.clear();
        self.more = effects.more;
        self.look |= effects.more;
        self.next_due = effects.next_due;
        for (queue, is_ours) in effects.ours {
            match is_ours {
                true => self.ours.insert(queue),
                false => self.ours.remove(&queue),
            };
        }
        self.client = effects.client.or(self.client);
        for (key, moved) in effects.moved {
            self.moved(key, moved);
        }
        if let Some(bell) = &self.bell {
            bell.ring(&effects.ports);
        }
        if let Some(life) = &self.life {
            effects.dead.iter().for_each(|dead| life.bury(dead));
        }
        let opening = std::mem::take(&mut self.opening);
        for (opening, opened) in opening.into_iter().zip(effects.opened) {
            self.opened(opening, opened);
        }
        if !self.incoming.is_empty() {
            crash_point(Point::LinkWritten);
        }
        let incoming = std::mem::take(&mut self.incoming);
        let mut confirmed = Vec::with_capacity(incoming.len());
        for (incoming, way) in incoming.into_iter().zip(effects.published) {
            self.published(incoming, way, &mut confirmed);
        }
        self.disk.confirm(confirmed);
        for (key, load) in effects.loads {
            if let Some(reader) = self.readers.get_mut(&key) {
                reader.written = load;
            }
        }
        for (key, message, received) in effects.delivered {
            if let Some(reader) = self.readers.get_mut(&key) {
                reader.deliver(message, received);
            }
        }
        let keys: Vec<_> = self.readers.keys().copied().collect();
        for key in keys {
            self.tell_waiting(key);
        }
    }

    fn moved(&mut self, key: Key, moved: Option<(i64, i64)>) {
        let Some(reader) = self.readers.get_mut(&key) else {
            return;
        };
        self.look = true;
        let was_gone = std::mem::replace(&mut reader.gone, moved.is_none());
        let (queue, consumer) = moved.unwrap_or_default();
        reader.lost(queue, consumer);
        let (place, name) = (&self.place, &reader.queue_name);
        match (was_gone, reader.gone) {
            (false, true) => tracing::warn!("waiting for {place}: the queue is gone: {name}"),
            (true, false) => tracing::info!("queue {name} is there again at {place}"),
            _ => {}
        }
    }

    fn published(&mut self, incoming: Incoming, way: Way, confirmed: &mut Vec<Waiting>) {
        let Incoming {
            request,
            ahead,
            _running,
            ..
        } = incoming;
        let Request {
            message,
            confirm,
            room,
            ..
        } = request;
        let (exchange, routing_key) = match way {
            Way::Kept | Way::LeasedAhead(..) => (String::new(), String::new()),
            Way::Leased(..) | Way::None => self.topology.route(&message.destination),
        };
        match way {
            Way::None if ahead != Ahead::No => {
                // Its queue went just now: whoever had it ahead may have begun it.
                drop(room);
                let waited = Duration::ZERO;
                let _gone = confirm.send(Err(PublishError::Unconfirmed { waited }));
                return;
            }
            Way::None => {
                drop(room);
                let error = PublishError::Unroutable {
                    exchange,
                    routing_key,
                };
                let _gone = confirm.send(Err(error));
                return;
            }
            Way::Kept => {}
            Way::LeasedAhead(key, tag, id) => {
                if let Some(reader) = self.readers.get_mut(&key) {
                    reader.keep(tag, id);
                }
            }
            Way::Leased(key, id) => {
                let received = messages::published(message, exchange, routing_key);
                if let Some(reader) = self.readers.get_mut(&key) {
                    reader.deliver(id, received);
                }
            }
        }
        confirmed.push((confirm, room, _running));
    }

    /// Answers a puller that asks how many wait, or for one where there is none.
    fn tell_waiting(&mut self, key: Key) {
        let Some(reader) = self.readers.get_mut(&key) else {
            return;
        };
        reader.tell();
        if !reader.holds_none() {
            return;
        }
        let queue = reader.queue;
        let Outlet::Puller { asks, .. } = &mut reader.outlet else {
            return;
        };
        for ask in asks.drain(..) {
            match ask {
                // There was none: the one who asks hears that.
                Ask::Pull(answer) => drop(answer),
                Ask::Waiting(answer) => {
                    if let Ok(count) = queues::waiting(self.file.read(), queue) {
                        let _gone = answer.send(count);
                    }
                }
            }
        }
    }
}
