//! Tests of your handlers: a whole pipeline in memory, in milliseconds.
//!
//! A [`Pipeline`] runs the handlers of a worker, with the same policies, retries and
//! settlements as in a worker, but an attempt at a time and in a time of its own:
//! delays and retries pass at once.
//!
//! ```
//! use homing::prelude::*;
//! use homing::testing::Pipeline;
//!
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Greet { name: String }
//! # impl Task for Greet {
//! #     const KIND: &'static str = "demo.greet";
//! #     type Output = String;
//! #     type Error = AnyError;
//! # }
//! # async fn greet(task: Greet, attempt: Attempt) -> Result<String, AttemptError> {
//! #     if attempt.number().get() == 1 { return Err("not yet".into()); }
//! #     Ok(format!("hello, {}", task.name))
//! # }
//! # async fn test() {
//! let mut pipeline = Pipeline::start(Worker::new().handler(greet)).await;
//!
//! let id = pipeline.submit(Greet { name: "world".into() }).await;
//! pipeline.run().await;
//!
//! assert_eq!(pipeline.outcome::<Greet>(id).result.unwrap(), "hello, world");
//! assert_eq!(pipeline.attempts(id).len(), 2);
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
//! ```
//!
//! Handlers run *at least once*: a worker may die at any time, and a delivery may
//! come twice. [`each_seed`] runs a scenario under such [`Faults`] and finds the
//! handlers whose effects are then others.
//!
//! # Limits
//!
//! Tasks run one after the other: a handler that waits for the outcome of another
//! task waits for ever. What a handler does with the time of the machine it does
//! in real time; under `#[tokio::test(start_paused = true)]` tokio's own passes at
//! once as well.

mod faults;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use homing_broker::{Broker, Embedded};
use homing_producer::{Producer, new_task_id};
use homing_protocol::topology::Topology;
use homing_protocol::{
    AttemptNumber, Envelope, Namespace, Outcome, Reason, Report, Status, Task, TaskId, Timestamp,
    decode_tasks,
};
use homing_worker::Worker;
use homing_worker::testing::{Attempts, Settled};

pub use faults::{Faults, each_seed};

use queue::Queue;

/// The name of the queue, in reports.
const QUEUE: &str = "tasks";

/// A pipeline in memory.
pub struct Pipeline {
    attempts: Attempts,
    broker: Arc<Embedded>,
    producer: Producer,
    queue: Queue,
    faults: Faults,
    now: Timestamp,
    submitted: Vec<Envelope>,
    tasks: BTreeMap<TaskId, Story>,
}

/// What became of a task.
#[derive(Default)]
struct Story {
    attempts: Vec<Attempted>,
    outcome: Option<Report>,
}

/// An attempt that was made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Attempted {
    /// Which one, from 1. One whose process died is made again under its number.
    pub number: AttemptNumber,
    /// When, in the time of the pipeline.
    pub at: Timestamp,
    /// What came of it.
    pub settled: Settled,
}

