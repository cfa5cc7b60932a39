//! A model of RabbitMQ, as far as delivery depends on it.
//!
//! Quorum queues: a message is in its queue once it is committed, and confirmed
//! some time after that. A broker that dies keeps what is committed; of what was
//! written to it and is not, some is there afterwards. What was delivered and
//! not acked goes back to the front, counted.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use homing_protocol::Reason;
use homing_protocol::topology::SUSPECT_DELIVERY_LIMIT;

use crate::acks::Frame;
use crate::agenda::{MS, Micros, SECOND};
use crate::links::Request;
use crate::message::{Message, Place, To};
use crate::world::{Event, World};

pub(crate) type ConnectionId = usize;

/// How the versions of RabbitMQ differ here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    /// 3.10 and 4.0: every return counts.
    Old,
    /// 4.3: a `basic.nack` does not count, all else does.
    New,
}

/// Whose link a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Who {
    Producer(usize),
    Worker(usize),
    Collector,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    Publish,
    Consume(Place),
}

/// What a client writes.
#[derive(Debug)]
pub(crate) enum ClientFrame {
    Publish(Request),
    Consume(Place, u16),
    Get(Place),
    Answer(Frame),
    Cancel,
    Close,
}

/// What the broker writes.
#[derive(Debug)]
pub(crate) enum BrokerFrame {
    Returned {
        message: u64,
    },
    Answered {
        tag: u64,
        multiple: bool,
        confirmed: bool,
    },
    Deliver {
        tag: u64,
        message: Message,
    },
    CancelOk,
    /// There is no message to get.
    Empty,
}

/// One connection, both ends of it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) who: Who,
    /// Which life of that process opened it.
    pub(crate) life: u32,
    pub(crate) purpose: Purpose,
    pub(crate) open_at_broker: bool,
    pub(crate) open_at_client: bool,
    /// Whether nothing gets through although both ends are open.
    pub(crate) swallows: bool,
    /// When the last thing written arrives: what is written later arrives later.
    last_at_broker: Micros,
    last_at_client: Micros,
    /// Publishing: the number of the last message, those not in their queue yet,
    /// and the answers not sent yet.
    published: u64,
    outstanding: BTreeSet<u64>,
    answers: Vec<(u64, bool)>,
    answering: bool,
    /// Consuming.
    consumes: Option<(Place, u16)>,
    delivered: u64,
    unacked: VecDeque<(u64, Message)>,
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<Message>,
    consumers: Vec<ConnectionId>,
    /// When the last message written to it is committed.
    committed_at: Micros,
}

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) version: Version,
    pub(crate) connections: Vec<Connection>,
    queues: [Queue; Place::ALL.len()],
    /// Messages on their way through the delays.
    delayed: usize,
    /// Raised with each kill.
    pub(crate) life: u32,
    /// When it accepts connections again.
    pub(crate) up_at: Micros,
    /// Until when it refuses every fourth message.
    pub(crate) refuses_until: Micros,
    /// Until when it has no route to a queue.
    pub(crate) no_route: Option<(Place, Micros)>,
}

impl Broker {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            connections: Vec::new(),
            queues: Default::default(),
            delayed: 0,
            life: 0,
            up_at: 0,
            refuses_until: 0,
            no_route: None,
        }
    }

    fn queue(&mut self, place: Place) -> &mut Queue {
        &mut self.queues[place as usize]
    }

    /// How many suspects wait.
    pub(crate) fn suspects(&self) -> usize {
        self.queues[Place::Suspect as usize].ready.len()
    }

    /// What is left in it, in words; `None` if nothing is.
    pub(crate) fn left(&self) -> Option<String> {
        let mut left = Vec::new();
        for (place, queue) in Place::ALL.iter().zip(&self.queues) {
            for message in &queue.ready {
                left.push(format!("{place:?}: {}", message.body.describe()));
            }
        }
        for connection in self.connections.iter().filter(|c| c.open_at_broker) {
            for (tag, message) in &connection.unacked {
                let what = message.body.describe();
                left.push(format!("unacked {tag} at {:?}: {what}", connection.who));
            }
        }
        if self.delayed > 0 {
            left.push(format!("{} delayed", self.delayed));
        }
        (!left.is_empty()).then(|| left.join("; "))
    }
}

