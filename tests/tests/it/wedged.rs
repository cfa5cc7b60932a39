//! Handlers that do not end, and handlers that block what they share.

use std::path::PathBuf;
use std::thread::available_parallelism;

use homing_protocol::{Status, TaskId};
use homing_tests::kind::{Echo, Gate, Hang, Jam, JamBy, Sleep, Slow};
use homing_tests::{Pipeline, World};

/// Longer than any test.
const FOR_EVER: u64 = 600_000;

/// Slots of the workers here.
const CONCURRENCY: usize = 4;

/// Short enough to wait for.
const FLAGS: [&str; 4] = ["--concurrency", "4", "--grace", "1s"];

/// Enough of them to block every thread that handlers share.
fn threads() -> usize {
    available_parallelism().unwrap().get()
}

async fn jam(pipeline: &Pipeline, by: JamBy, ms: u64, file: PathBuf) -> TaskId {
    let id = pipeline.submit(Jam { by, ms, file }).await;
    pipeline.began(id, 1).await;
    id
}

async fn errors(pipeline: &Pipeline, id: TaskId) -> Vec<String> {
    let attempts = pipeline.task(id).await.attempts;
    let errors = attempts.into_iter().map(|attempt| attempt.report.error);
    errors.map(Option::unwrap).collect()
}

#[tokio::test]
async fn an_async_handler_that_blocks_its_thread_is_named_and_the_worker_ends_with_75() {
    for by in [JamBy::Spin, JamBy::Sleep, JamBy::Lock] {
        let mut pipeline = Pipeline::start(&FLAGS).await;
        let (jam_file, file) = (pipeline.world.gate("jam"), pipeline.world.gate("gate"));
        let other = pipeline.submit(Gate { file }).await;
        pipeline.began(other, 1).await;
        let id = jam(&pipeline, by, FOR_EVER, jam_file).await;

        pipeline.worker.says("does not end").await;
        pipeline.world.open_gate("gate");
        let code = pipeline.worker.ended().await;
        let said = pipeline.worker.stderr();
        pipeline.world.open_gate("jam");
        pipeline.worker = pipeline.world.worker("second", &FLAGS).await;

        assert_eq!(code, 75, "{by:?}");
        let told = said
            .matches("a handler of `test.jam` blocks its thread")
            .count();
        assert_eq!(told, 1, "{said}");
        assert_eq!(pipeline.closed(id).await.report.status, Status::Succeeded);
        assert_eq!(
            errors(&pipeline, id).await,
            ["timed out after 1 s and did not end"]
        );
        // What ran beside it was not run again because of it.
        assert_eq!(
            pipeline.closed(other).await.report.status,
            Status::Succeeded
        );
        assert_eq!(pipeline.world.journal().began(other), 1);
    }
}

/// A second for the timeout and three of grace pass before the handler is given
/// up; the other task ends within the grace of the drain that begins then.
#[tokio::test]
async fn a_handler_that_returns_after_it_was_given_up_ends_no_other_with_it() {
    let mut pipeline = Pipeline::start(&["--concurrency", "4", "--grace", "3s"]).await;
    let other = pipeline.submit(Sleep { ms: 5_000 }).await;
    pipeline.began(other, 1).await;
    let file = pipeline.world.gate("jam");
    jam(&pipeline, JamBy::Sleep, FOR_EVER, file).await;

    pipeline.worker.says("does not end").await;
    pipeline.world.open_gate("jam");
    let code = pipeline.worker.ended().await;

    assert_eq!(code, 75);
    let record = pipeline.closed(other).await;
    assert_eq!(record.report.status, Status::Succeeded);
    assert_eq!(pipeline.world.journal().began(other), 1);
}

