//! Workers that are told to stop at any moment.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use homing_protocol::{Status, TaskId};
use homing_tests::kind::{Gate, Sleep};
use homing_tests::{
    Books, Follower, Pipeline, Process, TEST_WORKER, TIME_MAX, World, eventually, scale, within,
};
use rand::RngExt as _;

/// Workers of the pool.
const POOL: usize = 3;

/// How often a worker of the pool is told to stop.
const TERMS: usize = 20;

/// A pool whose workers are told to stop at any moment, most of them while they
/// run tasks and some while they start, and are replaced.
struct Pool<'a> {
    world: &'a World,
    workers: Vec<Process>,
    started: usize,
    exits: HashMap<i32, usize>,
}

impl Pool<'_> {
    fn fill(&mut self) {
        while self.workers.len() < POOL {
            self.started += 1;
            let name = format!("worker-{}", self.started);
            let flags = ["--concurrency", "8", "--quiet"];
            let worker = self.world.start_program(&name, TEST_WORKER, &flags);
            self.workers.push(worker);
        }
    }

    async fn replace_any(&mut self) {
        let index = rand::rng().random_range(0..POOL);
        let code = self.workers.swap_remove(index).stop().await;
        *self.exits.entry(code).or_default() += 1;
        self.fill();
    }
}

#[tokio::test]
async fn sigterms_at_any_moment_over_a_pool_under_load_make_no_task_run_twice() {
    let terms = TERMS * scale();
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let producer = world.producer().await;
    let mut pool = Pool {
        world: &world,
        workers: Vec::new(),
        started: 0,
        exits: HashMap::new(),
    };
    pool.fill();

    let mut total = 0;
    let mut stopped = 0;
    let stopping = async {
        while stopped < terms {
            let tasks = (0..300).map(|n| Sleep { ms: n % 30 });
            total += producer.submit_all(tasks).await.unwrap().total;
            for _ in 0..4 {
                let pause = rand::rng().random_range(0..300);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                pool.replace_any().await;
                stopped += 1;
            }
        }
    };
    within(TIME_MAX * scale() as u32, "all stops", stopping).await;
    let total = usize::try_from(total).unwrap();
    follower.all(total).await;
    for worker in pool.workers.drain(..) {
        assert_eq!(worker.stop().await, 0);
    }
    assert_eq!(collector.stop().await, 0);

    // A process that is told before it listens is ended by the system.
    let exits = &pool.exits;
    assert!(exits.keys().all(|code| [0, -1].contains(code)), "{exits:?}");
    let mut begun: HashMap<TaskId, usize> = HashMap::new();
    for run in world.journal().runs().iter().filter(|run| !run.ended) {
        *begun.entry(run.task).or_default() += 1;
    }
    assert_eq!((begun.len(), begun.values().max()), (total, Some(&1)));
    let ids = begun.into_keys().collect();
    let books = follower.books(&ids).await;
    assert_eq!(books, Books::balanced(Status::Succeeded, total));
    assert_eq!(world.waiting().await, []);
    eprintln!("{stopped} SIGTERMs over a pool of {POOL}: {total} tasks, each run once");
}

/// Held by a worker and not begun: so many that returning them is work.
const HELD: usize = 1_000;

#[tokio::test]
async fn what_has_not_begun_is_back_right_after_sigterm() {
    let mut pipeline = Pipeline::start(&["--concurrency", "4", "--prefetch", "1004"]).await;
    let file = pipeline.world.gate("gate");
    let tasks = (0..HELD + 4).map(|_| Gate { file: file.clone() });
    pipeline.producer.submit_all(tasks).await.unwrap();
    let world = &pipeline.world;
    let held = async || {
        let begun = world.journal().runs().len() == 4;
        (begun && world.ready("tasks").await == 0).then_some(())
    };
    eventually("the worker holds them all", held).await;

    let since = Instant::now();
    pipeline.worker.term();
    let back = async || (world.ready("tasks").await == HELD as u64).then_some(());
    eventually("what has not begun is back", back).await;
    let took = since.elapsed();
    world.open_gate("gate");

    assert_eq!(pipeline.worker.ended().await, 0);
    assert_eq!(pipeline.world.journal().runs().len(), 8);
    eprintln!(
        "{HELD} unstarted deliveries back {} ms after SIGTERM",
        took.as_millis()
    );
}

#[tokio::test]
async fn what_a_killed_worker_held_runs_elsewhere_at_once() {
    let mut pipeline = Pipeline::start(&["--concurrency", "1"]).await;
    let mut took = Vec::new();
    for round in 0..5 * scale() {
        let file = pipeline.world.gate(&format!("gate-{round}"));
        let id = pipeline.submit(Gate { file }).await;
        pipeline.began(id, 1).await;
        let name = format!("worker-{round}");
        let next = pipeline.world.worker(&name, &["--concurrency", "1"]).await;
        let mut killed = std::mem::replace(&mut pipeline.worker, next);

        let since = Instant::now();
        killed.kill().await;
        pipeline.began(id, 2).await;
        took.push(since.elapsed().as_millis());
        pipeline.world.open_gate(&format!("gate-{round}"));

        assert_eq!(pipeline.closed(id).await.report.status, Status::Succeeded);
    }
    took.sort_unstable();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!(
        "from kill -9 of a worker to its task elsewhere: median {median} ms, at most {most} ms"
    );
}