/// The delivery limit of a queue, and where its dead letters go.
const fn limit(place: Place) -> (u32, Place) {
    match place {
        Place::Tasks => (1_000, Place::Dead),
        Place::Suspect => (SUSPECT_DELIVERY_LIMIT as u32, Place::Dead),
        Place::Dead => (10, Place::Quarantine),
        Place::Results | Place::Quarantine => (1_000_000, Place::Quarantine),
    }
}

impl World {
    /// Opens a connection, if the broker is there.
    pub(crate) fn connect(
        &mut self,
        who: Who,
        life: u32,
        purpose: Purpose,
    ) -> Option<ConnectionId> {
        if self.now < self.broker.up_at {
            return None;
        }
        self.broker.connections.push(Connection {
            who,
            life,
            purpose,
            open_at_broker: true,
            open_at_client: true,
            swallows: false,
            last_at_broker: self.now,
            last_at_client: self.now,
            published: 0,
            outstanding: BTreeSet::new(),
            answers: Vec::new(),
            answering: false,
            consumes: None,
            delivered: 0,
            unacked: VecDeque::new(),
        });
        Some(self.broker.connections.len() - 1)
    }

    /// Writes to the broker.
    pub(crate) fn write_to_broker(&mut self, id: ConnectionId, frame: ClientFrame) {
        let latency = self.chance.between(50, 2 * MS);
        let connection = &mut self.broker.connections[id];
        if !connection.open_at_client || connection.swallows {
            return;
        }
        let at = (self.now + latency).max(connection.last_at_broker);
        connection.last_at_broker = at;
        self.agenda.put(at, Event::AtBroker(id, frame));
    }

    fn write_to_client(&mut self, id: ConnectionId, frame: BrokerFrame) {
        let latency = self.chance.between(50, 2 * MS);
        let connection = &mut self.broker.connections[id];
        if connection.swallows {
            return;
        }
        let at = (self.now + latency).max(connection.last_at_client);
        connection.last_at_client = at;
        self.agenda.put(at, Event::AtClient(id, frame));
    }

    /// Ends a connection from outside: each end notices after its own time, and
    /// until then goes on.
    pub(crate) fn cut(&mut self, id: ConnectionId, broker: Micros, client: Micros) {
        self.agenda.put(self.now + broker, Event::BrokerSeesEnd(id));
        self.agenda.put(self.now + client, Event::ClientSeesEnd(id));
    }

    pub(crate) fn at_broker(&mut self, id: ConnectionId, frame: ClientFrame) {
        if !self.broker.connections[id].open_at_broker || self.broker.connections[id].swallows {
            return;
        }
        match frame {
            ClientFrame::Publish(request) => self.published(id, request),
            ClientFrame::Consume(place, prefetch) => {
                self.broker.connections[id].consumes = Some((place, prefetch));
                self.broker.queue(place).consumers.push(id);
                self.dispatch(place);
            }
            ClientFrame::Get(place) => self.get(id, place),
            ClientFrame::Answer(frame) => self.answered(id, frame),
            ClientFrame::Cancel => {
                self.forget_consumer(id);
                self.write_to_client(id, BrokerFrame::CancelOk);
            }
            ClientFrame::Close => {
                self.ended_at_broker(id);
                self.broker.connections[id].open_at_client = false;
            }
        }
    }

    fn published(&mut self, id: ConnectionId, request: Request) {
        for task in request.message.body.tasks() {
            self.oracle.sent(task);
        }
        let connection = &mut self.broker.connections[id];
        connection.published += 1;
        let tag = connection.published;
        let place = match request.to {
            To::Place(place) | To::Delayed(place, _) => place,
        };
        let no_route = matches!(request.to, To::Place(_))
            && self
                .broker
                .no_route
                .is_some_and(|(to, until)| to == place && self.now < until);
        let refuses = self.now < self.broker.refuses_until && self.chance.one_in(4);
        if no_route {
            trace!(self, "broker: no route for message {}", request.message.id);
            let message = request.message.id;
            self.write_to_client(id, BrokerFrame::Returned { message });
        }
        if no_route || refuses {
            self.answer_later(id, tag, no_route);
            return;
        }
        self.broker.connections[id].outstanding.insert(tag);
        let latency = self.chance.between(100, 5 * MS);
        let queue = self.broker.queue(place);
        let at = (self.now + latency).max(queue.committed_at);
        queue.committed_at = at;
        let life = self.broker.life;
        self.agenda.put(
            at,
            Event::Stored {
                id,
                tag,
                request,
                life,
            },
        );
    }

