//! From submit to outcome, singly and in batches.

use std::convert::Infallible;
use std::io;

use futures::stream;
use homing_producer::{OutputError, SubmitError};
use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{BatchId, QueueName, Status, TaskId};
use homing_store::{Batch, BatchRef, Position};
use homing_tests::kind::{Echo, Fail, Refuse, TooLittle, Unknown};
use homing_tests::{Pipeline, World, eventually};

async fn pipeline() -> Pipeline {
    Pipeline::start(&["--concurrency", "16", "--prefetch", "200"]).await
}

async fn batch_closed(pipeline: &Pipeline, id: BatchId) -> Batch {
    let look = async || {
        let batch = pipeline.store.batch(&BatchRef::Id(id)).await.unwrap();
        batch.filter(Batch::is_closed)
    };
    eventually("the batch is closed", look).await
}

#[tokio::test]
async fn an_output_is_pushed_to_the_handle_by_its_type() {
    let pipeline = pipeline().await;

    for n in 0..10 {
        let handle = pipeline.producer.submit(Echo { n }).await.unwrap();

        assert_eq!(handle.output().await.unwrap(), n);
    }
}

#[tokio::test]
async fn a_failure_is_pushed_to_the_handle_as_the_tasks_own_error() {
    let pipeline = pipeline().await;

    let handle = pipeline.producer.submit(Refuse { amount: 3 }).await;
    let error = handle.unwrap().output().await.unwrap_err();

    let OutputError::Task(failure) = error else {
        panic!("no outcome: {error:?}");
    };
    let (amount, least) = (3, 100);
    assert_eq!(failure.error, Some(TooLittle { amount, least }));
}

#[tokio::test]
async fn that_a_task_is_dead_is_pushed_to_the_handle_too() {
    let pipeline = pipeline().await;

    let handle = pipeline.producer.submit(Unknown { n: 1 }).await.unwrap();
    let outcome = handle.outcome().await.unwrap();

    assert_eq!(outcome.status(), Status::Dead);
}

#[tokio::test]
async fn a_payload_travels_as_json_where_that_is_asked_for() {
    let pipeline = pipeline().await;

    let handle = pipeline.producer.submit(Echo { n: 7 }).as_json().await;
    let id = handle.unwrap().id();
    let record = pipeline.closed(id).await;

    assert_eq!(record.report.output.as_deref(), Some(&b"7"[..]));
    assert_eq!(record.report.content_type.as_str(), "application/json");
}

#[tokio::test]
async fn a_batch_of_ten_thousand_is_sealed_with_its_total_and_each_task_stored_once() {
    const TASKS: u64 = 10_000;
    let pipeline = pipeline().await;

    let tasks = (0..TASKS).map(|n| Echo { n });
    let sealed = pipeline.producer.submit_all(tasks).await.unwrap();
    let batch = batch_closed(&pipeline, sealed.id).await;

    assert_eq!((sealed.total, batch.total), (TASKS, Some(TASKS)));
    assert_eq!(batch.counts.get(Status::Succeeded), TASKS);
    assert_eq!(batch.label, "test.echo");
    assert_eq!(stored(&pipeline, sealed.id).await, TASKS as usize);
    let (_, _, world) = pipeline.stop().await;
    assert_eq!(world.waiting().await, []);
}

/// How many different tasks of the batch are stored.
async fn stored(pipeline: &Pipeline, batch: BatchId) -> usize {
    let (mut ids, mut position) = (Vec::<TaskId>::new(), Position::START);
    loop {
        let part = pipeline.store.batch_tasks(batch, &position, 1_000).await;
        let (tasks, next) = part.unwrap();
        if tasks.is_empty() {
            break;
        }
        ids.extend(tasks);
        position = next;
    }
    ids.sort();
    ids.dedup();
    ids.len()
}

#[tokio::test]
async fn a_batch_comes_from_an_iterator_or_a_stream_of_tasks_or_results() {
    let pipeline = pipeline().await;
    let producer = &pipeline.producer;
    let tasks = || (0..10).map(|n| Echo { n });

    let sealed = [
        producer.submit_all(tasks()).await,
        producer.submit_all(tasks().map(Ok::<_, Infallible>)).await,
        producer.submit_all(stream::iter(tasks())).await,
        producer
            .submit_all(stream::iter(tasks().map(Ok::<_, io::Error>)))
            .await,
    ];

    for sealed in sealed {
        let batch = batch_closed(&pipeline, sealed.unwrap().id).await;
        assert_eq!(batch.counts.get(Status::Succeeded), 10);
    }
}

