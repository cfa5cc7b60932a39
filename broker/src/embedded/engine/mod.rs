//! The one thread of a process that works with the file.
//!
//! Whatever its links want is gathered while it writes, and done in the next
//! transaction together: publishes, answers, what is due, what dead clients held,
//! and leases for those who have room. Others see it at once; publishers are told
//! once the log is on disk, which another thread waits for meanwhile. Readers of this
//! process may have [it ahead](ahead) of the transaction.
//!
//! # Failure
//!
//! A transaction that fails changed nothing, so all that it was to do is kept and
//! tried again, for as long as publishers have patience.

mod ahead;
mod leave;
mod open;
mod publish;
mod step;
mod takers;
mod tell;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use homing_protocol::topology::Topology;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{spawn, yield_now};
use tokio::time::{Instant, sleep_until};

use self::ahead::answered_ahead;
use self::open::Opening;
pub(super) use self::open::Order;
use self::step::{Effects, Step};
use super::clients::{self, Bell, Life};
use super::disk::Disk;
use super::file::QueueFile;
use super::links::{Event, Incoming, Key, Outlet, Reader};
use super::messages::Messages;
use super::queues::Queues;
use crate::consumer::{Answer, Command, Wish};
use crate::error::{BrokerError, PublishError};

/// How often it is looked whether others live, and whether there is something
/// that nobody said.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Between tries of a transaction that failed.
const RETRY_EVERY: Duration = Duration::from_millis(200);

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
    next_tag: i64,
    /// The queues in which nothing waited when last looked at, and from which nobody
    /// took but readers here.
    ours: HashSet<i64>,
    answers: Vec<(Key, i64, Answer)>,
    opening: Vec<Opening>,
    /// Whether there may be something in the file for a reader.
    look: bool,
    looked_at: Instant,
    next_due: Option<i64>,
    /// Whether it goes on at once: more waits than was taken, or it begins anew.
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
            next_tag: 0,
            ours: HashSet::new(),
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
            self.more = false;
            tokio::select! {
                biased;
                taken = happens.recv_many(&mut burst, usize::MAX) => if taken == 0 { break },
                () = sleep_until(wakes_at) => {}
            }
            // Whatever has been said meanwhile is passed on and comes along.
            yield_now().await;
            while let Ok(event) = happens.try_recv() {
                burst.push(event);
            }
            burst.drain(..).for_each(|event| self.take(event));
            self.hand_out_ahead();
            self.step();
            if self.file.is_gone() {
                tracing::error!(
                    "{} is given up: its file was moved, deleted or replaced while in use; what \
                     waited in it is in no queue any more",
                    self.place
                );
                return;
            }
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
            Event::Woken => {
                self.ours.clear();
                self.look = true;
            }
            Event::Order(order, events) => self.order(order, events),
        }
    }

    fn answered(&mut self, key: Key, commands: &[Command]) {
        let Some(reader) = self.readers.get_mut(&key) else {
            return;
        };
        for command in commands {
            match reader.answered(command) {
                Some((tag, answer)) if tag < 0 => answered_ahead(&mut self.incoming, tag, answer),
                Some((message, answer)) => self.answers.push((key, message, answer)),
                None => {}
            }
        }
        self.look = true;
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
        if effects.is_none {
            (self.look, self.more) = (true, true);
        } else if !self.file.is_gone() {
            // What was written into a file that is gone is told to nobody.
            self.tell(effects);
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
            let changed = reader.load() != reader.written;
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
}
