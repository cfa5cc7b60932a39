//! Several tasks in one delivery.

use std::path::Path;
use std::time::SystemTime;

use homing_broker::Window;
use homing_protocol::{
    ContentType, Destination, Envelope, Message, Payload, QueueName, Status, Task, TaskId,
    TaskKind, Timestamp, encode_tasks,
};
use homing_store::BatchRef;
use homing_tests::kind::{Echo, Gate, Small, Unknown};
use homing_tests::{HOMING, Pipeline, TEST_WORKER, World, eventually};

const TASKS: u64 = 8;

/// A message that carries these tasks, and their ids.
pub(crate) fn bundle<T: Task>(tasks: impl Iterator<Item = T>) -> (Message, Vec<TaskId>) {
    let now = Timestamp::from(SystemTime::now());
    let envelope = |task: T| {
        let payload = Payload::encode("a payload", &task, ContentType::MessagePack, 1_000);
        let id = uuid::Uuid::now_v7().into();
        Envelope::new(id, TaskKind::of::<T>(), payload.unwrap(), now)
    };
    let envelopes: Vec<_> = tasks.map(envelope).collect();
    let ids = envelopes.iter().map(|envelope| envelope.id).collect();
    let to = Destination::Queue(QueueName::tasks());
    let message = encode_tasks(&envelopes, to, uuid::Uuid::now_v7().to_string());
    (message.unwrap(), ids)
}

async fn publish(world: &World, message: Message) {
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    publisher.publish(message).await.unwrap().await.unwrap();
}

fn gates(file: &Path) -> impl Iterator<Item = Gate> {
    let file = file.to_owned();
    (0..TASKS).map(move |_| Gate { file: file.clone() })
}

