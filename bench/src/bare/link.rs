use amqprs::callbacks::{ChannelCallback, DefaultConnectionCallback};
use amqprs::channel::{
    BasicAckArguments, BasicConsumeArguments, BasicPublishArguments, BasicQosArguments, Channel,
    ConfirmSelectArguments, ConsumerMessage,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use amqprs::error::Error;
use amqprs::{Ack, BasicProperties, Cancel, CloseChannel, Nack, Return};
use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use tokio::sync::{mpsc, watch};
use url::Url;

use super::WINDOW;
use super::confirmed::Confirmed;

/// AMQP's port: <https://www.rabbitmq.com/docs/networking#ports>.
const PORT: u16 = 5672;

/// A connection with its one channel, in confirm mode.
pub(super) struct Link {
    pub(super) channel: Channel,
    connection: Connection,
    published: u64,
    /// Up to which number all is confirmed. Ends when the channel does, or when
    /// the broker refuses a message.
    confirmed: watch::Receiver<u64>,
}

impl Link {
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::open(&arguments(url)?)
            .await
            .context("cannot connect to the broker")?;
        connection
            .register_callback(DefaultConnectionCallback)
            .await?;
        let channel = connection.open_channel(None).await?;
        let (tx, confirmed) = watch::channel(0);
        let callback = Callback {
            confirmed: Confirmed::default(),
            tx: Some(tx),
        };
        channel.register_callback(callback).await?;
        channel
            .confirm_select(ConfirmSelectArguments::default())
            .await?;
        Ok(Self {
            channel,
            connection,
            published: 0,
            confirmed,
        })
    }

    /// Publishes a message to `queue`; its confirm is still to come.
    pub(super) async fn publish(
        &mut self,
        queue: &str,
        id: &str,
        body: Vec<u8>,
    ) -> Result<(), Error> {
        let properties = BasicProperties::default()
            .with_persistence(true)
            .with_correlation_id(id)
            .finish();
        let place = BasicPublishArguments::new("", queue);
        self.channel.basic_publish(properties, body, place).await?;
        self.published += 1;
        Ok(())
    }

    /// Waits until at most `waiting` messages have no confirm.
    pub(super) async fn until_waiting(&mut self, waiting: u64) -> anyhow::Result<()> {
        let wanted = self.published.saturating_sub(waiting);
        let reached = self.confirmed.wait_for(|upto| *upto >= wanted).await;
        reached.context("the broker refused a message or closed the channel")?;
        Ok(())
    }

    /// Waits for the next confirms; says up to which message all are confirmed.
    pub(super) async fn next_confirmed(&mut self) -> anyhow::Result<u64> {
        let changed = self.confirmed.changed().await;
        changed.context("the broker refused a message or closed the channel")?;
        Ok(*self.confirmed.borrow_and_update())
    }

    pub(super) fn broker_version(&self) -> String {
        self.connection.server_properties().version().to_owned()
    }

    /// How many messages have no confirm, by what is known of them.
    pub(super) fn waiting(&self) -> u64 {
        self.published - *self.confirmed.borrow()
    }

    pub(super) const fn published(&self) -> u64 {
        self.published
    }

    /// What is in `queue`, as it comes, at most [`WINDOW`] ahead of the acks.
    pub(super) async fn consume(
        &self,
        queue: &str,
    ) -> Result<mpsc::UnboundedReceiver<ConsumerMessage>, Error> {
        self.channel
            .basic_qos(BasicQosArguments::new(0, WINDOW, false))
            .await?;
        let consume = BasicConsumeArguments::new(queue, "")
            .manual_ack(true)
            .finish();
        let (_, deliveries) = self.channel.basic_consume_rx(consume).await?;
        Ok(deliveries)
    }

    /// Acks all deliveries up to `tag`.
    pub(super) async fn ack(&self, tag: u64) -> Result<(), Error> {
        self.channel
            .basic_ack(BasicAckArguments::new(tag, true))
            .await
    }

    /// Closes it. What was sent has then arrived: the broker answers in turn.
    pub(super) async fn close(self) -> Result<(), Error> {
        self.channel.close().await?;
        self.connection.close().await
    }
}

/// The tag, id and body of a delivery.
pub(super) fn take_apart(delivery: ConsumerMessage) -> anyhow::Result<(u64, String, Vec<u8>)> {
    let tag = delivery.deliver.map(|deliver| deliver.delivery_tag());
    let id = delivery
        .basic_properties
        .and_then(|mine| mine.correlation_id().cloned());
    match (tag, id, delivery.content) {
        (Some(tag), Some(id), Some(body)) => Ok((tag, id, body)),
        _ => bail!("a delivery without tag, id or body"),
    }
}

fn arguments(url: &str) -> anyhow::Result<OpenConnectionArguments> {
    let url = Url::parse(url).context("the broker's URL is none")?;
    ensure!(
        url.scheme() == "amqp",
        "the broker's URL begins with `amqp://`"
    );
    let decode = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
    let or_guest = |text: String| {
        if text.is_empty() {
            "guest".to_owned()
        } else {
            text
        }
    };
    let user = or_guest(decode(url.username())?);
    let password = or_guest(decode(url.password().unwrap_or_default())?);
    let host = url.host_str().unwrap_or("localhost");
    let port = url.port().unwrap_or(PORT);
    let mut arguments = OpenConnectionArguments::new(host, port, &user, &password);
    if let Some(vhost) = url
        .path()
        .strip_prefix('/')
        .filter(|vhost| !vhost.is_empty())
    {
        arguments.virtual_host(&decode(vhost)?);
    }
    Ok(arguments)
}

struct Callback {
    confirmed: Confirmed,
    /// Dropped to say that no confirm can be relied upon any more.
    tx: Option<watch::Sender<u64>>,
}

#[async_trait]
impl ChannelCallback for Callback {
    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        let upto = self.confirmed.note(ack.delivery_tag(), ack.mutiple());
        if let Some(tx) = &self.tx {
            tx.send_replace(upto);
        }
    }

    async fn publish_nack(&mut self, _: &Channel, _: Nack) {
        self.tx = None;
    }

    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {
        self.tx = None;
    }

    async fn close(&mut self, _: &Channel, _: CloseChannel) -> Result<(), Error> {
        self.tx = None;
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Result<(), Error> {
        self.tx = None;
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Result<bool, Error> {
        Ok(active)
    }
}
