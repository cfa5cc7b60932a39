//! The engine's ends of publishers, consumers, pullers and inboxes: what they say
//! becomes events of the engine.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use homing_protocol::Received;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, spawn};
use tokio::time::Instant;

use super::clients::Load;
use super::messages::tasks_of;
use crate::InboxEvent;
use crate::consumer::{Answer, Command, ConsumerEnd, Delivery, Token, Wish};
use crate::publisher::Request;
use crate::puller::Ask;

/// Requests or answers that are taken together.
const BURST: usize = 256;

/// Replies that are taken at a time.
const INBOX_ROOM: u32 = 256;

/// A reader's number in its engine.
pub(super) type Key = u64;

/// A message on its way into the file.
pub(super) struct Incoming {
    pub(super) request: Request,
    /// Until when it may wait.
    pub(super) until: Option<(Instant, Duration)>,
    pub(super) ahead: Ahead,
    /// Its publisher has not ended.
    pub(super) _running: Arc<OwnedSemaphorePermit>,
}

/// Whether a message was handed out before it is in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ahead {
    No,
    /// By this tag.
    To(Key, i64),
    /// And nobody needs it any more.
    Done,
    /// And it was given back.
    Returned,
}

/// What happens to an engine.
pub(super) enum Event {
    Published(Vec<Incoming>),
    Answered(Key, Vec<Command>),
    Wished(Key, Wish),
    Aimed(Key, NonZeroU16),
    Asked(Key, Ask),
    /// Whoever used it is gone.
    Left(Key),
    /// There may be something in the file.
    Woken,
    /// With what keeps the engine at work for it, whoever else leaves.
    Order(super::engine::Order, Events),
}

pub(super) type Events = mpsc::UnboundedSender<Event>;

/// Passes on what a publisher wants.
pub(super) async fn publishes(
    mut requests: mpsc::UnboundedReceiver<Request>,
    deadline: Option<Duration>,
    running: OwnedSemaphorePermit,
    events: Events,
) {
    let running = Arc::new(running);
    let mut burst = Vec::with_capacity(BURST);
    while requests.recv_many(&mut burst, BURST).await > 0 {
        let until = deadline.map(|deadline| (Instant::now() + deadline, deadline));
        let incoming = burst.drain(..).map(|request| Incoming {
            request,
            until,
            ahead: Ahead::No,
            _running: Arc::clone(&running),
        });
        if events.send(Event::Published(incoming.collect())).is_err() {
            return;
        }
    }
}

async fn answers(key: Key, mut commands: mpsc::UnboundedReceiver<Command>, events: Events) {
    let mut burst = Vec::with_capacity(BURST);
    while commands.recv_many(&mut burst, BURST).await > 0 {
        if events
            .send(Event::Answered(key, std::mem::take(&mut burst)))
            .is_err()
        {
            return;
        }
    }
}

async fn wishes(
    key: Key,
    mut wish: watch::Receiver<Wish>,
    mut prefetch: watch::Receiver<NonZeroU16>,
    events: Events,
) {
    loop {
        let event = tokio::select! {
            biased;
            changed = wish.changed() => match changed {
                Ok(()) => Event::Wished(key, *wish.borrow_and_update()),
                Err(_) => break,
            },
            Ok(()) = prefetch.changed() => Event::Aimed(key, *prefetch.borrow_and_update()),
        };
        if events.send(event).is_err() {
            return;
        }
    }
    let _ended = events.send(Event::Wished(key, Wish::Stop));
}

async fn asks(key: Key, mut asked: mpsc::UnboundedReceiver<Ask>, events: Events) {
    while let Some(ask) = asked.recv().await {
        if events.send(Event::Asked(key, ask)).is_err() {
            return;
        }
    }
    let _ended = events.send(Event::Left(key));
}

/// Where what a reader takes goes.
pub(super) enum Outlet {
    Consumer {
        deliveries: mpsc::UnboundedSender<Delivery>,
        quiet: watch::Sender<bool>,
        _ended: oneshot::Sender<()>,
    },
    Puller {
        asks: Vec<Ask>,
        _ended: oneshot::Sender<()>,
    },
    Inbox(mpsc::UnboundedSender<InboxEvent>),
}

/// Whoever takes messages from one queue.
pub(super) struct Reader {
    pub(super) key: Key,
    /// As it is written down in the file, until it is taken for dead.
    pub(super) consumer: i64,
    pub(super) queue: i64,
    pub(super) queue_name: String,
    pub(super) outlet: Outlet,
    pub(super) wish: Wish,
    /// Whether its queue is not there any more.
    pub(super) gone: bool,
    prefetch: u32,
    /// Of each message that is held, how many tasks are left. One that was handed out
    /// ahead is here by its tag, which is negative.
    held: HashMap<i64, u32>,
    /// The messages of such tags, once they are in the file.
    kept: HashMap<i64, i64>,
    tasks: u32,
    /// As it is in the file.
    pub(super) written: Load,
    commands: mpsc::UnboundedSender<Command>,
    answers: AbortHandle,
    events: Events,
}

impl Reader {
    pub(super) fn new(
        key: Key,
        (queue, queue_name): (i64, String),
        consumer: i64,
        prefetch: u32,
        outlet: Outlet,
        events: &Events,
    ) -> Self {
        let (commands, said) = mpsc::unbounded_channel();
        let task = spawn(answers(key, said, events.clone()));
        Self {
            key,
            consumer,
            queue,
            queue_name,
            outlet,
            wish: Wish::Receive,
            gone: false,
            prefetch,
            held: HashMap::new(),
            kept: HashMap::new(),
            tasks: 0,
            written: (0, 0),
            commands,
            answers: task.abort_handle(),
            events: events.clone(),
        }
    }

