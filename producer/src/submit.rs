use std::future::IntoFuture;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{
    ContentType, Envelope, Payload, QueueName, Task, TaskId, TaskKind, Timestamp,
};

use crate::error::SubmitError;
use crate::producer::{Producer, new_task_id};
use crate::reply::Handle;

/// A task about to be submitted; awaited, it is.
#[derive(Debug)]
#[must_use = "nothing is submitted until it is awaited"]
pub struct Submit<'a, T> {
    producer: &'a Producer,
    task: T,
    id: Option<TaskId>,
    queue: QueueName,
    content_type: ContentType,
    due: Due,
    expires_after: Option<Duration>,
    priority: u8,
    reply_deadline: Duration,
}

/// When it may start.
#[derive(Clone, Copy, Debug)]
enum Due {
    AtOnce,
    In(Duration),
    At(SystemTime),
}

/// How long [`Handle::outcome`] waits unless told otherwise.
const REPLY_DEADLINE: Duration = Duration::from_hours(1);

impl<'a, T: Task> Submit<'a, T> {
    pub(crate) fn new(producer: &'a Producer, task: T) -> Self {
        Self {
            producer,
            task,
            id: None,
            queue: QueueName::tasks(),
            content_type: ContentType::default(),
            due: Due::AtOnce,
            expires_after: None,
            priority: 0,
            reply_deadline: REPLY_DEADLINE,
        }
    }

    /// Does not start it before `delay` has passed. It waits in the broker, to the
    /// second: never early, and late by fractions of one.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.due = Due::In(delay);
        self
    }

    /// Does not start it before `at`, as [`delay`](Self::delay). What is past is
    /// due at once.
    pub fn at(mut self, at: SystemTime) -> Self {
        self.due = Due::At(at);
        self
    }

    /// Does not start it at all once `wait` has passed: it is then `expired`.
    pub fn expires_after(mut self, wait: Duration) -> Self {
        self.expires_after = Some(wait);
        self
    }

    /// Prefers it to others, 0 to 9, the default is 0; where the queue knows
    /// priorities, which is from RabbitMQ 4.0 on.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = priority.min(9);
        self
    }

    /// Gives it this id. Submitted twice under one id it is one task: it may
    /// run twice, and has one outcome.
    pub fn id(mut self, id: TaskId) -> Self {
        self.id = Some(id);
        self
    }

    /// Gives it an id made from its kind and `key`, with the effect of
    /// [`id`](Self::id).
    pub fn key(mut self, key: &str) -> Self {
        self.id = Some(TaskId::of_text(&format!("{} {key}", T::KIND)));
        self
    }

    /// Puts it into this queue; the default is `tasks`.
    pub fn queue(mut self, queue: QueueName) -> Self {
        self.queue = queue;
        self
    }

    /// Encodes it as JSON, readable in RabbitMQ's own pages; the default is
    /// MessagePack.
    pub fn as_json(mut self) -> Self {
        self.content_type = ContentType::Json;
        self
    }

    /// Lets [`Handle::outcome`] wait this long at most; the default is an hour.
    pub fn reply_deadline(mut self, deadline: Duration) -> Self {
        self.reply_deadline = deadline;
        self
    }

    fn envelope(&self, id: TaskId) -> Result<Envelope, SubmitError> {
        let now = Timestamp::from(SystemTime::now());
        let payload = Payload::encode(
            "a payload",
            &self.task,
            self.content_type,
            PAYLOAD_BYTES_MAX,
        )
        .map_err(|source| SubmitError::Encode { id, source })?;
        let mut envelope = Envelope::new(id, TaskKind::of::<T>(), payload, now);
        envelope.priority = self.priority;
        envelope.expires_at = self.expires_after.map(|wait| now.after(wait));
        let due_at = match self.due {
            Due::AtOnce => now,
            Due::In(delay) => now.after(delay),
            Due::At(at) => Timestamp::from(at),
        };
        envelope.due_at = Some(due_at).filter(|due| *due > now);
        Ok(envelope)
    }
}

impl<'a, T: Task> IntoFuture for Submit<'a, T> {
    type Output = Result<Handle<T>, SubmitError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    /// Submits it; answers once the broker has confirmed it.
    ///
    /// Dropped before that, it may or may not be submitted.
    fn into_future(self) -> Self::IntoFuture {
        let id = self.id.unwrap_or_else(new_task_id);
        let envelope = self.envelope(id);
        let (producer, queue, deadline) = (self.producer, self.queue, self.reply_deadline);
        async move {
            let reply = producer.send_awaited(envelope?, &queue, deadline).await?;
            Ok(Handle::new(reply))
        }
        .boxed()
    }
}
