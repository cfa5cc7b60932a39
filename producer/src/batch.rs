use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{BoxStream, StreamExt as _};
use homing_broker::{Confirm, PublishError, mint};
use homing_faults::{Point, crash_point};
use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{
    BatchEvent, BatchId, BatchRecord, BatchRow, ContentType, Digest, Envelope, IdSum, Payload,
    QueueName, Task, TaskId, TaskKind, Timestamp, pack,
};

use crate::error::SubmitError;
use crate::producer::Producer;
use crate::tasks::{BoxError, Tasks};

/// Confirms a batch holds before it looks at the oldest: somewhat more than the
/// publisher's window, which is what holds it back.
const CONFIRMS_MAX: usize = 2_048;

/// Bytes from which a message takes no further task: past that nothing is gained,
/// and a message that comes again holds up more of them.
const BUNDLE_BYTES_MAX: usize = 32 << 10;

/// About what a task takes in a bundle beside its payload: id, digest, row and
/// the names of its fields.
const TASK_BYTES: usize = 100;

/// Tasks submitted together. Not sealed, it stays `open`: its total is unknown.
#[derive(Debug)]
#[must_use = "a batch that is not sealed stays open"]
pub struct Batch {
    producer: Producer,
    id: BatchId,
    label: String,
    opened_at: Timestamp,
    rows: u64,
    ids: IdSum,
    confirms: VecDeque<Pushed>,
    /// The first task that is not known to be submitted: the batch cannot be
    /// sealed any more.
    failed: Option<(TaskId, PublishError)>,
}

/// A batch, all of whose tasks are confirmed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BatchSummary {
    /// Its id.
    pub id: BatchId,
    /// How many tasks it has.
    pub total: u64,
}

/// A message on its way, with a task or a bundle of them; awaited, it is
/// confirmed.
#[derive(Debug)]
#[must_use = "a task is not safe until it is confirmed"]
pub struct Pushed {
    id: TaskId,
    confirm: Confirm,
}

impl Pushed {
    pub(crate) const fn new(id: TaskId, confirm: Confirm) -> Self {
        Self { id, confirm }
    }

    /// The task's id; of a bundle the first one's.
    pub const fn id(&self) -> TaskId {
        self.id
    }
}

impl Future for Pushed {
    type Output = Result<TaskId, SubmitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id;
        Pin::new(&mut self.confirm)
            .poll(context)
            .map(|answer| match answer {
                Ok(_) => Ok(id),
                Err(source) => Err(SubmitError::Publish { id, source }),
            })
    }
}

impl Batch {
    pub(crate) async fn open(
        producer: Producer,
        id: BatchId,
        label: String,
        after: Timestamp,
    ) -> Result<Self, SubmitError> {
        let batch = Self {
            producer,
            id,
            label,
            opened_at: after.max(SystemTime::now().into()),
            rows: 0,
            ids: IdSum::default(),
            confirms: VecDeque::new(),
            failed: None,
        };
        batch.record(BatchEvent::Opened).await?;
        crash_point(Point::ProducerBatchOpened);
        Ok(batch)
    }

    /// The batch's id.
    pub const fn id(&self) -> BatchId {
        self.id
    }

    /// Submits a task, of any kind, as the next row. Waits while the window of
    /// unconfirmed tasks is full; answers before the confirm.
    ///
    /// # Errors
    ///
    /// [`SubmitError`], also of a task submitted before.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the row is either not sent, or sent and
    /// counted.
    pub async fn submit<T: Task>(&mut self, task: T) -> Result<TaskId, SubmitError> {
        let envelope = self.row(self.rows + 1, &task)?;
        let id = envelope.id;
        self.send(&[envelope]).await?;
        Ok(id)
    }

