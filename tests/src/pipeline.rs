//! The whole: a world with a producer, a worker, a collector and a store.

use homing_producer::Producer;
use homing_protocol::{DecodeError, Outcome, Task, TaskId};
use homing_store::{Record, Store, TaskRecord};

use crate::process::Process;
use crate::world::{World, eventually};

/// A pipeline of one worker and one collector.
#[derive(Debug)]
pub struct Pipeline {
    /// The worker.
    pub worker: Process,
    /// The collector.
    pub collector: Process,
    /// A producer.
    pub producer: Producer,
    /// The store.
    pub store: Store,
    /// Where all of it is.
    pub world: World,
}

impl Pipeline {
    /// Starts one whose worker has these flags.
    pub async fn start(worker: &[&str]) -> Self {
        Self::start_in(World::start().await, worker).await
    }

    /// Starts one in this world.
    pub async fn start_in(world: World, worker: &[&str]) -> Self {
        let worker = world.worker("worker", worker).await;
        let collector = world.collector("collector").await;
        Self {
            worker,
            collector,
            producer: world.producer().await,
            store: world.store().await,
            world,
        }
    }

    /// Submits a task and answers its id.
    ///
    /// # Panics
    ///
    /// Panics if it is not confirmed.
    pub async fn submit<T: Task>(&self, task: T) -> TaskId {
        let submitted = self.producer.submit(task).await;
        submitted.expect("a task is confirmed").id()
    }

    /// Submits a task and waits for what is stored of it.
    pub async fn record<T: Task>(&self, task: T) -> Record {
        let id = self.submit(task).await;
        self.closed(id).await
    }

    /// Waits until the task is closed in the store.
    pub async fn closed(&self, id: TaskId) -> Record {
        let look = async || {
            let record = self.store.record(id).await.expect("the store is readable");
            record.filter(|record| record.report.status.is_closed())
        };
        eventually(&format!("task {id} is closed"), look).await
    }

    /// Submits a task and waits for its stored outcome, by type.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: it is of another type.
    pub async fn outcome<T: Task>(&self, task: T) -> Result<Outcome<T>, DecodeError> {
        self.record(task).await.outcome()
    }

    /// All that is stored of a task.
    ///
    /// # Panics
    ///
    /// Panics if that is nothing.
    pub async fn task(&self, id: TaskId) -> TaskRecord {
        let task = self.store.task(id).await.expect("the store is readable");
        task.expect("something is stored of the task")
    }

    /// Waits until the handler of this task has begun `times` times.
    pub async fn began(&self, id: TaskId, times: usize) {
        let journal = self.world.journal();
        let what = format!("task {id} begins {times} times");
        eventually(&what, async || (journal.began(id) >= times).then_some(())).await;
    }

    /// Stops worker and collector, and answers their exit codes. What is not
    /// acked is ready again then.
    pub async fn stop(self) -> (i32, i32, World) {
        let worker = self.worker.stop().await;
        let collector = self.collector.stop().await;
        (worker, collector, self.world)
    }
}
