//! Processes that hang, and go on long after everybody has given them up.

use homing_protocol::Status;
use homing_tests::Pipeline;
use homing_tests::kind::{Echo, Gate};

/// The broker notices by missed heartbeats, and gives the task to another
/// worker. The first one then finds its link gone, its outcome too late, and
/// goes on.
#[tokio::test]
async fn a_worker_that_hangs_loses_its_task_and_its_late_outcome_changes_nothing() {
    let pipeline = Pipeline::start(&["--concurrency", "1", "--prefetch", "1"]).await;
    let file = pipeline.world.gate("gate");
    let id = pipeline.submit(Gate { file }).await;
    pipeline.began(id, 1).await;

    pipeline.worker.freeze();
    let second = pipeline.world.worker("second", &[]).await;
    pipeline.began(id, 2).await;
    pipeline.world.open_gate("gate");
    let first_outcome = pipeline.closed(id).await;
    assert_eq!(second.stop().await, 0);
    pipeline.worker.thaw();
    let after = pipeline.submit(Echo { n: 1 }).await;
    pipeline.closed(after).await;

    let record = pipeline.closed(id).await;
    assert_eq!(record.report.status, Status::Succeeded);
    assert_eq!(record.report.attempt_id, first_outcome.report.attempt_id);
    let (worker, _, world) = pipeline.stop().await;
    assert_eq!((worker, world.waiting().await), (0, Vec::new()));
}

/// It keeps the lock of the store for as long as it lives: that is what keeps
/// two from writing. What it missed waits in its queue.
#[tokio::test]
async fn a_collector_that_hangs_goes_on_where_it_was() {
    let pipeline = Pipeline::start(&[]).await;
    let before = pipeline.submit(Echo { n: 1 }).await;
    pipeline.closed(before).await;

    pipeline.collector.freeze();
    let missed = pipeline.producer.submit(Echo { n: 2 }).await.unwrap();
    assert_eq!(missed.output().await.unwrap(), 2);
    pipeline.collector.thaw();

    let record = pipeline.closed(missed.id()).await;
    assert_eq!(record.report.status, Status::Succeeded);
}

/// What was in a queue that an operator deletes is gone. Everybody says what is
/// missing, and goes on once it is there again.
#[tokio::test]
async fn queues_that_were_deleted_are_used_again_once_they_are_created_again() {
    let pipeline = Pipeline::start(&[]).await;
    let broker = pipeline.world.broker();

    broker.delete().await.unwrap();
    pipeline.worker.says("the queue is gone").await;
    pipeline.collector.says("the queue is gone").await;
    broker.apply().await.unwrap();

    let outcome = pipeline.outcome(Echo { n: 1 }).await.unwrap();
    assert_eq!(outcome.result.unwrap(), 1);
}
