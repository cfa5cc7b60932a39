use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homing_faults::{Point, Sabotage, crash_point, is_broken};
use homing_protocol::limit::{BODY_BYTES_MAX, HEADER_BYTES_MAX, NAME_BYTES_MAX};
use homing_protocol::{Destination, Message, Proof};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::consumer::Token;
use crate::error::PublishError;

/// How much may be on its way to the broker, unconfirmed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// Most messages. Below 100 a link is far slower than the broker; above
    /// 2,000 nothing is gained.
    pub messages: u16,
    /// Most bytes of bodies, in KiB.
    pub kib: u32,
    /// How long a message may wait for its confirm before its publisher is told
    /// [`PublishError::Unconfirmed`]; `None` waits for ever, across reconnects.
    /// Until then a message that the broker refuses is published again and
    /// again; with `None` its publisher is told at once, and decides.
    pub deadline: Option<Duration>,
}

impl Window {
    /// 1,000 messages or 8 MiB, and no deadline.
    pub const DEFAULT: Self = Self {
        messages: 1_000,
        kib: 8 << 10,
        deadline: None,
    };
}

impl Default for Window {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a publisher hands to its link.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) message: Message,
    pub(crate) confirm: oneshot::Sender<Result<Confirmed, PublishError>>,
    /// Room in the window, given back when the request is dropped.
    pub(crate) room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    pub(crate) barred: Barred,
}

/// Whether connections have ended over a message's exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Barred {
    Never,
    /// It was the only one on its way to it, each time: it is not stored.
    Alone,
    /// It may have been stored before another was refused.
    Among,
}

impl Barred {
    /// After another such end, of a message with so many connections before it
    /// that did not answer.
    pub(crate) const fn again(self, alone: bool, unanswered: u32) -> Self {
        match (self, unanswered) {
            (Self::Never, 0) | (Self::Alone, 1) if alone => Self::Alone,
            _ => Self::Among,
        }
    }
}

/// Publishes over one link, with the broker's confirm for each message.
///
/// Clones share the link and its window. The link closes once all clones are
/// gone and every message is confirmed or given up.
#[derive(Clone, Debug)]
pub struct Publisher {
    requests: mpsc::UnboundedSender<Request>,
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    kib_max: u32,
    closed: Arc<Semaphore>,
}

impl Publisher {
    /// The handle, and the two ends its link needs: requests, and a permit that
    /// says, when dropped, that the link has ended.
    pub(crate) fn new(
        window: Window,
    ) -> (Self, mpsc::UnboundedReceiver<Request>, OwnedSemaphorePermit) {
        let (requests, rx) = mpsc::unbounded_channel();
        let closed = Arc::new(Semaphore::new(1));
        let running = Arc::clone(&closed)
            .try_acquire_owned()
            .expect("the semaphore was made with one permit");
        let publisher = Self {
            requests,
            messages: Arc::new(Semaphore::new(usize::from(window.messages.max(1)))),
            kib: Arc::new(Semaphore::new(window.kib.max(1) as usize)),
            kib_max: window.kib.max(1),
            closed,
        };
        (publisher, rx, running)
    }

