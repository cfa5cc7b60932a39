//! A worker that is told to stop.

use std::collections::HashMap;

use homing_protocol::{Status, TaskId};
use homing_tests::kind::{Gate, Sleep};
use homing_tests::{Books, Follower, Pipeline, TIME_MAX, World, eventually, within};

/// Submits `count` tasks that wait for the gate, and waits until `running` of
/// them have begun.
async fn gated(pipeline: &Pipeline, count: usize, running: usize) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let file = pipeline.world.gate("gate");
        ids.push(pipeline.submit(Gate { file }).await);
    }
    let journal = pipeline.world.journal();
    let begun = async || (journal.runs().len() >= running).then_some(());
    eventually("the first tasks have begun", begun).await;
    ids
}

#[tokio::test]
async fn the_first_sigterm_lets_what_runs_end_and_gives_the_rest_back_at_once() {
    let mut pipeline = Pipeline::start(&["--concurrency", "2", "--prefetch", "8"]).await;
    let ids = gated(&pipeline, 6, 2).await;

    pipeline.worker.term();
    let world = &pipeline.world;
    let back = async || (world.ready("tasks").await == 4).then_some(());
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

#[tokio::test]
async fn the_second_sigterm_stops_at_once_and_what_ran_runs_again() {
    let mut pipeline = Pipeline::start(&[]).await;
    let ids = gated(&pipeline, 1, 1).await;

    pipeline.worker.term();
    pipeline.worker.says("stopping").await;
    pipeline.worker.term();
    let code = pipeline.worker.ended().await;
    pipeline.worker = pipeline.world.worker("second", &[]).await;
    pipeline.began(ids[0], 2).await;
    pipeline.world.open_gate("gate");
    let record = pipeline.closed(ids[0]).await;

    assert_eq!((code, record.report.status), (130, Status::Succeeded));
}

#[tokio::test]
async fn what_runs_beyond_the_grace_goes_back() {
    let mut pipeline = Pipeline::start(&["--grace", "200ms"]).await;
    let ids = gated(&pipeline, 1, 1).await;

    pipeline.worker.term();
    let code = pipeline.worker.ended().await;
    pipeline.worker = pipeline.world.worker("second", &[]).await;
    pipeline.world.open_gate("gate");
    let record = pipeline.closed(ids[0]).await;

    assert_eq!((code, record.report.status), (0, Status::Succeeded));
    assert_eq!(pipeline.world.journal().began(ids[0]), 2);
}

/// Workers are replaced one after the other while tasks run, as a deployment
/// does it.
#[tokio::test]
async fn a_rolling_restart_under_load_runs_no_task_twice() {
    const TASKS: usize = 2_000;
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let tasks = (0..TASKS as u64).map(|n| Sleep { ms: n % 20 });
    let batch = world.producer().await.submit_all(tasks).await.unwrap();
    assert_eq!(batch.total, TASKS as u64);

    let flags = ["--concurrency", "8", "--prefetch", "128"];
    let mut worker = world.worker("worker-0", &flags).await;
    let mut restarts = 0;
    let restarting = async {
        while follower.catch_up().await < TASKS {
            restarts += 1;
            let next = world.worker(&format!("worker-{restarts}"), &flags).await;
            let old = std::mem::replace(&mut worker, next);
            assert_eq!(old.stop().await, 0);
        }
    };
    within(TIME_MAX, "all outcomes", restarting).await;
    assert_eq!(worker.stop().await, 0);
    assert_eq!(collector.stop().await, 0);

    let mut ends: HashMap<TaskId, usize> = HashMap::new();
    for run in world.journal().runs().iter().filter(|run| run.ended) {
        *ends.entry(run.task).or_default() += 1;
    }
    assert_eq!((ends.len(), ends.values().max()), (TASKS, Some(&1)));
    let ids = ends.into_keys().collect();
    let books = follower.books(&ids).await;
    assert_eq!(books, Books::balanced(Status::Succeeded, TASKS));
    assert_eq!(world.waiting().await, []);
    eprintln!("{restarts} restarts of workers: {TASKS} tasks, each run once");
}

#[tokio::test]
async fn a_collector_that_is_told_to_stop_stores_what_it_has_and_exits_0() {
    let pipeline = Pipeline::start(&[]).await;
    let id = pipeline.submit(Sleep { ms: 1 }).await;
    pipeline.closed(id).await;

    let (worker, collector, world) = pipeline.stop().await;

    assert_eq!((worker, collector), (0, 0));
    assert_eq!(world.waiting().await, []);
}

/// Its processes must not outlive it: nobody would know of them.
#[tokio::test]
async fn the_processes_of_a_worker_that_is_killed_drain() {
    let mut pipeline = Pipeline::start(&["--processes", "2", "--concurrency", "1"]).await;
    let ids = gated(&pipeline, 2, 2).await;
    let begun = pipeline.world.journal().runs();

    pipeline.worker.kill().await;
    let worker = &pipeline.worker;
    let both = async || (worker.stderr().matches("stopping").count() == 2).then_some(());
    eventually("both processes drain", both).await;
    pipeline.world.open_gate("gate");

    assert_ne!(begun[0].process, begun[1].process);
    for id in ids {
        assert_eq!(pipeline.closed(id).await.report.status, Status::Succeeded);
        assert_eq!(pipeline.world.journal().began(id), 1);
    }
}
