//! A whole pipeline in one process: what is promised holds for RabbitMQ, for the
//! embedded broker in a file, and for that in memory, which has no other processes.

use std::time::{Duration, Instant};

use homing_collector::CollectorConfig;
use homing_producer::Producer;
use homing_protocol::{Destination, Message, Properties, QueueName, Status, Task, TaskId};
use homing_store::{BatchRef, Record, Store};
use homing_tests::kind::{Echo, Flaky, Gate, Refuse, Small, TooLittle};
use homing_tests::{World, eventually};
use homing_worker::{Attempt, AttemptError, Worker, WorkerConfig};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Worker and collector on this runtime.
struct Running {
    stop: watch::Sender<bool>,
    stop_collector: watch::Sender<bool>,
    worker: JoinHandle<()>,
    collector: JoinHandle<()>,
    producer: Producer,
    store: Store,
    world: World,
}

fn handlers() -> Worker {
    Worker::new()
        .handler(async |task: Echo, _: Attempt| Ok::<_, AttemptError>(task.n))
        .handler(async |task: Small, _: Attempt| Ok::<_, AttemptError>(task.n))
        .handler(async |task: Refuse, _: Attempt| {
            let (amount, least) = (task.amount, 100);
            Err::<(), AttemptError>(TooLittle { amount, least }.into())
        })
        .handler(
            async |task: Flaky, attempt: Attempt| match attempt.number().get() {
                number if number <= task.failures => Err(AttemptError::from("not yet")),
                number => Ok(number),
            },
        )
        .handler(async |task: Gate, _: Attempt| {
            while !task.file.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok::<_, AttemptError>(())
        })
}

/// Runs a worker until it is asked to stop, or dropped.
fn work(world: &World, stop: &watch::Sender<bool>) -> JoinHandle<()> {
    let (broker, mut asked) = (world.broker(), stop.subscribe());
    tokio::spawn(async move {
        let config = WorkerConfig::default();
        let stop = async move { drop(asked.wait_for(|asked| *asked).await) };
        handlers().run(broker, config, stop).await.unwrap();
    })
}

fn collect(world: &World, stop: &watch::Sender<bool>) -> JoinHandle<()> {
    let (broker, store, mut asked) = (world.broker(), world.store_url(), stop.subscribe());
    tokio::spawn(async move {
        let config = CollectorConfig::default();
        let stop = async move { drop(asked.wait_for(|asked| *asked).await) };
        homing_collector::run(broker, &store, config, stop)
            .await
            .unwrap();
    })
}

impl Running {
    async fn start() -> Self {
        let world = World::start().await;
        let (stop, stop_collector) = (watch::Sender::new(false), watch::Sender::new(false));
        Self {
            worker: work(&world, &stop),
            collector: collect(&world, &stop_collector),
            producer: world.producer().await,
            store: world.store().await,
            stop,
            stop_collector,
            world,
        }
    }

    async fn submit<T: Task>(&self, task: T) -> TaskId {
        self.producer.submit(task).await.unwrap().id()
    }

    async fn closed(&self, id: TaskId) -> Record {
        let look = async || {
            let record = self.store.record(id).await.unwrap();
            record.filter(|record| record.report.status.is_closed())
        };
        eventually(&format!("task {id} is closed"), look).await
    }

    /// Lets both end what they have, the worker first: nothing waits in any queue then.
    async fn end(self) {
        self.stop.send_replace(true);
        self.worker.await.unwrap();
        let empty = async || self.world.waiting().await.is_empty().then_some(());
        eventually("all outcomes are taken", empty).await;
        self.stop_collector.send_replace(true);
        self.collector.await.unwrap();
        assert_eq!(self.world.waiting().await, []);
    }
}

#[tokio::test]
async fn a_task_that_fails_is_tried_again_and_an_error_by_value_is_final() {
    let running = Running::start().await;

    let flaky = running.submit(Flaky { failures: 1 }).await;
    let refused = running.submit(Refuse { amount: 7 }).await;

    let flaky = running.closed(flaky).await;
    assert_eq!(
        (flaky.report.status, flaky.report.attempt),
        (Status::Succeeded, 2)
    );
    let refused = running.closed(refused).await;
    assert_eq!(refused.report.status, Status::Failed);
    let error = refused.outcome::<Refuse>().unwrap().result.unwrap_err();
    assert!(error.to_string().contains("7 is too little"), "{error}");
    running.end().await;
}