    /// Submits all `tasks` as the next rows, as [`submit`](Self::submit) does.
    /// Small ones share messages if the policy of their kind says so; whatever is
    /// there is sent, nothing waits for others to come.
    ///
    /// # Errors
    ///
    /// The first [`SubmitError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, some tasks may be submitted.
    pub fn submit_all<'a, T: Task, Form>(
        &'a mut self,
        tasks: impl Tasks<T, Form> + 'a,
    ) -> BoxFuture<'a, Result<(), SubmitError>> {
        let tasks = tasks.into_stream();
        Box::pin(self.submit_stream(tasks))
    }

    pub(crate) async fn submit_stream<T: Task>(
        &mut self,
        tasks: BoxStream<'_, Result<T, BoxError>>,
    ) -> Result<(), SubmitError> {
        let tasks_max = T::POLICY.bundle_max();
        let mut tasks = tasks.fuse();
        while let Some(first) = tasks.next().await {
            let (mut envelopes, mut bytes, mut next) = (Vec::new(), 0, Some(first));
            let mut failed = None;
            while let Some(task) = next.take() {
                match self.nth_row(envelopes.len() as u64, task) {
                    Ok(envelope) => {
                        bytes += envelope.payload.bytes.len();
                        envelopes.push(envelope);
                    }
                    Err(error) => failed = Some(error),
                }
                let has_room = envelopes.len() < tasks_max.into() && bytes < BUNDLE_BYTES_MAX;
                if has_room && failed.is_none() {
                    next = tasks.next().now_or_never().flatten();
                }
            }
            for bundle in bundles(envelopes, tasks_max) {
                self.send(&bundle).await?;
            }
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// The row after the next `before` ones.
    fn nth_row<T: Task>(
        &self,
        before: u64,
        task: Result<T, BoxError>,
    ) -> Result<Envelope, SubmitError> {
        let rows = self.rows + before;
        match task {
            Ok(task) => self.row(rows + 1, &task),
            Err(source) => Err(SubmitError::Source {
                batch: self.id,
                rows,
                source,
            }),
        }
    }

    fn row<T: Task>(&self, row: u64, task: &T) -> Result<Envelope, SubmitError> {
        let (kind, content_type) = (TaskKind::of::<T>(), ContentType::default());
        let payload = Payload::encode("a payload", task, content_type, PAYLOAD_BYTES_MAX);
        match payload {
            Ok(payload) => Ok(self.envelope(row, kind, payload)),
            Err(source) => Err(SubmitError::Encode {
                id: TaskId::of_row(self.id, row, &kind, Digest::of(b"")),
                source,
            }),
        }
    }

    /// Sends what is to travel together as the next rows.
    async fn send(&mut self, bundle: &[Envelope]) -> Result<(), SubmitError> {
        let pushed = self.push_bundle(bundle, &QueueName::tasks()).await?;
        // Counted once it is sent: a dropped future has sent nothing.
        for envelope in bundle {
            self.rows += 1;
            self.ids.add(envelope.id);
        }
        self.confirms.push_back(pushed);
        if self.confirms.len() >= CONFIRMS_MAX {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    /// The envelope of row `row` of this batch, with the id that goes with it.
    pub fn envelope(&self, row: u64, kind: TaskKind, payload: Payload) -> Envelope {
        let id = TaskId::of_row(self.id, row, &kind, Digest::of(&payload.bytes));
        let now = Timestamp::from(SystemTime::now());
        let mut envelope = Envelope::new(id, kind, payload, now);
        envelope.batch = Some(BatchRow {
            batch: self.id,
            row,
        });
        envelope
    }

    /// Submits an envelope of this batch to `queue`; the caller awaits its
    /// confirm. Waits while the window is full.
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
        self.producer.push(envelope, queue).await
    }

    /// Submits envelopes of this batch to `queue` in one message; the caller
    /// awaits its confirm. Waits while the window is full.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Encode`]: they cannot travel together.
    /// [`SubmitError::Publish`]: they were not sent.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, none is sent.
    pub async fn push_bundle(
        &self,
        bundle: &[Envelope],
        queue: &QueueName,
    ) -> Result<Pushed, SubmitError> {
        self.producer.push_bundle(bundle, queue).await
    }

    /// Waits until all its tasks are confirmed, and says how many there are.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] of any of them. The batch then stays open.
    pub async fn seal(mut self) -> Result<BatchSummary, SubmitError> {
        while !self.confirms.is_empty() {
            self.settle_oldest().await?;
        }
        if let Some((id, source)) = self.failed.take() {
            return Err(SubmitError::Publish { id, source });
        }
        let (total, ids) = (self.rows, self.ids);
        self.seal_with(total, ids).await
    }

    /// The time that a record of the batch has which is published now. Not before
    /// the batch was opened, though a clock may be set back.
    pub fn record_time(&self) -> Timestamp {
        self.opened_at.max(SystemTime::now().into())
    }

    /// Says that it has `total` tasks with these `ids`, all confirmed, which the
    /// caller knows.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Record`].
    pub async fn seal_with(self, total: u64, ids: IdSum) -> Result<BatchSummary, SubmitError> {
        crash_point(Point::ProducerBeforeSeal);
        let ids = Some(ids);
        self.record(BatchEvent::Sealed { total, ids }).await?;
        crash_point(Point::ProducerSealed);
        Ok(BatchSummary { id: self.id, total })
    }

    async fn settle_oldest(&mut self) -> Result<(), SubmitError> {
        // Looked at before it is taken out, so that a dropped future loses none.
        if let Some(oldest) = self.confirms.front_mut() {
            let answer = oldest.await;
            self.confirms.pop_front();
            if let Err(SubmitError::Publish { id, source }) = &answer {
                self.failed.get_or_insert_with(|| (*id, source.clone()));
            }
            answer?;
        }
        Ok(())
    }

    async fn record(&self, event: BatchEvent) -> Result<(), SubmitError> {
        let record = BatchRecord {
            batch: self.id,
            label: self.label.clone(),
            event,
            at: self.record_time(),
        };
        let batch = self.id;
        let message = record
            .to_message(mint().to_string())
            .map_err(|source| SubmitError::Label { batch, source })?;
        let failed = |source| SubmitError::Record { batch, source };
        let publisher = self.producer.publisher();
        let confirm = publisher.publish(message).await.map_err(failed)?;
        confirm.await.map(drop).map_err(failed)
    }
}

/// Splits tasks into what shares a message: at most `tasks_max`, as long as they
/// are small; a large one travels alone. What shares one has the times of the
/// first.
pub fn bundles(tasks: Vec<Envelope>, tasks_max: u16) -> Vec<Vec<Envelope>> {
    let bytes_of = |task: &Envelope| TASK_BYTES + task.payload.bytes.len();
    let mut bundles = pack(tasks, tasks_max.into(), BUNDLE_BYTES_MAX, bytes_of);
    for bundle in &mut bundles {
        let [first, others @ ..] = bundle.as_mut_slice() else {
            continue;
        };
        for other in others {
            other.submitted_at = first.submitted_at;
            (other.due_at, other.expires_at) = (first.due_at, first.expires_at);
        }
    }
    bundles
}
