//! Everything together: processes, links, broker, store, and what breaks.

use std::time::Duration;

use homing_protocol::topology::DELAY_SECS_MAX;
use homing_protocol::{AttemptId, Timestamp};

use crate::Sabotage;
use crate::agenda::{Agenda, MS, Micros, SECOND};
use crate::broker::{Broker, BrokerFrame, ClientFrame, ConnectionId, Purpose, Version, Who};
use crate::chance::Chance;
use crate::collector::Collector;
use crate::links::{Clock, ConsumeLink, PublishLink, Request};
use crate::message::{Body, Message, Place};
use crate::oracle::{Facts, Fate, Oracle};
use crate::outgoing::Answered;
use crate::producer::{Producer, Submission, Submitted};
use crate::store::Store;
use crate::worker::{BEGINNING, FAULT_MAX, Worker, clock_step};

/// More events than this are a livelock. Most worlds take some hundreds; those in
/// which a clock that is ten years ahead has written when a task is due take that
/// long, in delays of 36 hours.
const EVENTS_MAX: u64 = 2_000_000;

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    AtBroker(ConnectionId, ClientFrame),
    AtClient(ConnectionId, BrokerFrame),
    BrokerSeesEnd(ConnectionId),
    ClientSeesEnd(ConnectionId),
    Stored {
        id: ConnectionId,
        tag: u64,
        request: Request,
        life: u32,
    },
    Confirms(ConnectionId),
    Due(Place, Message),
    BrokerUp,
    Start(Who),
    Connect {
        who: Who,
        life: u32,
        purpose: Purpose,
    },
    Answers {
        who: Who,
        life: u32,
        place: Place,
        connection: ConnectionId,
    },
    Submit {
        producer: usize,
        life: u32,
        submission: usize,
    },
    Deadline {
        producer: usize,
        life: u32,
    },
    Worker {
        worker: usize,
        life: u32,
        event: WorkerEvent,
    },
    Commit {
        life: u32,
    },
    Committed {
        life: u32,
    },
    Fault,
    Calm,
}

/// What happens in a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WorkerEvent {
    /// A handler has ended.
    Ended(AttemptId),
    /// A handler has ended the process.
    Poisoned,
    /// What was refused is published again.
    PublishAgain(u64),
    /// The grace of its drain has passed.
    GraceOver,
    /// It looks for suspects.
    Look(u32),
    /// What runs did not end in time for suspects.
    Impatient(Micros),
    /// A task has waited for room for long.
    HeldLong(u64),
}

pub(crate) struct World {
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) chance: Chance,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) now: Micros,
    pub(crate) clock: Clock,
    pub(crate) broker: Broker,
    pub(crate) producers: Vec<Producer>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) collector: Collector,
    pub(crate) store: Store,
    pub(crate) store_fails_until: Micros,
    pub(crate) oracle: Oracle,
    pub(crate) prefetch: u16,
    /// How long most handlers run at most.
    pub(crate) pace: Micros,
    pub(crate) messages: u64,
    pub(crate) tickets: u64,
    pub(crate) minted: u64,
    pub(crate) faults: u64,
    /// Whether all clocks have been right so far.
    pub(crate) clocks_agree: bool,
    violation: Option<String>,
    pub(crate) trace: Option<fn(&str)>,
}

