//! Tasks that are not to run yet.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use homing_broker::Window;
use homing_faults::{CRASH_VARIABLE, Point, is_enabled};
use homing_protocol::topology::DELAY_LEVELS;
use homing_protocol::{
    ContentType, Destination, Envelope, Payload, QueueName, Status, TaskId, TaskKind, Timestamp,
};
use homing_tests::kind::{Again, Echo, Flaky};
use homing_tests::{
    Books, Follower, HOMING, Pipeline, Raw, TIME_MAX, World, eventually, eventually_within, scale,
};

/// Later than its due time by this at most: a failure limit, far above what a
/// quiet machine shows.
fn is_in_time(delay: Duration, late: Duration) -> bool {
    late <= Duration::from_millis(1_500) + delay / 100
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Submits `n` with a delay, and answers how late it was started.
async fn lateness(pipeline: &Pipeline, delay: Duration) -> Duration {
    let due = now().after(delay);
    let task = pipeline.producer.submit(Echo { n: 1 }).delay(delay);
    let id = task.await.unwrap().id();
    let record = pipeline.closed(id).await;
    let started = record.report.started_at;
    assert!(started >= due, "started before it was due");
    started.since(due)
}

#[tokio::test]
async fn a_lone_delayed_task_is_never_early_and_hardly_late() {
    let pipeline = Pipeline::start(&[]).await;
    let mut late = Vec::new();

    for _ in 0..scale() {
        for delay in [1, 2, 3].map(Duration::from_secs) {
            let lateness = lateness(&pipeline, delay).await;
            late.push(lateness);
            assert!(is_in_time(delay, lateness), "{delay:?}: {lateness:?} late");
        }
    }

    late.sort();
    let (median, count) = (late[late.len() / 2], late.len());
    let (least, most) = (late[0], late[count - 1]);
    eprintln!("{count} tasks: late by {least:?} to {most:?}, median {median:?}");
}

#[tokio::test]
async fn a_point_in_time_that_is_past_is_due_at_once() {
    let pipeline = Pipeline::start(&[]).await;
    let past = SystemTime::now() - Duration::from_secs(3_600);

    let id = pipeline.producer.submit(Echo { n: 1 }).at(past).await;
    let record = pipeline.closed(id.unwrap().id()).await;

    assert!(record.report.waited_ms < 30_000, "{record:?}");
}

/// As after the last of the broker's longest delays: the tasks are delivered
/// before they are due, some by very little, and only their headers say so.
#[tokio::test]
async fn a_task_that_is_delivered_before_it_is_due_waits_for_the_rest() {
    let pipeline = Pipeline::start(&[]).await;
    let publisher = pipeline.world.broker().publisher(Window::DEFAULT).await;
    let publisher = publisher.unwrap();
    let mut tasks = Vec::new();
    for rest in [100, 500, 1_000, 3_000].map(Duration::from_millis) {
        let payload = Payload::encode("a payload", &Echo { n: 1 }, ContentType::Json, 100);
        let id = TaskId::from(uuid::Uuid::now_v7());
        let mut envelope = Envelope::new(id, TaskKind::of::<Echo>(), payload.unwrap(), now());
        let due = now().after(rest);
        envelope.due_at = Some(due);
        let to = Destination::Queue(QueueName::tasks());
        let message = envelope.to_message(to, id.to_string());
        publisher.publish(message).await.unwrap().await.unwrap();
        tasks.push((id, due));
    }

    for (id, due) in tasks {
        let started = pipeline.closed(id).await.report.started_at;
        assert!(started >= due, "started before it was due");
    }
}

/// Each attempt once, and each in its order: what a broker counts as a cycle of
/// dead letters would be dropped or held.
async fn is_tried(pipeline: &Pipeline, ids: Vec<TaskId>, attempts: usize) {
    for id in ids {
        let record = pipeline.closed(id).await;
        assert_eq!(record.report.attempt as usize, attempts, "{record:?}");
        let task = pipeline.task(id).await;
        let numbers: Vec<_> = task.attempts.iter().map(|a| a.report.attempt).collect();
        assert_eq!(numbers, (1..attempts as u32).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn many_retries_through_the_same_tiers_lose_nothing() {
    const TASKS: usize = 20;
    let flags = ["--attempts", "test.flaky=11", "--attempts", "test.again=4"];
    let pipeline = Pipeline::start(&flags).await;
    let (mut through_one, mut through_two) = (Vec::new(), Vec::new());
    for _ in 0..TASKS {
        through_one.push(pipeline.submit(Flaky { failures: 10 }).await);
        through_two.push(pipeline.submit(Again { failures: 3 }).await);
    }

    is_tried(&pipeline, through_one, 11).await;
    is_tried(&pipeline, through_two, 4).await;

    let (_, _, world) = pipeline.stop().await;
    assert_eq!(world.waiting().await, []);
}

/// Time to submit `count` tasks, on a busy machine.
fn time_to_submit(count: usize) -> Duration {
    Duration::from_secs(3 + count as u64 / 1_000)
}

/// However many they are (`HOMING_TEST_SCALE=200`: 100,000), the test waits as
/// long as more of them are stored.
#[tokio::test]
async fn many_tasks_that_are_due_at_once_are_all_delivered_and_none_early() {
    let count = 500 * scale();
    let pipeline = Pipeline::start(&["--concurrency", "64"]).await;
    let at = SystemTime::now() + time_to_submit(count);
    let due = Timestamp::from(at);
    let submit = |n: usize| {
        let task = pipeline.producer.submit(Echo { n: n as u64 });
        async move { task.at(at).await.map(|handle| handle.id()) }
    };
    let ids: HashSet<_> = stream::iter(0..count)
        .map(submit)
        .buffer_unordered(500)
        .try_collect()
        .await
        .unwrap();
    let left = due.since(now());
    assert!(!left.is_zero(), "they were due before all were submitted");

    let mut follower = Follower::new(pipeline.store.clone());
    let any = async || (follower.catch_up().await > 0).then_some(());
    eventually_within(left + TIME_MAX, "one of them is stored", any).await;
    follower.all(count).await;

    let took = now().since(due);
    let rate = count as f64 / took.as_secs_f64();
    let first = follower.started_first().unwrap();
    let late = first.since(due);
    eprintln!(
        "{count} tasks due at once: first started {late:.1?}, all stored {took:.1?} later, {rate:.0}/s"
    );
    let books = follower.books(&ids).await;
    assert_eq!(books, Books::balanced(Status::Succeeded, count));
    assert!(first >= due, "started before it was due");
}

/// As after a restart of a broker that forwards what was delayed before it has
/// read all bindings. Killed in between, the collector does so twice.
#[tokio::test]
async fn a_task_whose_queue_is_not_found_when_its_delay_ends_is_put_into_it() {
    assert!(is_enabled(), "run the tests by `make test`");
    let world = World::start().await;
    let producer = world.producer().await;
    let namespace = world.topology().namespace().clone();
    let (queue, due) = (namespace.name("tasks"), namespace.name("due"));
    let any_delay = "*.".repeat(DELAY_LEVELS as usize) + &queue;
    let mut raw = Raw::connect(&world.url).await;
    raw.unbind_queue(&queue, &due, &any_delay).await;
    let _worker = world.worker("worker", &[]).await;

    let delay = Duration::from_secs(1);
    let id = producer.submit(Echo { n: 7 }).delay(delay).await;
    let id = id.unwrap().id();
    let crash = [(CRASH_VARIABLE, Point::CollectorStraySent.name())];
    let mut dying = world.start_program_with("dying", HOMING, &["collector"], &crash);
    let died = dying.ended().await;
    let _collector = world.collector("collector").await;
    let store = world.store().await;
    let record = eventually("it is closed", async || {
        let record = store.record(id).await.unwrap();
        record.filter(|record| record.report.status.is_closed())
    });

    assert_eq!(record.await.report.status, Status::Succeeded);
    assert_eq!(died, -1, "{}", dying.stderr());
    eventually("no queue holds anything", async || {
        world.waiting().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(store.dead(10).await.unwrap(), []);
}
