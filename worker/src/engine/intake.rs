use std::sync::Arc;

use homing_broker::{Broker, Consumer, Delivery, Source, Token};
use homing_faults::{Point, crash_point};
use homing_protocol::{
    DecodeError, Destination, Envelope, Identity, QueueName, Reason, Received, TaskId, Timestamp,
    chain, decode_tasks,
};

use super::bundle::Bundle;
use super::ending::Cause;
use super::{Engine, mint, now};
use crate::error::RunError;
use crate::triage::{self, Sight, Triage, Whole};

/// Most deliveries taken from a link at once.
const TAKEN_MAX: usize = 64;

/// One task of a delivery, with the right to answer for it.
pub(super) struct TaskDelivery {
    pub(super) envelope: Envelope,
    /// The message as it came, if the task was alone in it.
    pub(super) received: Option<Box<Received>>,
    pub(super) token: Token,
    pub(super) queue: Arc<QueueName>,
    pub(super) redelivered: bool,
    /// How often it came back.
    pub(super) returns: u32,
    /// What it has in common with others that came with it.
    pub(super) bundle: Option<Arc<Bundle>>,
}

/// Opens a consumer for each queue of the configuration.
pub(super) async fn open(
    broker: &dyn Broker,
    config: &crate::WorkerConfig,
) -> Result<Vec<(Consumer, QueueName)>, RunError> {
    let prefetch = config.prefetch_least();
    let mut consumers = Vec::with_capacity(config.queues.len());
    for queue in &config.queues {
        let source = Source::Tasks(queue.clone());
        consumers.push((broker.consumer(source, prefetch).await?, queue.clone()));
    }
    Ok(consumers)
}

/// Takes deliveries until the worker stops, then waits until each is answered.
/// While suspects have their turn there are none.
pub(super) async fn run(engine: Arc<Engine>, mut consumer: Consumer, queue: QueueName) {
    let queue = Arc::new(queue);
    let mut deliveries = Vec::with_capacity(TAKEN_MAX);
    let mut suspects_turn = engine.suspects_turn.subscribe();
    loop {
        let taken = tokio::select! {
            biased;
            () = engine.stopping.cancelled() => break,
            Ok(()) = suspects_turn.changed() => {
                if *suspects_turn.borrow_and_update() {
                    consumer.hold();
                } else {
                    consumer.resume();
                }
                continue;
            }
            taken = consumer.recv_many(&mut deliveries, TAKEN_MAX) => taken,
        };
        if taken == 0 {
            engine
                .ending
                .begin(Cause::Consumer(QueueName::clone(&queue)));
            return;
        }
        for delivery in deliveries.drain(..) {
            let (engine, queue) = (Arc::clone(&engine), Arc::clone(&queue));
            let tracker = engine.deliveries.clone();
            tracker.spawn(Box::pin(engine.take(delivery, queue)));
        }
    }
    drop(engine);
    consumer.close().await;
}

impl Engine {
    /// Deals with a delivery, from reading it to its answer.
    pub(super) async fn take(self: Arc<Self>, delivery: Delivery, queue: Arc<QueueName>) {
        crash_point(Point::WorkerReceived);
        let Delivery { received, token } = delivery;
        let default_kind = self.config.default_kind.as_ref();
        let identity = decode_tasks(&received, default_kind, now(), || TaskId::from(mint()));
        let identity = match identity {
            Ok(identity) => identity,
            Err(error @ DecodeError::Version { .. }) => {
                let detail = chain(&error);
                return Box::pin(self.park_newer(token, &received, &detail, &queue)).await;
            }
            Err(error) => {
                let (reason, detail) = (Reason::from(&error), chain(&error));
                Box::pin(self.bury(token, &received, reason, &detail, &queue)).await;
                return;
            }
        };
        match triage::whole(&received, &identity, &queue) {
            Whole::Split | Whole::Name => {
                Box::pin(self.publish_singly(token, &received, &identity, &queue)).await;
            }
            Whole::Tasks => self.attend_all(token, received, identity, queue).await,
        }
    }