#[tokio::test]
async fn a_source_that_fails_leaves_the_batch_open_and_says_after_which_row() {
    let pipeline = pipeline().await;
    let rows = [Ok(Echo { n: 1 }), Err(io::Error::other("torn"))];

    let error = pipeline.producer.submit_all(rows).await.unwrap_err();

    let SubmitError::Source { batch, rows, .. } = error else {
        panic!("another error: {error:?}");
    };
    assert_eq!(rows, 1);
    let named = BatchRef::Id(batch);
    let look = async || {
        let batch = pipeline.store.batch(&named).await.unwrap()?;
        (batch.counts.get(Status::Succeeded) == 1).then_some(batch)
    };
    let stored = eventually("the row before is stored", look).await;
    assert_eq!((stored.total, stored.is_closed()), (None, false));
}

#[tokio::test]
async fn a_task_submitted_twice_under_one_key_has_one_outcome() {
    let pipeline = pipeline().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let submitted = pipeline.producer.submit(Echo { n: 1 }).key("order-17");
        ids.push(submitted.await.unwrap().id());
    }
    let last = pipeline.submit(Echo { n: 2 }).await;

    pipeline.closed(ids[0]).await;
    pipeline.closed(last).await;

    assert_eq!(ids[0], ids[1]);
    let batch = pipeline.store.stats(None).await.unwrap();
    assert_eq!(batch[0].counts.total(), 2);
}

#[tokio::test]
async fn another_payload_under_the_same_id_is_a_conflict_and_changes_nothing() {
    let pipeline = pipeline().await;
    let first = pipeline.submit(Echo { n: 1 }).await;
    pipeline.closed(first).await;

    let second = pipeline.producer.submit(Echo { n: 2 }).id(first);
    second.await.unwrap();
    let look = async || {
        let task = pipeline.task(first).await;
        (!task.conflicts.is_empty()).then_some(task)
    };
    let task = eventually("the conflict is stored", look).await;

    assert_eq!(task.record.outcome::<Echo>().unwrap().result.unwrap(), 1);
    assert_eq!(task.conflicts.len(), 1);
}

#[tokio::test]
async fn a_payload_that_is_too_large_is_refused_before_anything_is_sent() {
    let pipeline = pipeline().await;
    let text = |bytes: usize| Fail {
        text: "x".repeat(bytes),
    };
    // A map of one field: its name, and what says how long they are.
    let around = 1 + 5 + 5;

    let fits = pipeline.record(text(PAYLOAD_BYTES_MAX - around)).await;
    let error = pipeline
        .producer
        .submit(text(PAYLOAD_BYTES_MAX - around + 1))
        .await
        .unwrap_err();

    assert_eq!(fits.report.status, Status::Exhausted);
    let kept = fits.report.payload.unwrap();
    assert_eq!(kept.len(), PAYLOAD_BYTES_MAX);
    assert!(matches!(error, SubmitError::Encode { .. }), "{error:?}");
    let after = pipeline.outcome(Echo { n: 1 }).await.unwrap();
    assert_eq!(after.result.unwrap(), 1);
}

#[tokio::test]
async fn a_task_in_another_queue_runs_on_the_workers_of_that_queue_only() {
    let big: QueueName = "tasks.big".parse().unwrap();
    let url = World::broker_url();
    let world = World::start_with(&url, vec![big.clone()]).await;
    let pipeline = Pipeline::start_in(world, &[]).await;
    let group = ["--queues", "tasks.big"];

    let submitted = pipeline.producer.submit(Echo { n: 1 }).queue(big).await;
    let in_big = submitted.unwrap().id();
    pipeline.outcome(Echo { n: 2 }).await.unwrap();
    let waiting = pipeline.world.ready("tasks.big").await;
    let other = pipeline.world.worker("big", &group).await;
    let record = pipeline.closed(in_big).await;

    assert_eq!(waiting, 1);
    assert_eq!(record.report.queue, "tasks.big");
    assert_eq!(other.stop().await, 0);
}
