use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use homing_broker::{Broker, BrokerError, BrokerUrl, Patience, Publisher, Window, connect, mint};
use homing_faults::{Point, crash_point};
use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::topology::Topology;
use homing_protocol::{
    BatchId, Destination, Envelope, Message, Payload, QueueName, Task, TaskId, TaskKind, Timestamp,
    encode_tasks,
};
use tokio::sync::OnceCell;

use crate::batch::{Batch, BatchSummary, Pushed};
use crate::error::{ConnectError, SubmitError};
use crate::mailbox::Mailbox;
use crate::reply::Reply;
use crate::submit::Submit;
use crate::tasks::Tasks;

/// How long a first connection may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a confirm may take, across reconnects: a restart of the broker
/// fits into it.
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(30);

/// Submits tasks over one link. Clones share it.
#[derive(Clone)]
pub struct Producer {
    broker: Arc<dyn Broker>,
    publisher: Publisher,
    /// Opened with the first task whose outcome may be awaited; `None` if this
    /// user may not have one.
    mailbox: Arc<OnceCell<Option<Mailbox>>>,
}

/// A new id for a task: UUID version 7, which sorts by time.
pub fn new_task_id() -> TaskId {
    mint().into()
}

/// Where a task goes that is to be in `queue` once it is due.
fn due(task: &Envelope, queue: &QueueName) -> Destination {
    let now = Timestamp::from(SystemTime::now());
    Destination::due(queue.clone(), task.due_at, now)
}

fn new_message_id() -> String {
    mint().to_string()
}