#[tokio::test]
async fn a_producer_that_waits_is_told_the_outcome() {
    let running = Running::start().await;

    let submitted = running.producer.submit(Echo { n: 17 }).await.unwrap();
    let outcome = submitted.outcome().await.unwrap();

    assert_eq!(outcome.result.unwrap(), 17);
    running.closed(outcome.id).await;
    running.end().await;
}

#[tokio::test]
async fn a_delayed_task_is_never_early_and_an_expired_one_never_runs() {
    let running = Running::start().await;
    let (since, delay) = (Instant::now(), Duration::from_secs(2));

    let late = running
        .producer
        .submit(Echo { n: 1 })
        .delay(delay)
        .await
        .unwrap()
        .id();
    let expired = running.producer.submit(Echo { n: 2 }).delay(delay);
    let expired = expired
        .expires_after(Duration::from_secs(1))
        .await
        .unwrap()
        .id();

    assert_eq!(running.closed(late).await.report.status, Status::Succeeded);
    assert!(since.elapsed() >= delay);
    assert_eq!(running.closed(expired).await.report.status, Status::Expired);
    running.end().await;
}

#[tokio::test]
async fn what_no_worker_can_read_is_a_dead_letter_and_holds_up_nothing() {
    let running = Running::start().await;
    let publisher = running
        .world
        .broker()
        .publisher(homing_broker::Window::DEFAULT)
        .await
        .unwrap();
    let message = Message {
        destination: Destination::Queue(QueueName::tasks()),
        properties: Properties::default(),
        body: "no task".into(),
    };

    publisher.publish(message).await.unwrap().await.unwrap();
    let id = running.submit(Echo { n: 1 }).await;

    assert_eq!(running.closed(id).await.report.status, Status::Succeeded);
    let letters = async || {
        let letters = running.store.dead(10).await.unwrap();
        (letters.len() == 1).then_some(())
    };
    eventually("there is a dead letter", letters).await;
    running.end().await;
}

#[tokio::test]
async fn every_task_of_a_batch_has_its_outcome_though_workers_and_collectors_are_dropped_meanwhile()
{
    const TASKS: u64 = 3_000;
    let mut running = Running::start().await;
    let mut batch = running.producer.batch("dropped").await.unwrap();
    let id = batch.id();

    batch
        .submit_all((0..TASKS).map(|n| Small { n }))
        .await
        .unwrap();
    batch
        .submit_all((TASKS..2 * TASKS).map(|n| Echo { n }))
        .await
        .unwrap();
    for stored in [1, TASKS / 2, TASKS] {
        let enough = async || {
            let batch = running.store.batch(&BatchRef::Id(id)).await.unwrap()?;
            (batch.counts.closed() >= stored).then_some(())
        };
        eventually("some are stored", enough).await;
        running.worker.abort();
        running.collector.abort();
        running.worker = work(&running.world, &running.stop);
        running.collector = collect(&running.world, &running.stop_collector);
    }
    batch.seal().await.unwrap();

    let done = async || {
        let batch = running.store.batch(&BatchRef::Id(id)).await.unwrap()?;
        (batch.counts.closed() == 2 * TASKS).then_some(batch)
    };
    let batch = eventually("all are stored", done).await;
    assert_eq!(batch.counts.get(Status::Succeeded), 2 * TASKS);
    running.end().await;
}

#[tokio::test]
async fn a_worker_that_stops_ends_what_runs_and_leaves_the_rest_to_others() {
    let mut running = Running::start().await;
    let file = running.world.gate("gate");
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(running.submit(Gate { file: file.clone() }).await);
    }

    running.stop.send_replace(true);
    running.world.open_gate("gate");
    running.worker.await.unwrap();
    running.stop = watch::Sender::new(false);
    running.worker = work(&running.world, &running.stop);

    for id in held {
        assert_eq!(running.closed(id).await.report.status, Status::Succeeded);
    }
    running.end().await;
}
