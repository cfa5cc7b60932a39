//! RabbitMQ, over AMQP 0-9-1 by amqprs. Nothing of amqprs leaves this module.
//!
//! One connection per purpose, each on a thread of its own, so that a busy
//! handler never starves a heartbeat and one blocked link never blocks another.

mod acks;
mod admin;
mod backoff;
mod caution;
mod confirms;
mod consume;
mod convert;
mod generation;
mod inbox;
mod link;
mod outgoing;
mod plain;
mod probe;
mod publish;
mod pull;
mod results;
mod session;
mod share;
mod url;

use std::num::NonZeroU16;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use homing_protocol::ResultsQueues;
use homing_protocol::topology::Topology;
use tokio::sync::mpsc;

use crate::error::BrokerError;
use crate::{
    About, Broker, Consumer, Depth, Difference, Inbox, Patience, Publisher, Puller, Source, Window,
};

pub use url::{AmqpUrl, UrlError};

/// A RabbitMQ and the topology used in it.
#[derive(Debug)]
pub struct Rabbit {
    settings: Arc<link::Settings>,
    topology: Arc<Topology>,
}

impl Rabbit {
    /// The RabbitMQ at `url`; `name` shows in its list of connections. Nothing
    /// is opened yet.
    pub fn new(url: AmqpUrl, topology: Topology, patience: Patience, name: String) -> Self {
        Self {
            settings: Arc::new(link::Settings {
                url,
                patience,
                name,
            }),
            topology: Arc::new(topology),
        }
    }

    /// Place and user, for errors.
    fn who(&self) -> (String, String) {
        let url = &self.settings.url;
        (url.place(), url.user.clone())
    }

    async fn ask(&self, job: admin::Job) -> Result<admin::Found, BrokerError> {
        admin::ask(&self.settings, &self.topology, job).await
    }

    async fn open_inbox(&self) -> Result<Inbox, BrokerError> {
        let (events, rx) = mpsc::unbounded_channel();
        let (place, user) = self.who();
        let unique = format!("reply.{}", crate::mint());
        let address = self.topology.namespace().name(&unique);
        let link = inbox::InboxLink {
            place,
            user,
            exchange: self.topology.replies(),
            address: address.clone(),
            events,
            stood: false,
        };
        link::start(Arc::clone(&self.settings), "inbox", link).await?;
        Ok(Inbox {
            address,
            events: rx,
        })
    }
}

impl Broker for Rabbit {
    fn publisher(&self, window: Window) -> BoxFuture<'_, Result<Publisher, BrokerError>> {
        async move {
            let (publisher, link) = publish::publisher(&self.topology, window);
            link::start(Arc::clone(&self.settings), "publisher", link).await?;
            Ok(publisher)
        }
        .boxed()
    }

    fn consumer(
        &self,
        source: Source,
        prefetch: NonZeroU16,
    ) -> BoxFuture<'_, Result<Consumer, BrokerError>> {
        async move {
            let queue = source.queue(&self.topology);
            let remedy = match source {
                Source::Tasks(_) => consume::Remedy::Reject,
                Source::Results(_) | Source::Dead | Source::Quarantine => consume::Remedy::Deliver,
            };
            let purpose = format!("consumer of {queue}");
            let (consumer, link) =
                consume::ConsumeLink::new(&self.settings, queue, prefetch, remedy);
            link::start(Arc::clone(&self.settings), &purpose, link).await?;
            Ok(consumer)
        }
        .boxed()
    }

    fn puller(&self, source: Source) -> BoxFuture<'_, Result<Puller, BrokerError>> {
        async move {
            let queue = source.queue(&self.topology);
            let purpose = format!("puller of {queue}");
            let (puller, link) = pull::PullLink::new(self.who(), queue);
            link::start(Arc::clone(&self.settings), &purpose, link).await?;
            Ok(puller)
        }
        .boxed()
    }

    fn inbox(&self) -> BoxFuture<'_, Result<Inbox, BrokerError>> {
        self.open_inbox().boxed()
    }

    fn depths(&self) -> BoxFuture<'_, Result<Vec<Depth>, BrokerError>> {
        async move { Ok(self.ask(admin::Job::Depths).await?.depths) }.boxed()
    }

    fn apply(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move { self.ask(admin::Job::Apply(None)).await.map(drop) }.boxed()
    }

    fn spread(&self, queues: ResultsQueues) -> BoxFuture<'_, Result<ResultsQueues, BrokerError>> {
        let job = admin::Job::Apply(Some(queues));
        async move { Ok(self.ask(job).await?.results) }.boxed()
    }

    fn results_queues(&self) -> BoxFuture<'_, Result<ResultsQueues, BrokerError>> {
        async move { Ok(self.ask(admin::Job::Results).await?.results) }.boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<Difference>, BrokerError>> {
        async move { Ok(self.ask(admin::Job::Check).await?.differences) }.boxed()
    }

    fn delete(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move { self.ask(admin::Job::Delete).await.map(drop) }.boxed()
    }

    fn about(&self) -> BoxFuture<'_, Result<About, BrokerError>> {
        async move { Ok(self.ask(admin::Job::About).await?.about) }.boxed()
    }

    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn place(&self) -> String {
        format!("RabbitMQ at {}", self.settings.url.place())
    }
}