impl Producer {
    /// Connects to the broker at `url`: `amqp://USER:PASSWORD@HOST:PORT/VHOST`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: the URL is none, or the broker cannot be used within
    /// 5 seconds.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::connect_in(url, "").await
    }

    /// Connects to the broker that `HOMING_BROKER` names, else `AMQP_URL`, in
    /// the namespace `HOMING_NAMESPACE`, by default none.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect), and if none is named.
    pub async fn from_env() -> Result<Self, ConnectError> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = set("HOMING_BROKER").or_else(|| set("AMQP_URL"));
        let namespace = set("HOMING_NAMESPACE").unwrap_or_default();
        Self::connect_in(&url.ok_or(ConnectError::NoBroker)?, &namespace).await
    }

    async fn connect_in(url: &str, namespace: &str) -> Result<Self, ConnectError> {
        let url: BrokerUrl = url.parse()?;
        let topology = Topology::new(namespace.parse()?, []);
        let patience = Patience::Within(CONNECT_TIME_MAX);
        Ok(Self::open(connect(url, topology, patience, "homing producer")).await?)
    }

    /// Opens a link to `broker`, with the default window and 30 seconds for
    /// each confirm.
    ///
    /// # Errors
    ///
    /// [`BrokerError`]: the broker cannot be used.
    pub async fn open(broker: Arc<dyn Broker>) -> Result<Self, BrokerError> {
        let window = Window {
            deadline: Some(CONFIRM_TIME_MAX),
            ..Window::DEFAULT
        };
        Self::open_with(broker, window).await
    }

    /// Opens a link to `broker` with this window.
    ///
    /// # Errors
    ///
    /// [`BrokerError`]: the broker cannot be used.
    pub async fn open_with(broker: Arc<dyn Broker>, window: Window) -> Result<Self, BrokerError> {
        let publisher = broker.publisher(window).await?;
        Ok(Self {
            broker,
            publisher,
            mailbox: Arc::default(),
        })
    }

    /// Submits one task: `producer.submit(task).await?`. Answers once the
    /// broker has confirmed it.
    pub fn submit<T: Task>(&self, task: T) -> Submit<'_, T> {
        Submit::new(self, task)
    }

    /// Submits one task of a kind known at run time, its payload as JSON text,
    /// kept verbatim.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: it is no JSON, too large, or not confirmed.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the task may or may not be submitted.
    pub async fn submit_json(&self, kind: TaskKind, payload: &str) -> Result<TaskId, SubmitError> {
        let id = new_task_id();
        let payload = Payload::json("a payload", payload, PAYLOAD_BYTES_MAX)
            .map_err(|source| SubmitError::Encode { id, source })?;
        let now = Timestamp::from(SystemTime::now());
        let envelope = Envelope::new(id, kind, payload, now);
        self.send(&envelope, &QueueName::tasks()).await?;
        Ok(id)
    }

    /// Submits all `tasks` as one batch: an iterator or a stream, of tasks or of
    /// results. Any length; memory is bounded. Answers once all are confirmed
    /// and the batch is sealed with their number. Small tasks share messages if
    /// their kind's policy says so: [`Policy::bundle`](homing_protocol::Policy::bundle).
    ///
    /// # Errors
    ///
    /// The first [`SubmitError`]. Tasks before and around it may be submitted;
    /// the batch stays open, and its total unknown.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, some tasks may be submitted, as after an
    /// error.
    pub fn submit_all<'a, T: Task, Form>(
        &'a self,
        tasks: impl Tasks<T, Form> + 'a,
    ) -> BoxFuture<'a, Result<BatchSummary, SubmitError>> {
        let tasks = tasks.into_stream();
        Box::pin(async move {
            let mut batch = self.batch(T::KIND).await?;
            batch.submit_stream(tasks).await?;
            batch.seal().await
        })
    }

    /// Opens a batch called `label`: a label, not an id. Two batches may have
    /// the same.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: its record is not confirmed.
    pub async fn batch(&self, label: impl Into<String>) -> Result<Batch, SubmitError> {
        let id = BatchId::from(mint());
        self.resume(id, label, Timestamp::from_ms(0)).await
    }

    /// Goes on with a batch: rows submitted again have the ids they had.
    ///
    /// `after` is the time of the last record of the batch that is known: of two
    /// records the later one counts, and the clock of whoever wrote that one may
    /// be ahead.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: its record is not confirmed.
    pub async fn resume(
        &self,
        id: BatchId,
        label: impl Into<String>,
        after: Timestamp,
    ) -> Result<Batch, SubmitError> {
        let next = after.after(Duration::from_millis(1));
        Batch::open(self.clone(), id, label.into(), next).await
    }

    /// Submits an envelope to `queue`; answers once it is confirmed.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Publish`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the task may or may not be submitted.
    pub async fn send(&self, envelope: &Envelope, queue: &QueueName) -> Result<(), SubmitError> {
        self.push(envelope, queue).await?.await.map(drop)
    }

    /// Submits an envelope to `queue`; the caller awaits its confirm. Waits
    /// while the window is full.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Publish`]: it was not sent.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, it is not sent.
    pub async fn push(
        &self,
        envelope: &Envelope,
        queue: &QueueName,
    ) -> Result<Pushed, SubmitError> {
        let message = envelope.to_message(due(envelope, queue), new_message_id());
        self.publish(envelope.id, message).await
    }

    /// Submits what travels in one message to `queue`; the caller awaits its
    /// confirm, which is of all of them. Waits while the window is full.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Encode`]: they cannot travel together.
    /// [`SubmitError::Publish`]: they were not sent. Both name the first.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, none is sent.
    pub async fn push_bundle(
        &self,
        bundle: &[Envelope],
        queue: &QueueName,
    ) -> Result<Pushed, SubmitError> {
        let (id, to) = match bundle {
            [alone] => return self.push(alone, queue).await,
            [first, ..] => (first.id, due(first, queue)),
            // Refused below.
            [] => (new_task_id(), Destination::Queue(queue.clone())),
        };
        let message = encode_tasks(bundle, to, new_message_id())
            .map_err(|source| SubmitError::Encode { id, source })?;
        self.publish(id, message).await
    }

    /// Submits an envelope to `queue` and awaits its outcome for `deadline` at
    /// most; answers once it is confirmed.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Publish`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the task may or may not be submitted.
    pub async fn send_awaited(
        &self,
        mut envelope: Envelope,
        queue: &QueueName,
        deadline: Duration,
    ) -> Result<Reply, SubmitError> {
        // Awaited before it is published: its outcome may be here first.
        let waiting = self.mailbox().await.map(|mailbox| {
            envelope.reply = Some(mailbox.address.clone());
            mailbox.expect(envelope.id)
        });
        self.send(&envelope, queue).await?;
        Ok(Reply::new(envelope.id, waiting, deadline))
    }

    /// Waits until everything submitted is confirmed or given up, and closes
    /// the link. Clones keep it open.
    pub async fn close(self) {
        self.publisher.close().await;
    }

    /// Publishes a message whose first or only task is `id`.
    async fn publish(&self, id: TaskId, message: Message) -> Result<Pushed, SubmitError> {
        crash_point(Point::ProducerBeforePublish);
        let confirm = self.publisher.publish(message).await;
        crash_point(Point::ProducerPublished);
        let confirm = confirm.map_err(|source| SubmitError::Publish { id, source })?;
        Ok(Pushed::new(id, confirm))
    }

    pub(crate) const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    async fn mailbox(&self) -> Option<&Mailbox> {
        let open = async || match self.broker.inbox().await {
            Ok(inbox) => Some(Mailbox::new(inbox)),
            Err(error) => {
                tracing::warn!(error = %error, "no outcomes can be pushed to this producer; ask the store");
                None
            }
        };
        self.mailbox.get_or_init(open).await.as_ref()
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("place", &self.broker.place())
            .finish_non_exhaustive()
    }
}
