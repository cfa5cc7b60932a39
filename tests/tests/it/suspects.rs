//! Tasks that kill their worker, and tasks that were only near.

use homing_broker::Window;
use homing_protocol::{Destination, QueueName, Reason, Status, TaskId};
use homing_store::{Record, Store};
use homing_tests::kind::{Abort, Echo, Gate, Sleep};
use homing_tests::{Process, TEST_WORKER, World, eventually};

use crate::bundles::bundle;

/// Tasks that do no harm.
const INNOCENT: usize = 200;

/// Crashes before a task is a suspect, and alone before it is dead.
const CRASHES: usize = 3 + 10;

/// Enough for a task to be dead that is counted for each, and too few for one
/// that is first counted as a task among others.
const KILLS: usize = 11;

/// Starts a worker again whenever it has died.
struct Reviver<'a> {
    world: &'a World,
    workers: Vec<Process>,
    started: usize,
}

impl Reviver<'_> {
    fn revive(&mut self) {
        self.workers
            .retain_mut(|worker| worker.has_ended().is_none());
        while self.workers.len() < 2 {
            self.started += 1;
            let name = format!("worker-{}", self.started);
            let flags = ["--concurrency", "4", "--quiet"];
            let worker = self.world.start_program(&name, TEST_WORKER, &flags);
            self.workers.push(worker);
        }
    }

    /// Keeps workers alive until the task is closed.
    async fn closed(&mut self, store: &Store, id: TaskId) -> Record {
        let look = async || {
            self.revive();
            let record = store.record(id).await.unwrap();
            record.filter(|record| record.report.status.is_closed())
        };
        eventually(&format!("task {id} is closed"), look).await
    }
}

#[tokio::test]
async fn a_task_that_kills_every_worker_ends_dead_and_takes_no_other_with_it() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let (store, producer) = (world.store().await, world.producer().await);
    let mut reviver = Reviver {
        world: &world,
        workers: Vec::new(),
        started: 0,
    };
    let poison = producer.submit(Abort { times: 1_000 }).await.unwrap().id();
    let mut innocent = Vec::new();
    for _ in 0..INNOCENT {
        innocent.push(producer.submit(Sleep { ms: 5 }).await.unwrap().id());
    }
    // As one that was only unlucky: it crashes alone too, but not for ever.
    let unlucky = producer.submit(Abort { times: 5 }).await.unwrap().id();

    let dead = reviver.closed(&store, poison).await;
    let recovered = reviver.closed(&store, unlucky).await;
    for id in innocent {
        let record = reviver.closed(&store, id).await;
        assert_eq!(record.report.status, Status::Succeeded);
    }

    assert_eq!(dead.report.status, Status::Dead);
    assert_eq!(dead.report.reason, Some(Reason::CrashLoop));
    assert_eq!(dead.payload_json().as_deref(), Some(r#"{"times":1000}"#));
    let runs = world.journal().began(poison);
    assert!(runs >= CRASHES - 1, "dead after {runs} runs only");
    assert_eq!(recovered.report.status, Status::Succeeded);
    eprintln!("a poison task dead after {runs} runs; {INNOCENT} innocent ones succeeded");
}

#[tokio::test]
async fn a_suspect_is_not_counted_for_crashes_while_another_task_ran() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let (store, producer) = (world.store().await, world.producer().await);
    let file = world.gate("gate");
    let long = producer.submit(Gate { file }).await.unwrap().id();
    let (mut message, ids) = bundle([Echo { n: 7 }].into_iter());
    message.destination = Destination::Queue(QueueName::suspect());
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();

    for kill in 1..=KILLS {
        let name = format!("worker-{kill}");
        let flags = ["--concurrency", "1", "--quiet"];
        let mut worker = world.start_program(&name, TEST_WORKER, &flags);
        let began = async || (world.journal().began(long) >= kill).then_some(());
        eventually("the long task began again", began).await;
        if kill == 1 {
            let confirm = publisher.publish(message.clone()).await.unwrap();
            confirm.await.unwrap();
        }
        worker.kill().await;
    }
    world.open_gate("gate");
    let _worker = world.worker("last", &["--quiet"]).await;

    for id in [long, ids[0]] {
        let record = eventually("it is closed", async || {
            let record = store.record(id).await.unwrap();
            record.filter(|record| record.report.status.is_closed())
        });
        assert_eq!(record.await.report.status, Status::Succeeded);
    }
}
