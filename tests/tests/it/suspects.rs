//! Tasks that kill their worker, and tasks that were only near.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use homing_broker::Window;
use homing_protocol::{Destination, QueueName, Reason, Status, Task, TaskId};
use homing_store::{Record, Store};
use homing_tests::kind::{Abort, Echo, Gate, Single, Sleep};
use homing_tests::{
    Books, Follower, How, Pipeline, Process, Proxy, Raw, TEST_WORKER, World, eventually, scale,
    within,
};

use crate::bundles::bundle;
use crate::link_faults::world_behind;

/// Tasks that do no harm.
const INNOCENT: usize = 200;

/// Crashes before a task is a suspect, and alone before it is dead.
const CRASHES: usize = 3 + 10;

/// Enough for a task to be dead that is counted for each, and too few for one
/// that is first counted as a task among others.
const KILLS: usize = 11;

/// Tasks, workers and restarts of the tests that restart all workers.
const TASKS: usize = 1_500;
const POOL: usize = 3;
const RESTARTS: usize = 3;

/// Puts a task among the suspects.
async fn suspected<T: Task>(world: &World, task: T) -> TaskId {
    let (mut message, ids) = bundle([task].into_iter());
    message.destination = Destination::Queue(QueueName::suspect());
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    publisher.publish(message).await.unwrap().await.unwrap();
    ids[0]
}

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
    let mut suspect = None;

    for kill in 1..=KILLS {
        let name = format!("worker-{kill}");
        let flags = ["--concurrency", "1", "--quiet"];
        let mut worker = world.start_program(&name, TEST_WORKER, &flags);
        let began = async || (world.journal().began(long) >= kill).then_some(());
        eventually("the long task began again", began).await;
        if kill == 1 {
            suspect = Some(suspected(&world, Echo { n: 7 }).await);
        }
        worker.kill().await;
    }
    world.open_gate("gate");
    let _worker = world.worker("last", &["--quiet"]).await;

    for id in [Some(long), suspect].into_iter().flatten() {
        let record = eventually("it is closed", async || {
            let record = store.record(id).await.unwrap();
            record.filter(|record| record.report.status.is_closed())
        });
        assert_eq!(record.await.report.status, Status::Succeeded);
    }
}

/// Stopped while suspects come and go all the time: whatever is in its hands at
/// that moment goes back as it was.
#[tokio::test]
async fn a_worker_that_is_stopped_is_no_crash_of_the_suspect_it_has() {
    const SUSPECTS: u64 = 3_000;
    const STOPS: usize = 12;
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let mut confirms = Vec::new();
    for n in 0..SUSPECTS {
        let (mut message, _) = bundle(std::iter::once(Echo { n }));
        message.destination = Destination::Queue(QueueName::suspect());
        confirms.push(publisher.publish(message).await.unwrap());
    }
    futures::future::try_join_all(confirms).await.unwrap();
    let mut raw = Raw::connect(&world.url).await;
    let queue = world.topology().namespace().name("tasks.suspect");

    for stop in 1..=STOPS {
        let runs = world.journal().runs().len();
        let worker = world.start_program(&format!("worker-{stop}"), TEST_WORKER, &[]);
        let begun = async || (world.journal().runs().len() > runs + stop).then_some(());
        eventually("suspects run", begun).await;
        assert_eq!(worker.stop().await, 0);

        // What was returned is in front of all others.
        let first = raw
            .get(&queue)
            .await
            .expect("it was stopped before the end");
        assert!(!first.redelivered, "counted as a crash at stop {stop}");
        raw.ack(first.tag).await;
    }
}