/// With every thread taken not one timer of the handlers' runtime goes off.
#[tokio::test]
async fn a_worker_whose_every_thread_is_blocked_ends_with_75_and_its_tasks_run_elsewhere() {
    let jams = 2 * threads();
    let flags = ["--concurrency", &jams.to_string(), "--grace", "500ms"];
    let mut pipeline = Pipeline::start(&flags).await;
    let (by, ms, file) = (JamBy::Sleep, FOR_EVER, pipeline.world.gate("jam"));
    let mut ids = Vec::new();
    for _ in 0..jams {
        let file = file.clone();
        ids.push(pipeline.submit(Jam { by, ms, file }).await);
    }

    let code = pipeline.worker.ended().await;
    pipeline.world.open_gate("jam");
    pipeline.worker = pipeline.world.worker("second", &FLAGS).await;

    assert_eq!(code, 75);
    for id in ids {
        assert_eq!(pipeline.closed(id).await.report.status, Status::Succeeded);
    }
}

#[tokio::test]
async fn a_worker_whose_every_thread_is_blocked_is_stopped_by_sigterm() {
    let flags = ["--timeout", "test.jam=10m", "--grace", "1s"];
    let mut pipeline = Pipeline::start(&flags).await;
    let file = pipeline.world.gate("jam");
    for _ in 0..threads() {
        jam(&pipeline, JamBy::Spin, FOR_EVER, file.clone()).await;
    }

    pipeline.worker.term();
    pipeline.worker.says("stopping").await;
    pipeline.worker.term();

    assert_eq!(pipeline.worker.ended().await, 130);
}

#[tokio::test]
async fn handlers_that_never_end_in_every_slot_end_the_worker_or_are_ended() {
    let mut pipeline = Pipeline::start(&FLAGS).await;
    let file = pipeline.world.gate("gate");
    let mut asleep = Vec::new();
    for _ in 0..CONCURRENCY {
        asleep.push(pipeline.submit(Slow {}).await);
    }
    for id in &asleep {
        let record = pipeline.closed(*id).await;
        assert_eq!(record.report.status, Status::Exhausted);
    }
    let after = pipeline.outcome(Echo { n: 1 }).await.unwrap();
    assert_eq!(after.result.unwrap(), 1);

    let mut hanging = Vec::new();
    for _ in 0..CONCURRENCY {
        hanging.push(pipeline.submit(Hang { file: file.clone() }).await);
    }
    let code = pipeline.worker.ended().await;
    pipeline.world.open_gate("gate");
    pipeline.worker = pipeline.world.worker("second", &FLAGS).await;

    assert_eq!(code, 75);
    for id in hanging {
        assert_eq!(pipeline.closed(id).await.report.status, Status::Succeeded);
    }
}

/// Links have threads of their own, so that no handler keeps a heartbeat back.
#[tokio::test]
async fn handlers_that_block_every_thread_for_three_heartbeats_cost_no_connection() {
    let mut world = World::start().await;
    world.url.push_str("?heartbeat=2");
    let flags = ["--timeout", "test.jam=10m"];
    let pipeline = Pipeline::start_in(world, &flags).await;
    let file = pipeline.world.gate("jam");

    let mut ids = Vec::new();
    for _ in 0..threads() {
        ids.push(jam(&pipeline, JamBy::Spin, 3 * 2_000 + 500, file.clone()).await);
    }
    for id in &ids {
        assert_eq!(pipeline.closed(*id).await.report.status, Status::Succeeded);
    }

    let journal = pipeline.world.journal();
    assert!(ids.iter().all(|id| journal.began(*id) == 1));
    let said = pipeline.worker.stderr();
    assert!(!said.contains("waiting for the broker"), "{said}");
}

#[tokio::test]
async fn one_of_several_processes_that_is_wedged_is_started_again() {
    let flags = ["--processes", "2", "--concurrency", "1", "--grace", "500ms"];
    let mut pipeline = Pipeline::start(&flags).await;
    let file = pipeline.world.gate("gate");

    let id = pipeline.submit(Hang { file }).await;
    pipeline.began(id, 2).await;
    pipeline.world.open_gate("gate");
    let record = pipeline.closed(id).await;

    assert_eq!(record.report.status, Status::Succeeded);
    let journal = pipeline.world.journal();
    let runs: Vec<_> = journal.runs().iter().map(|run| run.process).collect();
    assert_ne!(runs[0], runs[1]);
    pipeline.worker.says("does not end").await;
    assert_eq!(pipeline.worker.has_ended(), None);
}
