//! The one thread of a process that works with the file.
//!
//! Whatever its links want is gathered while it writes, and done in the next
//! transaction together: publishes, answers, what is due, what dead clients held,
//! and leases for those who have room. Others see it at once; publishers are told
//! once the log is on disk, which another thread waits for meanwhile.
//!
//! # Failure
//!
//! A transaction that fails changed nothing, so all that it was to do is kept and
//! tried again, for as long as publishers have patience.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use homing_faults::{Point, crash_point};
use homing_protocol::topology::Topology;
use homing_protocol::{Death, Destination, Message, Received};
use rusqlite::Connection;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::{spawn, yield_now};
use tokio::time::{Instant, sleep_until};

use super::clients::{self, Bell, Life, Load};
use super::disk::{Disk, Waiting};
use super::file::QueueFile;
use super::links::{Event, Events, Incoming, Key, Outlet, Reader, publishes};
use super::messages::{BYTES_MAX, Head, Messages, tasks_of};
use super::queues::{self, Queues};
use crate::consumer::{Answer, Command, ConsumerEnd, Wish};
use crate::error::{BrokerError, PublishError};
use crate::publisher::Request;
use crate::puller::Ask;
use crate::{InboxEvent, Window};

/// How often it is looked whether others live, and whether there is something
/// that nobody said.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Between tries of a transaction that failed.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Until what is due and has no queue is tried again.
const UNDELIVERABLE_MS: i64 = 60_000;

/// What is done once with the file, and told to whoever wants it.
type Work = Box<dyn FnOnce(&mut QueueFile) + Send>;

/// Told to whoever opens a link.
type Ready = oneshot::Sender<Result<(), BrokerError>>;

/// What a broker's handle wants.
pub(super) enum Order {
    Publisher {
        window: Window,
        requests: mpsc::UnboundedReceiver<Request>,
        running: OwnedSemaphorePermit,
    },
    Consumer {
        queue: String,
        end: ConsumerEnd,
        ready: Ready,
    },
    Puller {
        queue: String,
        asked: mpsc::UnboundedReceiver<Ask>,
        ended: oneshot::Sender<()>,
        ready: Ready,
    },
    Inbox {
        address: String,
        events: mpsc::UnboundedSender<InboxEvent>,
        ready: Ready,
    },
    Work(Work),
}

/// A reader that is not written down yet.
struct Opening {
    key: Key,
    events: Events,
    queue: String,
    prefetch: u32,
    outlet: Outlet,
    ready: Ready,
}

/// What one transaction did, to be told once it is committed.
#[derive(Default)]
struct Effects {
    /// Of each publish in turn: where it went.
    published: Vec<Way>,
    delivered: Vec<(Key, i64, Box<Received>)>,
    loads: Vec<(Key, Load)>,
    opened: Vec<Result<(i64, i64), ()>>,
    /// The queues into which something came that others may take.
    filled: Vec<i64>,
    ports: Vec<u16>,
    next_due: Option<i64>,
    dead: Vec<String>,
    /// Readers whose queue went, or came again: with its number and theirs.
    moved: Vec<(Key, Option<(i64, i64)>)>,
    again: Option<Again>,
    /// Whether nothing was done, because this process is to begin anew.
    is_none: bool,
    /// Whether more waits for whoever got something.
    more: bool,
}

/// A process that was taken for dead is another client from then on, with other
/// consumers: their queues and numbers.
struct Again {
    client: i64,
    readers: HashMap<Key, Option<(i64, i64)>>,
}

/// Where a message went.
#[derive(Clone, Copy)]
enum Way {
    Kept,
    Leased(Key, i64),
    None,
}