#[tokio::test]
async fn a_suspect_that_has_to_wait_does_not_stop_the_others() {
    let pipeline = Pipeline::start(&["--concurrency", "2"]).await;
    let (world, producer) = (&pipeline.world, &pipeline.producer);
    let file = world.gate("gate");
    let long = producer.submit(Gate { file }).await.unwrap().id();
    let began = async || (world.journal().began(long) > 0).then_some(());
    eventually("the long task began", began).await;
    let suspect = suspected(world, Echo { n: 7 }).await;

    for n in 0..20 {
        let id = producer.submit(Echo { n }).await.unwrap().id();
        let record = pipeline.closed(id).await;
        assert_eq!(record.report.status, Status::Succeeded);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // None of them waited for the long task, as the suspect does.
    let waiting = world.ready("tasks.suspect").await;
    assert_eq!(waiting, 1);
    world.open_gate("gate");
    for id in [long, suspect] {
        let record = pipeline.closed(id).await;
        assert_eq!(record.report.status, Status::Succeeded);
    }
}

/// Whoever waits with the room of its kind in hand is not to be waited for.
#[tokio::test]
async fn a_suspect_of_a_kind_with_a_limit_runs_although_a_lost_task_waits_in_its_place() {
    let proxy = Proxy::start(&World::broker_url());
    let flags = ["--concurrency", "2", "--prefetch", "100"];
    let pipeline = Pipeline::start_in(world_behind(&proxy).await, &flags).await;
    let world = &pipeline.world;
    let single = || Single {
        file: world.gate("gate"),
    };
    let first = pipeline.submit(single()).await;
    pipeline.began(first, 1).await;
    let second = pipeline.submit(single()).await;
    let suspect = suspected(world, single()).await;
    // While they have it, what there is room for is not taken.
    let held = async || {
        pipeline.submit(Echo { n: 7 }).await;
        (world.ready("tasks").await > 0).then_some(())
    };
    eventually("the suspects have their turn", held).await;

    let links = proxy.open();
    proxy.cut(How::Reset);
    let back = async || (proxy.open() >= links).then_some(());
    eventually("the links are back", back).await;
    world.open_gate("gate");

    for id in [first, second, suspect] {
        let record = pipeline.closed(id).await;
        assert_eq!(record.report.status, Status::Succeeded);
    }
    // What stands still here is over once a delivery has waited too long.
    let said = pipeline.worker.stderr();
    assert!(!said.contains("waited here so long"), "{said}");
}

#[tokio::test]
async fn a_queue_that_is_gone_keeps_no_suspect_waiting() {
    let big = "tasks.big".parse().unwrap();
    let world = World::start_with(&World::broker_url(), vec![big]).await;
    let pipeline = Pipeline::start_in(world, &["--queues", "tasks,tasks.big"]).await;
    let world = &pipeline.world;
    let gone = world.topology().namespace().name("tasks.big");
    Raw::connect(&world.url).await.delete_queue(&gone).await;
    pipeline.worker.says("the queue is gone").await;

    let suspect = suspected(world, Echo { n: 7 }).await;

    let record = pipeline.closed(suspect).await;
    assert_eq!(record.report.status, Status::Succeeded);
}

#[derive(Clone, Copy, Debug)]
enum Restart {
    Stop,
    Kill,
}

async fn end(worker: &mut Process, how: Restart) {
    match how {
        Restart::Kill => worker.kill().await,
        Restart::Stop => {
            worker.term();
            worker.ended().await;
        }
    }
}

/// Kills every worker, or tells it to stop, three times in a row while they have
/// much to do; then says how many suspects that made, and what it cost.
async fn restart_all(how: Restart) -> (usize, Books) {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let producer = world.producer().await;
    let tasks = TASKS * scale();
    let mut batch = producer.batch("restarts").await.unwrap();
    let mut submitted = HashSet::new();
    for n in 0..tasks as u64 {
        submitted.insert(batch.submit(Sleep { ms: 20 + n % 40 }).await.unwrap());
    }
    let mut workers: Vec<Process> = Vec::new();
    for round in 0..=RESTARTS {
        for worker in &mut workers {
            end(worker, how).await;
        }
        workers.clear();
        let runs = world.journal().runs().len();
        for n in 0..POOL {
            let name = format!("worker-{round}-{n}");
            workers.push(world.start_program(&name, TEST_WORKER, &["--concurrency", "8"]));
        }
        // At the earliest moment, when most of what they hold is not done.
        let begun = async || (world.journal().runs().len() > runs).then_some(());
        eventually("they work", begun).await;
    }
    let restarted = (Instant::now(), follower.catch_up().await);
    let mut suspects = 0;
    let time_max = Duration::from_secs(100) * u32::try_from(scale()).unwrap();
    within(time_max, "all outcomes", follower.all(tasks)).await;
    for entry in std::fs::read_dir(&world.dir).unwrap() {
        let said = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        suspects += String::from_utf8_lossy(&said)
            .matches("will run alone")
            .count();
    }
    let rate = (tasks - restarted.1) as f64 / restarted.0.elapsed().as_secs_f64();
    eprintln!("{suspects} suspects of {tasks} tasks, {rate:.0} tasks/s afterwards");
    for worker in workers {
        worker.stop().await;
    }
    collector.stop().await;
    (suspects, follower.books(&submitted).await)
}

#[tokio::test]
async fn a_pool_that_is_killed_three_times_in_a_row_gets_over_it() {
    let (suspects, books) = restart_all(Restart::Kill).await;

    assert_eq!(books, Books::balanced(Status::Succeeded, TASKS * scale()));
    // What was in the workers' hands, and no more.
    assert!(suspects <= POOL * 16, "{suspects} suspects");
}

#[tokio::test]
async fn a_pool_that_is_stopped_three_times_in_a_row_gets_over_it() {
    let (suspects, books) = restart_all(Restart::Stop).await;

    assert_eq!(books, Books::balanced(Status::Succeeded, TASKS * scale()));
    assert!(suspects <= POOL * 16, "{suspects} suspects");
}