/// Says what happens, if somebody wants to read it.
macro_rules! trace {
    ($world:expr, $($said:tt)*) => {
        if let Some(say) = $world.trace {
            let secs = $world.now as f64 / $crate::agenda::SECOND as f64;
            say(&format!("{secs:12.6}  {}", format_args!($($said)*)));
        }
    };
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, trace: Option<fn(&str)>) -> Self {
        let mut chance = Chance::new(seed);
        let version = [Version::Old, Version::New][chance.index(2)];
        let prefetch = chance.between(1, 6) as u16;
        let pace = [20 * MS, 200 * MS, 2 * SECOND][chance.index(3)];
        let mut world = Self {
            sabotage,
            agenda: Agenda::new(),
            now: 0,
            clock: Clock::new(),
            broker: Broker::new(version),
            producers: Vec::new(),
            workers: Vec::new(),
            collector: Collector::new(),
            store: Store::default(),
            store_fails_until: 0,
            oracle: Oracle::default(),
            prefetch,
            pace,
            messages: 0,
            tickets: 0,
            minted: 0,
            faults: 0,
            clocks_agree: true,
            violation: None,
            trace,
            chance,
        };
        world.furnish();
        world
    }

    /// Decides who is there, which tasks there are, and when something breaks.
    fn furnish(&mut self) {
        for _ in 0..self.chance.between(1, 2) {
            self.furnish_producer();
        }
        for _ in 0..self.chance.between(1, 3) {
            let concurrency = self.chance.between(1, 3) as usize;
            self.workers
                .push(Worker::new(0, concurrency, self.prefetch));
        }
        let producers = (0..self.producers.len()).map(Who::Producer);
        let workers = (0..self.workers.len()).map(Who::Worker);
        for who in producers.chain(workers).chain([Who::Collector]) {
            let at = self.chance.between(0, SECOND);
            self.agenda.put(at, Event::Start(who));
        }
        let last = self.chance.between(SECOND, 20 * SECOND);
        for _ in 0..self.chance.below(8) {
            let mut at = self.chance.below(last);
            self.agenda.put(at, Event::Fault);
            // Some come on the heels of another.
            while self.chance.one_in(3) {
                at += self.chance.below(SECOND);
                self.agenda.put(at, Event::Fault);
            }
        }
        self.agenda.put(last + 2 * FAULT_MAX, Event::Calm);
    }

    fn furnish_producer(&mut self) {
        let mut submissions = Vec::new();
        for _ in 0..self.chance.between(1, 4) {
            let due_at = self.chance.one_in(6).then(|| self.due_time());
            let body = self.furnish_message(due_at);
            submissions.push(Submission {
                body,
                due_at,
                state: Submitted::Unknown(0),
            });
        }
        let deadline = self.chance.one_in(3).then(|| self.chance.between(1, 8));
        self.producers.push(Producer {
            life: 0,
            up: false,
            link: PublishLink::new(),
            submissions,
            deadline: deadline.map(Duration::from_secs),
        });
    }

    /// Seconds from the beginning, or a little more than the broker can hold.
    fn due_time(&mut self) -> Timestamp {
        let longest = u64::from(DELAY_SECS_MAX) * 1_000;
        let ms = match self.chance.below(4) {
            0 => longest * self.chance.between(1, 2) + self.chance.between(1, 5_000),
            _ => self.chance.between(1, 20_000),
        };
        BEGINNING.after(Duration::from_millis(ms))
    }

    fn furnish_message(&mut self, due_at: Option<Timestamp>) -> std::rc::Rc<Body> {
        let (fate, nameless) = match self.chance.below(24) {
            0 => (Fate::Spoilt, false),
            1 => (Fate::SucceedAfter(0), true),
            _ => {
                let bundle = if self.chance.one_in(3) {
                    self.chance.between(2, 5)
                } else {
                    1
                };
                let tasks = (0..bundle).map(|_| {
                    let fate = self.fate();
                    let has_deadline = self.chance.one_in(12);
                    let mut task = self.furnish_task(fate, false, has_deadline);
                    task.due_at = due_at;
                    if has_deadline {
                        let after = self.chance.between(0, 60);
                        task.expires_at = Some(BEGINNING.after(Duration::from_secs(after)));
                    }
                    task
                });
                return crate::producer::body(tasks.collect());
            }
        };
        let mut task = self.furnish_task(fate, nameless, false);
        task.due_at = due_at;
        std::rc::Rc::new(if nameless {
            Body::Nameless(task)
        } else {
            Body::Spoilt(task)
        })
    }

    fn furnish_task(
        &mut self,
        fate: Fate,
        nameless: bool,
        has_deadline: bool,
    ) -> homing_protocol::Envelope {
        self.oracle.tasks.push(Facts {
            fate,
            nameless,
            has_deadline,
            confirmed: false,
            sent: false,
            executions: 0,
            returned_alone: 0,
        });
        self.envelope(self.oracle.tasks.len() - 1)
    }

    fn fate(&mut self) -> Fate {
        match self.chance.below(40) {
            0 => Fate::Poison,
            1 => Fate::PoisonFor(self.chance.between(1, 6) as u32),
            2 | 3 => Fate::Misfit,
            4 => Fate::Unknown,
            5..=8 => Fate::FailAt(self.chance.between(1, 4) as u32),
            9 | 10 => Fate::Later(self.chance.between(0, 30)),
            11..=20 => Fate::SucceedAfter(self.chance.between(1, 5) as u32),
            _ => Fate::SucceedAfter(0),
        }
    }

    /// Runs until nothing happens any more. Answers what was broken.
    pub(crate) fn run(&mut self) -> Result<u64, String> {
        let mut events = 0;
        while let Some((at, event)) = self.agenda.next() {
            self.now = at;
            self.happen(event);
            events += 1;
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if events > EVENTS_MAX {
                return Err(format!("no end after {EVENTS_MAX} events"));
            }
        }
        let busy = self
            .producers
            .iter()
            .any(|producer| !producer.link.outgoing.is_empty())
            || self
                .workers
                .iter()
                .any(|worker| !worker.is_idle() || !worker.up || worker.draining)
            || !self.collector.is_idle();
        if busy {
            return Err("a process waits for something that never comes".to_owned());
        }
        if let Some(left) = self.broker.left() {
            return Err(format!("left in the broker: {left}"));
        }
        let unknown = |submission: &Submission| matches!(submission.state, Submitted::Unknown(_));
        if self
            .producers
            .iter()
            .any(|p| p.submissions.iter().any(unknown))
        {
            return Err("a producer was never told".to_owned());
        }
        self.oracle.check(&self.store).map_or(Ok(events), Err)
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::AtBroker(id, frame) => self.at_broker(id, frame),
            Event::AtClient(id, frame) => self.at_client(id, frame),
            Event::BrokerSeesEnd(id) => self.ended_at_broker(id),
            Event::ClientSeesEnd(id) => self.ended_at_client(id),
            Event::Stored {
                id,
                tag,
                request,
                life,
            } => self.stored(id, tag, request, life),
            Event::Confirms(id) => self.confirms(id),
            Event::Due(place, message) => self.due(place, message),
            Event::BrokerUp => self.broker_is_up(),
            Event::Start(who) => self.start(who),
            Event::Connect { who, life, purpose } => self.connected(who, life, purpose),
            Event::Answers {
                who,
                life,
                place,
                connection,
            } if self.lives(who, life) => {
                self.send_answers(who, place, connection);
            }
            Event::Submit {
                producer,
                life,
                submission,
            } if self.lives(Who::Producer(producer), life) => {
                self.submit(producer, submission);
            }
            Event::Deadline { producer, life } if self.lives(Who::Producer(producer), life) => {
                self.deadline(producer);
            }
            Event::Worker {
                worker,
                life,
                event,
            } if self.lives(Who::Worker(worker), life) => {
                self.happen_in(worker, event);
                self.after(Who::Worker(worker));
            }
            Event::Commit { life } if self.lives(Who::Collector, life) => self.commit(),
            Event::Committed { life } if self.lives(Who::Collector, life) => {
                self.committed();
                self.after(Who::Collector);
            }
            Event::Fault => self.fault(),
            Event::Calm => self.calm(),
            // Of a process that is gone.
            _ => {}
        }
    }

    fn happen_in(&mut self, worker: usize, event: WorkerEvent) {
        match event {
            WorkerEvent::Ended(attempt) => self.ended(worker, attempt),
            WorkerEvent::Poisoned => {
                trace!(self, "worker {worker}: dies of a task");
                self.crash_worker(worker);
            }
            WorkerEvent::PublishAgain(number) => self.publish_again(worker, number),
            WorkerEvent::GraceOver => self.grace_over(worker),
            WorkerEvent::Look(number) => self.look(worker, number),
            WorkerEvent::Impatient(begun) => self.impatient(worker, begun),
            WorkerEvent::HeldLong(number) => self.hand_back(worker, number),
        }
    }

    /// Puts down what is to happen in a worker, if it lives that long.
    pub(crate) fn put(&mut self, worker: usize, at: Micros, event: WorkerEvent) {
        let life = self.workers[worker].life;
        let event = Event::Worker {
            worker,
            life,
            event,
        };
        self.agenda.put(at, event);
    }

    /// The clocks are right again; nothing breaks from here on.
    fn calm(&mut self) {
        trace!(self, "calm");
        for worker in &mut self.workers {
            worker.clock_off = 0;
        }
    }

    fn start(&mut self, who: Who) {
        trace!(self, "{who:?} starts");
        match who {
            Who::Producer(index) => self.start_producer(index),
            Who::Worker(index) => self.start_worker(index),
            Who::Collector => self.start_collector(),
        }
    }

    fn life(&self, who: Who) -> u32 {
        match who {
            Who::Producer(index) => self.producers[index].life,
            Who::Worker(index) => self.workers[index].life,
            Who::Collector => self.collector.life,
        }
    }

    fn lives(&self, who: Who, life: u32) -> bool {
        self.life(who) == life
    }

    fn publish_link(&mut self, who: Who) -> Option<&mut PublishLink> {
        match who {
            Who::Producer(index) => Some(&mut self.producers[index].link),
            Who::Worker(index) => Some(&mut self.workers[index].publisher),
            Who::Collector => None,
        }
    }

    fn consume_link(&mut self, who: Who, place: Place) -> Option<&mut ConsumeLink> {
        let links = match who {
            Who::Worker(index) => &mut self.workers[index].links,
            Who::Collector => &mut self.collector.links,
            Who::Producer(_) => return None,
        };
        links.iter_mut().find(|link| link.place == place)
    }

    /// Opens a link soon, again and again until the broker is there.
    pub(crate) fn open(&mut self, who: Who, life: u32, purpose: Purpose) {
        let at = self.now.max(self.broker.up_at) + self.chance.between(MS, 300 * MS);
        self.agenda.put(at, Event::Connect { who, life, purpose });
    }

    fn connected(&mut self, who: Who, life: u32, purpose: Purpose) {
        if !self.lives(who, life) {
            return;
        }
        if let Purpose::Consume(place) = purpose
            && self
                .consume_link(who, place)
                .is_none_or(|link| link.stopping)
        {
            return self.after(who);
        }
        let Some(id) = self.connect(who, life, purpose) else {
            return self.open(who, life, purpose);
        };
        match purpose {
            Purpose::Publish => {
                if let Some(link) = self.publish_link(who) {
                    link.connection = Some(id);
                }
                self.write(who);
            }
            Purpose::Consume(place) => {
                let Some(link) = self.consume_link(who, place) else {
                    return;
                };
                link.opened(id);
                self.resume_unless_held(who, place);
                self.look_all();
            }
        }
    }

    /// Tells the broker to deliver again.
    pub(crate) fn resume(&mut self, who: Who, place: Place) {
        if let Some(link) = self.consume_link(who, place) {
            link.held = false;
        }
        self.resume_unless_held(who, place);
    }

    fn resume_unless_held(&mut self, who: Who, place: Place) {
        // Suspects are asked for one by one.
        let link = self.consume_link(who, place);
        let Some(link) =
            link.filter(|link| !link.held && !link.stopping && place != Place::Suspect)
        else {
            return;
        };
        if link
            .session
            .as_ref()
            .is_some_and(|session| !session.receives)
        {
            let prefetch = link.ask();
            let Some(session) = &mut link.session else {
                return;
            };
            session.receives = true;
            let connection = session.connection;
            trace!(self, "{who:?} consumes {place:?} with prefetch {prefetch}");
            self.write_to_broker(connection, ClientFrame::Consume(place, prefetch));
        }
    }

    /// Writes what a publisher has to publish.
    pub(crate) fn write(&mut self, who: Who) {
        loop {
            let Some(link) = self.publish_link(who) else {
                return;
            };
            let Some(id) = link.connection else { return };
            let Some(request) = link.outgoing.publish() else {
                return;
            };
            let frame = ClientFrame::Publish(request.clone());
            self.write_to_broker(id, frame);
        }
    }

    fn at_client(&mut self, id: ConnectionId, frame: BrokerFrame) {
        let connection = &self.broker.connections[id];
        let (who, life, purpose) = (connection.who, connection.life, connection.purpose);
        if !connection.open_at_client || connection.swallows || !self.lives(who, life) {
            return;
        }
        match (frame, purpose) {
            (BrokerFrame::Returned { message }, _) => {
                if self.sabotage != Some(Sabotage::ReturnIgnored)
                    && let Some(link) = self.publish_link(who)
                {
                    link.outgoing
                        .returned(|request| request.message.id == message);
                }
            }
            (
                BrokerFrame::Answered {
                    tag,
                    multiple,
                    confirmed,
                },
                _,
            ) => {
                let mut told = Vec::new();
                if let Some(link) = self.publish_link(who) {
                    let each = |request: Request, verdict, _| told.push((request.ticket, verdict));
                    let answered = Answered::new(tag, multiple, confirmed);
                    link.outgoing.answered(answered, None, each);
                }
                for (ticket, verdict) in told {
                    self.tell(who, ticket, &verdict);
                }
            }
            (BrokerFrame::Deliver { tag, message }, Purpose::Consume(place)) => {
                let now = self.clock.at(self.now);
                let token = self
                    .consume_link(who, place)
                    .and_then(|link| link.delivered(tag, now));
                let Some(token) = token else {
                    return self.violation(format!("{who:?}: a delivery came out of order"));
                };
                trace!(
                    self,
                    "{who:?} is delivered {tag} from {place:?}: message {}", message.id
                );
                match who {
                    Who::Worker(index) if place == Place::Suspect && !self.pulled(index) => {
                        drop(token)
                    }
                    Who::Worker(index) => self.work(index, place, &message, token),
                    Who::Collector => self.collect(&message, token),
                    Who::Producer(_) => {}
                }
            }
            (BrokerFrame::CancelOk, Purpose::Consume(place)) => {
                if let Some(session) = self
                    .consume_link(who, place)
                    .and_then(|link| link.session.as_mut())
                {
                    session.cancelling -= 1;
                }
            }
            (BrokerFrame::Empty, _) => {
                if let Who::Worker(index) = who {
                    self.none_pulled(index);
                }
            }
            (BrokerFrame::Deliver { .. } | BrokerFrame::CancelOk, Purpose::Publish) => {}
        }
        self.after(who);
    }

    /// Tells whoever published something what became of it.
    fn tell(&mut self, who: Who, ticket: u64, verdict: &crate::confirms::Verdict) {
        match who {
            Who::Producer(index) => self.submitted(index, ticket as usize, Some(verdict)),
            Who::Worker(index) => self.replaced(index, ticket, verdict),
            Who::Collector => {}
        }
    }

    /// Looks after the links of a process that has done something.
    fn after(&mut self, who: Who) {
        let links = match who {
            Who::Worker(index) => &mut self.workers[index].links,
            Who::Collector => &mut self.collector.links,
            Who::Producer(_) => return,
        };
        let mut answering = Vec::new();
        for link in links.iter_mut().filter(|link| link.has_answers()) {
            let place = link.place;
            if let Some(session) = &mut link.session
                && !std::mem::replace(&mut session.answering, true)
            {
                answering.push((place, session.connection));
            }
        }
        let life = self.life(who);
        for (place, connection) in answering {
            let at = self.now + self.chance.between(0, 2 * MS);
            self.agenda.put(
                at,
                Event::Answers {
                    who,
                    life,
                    place,
                    connection,
                },
            );
        }
        if let Who::Worker(index) = who {
            self.attend_lane(index);
            self.drained(index);
        }
    }

    fn send_answers(&mut self, who: Who, place: Place, connection: ConnectionId) {
        let (sabotage, now) = (self.sabotage, self.clock.at(self.now));
        let Some(link) = self.consume_link(who, place) else {
            return;
        };
        match &mut link.session {
            Some(session) if session.connection == connection => session.answering = false,
            _ => return,
        }
        let (frames, off) = (link.answers(sabotage), link.is_off(now));
        for frame in frames {
            trace!(self, "{who:?} answers {place:?}: {frame:?}");
            self.write_to_broker(connection, ClientFrame::Answer(frame));
        }
        if off {
            self.cancel(who, place);
            self.resume_unless_held(who, place);
        }
        self.after(who);
    }

    /// A client finds that its connection is gone.
    fn ended_at_client(&mut self, id: ConnectionId) {
        let connection = &mut self.broker.connections[id];
        connection.open_at_client = false;
        let (who, life, purpose) = (connection.who, connection.life, connection.purpose);
        if !self.lives(who, life) {
            return;
        }
        let (sabotage, now) = (self.sabotage, self.clock.at(self.now));
        match purpose {
            Purpose::Publish => {
                let Some(link) = self.publish_link(who) else {
                    return;
                };
                if link.connection != Some(id) {
                    return;
                }
                link.connection = None;
                let mut forgotten = Vec::new();
                if sabotage == Some(Sabotage::LostConfirmIgnored) {
                    link.outgoing.give_up(now, |request, _| {
                        forgotten.push(request.ticket);
                        true
                    });
                }
                link.outgoing.broke();
                for ticket in forgotten {
                    self.tell(who, ticket, &crate::confirms::Verdict::Confirmed);
                }
            }
            Purpose::Consume(place) => {
                let Some(link) = self.consume_link(who, place) else {
                    return;
                };
                if link
                    .session
                    .as_ref()
                    .is_none_or(|session| session.connection != id)
                {
                    return;
                }
                link.broke(now, sabotage);
                if let (Who::Worker(index), Place::Suspect) = (who, place) {
                    self.none_pulled(index);
                }
            }
        }
        trace!(self, "{who:?} lost its connection for {purpose:?}");
        self.open(who, life, purpose);
        self.after(who);
    }

    /// Tells the broker to deliver no more.
    pub(crate) fn cancel(&mut self, who: Who, place: Place) {
        let session = self
            .consume_link(who, place)
            .and_then(|link| link.session.as_mut());
        if let Some(session) = session.filter(|session| session.receives) {
            session.receives = false;
            session.cancelling += 1;
            let connection = session.connection;
            self.write_to_broker(connection, ClientFrame::Cancel);
        }
        self.after(who);
    }

    /// Closes the connections of a process in order: what was written arrives.
    pub(crate) fn end_links(&mut self, who: Who) {
        let life = self.life(who);
        for id in 0..self.broker.connections.len() {
            let connection = &self.broker.connections[id];
            if connection.who == who && connection.life == life && connection.open_at_client {
                self.write_to_broker(id, ClientFrame::Close);
            }
        }
    }

    /// A process is gone: its sockets close, each in its own time.
    pub(crate) fn close_sockets(&mut self, who: Who, life: u32) {
        for id in 0..self.broker.connections.len() {
            let connection = &mut self.broker.connections[id];
            if connection.who == who && connection.life == life && connection.open_at_client {
                connection.open_at_client = false;
                let notices = self.chance.between(0, 5 * MS);
                self.agenda
                    .put(self.now + notices, Event::BrokerSeesEnd(id));
            }
        }
    }

    fn fault(&mut self) {
        self.faults += 1;
        let (workers, producers) = (self.workers.len(), self.producers.len());
        match self.chance.below(15) {
            0..=2 => {
                let index = self.chance.index(workers);
                trace!(self, "fault: worker {index} is killed");
                self.crash_worker(index);
            }
            3 => {
                let index = self.chance.index(workers);
                trace!(self, "fault: worker {index} is told to stop");
                self.drain(index);
            }
            4 => {
                trace!(self, "fault: the collector is killed");
                if self.collector.up {
                    self.crash_collector();
                }
            }
            5 => {
                let index = self.chance.index(producers);
                trace!(self, "fault: producer {index} is killed");
                self.crash_producer(index);
            }
            6..=9 => self.fault_of_a_link(),
            10 => {
                trace!(self, "fault: the broker is killed");
                self.kill_broker();
            }
            11 => {
                self.broker.refuses_until = self.now + self.chance.below(FAULT_MAX);
                trace!(self, "fault: the broker refuses messages");
            }
            12 => {
                let place = [Place::Tasks, Place::Results, Place::Dead][self.chance.index(3)];
                let until = self.now + self.chance.below(FAULT_MAX);
                trace!(self, "fault: no route to {place:?}");
                self.broker.no_route = Some((place, until));
            }
            13 => {
                self.store_fails_until = self.now + self.chance.below(FAULT_MAX);
                trace!(self, "fault: the store cannot be written");
            }
            _ => {
                let index = self.chance.index(workers);
                let step = clock_step(&mut self.chance);
                trace!(
                    self,
                    "fault: the clock of worker {index} is off by {step} ms"
                );
                self.workers[index].clock_off = step;
                self.clocks_agree = false;
            }
        }
    }

    /// A link is cut, or closed by the broker (as when an ack is late), or goes
    /// on as if nothing were while nothing gets through.
    fn fault_of_a_link(&mut self) {
        let open = |connection: &crate::broker::Connection| {
            connection.open_at_broker && connection.open_at_client && !connection.swallows
        };
        let connections = self.broker.connections.iter().enumerate();
        let open: Vec<_> = connections
            .filter(|(_, c)| open(c))
            .map(|(id, _)| id)
            .collect();
        if open.is_empty() {
            return;
        }
        let id = open[self.chance.index(open.len())];
        let swallows = self.chance.one_in(4);
        let who = (
            self.broker.connections[id].who,
            self.broker.connections[id].purpose,
        );
        trace!(
            self,
            "fault: link of {who:?}, {}",
            if swallows { "half open" } else { "cut" }
        );
        self.broker.connections[id].swallows = swallows;
        let longest = if swallows { FAULT_MAX } else { 20 * MS };
        let (broker, client) = (self.chance.below(longest), self.chance.below(longest));
        self.cut(id, broker, client);
    }
}
