//! How messages travel: the [`Broker`] trait, and behind it RabbitMQ, or the
//! embedded broker in a file.
//!
//! Object safe at the door ([`Broker`] hands out links, one boxed future each),
//! concrete inside ([`Publisher`], [`Consumer`]): no boxing per task. Both
//! implementations make the same handles.
//!
//! # Invariants
//!
//! A delivery is acked only with a [`Proof`](homing_protocol::Proof) that what
//! takes its place is safe. A delivery whose token is dropped goes back to its
//! queue. What was published is published again, the same message, until the
//! broker confirms it or says that it never will.
//!
//! # Failure
//!
//! Links reconnect by themselves, for ever, with backoff and jitter. A delivery
//! belongs to the connection it came over: answers to one that is gone go
//! nowhere, since the broker has already put the delivery back.

mod amqp;
mod consumer;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod mint;
mod publisher;
mod puller;
mod url;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use homing_protocol::topology::Topology;
use homing_protocol::{QueueName, Received, ResultsQueues};
use tokio::sync::mpsc;

pub use amqp::{AmqpUrl, Rabbit, UrlError};
pub use consumer::{Consumer, Delivery, Quiet, SetPrefetch, Token};
#[cfg(feature = "embedded")]
pub use embedded::{Claim, Embedded, Untaken};
pub use error::{BrokerError, PublishError};
pub use mint::mint;
pub use publisher::{Confirm, Confirmed, Publisher, Replaced, Window};
pub use puller::Puller;
pub use url::{BrokerUrl, connect};

/// Where messages are kept between processes.
///
/// Every future may be dropped: what it was opening is closed.
pub trait Broker: Send + Sync + 'static {
    /// Opens a link to publish over.
    fn publisher(&self, window: Window) -> BoxFuture<'_, Result<Publisher, BrokerError>>;

    /// Opens a link that receives from `source`, `prefetch` deliveries ahead of
    /// their answers. Where they carry bundles of tasks it soon asks for fewer, so
    /// that it is as many tasks; but for two messages at least. Those it has asked
    /// for before come all the same, and so may that many bundles at first.
    fn consumer(
        &self,
        source: Source,
        prefetch: NonZeroU16,
    ) -> BoxFuture<'_, Result<Consumer, BrokerError>>;

    /// Opens a link that takes messages from `source` one at a time, when asked.
    fn puller(&self, source: Source) -> BoxFuture<'_, Result<Puller, BrokerError>>;

    /// Opens a place for replies, which lasts as long as its link.
    fn inbox(&self) -> BoxFuture<'_, Result<Inbox, BrokerError>>;

    /// What is in each queue, in the order of the topology; every queue of outcomes
    /// that exists is among them.
    fn depths(&self) -> BoxFuture<'_, Result<Vec<Depth>, BrokerError>>;

    /// Creates every exchange, queue and binding that is not there. Outcomes stay
    /// spread over the queues they are spread over.
    fn apply(&self) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// [Applies](Self::apply), then spreads outcomes over this many queues, of which
    /// it creates those that are not there. Answers how many there are now: those
    /// above the number stay, as they may hold outcomes, and get no more. May be
    /// called while everything runs, and again if it did not come to its end.
    fn spread(&self, queues: ResultsQueues) -> BoxFuture<'_, Result<ResultsQueues, BrokerError>>;

    /// How many queues of outcomes there are.
    fn results_queues(&self) -> BoxFuture<'_, Result<ResultsQueues, BrokerError>>;

    /// Compares what is there with the topology. Creates nothing. Bindings are
    /// not compared: AMQP does not tell them.
    fn check(&self) -> BoxFuture<'_, Result<Vec<Difference>, BrokerError>>;

    /// Deletes every exchange and queue of the topology, with what is in them.
    fn delete(&self) -> BoxFuture<'_, Result<(), BrokerError>>;

    /// What it runs on.
    fn about(&self) -> BoxFuture<'_, Result<About, BrokerError>>;

    /// The exchanges and queues.
    fn topology(&self) -> &Topology;

    /// Where it is, for people: `RabbitMQ at localhost:5672`. No secret.
    fn place(&self) -> String;
}

/// What a consumer or a puller takes from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// A queue of tasks.
    Tasks(QueueName),
    /// The queue of outcomes with this number; 0 has the batch records too.
    Results(u16),
    /// The queue of dead letters.
    Dead,
    /// The queue of dead letters that no collector stored in many deliveries.
    Quarantine,
}

impl Source {
    /// The full name of its queue.
    fn queue(&self, topology: &Topology) -> String {
        match self {
            Self::Tasks(queue) => topology.queue(queue),
            Self::Results(number) => topology.results_queue(*number),
            Self::Dead => topology.dead(),
            Self::Quarantine => topology.quarantine(),
        }
    }
}

/// How long the first connection of a link may take. Later ones wait for ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// At most this long: for a command that somebody waits for.
    Within(Duration),
    /// As long as it takes, saying so: for a service. What waiting cannot cure,
    /// such as a wrong password, ends it at once.
    Forever,
}

/// A place for replies to one producer.
#[derive(Debug)]
pub struct Inbox {
    /// The address to put into tasks.
    pub address: String,
    /// What arrives.
    pub events: mpsc::UnboundedReceiver<InboxEvent>,
}

/// What arrives in an [`Inbox`].
#[derive(Debug)]
pub enum InboxEvent {
    /// A reply.
    Reply(Box<Received>),
    /// The link broke, or stands again: replies until now may be lost.
    Gap,
}

/// What is in a queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Depth {
    /// The queue's full name.
    pub queue: String,
    /// Messages that wait; `None` if the queue does not exist, or its leader did
    /// not answer in time.
    pub ready: Option<u64>,
    /// Messages delivered and not answered; `None` where it cannot be known.
    pub unacked: Option<u64>,
    /// Consumers; `None` as for `ready`.
    pub consumers: Option<u64>,
}

/// What a broker runs on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct About {
    /// `RabbitMQ`, or `SQLite` for the embedded broker.
    pub product: String,
    /// Its version, as it says it.
    pub version: String,
    /// The schema of the embedded broker's file.
    pub schema: Option<u32>,
}

/// Something that is not as the topology wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// `queue tasks`, `exchange results`.
    pub what: String,
    /// What is wrong with it, as the broker says it.
    pub detail: String,
}

impl Difference {
    /// What the detail is of what is not there at all.
    pub const MISSING: &str = "does not exist";

    /// Whether it is not there at all.
    pub fn is_missing(&self) -> bool {
        self.detail == Self::MISSING
    }
}

/// Connects to RabbitMQ. Nothing is opened yet.
pub fn rabbit(
    url: AmqpUrl,
    topology: Topology,
    patience: Patience,
    name: impl Into<String>,
) -> Arc<dyn Broker> {
    Arc::new(Rabbit::new(url, topology, patience, name.into()))
}