    /// A message is in its queue, on disk.
    pub(crate) fn stored(&mut self, id: ConnectionId, tag: u64, request: Request, life: u32) {
        let dead = life != self.broker.life;
        if dead && self.chance.one_in(2) {
            trace!(self, "broker: message {} is lost", request.message.id);
            return;
        }
        if let Some(early) = self.oracle.stored(&request.message.body) {
            self.violation(early);
        }
        match request.to {
            To::Place(place) => self.enqueue(place, request.message),
            To::Delayed(place, secs) => {
                self.broker.delayed += 1;
                let late = self.chance.between(MS, 300 * MS);
                let at = self.now + Micros::from(secs) * SECOND + late;
                self.agenda.put(at, Event::Due(place, request.message));
            }
        }
        let connection = &mut self.broker.connections[id];
        if !dead && connection.open_at_broker {
            connection.outstanding.remove(&tag);
            self.answer_later(id, tag, true);
        }
    }

    fn answer_later(&mut self, id: ConnectionId, tag: u64, confirmed: bool) {
        let connection = &mut self.broker.connections[id];
        connection.answers.push((tag, confirmed));
        if !std::mem::replace(&mut connection.answering, true) {
            let at = self.now + self.chance.between(0, 2 * MS);
            self.agenda.put(at, Event::Confirms(id));
        }
    }

    /// Sends the answers to what was published: some singly, in any order, some
    /// as one `multiple`.
    pub(crate) fn confirms(&mut self, id: ConnectionId) {
        let connection = &mut self.broker.connections[id];
        connection.answering = false;
        if !connection.open_at_broker {
            return;
        }
        let mut answers = std::mem::take(&mut connection.answers);
        let lowest = connection.outstanding.first().copied().unwrap_or(u64::MAX);
        while !answers.is_empty() {
            let at = self.chance.index(answers.len());
            let (tag, confirmed) = answers.swap_remove(at);
            let refused_below = answers.iter().any(|(other, ok)| *other < tag && !ok);
            let multiple = confirmed && tag < lowest && !refused_below && self.chance.one_in(2);
            if multiple {
                answers.retain(|(other, _)| *other > tag);
            }
            self.write_to_client(
                id,
                BrokerFrame::Answered {
                    tag,
                    multiple,
                    confirmed,
                },
            );
        }
    }

    fn enqueue(&mut self, place: Place, message: Message) {
        trace!(
            self,
            "broker: {place:?} has message {}: {}",
            message.id,
            message.body.describe()
        );
        self.broker.queue(place).ready.push_back(message);
        self.dispatch(place);
        if place == Place::Suspect {
            self.look_all();
        }
    }

    /// A delay has ended.
    pub(crate) fn due(&mut self, place: Place, message: Message) {
        if self.now < self.broker.up_at {
            // Each hop is at least once: a broker that dies in it may do it twice.
            if self.chance.one_in(8) {
                self.broker.delayed += 1;
                self.agenda
                    .put(self.broker.up_at, Event::Due(place, message.clone()));
            }
            self.agenda
                .put(self.broker.up_at, Event::Due(place, message));
            return;
        }
        self.broker.delayed -= 1;
        self.enqueue(place, message);
    }

    fn get(&mut self, id: ConnectionId, place: Place) {
        self.broker.connections[id].consumes = Some((place, 0));
        match self.broker.queue(place).ready.pop_front() {
            Some(message) => self.deliver(id, message),
            None => self.write_to_client(id, BrokerFrame::Empty),
        }
    }

    fn deliver(&mut self, id: ConnectionId, message: Message) {
        let connection = &mut self.broker.connections[id];
        connection.delivered += 1;
        let tag = connection.delivered;
        connection.unacked.push_back((tag, message.clone()));
        self.write_to_client(id, BrokerFrame::Deliver { tag, message });
    }