pub(super) struct Engine {
    place: String,
    topology: Arc<Topology>,
    file: QueueFile,
    life: Option<Life>,
    bell: Option<Bell>,
    port: Option<u16>,
    client: Option<i64>,
    queues: Queues,
    disk: Disk,
    events: mpsc::WeakUnboundedSender<Event>,
    readers: BTreeMap<Key, Reader>,
    next_key: Key,
    incoming: Vec<Incoming>,
    answers: Vec<(Key, i64, Answer)>,
    opening: Vec<Opening>,
    /// Whether there may be something in the file for a reader.
    look: bool,
    looked_at: Instant,
    next_due: Option<i64>,
    /// Whether more waits than was taken at once.
    more: bool,
    /// Since a transaction failed.
    failing: bool,
}

pub(super) fn now_ms() -> i64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    time.map_or(0, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}

impl Engine {
    /// Opens the file at `path`, or one in memory.
    ///
    /// # Errors
    ///
    /// [`BrokerError::File`] if it cannot be used.
    pub(super) fn open(
        path: Option<&Path>,
        place: String,
        topology: Arc<Topology>,
        events: mpsc::WeakUnboundedSender<Event>,
    ) -> Result<Self, BrokerError> {
        let refuse = |problem: String| BrokerError::File {
            path: path.map(Path::to_owned).unwrap_or_default(),
            problem,
        };
        let file = match path {
            Some(path) => QueueFile::open(path, &place)?,
            None => QueueFile::in_memory().map_err(|error| refuse(error.to_string()))?,
        };
        let disk = Disk::of(&file).map_err(|error| refuse(error.to_string()))?;
        let bell = file.path().and_then(|_| Bell::hang().ok());
        let (bell, port) = bell.map_or((None, None), |(bell, port)| (Some(bell), Some(port)));
        Ok(Self {
            place,
            topology,
            disk,
            file,
            life: None,
            bell,
            port,
            client: None,
            queues: Queues::default(),
            events,
            readers: BTreeMap::new(),
            next_key: 0,
            incoming: Vec::new(),
            answers: Vec::new(),
            opening: Vec::new(),
            look: true,
            looked_at: Instant::now(),
            next_due: None,
            more: false,
            failing: false,
        })
    }

    /// Works until nobody needs it any more.
    pub(super) async fn run(mut self, mut happens: mpsc::UnboundedReceiver<Event>) {
        self.listen();
        let mut burst = Vec::new();
        loop {
            let wakes_at = self.wakes_at();
            tokio::select! {
                taken = happens.recv_many(&mut burst, usize::MAX) => if taken == 0 { break },
                () = sleep_until(wakes_at) => {}
            }
            // Whatever has been said meanwhile is passed on and comes along.
            yield_now().await;
            while let Ok(event) = happens.try_recv() {
                burst.push(event);
            }
            burst.drain(..).for_each(|event| self.take(event));
            self.step();
            if self.disk.has_failed() {
                // What was committed may not be on disk, and what follows it in the
                // log then neither.
                tracing::error!("{} is given up: its disk failed", self.place);
                return;
            }
        }
        self.leave();
    }

    /// Wakes up when others ring.
    fn listen(&self) {
        let listens = || {
            let socket = self.bell.as_ref()?.listen().ok()?;
            UdpSocket::from_std(socket).ok()
        };
        if let Some(socket) = listens() {
            let events = self.events.clone();
            spawn(async move {
                let mut rung = [0; 1];
                while socket.recv(&mut rung).await.is_ok() {
                    // Those behind it say the same.
                    while socket.try_recv(&mut rung).is_ok() {}
                    let Some(events) = events.upgrade() else {
                        return;
                    };
                    if events.send(Event::Woken).is_err() {
                        return;
                    }
                }
            });
        }
    }

    fn wakes_at(&self) -> Instant {
        if self.failing {
            return Instant::now() + RETRY_EVERY;
        }
        if self.more {
            return Instant::now();
        }
        let look = match self.readers.is_empty() {
            true => Duration::from_hours(1),
            false => LOOK_EVERY,
        };
        let due = self.next_due.filter(|_| !self.readers.is_empty());
        let due = due.map(|due| u64::try_from(due - now_ms()).unwrap_or(0));
        let due = due.map(|ms| Instant::now() + Duration::from_millis(ms));
        (self.looked_at + look).min(due.unwrap_or(self.looked_at + look))
    }