    pub(super) fn consumer(key: Key, end: ConsumerEnd, events: &Events) -> (Outlet, u32) {
        let ConsumerEnd {
            deliveries,
            wish,
            prefetch,
            quiet,
            _ended,
        } = end;
        let now = prefetch.borrow().get();
        spawn(wishes(key, wish, prefetch, events.clone()));
        let outlet = Outlet::Consumer {
            deliveries,
            quiet,
            _ended,
        };
        (outlet, u32::from(now))
    }

    pub(super) fn puller(
        key: Key,
        asked: mpsc::UnboundedReceiver<Ask>,
        ended: oneshot::Sender<()>,
        events: &Events,
    ) -> Outlet {
        spawn(asks(key, asked, events.clone()));
        Outlet::Puller {
            asks: Vec::new(),
            _ended: ended,
        }
    }

    pub(super) fn inbox(
        key: Key,
        replies: mpsc::UnboundedSender<InboxEvent>,
        events: &Events,
    ) -> Outlet {
        let (closed, events) = (replies.clone(), events.clone());
        spawn(async move {
            closed.closed().await;
            let _ended = events.send(Event::Left(key));
        });
        Outlet::Inbox(replies)
    }

    pub(super) const fn is_inbox(&self) -> bool {
        matches!(self.outlet, Outlet::Inbox(_))
    }

    /// How many tasks it takes, and holds.
    pub(super) const fn load(&self) -> Load {
        match &self.outlet {
            Outlet::Consumer { .. } if matches!(self.wish, Wish::Receive) => {
                (self.prefetch, self.tasks)
            }
            _ => (0, self.tasks),
        }
    }

    /// How many more tasks it takes now.
    pub(super) fn room(&self) -> u32 {
        match &self.outlet {
            _ if self.gone => 0,
            Outlet::Consumer { .. } if self.wish == Wish::Receive => {
                self.prefetch.saturating_sub(self.tasks)
            }
            Outlet::Consumer { .. } => 0,
            // One at a time, once every delivery before it is answered.
            Outlet::Puller { asks, .. } => {
                let pulls = asks.iter().any(|ask| matches!(ask, Ask::Pull(_)));
                u32::from(pulls && self.held.is_empty())
            }
            Outlet::Inbox(_) => INBOX_ROOM,
        }
    }

    pub(super) fn aim(&mut self, prefetch: NonZeroU16) {
        self.prefetch = u32::from(prefetch.get());
    }

    /// Whether nothing is held and nothing more is wanted.
    pub(super) fn is_done(&self) -> bool {
        self.wish == Wish::Stop && self.held.is_empty()
    }

    pub(super) fn holds_none(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes note that what was handed out ahead is in the file, and leased.
    pub(super) fn keep(&mut self, tag: i64, message: i64) {
        if self.held.contains_key(&tag) {
            self.kept.insert(tag, message);
        }
    }

    /// Hands out a message that the file has leased to it, or will have.
    pub(super) fn deliver(&mut self, message: i64, received: Box<Received>) {
        if let Outlet::Inbox(events) = &self.outlet {
            let _gone = events.send(InboxEvent::Reply(received));
            return;
        }
        let tasks = tasks_of(&received);
        self.held.insert(message, tasks);
        self.tasks += tasks;
        let tag = message.cast_unsigned();
        let token = Token::new(tag, self.commands.clone());
        let delivery = Delivery { received, token };
        match &mut self.outlet {
            // Without its handle the delivery is dropped, and so goes back.
            Outlet::Consumer { deliveries, .. } => {
                let _returned = deliveries.send(delivery);
            }
            Outlet::Puller { asks, .. } => {
                let pull = asks.iter().position(|ask| matches!(ask, Ask::Pull(_)));
                if let Some(pull) = pull
                    && let Ask::Pull(answer) = asks.remove(pull)
                {
                    let _returned = answer.send(delivery);
                }
            }
            Outlet::Inbox(_) => {}
        }
    }

    /// Takes note of an answer. Answers with the message, if it is one for it; with
    /// its tag, if it is not in the file yet.
    pub(super) fn answered(&mut self, command: &Command) -> Option<(i64, Answer)> {
        match *command {
            Command::Parts(tag, parts) => {
                if let Some(left) = self.held.get_mut(&tag.cast_signed()) {
                    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
                    let less = parts.min(*left - 1);
                    *left -= less;
                    self.tasks -= less;
                }
                None
            }
            Command::Answer(tag, answer) => {
                let message = tag.cast_signed();
                self.tasks -= self.held.remove(&message)?;
                Some((self.kept.remove(&message).unwrap_or(message), answer))
            }
        }
    }

    /// Says whether nothing comes and nothing is open.
    pub(super) fn tell(&self) {
        if let Outlet::Consumer { quiet, .. } = &self.outlet {
            let rests = self.wish != Wish::Receive && self.held.is_empty();
            quiet.send_if_modified(|now| std::mem::replace(now, rests) != rests);
        }
    }

    /// Whether it asked for something, of which it is told even that there is none.
    pub(super) fn wants_to_know(&self) -> bool {
        matches!(&self.outlet, Outlet::Puller { asks, .. } if !asks.is_empty())
            && self.held.is_empty()
    }

    /// Everything that it held is another's now.
    pub(super) fn lost(&mut self, queue: i64, consumer: i64) {
        (self.queue, self.consumer) = (queue, consumer);
        self.held.clear();
        self.kept.clear();
        self.tasks = 0;
        self.written = (0, 0);
        self.answers.abort();
        let (commands, said) = mpsc::unbounded_channel();
        self.commands = commands;
        self.answers = spawn(answers(self.key, said, self.events.clone())).abort_handle();
        if let Outlet::Inbox(events) = &self.outlet {
            let _gone = events.send(InboxEvent::Gap);
        }
    }
}
