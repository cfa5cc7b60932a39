//! Tasks that are not to run yet.

use std::time::{Duration, SystemTime};

use homing_protocol::Timestamp;
use homing_tests::Pipeline;
use homing_tests::kind::Echo;

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
    let delays = [1, 2, 3];
    let mut late = Vec::new();

    for delay in delays.map(Duration::from_secs) {
        let lateness = lateness(&pipeline, delay).await;
        late.push(lateness);
        assert!(is_in_time(delay, lateness), "{delay:?}: {lateness:?} late");
    }

    late.sort();
    eprintln!("late by {late:?}");
}

#[tokio::test]
async fn a_point_in_time_that_is_past_is_due_at_once() {
    let pipeline = Pipeline::start(&[]).await;
    let past = SystemTime::now() - Duration::from_secs(3_600);

    let id = pipeline.producer.submit(Echo { n: 1 }).at(past).await;
    let record = pipeline.closed(id.unwrap().id()).await;

    assert!(record.report.waited_ms < 30_000, "{record:?}");
}