impl Pipeline {
    /// A pipeline with the handlers of `worker`.
    ///
    /// # Panics
    ///
    /// Panics if the worker could not be run: it has no handlers, or two of a kind.
    pub async fn start<S: Send + Sync + 'static>(worker: Worker<S>) -> Self {
        Self::start_with(|_| worker).await
    }

    /// The same, for handlers that submit tasks by this producer.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub async fn start_with<S, F>(worker: F) -> Self
    where
        S: Send + Sync + 'static,
        F: FnOnce(Producer) -> Worker<S>,
    {
        let topology = Topology::new(Namespace::default(), []);
        let broker = Arc::new(Embedded::in_memory(topology));
        let applied = broker.apply().await;
        applied.expect("queues can be created in memory");
        let opened = Producer::open(Arc::clone(&broker) as Arc<dyn Broker>).await;
        let producer = opened.expect("a producer can be opened in memory");
        let attempts = Attempts::of(worker(producer.clone()));
        Self {
            attempts: attempts.unwrap_or_else(|error| panic!("the worker cannot run: {error}")),
            broker,
            producer,
            queue: Queue::default(),
            faults: Faults::none(),
            now: SystemTime::now().into(),
            submitted: Vec::new(),
            tasks: BTreeMap::new(),
        }
    }

    /// The same pipeline, under these faults.
    #[must_use]
    pub fn with(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// What submits to it: batches, delays, expiry, other kinds.
    pub const fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Submits a task.
    ///
    /// # Panics
    ///
    /// Panics if it is refused, as one that is too large.
    pub async fn submit<T: Task>(&self, task: T) -> TaskId {
        match self.producer.submit(task).await {
            Ok(handle) => handle.id(),
            Err(error) => panic!("the task is not submitted: {error}"),
        }
    }

    /// Runs until nothing is left to do: what was submitted, what that submits, and
    /// all retries and delays, each when it is due.
    ///
    /// # Panics
    ///
    /// Panics if a task is not what its headers say, which only a bug of Homing's
    /// makes.
    pub async fn run(&mut self) {
        loop {
            self.receive().await;
            let Some((due, task)) = self.queue.next(self.now, &mut self.faults) else {
                return;
            };
            self.now = self.now.max(due);
            self.attempt(task).await;
        }
    }

    /// The outcome of a task.
    ///
    /// # Panics
    ///
    /// Panics if it has none yet, or is of another type.
    pub fn outcome<T: Task>(&self, id: TaskId) -> Outcome<T> {
        let report = self.tasks.get(&id).and_then(|story| story.outcome.as_ref());
        let report = report.unwrap_or_else(|| panic!("task {id} has no outcome; call `run` first"));
        let outcome = Outcome::from_report(report);
        outcome.unwrap_or_else(|error| panic!("the outcome of task {id}: {error}"))
    }

    /// The attempts that were made at a task, in turn.
    pub fn attempts(&self, id: TaskId) -> &[Attempted] {
        self.tasks.get(&id).map_or(&[], |story| &story.attempts)
    }

    /// The tasks of this type that were submitted until the last [`run`](Self::run),
    /// by the test and by handlers, with their ids.
    ///
    /// # Panics
    ///
    /// Panics if one of its kind is of another type.
    pub fn submitted<T: Task>(&self) -> Vec<(TaskId, T)> {
        let of_kind = self
            .submitted
            .iter()
            .filter(|task| task.kind.as_str() == T::KIND);
        let tasks = of_kind.map(|task| {
            let payload = task.payload.decode();
            let payload = payload.unwrap_or_else(|error| panic!("a `{}` task: {error}", T::KIND));
            (task.id, payload)
        });
        tasks.collect()
    }

    /// The time of the pipeline: that of the machine when it was started, and all
    /// delays that have passed since.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Takes what was submitted meanwhile.
    async fn receive(&mut self) {
        let received = self.broker.take_tasks().await;
        for received in received.expect("queues in memory can be read") {
            let real = Timestamp::from(SystemTime::now());
            let read = decode_tasks(&received, None, real, new_task_id);
            for mut task in read.expect("a producer writes tasks").tasks {
                // It was said in the time of the machine.
                let mine = |at: Timestamp| self.now.after(at.since(real));
                task.submitted_at = self.now;
                task.due_at = task.due_at.map(mine);
                task.expires_at = task.expires_at.map(mine);
                self.submitted.push(task.clone());
                self.queue.add(task.due_at.unwrap_or(self.now), task);
            }
        }
    }

    async fn attempt(&mut self, task: Envelope) {
        if task.expires_at.is_some_and(|at| at <= self.now) {
            let report = self.dead(&task, Reason::Expired, "not started in time".to_owned());
            return self.close(report);
        }
        let settled = self.attempts.run(&task, self.faults.crash(task.id)).await;
        let story = self.tasks.entry(task.id).or_default();
        story.attempts.push(Attempted {
            number: task.attempt,
            at: self.now,
            settled: settled.clone(),
        });
        if settled == Settled::Crashed || self.faults.loses(task.id) {
            // Nobody heard of it: the delivery comes again.
            return self.queue.add(self.now, task);
        }
        if self.faults.doubles(task.id) {
            self.queue.add(self.now, task.clone());
        }
        self.settle(task, settled);
    }

    fn settle(&mut self, mut task: Envelope, settled: Settled) {
        let report = match settled {
            Settled::Retry(_, delay) => {
                task.attempt = task.attempt.next();
                return self.queue.add(self.now.after(delay), task);
            }
            Settled::Output(output) => {
                let mut report = self.report(&task, Status::Succeeded);
                report.output = Some(output);
                report
            }
            Settled::Failure(status, error, data) => {
                let mut report = self.report(&task, status);
                (report.error, report.error_data) = (Some(error), data);
                report
            }
            Settled::Dead(reason, detail) => self.dead(&task, reason, detail),
            _ => return self.queue.add(self.now, task),
        };
        self.close(report);
    }

    fn dead(&self, task: &Envelope, reason: Reason, detail: String) -> Report {
        let mut report = self.report(task, reason.status());
        (report.reason, report.error) = (Some(reason), Some(detail));
        report
    }

    fn report(&self, task: &Envelope, status: Status) -> Report {
        let mut report = Report::new(task, status, QUEUE, self.now);
        report.attempt = task.attempt.get();
        report
    }

    /// The first outcome stays.
    fn close(&mut self, report: Report) {
        let story = self.tasks.entry(report.task).or_default();
        story.outcome.get_or_insert(report);
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("attempts", &self.attempts)
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}