    /// Publishes each task of a delivery again, as a message of its own.
    async fn publish_singly(
        &self,
        token: Token,
        received: &Received,
        identity: &Identity,
        queue: &QueueName,
    ) {
        let to = Destination::Queue(queue.clone());
        self.republish(token, received, &identity.tasks, &to, queue)
            .await;
    }

    async fn attend_all(
        self: Arc<Self>,
        token: Token,
        received: Box<Received>,
        mut identity: Identity,
        queue: Arc<QueueName>,
    ) {
        let (redelivered, now) = (received.redelivered, now());
        if identity.tasks.len() == 1
            && let Some(envelope) = identity.tasks.pop()
        {
            let (triage, returns) = self.triage(&envelope, &received, &queue, now);
            let task = Box::new(TaskDelivery {
                envelope,
                received: Some(received),
                token,
                queue,
                redelivered,
                returns,
                bundle: None,
            });
            return self.attend(task, triage).await;
        }
        let tokens = token.split(identity.tasks.len());
        let bundle = Arc::new(Bundle::default());
        for (envelope, token) in identity.tasks.into_iter().zip(tokens) {
            let (triage, returns) = self.triage(&envelope, &received, &queue, now);
            let task = Box::new(TaskDelivery {
                envelope,
                received: None,
                token,
                queue: Arc::clone(&queue),
                redelivered,
                returns,
                bundle: Some(Arc::clone(&bundle)),
            });
            let engine = Arc::clone(&self);
            // The runtime moves a future several times before it lets it rest.
            let attended = Box::pin(async move { engine.attend(task, triage).await });
            self.deliveries.spawn(attended);
        }
    }

    /// What to do with a task, and how often it came back.
    fn triage(
        &self,
        envelope: &Envelope,
        received: &Received,
        queue: &QueueName,
        now: Timestamp,
    ) -> (Triage, u32) {
        let known = self.kinds.contains_key(&envelope.kind);
        let unknown_grace = self.config.unknown_grace;
        let sight = Sight::new(received, queue, known, unknown_grace, now);
        (triage::task(envelope, sight), sight.returns)
    }

    /// Does with a task what triage says.
    async fn attend(&self, task: Box<TaskDelivery>, triage: Triage) {
        let slots = match triage {
            Triage::Run => 1,
            // In its turn all the room is its own.
            Triage::RunAlone => 0,
            elsewhere => return Box::pin(self.send_away(task, elsewhere)).await,
        };
        self.start(task, slots).await;
    }

    /// Deals with a task that is not run here and now.
    async fn send_away(&self, mut task: Box<TaskDelivery>, triage: Triage) {
        if !self.may_begin(&task) {
            return;
        }
        let queue = QueueName::clone(&task.queue);
        let to = match triage {
            Triage::Run | Triage::RunAlone => Destination::Queue(queue),
            Triage::Dead(reason, detail) => return self.dead(task, reason, &detail).await,
            Triage::Suspect => {
                tracing::warn!(task.id = %task.envelope.id, task.kind = %task.envelope.kind,
                    "task {} came back three times; it will run alone", task.envelope.id);
                // What it waits for and what it crashes from here on is counted
                // from here on.
                triage::carry_crashes(&mut task.envelope, 0);
                triage::carry_parked(&mut task.envelope.carried, 0);
                task.envelope.due_at = Some(now());
                Destination::Queue(QueueName::suspect())
            }
            Triage::Delay(wait) => Destination::after(queue, wait),
            Triage::Park { crashes, parked } => {
                self.say_parked(&task.envelope.kind);
                triage::carry_crashes(&mut task.envelope, crashes);
                triage::carry_parked(&mut task.envelope.carried, parked.total_secs);
                Destination::after(queue, parked.delay)
            }
        };
        let is_suspect = to == Destination::Queue(QueueName::suspect());
        self.send_on(task, &to).await;
        if is_suspect {
            self.suspected.notify_one();
        }
    }

    /// Publishes a task again instead of its delivery.
    pub(super) async fn send_on(&self, task: Box<TaskDelivery>, to: &Destination) {
        let received = task.as_received();
        let tasks = [task.envelope];
        self.republish(task.token, &received, &tasks, to, &task.queue)
            .await;
    }
}