    fn key(&mut self) -> Key {
        self.next_key += 1;
        self.next_key
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Published(mut incoming) => self.incoming.append(&mut incoming),
            Event::Answered(key, commands) => self.answered(key, &commands),
            Event::Wished(key, wish) => {
                if let Some(reader) = self.readers.get_mut(&key) {
                    reader.wish = wish;
                    reader.tell();
                    self.look = true;
                }
            }
            Event::Aimed(key, prefetch) => {
                if let Some(reader) = self.readers.get_mut(&key) {
                    reader.aim(prefetch);
                    self.look = true;
                }
            }
            Event::Asked(key, ask) => {
                let reader = self.readers.get_mut(&key);
                if let Some(Outlet::Puller { asks, .. }) = reader.map(|reader| &mut reader.outlet) {
                    asks.push(ask);
                    self.look = true;
                }
            }
            Event::Left(key) => {
                if let Some(reader) = self.readers.get_mut(&key) {
                    reader.wish = Wish::Stop;
                    self.look = true;
                }
            }
            Event::Woken => self.look = true,
            Event::Order(order, events) => self.order(order, events),
        }
    }

    fn answered(&mut self, key: Key, commands: &[Command]) {
        let Some(reader) = self.readers.get_mut(&key) else {
            return;
        };
        for command in commands {
            if let Some((message, answer)) = reader.answered(command) {
                self.answers.push((key, message, answer));
            }
        }
        self.look = true;
    }

    fn order(&mut self, order: Order, events: Events) {
        let key = self.key();
        let (queue, prefetch, outlet, ready) = match order {
            Order::Publisher {
                window,
                requests,
                running,
            } => {
                spawn(publishes(requests, window.deadline, running, events));
                return;
            }
            Order::Consumer { queue, end, ready } => {
                let (outlet, prefetch) = Reader::consumer(key, end, &events);
                (queue, prefetch, outlet, ready)
            }
            Order::Puller {
                queue,
                asked,
                ended,
                ready,
            } => (queue, 1, Reader::puller(key, asked, ended, &events), ready),
            Order::Inbox {
                address,
                events: replies,
                ready,
            } => (address, 0, Reader::inbox(key, replies, &events), ready),
            Order::Work(work) => {
                // It finds what was published before it.
                self.step();
                work(&mut self.file);
                return;
            }
        };
        self.opening.push(Opening {
            key,
            events,
            queue,
            prefetch,
            outlet,
            ready,
        });
    }

    /// Does what is to be done.
    fn step(&mut self) {
        let looks = self.looked_at.elapsed() >= LOOK_EVERY;
        if looks {
            self.looked_at = Instant::now();
            self.look = true;
        }
        let due = self.next_due.is_some_and(|due| due <= now_ms());
        let asked =
            !(self.incoming.is_empty() && self.answers.is_empty() && self.opening.is_empty());
        match self.transact(asked || due, looks) {
            Ok(was_done) => {
                if was_done && std::mem::take(&mut self.failing) {
                    tracing::info!("{} can be written again", self.place);
                }
                self.end_readers();
            }
            Err(error) => {
                self.queues.forget();
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "{} cannot be written: {error}; trying again until it can", self.place);
                }
                self.expire();
            }
        }
    }

    /// Tells those publishers whose patience is at its end.
    fn expire(&mut self) {
        let now = Instant::now();
        let late = |incoming: &mut Incoming| incoming.until.is_some_and(|(until, _)| until <= now);
        for incoming in self.incoming.extract_if(.., late) {
            let waited = incoming.until.map_or(Duration::ZERO, |(_, waited)| waited);
            let error = PublishError::Unconfirmed { waited };
            let _gone = incoming.request.confirm.send(Err(error));
        }
    }

    /// Does it in a transaction, if there is something to do: answers whether there was.
    fn transact(&mut self, asked: bool, looks: bool) -> rusqlite::Result<bool> {
        let dead = match &mut self.life {
            Some(life) if looks && !self.readers.is_empty() => life.dead(self.file.read())?,
            _ => Vec::new(),
        };
        if !asked && dead.is_empty() && !self.is_needed()? {
            return Ok(false);
        }
        let begins = self.begin()?;
        self.look = false;
        let effects = {
            let step = Step {
                now: now_ms(),
                topology: &self.topology,
                queues: &mut self.queues,
                client: self.client,
                begins,
                life: self.life.as_ref().map(Life::name),
                port: self.port,
                readers: &self.readers,
                incoming: &self.incoming,
                answers: &self.answers,
                opening: &self.opening,
                effects: Effects::default(),
            };
            self.file.write(|file| step.run(file, &dead))?
        };
        match effects.is_none {
            true => self.look = true,
            false => self.tell(effects),
        }
        Ok(true)
    }

    /// Begins a life, if this process has none, or is written down no more: whoever
    /// took it for dead has removed the file that tells it lives. Answers whether it
    /// did.
    fn begin(&mut self) -> rusqlite::Result<bool> {
        let Some(path) = self.file.path() else {
            return Ok(self.client.is_none());
        };
        if let Some(client) = self.client {
            if clients::is_there(self.file.read(), client)? {
                return Ok(false);
            }
            tracing::warn!(
                "{} gave what this process held to others: it did not run for {} s",
                self.place,
                clients::LEASE.as_secs()
            );
        }
        let life = Life::begin(path);
        let refused = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        self.life = Some(life.map_err(refused)?);
        Ok(true)
    }

    /// Whether something in the file is for a reader here.
    fn is_needed(&self) -> rusqlite::Result<bool> {
        if !self.look {
            return Ok(false);
        }
        let file = self.file.read();
        if let Some(client) = self.client
            && !self.readers.is_empty()
            && !clients::is_there(file, client)?
        {
            return Ok(true);
        }
        if !self.readers.is_empty() && !self.queues.are_current(file)? {
            return Ok(true);
        }
        let messages = Messages(file);
        for reader in self.readers.values() {
            let changed = reader.load().0 != reader.written.0;
            if changed || reader.is_done() || reader.wants_to_know() {
                return Ok(true);
            }
            if reader.room() > 0 && messages.any(reader.queue)? {
                return Ok(true);
            }
        }
        let due = messages.next_due()?;
        Ok(!self.readers.is_empty() && due != self.next_due)
    }

    /// Says what was committed.
    fn tell(&mut self, effects: Effects) {
        if !self.answers.is_empty() {
            crash_point(Point::LinkAcked);
        }
        self.answers.clear();
        self.more = effects.more;
        self.look |= effects.more;
        self.next_due = effects.next_due;
        if let Some(again) = effects.again {
            self.client = Some(again.client);
            self.look = true;
            for (key, moved) in again.readers {
                if let Some(reader) = self.readers.get_mut(&key) {
                    reader.gone = moved.is_none();
                    let (queue, consumer) = moved.unwrap_or_default();
                    reader.lost(queue, consumer);
                }
            }
        }
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
        reader.gone = moved.is_none();
        let (queue, consumer) = moved.unwrap_or_default();
        reader.lost(queue, consumer);
        let (place, name) = (&self.place, &reader.queue_name);
        match moved {
            None => tracing::warn!("waiting for {place}: the queue is gone: {name}"),
            Some(_) => tracing::info!("queue {name} is there again at {place}"),
        }
    }

    fn published(&mut self, incoming: Incoming, way: Way, confirmed: &mut Vec<Waiting>) {
        let Incoming {
            request, _running, ..
        } = incoming;
        let Request {
            message,
            confirm,
            room,
            ..
        } = request;
        let (exchange, routing_key) = match way {
            Way::Kept => (String::new(), String::new()),
            Way::Leased(..) | Way::None => self.topology.route(&message.destination),
        };
        match way {
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
            Way::Leased(key, id) => {
                let received = Box::new(Received {
                    properties: message.properties,
                    body: message.body,
                    exchange,
                    routing_key,
                    redelivered: false,
                    delivery_count: 0,
                    deaths: Vec::new(),
                });
                if let Some(reader) = self.readers.get_mut(&key) {
                    reader.deliver(id, received);
                }
            }
        }
        confirmed.push((confirm, room, _running));
    }

    fn opened(&mut self, opening: Opening, opened: Result<(i64, i64), ()>) {
        let Opening {
            key,
            events,
            queue,
            prefetch,
            outlet,
            ready,
        } = opening;
        let Ok((id, consumer)) = opened else {
            let place = self.place.clone();
            let what = format!("queue `{queue}`");
            let _gone = ready.send(Err(BrokerError::Missing { place, what }));
            return;
        };
        let mut reader = Reader::new(key, (id, queue), consumer, prefetch, outlet, &events);
        if ready.send(Ok(())).is_err() {
            // Whoever gave up has dropped its handle, maybe before there was a reader.
            reader.wish = Wish::Stop;
        }
        self.readers.insert(key, reader);
        self.look = true;
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

    /// Strikes out readers that are done.
    fn end_readers(&mut self) {
        let done = self.readers.values().filter(|reader| reader.is_done());
        let done: Vec<_> = done.map(|reader| reader.key).collect();
        // What it answered last is in the file, or is in the next step.
        let open = |key: &Key| self.answers.iter().any(|(of, ..)| of == key);
        let done: Vec<_> = done.into_iter().filter(|key| !open(key)).collect();
        for key in done {
            let Some(reader) = self.readers.remove(&key) else {
                continue;
            };
            let struck = self.file.write(|file| {
                if reader.is_inbox() {
                    queues::remove_inbox(file, &reader.queue_name)?;
                }
                clients::unsubscribe(file, reader.consumer)
            });
            if let Err(error) = struck {
                // It holds nothing, and goes with this process.
                tracing::debug!(%error, "a consumer stays written down");
            }
        }
    }

    /// Strikes this process out.
    fn leave(mut self) {
        if let Some(client) = self.client {
            let struck = self.file.write(|file| {
                for (message, queue) in clients::strike(file, client)?.1 {
                    Messages(file).returned(message, 0)?;
                    Messages(file).wait(message, queue)?;
                }
                Ok(())
            });
            if let Err(error) = struck {
                tracing::debug!(%error, "this process stays written down until it has ended");
            }
        }
        self.disk.finish();
    }
}