    /// Publishes `message`, as soon as the window has room for it.
    ///
    /// Answers once it is on its way; the [`Confirm`] answers once it is safe,
    /// or known not to be. Messages of one task are published in order.
    ///
    /// # Errors
    ///
    /// [`PublishError::TooLarge`] before anything is sent;
    /// [`PublishError::Closed`] if the link has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, nothing is published. A dropped `Confirm`
    /// recalls nothing.
    pub async fn publish(&self, message: Message) -> Result<Confirm, PublishError> {
        check(&message)?;
        let kib = u32::try_from(message.body.len() / 1_024 + 1).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.kib).acquire_many_owned(kib.min(self.kib_max));
        let bytes = bytes.await.map_err(|_| PublishError::Closed)?;
        let slot = Arc::clone(&self.messages).acquire_owned();
        let slot = slot.await.map_err(|_| PublishError::Closed)?;
        let (confirm, answer) = oneshot::channel();
        let request = Request {
            message,
            confirm,
            room: (slot, bytes),
            barred: Barred::Never,
        };
        self.requests
            .send(request)
            .map_err(|_| PublishError::Closed)?;
        Ok(Confirm(answer))
    }

    /// Publishes `messages`, each once the one before is confirmed: they take
    /// the place of what `tokens` stand for.
    ///
    /// One after the other, so that of a record and what follows from it the
    /// second is never there without the first.
    ///
    /// # Errors
    ///
    /// The first that failed, with the tokens, which are as before. Those before
    /// it are published, those after it are not.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the deliveries go back to their queues and the messages may or
    /// may not be published: their tasks may run again.
    pub async fn replace(
        &self,
        tokens: Vec<Token>,
        messages: Vec<Message>,
    ) -> Result<Replaced, (PublishError, Vec<Token>)> {
        let mut proof = None;
        for message in messages {
            if proof.is_some() {
                crash_point(Point::LinkPartConfirmed);
            }
            let confirmed = match self.publish(message).await {
                Ok(_) if is_broken(Sabotage::AckBeforeConfirm) => Ok(Confirmed::new()),
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            match confirmed {
                Ok(confirmed) => proof = Some(confirmed),
                Err(error) => return Err((error, tokens)),
            }
        }
        // Nothing published replaces nothing.
        let Some(proof) = proof else {
            return Err((PublishError::Closed, tokens));
        };
        Ok(Replaced { tokens, proof })
    }

    /// Waits until the link has confirmed or given up everything and is closed.
    /// Other clones keep it open.
    pub async fn close(self) {
        let Self {
            requests, closed, ..
        } = self;
        drop(requests);
        let _ended = closed.acquire().await;
    }
}

/// Refuses what would make the client or the broker end the connection.
fn check(message: &Message) -> Result<(), PublishError> {
    let properties = &message.properties;
    if let Destination::Reply { address: name } | Destination::Foreign { queue: name } =
        &message.destination
    {
        // The one routing key that somebody else chose.
        size("a reply address", name.len(), NAME_BYTES_MAX)?;
    }
    // A dead letter is as large as it came: the broker took it once.
    if message.destination != Destination::Dead {
        size("a body", message.body.len(), BODY_BYTES_MAX)?;
    }
    size("headers", properties.header_bytes(), HEADER_BYTES_MAX)?;
    let names = [
        ("a message id", &properties.message_id),
        ("a correlation id", &properties.correlation_id),
        ("a kind", &properties.kind),
        ("a content type", &properties.content_type),
        ("a reply-to", &properties.reply_to),
        ("an application id", &properties.app_id),
    ];
    for (what, name) in names {
        size(what, name.as_ref().map_or(0, String::len), NAME_BYTES_MAX)?;
    }
    let headers = properties.headers.iter();
    let longest = headers.map(|(name, _)| name.len()).max();
    size("a header's name", longest.unwrap_or(0), NAME_BYTES_MAX)
}

fn size(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), PublishError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(PublishError::TooLarge {
        what,
        bytes,
        bytes_max,
    })
}

/// The broker's confirm of one message, once it comes.
///
/// It means that the message is on disk at a majority of its queue's members:
/// <https://www.rabbitmq.com/docs/confirms#when-publishes-are-confirmed>.
#[derive(Debug)]
#[must_use = "a message is not safe until it is confirmed"]
pub struct Confirm(oneshot::Receiver<Result<Confirmed, PublishError>>);

impl Future for Confirm {
    type Output = Result<Confirmed, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(PublishError::Closed)))
    }
}

/// Proof that the broker has a message.
#[derive(Debug)]
pub struct Confirmed(());

impl Confirmed {
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

impl Proof for Confirmed {}

/// Deliveries whose replacements are confirmed.
#[derive(Debug)]
#[must_use = "a delivery that is not acked comes again"]
pub struct Replaced {
    tokens: Vec<Token>,
    proof: Confirmed,
}

impl Replaced {
    /// Takes the deliveries off their queues.
    pub fn ack(self) {
        Token::ack_all(self.tokens, &self.proof);
    }
}