    fn dispatch(&mut self, place: Place) {
        if self.now < self.broker.up_at {
            return;
        }
        loop {
            let connections = &self.broker.connections;
            let queue = &self.broker.queues[place as usize];
            let has_room = |id: &&ConnectionId| {
                let connection = &connections[**id];
                let prefetch = connection.consumes.map_or(0, |(_, prefetch)| prefetch);
                connection.unacked.len() < usize::from(prefetch)
            };
            let free: Vec<_> = queue.consumers.iter().filter(has_room).copied().collect();
            if free.is_empty() {
                return;
            }
            let Some(message) = self.broker.queue(place).ready.pop_front() else {
                return;
            };
            let id = free[self.chance.index(free.len())];
            self.deliver(id, message);
        }
    }

    fn answered(&mut self, id: ConnectionId, frame: Frame) {
        let Some((place, _)) = self.broker.connections[id].consumes else {
            return;
        };
        let (tag, multiple) = match frame {
            Frame::Ack { tag, multiple } => (tag, multiple),
            Frame::Requeue { tag } => (tag, false),
        };
        let unacked = &mut self.broker.connections[id].unacked;
        let Some(at) = unacked.iter().position(|(t, _)| *t == tag) else {
            let who = self.broker.connections[id].who;
            self.violation(format!("{who:?} answers for tag {tag}, which is not there"));
            return;
        };
        if matches!(frame, Frame::Requeue { .. }) {
            if let Some((_, message)) = unacked.remove(at) {
                let counts = self.broker.version == Version::Old;
                self.put_back(place, vec![message], counts);
            }
        } else {
            let from = if multiple { 0 } else { at };
            unacked.drain(from..=at);
        }
        self.dispatch(place);
    }

    /// Puts messages back to the front of their queue, in their order.
    fn put_back(&mut self, place: Place, messages: Vec<Message>, counts: bool) {
        let (limit, dead_letters) = limit(place);
        for mut message in messages.into_iter().rev() {
            message.redelivered = true;
            message.count += u32::from(counts);
            if place == Place::Suspect && counts {
                self.oracle.returned_alone(message.body.tasks());
            }
            if message.count > limit {
                trace!(self, "broker: message {} is past its limit", message.id);
                (message.count, message.redelivered) = (0, false);
                message.died = Some(Reason::CrashLoop);
                self.enqueue(dead_letters, message);
            } else {
                self.broker.queue(place).ready.push_front(message);
            }
        }
        if place == Place::Suspect {
            self.look_all();
        }
    }

    fn forget_consumer(&mut self, id: ConnectionId) {
        if let Some((place, _)) = self.broker.connections[id].consumes {
            self.broker
                .queue(place)
                .consumers
                .retain(|other| *other != id);
        }
    }

    /// The broker has no connection any more.
    pub(crate) fn ended_at_broker(&mut self, id: ConnectionId) {
        if !std::mem::replace(&mut self.broker.connections[id].open_at_broker, false) {
            return;
        }
        self.forget_consumer(id);
        let connection = &mut self.broker.connections[id];
        let unacked: Vec<_> = connection.unacked.drain(..).map(|(_, m)| m).collect();
        if let Some((place, _)) = connection.consumes {
            self.put_back(place, unacked, true);
            self.dispatch(place);
        }
    }

    pub(crate) fn kill_broker(&mut self) {
        self.broker.life += 1;
        self.broker.up_at = self.now + self.chance.between(500 * MS, 20 * SECOND);
        for id in 0..self.broker.connections.len() {
            if self.broker.connections[id].open_at_broker {
                self.ended_at_broker(id);
                let notices = self.chance.between(100, 50 * MS);
                self.agenda
                    .put(self.now + notices, Event::ClientSeesEnd(id));
            }
        }
        self.agenda.put(self.broker.up_at, Event::BrokerUp);
    }

    pub(crate) fn broker_is_up(&mut self) {
        Place::ALL.iter().for_each(|place| self.dispatch(*place));
    }

    /// A message nobody has published before.
    pub(crate) fn message(&mut self, body: &Rc<crate::message::Body>) -> Message {
        self.messages += 1;
        Message {
            id: self.messages,
            body: Rc::clone(body),
            count: 0,
            redelivered: false,
            died: None,
        }
    }
}
