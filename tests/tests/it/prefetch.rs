//! How many tasks a worker holds ahead when nobody says.

use homing_protocol::{Status, Task};
use homing_store::BatchRef;
use homing_tests::kind::{Echo, Gate};
use homing_tests::{Pipeline, eventually};

/// By which a worker learns how quick its tasks are.
const QUICK: u64 = 2_000;

/// Twice what a worker here holds at least.
const HELD_MAX: u64 = 8;
const FLAGS: [&str; 2] = ["--concurrency", "2"];

async fn submit_all<T: Task>(pipeline: &Pipeline, tasks: Vec<T>) -> BatchRef {
    let batch = pipeline.producer.submit_all(tasks).await;
    BatchRef::Id(batch.unwrap().id)
}

async fn succeeded(pipeline: &Pipeline, batch: &BatchRef, tasks: u64) {
    eventually(&format!("{tasks} have succeeded"), async || {
        let batch = pipeline.store.batch(batch).await.unwrap()?;
        (batch.counts.get(Status::Succeeded) >= tasks).then_some(())
    })
    .await;
}

fn echoes(tasks: u64) -> Vec<Echo> {
    (0..tasks).map(|n| Echo { n }).collect()
}

#[tokio::test]
async fn a_worker_holds_more_while_tasks_are_quick_and_gives_back_what_turns_out_to_be_long() {
    const LONG: u64 = 200;
    let pipeline = Pipeline::start(&FLAGS).await;
    submit_all(&pipeline, echoes(QUICK)).await;
    let gate = Gate {
        file: pipeline.world.gate("gate"),
    };
    let long = submit_all(&pipeline, vec![gate; LONG as usize]).await;

    let more = async || {
        let taken = LONG.checked_sub(pipeline.world.ready("tasks").await)?;
        (taken > HELD_MAX).then_some(())
    };
    eventually("it holds more than it may keep", more).await;
    let back = async || (pipeline.world.ready("tasks").await >= LONG - HELD_MAX).then_some(());
    eventually("the rest is back", back).await;

    pipeline.world.open_gate("gate");
    succeeded(&pipeline, &long, LONG).await;
    let (worker, _, world) = pipeline.stop().await;
    assert_eq!((worker, world.waiting().await), (0, Vec::new()));
}

#[tokio::test]
async fn what_waits_behind_long_tasks_is_run_by_a_worker_with_room() {
    const BEHIND: u64 = 100;
    let pipeline = Pipeline::start(&FLAGS).await;
    submit_all(&pipeline, echoes(QUICK)).await;
    let gate = Gate {
        file: pipeline.world.gate("gate"),
    };
    let long = submit_all(&pipeline, vec![gate; 2]).await;
    let behind = submit_all(&pipeline, echoes(BEHIND)).await;

    let second = pipeline.world.worker("second", &FLAGS).await;

    succeeded(&pipeline, &behind, BEHIND - (HELD_MAX - 2)).await;
    pipeline.world.open_gate("gate");
    succeeded(&pipeline, &behind, BEHIND).await;
    succeeded(&pipeline, &long, 2).await;
    assert_eq!(second.stop().await, 0);
    let (_, _, world) = pipeline.stop().await;
    assert_eq!(world.waiting().await, []);
}