#[tokio::test]
async fn each_task_of_a_bundle_has_its_own_outcome() {
    let pipeline = Pipeline::start(&["--concurrency", "2"]).await;
    let (message, ids) = bundle((0..TASKS).map(|n| Echo { n }));

    publish(&pipeline.world, message).await;

    for (n, id) in ids.into_iter().enumerate() {
        let outcome = pipeline.closed(id).await.outcome::<Echo>().unwrap();
        assert_eq!(outcome.result.unwrap(), n as u64);
    }
    let (_, _, world) = pipeline.stop().await;
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn each_task_of_a_bundle_that_cannot_be_run_is_dead() {
    let pipeline = Pipeline::start(&[]).await;
    let (message, ids) = bundle((0..TASKS).map(|n| Unknown { n }));

    publish(&pipeline.world, message).await;

    for (n, id) in ids.into_iter().enumerate() {
        let record = pipeline.closed(id).await;
        assert_eq!(record.report.status, Status::Dead);
        let payload = format!(r#"{{"n":{n}}}"#);
        assert_eq!(record.payload_json(), Some(payload));
    }
}

/// A worker that holds a bundle dies. Whoever gets it next does not know which
/// of its tasks was to blame, so each is to travel alone from then on.
#[tokio::test]
async fn a_bundle_that_comes_again_is_split_into_singles() {
    let mut pipeline = Pipeline::start(&["--concurrency", "8"]).await;
    let file = pipeline.world.gate("gate");
    let (message, ids) = bundle(gates(&file));
    publish(&pipeline.world, message).await;
    for id in &ids {
        pipeline.began(*id, 1).await;
    }

    let one_by_one = ["--concurrency", "1", "--prefetch", "1"];
    let second = pipeline
        .world
        .start_program("second", TEST_WORKER, &one_by_one);
    let mut first = std::mem::replace(&mut pipeline.worker, second);
    first.kill().await;
    let world = &pipeline.world;
    let split = async || (world.ready("tasks").await == TASKS - 1).then_some(());
    eventually("all but the running one wait as singles", split).await;
    world.open_gate("gate");

    for id in ids {
        assert_eq!(pipeline.closed(id).await.report.status, Status::Succeeded);
    }
}

/// What travels together is told by the policy of the kind.
#[tokio::test]
async fn small_tasks_of_a_batch_share_messages_and_each_has_its_outcome() {
    const SMALL: u64 = 100;
    let world = World::start().await;
    let producer = world.producer().await;

    let batch = producer.submit_all((0..SMALL).map(|n| Small { n })).await;
    let batch = batch.unwrap();
    let messages = world.ready("tasks").await;
    let pipeline = Pipeline::start_in(world, &[]).await;
    let name = BatchRef::Id(batch.id);
    let closed = eventually("the batch is closed", async || {
        let batch = pipeline.store.batch(&name).await.unwrap();
        batch.filter(|batch| batch.is_closed())
    });

    assert_eq!((batch.total, messages), (SMALL, SMALL.div_ceil(16)));
    assert_eq!(closed.await.counts.get(Status::Succeeded), SMALL);
    let audit = pipeline.store.audit_batch(&name).await.unwrap().unwrap();
    assert_eq!((audit.closed, audit.others), (SMALL, false));
}

/// What is asked for follows what comes: after bundles of eight, three of them
/// are the 24 tasks that this worker may hold.
#[tokio::test]
async fn a_prefetch_counts_the_tasks_of_a_bundle() {
    const BEFORE: u64 = 40;
    const BUNDLES: u64 = 20;
    let pipeline = Pipeline::start(&["--concurrency", "1", "--prefetch", "24"]).await;
    let (world, file) = (&pipeline.world, pipeline.world.gate("gate"));
    let first = world.gate("first");
    for _ in 0..BEFORE {
        publish(world, bundle(gates(&first)).0).await;
    }
    world.open_gate("first");
    let ended = |tasks: u64| {
        let runs = world.journal().runs();
        let ended = runs.iter().filter(|run| run.ended).count();
        (ended as u64 == tasks).then_some(())
    };
    let worked_off = async || ended(BEFORE * TASKS);
    eventually("those are done by which it learns", worked_off).await;

    // With what is done of those before it may have asked for more, up to thrice.
    let held = 3..=9;
    for published in 1..=BUNDLES {
        publish(world, bundle(gates(&file)).0).await;
        let taken = async || {
            let taken = published - world.ready("tasks").await;
            held.contains(&taken).then_some(())
        };
        if published >= *held.end() {
            eventually("most bundles wait for others", taken).await;
        }
    }
    world.open_gate("gate");
    eventually("all are done", async || ended((BEFORE + BUNDLES) * TASKS)).await;
}

/// Of a bundle that goes back whole, those that are done would run again.
#[tokio::test]
async fn a_worker_that_stops_runs_no_task_of_a_bundle_twice() {
    let mut pipeline = Pipeline::start(&["--concurrency", "1"]).await;
    let file = pipeline.world.gate("gate");
    let (message, ids) = bundle(gates(&file));
    publish(&pipeline.world, message).await;
    eventually("a task began", async || {
        (!pipeline.world.journal().runs().is_empty()).then_some(())
    })
    .await;

    pipeline.worker.term();
    let world = &pipeline.world;
    let back = async || (world.ready("tasks").await == TASKS - 1).then_some(());
    eventually("what has not begun is back", back).await;
    world.open_gate("gate");
    let code = pipeline.worker.ended().await;
    pipeline.worker = pipeline.world.worker("second", &[]).await;
    for id in &ids {
        let record = pipeline.closed(*id).await;
        assert_eq!(record.report.status, Status::Succeeded);
    }

    assert_eq!(code, 0);
    let journal = pipeline.world.journal();
    assert!(ids.iter().all(|id| journal.began(*id) == 1));
}

/// Nothing of it has begun, so it goes back as it came.
#[tokio::test]
async fn a_bundle_that_waits_for_room_goes_back_whole() {
    let mut pipeline = Pipeline::start(&["--concurrency", "1"]).await;
    let file = pipeline.world.gate("gate");
    let first = pipeline.submit(Gate { file: file.clone() }).await;
    pipeline.began(first, 1).await;
    let (message, _) = bundle(gates(&file));
    publish(&pipeline.world, message).await;

    pipeline.worker.term();
    let world = &pipeline.world;
    let back = async || (world.ready("tasks").await == 1).then_some(());
    eventually("the bundle is back", back).await;
    world.open_gate("gate");
    assert_eq!(pipeline.worker.ended().await, 0);
}

/// `--bundle` is for rows that are small: options of theirs stay.
#[tokio::test]
async fn rows_share_messages_where_that_is_asked_for() {
    const ROWS: u64 = 100;
    let world = World::start().await;
    let rows: String = (0..ROWS).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    std::fs::write(world.gate("rows.ndjson"), rows).unwrap();
    let arguments = ["submit", "test.echo", "--rows", "rows.ndjson"];
    let options = ["--bundle", "16", "--delay", "1s", "--expires", "1h"];

    let mut submitting =
        world.start_program("submit", HOMING, &[&arguments[..], &options].concat());
    assert_eq!(submitting.ended().await, 0, "{}", submitting.stderr());
    let messages = eventually("they are due", async || {
        let ready = world.ready("tasks").await;
        (ready >= ROWS.div_ceil(16)).then_some(ready)
    })
    .await;
    let pipeline = Pipeline::start_in(world, &[]).await;
    let all = eventually("all are done", async || {
        let stats = pipeline.store.stats(None).await.unwrap();
        let succeeded: u64 = stats
            .iter()
            .map(|kind| kind.counts.get(Status::Succeeded))
            .sum();
        (succeeded >= ROWS).then_some(succeeded)
    })
    .await;

    assert_eq!((messages, all), (ROWS.div_ceil(16), ROWS));
}
