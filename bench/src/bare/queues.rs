use amqprs::channel::{QueueDeclareArguments, QueueDeleteArguments};
use amqprs::{FieldTable, FieldValue};
use anyhow::Context as _;

use super::link::Link;

/// The two queues of the bare program, in a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Queues {
    /// `NAMESPACE.bare.tasks`
    pub tasks: String,
    /// `NAMESPACE.bare.results`
    pub results: String,
}

impl Queues {
    /// Those in `namespace`.
    pub fn new(namespace: &str) -> Self {
        Self {
            tasks: format!("{namespace}.bare.tasks"),
            results: format!("{namespace}.bare.results"),
        }
    }

    /// Creates both: durable, quorum, and nothing else said.
    ///
    /// # Errors
    ///
    /// The broker cannot be reached, or has them otherwise.
    pub async fn declare(&self, url: &str) -> anyhow::Result<()> {
        let link = Link::open(url).await?;
        let kind = FieldValue::S("quorum".try_into()?);
        let mut arguments = FieldTable::new();
        arguments.insert("x-queue-type".try_into()?, kind);
        for queue in self.both() {
            let declare = QueueDeclareArguments::durable_client_named(queue)
                .arguments(arguments.clone())
                .finish();
            let declared = link.channel.queue_declare(declare).await;
            declared.with_context(|| format!("cannot create {queue}"))?;
        }
        Ok(link.close().await?)
    }

    /// Whether both have a consumer.
    ///
    /// # Errors
    ///
    /// The broker cannot be reached, or does not have them.
    pub async fn are_consumed(&self, url: &str) -> anyhow::Result<bool> {
        let link = Link::open(url).await?;
        let mut consumed = true;
        for queue in self.both() {
            let ask = QueueDeclareArguments::new(queue).passive(true).finish();
            let found = link.channel.queue_declare(ask).await;
            let found = found.with_context(|| format!("no queue {queue}"))?;
            consumed &= found.is_some_and(|(_, _, consumers)| consumers > 0);
        }
        link.close().await?;
        Ok(consumed)
    }

    /// The version of the broker at `url`.
    ///
    /// # Errors
    ///
    /// The broker cannot be reached.
    pub async fn broker_version(url: &str) -> anyhow::Result<String> {
        let link = Link::open(url).await?;
        let version = link.broker_version();
        link.close().await?;
        Ok(version)
    }

    /// Deletes both, with what is in them.
    ///
    /// # Errors
    ///
    /// The broker cannot be reached.
    pub async fn delete(&self, url: &str) -> anyhow::Result<()> {
        let link = Link::open(url).await?;
        for queue in self.both() {
            link.channel
                .queue_delete(QueueDeleteArguments::new(queue))
                .await?;
        }
        Ok(link.close().await?)
    }

    fn both(&self) -> [&str; 2] {
        [&self.tasks, &self.results]
    }
}
