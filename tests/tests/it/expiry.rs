//! Tasks with a deadline.

use std::time::{Duration, Instant, SystemTime};

use homing_broker::Window;
use homing_protocol::{
    ContentType, Destination, Envelope, Payload, QueueName, Status, TaskId, TaskKind, Timestamp,
    encode_tasks,
};
use homing_tests::kind::{Echo, Gate, Later};
use homing_tests::{Pipeline, World, eventually};

/// Long enough for a task to begin, short enough to wait for.
const SOON: Duration = Duration::from_secs(2);

/// Publishes a bundle of tasks with this deadline.
async fn bundle(world: &World, tasks: u64, expires_at: Timestamp) -> Vec<TaskId> {
    let now = Timestamp::from(SystemTime::now());
    let envelope = |n: u64| {
        let payload = Payload::encode("a payload", &Echo { n }, ContentType::MessagePack, 1_000);
        let id = uuid::Uuid::now_v7().into();
        let mut envelope = Envelope::new(id, TaskKind::of::<Echo>(), payload.unwrap(), now);
        envelope.expires_at = Some(expires_at);
        envelope
    };
    let envelopes: Vec<_> = (0..tasks).map(envelope).collect();
    let to = Destination::Queue(QueueName::tasks());
    let message = encode_tasks(&envelopes, to, uuid::Uuid::now_v7().to_string()).unwrap();
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    publisher.publish(message).await.unwrap().await.unwrap();
    envelopes.iter().map(|envelope| envelope.id).collect()
}

/// Waits until the deadline of what was submitted has passed, by the clock.
async fn passed(deadline: Timestamp) {
    let look = async || (Timestamp::from(SystemTime::now()) > deadline).then_some(());
    eventually("the deadline has passed", look).await;
}

#[tokio::test]
async fn what_waits_in_a_worker_or_without_one_beyond_its_deadline_is_expired_once_and_never_run() {
    let mut pipeline = Pipeline::start(&["--concurrency", "1"]).await;
    let file = pipeline.world.gate("gate");
    let busy = pipeline.submit(Gate { file }).await;
    pipeline.began(busy, 1).await;
    let deadline = Timestamp::from(SystemTime::now()).after(SOON);
    let submit = async |n| {
        let submitted = pipeline.producer.submit(Echo { n }).expires_after(SOON);
        submitted.await.unwrap().id()
    };

    // Held by the worker, alone and in a bundle.
    let mut late = vec![submit(1).await];
    late.extend(bundle(&pipeline.world, 5, deadline).await);
    passed(deadline).await;
    pipeline.world.open_gate("gate");
    pipeline.closed(busy).await;
    assert_eq!(pipeline.worker.stop().await, 0);
    // In a queue that nobody takes from.
    let deadline = Timestamp::from(SystemTime::now()).after(SOON);
    let submitted = pipeline.producer.submit(Echo { n: 2 }).expires_after(SOON);
    late.push(submitted.await.unwrap().id());
    passed(deadline.after(SOON)).await;
    pipeline.worker = pipeline.world.worker("second", &[]).await;

    for id in late {
        let record = pipeline.closed(id).await;
        assert_eq!(record.report.status, Status::Expired);
        assert_eq!(
            (record.report.attempt, pipeline.world.journal().began(id)),
            (0, 0)
        );
        assert_eq!(pipeline.task(id).await.attempts.len(), 1);
    }
    assert_eq!(pipeline.store.dead(100).await.unwrap().len(), 7);
}

/// The next attempt would come at its time and find the deadline passed. There
/// is nothing to wait for.
#[tokio::test]
async fn a_task_whose_next_attempt_would_come_too_late_is_expired_at_once_with_its_error() {
    let pipeline = Pipeline::start(&[]).await;
    // Less than the task waits between two attempts.
    let deadline = Duration::from_secs(25);
    let since = Instant::now();

    let submitted = pipeline.producer.submit(Later {}).expires_after(deadline);
    let id = submitted.await.unwrap().id();
    let record = pipeline.closed(id).await;

    assert!(since.elapsed() < deadline);
    assert_eq!(record.report.status, Status::Expired);
    let error = record.report.error.as_deref();
    let too_late = "expired: its next attempt could not be started before its deadline";
    assert_eq!((error, record.report.attempt), (Some(too_late), 1));
    assert_eq!(record.payload_json().as_deref(), Some("{}"));
    let first = async || {
        let attempts = pipeline.task(id).await.attempts;
        let mut errors = attempts.iter().filter_map(|a| a.report.error.as_deref());
        errors.any(|error| error == "not now").then_some(())
    };
    eventually("the attempt is recorded", first).await;
}
