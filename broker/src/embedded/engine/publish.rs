//! Writes what was published, and leases it at once where somebody here has room.

use std::collections::BTreeMap;

use homing_faults::{Point, crash_point};
use homing_protocol::{Death, Destination, Message};

use super::step::{Step, Way};
use super::takers::Takers;
use crate::embedded::links::{Ahead, Incoming, Reader};
use crate::embedded::messages::{Head, Messages};

impl Step<'_> {
    pub(super) fn publish(&mut self, messages: Messages<'_>) -> rusqlite::Result<()> {
        // As for leases.
        let none = BTreeMap::new();
        let readers = match self.effects.moved.is_empty() {
            true => self.readers,
            false => &none,
        };
        let mut takers = Takers::new(readers, self.client.unwrap_or(0));
        for incoming in self.incoming {
            crash_point(Point::LinkBeforeWrite);
            let way = self.way(messages, &mut takers, incoming)?;
            self.effects.published.push(way);
        }
        self.effects.ours = takers.ours();
        Ok(())
    }

    /// Puts a message where it is to go.
    fn way(
        &mut self,
        messages: Messages<'_>,
        takers: &mut Takers<'_>,
        incoming: &Incoming,
    ) -> rusqlite::Result<Way> {
        if incoming.ahead == Ahead::Done {
            return Ok(Way::Kept);
        }
        let message = &incoming.request.message;
        let (exchange, routing_key) = self.topology.route(&message.destination);
        if let Destination::Delayed { queue, secs } = &message.destination {
            let (queue, dead) = (self.topology.queue(queue), self.topology.dead());
            if self.queues.named(&dead).is_none() {
                return Ok(Way::None);
            }
            let deaths = vec![self.death("expired", exchange)];
            let id = self.add(messages, message, self.topology.due(), routing_key, deaths)?;
            let due_at = self.now + i64::from(*secs) * 1_000;
            messages.delay(id, due_at, &queue, &dead)?;
            if let Some(queue) = self.queues.named(&queue) {
                // Whoever takes from it waits for when it is due.
                self.filled(queue);
            }
            return Ok(Way::Kept);
        }
        let route = (&*exchange, &*routing_key);
        let leads = self.queues.lead(self.topology, &message.destination, route);
        let Some(queue) = leads else {
            return Ok(Way::None);
        };
        if incoming.ahead == Ahead::Returned {
            let id = self.add(messages, message, exchange, routing_key, Vec::new())?;
            messages.returned(id, 0)?;
            self.fill(messages, id, queue)?;
            return Ok(Way::Kept);
        }
        if let Some((reader, tag)) = self.had_ahead(incoming.ahead) {
            takers.look(messages, queue)?;
            let id = self.add(messages, message, exchange, routing_key, Vec::new())?;
            messages.lease(id, reader.queue, reader.consumer)?;
            return Ok(Way::LeasedAhead(reader.key, tag, id));
        }
        let taker = takers.next(messages, queue, message)?;
        if let Some(reader) = taker.filter(|reader| reader.is_inbox()) {
            // A reply is nobody's once it is here.
            return Ok(Way::Leased(reader.key, 0));
        }
        let id = self.add(messages, message, exchange, routing_key, Vec::new())?;
        let Some(reader) = taker else {
            self.fill(messages, id, queue)?;
            return Ok(Way::Kept);
        };
        messages.lease(id, queue, reader.consumer)?;
        Ok(Way::Leased(reader.key, id))
    }

    /// Who had a message ahead, and by which tag, unless that reader begins anew.
    fn had_ahead(&self, ahead: Ahead) -> Option<(&Reader, i64)> {
        let Ahead::To(key, tag) = ahead else {
            return None;
        };
        let moved = self.effects.moved.iter().any(|(moved, _)| *moved == key);
        let reader = self
            .readers
            .get(&key)
            .filter(|reader| !reader.gone && !moved)?;
        Some((reader, tag))
    }

    fn add(
        &self,
        messages: Messages<'_>,
        message: &Message,
        exchange: String,
        routing_key: String,
        deaths: Vec<Death>,
    ) -> rusqlite::Result<i64> {
        let head = Head {
            properties: &message.properties,
            exchange,
            routing_key,
            deaths,
        };
        messages.add(&head.encode(), &message.body)
    }
}