/// What is done in one transaction.
struct Step<'a> {
    now: i64,
    topology: &'a Topology,
    queues: &'a mut Queues,
    client: Option<i64>,
    /// Whether it may be written down.
    begins: bool,
    life: Option<&'a str>,
    port: Option<u16>,
    readers: &'a BTreeMap<Key, Reader>,
    incoming: &'a [Incoming],
    answers: &'a [(Key, i64, Answer)],
    opening: &'a [Opening],
    effects: Effects,
}

impl Step<'_> {
    fn run(mut self, file: &Connection, dead: &[i64]) -> rusqlite::Result<Effects> {
        let messages = Messages(file);
        self.queues.refresh(file)?;
        if !self.stand(file)? {
            self.effects.is_none = true;
            return Ok(self.effects);
        }
        if self.effects.again.is_none() {
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
        if self.stands() {
            self.lease(messages)?;
        }
        self.effects.next_due = messages.next_due()?;
        let client = self.client.unwrap_or(0);
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
        let mut readers = HashMap::new();
        for reader in self.readers.values() {
            let queue = match reader.is_inbox() {
                true => Some(queues::add_inbox(file, &reader.queue_name, client)?),
                false => self.queues.named(&reader.queue_name),
            };
            let subscribe = |queue| Ok((queue, clients::subscribe(file, client, queue)?));
            let consumer: rusqlite::Result<Option<_>> = queue.map(subscribe).transpose();
            readers.insert(reader.key, consumer?);
        }
        self.client = Some(client);
        self.effects.again = Some(Again { client, readers });
        Ok(true)
    }

    /// Whether the readers are as they were before.
    fn stands(&self) -> bool {
        self.effects.again.is_none() && self.effects.moved.is_empty()
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

    fn death(&self, reason: &str, queue: String) -> Death {
        Death {
            reason: reason.to_owned(),
            queue,
            count: 1,
            time: u64::try_from(self.now / 1_000).ok(),
        }
    }

    fn fill(&mut self, messages: Messages<'_>, message: i64, queue: i64) -> rusqlite::Result<()> {
        messages.wait(message, queue)?;
        self.filled(queue);
        Ok(())
    }

    fn filled(&mut self, queue: i64) {
        if !self.effects.filled.contains(&queue) {
            self.effects.filled.push(queue);
        }
    }

    fn publish(&mut self, messages: Messages<'_>) -> rusqlite::Result<()> {
        // Whoever was taken for dead begins anew before it takes anything.
        let none = BTreeMap::new();
        let readers = if self.stands() { self.readers } else { &none };
        let mut takers = Takers::new(readers, self.client.unwrap_or(0));
        for incoming in self.incoming {
            crash_point(Point::LinkBeforeWrite);
            let message = &incoming.request.message;
            let (exchange, routing_key) = self.topology.route(&message.destination);
            let way = if let Destination::Delayed { queue, secs } = &message.destination {
                let (exchange, delay) = (self.topology.due(), exchange);
                let deaths = vec![self.death("expired", delay)];
                let (queue, dead) = (self.topology.queue(queue), self.topology.dead());
                if self.queues.named(&dead).is_none() {
                    Way::None
                } else {
                    let id = self.add(messages, message, exchange, routing_key, deaths)?;
                    let due_at = self.now + i64::from(*secs) * 1_000;
                    messages.delay(id, due_at, &queue, &dead)?;
                    if let Some(queue) = self.queues.named(&queue) {
                        // Whoever takes from it waits for when it is due.
                        self.filled(queue);
                    }
                    Way::Kept
                }
            } else {
                let route = (&*exchange, &*routing_key);
                let leads = self.queues.lead(self.topology, &message.destination, route);
                match leads {
                    None => Way::None,
                    Some(queue) => {
                        let taker = takers.next(messages, queue, message)?;
                        let add = || self.add(messages, message, exchange, routing_key, Vec::new());
                        match taker {
                            // A reply is nobody's once it is here.
                            Some(reader) if reader.is_inbox() => Way::Leased(reader.key, 0),
                            Some(reader) => {
                                let id = add()?;
                                messages.lease(id, queue, reader.consumer)?;
                                Way::Leased(reader.key, id)
                            }
                            None => {
                                let id = add()?;
                                self.fill(messages, id, queue)?;
                                Way::Kept
                            }
                        }
                    }
                }
            };
            self.effects.published.push(way);
        }
        Ok(())
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

/// How many tasks a message carries, as prefetches count them.
fn carried(message: &Message) -> u32 {
    u32::try_from(message.properties.tasks()).unwrap_or(u32::MAX)
}

/// Who of this process takes what is published to a queue, without it having to
/// wait there.
struct Takers<'a> {
    readers: &'a BTreeMap<Key, Reader>,
    /// By queue: whether nothing waits there, and those who have room, with it.
    by_queue: HashMap<i64, Vec<(Key, u32)>>,
    client: i64,
}

impl<'a> Takers<'a> {
    fn new(readers: &'a BTreeMap<Key, Reader>, client: i64) -> Self {
        Self {
            readers,
            by_queue: HashMap::new(),
            client,
        }
    }

    /// Somebody with room for a message, if none waits before it.
    fn next(
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
